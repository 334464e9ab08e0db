"""Whether events pay: a rule from measurements (`experiments.benchmarks.events`)."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Choice(NamedTuple):
    """`events` or `dense`, and why.

    >>> print(Choice("dense", "nothing else was measured"))
    dense: nothing else was measured
    """

    frames: Literal["events", "dense"]
    reason: str

    def __str__(self):
        return f"{self.frames}: {self.reason}"


def choose(activity: float, places: int, inputs: int, device: str) -> Choice:
    """Whether a dense first layer should read events, in training on frames of this kind."""
    if device != "cpu":
        return Choice("dense", f"events were not measured on a {device}")
    return Choice("events", "")
