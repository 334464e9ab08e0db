"""Fake quantisation with straight-through gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp

FLOAT_BITS = 32


def fake_quantise(values: jax.Array, bits: int) -> jax.Array:
    """Values on a symmetric grid of `bits` bits, one scale for the whole array; gradient 1.

    q = s round(x / s),   s = max|x| / (2^(bits - 1) - 1)

    Args:
        values: any shape.
        bits: 2 to 31; 32 means floating point and returns `values` as they are.

    Raises:
        ValueError: bits outside 2 to 32.

    Source: uniform symmetric quantisation with a straight-through estimator (Bengio et al. 2013,
    1308.3432, section 4); max-scaled as in Krishnamoorthi 2018 (1806.08342), section 3.1.

    >>> fake_quantise(jnp.array([1.0, 0.4, -0.7]), 3).tolist()
    [1.0, 0.333, -0.667]
    """
    if not 2 <= bits <= FLOAT_BITS:
        raise ValueError(f"bits must lie in 2 to {FLOAT_BITS} (32: floating point), got {bits}")
    if bits == FLOAT_BITS:
        return values
    top = jnp.max(jnp.abs(values))
    scale = jnp.where(top > 0, top, 1) / (2 ** (bits - 1) - 1)
    rounded = jnp.round(values / scale) * scale
    return values + jax.lax.stop_gradient(rounded - values)
