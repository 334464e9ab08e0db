"""Recorded inputs as lists of events in the training experiment: the rule, and the same network."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import build, inputs, train
from experiments.runconfig import Config
from jsnn.data import Dataset, Split
from jsnn.events import EventFrames

SIZES = {"train": 24, "validation": 8, "test": 9}


def recorded(activity, dtype=np.uint8, seed=0):
    """Two classes that differ in which half of 40 inputs is active, over 5 steps."""
    draw = np.random.default_rng(seed)

    def split(count):
        labels = np.arange(count, dtype=np.int32) % 2
        frames = draw.random((count, 5, 40)) < activity
        frames[..., :20] &= labels[:, None, None] == 0
        return Split(frames.astype(dtype), labels)

    splits = {name: split(count) for name, count in SIZES.items()}
    return Dataset("toy", **splits, classes=2, timed=True, dt_s=1e-3)


def config(**options):
    return Config(**{"encoder": "recorded", "widths": (8,), "batch": 8, **options})


def test_dense_frames_are_the_default_and_untouched():
    data = recorded(0.05)
    choice, frames = inputs.form(config(), data, "cpu")
    assert choice == ("dense", "as told")
    assert all(frames[name] is split.frames for name, split in data.splits.items())


def test_lists_hold_what_the_frames_held_at_one_length():
    data = recorded(0.1)
    choice, frames = inputs.form(config(input="events"), data, "cpu")
    assert choice == ("events", "as told")
    fullest = max(split.frames.sum(-1, dtype=int).max() for split in data.splits.values())
    for name, split in data.splits.items():
        assert isinstance(frames[name], EventFrames)
        assert frames[name].places == fullest
        np.testing.assert_array_equal(np.asarray(frames[name]), split.frames)


@pytest.mark.parametrize(
    ("activity", "platform", "wanted"),
    [(0.005, "cpu", "events"), (0.5, "cpu", "dense"), (0.005, "gpu", "dense")],
)
def test_auto_goes_by_the_rule(activity, platform, wanted):
    choice, frames = inputs.form(config(input="auto"), recorded(activity), platform)
    assert choice.frames == wanted
    assert isinstance(frames["train"], EventFrames) is (wanted == "events")


@pytest.mark.parametrize(
    ("options", "dtype", "why"),
    [
        ({"model": "conv"}, np.uint8, "not dense"),
        ({"input_dropout": 0.1}, np.uint8, "input-dropout"),
        ({"shift": 1}, np.uint8, "shift"),
        ({"precision": "bf16"}, np.uint8, "bf16"),
        ({"encoder": "delta"}, np.uint8, "recorded events"),
        ({}, np.float32, "recorded events"),
    ],
)
def test_what_cannot_read_lists_stays_dense_or_refuses(options, dtype, why):
    data = recorded(0.01, dtype)
    choice, frames = inputs.form(config(input="auto", **options), data, "cpu")
    assert choice.frames == "dense" and why in choice.reason
    assert frames["train"] is data.train.frames
    with pytest.raises(ValueError, match=why):
        inputs.form(config(input="events", **options), data, "cpu")


def test_negative_frames_and_unknown_words():
    data = recorded(0.05, np.int8)
    data.test.frames[0, 0, 0] = -1
    with pytest.raises(ValueError, match="negative"):
        inputs.form(config(input="events"), data, "cpu")
    with pytest.raises(ValueError, match="auto, dense, events"):
        inputs.form(config(input="sparse"), data, "cpu")


def test_a_run_on_lists_learns_what_a_run_on_frames_learns(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "dataset", lambda config: recorded(0.03))
    results, rows = {}, {}
    for form in ("dense", "events"):
        out = tmp_path / form
        options = config(dataset="digits", input=form, epochs=2, loop="step")
        results[form] = train.main(options, out=str(out))
        rows[form] = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert f"input: {form} (as told)" in capsys.readouterr().out
    for dense, lists in zip(rows["dense"], rows["events"], strict=True):
        for name in ("train_loss", "train_pj", "validation_pj", "validation_task"):
            assert lists[name] == pytest.approx(dense[name], rel=1e-4)
    dense, lists = results["dense"], results["events"]
    assert lists["total_pj"] == pytest.approx(dense["total_pj"], rel=1e-4)
    assert lists["test_accuracy"] == dense["test_accuracy"]


def test_recipes_say_nothing_of_it():
    # Stored results are those of dense frames, bit for bit.
    (option,) = (field for field in dataclasses.fields(Config) if field.name == "input")
    assert option.default == "dense"
