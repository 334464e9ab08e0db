"""Workers of all contestants: started together, timed in turns, failures recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.measuring import Rows, in_turns, ratio, spread
from experiments.memory import KEEPING

ROOT = Path(__file__).parents[2]
SLICE_S = 0.7  # about how long one library is timed before the next has its turn
MOST_CALLS = 20
MOST_STREAM_CALLS = 2000


class Missing(Exception):
    """A contestant that could not be measured; its text says why."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A library and how it is run.

    Attributes:
        library, mode: its name and a variant of how it runs, for jsnn a plan.
        python: the interpreter.
        keeps_memory: whether its process starts with the settings of
            `experiments.memory.keep_memory`.
        root, version: the checkout whose code runs, and its name in reports if it is not this one.

    >>> Entry("snntorch", "compile").label
    'snntorch:compile'
    >>> Entry("jsnn", "scan", root=Path("old"), version="d847ce3").label
    'jsnn d847ce3:scan'
    """

    library: str
    mode: str = ""
    python: str = sys.executable
    keeps_memory: bool = False
    root: Path = ROOT
    version: str = ""

    @property
    def label(self) -> str:
        """Name in reports."""
        name = f"{self.library} {self.version}".rstrip()
        return f"{name}:{self.mode}" if self.mode else name


class Worker:
    """One process of `experiments.benchmarks.worker`; its answers are described there."""

    def __init__(
        self, entry: Entry, workload: str, sizes: Mapping[str, int] | None = None, device="cpu"
    ):
        task = {"library": entry.library, "mode": entry.mode, "device": device}
        task |= {"workload": workload, "sizes": dict(sizes or {})}
        # Several processes share a device: none may take all of its memory.
        environment = {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            # The last line of a process must be its error, not jax's advice on tracebacks.
            "JAX_TRACEBACK_FILTERING": "off",
            **os.environ,
        }
        environment["PYTHONPATH"] = str(entry.root)
        if entry.keeps_memory:
            environment = KEEPING | environment
        words = [entry.python, "-m", "experiments.benchmarks.worker", json.dumps(task)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with contextlib.ExitStack() as stack:
            self.errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            self.process = subprocess.Popen(
                words, **pipes, stderr=self.errors, cwd=entry.root, env=environment
            )
            stack.callback(self.process.stdout.close)
            stack.callback(self.process.wait, timeout=60)
            stack.callback(self._hush)
            self.hello = self._answer()
            self._open = stack.pop_all()
        self.calls = tuple(self.hello["ready"])
        self.keeps_memory = all(environment.get(name) == KEEPING[name] for name in KEEPING)
        self.first: dict[str, float] = {}
        self.values: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def ask(self, **question: Any) -> dict:
        """Send one question and return its answer."""
        # If the process has ended, the missing answer below reports why.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def warm(self, call: str) -> None:
        """Call it for the first time (compiling) and find how often it fits into a slice."""
        answer = self.ask(call=call, count=1)
        self.first[call], self.values[call] = answer["seconds"][0], answer["value"]
        seconds = min(self.ask(call=call, count=2)["seconds"])
        most = MOST_STREAM_CALLS if call == "stream" else MOST_CALLS
        self.counts[call] = max(1, min(most, int(SLICE_S / seconds)))

    def slice(self, call: str) -> float:
        """Median seconds of one call over a slice."""
        return statistics.median(self.ask(call=call, count=self.counts[call])["seconds"])

    def close(self) -> None:
        """End the process."""
        self._open.close()

    def _hush(self) -> None:
        # A process that has ended leaves the last question in the pipe.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait(timeout=60)
        self.errors.seek(0)
        said = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        raise Missing(said[-1] if said else f"ended with status {self.process.returncode}")


@contextlib.contextmanager
def workers(
    entries: Sequence[Entry], workload: str, sizes: Mapping[str, int], device: str
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Workers by label, and the reason for each missing one."""
    started, missing = {}, {}
    with contextlib.ExitStack() as stack:
        for entry in entries:
            try:
                started[entry.label] = Worker(entry, workload, sizes, device)
                stack.callback(started[entry.label].close)
            except (Missing, FileNotFoundError) as why:
                missing[entry.label] = str(why)
        yield started, missing


def compete(
    entries: Sequence[Entry],
    workload: str,
    rounds: int,
    *,
    sizes: Mapping[str, int] | None = None,
    device: str = "cpu",
    calls: Sequence[str] = ("step", "bare", "forward", "stream"),
) -> dict[str, Any]:
    """Time every call of every entry in turns.

    Returns:
        `contestants` by label, each with its calls, and `missing`, the reasons by label.
        `over_reference` is the ratio to the first entry within each round; `energy_term` the ratio
        of our step with energy term and records to the one without.

    Raises:
        Missing: the first entry, which the others are compared with, cannot be measured.
    """
    with workers(entries, workload, sizes or {}, device) as (started, missing):
        reference = entries[0].label
        for label, worker in list(started.items()):
            try:
                for call in worker.calls:
                    if call in calls:
                        worker.warm(call)
            except Missing as why:
                missing[label] = str(why)
                del started[label]
        if reference in missing:
            raise Missing(f"{reference} on {workload}: {missing[reference]}")
        contestants = {label: {} for label in started}
        for call in calls:
            if call == "bare":
                continue  # timed beside `step`, whose worker it shares
            rows = _rows(started, call, rounds)
            for label, worker in started.items():
                if label in rows:
                    contestants[label][call] = {
                        "seconds": spread(rows[label]),
                        "first_s": worker.first[call],
                        "value": worker.values[call],
                        "over_reference": ratio(rows, label, reference),
                    }
                if f"{label} bare" in rows:
                    contestants[label]["energy_term"] = ratio(rows, label, f"{label} bare")
        for label, worker in started.items():
            main = worker.calls[-1] if "step" not in worker.calls else "step"
            contestants[label]["memory"] = worker.ask(call="memory", of=main)
            contestants[label]["info"] = worker.ask(call="info")
            contestants[label]["import_s"] = worker.hello["import_s"]
            contestants[label]["keeps_memory"] = worker.keeps_memory
        return {"contestants": contestants, "missing": missing}


def _rows(workers: Mapping[str, Worker], call: str, rounds: int) -> Rows:
    timers = {}
    for label, worker in workers.items():
        if call in worker.counts:
            timers[label] = lambda w=worker: w.slice(call)
        if call == "step" and "bare" in worker.counts:
            timers[f"{label} bare"] = lambda w=worker: w.slice("bare")
    return in_turns(timers, rounds)
