"""In-memory crossbars after SpikeSim: every cycle costs the same, however few spikes there are.

A layer of C_in input and C_out output channels at D output positions, on crossbars of X rows and
columns (Moitra et al., arXiv 2210.12899; its `ela_spikesim.py`), takes in each step

    cycles = ceil(C_out / X) · ceil(C_in / X) · D

of which each costs, with k² the area of the kernel:

| part                                         | component           |
|----------------------------------------------|---------------------|
| X/8 · k² · crossbar                          | synapse             |
| X/8 · X/8 · (converter + multiplexer)        | synapse             |
| X/8 · 16 · subtracter                        | synapse             |
| 4 · neuron                                   | neuron              |
| fetch + tile buffer + X/8 · temporary buffer | activation_movement |
| 8 · H-tree                                   | routing             |

Spikes (or their absence) change nothing. The source knows convolutions fed by spikes. Ours
(DERIVED): a dense layer is a convolution of area one at one position, recurrence a second one in
every step; a real-valued frame enters bit by bit, `input_bits` times the cycles of a step of
spikes, while the neuron units work once a step. Groups of a convolution count by the channels of
one group. Loading the weights and static power are not in the source.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from jsnn.hardware.actions import PriceTable
from jsnn.hardware.design import Design
from jsnn.hardware.relaxation import ceil
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry

# Columns that share a converter.
_COLUMNS = 8
_SUBTRACTERS = 16
_HTREES = 8
_NEURON_UNITS = 4


def cycle_pj(technology: Technology, crossbar: Any, kernel_area: int) -> dict[str, Any]:
    """PJ of one cycle by component (table of the module).

    >>> from jsnn.hardware import get
    >>> parts = cycle_pj(get("spikesim-rram").technology, 64.0, 9)
    >>> round(sum(parts.values()), 4)
    828.4861
    """
    t, groups = technology, crossbar / _COLUMNS
    converters = _SUBTRACTERS * t["subtract_pj"]
    return {
        "synapse": groups * (element_pj(technology, crossbar, kernel_area) + converters),
        "neuron": _NEURON_UNITS * t["neuron_pj"],
        "activation_movement": t["fetch_pj"] + t["tile_buffer_pj"] + groups * t["temp_buffer_pj"],
        "routing": _HTREES * t["htree_pj"],
    }


def element_pj(technology: Technology, crossbar: Any, kernel_area: int) -> Any:
    """PJ of one processing element: `k² · crossbar + X/8 · (converter + multiplexer)`.

    >>> from jsnn.hardware import get
    >>> round(element_pj(get("spikesim-rram").technology, 64.0, 9), 5)
    32.87875
    """
    converters = technology["adc_pj"] + technology["mux_pj"]
    return kernel_area * technology["crossbar_pj"] + crossbar / _COLUMNS * converters


def cycles(geometry: Geometry, crossbar: Any, temperature: float = 0.0) -> Any:
    """Cycles of a layer in one step, without those of its recurrence.

    >>> from jsnn.workload.analytic import dense
    >>> float(cycles(dense(100, 65, steps=1, rate=0.1).geometry, 64.0))
    4.0
    """
    channels = geometry.output_shape[-1] if geometry.kind == "conv" else geometry.neurons
    columns = ceil(channels / crossbar, temperature)
    rows = ceil(geometry.fan_in // geometry.fan_out_area / crossbar, temperature)
    return columns * rows * (geometry.neurons // channels)


def _recurrent_cycles(geometry: Geometry, crossbar: Any, temperature: float) -> Any:
    if not geometry.feeds_back:
        return 0.0
    return ceil(geometry.neurons / crossbar, temperature) ** 2


@dataclasses.dataclass(frozen=True)
class SpikeSim:
    """Crossbars in tiles on an H-tree (table above)."""

    name: ClassVar[str] = "spikesim"
    constants: ClassVar[tuple[str, ...]] = (
        "crossbar_pj",
        "tile_buffer_pj",
        "temp_buffer_pj",
        "subtract_pj",
        "adc_pj",
        "htree_pj",
        "mux_pj",
        "fetch_pj",
        "neuron_pj",
    )
    parameters: ClassVar[tuple[str, ...]] = ("crossbar", "input_bits")
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("weight_memory", "the weights are the crossbars, loading them is not in the source"),
        ("state_memory", "in the price of the neuron unit"),
    )

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers, for steps of spikes and for real-valued frames."""
        g, crossbar = geometry, design.crossbar
        forward = cycles(g, crossbar, temperature)
        fed_back = _recurrent_cycles(g, crossbar, temperature)
        each = cycle_pj(technology, crossbar, g.fan_out_area)
        if not g.real:
            return ({"steps": {part: (forward + fed_back) * pj for part, pj in each.items()}},)
        passes = {
            part: 0.0 if part == "neuron" else design.input_bits * forward * pj
            for part, pj in each.items()
        }
        in_step = {
            part: (fed_back + (forward if part == "neuron" else 0.0)) * pj
            for part, pj in each.items()
        }
        return ({"frames": passes, "steps": in_step},)
