"""Post-training quantisation, pruning and shorter windows: what is tried, chosen and said."""

import json

import numpy as np
import pytest

from experiments import post_training
from experiments.config import parse
from experiments.post_training import Flags
from experiments.swept import Numbers, Swept, task_config


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"regulariser": "none"}, "name one"),
        ({"densities": ()}, "names nothing to try"),
        ({"points": (1.0, -1.0)}, "must not be negative"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, complaint):
    with pytest.raises(ValueError, match=complaint):
        Flags(**flags)


def test_norm_is_that_of_the_recipe_unless_said():
    assert parse(Flags, []) == {}
    assert parse(Flags, ["--no-norm", "--points", "1,2"]) == {"norm": False, "points": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"dataset": "qtdb"}, "decided in every step"),
        ({"hardware": "truenorth-28nm"}, "does not skip weights that are zero"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    flags, complaint, monkeypatch, request
):
    monkeypatch.setattr(Swept, "trained", lambda *given: pytest.fail("trained"))
    if flags.get("dataset"):
        request.getfixturevalue("data_dir")
    with pytest.raises(ValueError, match=complaint):
        post_training.main(Flags(**flags, epochs=2, limit=64))


def test_what_loses_just_as_many_points_is_accurate_enough():
    share = float(np.float32(0.89))
    assert share < 0.89
    row = {"accuracy": share}
    assert post_training.within([row, {"accuracy": 0.8899}], 0.9, 1.0) == [row]


@pytest.fixture(scope="module")
def compression(tmp_path_factory):
    out = tmp_path_factory.mktemp("post_training")
    flags = Flags(
        regulariser="l1-rate",
        strengths=(0.3,),
        seeds=(0, 1),
        bits=(8, 4),
        densities=(1.0, 0.25),
        points=(100, 1),
        epochs=2,
        limit=64,
        out=str(out),
    )
    # Every program is compiled for the networks of both terms, and its size goes with the layers.
    with pytest.MonkeyPatch.context() as patch:
        narrow = {"widths": (32,)}
        patch.setattr(post_training, "task_config", lambda options: task_config(narrow | options))
        result = post_training.main(flags, "command")
    stored = json.loads((out / "digits-l1-rate.json").read_text())
    assert stored == json.loads(json.dumps(result))
    return flags, result


def test_with_any_loss_allowed_the_least_of_everything_is_chosen(compression):
    _, result = compression
    chosen, careful = result["chosen"]
    assert (chosen["weight_bits"], chosen["density"], chosen["steps"]) == (4, 0.25, 1)
    rows = result["combinations"]
    assert len(rows) == chosen["accurate_enough"] == 2 * 2 * 6
    assert chosen["validation_pj"] == min(row["pj"] for row in rows)
    assert chosen["test"]["pj"][0] < 0.5 * chosen["test_as_trained"]["pj"][0]
    fit = [r for r in rows if r["accuracy"] > result["validation_accuracy_without"] - 0.0100001]
    assert careful["accurate_enough"] == len(fit) < len(rows)
    least = min(fit or [max(rows, key=lambda r: r["accuracy"])], key=lambda r: r["pj"])
    assert careful["validation_pj"] == least["pj"] >= chosen["validation_pj"]
    assert "4 bits, 25% of the weights, 1 steps" in post_training.describe(result)


def test_answers_of_all_windows_are_those_of_each_window_that_is_priced():
    flags = Flags(regulariser="l1-rate", bits=(4,), densities=(0.5,))
    config = task_config(
        {"dataset": "digits", "refit": False, "epochs": 2, "limit": 128, "widths": (32,)}
    )
    swept = Swept(config, "l1-rate")
    state, _, _ = swept.trained(Numbers(0, 1.0, 1.0, 0.3))
    judge = post_training.judge(swept, flags)
    each = [judge(state.variables, "test", (4, 0.5, steps))[0] for steps in range(1, 7)]
    answers = post_training.answers(swept)(state.variables, "test", 4, 0.5)
    np.testing.assert_allclose(answers, each, atol=1e-6)
    assert len(set(each)) > 1
