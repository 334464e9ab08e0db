"""Reliability of budgets: networks trained to budgets from near silence to their free usage.

    python -m experiments.budgets
    python -m experiments.budgets --datasets digits --count 5 --epochs 40 --seeds 0,1,2

For each data set a Pareto front of energy weights comes first: its run of weight 0 gives the
energy without a budget, the others the accuracy at each energy. Then as many budgets as asked for
are drawn log-uniformly between 1.15 x the spike-independent energy and that energy. How many runs
end within 3 % of their budget on training samples, how many are within it on test, how many
networks died, and how far the accuracy is from the front, over all seeds and for each, goes to
`experiments/results/budgets/`. Existing runs are kept.
"""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import sweep
from experiments.compiled import keep_compiled
from experiments.config import check, option, parse
from experiments.runconfig import Config, configured
from experiments.summary import spread, versions
from experiments.sweep import Run
from jsnn.codesign.pareto import pareto
from jsnn.train.json_files import keep
from jsnn.units import energy_text

# The lowest budget, as a multiple of the spike-independent energy.
LOWEST = 1.15
WITHIN = 0.03
COUNTS = (
    "budgets",
    "within_3_percent_on_train",
    "feasible_on_validation",
    "feasible_on_test",
    "dead",
)


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the experiment."""

    datasets: tuple[str, ...] = option(("digits", "fashion-mnist"), "names, a,b,c")
    count: int = option(20, "budgets of each data set", least=2)
    seeds: tuple[int, ...] = option((0,), "seeds of the networks and of the draws of budgets")
    weights: tuple[float, ...] = option(
        (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), "energy weights of the Pareto front; 0 must be one"
    )
    epochs: int | None = option(None, "passes over the training samples; none: of the recipe")
    workers: int = option(2, "processes, each on a core of its own; 1: this one", least=1)
    runs: str = option("runs/budgets", "folder of the runs")
    out: str = option("experiments/results/budgets", "folder of the results")

    def __post_init__(self):
        check(self)
        if 0.0 not in self.weights:
            raise ValueError(f"--weights must hold 0, the network without budget: {self.weights}")
        if not self.seeds or min(self.seeds) < 0 or len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"--seeds must be different numbers of at least 0, got {self.seeds}")


def main(flags: Flags, command: str = "") -> dict[str, dict[str, Any]]:
    """Run every data set; writes and returns the results, by data set."""
    by_dataset = {}
    for dataset in flags.datasets:
        started = time.perf_counter()
        by_seed = {str(seed): of(dataset, flags, seed) for seed in flags.seeds}
        result = {
            "command": command,
            "flags": dataclasses.asdict(flags),
            **together(list(by_seed.values())),
            "by_seed": by_seed,
            "seconds": round(time.perf_counter() - started, 3),
            "versions": versions(),
            "device": jax.devices()[0].device_kind,
        }
        keep(Path(flags.out) / f"{dataset}.json", result)
        for line in describe(result):
            print(line, flush=True)
        by_dataset[dataset] = result
    return by_dataset


def of(dataset: str, flags: Flags, seed: int) -> dict[str, Any]:
    """Pareto front, budgets and their results, for one data set and seed."""
    given = {"dataset": dataset, "seed": seed}
    if flags.epochs is not None:
        given["epochs"] = flags.epochs
    folder = Path(flags.runs) / dataset / f"s{seed}"

    def say(line: str) -> None:
        print(f"{dataset}, seed {seed} {line}", flush=True)

    def planned(name: str, **more: Any) -> Run:
        config: Config = configured({**given, **more})
        return Run(name, name, config, folder / name)

    front = [planned(f"w{weight}", energy_weight=weight) for weight in flags.weights]
    sweep.train(front, "turns", flags.workers, say)
    points = [run.read(None) for run in front]
    free = points[flags.weights.index(0.0)]
    low, high = LOWEST * free["test_spike_independent_pj"], free["test_pj"]
    if not low < high:
        raise ValueError(
            f"{dataset}: the energy without budget, {energy_text(high)}, is not above "
            f"{LOWEST} x spike-independent energy; there is nothing to save"
        )
    # One budget in each of `count` equal parts of the logarithm.
    places = np.arange(flags.count) + np.random.default_rng(seed).random(flags.count)
    shares = places / flags.count
    budgets = [f"{pj:.1f}pJ" for pj in low * (high / low) ** shares]
    held = [planned(word, energy_budget=word) for word in budgets]
    failed = sweep.train(held, "turns", flags.workers, say)
    return summarise(points, [run.read(failed.get(run.name)) for run in held]) | {
        "range_pj": [low, high]
    }


def summarise(
    points: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Counts over the budgets, and each budget compared with the front.

    Args:
        points: runs of the front of weights (`Run.read`).
        held: runs trained to a budget.
    """
    rows = []
    for entry in held:
        if entry.get("budget") is None:
            rows.append({"budget": entry["value"], "error": entry["error"]})
            continue
        limit = entry["budget"]["limits"]["energy_pj"]
        row = {
            "budget_pj": limit["limit"],
            "train_pj": limit["train"],
            "validation_pj": limit["validation"],
            "test_pj": limit["test"],
            "multiplier": limit["multiplier"],
            "threshold_factor": entry["budget"]["threshold_factor"],
            "within": 1 - WITHIN <= limit["train"] / limit["limit"] <= 1,
            "feasible_on_validation": limit["feasible"]["validation"],
            "feasible_on_test": limit["feasible"]["test"],
            "dead_layers": sorted({*entry["budget"]["dead_layers"], *entry["dead_layers"]}),
            "test_accuracy": entry["test_accuracy"],
            "front_accuracy": on_front(points, limit["limit"]),
            "error": entry["error"],
        }
        row["points_below_front"] = 100 * (row["front_accuracy"] - row["test_accuracy"])
        rows.append(row)
    trained = [row for row in rows if "train_pj" in row]
    below = [row["points_below_front"] for row in trained]
    return {
        "budgets": len(rows),
        "within_3_percent_on_train": sum(row["within"] for row in trained),
        "feasible_on_validation": sum(row["feasible_on_validation"] for row in trained),
        "feasible_on_test": sum(row["feasible_on_test"] for row in trained),
        "dead": sum(bool(row["dead_layers"]) for row in trained),
        "points_below_front_mean": float(np.mean(below)) if below else None,
        "points_below_front_worst": max(below, default=None),
        "rows": rows,
        "front": [
            {name: entry[name] for name in ("value", "test_pj", "test_accuracy", "dead_layers")}
            for entry in points
        ],
    }


def together(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over all seeds, and the distance below the front: mean and spread over seeds, worst.

    Args:
        seeds: the summary of each seed (`summarise`).
    """
    trained = [seed for seed in seeds if seed["points_below_front_mean"] is not None]
    return {
        **{name: sum(seed[name] for seed in seeds) for name in COUNTS},
        "points_below_front": (
            spread([seed["points_below_front_mean"] for seed in trained]) if trained else None
        ),
        "points_below_front_worst": max(
            (seed["points_below_front_worst"] for seed in trained), default=None
        ),
    }


def on_front(points: Sequence[Mapping[str, Any]], pj: float) -> float:
    """Test accuracy of a front of weights at an energy, linear in the logarithm of the energy.

    The front is chosen on validation; beyond its ends it is constant.

    >>> point = dict(validation_pj=10.0, validation_accuracy=0.5, test_pj=10.0, test_accuracy=0.5)
    >>> dear = dict(validation_pj=1e3, validation_accuracy=0.9, test_pj=1e3, test_accuracy=0.9)
    >>> round(on_front([point, dear], 100.0), 3)
    0.7
    """
    on = pareto(
        [point["validation_pj"] for point in points],
        [point["validation_accuracy"] for point in points],
    )
    chosen = sorted(
        (point["test_pj"], point["test_accuracy"])
        for point, is_on in zip(points, on, strict=True)
        if is_on
    )
    energies, accuracies = zip(*chosen, strict=True)
    return float(np.interp(np.log(pj), np.log(energies), accuracies))


def describe(result: Mapping[str, Any]) -> list[str]:
    """The counts, and one line per budget."""
    said = (
        f"{result['within_3_percent_on_train']} of {result['budgets']} within 3 % on training, "
        f"{result['feasible_on_test']} hold on test, {result['dead']} dead"
    )
    if result["points_below_front"] is not None:
        mean, deviation = result["points_below_front"]
        said += (
            f"; {mean:.2f} ± {deviation:.2f} points below the front, "
            f"{result['points_below_front_worst']:.2f} at worst"
        )
    lines = [said]
    for row in itertools.chain.from_iterable(seed["rows"] for seed in result["by_seed"].values()):
        if "train_pj" not in row:
            lines.append(f"{row['budget']}: {row['error']}")
            continue
        train, test = (row[name] / row["budget_pj"] for name in ("train_pj", "test_pj"))
        lines.append(
            f"{energy_text(row['budget_pj']):>9}  train {train:.3f}  test {test:.3f}  "
            f"{row['test_accuracy']:.2%} (front {row['front_accuracy']:.2%})  thresholds "
            f"x{row['threshold_factor']:.3f}  multiplier {row['multiplier']:.3f}"
            + (f"  DEAD {row['dead_layers']}" if row["dead_layers"] else "")
        )
    return lines


if __name__ == "__main__":
    try:
        words = shlex.join(["python", "-m", "experiments.budgets", *sys.argv[1:]])
        chosen = Flags(**parse(Flags, description=__doc__))
        keep_compiled()
        main(chosen, words)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        sys.exit(f"error: {error}")
