"""Post-training quantisation, pruning and shorter windows: what is tried, chosen and said."""

import json

import pytest

from experiments import afterwards
from experiments.afterwards import Flags


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [({"regulariser": "none"}, "name one"), ({"densities": ()}, "names nothing to try")],
)
def test_flags_that_make_no_sense_are_refused(flags, complaint):
    with pytest.raises(ValueError, match=complaint):
        Flags(**flags)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("afterwards")
    flags = Flags(
        regulariser="l1-rate",
        strengths=(0.3,),
        seeds=(0, 1),
        bits=(8, 4),
        densities=(1.0, 0.25),
        points=100,
        epochs=2,
        limit=64,
        out=str(out),
    )
    result = afterwards.main(flags, "command")
    stored = json.loads((out / "digits-l1-rate.json").read_text())
    assert stored == json.loads(json.dumps(result))
    return flags, result


def test_with_any_loss_allowed_the_least_of_everything_is_chosen(found):
    _, result = found
    chosen = result["chosen"]
    assert (chosen["weight_bits"], chosen["density"], chosen["steps"]) == (4, 0.25, 1)
    assert result["combinations"] == 2 * 2 * 6 and chosen["accurate_enough"]
    assert result["test"]["pj"][0] < 0.5 * result["test_as_trained"]["pj"][0]
    assert "4 bits, 25% of the weights, 1 steps" in afterwards.describe(result)
