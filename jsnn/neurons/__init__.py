"""Neuron models: each step a plain function, bound by a frozen dataclass of hyper-parameters."""

from jsnn.neurons._decay import decay
from jsnn.neurons.adlif import AdLIF, AdLIFState, adlif_step
from jsnn.neurons.alif import ALIF, ALIFState, alif_step
from jsnn.neurons.brf import BRF, RF, BRFState, RFState, brf_step, rf_step
from jsnn.neurons.cubalif import CuBaLIF, CuBaLIFState, cubalif_step
from jsnn.neurons.fixed import Fixed
from jsnn.neurons.iff import IF, IFState, if_step
from jsnn.neurons.initial import Initial, Normal, Uniform
from jsnn.neurons.li import LI, LIState, li_step
from jsnn.neurons.lif import LIF, LIFState, lif_step
from jsnn.neurons.plif import PLIF, PLIFState, plif_step
from jsnn.neurons.protocol import NO_OPS, Neuron, NeuronOps
from jsnn.neurons.reset import RESETS, Reset, reset_membrane
from jsnn.neurons.trained import (
    Factor,
    Shift,
    in_force,
    legal_constants,
    trainable,
    untrained_leaves,
)

NEURONS: dict[str, type] = {
    "if": IF,
    "lif": LIF,
    "cubalif": CuBaLIF,
    "li": LI,
    "alif": ALIF,
    "adlif": AdLIF,
    "plif": PLIF,
    "brf": BRF,
    "rf": RF,
}

__all__ = [
    "ALIF",
    "BRF",
    "IF",
    "LI",
    "LIF",
    "NEURONS",
    "NO_OPS",
    "PLIF",
    "RESETS",
    "RF",
    "ALIFState",
    "AdLIF",
    "AdLIFState",
    "BRFState",
    "CuBaLIF",
    "CuBaLIFState",
    "Factor",
    "Fixed",
    "IFState",
    "Initial",
    "LIFState",
    "LIState",
    "Neuron",
    "NeuronOps",
    "Normal",
    "PLIFState",
    "RFState",
    "Reset",
    "Shift",
    "Uniform",
    "adlif_step",
    "alif_step",
    "brf_step",
    "cubalif_step",
    "decay",
    "if_step",
    "in_force",
    "legal_constants",
    "li_step",
    "lif_step",
    "plif_step",
    "reset_membrane",
    "rf_step",
    "trainable",
    "untrained_leaves",
]
