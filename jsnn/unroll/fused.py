"""One hand-written backward for the whole scan of a population."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params
from jsnn.unroll.adjoint import adjoint_of, floats_of, is_float, merge
from jsnn.unroll.contract import Carry, DenseRecurrence, Readout, Recurrent
from jsnn.unroll.scan import Scan


@dataclasses.dataclass(frozen=True)
class Fused:
    """One `jax.custom_vjp` round the whole scan, with the same steps forward as `Scan`.

    Forward keeps per step what the neuron's adjoint asks for (`jsnn.unroll.adjoint`): the membrane
    of a LIF, the state of a neuron that is known by its `step` alone. Backward is one reverse scan;
    gradients of parameters and of recurrent weights are products over all steps after it:

    `dR = Σ_t spikes_(t−1)ᵀ dI_t`.

    Recurrence must be a `DenseRecurrence`. Reverse mode only, as spikes are.
    """

    def refuses(self, neuron: Neuron, recurrent: Recurrent | None) -> str | None:
        """Recurrence through a function, whose weights cannot be seen."""
        if recurrent is None or isinstance(recurrent, DenseRecurrence):
            return None
        return "it cannot see the weights inside a function; pass DenseRecurrence(weights) or Scan"

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
    adjoint = adjoint_of(neuron)
    constants = adjoint.constants(neuron, params)

    def step(carry, current_and_time):
        current, t = current_and_time
        fed = None
        if recurrent is not None:
            fed = current = current + recurrent(carry.spikes)
        state, spikes = adjoint.advance(neuron, constants, carry.neuron, current)
        gathered, emission = readout.update(carry.gathered, neuron.potential(state), spikes, t)
        before = None if recurrent is None else carry.spikes
        after = Carry(state, None if carry.spikes is None else spikes, gathered)
        return after, (emission, (carry.neuron, fed, before, carry.gathered))

    end, (emissions, trail) = jax.lax.scan(step, start, (currents, times))
    return (end, emissions), (params, recurrent, currents, times, start, trail)


def _backward(neuron, readout, saved, cotangents):
    params, recurrent, currents, times, start, (states, fed, before, gathered) = saved
    end_bar, emissions_bar = cotangents
    adjoint = adjoint_of(neuron)
    constants, to_params = jax.vjp(lambda p: adjoint.constants(neuron, p), params)

    def step(carry, at):
        (state_bar, spikes_bar, gathered_bar), totals = carry
        state, current, gathered, t, emission_bar = at
        (after, spikes), retreat = adjoint.replay(neuron, constants, state, current)

        def read(gathered_floats, after_floats, spikes):
            potential = neuron.potential(merge(after, after_floats))
            return floats_of(readout.update(merge(gathered, gathered_floats), potential, spikes, t))

        _, pull = jax.vjp(read, floats_of(gathered), floats_of(after), spikes)
        gathered_bar, after_bar, read_bar = pull([*gathered_bar, *emission_bar])
        state_bar = [a + b for a, b in zip(state_bar, after_bar, strict=True)]
        spikes_bar = read_bar if spikes_bar is None else spikes_bar + read_bar
        constants_bar, state_bar, current_bar = retreat(state_bar, spikes_bar)
        totals = jax.tree.map(jnp.add, totals, constants_bar)
        if recurrent is not None:
            spikes_bar = jnp.matmul(current_bar, recurrent.weights.T)
        else:
            spikes_bar = None if end_bar.spikes is None else jnp.zeros_like(spikes_bar)
        return ((state_bar, spikes_bar, gathered_bar), totals), current_bar

    bars = (
        _floats_like(start.neuron, end_bar.neuron),
        end_bar.spikes,
        _floats_like(start.gathered, end_bar.gathered),
    )
    emissions_bar = [leaf for leaf in jax.tree.leaves(emissions_bar) if leaf.dtype != _NO_TANGENT]
    trail = (states, currents if fed is None else fed, gathered, times, emissions_bar)

    def size_of_totals(trail):
        at = jax.tree.map(lambda leaf: leaf[0], trail[:2])
        _, retreat = adjoint.replay(neuron, constants, *at)
        return retreat(floats_of(at[0]), at[1])[0]

    totals = jax.tree.map(jnp.zeros_like, jax.eval_shape(size_of_totals, trail))
    (bars, totals), currents_bar = jax.lax.scan(step, (bars, totals), trail, reverse=True)
    (params_bar,) = to_params(jax.tree.map(_sum_down, totals, constants))
    recurrent_bar = None
    if recurrent is not None:
        n = len(recurrent.weights)
        sent, caused = before.reshape(-1, n), currents_bar.reshape(-1, n)
        recurrent_bar = DenseRecurrence(jnp.matmul(sent.T, caused))
    state_bar, spikes_bar, gathered_bar = bars
    start_bar = Carry(
        _restore(start.neuron, state_bar), spikes_bar, _restore(start.gathered, gathered_bar)
    )
    return params_bar, recurrent_bar, currents_bar, None, start_bar


_fused.defvjp(_forward, _backward)

_NO_TANGENT = jax.dtypes.float0


def _sum_down(total: Array, like: Array) -> Array:
    """Sum over the leading and the broadcast axes that `like` does not have."""
    total = total.sum(tuple(range(total.ndim - like.ndim)))
    narrow = tuple(i for i, n in enumerate(like.shape) if n == 1 and total.shape[i] != 1)
    return total.sum(narrow, keepdims=True)


def _floats_like(primal, cotangents) -> list[Array]:
    pairs = zip(jax.tree.leaves(primal), jax.tree.leaves(cotangents), strict=True)
    return [bar for leaf, bar in pairs if is_float(leaf)]


def _restore(tree, floats):
    """Cotangents in the shape of the tree, None where a leaf has no gradient."""
    new = iter(floats)
    return jax.tree.map(lambda leaf: next(new) if is_float(leaf) else None, tree)
