"""Many runs that share one compiled program: in processes on cores, or vmapped together."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import jax

from experiments import together
from experiments.reproduce import ONE_CORE, ROOT
from experiments.runconfig import Config
from experiments.setting import Setting, prepare, program
from experiments.train import main
from jsnn.train.budget import Infeasible
from jsnn.train.devices import take
from jsnn.train.run_folder import RunFolder

WAYS = ("auto", "turns", "vmap")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of many.

    Attributes:
        name: of its folder.
        value: name of its point.
        config: of the run.
        path: its folder.
    """

    name: str
    value: str
    config: Config
    path: Path

    @property
    def done(self) -> bool:
        """Whether its result is there; ValueError if the folder is of another config."""
        folder = RunFolder(self.path)
        if folder.config.exists():
            wanted = json.loads(json.dumps(dataclasses.asdict(self.config)))
            if folder.content() != wanted:
                raise ValueError(f"{self.path} is of a run with another config: move it away")
        return folder.result.exists()

    def read(self, error: str | None) -> dict[str, Any]:
        """Its entry in a summary.

        Args:
            error: why its budget was not met; None if it was.
        """
        said = {
            "name": self.name,
            "value": self.value,
            "seed": self.config.seed,
            "within": False,
            "error": error,
            "dead_layers": [],
        }
        folder = RunFolder(self.path)
        if not folder.result.exists():
            return said
        result = folder.read(folder.result)
        budget, silent = result.get("budget"), result["silent_layers"]
        row = folder.row(result["chosen_epoch"])
        limits = {} if budget is None else budget["limits"]
        measured = limits.get("energy_pj", {"validation": row["validation_pj"]})
        dead = [name for name, entry in silent.items() if entry["silent"] == entry["neurons"]]
        return {
            **said,
            "within": all(entry["feasible"]["train"] for entry in limits.values()),
            "dead_layers": dead,
            "chosen_epoch": result["chosen_epoch"],
            "validation_accuracy": result["validation_accuracy"],
            "validation_pj": measured["validation"],
            "test_accuracy": result["test_accuracy"],
            "test_pj": result["total_pj"],
            "test_spike_independent_pj": result["spike_independent_pj"],
            "test_majority": result["test_majority"],
            "initial_pj": result["initial_pj"],
            "budget": budget,
            "seconds": result["seconds"],
        }


def train(
    runs: Sequence[Run],
    way: str,
    workers: int,
    say: Callable[[str], None],
    settings: dict[Any, Setting] | None = None,
) -> dict[str, str]:
    """Train the runs that have no result yet; returns why each infeasible one is so.

    Args:
        runs: runs that may be trained at the same time.
        way: `turns`, `vmap`, or `auto`: vmap where there is an accelerator.
        workers: processes of `turns`.
        say: prints a line.
        settings: as for `serve`, if one process trains in turns.

    Raises:
        RuntimeError: a process failed, with its output.
    """
    missing = [run for run in runs if not run.done]
    failed = {run.name: error for run in runs if (error := _refused(run))}
    if way == "auto":
        way = "turns" if jax.default_backend() == "cpu" else "vmap"
    groups: dict[Any, list[Run]] = {}
    for run in missing:
        groups.setdefault(program(run.config), []).append(run)
    if way == "vmap":
        ended = (pair for group in groups.values() for pair in _vmapped(group))
    elif workers == 1:
        ended = serve(missing, settings)
    else:
        ended = _in_processes([m for group in groups.values() for m in group], workers)
    for number, (run, error) in enumerate(ended, 1):
        if error is not None:
            failed[run.name] = error
        say(f"[{number}/{len(missing)}] {run.name}: {error or _line(run)}")
    return failed


def serve(
    runs: Iterable[Run], settings: dict[Any, Setting] | None = None
) -> Iterator[tuple[Run, str | None]]:
    """Train in this process, each program compiled once; gives each run and why infeasible.

    Args:
        runs: to train.
        settings: settings by program from earlier calls; those made here are added.
    """
    settings = {} if settings is None else settings
    for run in runs:
        key = program(run.config)
        if key not in settings:
            settings[key] = prepare(run.config, take(1, run.config.batch))
        before = RunFolder(run.path) if RunFolder(run.path).config.exists() else None
        error = None
        try:
            main(run.config, out=str(run.path), resume=before, setting=settings[key])
        except Infeasible as found:
            error = str(found)
        yield run, error


def _vmapped(group: Sequence[Run]) -> Iterator[tuple[Run, str | None]]:
    first = group[0].config
    devices = take(1, first.batch)
    with contextlib.ExitStack() as held:
        folders = [held.enter_context(_folder(run)) for run in group]
        setting = prepare(first, devices)
        errors = together.train([run.config for run in group], setting, devices, folders)
    yield from zip(group, errors, strict=True)


def _folder(run: Run) -> RunFolder:
    folder = RunFolder(run.path)
    if not folder.config.exists():
        return RunFolder.create(str(run.path), run.name, run.config)
    folder.lock()
    return folder


def _refused(run: Run) -> str | None:
    """The reason why a run trained before is not within its budget."""
    if not run.done:
        return None
    folder = RunFolder(run.path)
    limits = folder.read(folder.result).get("budget", {})
    over = [n for n, limit in limits.get("limits", {}).items() if not limit["feasible"]["train"]]
    return f"infeasible budget: {', '.join(over)} over its limit on training" if over else None


def _line(run: Run) -> str:
    row = run.read(None)
    return (
        f"{row['test_accuracy']:.2%}, {row['test_pj'] / 1e3:,.1f} nJ on test, "
        f"{row['seconds']:.0f} s"
    )


# ---- processes -----------------------------------------------------------------------------------


def _in_processes(runs: Sequence[Run], workers: int) -> Iterator[tuple[Run, str | None]]:
    """Runs as they end, from workers that each take the next one when done."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores and workers > len(cores):
        raise ValueError(f"--workers must be at most {len(cores)}, the cores; got {workers}")
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for run in runs:
        waiting.put(run)
    ended: queue.SimpleQueue = queue.SimpleQueue()
    threads = [
        threading.Thread(
            target=_feed, args=(waiting, ended, cores[n] if cores else None), daemon=True
        )
        for n in range(min(workers, len(runs)))
    ]
    for thread in threads:
        thread.start()
    for _ in runs:
        run, answer = ended.get()
        if "failed" in answer:
            raise RuntimeError(f"{run.name}: {answer['failed']}")
        yield run, answer["error"]
    for thread in threads:
        thread.join()


def _feed(waiting, ended, core: int | None) -> None:
    """A worker process and the runs it is given, one by one."""
    # On Linux this pins the calling thread and the children it starts.
    if core is not None:
        os.sched_setaffinity(0, {core})
    with tempfile.TemporaryFile("w+") as said, _worker(said) as process:
        while not waiting.empty():
            try:
                run = waiting.get_nowait()
            except queue.Empty:
                break
            answer = _ask(process, run)
            if answer is None:
                process.wait()
                said.seek(0)
                lines = said.read().strip().splitlines()
                ended.put((run, {"failed": "\n".join(lines[-10:]) or "its process ended"}))
                break
            ended.put((run, answer))


def _ask(process: subprocess.Popen, run: Run) -> dict[str, Any] | None:
    """The answer of a worker, None if it ended."""
    task = {"config": dataclasses.asdict(run.config), "path": str(run.path.resolve())}
    try:
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    answer = process.stdout.readline()
    return json.loads(answer) if answer else None


def _worker(said: IO[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.sweep"],
        cwd=ROOT,
        env=os.environ | ONE_CORE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
    )


def _tasks(lines: Iterable[str]) -> Iterator[Run]:
    for line in lines:
        task = json.loads(line)
        task["config"]["widths"] = tuple(task["config"]["widths"])
        path = Path(task["path"])
        yield Run(path.name, "", Config(**task["config"]), path)


if __name__ == "__main__":
    from experiments.compiled import keep_compiled

    keep_compiled()
    # Libraries print to standard output; that goes to standard error, answers to the original.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        for _, error in serve(_tasks(sys.stdin)):
            print(json.dumps({"error": error}), file=out)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
