"""Every number from the world, once, beside its source."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_HOROWITZ = "Horowitz, Computing's energy problem, ISSCC 2014, 45 nm 0.9 V"
_TABLE = f"{_HOROWITZ}; as in PMC8934428 table 3"
_INT8 = f"{_HOROWITZ}; as in Qualia EnergyEstimationMetric.py@15165fe8b9a5"
_LEMAIRE = (
    "Lemaire et al., ICONIP 2022 (arXiv 2210.13107); "
    "regression in Qualia EnergyEstimationMetric.py@15165fe8b9a5"
)
_YAN = "Yan et al., arXiv 2409.08290 v4, 22 nm standard cells, 0.80 V, 25 C, 1 GHz"
_FIT = "fitted to the results published in Yan et al., arXiv 2409.08290 v4"

HOROWITZ_FP32 = {
    "add_fp32_pj": Constant(0.9, "pJ", _TABLE, "SECONDARY"),
    "mul_fp32_pj": Constant(3.7, "pJ", _TABLE, "SECONDARY"),
}

HOROWITZ_INT = {
    "add_int8_pj": Constant(0.03, "pJ", _INT8, "SECONDARY"),
    "add_int32_pj": Constant(0.1, "pJ", _TABLE, "SECONDARY"),
    "mul_int8_pj": Constant(0.2, "pJ", _INT8, "SECONDARY"),
    "mul_int32_pj": Constant(3.1, "pJ", _TABLE, "SECONDARY"),
}

LEMAIRE_RAM = {
    "ram_slope_pj_per_bit": Constant(
        1.09e-5, "pJ/bit of memory", _LEMAIRE, "EXACT", "an access of any width; read = write"
    ),
    "ram_base_pj": Constant(13.2, "pJ", _LEMAIRE, "EXACT", "an access of any width"),
}

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
