"""Pareto front of cost and gain: the points that none dominates, and their hypervolume."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["hypervolume", "pareto"]


def pareto(costs: ArrayLike, gains: ArrayLike) -> np.ndarray:
    """`[N]` whether each point is on the Pareto front: no other point dominates it.

    A point dominates another if it costs at most as much and gains at least as much, and is better
    in one of the two. Of equal points all stay.

    Args:
        costs: `[N]`, less is better.
        gains: `[N]`, more is better.

    Raises:
        ValueError: no points, or lists of unequal lengths or not finite.

    >>> pareto([1.0, 2.0, 3.0], [0.5, 0.9, 0.8]).tolist()
    [True, True, False]
    """
    costs, gains = _points(costs, gains)
    no_dearer = costs[None] <= costs[:, None]
    no_worse = gains[None] >= gains[:, None]
    better = (costs[None] < costs[:, None]) | (gains[None] > gains[:, None])
    return ~(no_dearer & no_worse & better).any(1)


def hypervolume(costs: ArrayLike, gains: ArrayLike, reference: tuple[float, float]) -> float:
    """Area that the points dominate up to a reference, which costs more and gains less.

    union over n of [cost_n, reference cost] x [reference gain, gain_n]

    Points beyond the reference add nothing.

    Args:
        costs: `[N]`, less is better.
        gains: `[N]`, more is better.
        reference: its cost and gain.

    Source: Zitzler & Thiele 1998 (PPSN V), the size of the space covered, for two objectives.

    >>> hypervolume([1.0, 2.0], [0.5, 1.0], reference=(3.0, 0.0))
    1.5
    """
    costs, gains = _points(costs, gains)
    cost_at, gain_at = reference
    order = np.argsort(costs)
    area, best = 0.0, gain_at
    for cost, gain in zip(costs[order], gains[order], strict=True):
        if cost < cost_at and gain > best:
            area += (cost_at - cost) * (gain - best)
            best = gain
    return float(area)


def _points(costs: ArrayLike, gains: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    costs, gains = np.asarray(costs, np.float64), np.asarray(gains, np.float64)
    if costs.ndim != 1 or costs.shape != gains.shape or not costs.size:
        raise ValueError(
            f"expected as many costs as gains, at least one, got shapes {list(costs.shape)} and "
            f"{list(gains.shape)}"
        )
    if not (np.isfinite(costs).all() and np.isfinite(gains).all()):
        raise ValueError("expected finite costs and gains")
    return costs, gains
