"""Knobs of a machine: what its designer may choose, unlike the constants of its technology."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jsnn.hardware.trees import is_concrete, pytree

# Smallest and largest legal value of each knob.
BOUNDS = {
    "weight_bits": (1, 64),
    "state_bits": (1, 64),
    "input_bits": (1, 64),
    "output_bits": (1, 64),
    "event_bits": (1, 64),
    "queue_events": (1, np.inf),
    "hops": (0, np.inf),
    "targets_per_message": (1, np.inf),
    "weight_fetch_share": (0, 1),
    "temporal_reuse": (0, 1),
}


@pytree
@dataclasses.dataclass(frozen=True)
class Design:
    """Knobs of one machine; None where it has no such knob. Every knob is a float leaf.

    Attributes:
        weight_bits: width of a weight and of a decay factor.
        state_bits: width of a membrane, bias or stored current, and of the adder behind it.
        input_bits: width of a real-valued input word.
        output_bits: width of a real-valued output word (only layers without a state write any).
        event_bits: width of a spike's address in a queue.
        queue_events: spikes that a queue between two layers holds.
        hops: mean router hops of a message.
        targets_per_message: neurons that one message serves (1: each target its own message).
        weight_fetch_share: share of the weight uses that fetch the weight from its memory
            (1: all of them; 0: spatial reuse serves all, as in a large convolution).
        temporal_reuse: 1 where a fetched weight stays for the whole window, 0 where it is fetched
            anew in each step.

    Raises:
        ValueError: a knob out of its bounds (checked when it is a number, not under tracing).

    >>> Design(weight_bits=8).weight_bits
    8.0
    """

    weight_bits: Any = None
    state_bits: Any = None
    input_bits: Any = None
    output_bits: Any = None
    event_bits: Any = None
    queue_events: Any = None
    hops: Any = None
    targets_per_message: Any = None
    weight_fetch_share: Any = None
    temporal_reuse: Any = None

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not is_concrete(value):
                continue
            if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
                raise ValueError(f"expected {low} <= {name} <= {high}, found {value}")
            if isinstance(value, int):
                # A gradient needs a float leaf.
                object.__setattr__(self, name, float(value))

    @property
    def knobs(self) -> dict[str, Any]:
        """The knobs this machine has, by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}
