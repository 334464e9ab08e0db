"""Optimiser of a network: groups of parameters by kind, each with its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from jsnn._checks import check_number
from jsnn.train.levers import LEVERS, NETWORK

LABELS = ("weights", "norm", "time_constants", "frequencies", "thresholds", "neuron")

# Labels of neuron leaves by the start of their name; all others are labelled `neuron`.
_NEURON_LABELS = {
    "tau": "time_constants",
    "omega": "frequencies",
    "b_offset": "frequencies",
    "v_threshold": "thresholds",
}
# The leaf that a PLIF trains in place of a time constant.
_LEAK = "w"


def label_params(params: Any) -> Any:
    """Label every leaf with one of `LABELS`.

    `weights` are kernels, biases and recurrent weights. Trained constants of a neuron
    (`neuron.trainable`) are `time_constants`, `frequencies` (of resonators), `thresholds` or, the
    rest, `neuron`; all are relative to their initial values (`jsnn.neurons.trained`). The leaves of
    a lever (`jsnn.train.levers`) are labelled `lever.` and its name, those of the network under it
    as without the lever.

    `make_optimiser` has a learning rate for each label.

    >>> label_params({"layers_0": {"synapse": {"kernel": 1.0}, "neuron": {"tau_mem": 0.0}}})
    {'layers_0': {'neuron': {'tau_mem': 'time_constants'}, 'synapse': {'kernel': 'weights'}}}
    """

    def label(path, _):
        names = [entry.key for entry in path if hasattr(entry, "key")]
        if levered and names[0] == LEVERS:
            return f"lever.{names[1]}"
        if "neuron" not in names:
            norm = any(name == "norm" or name.startswith("BatchNorm") for name in names)
            return "norm" if norm else "weights"
        return label_leaf(names[-1])

    levered = set(params) == {NETWORK, LEVERS}
    return jax.tree_util.tree_map_with_path(label, params)


def label_leaf(name: str) -> str:
    """The label of a neuron's leaf.

    >>> label_leaf("tau_adp"), label_leaf("r")
    ('time_constants', 'neuron')
    """
    if name == _LEAK:
        return "time_constants"
    fitting = (label for start, label in _NEURON_LABELS.items() if name.startswith(start))
    return next(fitting, "neuron")


def make_optimiser(
    learning_rate: float,
    steps: int,
    *,
    warmup: int = 0,
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    clip: float = 1.0,
    scales: Mapping[str, float] | None = None,
    levers: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """AdamW with linear warm-up, cosine or linear decay, global clipping and rates by label.

    Args:
        learning_rate: peak rate of the weights.
        steps: length of the schedule, in optimiser steps.
        warmup: steps of linear warm-up.
        schedule: `cosine`, `linear` or `constant`.
        weight_decay: of AdamW, on `weights` only.
        clip: global norm of the gradient.
        scales: factor on the learning rate for each label of `label_params`; 0 freezes, labels left
            out have 1. Constants of neurons are trained relative to their initial values: a
            learning rate of 0.01 moves a time constant by about 1 % per step.
        levers: factor on the learning rate for each lever of the network, by name; 0 freezes.

    Raises:
        ValueError: unknown schedule or label, a schedule shorter than its warm-up, a number that is
            negative or not finite, a clip of 0; from `init`, a network with a lever that has no
            factor here.

    >>> optimiser = make_optimiser(1e-3, 100, warmup=10, scales={"time_constants": 0.1})
    """
    if not 0 <= warmup < steps:
        raise ValueError(
            f"warm-up must be shorter than the schedule, got {warmup} of {steps} steps"
        )
    rates = _rates(scales or {}, levers or {})
    numbers = {"learning_rate": learning_rate, "weight_decay": weight_decay, "clip": clip}
    for name, number in (numbers | {f"rate of {label}": rates[label] for label in rates}).items():
        check_number(name, number, 0)
    if clip == 0:
        raise ValueError("clip, the largest norm of the gradient, is 0: nothing would be trained")
    rate = _schedule(schedule, learning_rate, steps, warmup)

    def of(label: str) -> optax.GradientTransformation:
        if not rates[label]:
            return optax.set_to_zero()
        decay = weight_decay if label == "weights" else 0.0
        return optax.chain(optax.adamw(rate, weight_decay=decay), optax.scale(rates[label]))

    def labels(params: Any) -> Any:
        tree = label_params(params)
        if missing := sorted(set(jax.tree.leaves(tree)) - set(rates)):
            levers = [label.removeprefix("lever.") for label in missing]
            raise ValueError(
                f"the network has levers without a learning rate: {levers}; give each a factor, as "
                f"make_optimiser(..., levers={{{levers[0]!r}: 1.0}}), 0 freezes"
            )
        return tree

    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.partition({label: of(label) for label in rates}, labels),
    )


def _rates(scales: Mapping[str, float], levers: Mapping[str, float]) -> dict[str, float]:
    """Factor on the learning rate for each label of `label_params`."""
    if unknown := set(scales) - set(LABELS):
        raise ValueError(f"unknown parameter labels {sorted(unknown)}; known are {sorted(LABELS)}")
    of_levers = {f"lever.{name}": factor for name, factor in levers.items()}
    return dict.fromkeys(LABELS, 1.0) | dict(scales) | of_levers


def _schedule(name: str, peak: float, steps: int, warmup: int) -> optax.Schedule:
    """Learning rate by step: up to its peak over the warm-up, then as the schedule says."""
    decays = {
        "cosine": optax.schedules.cosine_decay_schedule(peak, steps - warmup),
        "linear": optax.schedules.linear_schedule(peak, 0.0, steps - warmup),
        "constant": optax.schedules.constant_schedule(peak),
    }
    if name not in decays:
        raise ValueError(f"schedule must be one of {sorted(decays)}, got {name!r}")
    if not warmup:
        return decays[name]
    rising = optax.schedules.linear_schedule(0.0, peak, warmup)
    return optax.schedules.join_schedules([rising, decays[name]], [warmup])
