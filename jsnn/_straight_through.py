"""The straight-through estimator: one function's value with another one's derivative."""

from __future__ import annotations

from typing import Any

import jax


def straight_through(exact: Any, soft: Any) -> Any:
    """The value of `exact`, to the last bit, with the derivative of `soft`.

    `soft + stop_gradient(exact - soft)` would be rounded once more; a difference of equals is zero.

    Source: straight-through estimator (Bengio et al. 2013, 1308.3432, section 4).

    >>> import jax.numpy as jnp
    >>> jax.value_and_grad(lambda x: straight_through(jnp.floor(x), 3 * x))(2.6)
    (Array(2., dtype=float32, weak_type=True), Array(3., dtype=float32, weak_type=True))
    """
    return jax.lax.stop_gradient(exact) + (soft - jax.lax.stop_gradient(soft))
