"""Accelerators by their public simulators."""

from __future__ import annotations

from jsnn.hardware.architectures import Sata, SpikeSim
from jsnn.hardware.constants.accelerators import SATA, SPIKESIM_RRAM, SPIKESIM_SRAM
from jsnn.hardware.design import Design
from jsnn.hardware.hardware import Hardware
from jsnn.hardware.technology import Technology

_EIGHT_BITS = Design(weight_bits=8, input_bits=8)
_CROSSBAR = Design(crossbar=64, input_bits=8)

MACHINES: tuple[tuple[str, Hardware], ...] = (
    (
        "SATA, a systolic array with scratchpads, global buffer and DRAM; inference",
        Hardware("sata", Sata(), Technology(SATA), _EIGHT_BITS),
    ),
    (
        "SATA with the two errors of its published program",
        Hardware("sata-published", Sata(published_bugs=True), Technology(SATA), _EIGHT_BITS),
    ),
    (
        "SpikeSim on RRAM crossbars of 64: in-memory, blind to the number of spikes",
        Hardware("spikesim-rram", SpikeSim(), Technology(SPIKESIM_RRAM), _CROSSBAR),
    ),
    (
        "SpikeSim on SRAM crossbars of 64: in-memory, blind to the number of spikes",
        Hardware("spikesim-sram", SpikeSim(), Technology(SPIKESIM_SRAM), _CROSSBAR),
    ),
)
