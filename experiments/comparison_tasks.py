"""Tasks of a comparison of regularisers: data sets, folds, seeds and the grid of numbers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from experiments.swept import NONE

OURS = "energy"
OTHERS = (
    "l1-rate",
    "squared-rate",
    "hoyer",
    "rate-bounds",
    "synops-target",
    "synaptic-penalty",
    "weights-activations",
)
SLOPES = RATES = (0.5, 1.0, 2.0)
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
# Pairs of slope and rate of each regulariser in the second round.
PAIRS = 3
# Strengths of a short search, and of a report whose strengths no search chose.
SHORT, TRANSFERRED = (0.3,), (0.1, 0.4, 1.6)
# A curve that does not enclose one point lost would seem more expensive than it is.
STRONGER, TIMES = 3.0, 5


@dataclasses.dataclass(frozen=True)
class Task:
    """Options that a data set is run with.

    Attributes:
        flags: of `experiments.train`, in addition to its recipe.
        search: further flags of the search; None: not searched.
        again: flags and seed of each part of a second round, on all of which the cheapest pairs
            of slope and rate of each regulariser are run again; the choice is by the mean of all
            rounds.
        blocks: flags of each block of the report: seeds, splits or folds.
        pooled: whether the blocks are folds, whose samples are pooled.
        repeats: how often the blocks repeat the folds; a sample counts with its mean.
        short: whether the search covers only ours and the two best others, at one strength.
        like: the searched task that slope and rate are taken from where there is no search.
        beside: whether it is excluded from the choice of the two best and from the geometric mean.
        seconds: of one run on one core, as measured; times of earlier runs replace it.
    """

    flags: Mapping[str, Any]
    blocks: tuple[Mapping[str, Any], ...]
    seconds: float
    search: Mapping[str, Any] | None = None
    again: tuple[tuple[Mapping[str, Any], int], ...] = ()
    pooled: bool = False
    repeats: int = 1
    short: bool = False
    like: str = ""
    beside: bool = False

    @property
    def searched(self) -> bool:
        """Whether every regulariser runs the whole grid."""
        return self.search is not None and not self.short


# Two to five samples of one fold are a point: the cheapest on one fold may be so by chance.
THREE_FOLDS = tuple({"fold": k, "folds": 3, "split_seed": 0} for k in range(3))
HELD_OUT = THREE_FOLDS[0]
# The first round has run the first fold with seed 0; it is not run again.
TWO_SEEDS = tuple((fold, seed) for seed in (0, 1) for fold in THREE_FOLDS)[1:]
FIVE_SEEDS = ({},) * 5
FIVE_SPLITS = tuple({"split_seed": seed} for seed in (11, 12, 13, 14, 15))
# The search used folds of split seed 0; these are drawn anew.
FIVE_FOLDS = tuple({"fold": k, "folds": 5, "split_seed": 1} for k in range(5))
TASKS = {
    "digits": Task(
        {"epochs": 100},
        FIVE_SPLITS,
        seconds=12,
        search=HELD_OUT,
        again=TWO_SEEDS,
    ),
    "ev-objects": Task(
        {"epochs": 100},
        FIVE_FOLDS * 3,
        seconds=20,
        search=HELD_OUT,
        again=TWO_SEEDS,
        pooled=True,
        repeats=3,
    ),
    "fashion-mnist": Task({}, FIVE_SEEDS, seconds=40, like="digits"),
    # No fully searched task has its neuron model or a decision in every step.
    "qtdb": Task({"epochs": 20}, FIVE_SEEDS, seconds=35, search=HELD_OUT, short=True),
    "nmnist-small": Task({"epochs": 40}, FIVE_FOLDS, seconds=70, pooled=True, like="ev-objects"),
    # Layers that differ: many neurons of small fan-out, few of large fan-out.
    "digits-conv": Task(
        {"dataset": "digits", "model": "conv", "widths": (16, 32), "epochs": 50},
        FIVE_SPLITS,
        seconds=7,
        search=HELD_OUT,
        again=TWO_SEEDS,
        beside=True,
    ),
}
# They determine the two best others.
RANKING = tuple(name for name, task in TASKS.items() if task.searched and not task.beside)
CUT = (
    "Cut: one seed in the first round of the search, two in the second; "
    "nmnist-small 40 epochs (its recipe: 80); "
    "fashion-mnist and nmnist-small without a search of their own, qtdb with one strength in it. "
    "Beyond the grid: our event temperature was set by folds of digits-conv."
)
# Two regularisers, one pair, two strengths, two folds, on a few samples.
SMOKE = Task(
    {"epochs": 1, "limit": 96, "widths": (8,), "steps": 2, "warmup_epochs": 0.0},
    FIVE_FOLDS[:2],
    seconds=5,
    search=HELD_OUT,
    pooled=True,
)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Grid that every regulariser runs.

    Attributes:
        others: regularisers beside ours.
        slopes, rates, strengths: factors, and weights relative to the value at initialisation.
    """

    others: tuple[str, ...] = OTHERS
    slopes: tuple[float, ...] = SLOPES
    rates: tuple[float, ...] = RATES
    strengths: tuple[float, ...] = STRENGTHS

    @property
    def names(self) -> tuple[str, ...]:
        """The unconstrained network, ours and the others."""
        return (NONE, OURS, *self.others)

    def runs(self, name: str) -> list[dict[str, float]]:
        """Runs of the search of a regulariser."""
        strengths = (0.0,) if name == NONE else self.strengths
        return [
            {"seed": 0, "slope": slope, "rate": rate, "strength": strength}
            for slope, rate, strength in itertools.product(self.slopes, self.rates, strengths)
        ]


SMALL_GRID = Grid(("l1-rate",), (1.0,), (1.0,), (0.1, 1.0))
