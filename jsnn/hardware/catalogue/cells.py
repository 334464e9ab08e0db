"""Area of memory cells."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

SRAM_CELL = {
    "sram_cell_22nm_um2": Constant(
        0.1,
        "µm²/bit",
        "IBM, AMD, Freescale, STMicroelectronics, Toshiba and CNSE, press release of August 2008",
        "SECONDARY",
        "six transistors; decoders, sense amplifiers and wires come on top",
    ),
}
