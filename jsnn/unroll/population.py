"""One neuron population over time.

State in, state out: T steps at once equal T calls of one step, so a stream can be split anywhere.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params
from jsnn.unroll.contract import Carry, FoldState, Plan, Readout, Recurrent
from jsnn.unroll.rule import settle


@dataclasses.dataclass(frozen=True)
class _Spikes:
    """The spikes of every step: what `unroll` reads out."""

    per_step = True
    needs_spikes = False
    min_steps = 1

    def init(self, shape, dtype=jnp.float32):
        return ()

    def update(self, carry, potential, spikes, t):
        return carry, spikes

    def finish(self, carry, emissions, steps):
        return emissions


_SPIKES = _Spikes()


def unroll(
    neuron: Neuron,
    params: Params,
    currents: Array,
    state: Any = None,
    *,
    plan: Plan | str | None = None,
    recurrent: Recurrent | None = None,
    spikes_before: Array | None = None,
    key: Array | None = None,
) -> tuple[Any, Array]:
    """Run a population over all steps of its input current.

    `(state, s_t) = step(state, I_t + recurrent(s_{t−1}))`

    Args:
        neuron: model of the population.
        params: its leaves.
        currents: `[T, B, ...]`.
        state: where to start; at rest by default.
        plan: how the scan is computed, see `PLANS`; a name or a plan. By `choose` if not given.
        recurrent: current `[B, ...]` that the spikes `[B, ...]` of the step before cause, inside
            the scan. A `DenseRecurrence` lets plans see its matrix; any function runs by `Scan`.
        spikes_before: spikes of the step before the first one, for `recurrent`; none by default.
            To go on with a stream, pass the last spikes of the call before: `spikes[-1]`.
        key: draws a random membrane where no state is given.

    Returns:
        State after the last step and spikes `[T, B, ...]` (the membrane of a non-spiking neuron).

    Raises:
        ValueError: no steps; a dtype or shape that does not fit params or state; arguments that
            exclude each other; a plan that cannot run this population.

    Example:
        >>> import jax
        >>> from jsnn.neurons import LIF
        >>> neuron = LIF()
        >>> params = neuron.init_params(jax.random.key(0), (2,))
        >>> state, spikes = unroll(neuron, params, jnp.full((5, 1, 2), 0.3))
        >>> spikes[:, 0, 0]
        Array([0., 0., 0., 1., 0.], dtype=float32)
        >>> first, _ = unroll(neuron, params, jnp.full((2, 1, 2), 0.3))
        >>> _, rest = unroll(neuron, params, jnp.full((3, 1, 2), 0.3), first)
        >>> bool((rest == spikes[2:]).all())
        True
    """
    state = _start(neuron, params, currents, state, key)
    before = None
    if recurrent is None:
        if spikes_before is not None:
            raise ValueError("spikes_before is only used by recurrent; pass both or neither")
    else:
        before = spikes_before
        if before is None:
            before = jnp.zeros(currents.shape[1:], currents.dtype)
        if before.shape != currents.shape[1:] or before.dtype != currents.dtype:
            raise ValueError(
                f"spikes_before must be {currents.dtype}{list(currents.shape[1:])} like a step of "
                f"the currents, got {before.dtype}{list(before.shape)}"
            )
    steps = currents.shape[0]
    plan = settle(plan, neuron, recurrent, steps)
    times = jnp.arange(steps, dtype=jnp.int32)
    start = Carry(state, before, ())
    end, spikes = _run(plan, neuron, _SPIKES, params, recurrent, currents, times, start)
    return end.neuron, spikes


def start_fold(
    neuron: Neuron,
    params: Params,
    readout: Readout,
    shape: tuple[int, ...],
    dtype: Any = jnp.float32,
    *,
    key: Array | None = None,
) -> FoldState:
    """State of a `fold` before its first step.

    Args:
        neuron: model of the population.
        params: its leaves.
        readout: what will be gathered.
        shape: `[B, ...]` of one step.
        dtype: of the currents to come.
        key: draws a random membrane.
    """
    state = neuron.init_state(params, shape, key)
    spikes = jnp.zeros(shape, dtype)
    return FoldState(state, spikes, readout.init(shape, dtype), jnp.zeros((), jnp.int32))


def fold(
    neuron: Neuron,
    params: Params,
    currents: Array,
    readout: Readout,
    state: FoldState | None = None,
    *,
    plan: Plan | str | None = None,
    recurrent: Recurrent | None = None,
    key: Array | None = None,
) -> tuple[FoldState, Any]:
    """Run a population and reduce it step by step: memory does not grow with T.

    Equals `unroll` followed by the readout over all membranes and spikes. `Parallel` and `Pallas`
    hold the whole trajectory before they reduce it.

    Args:
        neuron, params, currents, plan, recurrent, key: as in `unroll`.
        readout: what to gather, see `jsnn.readouts`.
        state: where to go on. Without one the whole window is in `currents`; to feed a window in
            pieces begin with `start_fold` and pass on the state of each call.

    Returns:
        State after the last step and the readout so far.

    Raises:
        ValueError: as in `unroll`; a readout of spikes on a neuron without any; a whole window
            shorter than the readout needs.

    Example:
        >>> import jax
        >>> from jsnn.neurons import LI
        >>> from jsnn.readouts import LastMembrane
        >>> neuron = LI()
        >>> params = neuron.init_params(jax.random.key(0), (2,))
        >>> state, logits = fold(neuron, params, jnp.ones((50, 1, 2)), LastMembrane())
        >>> logits
        Array([[0.917915, 0.917915]], dtype=float32)
    """
    if readout.needs_spikes and not neuron.spiking:
        raise ValueError(
            f"{type(readout).__name__} counts spikes and {type(neuron).__name__} sends none; "
            "use a readout of the membrane"
        )
    _check_currents(params, currents)
    steps = currents.shape[0]
    if state is None:
        if steps < readout.min_steps:
            raise ValueError(
                f"{readout} needs at least {readout.min_steps} steps, got {steps}; lengthen the "
                "window, or begin with start_fold to feed it in pieces"
            )
        state = start_fold(neuron, params, readout, currents.shape[1:], currents.dtype, key=key)
    elif key is not None:
        raise ValueError("key draws a first state, but a state was given; pass one of them")
    _check_state(neuron, state.neuron, currents)

    plan = settle(plan, neuron, recurrent, steps)
    times = state.steps + jnp.arange(steps, dtype=jnp.int32)
    start = Carry(*state[:3])
    end, emissions = _run(plan, neuron, readout, params, recurrent, currents, times, start)
    state = FoldState(*end, state.steps + jnp.int32(steps))
    return state, readout.finish(end.gathered, emissions, state.steps)


def _run(plan: Plan, neuron: Neuron, readout: Readout, *arrays: Any) -> tuple[Carry, Any]:
    # Outside a trace a loop over time would be compiled in every call.
    concrete = (
        isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
        for leaf in jax.tree.leaves(arrays)
    )
    run = _compiled if all(concrete) else type(plan).run
    return run(plan, neuron, readout, *arrays)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled(plan: Plan, neuron: Neuron, readout: Readout, *arrays: Any) -> tuple[Carry, Any]:
    return plan.run(neuron, readout, *arrays)


def _start(neuron: Neuron, params: Params, currents: Array, state: Any, key: Array | None) -> Any:
    _check_currents(params, currents)
    if state is None:
        state = neuron.init_state(params, currents.shape[1:], key)
    elif key is not None:
        raise ValueError("key draws a first state, but a state was given; pass one of them")
    _check_state(neuron, state, currents)
    return state


def _check_currents(params: Params, currents: Array) -> None:
    if currents.ndim < 2 or currents.shape[0] == 0:
        raise ValueError(
            f"currents must be [T, B, ...] with at least one step, got shape {currents.shape}"
        )
    for name, leaf in params.items():
        if leaf.dtype != currents.dtype:
            raise ValueError(
                f"currents are {currents.dtype} and the parameter {name} is {leaf.dtype}; "
                "use one dtype for both (init_params takes it)"
            )
        features = currents.shape[currents.ndim - leaf.ndim :]
        if leaf.ndim >= currents.ndim or any(
            n not in (1, m) for n, m in zip(leaf.shape, features, strict=True)
        ):
            raise ValueError(
                f"parameter {name} of shape {leaf.shape} does not broadcast from the right "
                f"against currents [T, B, ...] of shape {currents.shape}"
            )


def _check_state(neuron: Neuron, state: Any, currents: Array) -> None:
    membrane = neuron.potential(state)
    if membrane.shape != currents.shape[1:] or membrane.dtype != currents.dtype:
        raise ValueError(
            f"the state holds membranes {membrane.dtype}{list(membrane.shape)}, but a step of the "
            f"currents is {currents.dtype}{list(currents.shape[1:])}; build the state for it"
        )
