"""Costs of spikes and words at 22 nm in units of a 32-bit addition, after Davidson and Furber."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_PAPER = "Davidson and Furber, Front. Neurosci. 15:651141, 2021, 22FDX"
_UNIT = "in additions of 32 bits, each about 60 fJ"
_SPLIT = f"how the break-even of {_PAPER} splits"

DAVIDSON_FURBER = {
    "add_pj": Constant(0.060, "pJ", _PAPER, "SECONDARY", "32 bits"),
    "mac_pj": Constant(0.293, "pJ", _PAPER, "SECONDARY", "32 x 8 bits: five additions"),
    "sram_read_pj": Constant(0.296, "pJ", _PAPER, "SECONDARY", "32 bits: five additions"),
    "add_units": Constant(1.0, "E", _PAPER, "SECONDARY", _UNIT),
    "mac_units": Constant(5.0, "E", _PAPER, "SECONDARY", _UNIT),
    "read_units": Constant(5.0, "E", _PAPER, "SECONDARY", _UNIT),
    "write_back_units": Constant(1.0, "E", _PAPER, "SECONDARY", _UNIT),
    "ann_accumulate_units": Constant(
        2.0, "E", _SPLIT, "DERIVED", "accumulate and write back beside product and weight read"
    ),
}
