"""Pareto fronts of accuracy and energy: their points, energies at an accuracy and intervals.

Plain NumPy on the figures of finished runs. A front holds the points that no other point beats in
both; between two of them the logarithm of the energy is linear in the accuracy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jsnn.codesign.pareto import pareto

POINT_LOST = 0.01
DRAWS = 2000
# Accuracies are means in float64.
TIE = 1e-9


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        slope, rate, strength: numbers of the run.
        accuracy, pj: on the samples that the choice uses.
    """

    slope: float
    rate: float
    strength: float
    accuracy: float
    pj: float


class Choice(NamedTuple):
    """Curve chosen by a search, to be reported.

    Attributes:
        slope, rate: of the curve with the lowest energy at the wanted accuracy.
        strengths: of its runs around that accuracy, ascending.
        pj: that energy.
    """

    slope: float
    rate: float
    strengths: tuple[float, ...]
    pj: float


class Ratio(NamedTuple):
    """One energy over another at the same accuracy, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def on_front(accuracy: Sequence[float], pj: Sequence[float]) -> np.ndarray:
    """Indices of the points on the Pareto front, cheapest first.

    >>> on_front([0.9, 0.8, 0.95], [2.0, 3.0, 5.0]).tolist()
    [0, 2]
    """
    stands = np.flatnonzero(pareto(pj, accuracy))
    # Of equals the first; on a front the more expensive point is more accurate.
    _, first = np.unique(np.asarray(accuracy, float)[stands], return_index=True)
    return stands[first]


def energy_at(accuracy: Sequence[float], pj: Sequence[float], wanted: float) -> float:
    """The energy at an accuracy, on the front; NaN above all points.

    Below all points it is the lowest energy: there is no extrapolation.

    >>> energy_at([0.90, 0.98], [1.0, 100.0], wanted=0.94)
    10.0
    >>> energy_at([0.90, 0.98], [1.0, 100.0], wanted=0.80)
    1.0
    """
    stands = on_front(accuracy, pj)
    reached = np.asarray(accuracy, float)[stands]
    if not wanted <= reached[-1]:
        return float("nan")
    return float(np.exp(np.interp(wanted, reached, np.log(np.asarray(pj, float)[stands]))))


def choose(
    trials: Sequence[Trial], free: Sequence[Trial], lost: float = POINT_LOST, count: int = 3
) -> Choice:
    """The curve over strengths with the lowest energy at a loss, and its runs around that loss.

    Args:
        trials: of one regulariser: every strength at every pair of slope and rate.
        free: unconstrained runs; the most accurate of them is the reference of the loss, and the
            expensive end of every curve.
        lost: accuracy given up.
        count: runs of the curve to report.

    Raises:
        ValueError: there is nothing to choose from.
    """
    if not trials or not free:
        raise ValueError("a choice needs runs of the regulariser and unconstrained ones")
    wanted = best(free).accuracy - lost
    costs = pair_costs(trials, free, lost)
    pair = min(costs, key=costs.get)
    curve = _curves(trials)[pair]
    # The strongest that is accurate enough, with its neighbours on both sides.
    fit = [n for n, trial in enumerate(curve) if trial.accuracy >= wanted - TIE]
    first = min(max((fit[-1] if fit else 0) - 1, 0), max(len(curve) - count, 0))
    strengths = tuple(trial.strength for trial in curve[first : first + count])
    return Choice(*pair, strengths, costs[pair])


def pair_costs(
    trials: Sequence[Trial], free: Sequence[Trial], lost: float = POINT_LOST
) -> dict[tuple[float, float], float]:
    """The energy at a loss of every pair of slope and rate, see `choose`."""
    end = best(free)
    return {
        pair: energy_at(
            [t.accuracy for t in (*curve, end)],
            [t.pj for t in (*curve, end)],
            end.accuracy - lost,
        )
        for pair, curve in _curves(trials).items()
    }


def promising(
    trials: Sequence[Trial], free: Sequence[Trial], count: int
) -> list[tuple[float, float]]:
    """Pairs of slope and rate with the lowest energy, or, without a strength, most accurate."""
    if all(trial.strength == 0 for trial in trials):
        order = sorted(trials, key=lambda t: (-t.accuracy, t.pj))
        return [(trial.slope, trial.rate) for trial in order[:count]]
    costs = pair_costs(trials, free)
    return sorted(costs, key=costs.get)[:count]


def averaged(rounds: Sequence[Sequence[Trial]]) -> list[Trial]:
    """Trials of the same numbers, averaged over sets of equal size.

    >>> averaged([[Trial(1, 1, 0.1, 0.9, 4.0)], [Trial(1, 1, 0.1, 0.8, 2.0)]])[0].pj
    3.0
    """
    return [
        dataclasses.replace(
            same[0],
            accuracy=float(np.mean([trial.accuracy for trial in same])),
            pj=float(np.mean([trial.pj for trial in same])),
        )
        for same in zip(*rounds, strict=True)
    ]


def _curves(trials: Sequence[Trial]) -> dict[tuple[float, float], list[Trial]]:
    """Trials by pair of slope and rate, weakest first."""
    curves: dict[tuple[float, float], list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: t.strength):
        curves.setdefault((trial.slope, trial.rate), []).append(trial)
    return curves


def best(trials: Sequence[Trial]) -> Trial:
    """The most accurate trial; of equals the cheapest."""
    return max(trials, key=lambda trial: (trial.accuracy, -trial.pj))


@dataclasses.dataclass(frozen=True)
class Reported:
    """Points of one regulariser on units that all regularisers share: samples or seeds.

    Attributes:
        accuracy, pj: `[points, units]`.
        strengths: of the points.
    """

    accuracy: np.ndarray
    pj: np.ndarray
    strengths: tuple[float, ...] = ()

    def comes_down(self, wanted: float) -> bool:
        """Whether its cheapest point, the end of its front, is at most this accurate.

        If not, the energy at that accuracy is an upper bound.
        """
        return self.accuracy.mean(1)[self.pj.mean(1).argmin()] <= wanted + TIE

    def is_feasible(self, wanted: float) -> bool:
        """Whether any point is at least this accurate.

        If not, the energy there is interpolated towards the unconstrained network.
        """
        return self.accuracy.mean(1).max() >= wanted - TIE

    def at(self, free: Reported, lost: float = POINT_LOST, draw: Any = slice(None)) -> float:
        """The energy at a loss relative to an unconstrained network, `[1, units]`.

        That network is the expensive end of the front.
        """
        accuracy = np.concatenate([self.accuracy, free.accuracy])[:, draw].mean(1)
        pj = np.concatenate([self.pj, free.pj])[:, draw].mean(1)
        return energy_at(accuracy, pj, accuracy[-1] - lost)


def ratio(
    ours: Reported, other: Reported, free: Reported, lost: float = POINT_LOST, draws: int = DRAWS
) -> Ratio:
    """Energy with our term over that with another at equal loss, with a paired bootstrap interval.

    A draw takes the same units of ours, of the other and of the unconstrained network, so variation
    common to all of them cancels.
    """
    units = free.accuracy.shape[1]
    for name, points in (("ours", ours), ("other", other)):
        if points.accuracy.shape[1] != units or points.pj.shape != points.accuracy.shape:
            raise ValueError(
                f"expected {units} units as of the unconstrained network, found "
                f"{points.accuracy.shape} and {points.pj.shape} of {name}"
            )
    random = np.random.default_rng(0)
    drawn = [
        ours.at(free, lost, draw) / other.at(free, lost, draw)
        for draw in random.integers(0, units, (draws, units))
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Ratio(ours.at(free, lost) / other.at(free, lost), float(low), float(high))


def difference(
    first: np.ndarray, second: np.ndarray, draws: int = DRAWS
) -> tuple[float, float, float]:
    """Mean of paired differences `[units]`, with the ends of its 95 % bootstrap interval."""
    gap = np.asarray(first, float) - np.asarray(second, float)
    random = np.random.default_rng(0)
    means = gap[random.integers(0, len(gap), (draws, len(gap)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(gap.mean()), float(low), float(high)


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean of ratios.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return float(np.exp(np.mean(np.log(np.asarray(values, float)))))


def ranked(estimates: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names by the geometric mean of their energies over the lowest of each task; best first.

    >>> ranked({"digits": {"a": 2.0, "b": 1.0}, "ev": {"a": 3.0, "b": 4.0}})
    ['b', 'a']
    """
    names = set.intersection(*(set(row) for row in estimates.values()))
    return sorted(
        names,
        key=lambda n: geometric_mean([row[n] / min(row.values()) for row in estimates.values()]),
    )
