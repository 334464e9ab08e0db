"""Chips: energies of single events, static power, and what was measured on silicon."""

from __future__ import annotations

from jsnn.hardware.constant import Constant
from jsnn.hardware.power import marginal_and_static

_CORRELATION = "as in mimarsinan silicon_correlation_research.md@06fd7258"
_KERAS = "keras_spiking/model_energy.py@b28875ae840f"
_HOEPPNER = f"{_KERAS}; there from Höppner et al. 2019 (arXiv 1903.08941)"
_DEGNAN = f"{_KERAS}; there from Degnan et al., TVLSI 24, 2016"
_SENECA = "Tang et al., Front. Neurosci. 17:1187252, 2023 (PMC10326429)"
_SURVEY = f"{_SENECA} table 3"


def _surveyed(value: float, note: str = "") -> Constant:
    return Constant(value, "pJ", _SURVEY, "EXACT", note)


# The survey warns that what counts as a synaptic operation differs from chip to chip.
SURVEY_PJ_PER_SYNOP = {
    "odin": _surveyed(12.7),
    "reckon": _surveyed(5.3),
    "ubrain": _surveyed(26.0),
    "truenorth": _surveyed(2.5),
    "tianjic": _surveyed(1.54),
    "neuronflow": _surveyed(20.0),
    "loihi": _surveyed(23.6),
    "spinnaker": _surveyed(45.0, "300 times less than in KerasSpiking"),
    "spinnaker2": _surveyed(10.0),
    "seneca": _surveyed(2.8, "an optimised program"),
}

_DAVIES = "Davies et al., IEEE Micro 38(1), 2018, table 2, p. 96 (14 nm, 0.75 V, pre-silicon)"
_BOYLE = (
    "SLAM-Lab/SANA-FE arch/loihi.yaml@8951ab071167; Boyle et al., TCAD 44(8), 2025, regressions on "
    "a Nahuku board"
)

LOIHI_DAVIES = {
    "synop_pj": Constant(
        23.6,
        "pJ",
        _DAVIES,
        "SECONDARY",
        "published as a minimum; regressions on a board give up to 35.5",
        low=23.6,
        high=35.5,
    ),
    "neuron_pj": Constant(
        52.0,
        "pJ",
        _DAVIES,
        "SECONDARY",
        "an inactive neuron; which steps that do not fire are active is not counted",
        low=52.0,
        high=81.0,
    ),
    "firing_neuron_pj": Constant(81.0, "pJ", _DAVIES, "SECONDARY", "an active neuron"),
    "message_pj": Constant(1.7, "pJ", _DAVIES, "SECONDARY", "spike within a tile"),
    "hop_pj": Constant(
        3.5,
        "pJ",
        _DAVIES,
        "DERIVED",
        "mean of 3.0 east-west and 4.0 north-south",
        low=3.0,
        high=4.0,
    ),
}

LOIHI_CORE_NEURONS = Constant(
    1024.0, "neurons/core", "Davies et al., IEEE Micro 38(1), 2018", "RECALLED", "at most"
)

LOIHI_SANAFE = {
    "synop_pj": Constant(
        35.5, "pJ", _BOYLE, "EXACT", "dense; with sparse tables 33.6", low=23.6, high=35.5
    ),
    "conv_synop_pj": Constant(24.0, "pJ", _BOYLE, "EXACT"),
    "neuron_pj": Constant(51.2, "pJ", _BOYLE, "EXACT", "access to a neuron"),
    "update_pj": Constant(21.6, "pJ", _BOYLE, "EXACT", "update of a neuron"),
    "spike_pj": Constant(69.3, "pJ", _BOYLE, "EXACT"),
    "message_pj": Constant(111.0, "pJ", _BOYLE, "EXACT", "message out of a core"),
    "hop_pj": Constant(
        3.6,
        "pJ",
        _BOYLE,
        "DERIVED",
        "mean of 3.0 east-west and 4.2 north-south",
        low=3.0,
        high=4.2,
    ),
}

LOIHI_KERAS = {
    "synop_pj": Constant(
        23.6 + 3.5, "pJ", f"{_KERAS}; there from Davies et al. 2018", "EXACT", "23.6 + 3.5"
    ),
    "neuron_pj": Constant(
        81.0, "pJ", f"{_KERAS}; there from Davies et al. 2018", "EXACT", "every neuron active"
    ),
}

_FRADY = "Frady et al., NICE 2020 (arXiv 2004.12691), 32 chips of Pohoiki Springs"

# Static power and reset belong to a chip, not to a layer; no duration of a step is published.
LOIHI_BOARD = {
    "chip_static_power_w": Constant(
        104e-3, "W", f"derived from {_FRADY}; {_CORRELATION}", "SECONDARY"
    ),
    "core_static_power_w": Constant(
        0.815e-3, "W", f"derived from {_FRADY}; {_CORRELATION}", "SECONDARY"
    ),
    "chip_reset_j": Constant(
        5.94e-6, "J", f"derived from {_FRADY}; {_CORRELATION}", "SECONDARY", "between inferences"
    ),
}

# Nearest neighbours among 76,800 patterns: input spikes that reach every pattern's neuron.
LOIHI_NEAREST_NEIGHBOUR = {
    "neurons": Constant(76_800.0, "neurons", f"{_FRADY}; {_CORRELATION}", "SECONDARY"),
    "inputs": Constant(1000.0, "inputs", f"{_FRADY}; {_CORRELATION}", "SECONDARY"),
    "steps": Constant(60.0, "steps", f"{_FRADY}; {_CORRELATION}", "SECONDARY"),
    "input_spikes": Constant(
        750.0,
        "spikes",
        f"{_FRADY}; {_CORRELATION}",
        "SECONDARY",
        "a quarter to a third of 1000 removed",
        low=667.0,
        high=750.0,
    ),
    "measured_j": Constant(
        1.33e-3,
        "J",
        f"{_FRADY} table 2; {_CORRELATION}",
        "SECONDARY",
        "dynamic energy of the neuromorphic cores, per query",
    ),
}

_LASSO_TABLE = "LASSO on Loihi against an Atom CPU, Davies et al., IEEE Micro 38(1), 2018"
_LASSO_QUOTED = f"{_LASSO_TABLE}; quoted by others"

# Ratios CPU / Loihi by unknowns of the problem: energy, delay, energy x delay.
LOIHI_LASSO = {
    unknowns: {
        "energy_ratio": Constant(energy, "x", _LASSO_QUOTED, "SECONDARY"),
        "delay_ratio": Constant(delay, "x", _LASSO_TABLE, "RECALLED"),
        "energy_delay_ratio": Constant(product, "x", _LASSO_TABLE, "RECALLED"),
    }
    for unknowns, energy, delay, product in (
        (400, 2.58, 0.27, 0.7),
        (1700, 8.08, 2.76, 22.33),
        (32256, 48.74, 118.18, 5760.0),
    )
}

_MEROLLA = f"Merolla et al., Science 345:668, 2014; {_CORRELATION}"
_AKOPYAN = f"Akopyan et al., TCAD 34(10), 2015; {_CORRELATION}"
_SWEEP = f"Akopyan et al., TCAD 34(10), 2015, figure 17 (0.8 V); {_CORRELATION}"

TRUENORTH_CHIP = {
    "neurons": Constant(1_048_576.0, "neurons", _MEROLLA, "SECONDARY"),
    "cores": Constant(4096.0, "cores", _MEROLLA, "SECONDARY"),
    "active_synapses": Constant(128.0, "synapses/neuron", _MEROLLA, "SECONDARY", "of the tests"),
    "spike_hop_pj": Constant(
        2.3, "pJ", _MEROLLA, "SECONDARY", "contained in the marginal energy of an event"
    ),
    "hop_pj_per_bit": Constant(0.072, "pJ/bit/hop", _MEROLLA, "SECONDARY"),
    "sram_pj_per_bit": Constant(0.047, "pJ/bit", _MEROLLA, "SECONDARY", "to the controller"),
    "chip_to_chip_pj_per_bit": Constant(26.0, "pJ/bit", _MEROLLA, "SECONDARY"),
    "quiet_power_w": Constant(42e-3, "W", _AKOPYAN, "SECONDARY", "no activity, 0.70 V"),
    "synops_per_s_per_w": Constant(
        46e9, "1/s/W", _AKOPYAN, "SECONDARY", "at 65 mW, 0.75 V; 26 pJ an event would be 38.5e9"
    ),
    "low_power_w": Constant(65e-3, "W", _AKOPYAN, "SECONDARY", "20 Hz, 0.75 V"),
    "mean_rate_hz": Constant(20.0, "Hz", _MEROLLA, "SECONDARY", "of the averages"),
    "average_power_w": Constant(72e-3, "W", _MEROLLA, "SECONDARY", "20 Hz, 0.775 V"),
}

TRUENORTH_CORE_NEURONS = Constant(
    TRUENORTH_CHIP["neurons"].value / TRUENORTH_CHIP["cores"].value,
    "neurons/core",
    _MEROLLA,
    "DERIVED",
    "neurons / cores of the chip",
)

# Mean firing rate in Hz -> power of the chip.
TRUENORTH_SWEEP = {
    hz: Constant(watt, "W", _SWEEP, "SECONDARY", f"at {hz} Hz")
    for hz, watt in ((11.58, 68e-3), (20.07, 71e-3), (95.93, 94e-3))
}

_EVENTS_PER_HZ = TRUENORTH_CHIP["neurons"].value * TRUENORTH_CHIP["active_synapses"].value
_MARGINAL_PJ, _STATIC_W = marginal_and_static(
    *((hz * _EVENTS_PER_HZ, TRUENORTH_SWEEP[hz].value) for hz in (11.58, 95.93))
)

TRUENORTH_AFFINE = {
    "synop_pj": Constant(
        _MARGINAL_PJ,
        "pJ",
        _SWEEP,
        "DERIVED",
        "slope through 11.58 and 95.93 Hz; predicts 20.07 Hz to -0.5 %; with routing and neurons",
    ),
    "core_static_power_w": Constant(
        _STATIC_W / TRUENORTH_CHIP["cores"].value,
        "W",
        _SWEEP,
        "DERIVED",
        "intercept of that line / 4096 cores, of which only those in use count; 42 mW at 0.70 V",
        low=TRUENORTH_CHIP["quiet_power_w"].value / TRUENORTH_CHIP["cores"].value,
        high=_STATIC_W / TRUENORTH_CHIP["cores"].value,
    ),
    "step_latency_s": Constant(
        1e-3, "s", _MEROLLA, "SECONDARY", "real-time tick; up to 21x faster"
    ),
}

TRUENORTH_AVERAGE = {
    "synop_pj": Constant(
        26.0, "pJ", _MEROLLA, "SECONDARY", "all power over all events at 20 Hz, 128 synapses, 72 mW"
    ),
}

_FRENKEL = f"Frenkel et al., TBioCAS 13(1), 2019 (28 nm FDSOI, 0.55 V), equation 2; {_CORRELATION}"

ODIN = {
    "synop_pj": Constant(
        8.43,
        "pJ",
        _FRENKEL,
        "SECONDARY",
        "incremental, with the update of the neuron; a spike visits all 256, here its true edges",
    ),
    "leakage_power_w": Constant(27.3e-6, "W", _FRENKEL, "SECONDARY"),
    "idle_power_w_per_hz": Constant(1.78e-12, "W/Hz", _FRENKEL, "SECONDARY"),
    "synop_cycles": Constant(2.0, "cycles", _FRENKEL, "SECONDARY"),
}

ODIN_CLOCK_HZ = Constant(75e6, "Hz", _FRENKEL, "SECONDARY", "accelerated time")

# Clock and synaptic operations per second -> power of the chip.
ODIN_POINTS = {
    (ODIN_CLOCK_HZ.value, 37.5e6): Constant(477e-6, "W", _FRENKEL, "SECONDARY", "accelerated time"),
    (1.3e6, 650e3): Constant(35e-6, "W", _FRENKEL, "SECONDARY", "biological time"),
}

ODIN_AVERAGES_PJ = {
    "accelerated": Constant(12.7, "pJ", _FRENKEL, "SECONDARY"),
    "biological": Constant(54.0, "pJ", _FRENKEL, "SECONDARY"),
}

_INSTRUCTIONS = f"{_SENECA} table 8 (22 nm FDX)"

SENECA = {
    "arithmetic_pj": Constant(1.4, "pJ", _INSTRUCTIONS, "EXACT", "add, subtract, multiply FP16"),
    "compare_pj": Constant(1.2, "pJ", _INSTRUCTIONS, "EXACT", "FP16"),
    "load_pj": Constant(3.7, "pJ", _INSTRUCTIONS, "EXACT", "16 bits"),
    "store_pj": Constant(3.9, "pJ", _INSTRUCTIONS, "EXACT", "16 bits"),
    "capture_pj": Constant(0.5, "pJ", _INSTRUCTIONS, "EXACT", "look whether a neuron fires"),
    "event_pj": Constant(1.1, "pJ", _INSTRUCTIONS, "EXACT", "generated event"),
    "message_pj": Constant(2.0, "pJ", _INSTRUCTIONS, "EXACT", "32-bit event over the network"),
}

# What others use for it (SECONDARY), beside the sums of its instructions.
SENECA_QUOTED = {
    "synop_pj": Constant(12.7, "pJ", "quoted for SENECA by others", "SECONDARY"),
    "neuron_pj": Constant(12.1, "pJ", "quoted for SENECA by others", "SECONDARY"),
    "spike_pj": Constant(1.1, "pJ", "quoted for SENECA by others", "SECONDARY"),
    "static_power_w": Constant(30e-6, "W", "quoted for SENECA by others", "SECONDARY"),
}

SPINNAKER = {
    "synop_pj": Constant(
        13.3e3,
        "pJ",
        _HOEPPNER,
        "EXACT",
        "published figures differ 300-fold: 45 pJ in PMC10326429 table 3",
        low=SURVEY_PJ_PER_SYNOP["spinnaker"].value,
        high=13.3e3,
    ),
    "neuron_pj": Constant(26e3, "pJ", _HOEPPNER, "EXACT"),
}

SPINNAKER2 = {
    "synop_pj": Constant(
        450.0,
        "pJ",
        _HOEPPNER,
        "EXACT",
        "10 pJ in PMC10326429 table 3",
        low=SURVEY_PJ_PER_SYNOP["spinnaker2"].value,
        high=450.0,
    ),
    "neuron_pj": Constant(2.19e3, "pJ", _HOEPPNER, "EXACT"),
}


def _processor(pj: float, device: str) -> dict[str, Constant]:
    note = f"{device}; a multiply-accumulate"
    return {
        f"pass_{part}_pj": Constant(pj, "pJ", _DEGNAN, "EXACT", note)
        for part in ("synapse", "neuron")
    }


CPU = _processor(8.6e3, "Intel i7-4960X")
GPU = _processor(0.3e3, "Nvidia GTX Titan Black, large batches")
ARM = _processor(0.9e3, "ARM Cortex-A")
