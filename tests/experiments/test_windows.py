"""The window and the early exit of a run, from flags to figures."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments import early_exit, windows
from experiments.runconfig import Config
from experiments.train import main
from jsnn.codesign.time_window import Window
from jsnn.data import Direct

SAMPLES = jnp.ones((2, 5))


def test_a_number_of_steps_shows_the_first_ones():
    encoder = windows.shown(Config(window="3"), Direct(steps=6))
    assert encoder(jax.random.key(0), SAMPLES).shape == (3, 2, 5)
    assert encoder.input_kind == Direct(steps=6).input_kind
    assert windows.shown(Config(), Direct(steps=6)) == Direct(steps=6)
    with pytest.raises(ValueError, match="--window 7 is longer than the 6 steps"):
        windows.shown(Config(window="7"), Direct(steps=6))(jax.random.key(0), SAMPLES)


def test_a_learned_window_lies_within_the_frames_or_the_bounds_given():
    def lever(word, **options):
        return windows.lever(Config(window=word, **options), Direct(steps=6), SAMPLES)

    assert lever(None) is None and lever("4") is None
    assert lever("learned") == Window(1, 6)
    assert lever("2:5", readout="last-membrane") == Window(2, 5, reads="last")
    with pytest.raises(ValueError, match="2:7 is longer than the 6 steps"):
        lever("2:7")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "0"}, "--window must be none, learned"),
        ({"window": "short"}, "--window must be none, learned"),
        ({"window": "5:2"}, "1 <= low < high"),
        ({"window": "learned", "readout": "spike-count"}, "needs --task cross-entropy"),
        ({"window": "3", "task": "every-step"}, "one answer a sample"),
        ({"early_exit": "gap", "task": "every-step"}, "one answer a sample"),
        ({"early_exit": "guess"}, "--early-exit must be none or one of"),
        ({"early_exit": "gap", "refit": True, "select": "last"}, "--refit leaves no samples"),
    ],
)
def test_what_makes_no_sense_is_refused_before_data_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_a_run_learns_its_window_stops_early_and_is_looked_at_again(tmp_path):
    folder = tmp_path / "run"
    config = Config(
        widths=(16,), steps=3, limit=64, epochs=1, warmup_epochs=0.0, window="learned",
        early_exit="gap", time_constant_scale=0.1, threshold_scale=0.1,
    )  # fmt: skip
    result = main(config, out=str(folder))
    actual = result["window"]
    assert 1 < actual["relaxed"]["steps"] < 3
    assert actual["whole"]["steps"] == result["steps"]
    assert abs(result["steps"] - actual["relaxed"]["steps"]) < 1
    best = max(actual["tried_on_validation"], key=lambda row: row["score"])
    assert best["steps"] == result["steps"]
    # The energy and the answers of the run itself are those without early exit.
    without = result["early_exit"]["test_without"]
    assert without["accuracy"] == pytest.approx(result["test_accuracy"])
    assert without["pj"] == pytest.approx(result["total_pj"], rel=1e-4)
    stopped = result["early_exit"]["test"]
    assert sum(stopped["histogram"]) == 64 and len(stopped["histogram"]) == result["steps"]
    assert stopped["steps"] <= result["steps"]

    again = early_exit.main(str(folder), early_exit.Flags(rules="gap", thresholds=3))
    assert json.loads(json.dumps(again)) == json.loads((folder / "early_exit.json").read_text())
    assert again["early_exit"]["gap"]["chosen"]["test"] == stopped
    assert again["fixed"]["test"][-1] == pytest.approx(without)
    assert [row["steps"] for row in again["fixed"]["test"]] == list(range(1, result["steps"] + 1))
