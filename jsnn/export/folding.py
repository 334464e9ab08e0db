"""Normalisations folded into weights and biases for inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

__all__ = ["fold_norm"]


def fold_norm(variables: Mapping[str, Any], epsilon: float = 1e-5) -> dict[str, Any]:
    """Variables of the same network built without batch norm (`norm=False`, `normalise=False`).

    w' = w γ / sqrt(var + ε),   b' = β + (b - mean) γ / sqrt(var + ε)

    Args:
        variables: `params` and `batch_stats`.
        epsilon: of the normalisation.

    Raises:
        ValueError: nothing to fold.

    >>> import jax
    >>> from jsnn.models import MLP
    >>> frames = jnp.ones((5, 2, 8))
    >>> variables = MLP((4,), 3, norm=True).init(jax.random.key(0), frames)
    >>> folded = MLP((4,), 3).apply(fold_norm(variables), frames)
    >>> bool(jnp.allclose(folded, MLP((4,), 3, norm=True).apply(variables, frames)))
    True
    """
    if not variables.get("batch_stats"):
        raise ValueError("expected variables with batch_stats of a normalisation, found none")
    rest = {k: v for k, v in variables.items() if k not in ("params", "batch_stats")}
    return {**rest, "params": _fold(variables["params"], variables["batch_stats"], epsilon)}


def _fold(params: Mapping[str, Any], stats: Mapping[str, Any], epsilon: float) -> dict[str, Any]:
    if "norm" not in stats:
        return {
            name: _fold(branch, stats[name], epsilon) if name in stats else branch
            for name, branch in params.items()
        }
    norm, seen = params["norm"], stats["norm"]
    factor = norm["scale"] / jnp.sqrt(seen["var"] + epsilon)
    synapse = params["synapse"]
    bias = norm["bias"] + (synapse.get("bias", 0) - seen["mean"]) * factor
    folded = {"kernel": synapse["kernel"] * factor, "bias": bias}
    return {k: v for k, v in params.items() if k != "norm"} | {"synapse": folded}
