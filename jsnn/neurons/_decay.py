"""Decay per step of a leaky quantity."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def decay(tau: Array, dt: float) -> Array:
    """Fraction `exp(−dt / τ)` that is left after one step; NaN where τ is not positive.

    From `dt / 1000` down the decay is `exp(−1000)`, which is 0 in float64 too, so that its gradient
    is 0 and not NaN; no other value is changed.

    Args:
        tau: time constants, in s.
        dt: time step, in s.

    Example:
        >>> decay(jnp.array([20e-3, 1e-9, 0.0, -1.0]), 1e-3).tolist()
        [0.951229, 0.0, nan, nan]
    """
    return jnp.exp(-dt / jnp.where(tau > 0, jnp.maximum(tau, 1e-3 * dt), jnp.nan))
