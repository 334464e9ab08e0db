"""One factor on all thresholds of a network: the final adjustment to its budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax

from jsnn.nn.layers import CONSTANTS, constants_of
from jsnn.train.levers import LEVERS, NETWORK
from jsnn.train.state import TrainState

__all__ = ["SPAN", "search", "turned", "with_factor"]

# Smallest and largest factor that is tried.
SPAN = (0.5, 2.0)
# Shares of the limit to end between: some room for unseen samples, at most 3 % left unused.
AIM = (0.975, 0.99)
_THRESHOLD, _NEURON = "v_threshold", "neuron"


def with_factor(
    variables: Mapping[str, Any], factor: Any, spiking: Collection[str]
) -> dict[str, Any]:
    """Variables of the network with every threshold `factor` times as high.

    A neuron with a leaf `v_threshold` gets `factor * v_threshold` (a reset by subtraction then
    subtracts as much). One whose threshold is static (RF, BRF) gets its input divided by the
    factor: the synapse, or the norm after it, and the recurrent weights. Such a neuron is linear in
    its input between spikes, so this equals `factor` times its threshold and, for BRF, its
    refractory increase.

    Args:
        variables: of the network, or of a `jsnn.train.levers.Levered` one.
        factor: positive.
        spiking: names of the layers whose neurons fire (from a workload).

    Raises:
        ValueError: the network has no threshold.

    >>> constants = {"hidden": {"neuron": {"v_threshold": 2.0}}}
    >>> with_factor({"params": {}, "constants": constants}, 1.5, ["hidden"])["constants"]
    {'hidden': {'neuron': {'v_threshold': 3.0}}}
    """
    params, constants = variables["params"], constants_of(variables)
    if set(params) == {NETWORK, LEVERS}:
        network = with_factor({**variables, "params": params[NETWORK]}, factor, spiking)
        return {**network, "params": {**params, NETWORK: network["params"]}}
    raised, static = set(), set()

    def raise_thresholds(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
        if path and path[-1] == _NEURON:
            layer = "/".join(path[:-1])
            if _THRESHOLD in tree:
                raised.add(layer)
                return {**tree, _THRESHOLD: factor * tree[_THRESHOLD]}
            static.update({layer} & set(spiking))
            return dict(tree)
        return {name: raise_thresholds(branch, (*path, name)) for name, branch in tree.items()}

    def divide_inputs(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
        if "/".join(path) in static:
            last = "norm" if "norm" in tree else "synapse"
            inputs = {name: tree[name] for name in (last, "recurrent") if name in tree}
            return {**tree, **jax.tree.map(lambda leaf: leaf / factor, inputs)}
        return {
            name: divide_inputs(branch, (*path, name)) if isinstance(branch, Mapping) else branch
            for name, branch in tree.items()
        }

    constants = raise_thresholds(constants)
    if not raised | static:
        raise ValueError(f"no neuron with a threshold among the layers {sorted(constants)}")
    return {**variables, "params": divide_inputs(params), CONSTANTS: constants}


def turned(state: TrainState, factor: Any, spiking: Collection[str]) -> TrainState:
    """The state with every threshold of its network `factor` times as high (`with_factor`)."""
    collections = with_factor(state.variables, factor, spiking)
    params = collections.pop("params")
    return dataclasses.replace(state, params=params, collections=collections)


def search(
    ratio: Callable[[float], float], fill: bool, aim: tuple[float, float] = AIM, tries: int = 20
) -> tuple[float, float]:
    """Factor in `SPAN` that brings `ratio(factor)` into `aim`, by bisection of its logarithm.

    Factor 1 is kept if its ratio is within `aim` already, or below it with `fill` off. The ratio
    need not be monotone: the largest one found below the upper end of `aim` is taken.

    Args:
        ratio: usage / limit of the network with a factor on its thresholds; the largest of several
            limits.
        fill: whether to lower thresholds if the ratio is below `aim`.
        aim: lowest and highest ratio to end with.
        tries: evaluations at most.

    Returns:
        The factor and its ratio, which is above `aim` if no factor in `SPAN` is large enough.

    >>> factor, found = search(lambda factor: 1.2 / factor, fill=True)
    >>> 0.975 <= found <= 0.99
    True
    """
    low, high = aim
    seen = {1.0: ratio(1.0)}
    if seen[1.0] <= high and (seen[1.0] >= low or not fill):
        return 1.0, seen[1.0]
    # Spikes fall as thresholds rise: at `above` the limit is exceeded, at `below` it is met.
    end = SPAN[1] if seen[1.0] > high else SPAN[0]
    seen[end] = ratio(end)
    above, below = min(1.0, end), max(1.0, end)
    if seen[below] > high:
        return below, seen[below]
    if seen[above] <= high:
        return above, seen[above]
    while len(seen) < tries and not low <= seen[below] <= high:
        middle = math.sqrt(above * below)
        seen[middle] = ratio(middle)
        above, below = (middle, below) if seen[middle] > high else (above, middle)
    within = {factor: usage for factor, usage in seen.items() if usage <= high}
    # Of factors with equal ratios, the one closest to 1.
    factor = max(within, key=lambda factor: (within[factor], -abs(math.log(factor))))
    return factor, within[factor]
