"""All steps at once: an associative scan over time."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params
from jsnn.unroll.contract import Carry, Readout, Recurrent
from jsnn.unroll.structure import is_affine
from jsnn.unroll.trajectory import read


@dataclasses.dataclass(frozen=True)
class Parallel:
    """`jax.lax.associative_scan`: about log2 T passes over the window instead of T steps.

    For neurons whose step is affine in the state, `x_t = M x_(t−1) + f(I_t)`, so that two steps
    compose into one of the same form: integrators and resonators whose spikes change nothing (LI,
    RF, and LIF, IF, PLIF, CuBaLIF without reset). M is read off the step by `jax.vjp`. Sums run in
    another order than step by step, so a membrane within rounding of its threshold may fire in one
    plan and not in the other.

    Source: Blelloch 1990, "Prefix sums and their applications", section 1.4 (recurrences).

    Example:
        >>> from jsnn.neurons import LI, LIF
        >>> from jsnn.unroll import unroll
        >>> params = LI().init_params(jax.random.key(0), (1,))
        >>> unroll(LI(), params, jnp.ones((3, 1, 1)), plan=Parallel())[1].ravel().tolist()
        [0.048771, 0.095163, 0.139292]
        >>> Parallel().refuses(LIF(), None) is None
        False
    """

    def refuses(self, neuron: Neuron, recurrent: Recurrent | None) -> str | None:
        """Recurrence, and steps that are not affine in the state."""
        if recurrent is not None:
            return "with recurrence each step waits for the spikes of the step before"
        if not is_affine(neuron):
            return f"a step of {type(neuron).__name__} is not affine in its state (reset, say)"
        return None

    def run(
        self,
        neuron: Neuron,
        readout: Readout,
        params: Params,
        recurrent: None,
        currents: Array,
        times: Array,
        start: Carry,
    ) -> tuple[Carry, Any]:
        """See `jsnn.unroll.Plan`."""
        befores = _states_before(neuron, params, currents, start.neuron)
        # The neuron's own step from each state gives spikes with their surrogate.
        step = jax.vmap(neuron.step, in_axes=(None, 0, 0))
        states, spikes = step(params, befores, currents)
        potentials = jax.vmap(neuron.potential)(states)
        gathered, emissions = read(readout, start.gathered, potentials, spikes, times)
        last = None if start.spikes is None else spikes[-1]
        return Carry(jax.tree.map(lambda leaf: leaf[-1], states), last, gathered), emissions


def _states_before(neuron: Neuron, params: Params, currents: Array, start: Any) -> Any:
    """State before each step, `[T, B, ...]` leaves."""
    first, tree = jax.tree.flatten(start)
    rest = [jnp.zeros_like(leaf) for leaf in first]

    def step(state, current):
        return jax.tree.leaves(neuron.step(params, jax.tree.unflatten(tree, state), current)[0])

    # One sample tells M, the same for all: row i is the gradient of leaf i after the step.
    sample = [leaf[:1] for leaf in rest]
    _, pull = jax.vjp(lambda state: step(state, jnp.zeros_like(currents[0, :1])), sample)
    n = len(first)
    rows = [
        pull([jnp.ones_like(leaf) if i == j else leaf for j, leaf in enumerate(sample)])[0]
        for i in range(n)
    ]
    driven = jax.vmap(lambda current: step(rest, current))(currents)
    driven = [
        drive.at[0].add(sum(rows[i][j] * first[j] for j in range(n)))
        for i, drive in enumerate(driven)
    ]
    matrices = [
        [jnp.broadcast_to(cell, (len(currents), *cell.shape)) for cell in row] for row in rows
    ]

    def compose(early, late):
        (m, x), (k, y) = early, late
        both = [[sum(k[i][h] * m[h][j] for h in range(n)) for j in range(n)] for i in range(n)]
        return both, [y[i] + sum(k[i][j] * x[j] for j in range(n)) for i in range(n)]

    _, states = jax.lax.associative_scan(compose, (matrices, driven))
    before = [
        jnp.concatenate([leaf[None], later[:-1]]) for leaf, later in zip(first, states, strict=True)
    ]
    return jax.tree.unflatten(tree, before)
