"""A recorded run over a window of another length: T as a number with a gradient.

`truncate` gives what a run did up to that step, `rescale` what it would do at the same rates.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jsnn._checks import check_number
from jsnn._pytree import is_concrete
from jsnn.workload.workload import ByStep, LayerWorkload, Stored, Workload, within

__all__ = ["rescale", "taken_at_rates", "truncate", "truncate_layer"]

MOST_STEPS = 1e9


def rescale(workload: Workload, steps: Any) -> Workload:
    """The same network at the same rates over `steps` steps, whole or not.

    With r = steps / T, events are multiplied by r; words of a constant input, shown once, stay. Of
    n inputs, a of which fired at least once, `n (1 - (1 - a/n)^r)` do (steps independent of each
    other). When events came is not known of another window: `by_step` is dropped.

    `steps` may be traced: the energy, the spike-independent energy and the latency of what is
    returned are then differentiable in T. It stands as static metadata, so build it inside the
    function that is transformed and do not return it from there. The QNN of a window that is traced
    takes the relaxed width `bits = log2(steps + 1)`.

    Args:
        workload: what a run did in T steps.
        steps: length of the window asked for, from 1.

    Raises:
        ValueError: fewer steps than one, or no finite number of them; a run of no step.

    >>> import jax
    >>> from jsnn.energy import estimate_energy
    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> run, machine = Workload((dense(100, 10, steps=4, rate=0.1),)), get("event-45nm")
    >>> energy = lambda steps: estimate_energy(rescale(run, steps), machine).total_pj()[0]
    >>> bool(energy(8.0) == 2 * energy(4.0)), bool(jax.grad(energy)(4.0) > 0)
    (True, True)
    """
    check_number("steps", steps, 1, MOST_STEPS)
    layers = tuple(_stretched(layer, steps) for layer in workload)
    return dataclasses.replace(workload, layers=layers)


def truncate(workload: Workload, steps: Any) -> Workload:
    """The same run stopped after `steps` steps, whole or not.

    With w_t = min(max(steps - t, 0), 1), t from 0, every event of step t counts w_t times: the
    record of the first `steps` steps where these are a whole number, a straight line between two.
    The energy, the spike-independent energy and the latency of what is returned are those of a run
    over truncated frames, and differentiable in `steps` (traced as in `rescale`).

    What a record does not keep step by step is rescaled at constant rates, as in `rescale`: see
    `taken_at_rates`. Output spikes of single neurons are scaled to the sum of their layer, which is
    all that an energy estimate reads. So are the events of single inputs, which the energy of lists
    of weights reads, unless every step records them (as after
    `jsnn.codesign.early_exit.answers_by_step`). The operands of a product that were ever active,
    which its QNN reads, are rescaled too.

    Args:
        workload: what a run did in T steps.
        steps: length of the window asked for, from 1 to T.

    Raises:
        ValueError: fewer steps than one, or more than the run had.

    >>> import jax, jsnn
    >>> frames = jax.random.uniform(jax.random.key(0), (5, 2, 8)).round()
    >>> model = jsnn.models.MLP((16,), 3, input_kind="events")
    >>> variables = model.init(jax.random.key(1), frames)
    >>> machine = jsnn.hardware.get("neuromorphic-22nm")
    >>> whole, short = (jsnn.run(model, variables, frames[:t])[1] for t in (5, 3))
    >>> works = truncate(whole, 3), short
    >>> a, b = (jsnn.estimate_energy(work, machine).total_pj() for work in works)
    >>> bool(jnp.allclose(a, b, rtol=1e-6))
    True
    """
    return dataclasses.replace(
        workload, layers=tuple(truncate_layer(layer, steps) for layer in workload)
    )


def truncate_layer(layer: LayerWorkload, steps: Any) -> LayerWorkload:
    """`truncate`, of one layer."""
    check_number("steps", steps)
    if is_concrete(steps) and not 1 <= steps <= layer.steps:
        raise ValueError(
            f"expected a window of 1 to {layer.steps} steps, which is what layer "
            f"{layer.geometry.name!r} ran, found steps = {steps}"
        )
    at_rates, by_step = _stretched(layer, steps), layer.by_step
    if by_step is None:
        return at_rates
    seen: ByStep = jax.tree.map(
        lambda each: each * within(each.shape[1], steps).reshape(-1, *(1,) * (each.ndim - 2)),
        by_step,
    )
    # Counts are summed as such; a product with the shares may be rounded on accelerators.
    sums = jax.tree.map(lambda each: each.sum(1), seen)
    counts = {
        "events_by_fan_out": sums.events_by_fan_out,
        "recurrent_events": sums.recurrent_events,
    }
    counts["by_input"] = sums.by_input
    if by_step.by_input is None:
        counts["by_input"] = _shared(
            layer, _part(sums.events_by_fan_out.sum(-1), layer.input_events)
        )
    if by_step.active is not None:
        counts["active"] = sums.active
    if by_step.spikes is not None:
        share = _part(sums.spikes, layer.output_events)
        counts["spikes"] = layer.spikes * share.reshape(-1, *(1,) * (layer.spikes.ndim - 1))
    if layer.stored is not None:
        stored = dataclasses.replace(at_rates.stored, spikes=sums.stored)
        if by_step.coincidences is not None:
            stored = dataclasses.replace(stored, coincidences=sums.coincidences)
        counts["stored"] = stored
    return dataclasses.replace(at_rates, by_step=seen, **counts)


def taken_at_rates(layer: LayerWorkload) -> tuple[str, ...]:
    """What `truncate` rescales at constant rates in this layer, because no step records it.

    Nothing in a network of dense layers and convolutions that ends in an integrator. The inputs
    that events came from are not listed: only energies of lists of weights read them, and those are
    exact where `by_step.by_input` is known.

    >>> from jsnn.workload.analytic import dense
    >>> taken_at_rates(dense(4, 3, steps=5, rate=0.1))
    ('events_by_fan_out', 'recurrent_events', 'active', 'spikes')
    """
    by_step, product = layer.by_step, layer.stored is not None
    if by_step is None:
        first = ("events_by_fan_out", "recurrent_events", "active", "spikes")
        return first + ("stored", "coincidences") * product
    missing = [name for name in ("active", "spikes") if getattr(by_step, name) is None]
    return (*missing, *("coincidences",) * (product and by_step.coincidences is None))


def _stretched(layer: LayerWorkload, steps: Any) -> LayerWorkload:
    g = layer.geometry
    check_number(f"steps of layer {g.name!r}", layer.steps, 1)
    share = steps / layer.steps
    inputs = jnp.asarray(g.inputs_by_fan_out, layer.active.dtype)
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
        events_by_fan_out=layer.events_by_fan_out
        if shown_once
        else layer.events_by_fan_out * share,
        active=layer.active if shown_once else _ever(layer.active, inputs, share),
        recurrent_events=layer.recurrent_events * share,
        spikes=layer.spikes * share,
        steps=steps,
        stored=stored,
        by_step=None,
        by_input=_shared(layer, 1.0 if shown_once else share),
    )


def _part(some: jax.Array, of: jax.Array) -> jax.Array:
    return jnp.where(of > 0, some / jnp.where(of > 0, of, 1), 0)


def _shared(layer: LayerWorkload, share: Any) -> jax.Array | None:
    if layer.by_input is None:
        return None
    share = jnp.reshape(share, (-1, *(1,) * (layer.by_input.ndim - 1)))
    return layer.by_input * share


def _ever(active: jax.Array, inputs: Any, share: Any) -> jax.Array:
    """Inputs that fire at least once, of so many of which `active` do in a window."""
    silent = 1 - active / jnp.maximum(inputs, 1)
    # Where all fire they all do; the power of zero has no gradient.
    some = silent > 0
    power = jnp.where(some, silent, 1.0) ** share
    return inputs * (1 - jnp.where(some, power, 0.0))
