"""Memories and the arithmetic beside them, as other energy models price them."""

from __future__ import annotations

from jsnn.hardware.constant import Constant
from jsnn.hardware.constants.horowitz import HOROWITZ_INT, HOROWITZ_SRAM

# Sizes of the RAMs whose reads Horowitz gives.
RAM_8KIB_BITS, RAM_32KIB_BITS, RAM_1MIB_BITS = 8 * 8 * 1024, 8 * 32 * 1024, 8 * 1024 * 1024

POWER_LAW_RAM = {
    "sram_8kib_pj": HOROWITZ_SRAM["sram_8kib_pj"],
    "sram_exponent": Constant(
        0.4746,
        "1",
        "fitted to the 8 KB, 32 KB and 1 MB reads of Horowitz, ISSCC 2014",
        "DERIVED",
        "meets 8 KB and 1 MB, 3.5 % low at 32 KB; range: 32 KB to 1 MB, and 8 KB to 32 KB",
        low=0.464,
        high=0.5,
    ),
}

_DOSA = "ucb-bar/dosa dataset/dse/energy_model.py@a7a3239382e1, lines 101-232"
_NO_UNIT = "unit not stated in the source; read as pJ an access"

DOSA = {
    "accumulator_base_pj": Constant(1.94, "pJ", _DOSA, "EXACT", _NO_UNIT),
    "accumulator_slope_pj_per_kib": Constant(
        0.1005, "pJ/KiB of one column's bank", _DOSA, "EXACT", _NO_UNIT
    ),
    "scratchpad_base_pj": Constant(0.49, "pJ", _DOSA, "EXACT", _NO_UNIT),
    "scratchpad_slope_pj_per_kib": Constant(0.02513, "pJ/KiB", _DOSA, "EXACT", _NO_UNIT),
}

DOSA_REST = {
    "mac_pj": Constant(0.5608, "pJ", _DOSA, "EXACT", _NO_UNIT),
    "register_pj": Constant(0.48746172, "pJ", _DOSA, "EXACT", _NO_UNIT),
    "dram_pj": Constant(100.0, "pJ", _DOSA, "EXACT", _NO_UNIT),
}

_ACCELERGY = (
    "timeloop-accelergy-exercises@2d5510807128, eyeriss_like ERT_summary, 65 nm, Cacti and Neurosim"
)
# Register files of 16-bit words.
IFMAP_BITS, WEIGHT_FILE_BITS = 12 * 16, 192 * 16
_BUFFER = "64-bit word of 128 KB in 32 banks"

ACCELERGY_EYERISS = {
    "ifmap_read_pj": Constant(0.202, "pJ", _ACCELERGY, "EXACT", "register file of 12 x 16 bit"),
    "ifmap_write_pj": Constant(0.177, "pJ", _ACCELERGY, "EXACT", "register file of 12 x 16 bit"),
    "weight_file_read_pj": Constant(
        1.977, "pJ", _ACCELERGY, "EXACT", "register file of 192 x 16 bit"
    ),
    "weight_file_write_pj": Constant(
        1.882, "pJ", _ACCELERGY, "EXACT", "register file of 192 x 16 bit"
    ),
    "buffer_read_pj": Constant(18.18, "pJ", _ACCELERGY, "EXACT", _BUFFER),
    "buffer_write_pj": Constant(14.14, "pJ", _ACCELERGY, "EXACT", _BUFFER),
}

ACCELERGY_REST = {
    "mac_int8_pj": Constant(0.2077, "pJ", _ACCELERGY, "EXACT"),
    "psum_file_read_pj": Constant(0.251, "pJ", _ACCELERGY, "EXACT", "register file of sums"),
    "psum_file_write_pj": Constant(0.219, "pJ", _ACCELERGY, "EXACT", "register file of sums"),
    "dram_pj_per_bit": Constant(512 / 64, "pJ/bit", _ACCELERGY, "EXACT", "LPDDR4, 512 pJ a word"),
}

_EYERISS = "Chen et al., Eyeriss, ISCA 2016 and JSSC 2017, 65 nm, 16 bit"
_NORMALISED = "in units of one multiply-accumulate"

EYERISS_NORMALISED = {
    "register_macs": Constant(1.0, "MAC", _EYERISS, "RECALLED", _NORMALISED),
    "array_hop_macs": Constant(2.0, "MAC", _EYERISS, "RECALLED", _NORMALISED),
    "buffer_macs": Constant(6.0, "MAC", _EYERISS, "RECALLED", _NORMALISED),
    "dram_macs": Constant(200.0, "MAC", _EYERISS, "RECALLED", _NORMALISED),
}

_ALADDIN = "accelergy-aladdin-plug-in@5e2e1263ddcc data/*.csv, 40/45 nm, 32 bit, 1 ns"

ALADDIN = {
    "adder_pj": Constant(0.21, "pJ", _ALADDIN, "EXACT", low=0.0858, high=0.21, note="2 ns: 0.0858"),
    "multiplier_pj": Constant(12.68, "pJ", _ALADDIN, "EXACT"),
    "comparator_pj": Constant(0.0295, "pJ", _ALADDIN, "EXACT"),
    "bitwise_pj": Constant(0.018, "pJ", _ALADDIN, "EXACT"),
    "shifter_pj": Constant(0.417, "pJ", _ALADDIN, "EXACT"),
    "register_pj_per_bit": Constant(0.009, "pJ/bit", _ALADDIN, "EXACT"),
    "crossbar_pj": Constant(0.68, "pJ", _ALADDIN, "EXACT", "32-bit word, one input to four"),
}

_NEUROMC = "spikingjelly neuromc/config.py, NeuroMC, 32 nm"

NEUROMC = {
    "sram_small_pj": Constant(
        5.55, "pJ", _NEUROMC, "DERIVED", "16 bit of 18 to 74 Kb: middle of 5.3 to 5.8", 5.3, 5.8
    ),
    "sram_1mb_pj": Constant(92.7, "pJ", _NEUROMC, "EXACT", "256 bit of 1 Mb"),
    "sram_2mib_read_pj": Constant(47.0, "pJ", _NEUROMC, "EXACT", "256 bit of 2 MB"),
    "sram_2mib_write_pj": Constant(46.0, "pJ", _NEUROMC, "EXACT", "256 bit of 2 MB"),
    "sram_6mib_read_pj": Constant(458.0, "pJ", _NEUROMC, "EXACT", "256 bit of 6 MB"),
    "sram_6mib_write_pj": Constant(375.0, "pJ", _NEUROMC, "EXACT", "256 bit of 6 MB"),
    "dram_pj_per_bit": Constant(1300 / 64, "pJ/bit", _NEUROMC, "EXACT", "1300 pJ a 64-bit word"),
}

# The table of Eyeriss gives a whole multiply-accumulate; an addition alone comes from elsewhere.
EYERISS_ARITHMETIC = {
    "mul_int8_pj": Constant(
        0.2077, "pJ", _ACCELERGY, "DERIVED", "the whole multiply-accumulate, the add counted again"
    ),
    "add_int8_pj": HOROWITZ_INT["add_int8_pj"],
}
