"""Straight-through gates: exactly 0 or 1 forward, a sigmoid backward."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jsnn.quantise import with_slope

__all__ = ["gate", "gated"]


def gate(margins: jax.Array, slope: float) -> tuple[jax.Array, jax.Array]:
    """`1 if margin > 0 else 0`, and `sigmoid(margin / slope)`; the largest margin is always open.

    The first is used forward, the second for the gradient. A tensor always keeps its best element,
    so that no layer is pruned completely.

    Args:
        margins: of any shape, compared over all of it.
        slope: width of the sigmoid, in units of the margins.

    >>> hard, soft = gate(jnp.array([-2.0, 0.5]), slope=0.5)
    >>> hard.tolist(), round(float(soft[1]), 3)
    ([0.0, 1.0], 0.731)
    >>> gate(jnp.array([-2.0, -1.0]), slope=0.5)[0].tolist()
    [0.0, 1.0]
    """
    best = jnp.arange(margins.size).reshape(margins.shape) == margins.argmax()
    open_ = (margins > 0) | best
    return open_.astype(margins.dtype), jax.nn.sigmoid(margins / slope)


def gated(values: jax.Array | float, hard: jax.Array, soft: jax.Array) -> jax.Array:
    """`values · hard`, to the bit, with the derivative of `values · soft`.

    A closed gate thus passes a gradient, to its score and to its values.

    >>> def shut(w, s):
    ...     return gated(w, jnp.float32(0), s)
    >>> [float(g) for g in jax.grad(shut, (0, 1))(3.0, 0.25)]
    [0.25, 3.0]
    """
    return with_slope(values * hard, values * soft)
