"""Refusal of flags that a run would not use, so that nobody reports a change without effect."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from experiments import windows
from experiments.build import NEURONS, lookup, model_class, readout
from experiments.config import flag

OF_MODELS = ("gain", "norm", "hidden", "use_bias", "recurrent_init", "dropout", "input_dropout")
# Flags of neuron models, and the names of their arguments.
OF_NEURONS = {
    "tau_steps": "tau_mem",
    "reset": "reset",
    "detach_reset": "detach_reset",
    "surrogate": "surrogate",
}
OF_INTEGRATORS = ("readout_tau_steps", "readout_gain")
# Flags that depend on another one: whether that one is set, and its name.
BESIDE = {
    "exit_loss": (lambda config: config.early_exit is not None, "--early-exit"),
    "prune_rate": (lambda config: config.prune != "none", "--prune"),
    "bits_scale": (lambda config: config.weight_bits is not None, "--weight-bits"),
    "window_scale": (windows.learned, "a learned --window"),
    "design_rate": (lambda config: config.design_parameters != "none", "--design-parameters"),
    "supply_v": (lambda config: config.design_parameters != "none", "--design-parameters"),
    "folds": (lambda config: config.fold is not None, "--fold"),
    "delta_threshold": (lambda config: config.encoder == "delta", "--encoder delta"),
}


def refuse_unread(flags: Mapping[str, Any], config: Any) -> None:
    """Compare the given flags with those that the run uses.

    Options of a recipe that the run does not use are accepted, and so is a flag that sets its
    default.

    Args:
        flags: those given.
        config: the config that they give.

    Raises:
        ValueError: a flag that would change nothing.
    """
    model = inspect.signature(model_class(config.model)).parameters
    accepted = inspect.signature(lookup("neuron", NEURONS, config.neuron)).parameters
    reasons = {name: f"--model {config.model} has none" for name in OF_MODELS if name not in model}
    for name, option in OF_NEURONS.items():
        if option not in accepted:
            reasons[name] = f"--neuron {config.neuron} has none"
    if readout(config).needs_spikes:
        reasons |= dict.fromkeys(
            OF_INTEGRATORS, f"--readout {config.readout} counts spikes of neurons like the hidden"
        )
    if "omega" not in accepted:
        reasons["frequency_scale"] = f"--neuron {config.neuron} has none"
    for name, (there, words) in BESIDE.items():
        if not there(config):
            reasons[name] = f"it needs {words}"
    for name, reason in reasons.items():
        if name in flags and flags[name] != getattr(type(config), name):
            raise ValueError(f"{flag(name)} would change nothing: {reason}")
