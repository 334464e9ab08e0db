"""Recorded inputs as dense frames or as lists of events, by option or by rule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jsnn.data import Dataset
from jsnn.events import Choice, EventFrames, choose, pack

INPUTS = ("auto", "dense", "events")


def form(
    config, data: Dataset, platform: str
) -> tuple[Choice, Mapping[str, np.ndarray | EventFrames]]:
    """Whether inputs come as lists of events, and the frames of every split in that form.

    Lists give the same sums in another order, so a run with them differs by rounding from the run
    with dense frames.

    Args:
        config: of the run; its `input` is `dense`, `events`, or `auto` for `jsnn.events.choose`.
        data: recordings as loaded.
        platform: of the device, as `cpu` or `gpu`.

    Raises:
        ValueError: an unknown word, or events where the frames are not lists of them or the first
            layer cannot read any.
    """
    frames = {name: split.frames for name, split in data.splits.items()}
    if config.input not in INPUTS:
        raise ValueError(f"--input must be one of {', '.join(INPUTS)}, got {config.input!r}")
    if config.input == "dense":
        return Choice("dense", "as told"), frames
    hindrance = _hindrance(config, data)
    if hindrance and config.input == "events":
        raise ValueError(f"--input events cannot be had: {hindrance}; leave it dense")
    if hindrance:
        return Choice("dense", hindrance), frames
    # One length for all splits: a program compiled for one serves the others.
    places = max(_fullest(values) for values in frames.values())
    choice = Choice("events", "as told")
    if config.input == "auto":
        inputs = int(np.prod(data.frame_shape))
        activity = float(frames["train"].sum(dtype=np.int64)) / frames["train"].size
        choice = choose(activity, places, inputs, platform)
    if choice.frames == "events":
        frames = {name: pack(values, places) for name, values in frames.items()}
    return choice, frames


def _hindrance(config, data: Dataset) -> str | None:
    """The reason why the first layer cannot read lists of events; None if it can."""
    if config.encoder != "recorded" or data.analog:
        return "only recorded events are lists"
    if config.model not in ("mlp", "srnn"):
        return f"the first layer of --model {config.model} is not dense"
    if config.input_dropout or config.shift:
        return "--input-dropout and --shift need dense frames"
    if config.precision != "f32":
        return "--precision bf16 rounds operands of products, and lists are summed without one"
    if any(split.frames.min() < 0 for split in data.splits.values()):
        return "the frames have negative values"
    return None


def _fullest(frames: np.ndarray) -> int:
    """Largest number of events in a frame, at least one."""
    return max(1, int(frames.reshape(*frames.shape[:2], -1).sum(-1, dtype=np.int64).max()))
