"""Pruning applied: a smaller network, under the levers that remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jsnn.codesign.pruning.compact import compact
from jsnn.codesign.pruning.pruning import UnitPruning, WeightPruning
from jsnn.train.levers import Lever, Levered, split, under, without

__all__ = ["AppliedPruning", "apply_pruning"]


class AppliedPruning(NamedTuple):
    """The result of pruning.

    Attributes:
        model: the network without closed units, under the remaining levers.
        levers: the remaining levers, which do not prune.
        variables: of the model; pruned weights are zero.
        units: `{layer: [channels]}` whether each unit stayed, for gated layers.
        held: layers, or layer/tensor, whose best element stayed only because one must.
    """

    model: nn.Module | Levered
    levers: tuple[Lever, ...]
    variables: dict[str, Any]
    units: dict[str, np.ndarray]
    held: tuple[str, ...]


def apply_pruning(levered: Levered, variables: Mapping[str, Any]) -> AppliedPruning:
    """Remove closed units, or set pruned weights to zero, and keep the other levers.

    The outputs of the smaller network are those of the levered one, up to the order of sums.

    Args:
        levered: a sequential model (`jsnn.codesign.pruning.compact.row`) with `UnitPruning` or
            `WeightPruning` among its levers.
        variables: of it.

    Raises:
        ValueError: no pruning among the levers or two kinds of it, or as `compact`.
        TypeError: a model that is not registered as sequential.

    >>> import jax, jax.numpy as jnp
    >>> from jsnn.models import MLP
    >>> levered, frames = Levered(MLP((4,), 3), (UnitPruning(spread=0.0),)), jnp.ones((5, 2, 8))
    >>> variables = levered.init(jax.random.key(0), frames)
    >>> variables["params"]["levers"]["units"]["hidden_0"] = jnp.array([1.0, -1.0, 1.0, -1.0])
    >>> small = apply_pruning(levered, variables)
    >>> small.model.widths, small.units["hidden_0"].tolist()
    ((2,), [True, False, True, False])
    """
    lever = _pruning_lever(levered.levers)
    levers = tuple(other for other in levered.levers if other is not lever)
    variables = jax.device_get(dict(variables))
    network, leaves = split(variables["params"])
    leaves = leaves[lever.name]
    pruned = jax.jit(lever.network)(leaves, {**variables, "params": network})
    model, smaller = levered.model, {**variables, "params": pruned["params"]}
    units: dict[str, Any] = {}
    if isinstance(lever, UnitPruning):
        units = jax.device_get(jax.jit(lever.kept)(leaves))
        held = [name for name, scores in leaves.items() if not (scores > 0).any()]
        model, smaller = compact(model, smaller, units)
    else:
        held = [
            f"{name}/{which}"
            for name, masks in jax.device_get(jax.jit(lever.kept)(leaves, network)).items()
            for which, mask in masks.items()
            if mask.sum() == 1 < mask.size
        ]
    params = without(variables["params"], lever.name, smaller["params"])
    smaller = {**smaller, "params": params}
    return AppliedPruning(under(model, levers), levers, smaller, units, tuple(held))


def _pruning_lever(levers: Sequence[Lever]) -> UnitPruning | WeightPruning:
    pruning = [lever for lever in levers if isinstance(lever, UnitPruning | WeightPruning)]
    if len(pruning) != 1:
        names = [lever.name for lever in levers]
        raise ValueError(
            f"expected UnitPruning or WeightPruning among the levers, one of them, found {names}"
        )
    return pruning[0]
