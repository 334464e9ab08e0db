"""Machines of the literature's own counting rules."""

from __future__ import annotations

from jsnn.hardware.architectures import ComputeOnly, Hierarchy, Neuromorphic
from jsnn.hardware.constants.horowitz import HOROWITZ_FP16, HOROWITZ_FP32, HOROWITZ_INT
from jsnn.hardware.constants.lemaire import LEMAIRE_RAM
from jsnn.hardware.constants.yan import YAN_22NM, YAN_22NM_MINIMUM, YAN_22NM_WORST
from jsnn.hardware.design import Design
from jsnn.hardware.hardware import Hardware
from jsnn.hardware.technology import Technology

# Products of 8-bit weights and inputs fill 16 bits: the width of the state.
_RAM_DESIGN = Design(
    weight_bits=8,
    state_bits=16,
    input_bits=8,
    output_bits=8,
    event_bits=16,
    queue_events=1024,
)
_YAN_DESIGN = Design(
    weight_bits=8,
    state_bits=8,
    input_bits=8,
    hops=1,
    targets_per_message=1,
    weight_fetch_share=1,
    temporal_reuse=0,
)

MACHINES: tuple[tuple[str, Hardware], ...] = (
    (
        "fp32 arithmetic alone, 0.9 pJ an add and 4.6 pJ a multiply-accumulate",
        Hardware("compute-only-45nm", ComputeOnly(), Technology(HOROWITZ_FP32), Design()),
    ),
    (
        "8-bit weights, 16-bit states, RAM energy by size, address generation",
        Hardware(
            "hierarchy-45nm", Hierarchy(), Technology(HOROWITZ_INT | LEMAIRE_RAM), _RAM_DESIGN
        ),
    ),
    (
        "the same with convolutions counted as Lemaire et al. print them, borders included",
        Hardware(
            "hierarchy-45nm-published",
            Hierarchy(counts="published"),
            Technology(HOROWITZ_INT | LEMAIRE_RAM),
            _RAM_DESIGN,
        ),
    ),
    (
        "event-driven cores on a mesh, reconstruction of arXiv 2409.08290",
        Hardware("neuromorphic-22nm", Neuromorphic(), Technology(YAN_22NM), _YAN_DESIGN),
    ),
    (
        "the same where movement costs nothing",
        Hardware(
            "neuromorphic-22nm-minimum", Neuromorphic(), Technology(YAN_22NM_MINIMUM), _YAN_DESIGN
        ),
    ),
    (
        "the same where each spike reads DRAM",
        Hardware(
            "neuromorphic-22nm-worst", Neuromorphic(), Technology(YAN_22NM_WORST), _YAN_DESIGN
        ),
    ),
    *(
        (
            f"{number} arithmetic alone",
            Hardware(
                f"compute-only-45nm-{number}",
                ComputeOnly(number),
                Technology({name: constants[name] for name in ComputeOnly(number).constants}),
                Design(),
            ),
        )
        for number, constants in (
            ("fp16", HOROWITZ_FP16),
            ("int32", HOROWITZ_INT),
            ("int8", HOROWITZ_INT),
        )
    ),
)
