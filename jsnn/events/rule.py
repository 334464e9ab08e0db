"""Rule for when events pay, from measurements (`experiments.benchmarks.events`)."""

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


# Above this sum of activity and E/n a training step was no faster for events on a CPU, with a
# margin: 0.25 took as long, 0.12 three quarters.
_MOST_READ = 0.2


def choose(activity: float, places: int, inputs: int, device: str) -> Choice:
    """Whether the dense first layer of a network in training should read events.

    The forward pass reads every place of a list, the backward pass every event, so the time grows
    with `places / inputs + activity`; the time of dense frames depends on neither.

    Args:
        activity: events of a frame by its inputs, on average.
        places: E, length of the lists (`EventFrames.places`).
        inputs: n, inputs of a frame.
        device: jax's name of the platform: `cpu`, `gpu`, `tpu`.

    Raises:
        ValueError: an activity below 0, or lists or frames without a place.

    Source: `experiments/results/benchmarks/events.json`, an MLP 700-128-128-20 on one core.

    Example:
        >>> print(choose(0.02, 32, 700, "cpu"))
        events: 0.066 of a frame read forward and backward, at most 0.2 pays on a cpu
        >>> choose(0.02, 208, 700, "cpu").frames, choose(0.02, 32, 700, "gpu").frames
        ('dense', 'dense')
    """
    if not activity >= 0:
        raise ValueError(f"expected an activity of 0 or more, got {activity}")
    if min(places, inputs) < 1:
        raise ValueError(f"expected 1 or more places and inputs, got {places} and {inputs}")
    if device != "cpu":
        return Choice("dense", f"events were not measured on a {device}")
    read = places / inputs + activity
    frames = "events" if read <= _MOST_READ else "dense"
    reason = f"{read:.3f} of a frame read forward and backward, at most {_MOST_READ} pays on a cpu"
    return Choice(frames, reason)
