"""The benchmark of events at tiny sizes: both ways do the same; nothing here looks at a clock."""

from experiments.benchmarks.events import compare, convolve


def test_a_step_and_a_convolution_are_the_same_either_way():
    found = compare(steps=2, activity=0.02, least=64, rounds=1)
    assert found["loss_apart"] < 1e-5
    assert found["places"] == 64
    assert found["input_mib"]["events"] * 700 == found["input_mib"]["dense"] * 64
    assert set(found["over_dense"]) == {"events"}
    found = convolve(0.01, rounds=1)
    assert found["apart"] < 1e-5
    assert set(found["over_dense"]) == {"loop", "scatter"}
