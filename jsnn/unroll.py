"""One neuron population over time.

State in, state out: T steps at once equal T calls of one step, so a stream can be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params

Recurrent = Callable[[Array], Array]


@runtime_checkable
class Readout(Protocol):
    """What every readout offers: frozen, hashable, without arrays.

    Attributes:
        per_step: the result has a time axis `[T, B, C]`; else it is `[B, C]`.
        needs_spikes: reads spikes, so that a non-spiking neuron cannot feed it.
        min_steps: fewest steps of a window that give a result.
    """

    @property
    def per_step(self) -> bool: ...  # noqa: D102

    @property
    def needs_spikes(self) -> bool: ...  # noqa: D102

    @property
    def min_steps(self) -> int: ...  # noqa: D102

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        """What is carried before the first step; `shape` is `[B, C]`."""
        ...

    def update(self, carry: Any, potential: Array, spikes: Array, t: Array) -> tuple[Any, Any]:
        """Take in step t (from 0); also gives what this step emits, None for most."""
        ...

    def finish(self, carry: Any, emissions: Any, steps: Array | int) -> Any:
        """The result after `steps` steps, of which `emissions` holds those of the last call."""
        ...


class FoldState(NamedTuple):
    """Everything `fold` needs to go on where it stopped.

    Attributes:
        neuron: state of the population.
        spikes: spikes of the last step, `[B, ...]`.
        carry: what the readout has gathered.
        steps: steps taken, int32 scalar.
    """

    neuron: Any
    spikes: Array
    carry: Any
    steps: Array


def unroll(
    neuron: Neuron,
    params: Params,
    currents: Array,
    state: Any = None,
    *,
    recurrent: Recurrent | None = None,
    spikes_before: Array | None = None,
    key: Array | None = None,
) -> tuple[Any, Array]:
    """Run a population over all steps of its input current.

    `(state, s_t) = step(state, I_t + recurrent(s_{t−1}))`

    Args:
        neuron: law of the population.
        params: its leaves.
        currents: `[T, B, ...]`.
        state: where to start; at rest by default.
        recurrent: current `[B, ...]` that the spikes `[B, ...]` of the step before cause. The
            matrix product of explicit recurrence runs inside the scan.
        spikes_before: spikes of the step before the first one, for `recurrent`; none by default.
            To go on with a stream, pass the last spikes of the call before: `spikes[-1]`.
        key: draws a random membrane where no state is given.

    Returns:
        State after the last step and spikes `[T, B, ...]` (the membrane of a non-spiking neuron).

    Raises:
        ValueError: no steps; a dtype or shape that does not fit params or state; arguments that
            exclude each other.

    Example:
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
    if recurrent is None:
        if spikes_before is not None:
            raise ValueError("spikes_before is only used by recurrent; pass both or neither")

        def step(state, current):
            return neuron.step(params, state, current)

        return jax.lax.scan(step, state, currents)

    if spikes_before is None:
        spikes_before = jnp.zeros(currents.shape[1:], currents.dtype)
    if spikes_before.shape != currents.shape[1:] or spikes_before.dtype != currents.dtype:
        raise ValueError(
            f"spikes_before must be {currents.dtype}{list(currents.shape[1:])} like a step of the "
            f"currents, got {spikes_before.dtype}{list(spikes_before.shape)}"
        )

    def step(carry, current):
        state, spikes = carry
        state, spikes = neuron.step(params, state, current + recurrent(spikes))
        return (state, spikes), spikes

    (state, _), spikes = jax.lax.scan(step, (state, spikes_before), currents)
    return state, spikes


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
        neuron: law of the population.
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
    recurrent: Recurrent | None = None,
    key: Array | None = None,
) -> tuple[FoldState, Any]:
    """Run a population and reduce it on the way: memory does not grow with T.

    Equals `unroll` followed by the readout over all membranes and spikes.

    Args:
        neuron, params, currents, recurrent, key: as in `unroll`.
        readout: what to gather, see `jsnn.readouts`.
        state: where to go on. Without one the whole window is in `currents`; to feed a window in
            pieces begin with `start_fold` and pass on the state of each call.

    Returns:
        State after the last step and the readout so far.

    Raises:
        ValueError: as in `unroll`; a readout of spikes on a neuron without any; a whole window
            shorter than the readout needs.

    Example:
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

    def step(carry, current_and_time):
        current, t = current_and_time
        inner, spikes, gathered = carry
        if recurrent is not None:
            current = current + recurrent(spikes)
        inner, spikes = neuron.step(params, inner, current)
        gathered, emission = readout.update(gathered, neuron.potential(inner), spikes, t)
        return (inner, spikes, gathered), emission

    times = state.steps + jnp.arange(steps, dtype=jnp.int32)
    (inner, spikes, gathered), emissions = jax.lax.scan(step, state[:3], (currents, times))
    state = FoldState(inner, spikes, gathered, state.steps + jnp.int32(steps))
    return state, readout.finish(gathered, emissions, state.steps)


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
