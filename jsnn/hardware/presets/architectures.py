"""Machines of the three architectures after arXiv 2409.08290 v1.

Their design parameters are our choice; set those of your own chip by `with_design`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsnn.hardware.architectures import Architecture, Classical, EventDriven, Spatial
from jsnn.hardware.arithmetic import Int8, Product
from jsnn.hardware.constant import Constant
from jsnn.hardware.constants.horowitz import HOROWITZ_DRAM, HOROWITZ_INT
from jsnn.hardware.constants.memories import (
    ACCELERGY_EYERISS,
    ACCELERGY_REST,
    ALADDIN,
    EYERISS_ARITHMETIC,
    POWER_LAW_RAM,
)
from jsnn.hardware.constants.yan import YAN_LINK, YAN_V1
from jsnn.hardware.design import Design
from jsnn.hardware.hardware import Hardware
from jsnn.hardware.memory import Accelergy, ByLevel, HorowitzPowerLaw
from jsnn.hardware.technology import Technology

_HIERARCHY = {
    "zero_skipping": 1,
    "batch": 64,
    "local_bytes": 8 * 1024,
    "global_bytes": 1024**2,
    "dram_bytes": 4 * 1024**3,
}
_PARAMETERS = {
    "classical": _HIERARCHY
    | {"output_bits": 8, "event_bits": 16, "queue_events": 1024, "pes": 256, "clock_hz": 200e6},
    "event-driven": {
        "event_bits": 16,
        "hops": 1,
        "core_weight_bytes": 64 * 1024,
        "core_state_bytes": 16 * 1024,
        "core_neurons": 1024,
        "cores": 1024,
        "pes": 1,
        "clock_hz": 200e6,
    },
    "spatial": _HIERARCHY | {"hops": 1, "pes": 256, "pe_state_bytes": 64, "clock_hz": 200e6},
}
_45NM = HOROWITZ_INT | HOROWITZ_DRAM | POWER_LAW_RAM | ALADDIN | YAN_LINK
_V1 = YAN_V1 | ALADDIN
_EYERISS = ACCELERGY_EYERISS | ACCELERGY_REST | EYERISS_ARITHMETIC


def _machine(
    name: str, architecture: Architecture, constants: Mapping[str, Constant], **parameters: Any
) -> Hardware:
    """A machine with the constants its architecture takes and the design parameters above."""
    taken = {constant: constants[constant] for constant in architecture.constants}
    widths = {"weight_bits": 8, "input_bits": 8}
    design = Design(**widths | _PARAMETERS[architecture.name] | parameters)
    return Hardware(name, architecture, Technology(taken), design)


_SRAM = {"memory": HorowitzPowerLaw(), "arithmetic": Product()}
_FLAT = {"memory": ByLevel(), "arithmetic": Int8()}

MACHINES: tuple[tuple[str, Hardware], ...] = (
    (
        "processor with a hierarchy of memories, Horowitz constants",
        _machine("classical-45nm", Classical(**_SRAM), _45NM, state_bits=16),
    ),
    (
        "event-driven cores with memories of their own, Horowitz constants",
        _machine("event-45nm", EventDriven(**_SRAM), _45NM, state_bits=16, targets_per_message=64),
    ),
    (
        "stationary weights, sparse or dense messages, Horowitz constants",
        _machine("spatial-45nm", Spatial(**_SRAM), _45NM, state_bits=16, targets_per_message=16),
    ),
    (
        "Eyeriss-like register files, 128 KB buffer and DRAM, Accelergy's tables at 65 nm",
        _machine(
            "eyeriss-65nm",
            Classical(memory=Accelergy(), arithmetic=Int8()),
            _EYERISS,
            state_bits=16,
            local_bytes=384,
            global_bytes=128 * 1024,
        ),
    ),
    (
        "the same processor with the constants of arXiv 2409.08290 v1",
        _machine("yan-v1-classical", Classical(**_FLAT), _V1, state_bits=8),
    ),
    (
        "the same cores with the constants of arXiv 2409.08290 v1",
        _machine("yan-v1-event", EventDriven(**_FLAT), _V1, state_bits=8, targets_per_message=1),
    ),
    (
        "the same array with the constants of arXiv 2409.08290 v1",
        _machine("yan-v1-spatial", Spatial(**_FLAT), _V1, state_bits=8, targets_per_message=1),
    ),
)
