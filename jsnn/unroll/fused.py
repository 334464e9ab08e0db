"""One backward pass for the whole scan of a population, from the neuron's step alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jsnn._time_axis import merge
from jsnn.neurons.protocol import Neuron, Params
from jsnn.unroll.contract import Carry, DenseRecurrence, Readout, Recurrent
from jsnn.unroll.scan import Scan


@dataclasses.dataclass(frozen=True)
class Fused:
    """One `jax.custom_vjp` around the whole scan, with the steps of `Scan` forward.

    Forward keeps the state before each step (and the current, if recurrence added to it), where
    `Scan` keeps every intermediate value that jax asks for. Backward is one reverse scan that takes
    the step's `jax.vjp` at the kept state. The gradient of recurrent weights is one product after
    it, over all steps: `dR = Σ_t spikes_(t−1)ᵀ dI_t`.

    Recurrence must be a `DenseRecurrence`. Reverse mode only, as spikes are.

    Example:
        >>> from jsnn.neurons import LIF
        >>> from jsnn.unroll import unroll
        >>> params = LIF().init_params(jax.random.key(0), (2,))
        >>> def spikes_sent(currents, plan):
        ...     return unroll(LIF(), params, currents, plan=plan)[1].sum()
        >>> frames = jnp.full((5, 1, 2), 0.3)
        >>> slow, fast = (jax.grad(spikes_sent)(frames, plan) for plan in (Scan(), Fused()))
        >>> bool(jnp.allclose(slow, fast))
        True
    """

    def refuses(self, neuron: Neuron, recurrent: Recurrent | None) -> str | None:
        """Recurrence through a function: its weights cannot be seen."""
        if recurrent is None or isinstance(recurrent, DenseRecurrence):
            return None
        return "the weights inside a function cannot be seen; pass DenseRecurrence(weights)"

    def run(
        self,
        neuron: Neuron,
        readout: Readout,
        params: Params,
        recurrent: DenseRecurrence | None,
        currents: Array,
        times: Array,
        start: Carry,
    ) -> tuple[Carry, Any]:
        """See `jsnn.unroll.Plan`."""
        return _fused(neuron, readout, params, recurrent, currents, times, start)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fused(neuron, readout, params, recurrent, currents, times, start):
    return Scan().run(neuron, readout, params, recurrent, currents, times, start)


def _forward(neuron, readout, params, recurrent, currents, times, start):
    def step(carry, current_and_time):
        current, t = current_and_time
        fed = before = None
        if recurrent is not None:
            before = carry.spikes
            fed = current = current + recurrent(before)
        state, spikes = neuron.step(params, carry.neuron, current)
        gathered, emission = readout.update(carry.gathered, neuron.potential(state), spikes, t)
        after = Carry(state, None if carry.spikes is None else spikes, gathered)
        # XLA drops what the backward pass never reads, such as the total of a sum.
        return after, (emission, (carry.neuron, carry.gathered, fed, before))

    end, (emissions, trail) = jax.lax.scan(step, start, (currents, times))
    return (end, emissions), (params, recurrent, currents, times, start, trail)


def _backward(neuron, readout, saved, cotangents):
    """A name ending in `_bar` is the gradient with respect to what it names."""
    params, recurrent, currents, times, start, (states, gathered, fed, before) = saved
    end_bar, emissions_bar = cotangents

    def step(carry, at):
        (state_bar, spikes_bar, gathered_bar), params_bar = carry
        state, current, gathered, t, emission_bar = at

        def forward(params, state_floats, current, gathered_floats):
            after, spikes = neuron.step(params, _with(state, state_floats), current)
            read = readout.update(
                _with(gathered, gathered_floats), neuron.potential(after), spikes, t
            )
            kept = None if spikes_bar is None else spikes
            return _floats(after), kept, _floats(read)

        _, pull = jax.vjp(forward, params, _floats(state), current, _floats(gathered))
        share, state_bar, current_bar, gathered_bar = pull(
            (state_bar, spikes_bar, [*gathered_bar, *emission_bar])
        )
        if recurrent is not None:
            spikes_bar = jnp.matmul(current_bar, recurrent.weights.T)
        elif spikes_bar is not None:
            spikes_bar = jnp.zeros_like(spikes_bar)
        params_bar = jax.tree.map(jnp.add, params_bar, share)
        return ((state_bar, spikes_bar, gathered_bar), params_bar), current_bar

    end_bars = (
        _floats_of_bar(end_bar.neuron, start.neuron),
        end_bar.spikes,
        _floats_of_bar(end_bar.gathered, start.gathered),
    )
    emissions_bar = [bar for bar in jax.tree.leaves(emissions_bar) if bar.dtype != _NO_GRADIENT]
    ((state_bar, spikes_bar, gathered_bar), params_bar), currents_bar = jax.lax.scan(
        step,
        (end_bars, jax.tree.map(jnp.zeros_like, params)),
        (states, currents if fed is None else fed, gathered, times, emissions_bar),
        reverse=True,
    )
    recurrent_bar = None
    if recurrent is not None:
        recurrent_bar = DenseRecurrence(jnp.matmul(merge(before).T, merge(currents_bar)))
    start_bar = Carry(
        _bars(start.neuron, state_bar), spikes_bar, _bars(start.gathered, gathered_bar)
    )
    return params_bar, recurrent_bar, currents_bar, None, start_bar


_fused.defvjp(_forward, _backward)

_NO_GRADIENT = jax.dtypes.float0


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _floats(tree: Any) -> list[Array]:
    """The leaves that have a gradient; counters and keys have none."""
    return [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]


def _with(tree: Any, floats: list[Array]) -> Any:
    """The tree with its floating leaves replaced."""
    new = iter(floats)
    return jax.tree.map(lambda leaf: next(new) if _is_float(leaf) else leaf, tree)


def _floats_of_bar(bar: Any, tree: Any) -> list[Array]:
    """Gradients of the leaves of `tree` that have one."""
    pairs = zip(jax.tree.leaves(bar), jax.tree.leaves(tree), strict=True)
    return [bar for bar, leaf in pairs if _is_float(leaf)]


def _bars(tree: Any, floats: list[Array]) -> Any:
    """Gradients in the shape of the tree, None where a leaf has none."""
    new = iter(floats)
    return jax.tree.map(lambda leaf: next(new) if _is_float(leaf) else None, tree)
