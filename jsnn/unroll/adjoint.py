"""How a step is run backward: from the neuron's `step` alone, or written by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params

# Takes the bars of the state after and of the spikes; gives those of the constants (of the step's
# shape or theirs), of the state before and of the current.
Retreat = Callable[[list[Array], Array], tuple[Any, list[Array], Array]]


class Adjoint(Protocol):
    """The backward of one neuron law. A bar is the gradient with respect to what it stands over.

    Bars of states are lists of the floating leaves in tree order.
    """

    def constants(self, neuron: Neuron, params: Params) -> Any:
        """What the steps need of the parameters, differentiable; worked out once a scan."""
        ...

    def advance(
        self, neuron: Neuron, constants: Any, state: Any, current: Array
    ) -> tuple[Any, Array]:
        """One step, the same operations as the neuron's own."""
        ...

    def replay(
        self, neuron: Neuron, constants: Any, state: Any, current: Array
    ) -> tuple[tuple[Any, Array], Retreat]:
        """The same step once more, and its backward."""
        ...


@dataclasses.dataclass(frozen=True)
class ByStep:
    """Any neuron: `jax.vjp` of its step."""

    def constants(self, neuron, params):
        """The parameters themselves."""
        return params

    def advance(self, neuron, constants, state, current):
        """The neuron's step."""
        return neuron.step(constants, state, current)

    def replay(self, neuron, constants, state, current):
        """The neuron's step, differentiated at this point."""

        def step(constants, floats, current):
            after, spikes = neuron.step(constants, merge(state, floats), current)
            return (floats_of(after), spikes), after

        (_, spikes), pull, after = jax.vjp(step, constants, floats_of(state), current, has_aux=True)
        return (after, spikes), lambda state_bar, spikes_bar: pull((state_bar, spikes_bar))


def adjoint_of(neuron: Neuron) -> Adjoint:
    """By hand where one is written for exactly this law, else from its step."""
    return _BY_HAND.get(type(neuron), ByStep())


_BY_HAND: dict[type, Adjoint] = {}


def floats_of(tree) -> list[Array]:
    """The leaves that have a gradient; counters and keys have none."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def merge(tree, floats):
    """The tree with its floating leaves replaced."""
    new = iter(floats)
    return jax.tree.map(lambda leaf: next(new) if is_float(leaf) else leaf, tree)


def is_float(leaf: Array) -> bool:
    """Whether a leaf has a gradient."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
