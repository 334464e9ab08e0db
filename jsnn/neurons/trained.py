"""Constants of a population: initial, changed by training, and as the step uses them.

positive leaf:   value = initial · exp(x),      |x| ≤ ln 10
any other leaf:  value = initial + scale · x

A trained leaf is stored as x, which starts at 0, the initial value. So a learning rate is a
relative change, weight decay pulls towards the initial value, and bounds on both sides keep every
value legal, whatever an optimiser does. At a bound the gradient that leads further out is zero and
the one that leads back in passes (`jsnn.quantise.bounded`).

A neuron says which leaves are trained (`trainable`) and how (`ranges`, a `Factor` or a `Shift` for
every leaf).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.quantise import bounded

# A leaf stays between a tenth and ten times its initial value.
MOST = 10.0


@dataclasses.dataclass(frozen=True)
class Factor:
    """A positive leaf: `initial · exp(x)`, within a factor of 10 and `[low, high]`.

    The derivative at x = 0 is the initial value.

    Attributes:
        low, high: bounds that the equations of the neuron or its source set.
    """

    low: float = 0.0
    high: float = math.inf

    def value(self, initial: Array, x: Array) -> Array:
        """Value of the leaf. The initial value is always within the bounds."""
        start = jax.lax.stop_gradient(initial)
        least = jnp.maximum(jnp.log(self.low / start), -math.log(MOST))
        most = jnp.minimum(jnp.log(self.high / start), math.log(MOST))
        return initial * jnp.exp(bounded(x, jnp.minimum(least, 0), jnp.maximum(most, 0)))


@dataclasses.dataclass(frozen=True)
class Shift:
    """A leaf that may be zero or negative: `initial + scale · x`, within `[low, high]`.

    Attributes:
        low, high: bounds.
        scale: what a change of x by 1 means.
    """

    low: float
    high: float
    scale: float = 1.0

    def value(self, initial: Array, x: Array) -> Array:
        """Value of the leaf. The initial value is always within the bounds."""
        start = jax.lax.stop_gradient(initial)
        least, most = (self.low - start) / self.scale, (self.high - start) / self.scale
        return initial + self.scale * bounded(x, jnp.minimum(least, 0), jnp.maximum(most, 0))


Range = Factor | Shift


def trainable(neuron: Any) -> tuple[str, ...]:
    """Names of the leaves that are trained; a neuron that does not say trains none.

    >>> from jsnn.neurons import BRF, LIF
    >>> trainable(LIF()), trainable(LIF(trainable=("tau_mem",))), trainable(BRF())
    ((), ('tau_mem',), ('omega', 'b_offset'))
    """
    return getattr(neuron, "trainable", ())


def check_trainable(owner: Any) -> None:
    """Raise ValueError unless the owner's `trainable` is a tuple of names in its `ranges`.

    >>> from jsnn.neurons import LIF
    >>> LIF(trainable=("tau",))
    Traceback (most recent call last):
    ValueError: LIF.trainable: no leaf 'tau'; there are tau_mem, v_threshold, r
    """
    where, names, ranges = f"{type(owner).__name__}.trainable", owner.trainable, owner.ranges
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where} must be a tuple of names as ('v_threshold',), got {names!r}")
    for name in names:
        if name not in ranges:
            raise ValueError(f"{where}: no leaf {name!r}; there are {', '.join(ranges)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{where} names a leaf twice: {names!r}")


def untrained_leaves(neuron: Any, constants: Mapping[str, Array]) -> dict[str, Array]:
    """Trained leaves of a population at the start of training: a zero for each.

    Args:
        neuron: of the population.
        constants: its initial leaves, from `neuron.init_params`.

    >>> import jax
    >>> from jsnn.neurons import LIF
    >>> neuron = LIF(trainable=("tau_mem",))
    >>> constants = neuron.init_params(jax.random.key(0), (2,))
    >>> untrained_leaves(neuron, constants)
    {'tau_mem': Array([0., 0.], dtype=float32)}
    """
    return {name: jnp.zeros_like(constants[name]) for name in trainable(neuron)}


def legal_constants(neuron: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
    """Masks of legal values: finite and, for a leaf that is a `Factor`, positive.

    >>> from jsnn.neurons import LIF
    >>> leaves = {"tau_mem": jnp.array([0.02, -0.02]), "r": jnp.array([1.0, jnp.inf])}
    >>> {name: legal.tolist() for name, legal in legal_constants(LIF(), leaves).items()}
    {'tau_mem': [True, False], 'r': [True, False]}
    """
    ranges = getattr(neuron, "ranges", {})
    legal = {}
    for name, leaf in leaves.items():
        legal[name] = jnp.isfinite(leaf)
        if isinstance(ranges.get(name), Factor):
            legal[name] &= leaf > 0
    return legal


def in_force(
    neuron: Any, constants: Mapping[str, Array], trained: Mapping[str, Array]
) -> dict[str, Array]:
    """Leaves that the neuron's `step` takes: the initial ones, changed by training.

    Args:
        neuron: of the population.
        constants: its initial leaves.
        trained: x of every trainable leaf (see above); `untrained_leaves` at the start.

    Raises:
        ValueError: what was trained is not what the neuron says is trainable, or has no range.

    >>> import jax
    >>> from jsnn.neurons import LIF
    >>> neuron = LIF(tau_mem=20e-3, trainable=("tau_mem",))
    >>> constants = neuron.init_params(jax.random.key(0), (3,))
    >>> in_force(neuron, constants, {"tau_mem": jnp.array([0.0, 0.1, -99.0])})["tau_mem"].tolist()
    [0.02, 0.0221, 0.002]
    """
    names, kind = trainable(neuron), type(neuron).__name__
    if set(trained) != set(names):
        raise ValueError(
            f"{kind} trains {sorted(names)}, and the trained leaves are {sorted(trained)}: give "
            "the neuron `trainable=` as it was trained, or start from jsnn.neurons.untrained_leaves"
        )
    ranges = getattr(neuron, "ranges", {})
    if missing := [name for name in names if name not in ranges]:
        raise ValueError(
            f"{kind}.ranges does not say how {missing} are trained: give each a "
            "jsnn.neurons.Factor (positive leaves) or Shift"
        )
    moved = {name: ranges[name].value(constants[name], trained[name]) for name in names}
    return {**constants, **moved}
