"""Decay per step of a leaky quantity."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def decay(tau: Array, dt: float) -> Array:
    """Fraction `exp(−dt / τ)` that is left after one step.

    Training can push a time constant to zero or below. From `dt / 1000` down the decay is
    `exp(−1000)`, which is 0 in float64 too: such a neuron forgets at once, and no legal value is
    changed. Its gradient is 0 there, so it stays until something else moves it.

    Args:
        tau: time constants, in s.
        dt: time step, in s.

    Example:
        >>> decay(jnp.array([20e-3, 0.0, -1.0]), 1e-3)
        Array([0.951229, 0.      , 0.      ], dtype=float32)
    """
    return jnp.exp(-dt / jnp.maximum(tau, 1e-3 * dt))
