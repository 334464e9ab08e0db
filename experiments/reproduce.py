"""Reproduction of the table in the README: every case, run by run, one core per run.

    python -m experiments.reproduce
    python -m experiments.reproduce --only digits,qtdb-10 --seeds 0 --workers 1

Each run writes its result, and the command that makes it, below `experiments/results`. A run whose
result exists is skipped, so an interrupted reproduction continues where it stopped.
`python -m experiments.table` turns the results into the table.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments.config import check, flag, option, parse

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "experiments/results"
# Times are of one core, however many the machine has.
ONE_CORE = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
TAIL_LINES = 20
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: its name, and that of its folder below the results.
        flags: of `experiments.train`, by field.
        runs: what differs from run to run, under the name of the run's result.
        note: what a reader must know about its figures.
    """

    name: str
    flags: Mapping[str, Any]
    runs: Mapping[str, Mapping[str, Any]]
    note: str = ""


def seeds(*numbers: int) -> dict[str, dict[str, Any]]:
    """One run per seed.

    >>> seeds(0, 1)
    {'0': {'seed': 0}, '1': {'seed': 1}}
    """
    return {str(number): {"seed": number} for number in numbers}


def splits(*numbers: int) -> dict[str, dict[str, Any]]:
    """One run per seed, each on its own split into training and test samples.

    >>> splits(3)
    {'3': {'seed': 3, 'split_seed': 3}}
    """
    return {str(number): {"seed": number, "split_seed": number} for number in numbers}


def folds(count: int) -> dict[str, dict[str, Any]]:
    """One run per fold of the training samples, each with its own seed.

    >>> folds(2)
    {'0': {'folds': 2, 'fold': 0, 'seed': 0}, '1': {'folds': 2, 'fold': 1, 'seed': 1}}
    """
    return {str(k): {"folds": count, "fold": k, "seed": k} for k in range(count)}


def speakers(options: str = "") -> dict[str, dict[str, Any]]:
    """One run per speaker of fsdd, who is left out of training.

    >>> speakers("steps=32")["theo"]
    {'data_options': 'steps=32,holdout=speaker,speaker=theo', 'seed': 0}
    """
    words = [options] if options else []
    return {
        name: {
            "data_options": ",".join([*words, "holdout=speaker", f"speaker={name}"]),
            "seed": 0,
        }
        for name in SPEAKERS
    }


FIVE = seeds(0, 1, 2, 3, 4)
# The recipe was searched on splits 0 to 5, 7 and 8; these had not been tested on when it was set.
FRESH = splits(11, 12, 13, 14, 15)
DIGITS = {"dataset": "digits"}
QTDB = {"dataset": "qtdb"}
EV_OBJECTS = {"dataset": "ev-objects"}
HIERARCHY = {"hardware": "hierarchy-45nm"}
NEUROMORPHIC = {"hardware": "neuromorphic-22nm"}
WITHOUT = {"energy_weight": 0.0}

CASES = (
    Case("digits-neuromorphic-w0", DIGITS | NEUROMORPHIC | WITHOUT, FRESH),
    Case("digits-neuromorphic-energy", DIGITS | NEUROMORPHIC, FRESH, "the default command"),
    Case("digits-hierarchy-w0", DIGITS | HIERARCHY | WITHOUT, FRESH),
    Case("digits-hierarchy-energy", DIGITS | HIERARCHY | {"energy_weight": 0.1}, FRESH),
    Case("qtdb-10", QTDB | WITHOUT, FIVE),
    Case("qtdb-100-w0", QTDB | WITHOUT | {"epochs": 100}, FIVE),
    Case("qtdb-100-energy", QTDB | {"epochs": 100}, FIVE),
    Case("ev-objects-w0", EV_OBJECTS | WITHOUT, FIVE),
    Case("ev-objects-energy", EV_OBJECTS, FIVE),
    Case(
        "nmnist-small-folds",
        {"dataset": "nmnist-small"} | WITHOUT,
        folds(5),
        "5-fold over the 1,000 training samples",
    ),
    Case("nmnist-small-test", {"dataset": "nmnist-small"} | WITHOUT, seeds(0)),
    Case("fashion-mnist", {"dataset": "fashion-mnist"} | WITHOUT, FIVE),
    Case("fsdd", {"dataset": "fsdd"} | WITHOUT, FIVE, "the official split, speakers known"),
    Case(
        "fsdd-speaker",
        {"dataset": "fsdd"} | WITHOUT,
        speakers(),
        "each of the six speakers left out of training once",
    ),
)

# Cases with the energy term: their baseline of the same network, seeds, schedule and machine.
BASELINES = {
    "digits-neuromorphic-energy": "digits-neuromorphic-w0",
    "digits-hierarchy-energy": "digits-hierarchy-w0",
    "qtdb-100-energy": "qtdb-100-w0",
    "ev-objects-energy": "ev-objects-w0",
}


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the command."""

    only: str = option("", "cases, comma-separated; digits stands for all that start with digits-")
    data_dir: str | None = option(None, "folder that holds the data; none: JSNN_DATA")
    seeds: tuple[int, ...] | None = option(None, "only the runs with these seeds")
    workers: int = option(2, "runs at once, each on a core of its own", least=1)
    out: str = option(RESULTS, "folder of the results")

    def __post_init__(self):
        check(self)


def main(flags: Flags) -> list[str]:
    """Run what is missing; returns a report of each run that failed."""
    cores = _cores()
    if flags.workers > len(cores):
        raise ValueError(f"--workers must be at most {len(cores)}, the cores; got {flags.workers}")
    wanted = [
        (case, name)
        for case in select(CASES, flags.only)
        for name, run in case.runs.items()
        if flags.seeds is None or run["seed"] in flags.seeds
    ]
    if not wanted:
        raise ValueError(f"no run of these cases has a seed of {list(flags.seeds)}")
    out = Path(flags.out)
    missing = [(case, name) for case, name in wanted if not is_done(case, name, out)]
    print(f"{len(wanted)} runs, {len(wanted) - len(missing)} of them done before", flush=True)

    free = queue.SimpleQueue()
    for core in cores:
        free.put(core)
    failures = []
    pool = ThreadPoolExecutor(flags.workers, initializer=lambda: _pin(free.get()))
    futures = {
        pool.submit(run, case, name, out, flags.data_dir): f"{case.name}/{name}"
        for case, name in missing
    }
    try:
        for number, future in enumerate(as_completed(futures), 1):
            title = futures[future]
            try:
                said = future.result()
            except RuntimeError as error:
                failures.append(f"{title}: {error}")
                said = "FAILED"
            print(f"[{number}/{len(missing)}] {title}: {said}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    return failures


def select(cases: Sequence[Case], only: str) -> list[Case]:
    """The cases named, or all; ValueError for a name that fits none."""
    words = [word for word in only.split(",") if word]
    fits = {w: [c for c in cases if c.name == w or c.name.startswith(f"{w}-")] for w in words}
    if strangers := [word for word, fitting in fits.items() if not fitting]:
        raise ValueError(f"no case {strangers}; there are {[case.name for case in cases]}")
    return [
        case for case in cases if not words or any(case in matches for matches in fits.values())
    ]


def words(case: Case, name: str) -> list[str]:
    """Arguments of `experiments.train` for a run.

    >>> words(Case("toy", {"widths": (8, 4), "norm": True, "limit": None}, seeds(3)), "3")
    ['--widths', '8,4', '--norm', '--limit', 'none', '--seed', '3']
    """
    line = []
    for field, value in {**case.flags, **case.runs[name]}.items():
        if isinstance(value, bool):
            line.append(flag(field) if value else flag(f"no_{field}"))
        else:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            line += [flag(field), "none" if value is None else shown]
    return line


def command(case: Case, name: str) -> str:
    """The command of a run as a reader types it."""
    return shlex.join(["python", "-m", "experiments.train", *words(case, name)])


def result_file(case: Case, name: str, out: Path) -> Path:
    """File of the result of a run."""
    return out / case.name / f"{name}.json"


def is_done(case: Case, name: str, out: Path) -> bool:
    """Whether there is a result of this exact command; one of other flags is run again."""
    file = result_file(case, name, out)
    return file.exists() and json.loads(file.read_text())["command"] == command(case, name)


def run(case: Case, name: str, out: Path, data_dir: str | None) -> str:
    """Run once and keep the result; returns a line about it.

    Raises:
        RuntimeError: the run failed, or its result must not be kept; with the end of its output.
    """
    started = time.perf_counter()
    environment = os.environ | ONE_CORE
    # Not a flag: the folder of the data is not part of the run's config.
    folder = data_dir or os.environ.get("JSNN_DATA")
    if folder:
        environment["JSNN_DATA"] = str(Path(folder).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "run"
        ended = subprocess.run(
            [sys.executable, "-m", "experiments.train", *words(case, name), "--out", str(target)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if ended.returncode:
            tail = "\n".join(ended.stdout.splitlines()[-TAIL_LINES:])
            raise RuntimeError(f"exit status {ended.returncode}\n{tail}")
        result = json.loads((target / "result.json").read_text())
    text = json.dumps({"command": command(case, name), **result}, indent=2) + "\n"
    if paths := [path for path in (scratch, folder, str(ROOT)) if path and path in text]:
        raise RuntimeError(f"its result names folders of this machine: {paths}")
    file = result_file(case, name, out)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, file)
    seconds = time.perf_counter() - started
    return f"{result['test_accuracy']:.2%}, {result['total_pj'] / 1e3:,.1f} nJ, {seconds:.0f} s"


def _cores() -> list[int]:
    # macOS and Windows cannot pin; there only the number of workers is respected.
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _pin(core: int) -> None:
    # On Linux this pins the calling thread and the children it starts.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    try:
        failures = main(Flags(**parse(Flags, description=__doc__)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if failures:
        sys.exit("\n\n".join([f"{len(failures)} runs failed", *failures]))
