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
