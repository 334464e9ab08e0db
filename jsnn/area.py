"""How much silicon the memories of a design take: what opposes a larger buffer."""

from __future__ import annotations

from typing import Any

from jsnn.hardware import Hardware
from jsnn.hardware.architectures import Classical, EventDriven, Spatial
from jsnn.hardware.catalogue.cells import SRAM_CELL

CELL_NODE_NM = 22.0
MM2_PER_UM2 = 1e-6
BITS_PER_BYTE = 8


def memory_bits(hardware: Hardware) -> dict[str, Any]:
    """Bits of each memory on the chip, by name; DRAM is another chip.

    Args:
        hardware: a machine of the classical, the event-driven or the spatial architecture.

    Raises:
        ValueError: another architecture, whose memories are not known.

    >>> from jsnn.hardware import get
    >>> memory_bits(get("spatial-45nm"))["registers"]
    131072.0
    """
    d, architecture = hardware.design, hardware.architecture
    if isinstance(architecture, Classical):
        banks = ("weights", "states", "words")
        sizes = {f"{bank}@local": d.local_bytes for bank in banks}
        sizes |= {f"{bank}@global": d.global_bytes for bank in banks}
        found = {name: size * BITS_PER_BYTE for name, size in sizes.items()}
        return found | {"queue": d.queue_events * d.event_bits}
    if isinstance(architecture, EventDriven):
        core = {"weights@core": d.core_weight_bytes, "states@core": d.core_state_bytes}
        return {name: d.cores * size * BITS_PER_BYTE for name, size in core.items()}
    if isinstance(architecture, Spatial):
        banks = ("weights", "states")
        sizes = {f"{bank}@local": d.local_bytes for bank in banks}
        sizes |= {f"{bank}@global": d.global_bytes for bank in banks}
        sizes["registers"] = d.pes * d.pe_state_bytes
        return {name: size * BITS_PER_BYTE for name, size in sizes.items()}
    raise ValueError(
        f"{hardware.name}: architecture {architecture.name!r} does not say what memories it has; "
        "its area is unknown"
    )


def memory_area_mm2(hardware: Hardware, node_nm: Any) -> Any:
    """`Σ bits · cell · (node / 22 nm)²`, mm²: cells of all memories on the chip, nothing else.

    A lower bound (DERIVED): arithmetic, routers and what surrounds the cells are not counted, a
    register counts as an SRAM cell, and cells are taken to shrink with the square of the node,
    which holds from about 90 to 16 nm. Differentiable in every knob.

    Raises:
        ValueError: another architecture, or a node outside 16 to 90 nm.

    >>> from jsnn.hardware import get
    >>> round(memory_area_mm2(get("classical-45nm"), 45), 2)
    10.62
    """
    if not 16 <= node_nm <= 90:
        raise ValueError(f"expected a node of 16 to 90 nm, found {node_nm}")
    cell_um2 = SRAM_CELL["sram_cell_22nm_um2"].value * (node_nm / CELL_NODE_NM) ** 2
    return sum(memory_bits(hardware).values()) * cell_um2 * MM2_PER_UM2
