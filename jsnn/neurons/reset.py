"""Resets: the effect of a spike on the membrane of the neuron that sent it."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Literal

import jax
from jax import Array

from jsnn.neurons.initial import Normal, Uniform

# Steps above which a time constant of seconds looks like one of milliseconds.
_LONG = 1000

Reset = Literal["subtract", "zero", "none"]
RESETS: tuple[Reset, ...] = ("subtract", "zero", "none")


def reset_membrane(
    v: Array,
    spikes: Array,
    v_threshold: Array,
    *,
    reset: Reset = "subtract",
    v_reset: float = 0.0,
    detach: bool = False,
) -> Array:
    """Membrane after the reset.

    `subtract`: `v − s·v_threshold`; `zero`: `v_reset` where the neuron fired; `none`: v.

    Args:
        v: membrane, `[B, ...]`.
        spikes: 0 or 1, `[B, ...]`.
        v_threshold: broadcasts against v.
        reset: one of `RESETS`.
        v_reset: where `zero` puts the membrane.
        detach: no gradient through the spikes of the reset; the way through v stays.

    Example:
        >>> import jax.numpy as jnp
        >>> v, s = jnp.array([0.5, 1.25]), jnp.array([0.0, 1.0])
        >>> reset_membrane(v, s, 1.0)
        Array([0.5 , 0.25], dtype=float32)
        >>> reset_membrane(v, s, 1.0, reset="zero", v_reset=-0.5)
        Array([ 0.5, -0.5], dtype=float32)
    """
    if detach:
        spikes = jax.lax.stop_gradient(spikes)
    match reset:
        case "subtract":
            return v - spikes * v_threshold
        case "zero":
            return v * (1 - spikes) + v_reset * spikes
        case "none":
            return v
    raise ValueError(f"unknown reset {reset!r}; valid: {', '.join(RESETS)}")


def check_reset(owner: object) -> None:
    """Raise ValueError unless the owner's `reset` is one of `RESETS`."""
    if owner.reset not in RESETS:
        raise ValueError(
            f"{type(owner).__name__}: unknown reset {owner.reset!r}; valid: {', '.join(RESETS)}"
        )


def check_dt(owner: object) -> None:
    """Raise ValueError unless the owner's `dt` (s) is positive and finite.

    Warns of time constants of a second and more that are over a thousand steps long: they were
    probably meant in milliseconds, and such a neuron forgets nothing in a window.
    """
    name = type(owner).__name__
    if not (math.isfinite(owner.dt) and owner.dt > 0):
        raise ValueError(f"{name}: dt (s) must be positive, got {owner.dt!r}")
    for field in dataclasses.fields(owner):
        if not field.name.startswith("tau"):
            continue
        match value := getattr(owner, field.name):
            case Normal(mean, _):
                seconds = mean
            case Uniform(low, _):
                seconds = low
            case _:
                seconds = value
        if seconds >= 1 and seconds > _LONG * owner.dt:
            warnings.warn(
                f"{name}.{field.name} is {seconds:g} s, {seconds / owner.dt:,.0f} steps of "
                f"{owner.dt:g} s: time constants are in seconds; are milliseconds meant?",
                stacklevel=4,
            )
