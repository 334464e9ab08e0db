"""Arithmetic and memory at 45 nm after Horowitz."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_HOROWITZ = "Horowitz, Computing's energy problem, ISSCC 2014, 45 nm 0.9 V"
_TABLE = f"{_HOROWITZ}; as in PMC8934428 table 3"
_INT8 = f"{_HOROWITZ}; as in Qualia EnergyEstimationMetric.py@15165fe8b9a5"
_COPIES = (
    f"{_HOROWITZ}; as collected from spikingjelly op_counter/compute_energy.py@afb132264a8c, "
    "Qualia EnergyEstimationMetric.py@15165fe8b9a5 and PMC8934428 table 3"
)

HOROWITZ_FP32 = {
    "add_fp32_pj": Constant(0.9, "pJ", _TABLE, "SECONDARY"),
    "mul_fp32_pj": Constant(3.7, "pJ", _TABLE, "SECONDARY"),
}

HOROWITZ_FP16 = {
    "add_fp16_pj": Constant(0.4, "pJ", _COPIES, "SECONDARY"),
    "mul_fp16_pj": Constant(1.1, "pJ", _COPIES, "SECONDARY"),
}

HOROWITZ_INT = {
    "add_int8_pj": Constant(0.03, "pJ", _INT8, "SECONDARY"),
    "add_int32_pj": Constant(0.1, "pJ", _TABLE, "SECONDARY"),
    "mul_int8_pj": Constant(0.2, "pJ", _INT8, "SECONDARY"),
    "mul_int32_pj": Constant(3.1, "pJ", _TABLE, "SECONDARY"),
}

# No 16-bit product and no 4-bit operation was published.
HOROWITZ_INT16 = {"add_int16_pj": Constant(0.05, "pJ", _HOROWITZ, "RECALLED")}

_READ = "read of 64 bits"

HOROWITZ_SRAM = {
    "sram_8kib_pj": Constant(10.0, "pJ", _COPIES, "SECONDARY", _READ),
    "sram_32kib_pj": Constant(20.0, "pJ", _COPIES, "SECONDARY", _READ),
    "sram_1mib_pj": Constant(100.0, "pJ", _COPIES, "SECONDARY", _READ),
}

HOROWITZ_DRAM = {
    "dram_pj_per_bit": Constant(
        1300 / 64,
        "pJ/bit",
        _HOROWITZ,
        "RECALLED",
        "1300 to 2600 pJ a 64-bit word; other copies have 640 for 32 bits",
        low=640 / 32,
        high=2600 / 64,
    ),
}
