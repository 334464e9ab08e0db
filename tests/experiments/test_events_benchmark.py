"""The benchmark of events at tiny sizes: both ways do the same; nothing here looks at a clock."""

from experiments.benchmarks.events import compare, convolve


def test_a_step_and_a_convolution_are_the_same_either_way():
    result = compare(steps=2, activity=0.02, least=64, rounds=1)
    assert result["loss_apart"] < 1e-5
    assert result["places"] == 64
    assert result["input_mib"]["events"] * 700 == result["input_mib"]["dense"] * 64
    assert set(result["over_dense"]) == {"events"}
    result = convolve(0.01, rounds=1)
    assert result["apart"] < 1e-5
    assert set(result["over_dense"]) == {"loop", "scatter"}
