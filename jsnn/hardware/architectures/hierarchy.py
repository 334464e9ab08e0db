"""Layer-by-layer accelerator: arithmetic beside RAMs of fitting size, one access per datum.

Counts after Lemaire et al. 2022 (arXiv 2210.13107, equations 1 to 17), RAM energy growing with
the size of the memory: `e(bits) = slope · bits + base`. W, V, X, Y, Q stand for one access to the
memory of the weights, the states, real inputs, real outputs and a queue of spikes, B and I to that
of the biases and of the stored currents; add32 and mul32 stand for address arithmetic;
movement is `activation_movement`, n a number of words or operations.

| event             | read and written       | computed       | component: price                   |
|-------------------|------------------------|----------------|------------------------------------|
| input event       | spike read             |                | movement: Q                        |
| … of a conv       |                        | start address  | routing: 2·(mul32 + add32)         |
| synop             | weight read            | add            | synapse: add; weight_memory: W     |
|                   | membrane read, written | target address | state_memory: 2·V; routing: add32  |
| mac               | weight read            | multiply, add  | synapse: mac; weight_memory: W     |
| real input, dense | each word read once    |                | movement: X                        |
| real input, conv  | word read for each use |                | movement: X                        |
| real frame        |                        | loop counters  | routing: (in + out + kernel)·add32 |
| neuron-step       | state read, written    | update         | neuron: update; state_memory: 2n·V |
| bias              | bias read              | add            | neuron: add; weight_memory: B      |
| stored current    | written once, read     |                | state_memory: I                    |
| output spike      | spike written          | reset          | neuron: n·add; movement: Q         |
| output word       | word written           |                | movement: Y                        |
| layer load        | none: weights stay     |                |                                    |

update = multiplies·mul(weight, state) + (adds + compares)·add and mac = mul(weight, input) + add,
every add as wide as the state. A stored current costs an add where the neuron model has none.

`counts="published"` charges convolutions as the paper does: an input spike costs
`ceil(kernel / stride)` adds an axis and output channel, but touches a weight and a membrane for
every kernel position, borders included; a real frame multiplies every kernel position of every
output, zeros and borders included. Dense layers are the same either way.

Where the default departs from the paper: accumulations, weight and membrane accesses all follow the
true edges of the workload (the paper charges `ceil(kernel / stride)` adds but every kernel position
in memory, borders included); zero inputs skip the weight and the multiply, not the input read; the
comparison with the threshold costs an add; the reset and the bias follow its corrected equation
2.4; real inputs of a dense layer take one counter step a word (its authors' other reading, one a
MAC, is not used); recurrent weights share the memory of the forward ones; a word of state that a
synapse touches is one, however many the neuron keeps.

Where only weights that are not zero are stored (`Skipping`), their memory is of as many words of
weight and address (`Geometry.index_bits`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from jsnn.hardware.actions import PriceTable
from jsnn.hardware.arithmetic import add_pj, mul_pj
from jsnn.hardware.design import Design
from jsnn.hardware.memory import LemaireRegression
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


def access_pj(technology: Technology, size_bits: Any) -> Any:
    """One access to a RAM of `size_bits`, reading or writing, of any width, pJ.

    >>> from jsnn.hardware import get
    >>> round(access_pj(get("hierarchy-45nm").technology, 8 * 32 * 1024), 2)
    16.06
    """
    return LemaireRegression().access_pj(technology, "local", size_bits, 1)


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """Arithmetic, RAM by size and address generation (table above).

    Attributes:
        counts: `true-edges` or `published`, see the module.

    Raises:
        ValueError: other counts.
    """

    counts: str = "true-edges"
    name: ClassVar[str] = "hierarchy"
    skips_weights: ClassVar[bool] = True
    constants: ClassVar[tuple[str, ...]] = (
        "add_int8_pj",
        "add_int32_pj",
        "mul_int8_pj",
        "mul_int32_pj",
        "ram_slope_pj_per_bit",
        "ram_base_pj",
    )
    parameters: ClassVar[tuple[str, ...]] = (
        "weight_bits",
        "state_bits",
        "input_bits",
        "output_bits",
        "event_bits",
        "queue_events",
    )
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __post_init__(self) -> None:
        if self.counts not in ("true-edges", "published"):
            raise ValueError(f"expected counts 'true-edges' or 'published', found {self.counts!r}")

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers."""
        g, state_bits = geometry, design.state_bits
        stored_bits = design.weight_bits + g.index_bits
        weights = access_pj(technology, (g.weights + g.recurrent_weights) * stored_bits)
        biases = access_pj(technology, g.biases * state_bits)
        states = access_pj(technology, g.neurons * g.ops.state_words * state_bits)
        currents = access_pj(technology, g.neurons * state_bits)
        inputs = access_pj(technology, g.inputs * design.input_bits)
        outputs = access_pj(technology, g.neurons * design.output_bits)
        queue = access_pj(technology, design.queue_events * design.event_bits)

        add = add_pj(technology, state_bits)
        mac = mul_pj(technology, design.weight_bits, design.input_bits) + add
        decay = mul_pj(technology, design.weight_bits, state_bits)
        update = g.ops.multiplies * decay + (g.ops.adds + g.ops.compares) * add
        first = 0.0 if g.ops.adds else add

        address_add, address_mul = technology["add_int32_pj"], technology["mul_int32_pj"]
        conv = g.kind == "conv"
        kernel = g.output_shape[-1] * g.fan_out_area if conv else 0
        start_address = 2 * (address_mul + address_add) if conv else 0.0
        synop = {
            "synapse": add,
            "weight_memory": weights,
            "state_memory": 2 * states,
            "routing": address_add,
        }
        counters = {"routing": (g.inputs + g.neurons + kernel) * address_add}
        wiring = {
            "spikes_in": {"activation_movement": queue, "routing": start_address},
            "synops": synop,
            "macs": {"synapse": mac, "weight_memory": weights},
            "connections" if conv else "words_in": {"activation_movement": inputs},
            "frames": counters,
        }
        if conv and self.counts == "published":
            wiring = _published(g, wiring["spikes_in"], synop, mac, weights, inputs, counters)
        return (
            wiring
            | {
                "neuron_steps": {"neuron": update, "state_memory": 2 * g.ops.state_words * states},
                "bias_adds": {"neuron": add, "weight_memory": biases},
                "current_writes": {"state_memory": currents},
                "current_reads": {"neuron": first, "state_memory": currents},
                "spikes_out": {"neuron": g.ops.adds_per_spike * add, "activation_movement": queue},
                "words_out": {"activation_movement": outputs},
            },
        )


def _published(g: Geometry, spike, synop, mac, weights, inputs, counters) -> PriceTable:
    """Equations 1.1, 1.4, 3, 5, 6.1, 7, 9, 14 and 16 of the paper, for a convolution."""
    channels = g.output_shape[-1]
    touched = channels * g.fan_out_area
    added = channels * math.prod(
        -(-taps // stride) for taps, stride in zip(g.kernel, g.strides, strict=True)
    )
    every = g.weights * (g.neurons // channels)
    return {
        "spikes_in": spike
        | {"synapse": added * synop["synapse"]}
        | {name: touched * synop[name] for name in ("weight_memory", "state_memory")}
        | {"routing": spike["routing"] + touched * synop["routing"]},
        "frames": {
            "synapse": every * mac,
            "weight_memory": every * weights,
            "activation_movement": every * inputs,
            **counters,
        },
    }
