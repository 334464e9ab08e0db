"""Chips and processors by their published energies."""

from __future__ import annotations

from jsnn.hardware.architectures import Chip, Instructions
from jsnn.hardware.constant import Constant
from jsnn.hardware.constants import chips
from jsnn.hardware.design import Design
from jsnn.hardware.hardware import Hardware
from jsnn.hardware.technology import Technology

_IN_SYNOP = "in the price of a synaptic operation"
_MEMORY = (("weight_memory", _IN_SYNOP), ("state_memory", _IN_SYNOP))
_MESSAGES = ("activation_movement", "all movement is by messages, under routing")
_LOIHI = (
    *_MEMORY,
    _MESSAGES,
    ("static", "published by core and chip, but a step lasts as long as its load takes"),
    ("reset", "published by chip and inference, of no single layer"),
)
# One message reaches all of a layer that lie on a core.
_LOIHI_MESSAGES = {"hops": 1, "targets_per_message": chips.LOIHI_CORE_NEURONS.value}
_NOT_SAID = "not told apart in the source"
_TWO_NUMBERS = (
    *_MEMORY,
    ("activation_movement", _NOT_SAID),
    ("routing", _NOT_SAID),
    ("static", "the source counts operations only"),
)
_WHOLE_CHIP = "in the average over the whole chip"
_ODIN = "one core without a network"


def _chip(
    name: str,
    constants: dict[str, Constant],
    reasons: tuple[tuple[str, str], ...],
    **parameters: float,
) -> Hardware:
    return Hardware(
        name, Chip(tuple(constants), reasons), Technology(constants), Design(**parameters)
    )


MACHINES: tuple[tuple[str, Hardware], ...] = (
    (
        "Loihi by its pre-silicon table: synaptic operation, neuron update, messages and hops",
        _chip("loihi-14nm", chips.LOIHI_DAVIES, _LOIHI, **_LOIHI_MESSAGES),
    ),
    (
        "Loihi by SANA-FE's regressions on a board; every neuron updated in every step",
        _chip("loihi-sanafe", chips.LOIHI_SANAFE, _LOIHI, **_LOIHI_MESSAGES),
    ),
    (
        "Loihi as KerasSpiking counts it: 27.1 pJ an operation, 81 pJ a neuron-step",
        _chip("loihi-kerasspiking", chips.LOIHI_KERAS, _TWO_NUMBERS),
    ),
    (
        "TrueNorth, static and marginal energy through two measured points at 0.8 V, 1 ms a step",
        _chip(
            "truenorth-28nm",
            chips.TRUENORTH_AFFINE,
            (
                *_MEMORY,
                ("neuron", _IN_SYNOP),
                ("activation_movement", _IN_SYNOP),
                ("routing", _IN_SYNOP),
            ),
            core_neurons=chips.TRUENORTH_CORE_NEURONS.value,
        ),
    ),
    (
        "TrueNorth by its average of 26 pJ an event; right at 20 Hz and 128 synapses only",
        _chip(
            "truenorth-average",
            chips.TRUENORTH_AVERAGE,
            tuple(
                (component, _WHOLE_CHIP)
                for component in (
                    "neuron",
                    "weight_memory",
                    "state_memory",
                    "activation_movement",
                    "routing",
                    "static",
                )
            ),
        ),
    ),
    (
        "ODIN by its power model at 75 MHz, working through its events without a pause",
        _chip(
            "odin-28nm",
            chips.ODIN,
            (*_MEMORY, ("neuron", _IN_SYNOP), ("activation_movement", _ODIN), ("routing", _ODIN)),
            clock_hz=chips.ODIN_CLOCK_HZ.value,
        ),
    ),
    (
        "SENECA by its instructions, one synapse at a time",
        Hardware(
            "seneca-22nm",
            Instructions(),
            Technology(chips.SENECA),
            Design(targets_per_message=1),
        ),
    ),
    (
        "SpiNNaker as KerasSpiking counts it; published figures differ 300-fold",
        _chip("spinnaker", chips.SPINNAKER, _TWO_NUMBERS),
    ),
    (
        "SpiNNaker 2 as KerasSpiking counts it",
        _chip("spinnaker2", chips.SPINNAKER2, _TWO_NUMBERS),
    ),
    (
        "desktop CPU as KerasSpiking counts it: the ordinary network once, whatever spikes",
        _chip("cpu-kerasspiking", chips.CPU, _TWO_NUMBERS),
    ),
    (
        "desktop GPU as KerasSpiking counts it: the ordinary network once, whatever spikes",
        _chip("gpu-kerasspiking", chips.GPU, _TWO_NUMBERS),
    ),
    (
        "ARM Cortex-A as KerasSpiking counts it: the ordinary network once, whatever spikes",
        _chip("arm-kerasspiking", chips.ARM, _TWO_NUMBERS),
    ),
)
