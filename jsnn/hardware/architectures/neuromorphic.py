"""Neuromorphic cores on a mesh: every value travels to the neurons that need it.

The published equations of arXiv 2409.08290 are not at hand; this is a reconstruction fitted to its
results (DERIVED): break-even spike rates, their sensitivity to weight and movement energy, parity
hops and the sparse-to-dense switch come out within 2 %; its break-even at T = 1 does not. With
A the accumulate (also compare and subtract), s the SRAM energy of a bit, m the multiplier energy
of a weight bit times an activation bit, S and D the energy of a bit and hop on the sparse and on
the dense network, H = hops / targets_per_message, w, v, b the bits of weight, state and input,
W = weight_fetch_share · w · s and r = temporal_reuse:

| event                             | component             | sparse dataflow  | dense dataflow   |
|-----------------------------------|-----------------------|------------------|------------------|
| input event                       |                       | in its synops    | in its steps     |
| synop: accumulate                 | synapse               | A                | A                |
| synop: weight read                | weight_memory         | (1-r)·W          |                  |
| synop: bit moved                  | routing               | S·H              |                  |
| synop of a mean step: weight read | weight_memory         | r·W              |                  |
| synapse x step: weight read       | weight_memory         |                  | (1-r)·W          |
| synapse x step: bit moved         | routing               |                  | D·H              |
| synapse: weight read              | weight_memory         |                  | r·W              |
| mac: multiply, accumulate         | synapse               | m·w·b            | m·w·b            |
| mac: b bits moved                 | routing               | b·S·H            |                  |
| connection x frame: weight read   | weight_memory         | W                | W                |
| connection x frame: b bits moved  | routing               |                  | b·D·H            |
| neuron-step: law                  | neuron                | law              | law              |
| neuron-step: state read, written  | state_memory          | 2·words·v·s      | 2·words·v·s      |
| bias: read, add                   | weight_memory, neuron | v·s, A           | v·s, A           |
| stored current: write once        | state_memory          | v·s              | v·s              |
| stored current: read              | state_memory          | v·s              | v·s              |
| stored current: add               | neuron                | A or 0           | A or 0           |
| output spike: reset               | neuron                | adds_per_spike·A | adds_per_spike·A |
| layer load: none, weights stay    |                       |                  |                  |

law = multiplies·m·w·v + (adds + compares)·A; a stored current costs an A where the law
of the neuron has no addition. A layer runs in the cheaper of the two dataflows,
sample by sample. What the layers exchange is priced by its hops, so `routing` holds all of it and
`activation_movement` is no item of its own.

Where only weights that are not zero are stored (`Skipping`), a read brings the address beside the
weight along (`Geometry.index_bits`).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jsnn.hardware.design import Design
from jsnn.hardware.ledger import PriceTable
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class Neuromorphic:
    """Sparse or dense messages between cores (table above)."""

    name: ClassVar[str] = "neuromorphic"
    skips_weights: ClassVar[bool] = True
    constants: ClassVar[tuple[str, ...]] = (
        "accumulate_pj",
        "sram_pj_per_bit",
        "mac_pj_per_bit2",
        "sparse_hop_pj_per_bit",
        "dense_hop_pj_per_bit",
    )
    knobs: ClassVar[tuple[str, ...]] = (
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

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The sparse and the dense table of the module as numbers."""
        g, accumulate = geometry, technology["accumulate_pj"]
        sram, product = technology["sram_pj_per_bit"], technology["mac_pj_per_bit2"]
        stored_bits = design.weight_bits + geometry.index_bits
        weight = design.weight_fetch_share * stored_bits * sram
        kept, refetched = design.temporal_reuse * weight, (1 - design.temporal_reuse) * weight
        word = design.state_bits * sram
        mac = product * design.weight_bits * design.input_bits
        path = design.hops / design.targets_per_message
        sparse, dense = (technology[f"{k}_hop_pj_per_bit"] * path for k in ("sparse", "dense"))
        law = g.multiplies * product * design.weight_bits * design.state_bits
        law = law + (g.adds + g.compares) * accumulate
        first = 0.0 if g.adds else accumulate

        either = {
            "neuron_steps": {"neuron": law, "state_memory": 2 * g.state_words * word},
            "bias_adds": {"neuron": accumulate, "weight_memory": word},
            "current_writes": {"state_memory": word},
            "current_reads": {"neuron": first, "state_memory": word},
            "spikes_out": {"neuron": g.adds_per_spike * accumulate},
        }
        by_event = {
            "synops": {"synapse": accumulate, "weight_memory": refetched, "routing": sparse},
            "mean_synops": {"weight_memory": kept},
            "macs": {"synapse": mac, "routing": design.input_bits * sparse},
            "connections": {"weight_memory": weight},
        }
        by_step = {
            "synops": {"synapse": accumulate},
            "synapse_steps": {"weight_memory": refetched, "routing": dense},
            "synapses": {"weight_memory": kept},
            "macs": {"synapse": mac},
            "connections": {"weight_memory": weight, "routing": design.input_bits * dense},
        }
        return either | by_event, either | by_step
