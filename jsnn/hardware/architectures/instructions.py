"""Programmable cores: every event is a short program, its price the sum of its instructions.

With L, S, A, C the load, store, arithmetic and compare instruction, n the state words of a neuron
and F = targets_per_message:

| event           | instructions                                    | component           |
|-----------------|-------------------------------------------------|---------------------|
| input spike     | ceil(fan-out / F) messages                      | routing             |
| word, not zero  | the same                                        | routing             |
| synop           | L of the weight                                 | weight_memory       |
|                 | L and S of the state                            | state_memory        |
|                 | A                                               | synapse             |
| mac             | as a synop, with one A more                     | the same            |
| neuron-step     | n L, n S                                        | state_memory        |
|                 | multiplies·A, adds·A, compares·C, one capture   | neuron              |
| bias            | L, A                                            | weight_memory, …    |
| stored current  | S once; L, and A where the neuron has none      | state_memory, neuron|
| output spike    | event generated, adds_per_spike·A               | neuron              |
| layer load      | nothing: weights stay in their core             |                     |

One synapse at a time, nothing shared between them: the naive program. 3.7 + 3.7 + 1.4 + 3.9 =
12.7 pJ is what others quote for SENECA's synaptic operation, and a neuron that leaks, resets and
compares comes to the 12.1 they quote for an update; its authors reach 2.8 pJ an operation with an
optimised program. A neuron that never fires captures nothing. What leaves a layer is paid for where
it arrives.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jsnn.hardware.actions import PriceTable
from jsnn.hardware.architectures.parts import messages
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class Instructions:
    """Events as programs (table above)."""

    name: ClassVar[str] = "instructions"
    constants: ClassVar[tuple[str, ...]] = (
        "arithmetic_pj",
        "compare_pj",
        "load_pj",
        "store_pj",
        "capture_pj",
        "event_pj",
        "message_pj",
    )
    parameters: ClassVar[tuple[str, ...]] = ("targets_per_message",)
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("activation_movement", "all movement is by messages, under routing"),
        ("static", "a static power is quoted, but a step lasts as long as its load takes"),
    )

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers."""
        g, n = geometry, geometry.ops.state_words
        a, c, load, store, capture, event, message = (technology[name] for name in self.constants)
        targets = design.targets_per_message
        memory = {"weight_memory": load, "state_memory": load + store}
        update = (g.ops.multiplies + g.ops.adds) * a + g.ops.compares * c
        update += capture if g.spiking else 0.0
        per_input = messages(g.fan_outs, targets, temperature)
        per_neuron = messages((g.neurons,), targets, temperature)[0]
        return (
            {
                "events_by_fan_out": {"routing": per_input * message},
                "recurrent_events": {"routing": per_neuron * message},
                "synops": {"synapse": a, **memory},
                "macs": {"synapse": 2 * a, **memory},
                "neuron_steps": {"neuron": update, "state_memory": n * (load + store)},
                "bias_adds": {"neuron": a, "weight_memory": load},
                "current_writes": {"state_memory": store},
                "current_reads": {"neuron": 0.0 if g.ops.adds else a, "state_memory": load},
                "spikes_out": {"neuron": event + g.ops.adds_per_spike * a},
            },
        )
