"""The time axis of `[T, B, ...]`: merged with the batch, split again, summed over."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def merge(values: Array) -> Array:
    """`[T, B, ...]` to `[T B, ...]`; time is the inner axis where the batch is spread over devices.

    There every device keeps the samples it has. With time outside, its rows would be scattered over
    the merged axis, a layout that XLA lacks: it would gather them all on every device.

    >>> merge(jnp.arange(6).reshape(3, 2))
    Array([0, 1, 2, 3, 4, 5], dtype=int32)
    """
    if spread():
        values = jnp.swapaxes(values, 0, 1)
    return values.reshape(-1, *values.shape[2:])


def part(values: Array, steps: int, batch: int) -> Array:
    """The inverse of `merge`: `[T B, ...]` to `[T, B, ...]`.

    >>> part(merge(jnp.ones((3, 2, 5))), 3, 2).shape
    (3, 2, 5)
    """
    if spread():
        return jnp.swapaxes(values.reshape(batch, steps, *values.shape[1:]), 0, 1)
    return values.reshape(steps, batch, *values.shape[1:])


def total(values: Array) -> Array:
    """Sum over the first axis, `[T, ...]` to `[...]`, in float32 or wider whatever comes in.

    As a product with ones, in full precision: exact for counts, and on the CPU many times faster
    than XLA's sum over a leading axis.

    >>> total(jnp.arange(6, dtype=jnp.int8).reshape(3, 2))
    Array([6., 9.], dtype=float32)
    """
    return _total(values.astype(jnp.promote_types(values.dtype, jnp.float32)))


@jax.custom_vjp
def _total(values: Array) -> Array:
    ones = jnp.ones((1, len(values)), values.dtype)
    flat = values.reshape(len(values), -1)
    return jnp.matmul(ones, flat, precision=jax.lax.Precision.HIGHEST).reshape(values.shape[1:])


def _total_forward(values: Array) -> tuple[Array, int]:
    return _total(values), len(values)


def _total_backward(steps: int, bar: Array) -> tuple[Array]:
    return (jnp.broadcast_to(bar, (steps, *bar.shape)),)


_total.defvjp(_total_forward, _total_backward)


def spread() -> bool:
    """Whether the traced code will run on many devices, as `jsnn.train.devices` sets it."""
    return jax.sharding.get_abstract_mesh().size > 1
