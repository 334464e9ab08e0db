"""Arithmetic at 45 nm after Horowitz."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_HOROWITZ = "Horowitz, Computing's energy problem, ISSCC 2014, 45 nm 0.9 V"
_TABLE = f"{_HOROWITZ}; as in PMC8934428 table 3"
_INT8 = f"{_HOROWITZ}; as in Qualia EnergyEstimationMetric.py@15165fe8b9a5"

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
