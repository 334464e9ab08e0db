"""Masks of weights: which of them stay, by magnitude or because they are not zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "KERNEL",
    "RECURRENT",
    "check_row",
    "magnitude_mask",
    "masked",
    "nonzero",
    "weights_of",
    "whole",
    "with_weights",
]

# Names of the weights of a layer among its parameters.
KERNEL, RECURRENT = "kernel", "recurrent"


def magnitude_mask(params: Any, density: float) -> dict[str, dict[str, jax.Array]]:
    """Masks of the largest weights, `{layer: {"kernel": mask, "recurrent": mask}}`.

    Magnitude pruning after training, tensor by tensor: the `round(density · size)` weights of
    largest magnitude stay, at least one. Source: Han et al. 2015 (1506.02626).

    Args:
        params: of the network.
        density: share of the weights of each tensor that stay, in (0, 1].

    Raises:
        ValueError: a density outside (0, 1], parameters that are not of a sequential network.

    >>> kernel = jnp.array([[0.1, -3.0], [2.0, 0.0]])
    >>> magnitude_mask({"a": {"synapse": {"kernel": kernel}}}, 0.5)["a"]["kernel"].tolist()
    [[False, True], [True, False]]
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must lie in (0, 1], got {density}")

    def largest(weights):
        order = jnp.argsort(-jnp.abs(weights).ravel())
        rank = jnp.zeros(weights.size, int).at[order].set(jnp.arange(weights.size))
        return (rank < max(1, round(density * weights.size))).reshape(weights.shape)

    return {
        name: {which: largest(w) for which, w in weights_of(params, name).items()}
        for name in params
    }


def masked(params: Any, kept: Mapping[str, Mapping[str, Any]]) -> Any:
    """Parameters with zeros where a mask (`WeightPruning.kept`, `magnitude_mask`) is False.

    >>> params = {"a": {"synapse": {"kernel": jnp.array([[1.0, 2.0]])}}}
    >>> masked(params, {"a": {"kernel": jnp.array([[False, True]])}})
    {'a': {'synapse': {'kernel': Array([[0., 2.]], dtype=float32)}}}
    """
    pruned = dict(params)
    for name, masks in kept.items():
        weights = weights_of(params, name)
        zeroed = {which: jnp.where(mask, weights[which], 0) for which, mask in masks.items()}
        pruned[name] = with_weights(params[name], zeroed)
    return pruned


def whole(params: Any) -> dict[str, dict[str, np.ndarray]]:
    """Masks that keep all weights.

    >>> whole({"a": {"synapse": {"kernel": jnp.zeros((1, 2))}}})["a"]["kernel"].tolist()
    [[True, True]]
    """
    return {
        name: {which: np.ones(w.shape, bool) for which, w in weights_of(params, name).items()}
        for name in params
    }


def nonzero(params: Any) -> dict[str, dict[str, jax.Array]]:
    """Masks of the weights that are not zero.

    >>> nonzero({"a": {"synapse": {"kernel": jnp.array([[0.0, 2.0]])}}})["a"]["kernel"].tolist()
    [[False, True]]
    """
    return {
        name: {which: w != 0 for which, w in weights_of(params, name).items()} for name in params
    }


def weights_of(params: Any, name: str) -> dict[str, jax.Array]:
    """Kernel and, if there are any, recurrent weights of a layer."""
    check_row(name, params)
    layer = params[name]
    back = {RECURRENT: layer[RECURRENT]} if RECURRENT in layer else {}
    return {KERNEL: layer["synapse"][KERNEL], **back}


def with_weights(layer: Any, weights: Mapping[str, jax.Array]) -> Any:
    """The parameters of a layer with these weights, as `weights_of` names them."""
    synapse = {**layer["synapse"], KERNEL: weights[KERNEL]}
    back = {RECURRENT: weights[RECURRENT]} if RECURRENT in weights else {}
    return {**layer, "synapse": synapse, **back}


def check_row(name: str, params: Any) -> None:
    """Raise ValueError unless the layer has a kernel of its own, as in a sequential network."""
    if name not in params or KERNEL not in params[name].get("synapse", {}):
        raise ValueError(
            f"layer {name!r} has no kernel of its own under that name: pruning takes networks that "
            f"are a row of layers with weights, and this one has parameters {sorted(params)}"
        )
