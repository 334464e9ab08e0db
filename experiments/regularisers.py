"""A fair duel of regularisers: the same budget of runs, the same bill, the same grid for each.

    python -m experiments.regularisers
    python -m experiments.regularisers --tasks digits --max-hours 1
    python -m experiments.regularisers --smoke

Searched tasks: every regulariser runs every slope of the surrogate x learning rate x strength once,
on part of the training samples. What costs least at one point lost there is run again, three
strengths around that loss, on fresh splits or folds; what does not lose a point there gets three
times the strength, what loses one at all of them a third, up to twice. The other tasks take slope
and rate from the searched task of their kind, for ours and the two best others. All figures are of
the last epoch.

Each run is kept as soon as it is over, below `experiments/results/regularisers`; one that is there
with the same numbers is not run again. `summary.json` there holds what comes out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import check, knob, parse
from experiments.duel_analysis import (
    POINT_LOST,
    Ratio,
    Reported,
    Trial,
    best,
    choose,
    difference,
    geometric_mean,
    ranked,
    ratio,
)
from experiments.reproduce import ONE_CORE, ROOT, TAIL_LINES
from experiments.runfolder import keep, replace
from experiments.summary import versions
from experiments.swept import NONE

RESULTS = "experiments/results/regularisers"
# Serves the runs of a job, see there.
WORKER = (sys.executable, "-m", "experiments.swept")
OURS = "bill"
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
TRANSFERRED = (0.1, 0.4, 1.6)
# A curve that ends above one point lost, or begins below, would pass for dearer than it is.
STRONGER, TIMES = 3.0, 2
SEARCH, REPORT = "search", "report"
# Of a worker: imports, data, and tracing a program that may have been compiled before.
START_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Task:
    """What a data set is run with.

    Attributes:
        flags: of `experiments.train`, over its recipe.
        search: those of the search besides; None: not searched.
        blocks: of the report, one for each block: seeds, splits or folds.
        pooled: whether the blocks are folds, whose samples are pooled.
        like: the searched task whose slope and rate are taken.
        seconds: of one run on one core, as measured; what a run took before replaces it.
    """

    flags: Mapping[str, Any]
    blocks: tuple[Mapping[str, Any], ...]
    seconds: float
    search: Mapping[str, Any] | None = None
    pooled: bool = False
    like: str = ""


HELD_OUT = {"fold": 0, "folds": 3, "split_seed": 0}
FIVE_SEEDS = ({},) * 5
# The search looked at folds of split seed 0; these are cut anew.
FIVE_FOLDS = tuple({"fold": k, "folds": 5, "split_seed": 1} for k in range(5))
TASKS = {
    "digits": Task(
        {"epochs": 100},
        tuple({"split_seed": seed} for seed in (11, 12, 13, 14, 15)),
        seconds=12,
        search=HELD_OUT,
    ),
    "ev-objects": Task({"epochs": 100}, FIVE_FOLDS, seconds=20, search=HELD_OUT, pooled=True),
    "fashion-mnist": Task({}, FIVE_SEEDS, seconds=40, like="digits"),
    "qtdb": Task({"epochs": 20}, FIVE_SEEDS, seconds=35, like="ev-objects"),
    "nmnist": Task({"epochs": 40}, FIVE_FOLDS, seconds=70, pooled=True, like="ev-objects"),
}
CUT = (
    "Cut: one seed in the search; nmnist 40 epochs (its recipe: 80); "
    "fashion-mnist, qtdb and nmnist without a search of their own."
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
class Flags:
    """What is run, and how."""

    tasks: str = knob(",".join(TASKS), "tasks, comma-separated")
    max_hours: float | None = knob(None, "start no run after so many hours", above=0)
    workers: int = knob(2, "runs at once, each on a core of its own", least=1)
    data_dir: str | None = knob(None, "folder that holds the data; none: JSNN_DATA")
    out: str | None = knob(None, f"folder of the results; none: {RESULTS}, or one of runs/")
    smoke: bool = knob(False, "a grid of eleven runs of an epoch: does it run at all?")

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
        return sorted(given, key=lambda name: name in TASKS and TASKS[name].search is None)


@dataclasses.dataclass(frozen=True)
class Grid:
    """What every regulariser runs.

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
        """Numbers of the search of a regulariser."""
        strengths = (0.0,) if name == NONE else self.strengths
        return [
            {"seed": 0, "slope": slope, "rate": rate, "strength": strength}
            for slope, rate, strength in itertools.product(self.slopes, self.rates, strengths)
        ]


SMALL_GRID = Grid(("l1-rate",), (1.0,), (1.0,), (0.1, 1.0))


@dataclasses.dataclass(frozen=True)
class Job:
    """Runs that one compiled program serves.

    Attributes:
        task, stage, regulariser: where their results are kept.
        flags: of `experiments.train`.
        runs: their numbers.
    """

    task: str
    stage: str
    regulariser: str
    flags: Mapping[str, Any]
    runs: tuple[Mapping[str, float], ...]

    def config(self, run: Mapping[str, float]) -> dict[str, Any]:
        """What a kept run is known by."""
        return json.loads(json.dumps({"flags": dict(self.flags), **run}))


class Store:
    """Results by task, stage and regulariser, a file each; safe between threads, one process."""

    def __init__(self, folder: Path, line: str):
        self.folder, self.line, self._lock = folder, line, threading.Lock()
        self._known: dict[Path, list[dict[str, Any]]] = {}

    def file(self, task: str, stage: str, regulariser: str) -> Path:
        """Where they lie."""
        return self.folder / task / f"{stage}-{regulariser}.json"

    def runs(self, task: str, stage: str, regulariser: str) -> list[dict[str, Any]]:
        """Those there are."""
        file = self.file(task, stage, regulariser)
        if file not in self._known:
            kept = json.loads(file.read_text())["runs"] if file.exists() else []
            # Of two threads that read it, both must go on with one list.
            self._known.setdefault(file, kept)
        return self._known[file]

    def find(self, job: Job, run: Mapping[str, float]) -> dict[str, Any] | None:
        """The result of a run with this very config."""
        kept, wanted = self.runs(job.task, job.stage, job.regulariser), job.config(run)
        return next((row for row in kept if row["config"] == wanted), None)

    def keep(self, job: Job, run: Mapping[str, float], result: Mapping[str, Any]) -> None:
        """Add a result; the file is whole at any time."""
        with self._lock:
            rows = self.runs(job.task, job.stage, job.regulariser)
            rows.append({"config": job.config(run), **result})
            file = self.file(job.task, job.stage, job.regulariser)
            content = {"command": self.line, "versions": versions(), "device": "cpu, one core"}
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = ",\n".join(json.dumps(row) for row in rows)
            head = json.dumps(content | {"regulariser": job.regulariser}, indent=2)[:-2]
            replace(file, f'{head},\n  "runs": [\n{lines}\n]}}\n')


def main(flags: Flags) -> dict[str, Any]:
    """Run what is missing, write and print the summary; returns it."""
    tasks = {"digits": SMOKE} if flags.smoke else {name: TASKS[name] for name in flags.names}
    grid = SMALL_GRID if flags.smoke else Grid()
    folder = Path(flags.out or ("runs/regularisers-smoke" if flags.smoke else RESULTS))
    store = Store(folder, "python -m experiments.regularisers" + " --smoke" * flags.smoke)
    crew = Crew(flags, store)
    print(estimate(tasks, grid, store, flags.workers), flush=True)
    for name, task in tasks.items():
        if task.search is not None:
            crew.work(searches(name, task, grid))
        for _ in range(1 + TIMES):
            if not crew.left:
                crew.work(reports(name, task, grid, store))
        summary = summarise(store, grid)
        keep(folder / "summary.json", summary)
    print("\n".join(describe(summary)), flush=True)
    if crew.left:
        print(f"{crew.left} runs are left: the same command goes on with them", flush=True)
    return summary


def searches(name: str, task: Task, grid: Grid) -> list[Job]:
    """The grid of every regulariser, cut by slope so that workers end together."""
    flags = {"dataset": name, **task.flags, **task.search}
    return [
        Job(name, SEARCH, regulariser, flags, tuple(run for run in runs if run["slope"] == slope))
        for regulariser in grid.names
        for runs in [grid.runs(regulariser)]
        for slope in grid.slopes
    ]


def reports(name: str, task: Task, grid: Grid, store: Store) -> list[Job]:
    """The chosen runs of every regulariser that is reported, on every block.

    Once those are there, stronger ones follow where the cheapest has not lost a point, weaker ones
    where all have.
    """
    jobs, wanted = [], None
    for regulariser, (slope, rate, strengths) in chosen(name, task, grid, store).items():
        found = on_blocks(name, task, regulariser, slope, rate, strengths)
        points = gathered(found, task, store)
        if regulariser == NONE and points is not None:
            wanted = points.accuracy.mean() - POINT_LOST
        for _ in range(TIMES if regulariser != NONE else 0):
            if wanted is None or points is None or points.strengths != tuple(strengths):
                break
            if not points.comes_down(wanted):
                strengths = (*strengths, round(strengths[-1] * STRONGER, 9))
            elif not points.holds(wanted):
                strengths = (round(strengths[0] / STRONGER, 9), *strengths)
            else:
                break
            found = on_blocks(name, task, regulariser, slope, rate, strengths)
            points = gathered(found, task, store)
        jobs += found
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
    """Points of one regulariser: strengths that are there on every block; None if none is."""
    rows: dict[float, list] = {}
    for job in jobs:
        for run in job.runs:
            rows.setdefault(run["strength"], []).append(store.find(job, run))
    rows = {strength: blocks for strength, blocks in rows.items() if None not in blocks}

    def units(blocks: list[dict], field: str) -> np.ndarray:
        if task.pooled:
            return np.concatenate([block["samples"][field] for block in blocks])
        return np.asarray([block[field] for block in blocks])

    if not rows:
        return None
    columns = (np.stack([units(b, f) for b in rows.values()]) for f in ("accuracy", "pj"))
    return Reported(*columns, tuple(rows))


def chosen(
    name: str, task: Task, grid: Grid, store: Store
) -> dict[str, tuple[float, float, tuple[float, ...]]]:
    """Slope, rate and strengths to report, by regulariser; empty until its search is over."""
    searched = name if task.search is not None else task.like
    source = SMOKE if task is SMOKE else TASKS[searched]
    trials = {other: kept_trials(searched, source, grid, other, store) for other in grid.names}
    if any(len(trials[other]) < len(grid.runs(other)) for other in grid.names):
        return {}
    free = best(trials[NONE])
    found = {NONE: (free.slope, free.rate, (0.0,))}
    choices = {other: choose(trials[other], trials[NONE]) for other in grid.names[1:]}
    if task.search is not None:
        return found | {other: tuple(choice[:3]) for other, choice in choices.items()}
    finalists = [OURS, *two_best(grid, store)]
    # Who is among the two may change with runs of a searched task; what was run stays in sight.
    finalists += [o for o in grid.others if o not in finalists and store.runs(name, REPORT, o)]
    return found | {o: (choices[o].slope, choices[o].rate, TRANSFERRED) for o in finalists}


def two_best(grid: Grid, store: Store) -> list[str]:
    """Of the others, by their bills on the searched tasks there are."""
    bills = {}
    for name, task in TASKS.items():
        if task.search is not None and (points := reported(name, task, grid, store)):
            free = points[NONE]
            bills[name] = {other: points[other].at(free) for other in grid.others}
    return ranked(bills)[:2] if bills else list(grid.others[:2])


def kept_trials(name: str, task: Task, grid: Grid, other: str, store: Store) -> list[Trial]:
    """The search of a regulariser, as far as it is there."""
    (first, *_) = searches(name, task, grid)
    job = dataclasses.replace(first, regulariser=other)
    rows = [(run, store.find(job, run)) for run in grid.runs(other)]
    return [
        Trial(run["slope"], run["rate"], run["strength"], row["accuracy"], row["pj"])
        for run, row in rows
        if row is not None
    ]


def reported(name: str, task: Task, grid: Grid, store: Store) -> dict[str, Reported]:
    """Points of each reported regulariser on the units of a task; empty until all are there.

    Of the stronger and weaker ones, those that are there. On a task without a search of its own two
    others are enough, for who is among the two best may change.
    """
    jobs, found = reports(name, task, grid, store), {}
    for regulariser, (_, _, strengths) in chosen(name, task, grid, store).items():
        points = gathered([job for job in jobs if job.regulariser == regulariser], task, store)
        if points is not None and {*strengths} <= {*points.strengths}:
            found[regulariser] = points
        elif task.search is not None or regulariser in (NONE, OURS):
            return {}
    return found if len(found) >= min(4, len(grid.names)) else {}


def floor_pj(name: str, task: Task, grid: Grid, store: Store) -> float:
    """What the unconstrained network would spend if none of its neurons fired."""
    jobs = [job for job in reports(name, task, grid, store) if job.regulariser == NONE]
    rows = [store.find(job, run) for job in jobs for run in job.runs]
    return float(np.mean([row["floor_pj"] for row in rows]))


def summarise(store: Store, grid: Grid) -> dict[str, Any]:
    """What comes out of the runs there are."""
    known = {"digits": SMOKE} if grid is SMALL_GRID else TASKS
    tasks = {}
    for name, task in known.items():
        if not (points := reported(name, task, grid, store)):
            continue
        free, rows, picked = points.pop(NONE), {}, chosen(name, task, grid, store)
        wanted = free.accuracy.mean() - POINT_LOST
        for other, found in points.items():
            compared = ratio(points[OURS], found, free)
            rows[other] = {
                "slope": picked[other][0],
                "rate": picked[other][1],
                "strengths": found.strengths,
                "accuracy": found.accuracy.mean(1).tolist(),
                "pj": found.pj.mean(1).tolist(),
                "points_lost": [difference(free.accuracy[0], a) for a in found.accuracy],
                "pj_at_one_point": found.at(free),
                "reached": bool(found.comes_down(wanted)),
                "held": bool(found.holds(wanted)),
                "ours_over_it": compared._asdict(),
            }
        tuned = {other: row["pj_at_one_point"] for other, row in rows.items() if other != OURS}
        rival = min(tuned, key=tuned.get)
        tasks[name] = {
            "units": f"{free.pj.shape[1]} {'pooled samples' if task.pooled else 'seeds'}",
            "unconstrained": {
                "accuracy": free.accuracy.mean(),
                "pj": free.pj.mean(),
                "floor_pj": floor_pj(name, task, grid, store),
            },
            "best_other": rival,
            "ours_over_best_other": rows[rival]["ours_over_it"],
            "regularisers": rows,
        }
    ratios = [task["ours_over_best_other"]["value"] for task in tasks.values()]
    return {
        "command": store.line,
        "versions": versions(),
        "points_lost": 1,
        "geometric_mean": geometric_mean(ratios) if ratios else None,
        "notes": CUT,
        "tasks": tasks,
    }


def sign_of(row: Mapping[str, Any]) -> str:
    """Of a bill at one point lost: ≤ where no run came down to it, ≈ where all lost more.

    The one is an upper end, the other lies on a line to the unconstrained network.
    """
    return ("" if row["held"] else "≈") if row["reached"] else "≤"


def describe(summary: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a reader."""
    for name, task in summary["tasks"].items():
        free = task["unconstrained"]
        shown = f"{free['accuracy']:.2%}, {free['pj'] / 1e3:,.1f} nJ"
        floor = f"{free['floor_pj'] / 1e3:,.1f} nJ"
        yield f"\n{name}: unconstrained {shown}; without a spike {floor}; {task['units']}"
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
        yield f"\nGeometric mean over the tasks: {summary['geometric_mean']:.3f}"
    yield summary["notes"]


def estimate(tasks: Mapping[str, Task], grid: Grid, store: Store, workers: int) -> str:
    """How long what is missing takes, by what runs took before."""

    def missing(jobs: Sequence[Job]) -> list[int]:
        """Runs that each unfinished job lacks."""
        lacks = [sum(store.find(job, run) is None for run in job.runs) for job in jobs]
        return [count for count in lacks if count]

    lines, total = [], 0.0
    for name, task in tasks.items():
        left = missing(searches(name, task, grid)) if task.search is not None else []
        known = reports(name, task, grid, store)
        # Before the search is over: what will be chosen, one job for each block and regulariser.
        names = len(grid.names) - 1 if task.search is not None else 3
        later = missing(known) if known else [1, *[3] * names] * len(task.blocks)
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


class Crew:
    """Workers, each on a core of its own, that serve jobs until the time is up."""

    def __init__(self, flags: Flags, store: Store):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        cores = cores or list(range(os.cpu_count() or 1))
        if flags.workers > len(cores):
            raise ValueError(
                f"--workers must be at most {len(cores)}, the cores; got {flags.workers}"
            )
        self.cores, self.flags, self.store, self.left = cores, flags, store, 0
        hours = flags.max_hours
        self.end = time.monotonic() + 3600 * hours if hours else float("inf")

    def work(self, jobs: Sequence[Job]) -> None:
        """Run what is missing of these jobs; what time did not allow is counted in `left`.

        Raises:
            RuntimeError: a worker failed, with the end of what it said.
        """
        free: queue.SimpleQueue = queue.SimpleQueue()
        for core in self.cores:
            free.put(core)

        def pin():
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {free.get()})

        open_jobs = []
        for job in jobs:
            missing = tuple(run for run in job.runs if self.store.find(job, run) is None)
            if missing:
                open_jobs.append(dataclasses.replace(job, runs=missing))
        with ThreadPoolExecutor(self.flags.workers, initializer=pin) as pool:
            served = list(pool.map(self._serve, open_jobs))
        self.left += sum(len(job.runs) for job in open_jobs) - sum(served)

    def _serve(self, job: Job) -> int:
        """How many runs of a job were done."""
        if time.monotonic() >= self.end:
            return 0
        environment = os.environ | ONE_CORE
        if self.flags.data_dir:
            environment["JSNN_DATA"] = str(Path(self.flags.data_dir).resolve())
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(WORKER, cwd=ROOT, env=environment, text=True, **pipes) as worker:
            said: list[str] = []
            reader = threading.Thread(target=lambda: said.extend(worker.stderr))
            reader.start()
            done = self._follow(job, worker)
            status = worker.wait()
            reader.join()
        if done < len(job.runs) and time.monotonic() < self.end:
            tail = "".join(said[-TAIL_LINES:])
            raise RuntimeError(f"{job.task} {job.regulariser}: exit status {status}\n{tail}")
        return done

    def _follow(self, job: Job, worker: subprocess.Popen) -> int:
        """Keep what a worker says, run by run; how many they were."""
        wanted = {"regulariser": job.regulariser, "flags": dict(job.flags), "runs": job.runs}
        try:
            worker.stdin.write(json.dumps(wanted))
            worker.stdin.close()
        except BrokenPipeError:
            # It ended before it read; its status says why.
            return 0
        done = 0
        for run, line in zip(job.runs, worker.stdout, strict=False):
            result = json.loads(line)
            result.pop("prices", None)
            if job.stage == SEARCH or not self._pooled(job.task):
                result.pop("samples")
            else:
                result["samples"]["pj"] = np.rint(result["samples"]["pj"]).astype(int).tolist()
            self.store.keep(job, run, result)
            done += 1
            title = f"{job.task} {job.stage} {job.regulariser}"
            shown = f"{result['accuracy']:.2%}, {result['pj'] / 1e3:,.1f} nJ"
            print(f"{title} {dict(run)}: {shown}, {result['seconds']:.0f} s", flush=True)
            if time.monotonic() >= self.end and done < len(job.runs):
                worker.terminate()
                break
        return done

    def _pooled(self, name: str) -> bool:
        return self.flags.smoke or TASKS[name].pooled


if __name__ == "__main__":
    try:
        main(Flags(**parse(Flags, description=__doc__)))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
