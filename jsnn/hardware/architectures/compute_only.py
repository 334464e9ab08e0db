"""Arithmetic alone, as the SNN literature counts it: memory and wires cost nothing.

| event          | computed                              | component | price               |
|----------------|---------------------------------------|-----------|---------------------|
| synop          | 1 add (of a product: none)            | synapse   | add or 0            |
| operand read   | 1 add, whatever is read               | synapse   | add                 |
| mac            | 1 multiply, 1 add                     | synapse   | mul + add           |
| neuron-step    | multiplies, adds and compares         | neuron    | n·mul + (n + n)·add |
| bias           | 1 add                                 | neuron    | add                 |
| stored current | 1 add where the neuron has none       | neuron    | add                 |
| output spike   | reset                                 | neuron    | adds_per_spike·add  |
| layer load     | nothing                               |           | unpriced            |

A comparison is a subtraction whose sign is looked at: one add. The convention itself (Spikformer
and its family) stops after the first three rows: `jsnn.energy.op_count_proxy`. Of a product of
spikes with spikes it counts every spike of one side against all of the other, as if that were
dense.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jsnn.hardware.actions import PriceTable
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry

NUMBERS = ("fp32", "fp16", "int32", "int8")
_REASON = "the convention counts arithmetic only"


@dataclasses.dataclass(frozen=True)
class ComputeOnly:
    """Adds and multiplies (table above).

    Attributes:
        number: type of the numbers: `fp32`, `fp16`, `int32` or `int8`.

    Raises:
        ValueError: another type.

    >>> ComputeOnly("int8").constants
    ('add_int8_pj', 'mul_int8_pj')
    """

    number: str = "fp32"
    name: ClassVar[str] = "compute-only"
    skips_weights: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ()
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("weight_memory", _REASON),
        ("state_memory", _REASON),
        ("activation_movement", _REASON),
        ("routing", _REASON),
    )

    def __post_init__(self) -> None:
        if self.number not in NUMBERS:
            raise ValueError(f"expected numbers of {list(NUMBERS)}, found {self.number!r}")

    @property
    def constants(self) -> tuple[str, ...]:
        """The adder and the multiplier of these numbers."""
        return f"add_{self.number}_pj", f"mul_{self.number}_pj"

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers; neither bits nor sizes matter."""
        add, mul = (technology[name] for name in self.constants)
        update = geometry.ops.multiplies * mul + (geometry.ops.adds + geometry.ops.compares) * add
        return (
            {
                "synops": {"synapse": 0.0 if geometry.operand else add},
                "operand_reads": {"synapse": add},
                "macs": {"synapse": mul + add},
                "neuron_steps": {"neuron": update},
                "bias_adds": {"neuron": add},
                "current_reads": {"neuron": 0.0 if geometry.ops.adds else add},
                "spikes_out": {"neuron": geometry.ops.adds_per_spike * add},
            },
        )
