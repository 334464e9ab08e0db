"""Silicon area of the memories of a design, which opposes a larger buffer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jsnn.hardware import Hardware, check_hardware
from jsnn.hardware.architectures import Sized
from jsnn.hardware.constants.cells import SRAM_CELLS_UM2
from jsnn.workload import LayerWorkload

MM2_PER_UM2 = 1e-6


def memory_bits(hardware: Hardware) -> dict[str, Any]:
    """Bits of each memory on the chip, by name; DRAM is another chip.

    Args:
        hardware: a machine whose architecture is `Sized` (classical, event-driven, spatial).

    Raises:
        ValueError: another architecture, whose memories are not known.

    >>> from jsnn.hardware import get
    >>> memory_bits(get("spatial-45nm"))["registers"]
    131072.0
    """
    check_hardware(hardware)
    if not isinstance(hardware.architecture, Sized):
        raise ValueError(
            f"{hardware.name}: architecture {hardware.architecture.name!r} does not say what "
            "memories it has; its area is unknown"
        )
    return dict(hardware.architecture.memories(hardware.design))


def cell_um2(node_nm: Any) -> Any:
    """Area of an SRAM cell: a power law of the node between published cells (DERIVED).

    `log cell` is linear in `log node` from 22 to 65 and from 65 to 90 nm.

    Raises:
        ValueError: a node outside the published cells.

    >>> round(float(cell_um2(45)), 3)
    0.316
    """
    nodes = sorted(SRAM_CELLS_UM2)
    if not nodes[0] <= node_nm <= nodes[-1]:
        raise ValueError(
            f"cells are published from {nodes[0]} to {nodes[-1]} nm, found node_nm = {node_nm}: "
            "nothing is extrapolated"
        )
    cells = [SRAM_CELLS_UM2[node].value for node in nodes]
    return jnp.exp(jnp.interp(jnp.log(node_nm), np.log(nodes), np.log(cells)))


def memory_area_layers_mm2(pairs: Sequence[tuple[LayerWorkload, Hardware]], node_nm: Any) -> Any:
    """Area of the one machine that layers with design parameters of their own run on, mm².

    Each memory is as large as the layer that asks for most of it. Differentiable in every design
    parameter.

    Raises:
        ValueError: no layer, and as `memory_area_mm2`.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> layer, machine = dense(64, 32, steps=4, rate=0.25), get("spatial-45nm")
    >>> pairs = [(layer, machine.with_design(weight_bits=4)), (layer, machine)]
    >>> float(memory_area_layers_mm2(pairs, 45) / memory_area_mm2(machine, 45))
    1.0
    """
    if not pairs:
        raise ValueError("expected a workload of at least one layer, found none")
    tables = [memory_bits(hardware) for _, hardware in pairs]
    largest = [functools.reduce(jnp.maximum, [t[name] for t in tables]) for name in tables[0]]
    return sum(largest) * cell_um2(node_nm) * MM2_PER_UM2


def memory_area_mm2(hardware: Hardware, node_nm: Any) -> Any:
    """`Σ bits · cell(node)`, mm²: the cells of all memories on the chip, nothing else (DERIVED).

    Arithmetic, routers and what surrounds the cells (decoders, sense amplifiers, wires) are not
    counted, and a register counts as an SRAM cell: less than any chip takes. Differentiable in
    every design parameter.

    Raises:
        ValueError: another architecture, or a node outside the published cells.

    >>> from jsnn.hardware import get
    >>> round(float(memory_area_mm2(get("classical-45nm"), 45)), 2)
    8.01
    """
    return sum(memory_bits(hardware).values()) * cell_um2(node_nm) * MM2_PER_UM2
