"""Area of memory cells, by node."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_NOTE = "six transistors; decoders, sense amplifiers and wires come on top"


def _cell(um2: float, source: str) -> Constant:
    return Constant(um2, "µm²/bit", source, "SECONDARY", _NOTE)


# Node in nm -> SRAM cell, as press reports of the makers' announcements give it.
SRAM_CELLS_UM2 = {
    22: _cell(0.1, "IBM, AMD, Freescale, STMicroelectronics, Toshiba and CNSE, reported 2008"),
    65: _cell(0.57, "Intel, reported by The Korea IT Times"),
    90: _cell(1.0, "Intel, reported by Supercomputing Online"),
}
