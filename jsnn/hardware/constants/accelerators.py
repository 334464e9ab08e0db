"""Accelerators whose simulators are public: SATA and SpikeSim."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_SATA = "Yin et al., TCAD 2022 (arXiv 2204.05422); RuokaiYin/SATA_Sim@d44705840aa4"


def _sata(value: float, note: str) -> Constant:
    return Constant(value, "pJ", _SATA, "EXACT", f"16 bits; {note}")


SATA = {
    "multiply_pj": _sata(0.239, "multiplier"),
    "accumulate_pj": _sata(0.0389, "accumulator"),
    "add_pj": _sata(0.00967, "adder"),
    "and_pj": _sata(0.000794, "bitwise and"),
    "compare_pj": _sata(0.00309, "comparator"),
    "mux_pj": _sata(0.00172, "multiplexer of two inputs"),
    "register_pj": _sata(0.0301, "register"),
    "shift_pj": _sata(0.00605, "shifter of three stages"),
    "dram_pj": _sata(55.58, "a word of DRAM"),
    "sram_pj": _sata(1.95, "a word of the global buffer"),
    "scratchpad_pj": _sata(0.2779, "a word of the scratchpad"),
}

_SPIKESIM = (
    "Moitra et al., SpikeSim (arXiv 2210.12899); Intelligent-Computing-Lab-Yale/SpikeSim "
    "ela_spikesim.py@c2627bc091a4"
)


def _spikesim(value: float, note: str) -> Constant:
    return Constant(value, "pJ", _SPIKESIM, "EXACT", note)


_SPIKESIM_SHARED = {
    "tile_buffer_pj": _spikesim(397.0, "buffer of a tile, a cycle"),
    "temp_buffer_pj": _spikesim(0.2, "temporary buffer"),
    "subtract_pj": _spikesim(1.15e-6, "subtracter, 16 for each eight columns"),
    "adc_pj": _spikesim(2.03084, "converter, one for eight columns"),
    "htree_pj": _spikesim(19.64, "H-tree, eight times a cycle"),
    "mux_pj": _spikesim(0.094245, "multiplexer, one for eight columns"),
    "fetch_pj": _spikesim(4.64, "fetch from memory, a cycle"),
    "neuron_pj": _spikesim(1.274, "neuron unit, four times a cycle"),
}

SPIKESIM_RRAM = {"crossbar_pj": _spikesim(1.76423, "RRAM crossbar")} | _SPIKESIM_SHARED
SPIKESIM_SRAM = {
    "crossbar_pj": _spikesim(
        671.089, "SRAM crossbar; doubtful: the source has the same number for its area"
    )
} | _SPIKESIM_SHARED
