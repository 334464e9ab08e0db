"""Pooling over space, window = stride.

XLA's own gradient of a max pool costs the CPU ten times its forward pass, inside a scan far more.
Here a maximum is taken by slices, and a mean has a gradient of its own.
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from jsnn._checks import whole_number

POOLS = ("max", "average")


def pool(images: Array, kind: Literal["max", "average"], window: int) -> Array:
    """`[N, H, W, C]` to `[N, H // window, W // window, C]`; rows and columns left over are dropped.

    y[n, i, j] = max or mean over (a, b) of x[n, window i + a, window j + b]

    Raises:
        ValueError: an unknown kind, no images, or a window that does not fit them.

    >>> pool(jnp.arange(8.0).reshape(1, 2, 4, 1), "max", 2)[0, 0, :, 0]
    Array([5., 7.], dtype=float32)
    """
    if kind not in POOLS:
        raise ValueError(f"pool kind must be one of {sorted(POOLS)}, got {kind!r}")
    if images.ndim != 4:
        raise ValueError(
            f"a pool takes images [N, H, W, C] (frames [T, B, H, W, C]), got {images.ndim} axes"
        )
    window = whole_number("the window of a pool", window, 1, min(images.shape[1:3]))
    if kind == "average":
        return _mean(images, window)
    height, width = (size // window * window for size in images.shape[1:3])
    parts = [
        images[:, row:height:window, column:width:window]
        for row in range(window)
        for column in range(window)
    ]
    # Of equals the first wins and takes the gradient, as in XLA's select-and-scatter.
    return functools.reduce(lambda a, b: jnp.where(b > a, b, a), parts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _mean(images: Array, window: int) -> Array:
    # Unlike a sum of slices, XLA computes it once for all its readers.
    size = (1, window, window, 1)
    return lax.reduce_window(images, 0.0, lax.add, size, size, "VALID") / window**2


def _mean_forward(images: Array, window: int) -> tuple[Array, tuple[int, ...]]:
    return _mean(images, window), images.shape[1:3]


def _mean_backward(window: int, sizes: tuple[int, ...], bar: Array) -> tuple[Array]:
    count, height, width, channels = bar.shape
    shares = (bar / window**2)[:, :, None, :, None]
    spread = jnp.broadcast_to(shares, (count, height, window, width, window, channels))
    whole = spread.reshape(count, height * window, width * window, channels)
    left_over = [(0, size - kept) for size, kept in zip(sizes, whole.shape[1:3], strict=True)]
    return (jnp.pad(whole, ((0, 0), *left_over, (0, 0))),)


_mean.defvjp(_mean_forward, _mean_backward)
