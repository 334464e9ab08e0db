"""Time and batch as one axis, for modules that know no time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def merge(values: Array) -> Array:
    """`[T, B, ...]` to `[T B, ...]`; time is the inner axis where the batch is spread over devices.

    There every device keeps the samples it has. With time outside, its rows would lie strewn over
    the merged axis, a layout that XLA has not: it would gather them all on every device.

    >>> merge(jnp.arange(6).reshape(3, 2))
    Array([0, 1, 2, 3, 4, 5], dtype=int32)
    """
    if _spread():
        values = jnp.swapaxes(values, 0, 1)
    return values.reshape(-1, *values.shape[2:])


def part(values: Array, steps: int, batch: int) -> Array:
    """The inverse of `merge`: `[T B, ...]` to `[T, B, ...]`.

    >>> part(merge(jnp.ones((3, 2, 5))), 3, 2).shape
    (3, 2, 5)
    """
    if _spread():
        return jnp.swapaxes(values.reshape(batch, steps, *values.shape[1:]), 0, 1)
    return values.reshape(steps, batch, *values.shape[1:])


def _spread() -> bool:
    # Set by `jsnn.devices` while it traces.
    return jax.sharding.get_abstract_mesh().size > 1
