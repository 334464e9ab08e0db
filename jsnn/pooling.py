"""Pooling over space by slices, window = stride.

XLA's own gradient of a max pool costs the CPU ten times its forward pass, inside a scan far more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jax import Array

_Join = Callable[[Array, Array], Array]
_JOINS: dict[str, _Join] = {
    # Of equals the first wins and takes the gradient, as in XLA's select-and-scatter.
    "max": lambda a, b: jnp.where(b > a, b, a),
    "average": jnp.add,
}
POOLS = tuple(_JOINS)


def pool(images: Array, kind: Literal["max", "average"], window: int) -> Array:
    """`[N, H, W, C]` to `[N, H // window, W // window, C]`; rows and columns left over are cut off.

    y[n, i, j] = max or mean over (a, b) of x[n, window i + a, window j + b]

    Raises:
        ValueError: an unknown kind.

    >>> pool(jnp.arange(8.0).reshape(1, 2, 4, 1), "max", 2)[0, 0, :, 0]
    Array([5., 7.], dtype=float32)
    """
    if kind not in _JOINS:
        raise ValueError(f"pool kind must be one of {sorted(POOLS)}, got {kind!r}")
    height, width = (size // window * window for size in images.shape[1:3])
    parts = [
        images[:, row:height:window, column:width:window]
        for row in range(window)
        for column in range(window)
    ]
    whole = functools.reduce(_JOINS[kind], parts)
    return whole / window**2 if kind == "average" else whole
