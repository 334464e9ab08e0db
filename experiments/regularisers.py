"""Fair comparison of regularisers: the same runs, energy and grid of numbers for each.

    python -m experiments.regularisers
    python -m experiments.regularisers --tasks digits --max-hours 1
    python -m experiments.regularisers --smoke

Searched tasks: every regulariser runs every slope of the surrogate x learning rate x strength once,
evaluated on a third of the training samples; its three cheapest pairs of slope and rate run on the
other two thirds as well, and on all three with another seed. The pair with the lowest energy at one
percentage point lost is run again, at three strengths around that loss, on fresh splits or folds.
If no strength loses a point there, a strength three times as high is added; if all do, a third of
the lowest, up to five times. The other tasks run our term and the two best others, with slope and
rate of the searched task of their kind, or of a short search of their own: every pair at one
strength. All figures are of the last epoch.

Each run is kept as soon as it is over, below `experiments/results/regularisers`; an existing run
with the same numbers is not repeated. `summary.json` there holds the results.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison_analysis import (
    POINT_LOST,
    Ratio,
    difference,
    geometric_mean,
    ratio,
)
from experiments.comparison_plan import (
    REPORT,
    SEARCH,
    chosen,
    contestants,
    reported,
    reports,
    searches,
    spike_independent_pj,
)
from experiments.comparison_pool import Pool
from experiments.comparison_tasks import (
    CUT,
    OURS,
    RANKING,
    SMALL_GRID,
    SMOKE,
    TASKS,
    TIMES,
    Grid,
    Task,
)
from experiments.config import check, option, parse
from experiments.kept_runs import Job, Store
from experiments.summary import versions
from experiments.swept import NONE
from jsnn.train.json_files import keep

RESULTS = "experiments/results/regularisers"
# Start of a worker: imports, data, and tracing a program that may be compiled already.
START_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the comparison."""

    tasks: str = option(",".join(TASKS), "tasks, comma-separated")
    max_hours: float | None = option(None, "start no run after so many hours", above=0)
    workers: int = option(2, "runs at once, each on a core of its own", least=1)
    data_dir: str | None = option(None, "folder that holds the data; none: JSNN_DATA")
    out: str | None = option(None, f"folder of the results; none: {RESULTS}, or one of runs/")
    smoke: bool = option(False, "a grid of eleven runs of an epoch: does it run at all?")

    def __post_init__(self):
        check(self)
        if not self.names:
            raise ValueError(f"--tasks names no task; there are {sorted(TASKS)}")
        if strangers := set(self.names) - set(TASKS):
            raise ValueError(f"no task {sorted(strangers)}; there are {sorted(TASKS)}")

    @property
    def names(self) -> list[str]:
        """Tasks in the order in which they run: searched ones first."""
        given = [word for word in self.tasks.split(",") if word]
        return sorted(given, key=lambda name: name in TASKS and not TASKS[name].searched)


def main(flags: Flags) -> dict[str, Any]:
    """Run what is missing, write and print the summary; returns it."""
    tasks = {"digits": SMOKE} if flags.smoke else {name: TASKS[name] for name in flags.names}
    grid = SMALL_GRID if flags.smoke else Grid()
    folder = Path(flags.out or ("runs/regularisers-smoke" if flags.smoke else RESULTS))
    store = Store(folder, "python -m experiments.regularisers" + " --smoke" * flags.smoke)
    pool = Pool(store, flags.workers, flags.max_hours, flags.data_dir)
    print(estimate(tasks, grid, store, flags.workers), flush=True)
    for name, task in tasks.items():
        if not (pool.left or contestants(name, task, grid, store)):
            raise ValueError(
                f"{name} is run with the two best others of a searched task, and none is over: "
                f"--tasks {','.join(RANKING)} first"
            )
        # The runs of a second round are known once the first is over.
        for _ in range(1 + bool(task.again)):
            if not pool.left:
                pool.work(searches(name, task, grid, store))
        for _ in range(1 + TIMES):
            if not pool.left:
                pool.work(reports(name, task, grid, store), samples=task.pooled)
        summary = summarise(store, grid)
        keep(folder / "summary.json", summary)
    print("\n".join(describe(summary)), flush=True)
    if pool.left:
        print(f"{pool.left} runs are left: the same command goes on with them", flush=True)
    return summary


def summarise(store: Store, grid: Grid) -> dict[str, Any]:
    """Results of the runs so far."""
    all_tasks = {"digits": SMOKE} if grid is SMALL_GRID else TASKS
    tasks = {}
    for name, task in all_tasks.items():
        if not (points := reported(name, task, grid, store)):
            continue
        free, rows, picked = points.pop(NONE), {}, chosen(name, task, grid, store)
        wanted = free.accuracy.mean() - POINT_LOST
        for other, other_points in points.items():
            compared = ratio(points[OURS], other_points, free)
            rows[other] = {
                "slope": picked[other][0],
                "rate": picked[other][1],
                "strengths": other_points.strengths,
                "accuracy": other_points.accuracy.mean(1).tolist(),
                "pj": other_points.pj.mean(1).tolist(),
                "points_lost": [difference(free.accuracy[0], a) for a in other_points.accuracy],
                "pj_at_one_point": other_points.at(free),
                "reached": bool(other_points.comes_down(wanted)),
                "feasible": bool(other_points.is_feasible(wanted)),
                "ours_over_it": compared._asdict(),
            }
        tuned = {other: row["pj_at_one_point"] for other, row in rows.items() if other != OURS}
        rival = min(tuned, key=tuned.get)
        tasks[name] = {
            "units": units(task, free.pj.shape[1]),
            "beside": task.beside,
            "unconstrained": {
                "accuracy": free.accuracy.mean(),
                "pj": free.pj.mean(),
                "spike_independent_pj": spike_independent_pj(name, task, grid, store),
            },
            "best_other": rival,
            "ours_over_best_other": rows[rival]["ours_over_it"],
            "regularisers": rows,
        }
    ratios = [
        task["ours_over_best_other"]["value"] for task in tasks.values() if not task["beside"]
    ]
    return {
        "command": store.line,
        "versions": versions(),
        "points_lost": 1,
        "geometric_mean": geometric_mean(ratios) if ratios else None,
        "notes": CUT,
        "tasks": tasks,
    }


def units(task: Task, count: int) -> str:
    """Units that a mean is taken over.

    >>> units(TASKS["ev-objects"], 576)
    '576 pooled samples, 3 runs of each'
    """
    if not task.pooled:
        return f"{count} seeds"
    return f"{count} pooled samples" + f", {task.repeats} runs of each" * (task.repeats > 1)


def without(summary: Mapping[str, Any]) -> str:
    """Words on the tasks that do not count in the geometric mean.

    >>> without({"tasks": {"a": {"beside": False}, "b": {"beside": True}}})
    ' without b'
    """
    beside = [name for name, task in summary["tasks"].items() if task["beside"]]
    return f" without {', '.join(beside)}" * bool(beside)


def sign_of(row: Mapping[str, Any]) -> str:
    """Sign of an energy at one point lost: ≤ if no run lost that much, ≈ if all lost more.

    The former is an upper bound, the latter is interpolated towards the unconstrained network.
    """
    return ("" if row["feasible"] else "≈") if row["reached"] else "≤"


def describe(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary as lines of text."""
    for name, task in summary["tasks"].items():
        free = task["unconstrained"]
        shown = f"{free['accuracy']:.2%}, {free['pj'] / 1e3:,.1f} nJ"
        independent = f"{free['spike_independent_pj'] / 1e3:,.1f} nJ"
        yield f"\n{name}: unconstrained {shown}; without a spike {independent}; {task['units']}"
        rows = sorted(task["regularisers"].items(), key=lambda row: row[1]["pj_at_one_point"])
        for other, row in rows:
            r = Ratio(**row["ours_over_it"])
            sign = sign_of(row)
            yield (
                f"  {other:20} {sign:1}{row['pj_at_one_point'] / 1e3:9,.1f} nJ at 1 point lost; "
                f"ours over it {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]; "
                f"slope {row['slope']:g}, rate {row['rate']:g}"
            )
        r = Ratio(**task["ours_over_best_other"])
        yield f"  ours over the best other, {task['best_other']}: {r.value:.3f}"
    if summary["geometric_mean"] is not None:
        yield f"\nGeometric mean{without(summary)}: {summary['geometric_mean']:.3f}"
    yield summary["notes"]


def estimate(tasks: Mapping[str, Task], grid: Grid, store: Store, workers: int) -> str:
    """Time that the missing runs will take, estimated from earlier runs."""

    def missing(jobs: Sequence[Job]) -> list[int]:
        """Number of runs that each unfinished job lacks."""
        lacks = [sum(store.find(job, run) is None for run in job.runs) for job in jobs]
        return [count for count in lacks if count]

    lines, total = [], 0.0
    for name, task in tasks.items():
        left = missing(searches(name, task, grid, store))
        reported = reports(name, task, grid, store)
        # Before the search is over: the runs to be chosen, one job per block and regulariser.
        names = len(grid.names) - 1 if task.searched else 3
        later = missing(reported) if reported else [1, *[3] * names] * len(task.blocks)
        runs, jobs = sum(left) + sum(later), len(left) + len(later)
        took = [
            row["seconds"]
            for stage in (SEARCH, REPORT)
            for other in grid.names
            for row in store.runs(name, stage, other)
        ]
        seconds = float(np.median(took)) if took else task.seconds
        hours = (runs * seconds + jobs * START_SECONDS) / workers / 3600
        total += hours
        lines.append(f"{name}: {runs} runs of {seconds:.0f} s, {hours:.2f} h")
    lines.append(f"about {total:.1f} h on {workers} cores")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main(Flags(**parse(Flags, description=__doc__)))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
