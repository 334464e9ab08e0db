"""Runs that were kept, one by one, and which of a job's are still missing."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.runfolder import replace
from experiments.summary import versions


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
