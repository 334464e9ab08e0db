"""Neuromorphic cores on a mesh: every value travels to the neurons that need it.

The published equations of arXiv 2409.08290 are not at hand; this is a reconstruction fitted to its
results (DERIVED): break-even spike rates, their sensitivity to weight and movement energy, parity
hops and the sparse-to-dense switch come out within 2 %; its break-even at T = 1 does not. With
w, v, b the bits of weight, state and input word, n the state words of a neuron, F =
targets_per_message, f = weight_fetch_share and r = temporal_reuse:

| event             | unit        | what is done                          | bits  | component     |
|-------------------|-------------|---------------------------------------|-------|---------------|
| synop             | adder       | 1 add                                 | v     | synapse       |
|                   | weights     | sparse: (1 - r)·f reads               | w     | weight_memory |
|                   | link@sparse | sparse: 1/F messages                  | 1     | routing       |
| synop, mean step  | weights     | sparse: r·f reads                     | w     | weight_memory |
| synapse x step    | weights     | dense: (1 - r)·f reads                | w     | weight_memory |
|                   | link@dense  | dense: 1/F messages                   | 1     | routing       |
| synapse           | weights     | dense: r·f reads                      | w     | weight_memory |
| connection, frame | weights     | f reads                               | w     | weight_memory |
|                   | link@dense  | dense: 1/F messages                   | b     | routing       |
| mac               | multiplier  | 1 multiply with its accumulation      | w x b | synapse       |
|                   | link@sparse | sparse: 1/F messages                  | b     | routing       |
| neuron-step       | states      | n reads, n writes                     | v     | state_memory  |
|                   | multiplier  | multiplies of the neuron              | w x v | neuron        |
|                   | adder       | adds of the neuron                    | v     | neuron        |
|                   | comparator  | compares of the neuron                | v     | neuron        |
| bias added        | weights     | 1 read                                | v     | weight_memory |
|                   | adder       | 1 add                                 | v     | neuron        |
| current stored    | states      | 1 write                               | v     | state_memory  |
| current used      | states      | 1 read                                | v     | state_memory  |
|                   | adder       | 1 add, where the neuron has none      | v     | neuron        |
| output spike      | adder       | adds of the reset                     | v     | neuron        |

A bit read or written in a memory (`weights@sram`, `states@sram`) costs the same wherever it lies;
a bit of a message costs its price on each of its hops, one price on the sparse network (a message
for each spike, or word that is not zero, and target) and one on the dense (a message for each
connection, in every step or frame). F targets share a message: a mean, with fractions of a message.
An addition, a comparison and a subtraction cost the same at any width, a product by the bits of
its factors. A synapse is a connection that carries spikes. With r = 1 a weight that was fetched
stays for the window: synops read it as often as in a mean step (synops / T). Weights stay in their
memory: none is loaded. An input event has no price of its own, it is in its synops (sparse) or in
its steps (dense). A layer runs in the cheaper of the two dataflows, sample by sample. What the
layers exchange is priced by its hops, so `routing` holds all of it and `activation_movement` is no
item of its own.

Where only weights that are not zero are stored (`Skipping`), each has its address: a weight is then
of w + i bits, with i = `Geometry.index_bits`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from jsnn.hardware.actions import Action, ActionTable
from jsnn.hardware.architectures.machine import Acting
from jsnn.hardware.architectures.parts import Bank, Units, stored_bits
from jsnn.hardware.arithmetic import Arithmetic, BitProduct
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class Neuromorphic(Acting):
    """Sparse or dense messages between cores (table above)."""

    name: ClassVar[str] = "neuromorphic"
    arithmetic: ClassVar[Arithmetic] = BitProduct()
    skips_weights: ClassVar[bool] = True
    constants: ClassVar[tuple[str, ...]] = (
        "accumulate_pj",
        "sram_pj_per_bit",
        "mac_pj_per_bit2",
        "sparse_hop_pj_per_bit",
        "dense_hop_pj_per_bit",
    )
    parameters: ClassVar[tuple[str, ...]] = (
        "weight_bits",
        "state_bits",
        "input_bits",
        "hops",
        "targets_per_message",
        "weight_fetch_share",
        "temporal_reuse",
    )
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("activation_movement", "all movement is priced by hops, under routing"),
    )

    def actions(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[ActionTable, ...]:
        """The table of the module: sparse, then dense."""
        g, d = geometry, design
        units = Units(technology, d, g, None, self.arithmetic, temperature)
        memory = (Bank("sram", 1),)
        refetched = (1 - d.temporal_reuse) * d.weight_fetch_share
        kept = d.temporal_reuse * d.weight_fetch_share

        def weight(times: Any) -> tuple[Action, ...]:
            return units.access("weights", "read", times, stored_bits(d, g), memory)

        def state(verb: str, times: Any) -> tuple[Action, ...]:
            return units.access("states", verb, times, d.state_bits, memory)

        def send(network: str, bits: Any) -> Action:
            pj = bits * d.hops * technology[f"{network}_hop_pj_per_bit"]
            return Action("routing", f"link@{network}", "send", bits, 1 / d.targets_per_message, pj)

        n, product = g.ops.state_words, units.multiply("synapse", 1, d.weight_bits, d.input_bits)
        either = {
            "neuron_steps": (*state("read", n), *state("write", n), *units.update()),
            "bias_adds": (
                *units.access("weights", "read", 1, d.state_bits, memory),
                units.add("neuron"),
            ),
            "current_writes": state("write", 1),
            "current_reads": (*state("read", 1), units.current()),
            "spikes_out": (units.reset(),),
        }
        sparse = {
            "synops": (units.add("synapse"), *weight(refetched), send("sparse", 1)),
            "mean_synops": weight(kept),
            "macs": (product, send("sparse", d.input_bits)),
            "connections": weight(d.weight_fetch_share),
        }
        dense = {
            "synops": (units.add("synapse"),),
            "synapse_steps": (*weight(refetched), send("dense", 1)),
            "synapses": weight(kept),
            "macs": (product,),
            "connections": (*weight(d.weight_fetch_share), send("dense", d.input_bits)),
        }
        return either | sparse, either | dense
