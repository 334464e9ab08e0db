"""Plan of a comparison of regularisers: the runs of a search, of its choice and of its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparison_analysis import (
    POINT_LOST,
    Reported,
    Trial,
    averaged,
    best,
    choose,
    promising,
    ranked,
)
from experiments.comparison_tasks import (
    OURS,
    PAIRS,
    RANKING,
    SHORT,
    STRONGER,
    TASKS,
    TIMES,
    TRANSFERRED,
    Grid,
    Task,
)
from experiments.kept_runs import Job, Store
from experiments.swept import NONE

SEARCH, REPORT = "search", "report"


def searches(name: str, task: Task, grid: Grid, store: Store) -> list[Job]:
    """Search runs: the grid of every regulariser or a short one of the finalists, then round two.

    One job per slope, so that workers end together; none for a task without a search.
    """
    if task.search is None:
        return []
    names = contestants(name, task, grid, store)
    rounds = [(task.search, {other: own_grid(task, grid).runs(other) for other in names})]
    if task.again:
        second = second_round(name, task, grid, store)
        rounds += [
            (flags, {other: seeded(rows, seed) for other, rows in second.items()})
            for flags, seed in task.again
        ]
    return [
        Job(name, SEARCH, other, {"dataset": name, **task.flags, **flags}, runs)
        for flags, wanted in rounds
        for other, rows in wanted.items()
        for slope in grid.slopes
        if (runs := tuple(run for run in rows if run["slope"] == slope))
    ]


def own_grid(task: Task, grid: Grid) -> Grid:
    """The grid that the search of a task runs for each regulariser."""
    return grid if task.searched else dataclasses.replace(grid, strengths=SHORT)


def second_round(
    name: str, task: Task, grid: Grid, store: Store
) -> dict[str, list[dict[str, float]]]:
    """Runs of the cheapest pairs of each regulariser in round one; none until that is over."""
    first = {
        other: kept_trials(name, task, task.search, other, grid.runs(other), store)
        for other in grid.names
    }
    if None in first.values():
        return {}
    pairs = {other: promising(trials, first[NONE], PAIRS) for other, trials in first.items()}
    return {
        other: [run for run in grid.runs(other) if (run["slope"], run["rate"]) in pairs[other]]
        for other in grid.names
    }


def seeded(rows: Sequence[Mapping[str, float]], seed: int) -> list[dict[str, float]]:
    """The same runs with another seed."""
    return [{**row, "seed": seed} for row in rows]


def searched(name: str, task: Task, grid: Grid, store: Store) -> dict[str, list[Trial]]:
    """Trials of each regulariser whose search is over; means over both rounds if there are two."""
    if task.again:
        runs = second_round(name, task, grid, store)
    else:
        names = contestants(name, task, grid, store)
        runs = {other: own_grid(task, grid).runs(other) for other in names}
    results = {}
    for other, rows in runs.items():
        rounds = [
            kept_trials(name, task, flags, other, seeded(rows, seed), store)
            for flags, seed in ((task.search, 0), *task.again)
        ]
        if None not in rounds:
            results[other] = averaged(rounds)
    return results


def reports(name: str, task: Task, grid: Grid, store: Store) -> list[Job]:
    """The chosen runs of every reported regulariser, on every block.

    Once those exist, stronger ones follow where the cheapest has not lost a point, weaker ones
    where all have.
    """
    jobs, wanted = [], None
    for regulariser, (slope, rate, strengths) in chosen(name, task, grid, store).items():
        block = on_blocks(name, task, regulariser, slope, rate, strengths)
        points = gathered(block, task, store)
        if regulariser == NONE and points is not None:
            wanted = points.accuracy.mean() - POINT_LOST
        for _ in range(TIMES if regulariser != NONE else 0):
            if wanted is None or points is None or points.strengths != tuple(strengths):
                break
            if not points.comes_down(wanted):
                strengths = (*strengths, round(strengths[-1] * STRONGER, 9))
            elif not points.is_feasible(wanted):
                strengths = (round(strengths[0] / STRONGER, 9), *strengths)
            else:
                break
            block = on_blocks(name, task, regulariser, slope, rate, strengths)
            points = gathered(block, task, store)
        jobs += block
    return jobs


def on_blocks(
    name: str, task: Task, regulariser: str, slope: float, rate: float, strengths: Sequence[float]
) -> list[Job]:
    """The same runs on every block."""
    return [
        Job(
            name,
            REPORT,
            regulariser,
            {"dataset": name, **task.flags, **given},
            tuple(
                {"seed": block, "slope": slope, "rate": rate, "strength": strength}
                for strength in strengths
            ),
        )
        for block, given in enumerate(task.blocks)
    ]


def gathered(jobs: Sequence[Job], task: Task, store: Store) -> Reported | None:
    """Points of one regulariser: strengths that exist on every block; None if there are none."""
    rows: dict[float, list] = {}
    for job in jobs:
        for run in job.runs:
            rows.setdefault(run["strength"], []).append(store.find(job, run))
    rows = {strength: blocks for strength, blocks in rows.items() if None not in blocks}

    def units(blocks: list[dict], field: str) -> np.ndarray:
        if not task.pooled:
            return np.asarray([block[field] for block in blocks])
        samples = np.concatenate([block["samples"][field] for block in blocks])
        return samples.reshape(task.repeats, -1).mean(0)

    if not rows:
        return None
    columns = (np.stack([units(b, f) for b in rows.values()]) for f in ("accuracy", "pj"))
    return Reported(*columns, tuple(rows))


def chosen(
    name: str, task: Task, grid: Grid, store: Store
) -> dict[str, tuple[float, float, tuple[float, ...]]]:
    """Slope, rate and strengths to report, by regulariser; empty until its search is over.

    One that became a finalist after a short search is left out until it is searched too.
    """
    source, whole = (name, task) if task.search is not None else (task.like, TASKS[task.like])
    needed = grid.names if whole.searched else (NONE, OURS)
    wanted = contestants(name, task, grid, store)
    trials = searched(source, whole, grid, store)
    if not {*needed} <= {*trials}:
        return {}
    free = best(trials[NONE])
    choices = {NONE: (free.slope, free.rate, (0.0,))}
    for other in wanted:
        if other in trials and other != NONE:
            slope, rate, strengths, _ = choose(trials[other], trials[NONE])
            choices[other] = (slope, rate, strengths if task.searched else TRANSFERRED)
    return choices


def contestants(name: str, task: Task, grid: Grid, store: Store) -> tuple[str, ...]:
    """The unconstrained network and all regularisers, or ours and the two best others.

    For a task without a full search of its own, none until a searched task is over.
    """
    if task.searched:
        return grid.names
    if not (others := two_best(grid, store)):
        return ()
    # The two best may change with runs of a searched task; what was run stays included.
    run = [o for o in grid.others if o not in others and store.runs(name, REPORT, o)]
    return (NONE, OURS, *others, *run)


def two_best(grid: Grid, store: Store) -> list[str]:
    """The two best others, by their energies on finished searched tasks; none without one."""
    estimates = {}
    for name in RANKING:
        task = TASKS[name]
        if points := reported(name, task, grid, store):
            free = points[NONE]
            estimates[name] = {other: points[other].at(free) for other in grid.others}
    return ranked(estimates)[:2] if estimates else []


def kept_trials(
    name: str,
    task: Task,
    flags: Mapping[str, Any],
    other: str,
    runs: Sequence[Mapping[str, float]],
    store: Store,
) -> list[Trial] | None:
    """These runs of a search; None if any is missing."""
    job = Job(name, SEARCH, other, {"dataset": name, **task.flags, **flags}, tuple(runs))
    rows = [store.find(job, run) for run in runs]
    if None in rows:
        return None
    return [
        Trial(run["slope"], run["rate"], run["strength"], row["accuracy"], row["pj"])
        for run, row in zip(runs, rows, strict=True)
    ]


def reported(name: str, task: Task, grid: Grid, store: Store) -> dict[str, Reported]:
    """Points of each reported regulariser on the units of a task; empty until all exist.

    Of the stronger and weaker ones, those that exist. On a task without a search of its own two
    others are enough, since the two best may change.
    """
    jobs, results = reports(name, task, grid, store), {}
    for regulariser, (_, _, strengths) in chosen(name, task, grid, store).items():
        points = gathered([job for job in jobs if job.regulariser == regulariser], task, store)
        if points is not None and {*strengths} <= {*points.strengths}:
            results[regulariser] = points
        elif task.searched or regulariser in (NONE, OURS):
            return {}
    return results if len(results) >= min(4, len(grid.names)) else {}


def spike_independent_pj(name: str, task: Task, grid: Grid, store: Store) -> float:
    """Energy of the unconstrained network if none of its neurons fired."""
    jobs = [job for job in reports(name, task, grid, store) if job.regulariser == NONE]
    rows = [store.find(job, run) for job in jobs for run in job.runs]
    return float(np.mean([row["spike_independent_pj"] for row in rows]))
