"""Arithmetic alone, as the SNN literature counts it: memory and wires cost nothing.

| event          | computed                              | component | price               |
|----------------|---------------------------------------|-----------|---------------------|
| synop          | 1 add                                 | synapse   | add                 |
| mac            | 1 multiply, 1 add                     | synapse   | mul + add           |
| neuron-step    | multiplies, adds, compares of the law | neuron    | n·mul + (n + n)·add |
| bias           | 1 add                                 | neuron    | add                 |
| stored current | 1 add where the law has none          | neuron    | add                 |
| output spike   | reset                                 | neuron    | adds_per_spike·add  |
| layer load     | nothing                               |           | unpriced            |

A comparison is a subtraction whose sign is looked at: one add. The convention itself (Spikformer
and its family) stops after the first two rows: `jsnn.energy.op_count_proxy`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jsnn.hardware.design import Design
from jsnn.hardware.ledger import PriceTable
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry

_REASON = "the convention counts arithmetic only"


@dataclasses.dataclass(frozen=True)
class ComputeOnly:
    """Floating-point adds and multiplies (table above)."""

    name: ClassVar[str] = "compute-only"
    constants: ClassVar[tuple[str, ...]] = ("add_fp32_pj", "mul_fp32_pj")
    knobs: ClassVar[tuple[str, ...]] = ()
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("weight_memory", _REASON),
        ("state_memory", _REASON),
        ("activation_movement", _REASON),
        ("routing", _REASON),
    )

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers; neither bits nor sizes matter."""
        add, mul = technology["add_fp32_pj"], technology["mul_fp32_pj"]
        law = geometry.multiplies * mul + (geometry.adds + geometry.compares) * add
        return (
            {
                "synops": {"synapse": add},
                "macs": {"synapse": mul + add},
                "neuron_steps": {"neuron": law},
                "bias_adds": {"neuron": add},
                "current_reads": {"neuron": 0.0 if geometry.adds else add},
                "spikes_out": {"neuron": geometry.adds_per_spike * add},
            },
        )
