"""Design parameters of a machine: chosen by its designer, as the constants are not."""

from __future__ import annotations

import dataclasses
from typing import Any

from jsnn._checks import check_number
from jsnn._pytree import is_concrete, pytree

# No memory holds a petabyte and no chip has so many parts; with these ends and those of constants
# (`jsnn.hardware.constant.largest`) every price, times a trillion events, is finite in float32.
_MANY, _BYTES, _HOPS = 1e9, 1e15, 1e6

# Smallest and largest valid value of each design parameter.
BOUNDS = {
    "weight_bits": (1, 64),
    "state_bits": (1, 64),
    "input_bits": (1, 64),
    "output_bits": (1, 64),
    "event_bits": (1, 64),
    "queue_events": (1, _MANY),
    "hops": (0, _HOPS),
    "targets_per_message": (1, _MANY),
    "weight_fetch_share": (0, 1),
    "temporal_reuse": (0, 1),
    "zero_skipping": (0, 1),
    "batch": (1, 1e15),
    "local_bytes": (0, _BYTES),
    "global_bytes": (0, _BYTES),
    "dram_bytes": (0, _BYTES),
    "core_weight_bytes": (1, _BYTES),
    "core_state_bytes": (1, _BYTES),
    "core_neurons": (1, _MANY),
    "cores": (1, _MANY),
    "pes": (1, _MANY),
    "pe_state_bytes": (0, _BYTES),
    "crossbar": (1, _MANY),
    "clock_hz": (1, 1e12),
    "dense_share": (0, 1),
}


@pytree
@dataclasses.dataclass(frozen=True)
class Design:
    """Design parameters of one machine; None where it has no such parameter. Each is a float leaf.

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
        zero_skipping: 1 where the weight of a zero input is not fetched, 0 where it is.
        batch: inferences that share one load of the weights from DRAM.
        local_bytes, global_bytes, dram_bytes: capacity of each bank of a level of the hierarchy.
        core_weight_bytes, core_state_bytes: memories of one core.
        core_neurons: neurons that one core can hold.
        cores: cores on the chip.
        pes: processing elements that work side by side (in a core, where there are cores).
        pe_state_bytes: registers for state in one processing element.
        crossbar: rows and columns of a crossbar array.
        clock_hz: clock.
        dense_share: 1 where a layer sends every value, 0 where it sends what is not zero, on
            machines that are built for one of the two (`committed`).

    Raises:
        ValueError: a design parameter that is no number, or not within its bounds (of a traced one
            only the type is checked).

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
    zero_skipping: Any = None
    batch: Any = None
    local_bytes: Any = None
    global_bytes: Any = None
    dram_bytes: Any = None
    core_weight_bytes: Any = None
    core_state_bytes: Any = None
    core_neurons: Any = None
    cores: Any = None
    pes: Any = None
    pe_state_bytes: Any = None
    crossbar: Any = None
    clock_hz: Any = None
    dense_share: Any = None

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            check_number(name, value, low, high)
            if is_concrete(value) and isinstance(value, int):
                # A gradient needs a float leaf.
                object.__setattr__(self, name, float(value))

    @property
    def parameters(self) -> dict[str, Any]:
        """The design parameters this machine has, by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}
