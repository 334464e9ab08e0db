"""A recorded run over a window of another length: T as a number with a gradient."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jsnn.hardware.trees import is_concrete
from jsnn.workload import LayerWorkload, Stored, Workload

__all__ = ["over"]


def over(workload: Workload, steps: Any) -> Workload:
    """The same network at the same rates over `steps` steps, whole or not.

    With r = steps / T, events are multiplied by r; words of a constant input, shown once, stay. Of
    n inputs, a of which fired at least once, `n (1 - (1 - a/n)^r)` do (steps independent of each
    other). When events came is not known of another window: `by_step` is dropped.

    `steps` may be traced: the bill, the floor and the latency of what is returned are then
    differentiable in T. It stands as static metadata, so build it inside the function that is
    transformed and do not return it from there. The twin of a window that is traced takes the
    relaxed width `bits = log2(steps + 1)`.

    Args:
        workload: what a run did in T steps.
        steps: length of the window asked for, from 1.

    Raises:
        ValueError: fewer steps than one.

    >>> import jax
    >>> from jsnn.energy import bill
    >>> from jsnn.hardware import get
    >>> from jsnn.hypothetical import dense
    >>> run, machine = Workload((dense(100, 10, steps=4, rate=0.1),)), get("event-45nm")
    >>> energy = lambda steps: bill(over(run, steps), machine).total_pj()[0]
    >>> bool(energy(8.0) == 2 * energy(4.0)), bool(jax.grad(energy)(4.0) > 0)
    (True, True)
    """
    if is_concrete(steps) and not steps >= 1:
        raise ValueError(f"expected a window of at least one step, found steps = {steps}")
    layers = tuple(_stretched(layer, steps) for layer in workload)
    return dataclasses.replace(workload, layers=layers)


def _stretched(layer: LayerWorkload, steps: Any) -> LayerWorkload:
    g, share = layer.geometry, steps / layer.steps
    inputs = jnp.asarray(g.inputs_by_reach, layer.active.dtype)
    shown_once = g.input_kind == "constant"
    stored = layer.stored
    if stored is not None:
        stored = Stored(
            spikes=stored.spikes * share,
            active=_ever(stored.active, g.operand.words, share),
            coincidences=stored.coincidences * share,
        )
    return dataclasses.replace(
        layer,
        arrivals=layer.arrivals if shown_once else layer.arrivals * share,
        active=layer.active if shown_once else _ever(layer.active, inputs, share),
        recurrent_events=layer.recurrent_events * share,
        spikes=layer.spikes * share,
        steps=steps,
        stored=stored,
        by_step=None,
    )


def _ever(active: jax.Array, inputs: Any, share: Any) -> jax.Array:
    """Inputs that fire at least once, of so many of which `active` do in a window."""
    silent = 1 - active / jnp.maximum(inputs, 1)
    # Where all fire they all do; the power of zero has no gradient.
    some = silent > 0
    power = jnp.where(some, silent, 1.0) ** share
    return inputs * (1 - jnp.where(some, power, 0.0))
