"""Cores and network on chip at 22 nm after Yan et al. (arXiv 2409.08290)."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_YAN = "Yan et al., arXiv 2409.08290 v4, 22 nm standard cells, 0.80 V, 25 C, 1 GHz"
_FIT = "fitted to the results published in Yan et al., arXiv 2409.08290 v4"

YAN_22NM = {
    "accumulate_pj": Constant(
        0.05448, "pJ", _YAN, "SECONDARY", "accumulate, compare and subtract alike"
    ),
    "sparse_hop_pj_per_bit": Constant(
        3.0, "pJ/bit/hop", _YAN, "SECONDARY", "typical neuromorphic; normalised from Loihi"
    ),
    "dense_hop_pj_per_bit": Constant(
        0.25, "pJ/bit/hop", _YAN, "SECONDARY", "circuit-switched network on chip"
    ),
    "sram_pj_per_bit": Constant(0.0385, "pJ/bit", _FIT, "DERIVED", "weights and states"),
    "mac_pj_per_bit2": Constant(
        0.012, "pJ/(weight bit·input bit)", _FIT, "DERIVED", "weakly determined by the fit"
    ),
}

# A step of the wires of the mesh, for machines that leave the choice of the message to us.
YAN_LINK = {
    "link_pj_per_bit_hop": Constant(
        0.25,
        "pJ/bit/hop",
        _YAN,
        "SECONDARY",
        "circuit-switched network on chip, 22 nm; high: event routing normalised from Loihi",
        low=0.25,
        high=3.0,
    ),
}

_LEAST = f"{_YAN}; setting of the theoretical minimum"
_WORST = f"{_YAN}; setting of the worst case, a 64-bit DRAM read of 1300 pJ"

YAN_22NM_MINIMUM = YAN_22NM | {
    "sparse_hop_pj_per_bit": Constant(0.0, "pJ/bit/hop", _LEAST, "SECONDARY"),
    "dense_hop_pj_per_bit": Constant(0.0, "pJ/bit/hop", _LEAST, "SECONDARY"),
}
YAN_22NM_WORST = YAN_22NM | {
    "sparse_hop_pj_per_bit": Constant(
        1300.0, "pJ/bit/hop", _WORST, "SECONDARY", "one read for a spike of one bit"
    ),
    "dense_hop_pj_per_bit": Constant(1300 / 64, "pJ/bit/hop", _WORST, "SECONDARY"),
}

_V1 = "Yan et al., arXiv 2409.08290 v1, table 1 (as note-takers copied it)"
_WORD = (
    "unit doubtful: read as pJ of a 64-bit word, since Horowitz gives it so; noted also as a bit"
)

YAN_V1 = {
    "add_int8_pj": Constant(0.03, "pJ", _V1, "SECONDARY"),
    "mul_int8_pj": Constant(0.2, "pJ", _V1, "SECONDARY"),
    "dram_pj_per_bit": Constant(2000 / 64, "pJ/bit", _V1, "SECONDARY", _WORD),
    "link_pj_per_bit_hop": Constant(10 / 64, "pJ/bit/hop", _V1, "SECONDARY", _WORD),
    **{
        f"{level}_pj_per_bit": Constant(20 / 64, "pJ/bit", _V1, "SECONDARY", _WORD)
        for level in ("local", "global", "queue", "core")
    },
}
