"""Readouts over a whole trajectory, for plans that compute all steps before they read any."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from jsnn.unroll.contract import Readout


def read(
    readout: Readout, gathered: Any, potentials: Array | None, spikes: Array, times: Array
) -> tuple[Any, Any]:
    """What the readout has gathered in the end, and its emissions, from `[T, B, ...]` of each."""
    steps = (potentials, spikes, times)
    if not jax.tree.leaves(gathered):
        return jax.vmap(lambda step: readout.update(gathered, *step))(steps)
    return jax.lax.scan(lambda carry, step: readout.update(carry, *step), gathered, steps)
