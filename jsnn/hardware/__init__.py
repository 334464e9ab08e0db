"""Prices of events: cited constants, design parameters and architectures that combine them.

Hardware code sees sizes and bits, never a count of spikes; `jsnn.energy` multiplies the two.
"""

from jsnn.hardware import (
    actions,
    architectures,
    arithmetic,
    constants,
    memory,
    power,
    presets,
    relaxation,
    scaling,
    technology,
    toml,
)
from jsnn.hardware.constant import Constant
from jsnn.hardware.design import Design
from jsnn.hardware.hardware import Hardware, check_hardware
from jsnn.hardware.presets import get, machines
from jsnn.hardware.technology import Technology

__all__ = [
    "Constant",
    "Design",
    "Hardware",
    "Technology",
    "actions",
    "architectures",
    "arithmetic",
    "check_hardware",
    "constants",
    "get",
    "machines",
    "memory",
    "power",
    "presets",
    "relaxation",
    "scaling",
    "technology",
    "toml",
]
