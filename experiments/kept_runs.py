"""Kept results of runs, and the runs of a job that are still missing."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.summary import versions
from jsnn.train.json_files import replace


@dataclasses.dataclass(frozen=True)
class Job:
    """Runs that one compiled program serves.

    Attributes:
        task, stage, regulariser: where their results are kept.
        flags: of `experiments.train`.
        runs: numbers of each run.
    """

    task: str
    stage: str
    regulariser: str
    flags: Mapping[str, Any]
    runs: tuple[Mapping[str, float], ...]

    def config(self, run: Mapping[str, float]) -> dict[str, Any]:
        """Config that identifies a kept run."""
        return {"flags": self._as_read, **run}

    @functools.cached_property
    def _as_read(self) -> dict[str, Any]:
        """The flags as JSON gives them back."""
        return json.loads(json.dumps(dict(self.flags)))


class Store:
    """Results by task, stage and regulariser, a file each; thread-safe within one process."""

    def __init__(self, folder: Path, line: str):
        self.folder, self.line, self._lock = folder, line, threading.Lock()
        self._known: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        # The line of the file for each result, so that only a new one is encoded.
        self._lines: dict[Path, dict[str, str]] = {}

    def file(self, task: str, stage: str, regulariser: str) -> Path:
        """File of these results."""
        return self.folder / task / f"{stage}-{regulariser}.json"

    def runs(self, task: str, stage: str, regulariser: str) -> list[dict[str, Any]]:
        """Results kept so far."""
        return [*self._rows(task, stage, regulariser).values()]

    def find(self, job: Job, run: Mapping[str, float]) -> dict[str, Any] | None:
        """The result of a run with exactly this config, or None."""
        return self._rows(job.task, job.stage, job.regulariser).get(_key(job.config(run)))

    def _rows(self, task: str, stage: str, regulariser: str) -> dict[str, dict[str, Any]]:
        place = task, stage, regulariser
        if place not in self._known:
            file = self.file(*place)
            try:
                kept = json.loads(file.read_text())["runs"] if file.exists() else []
                rows = {_key(row["config"]): row for row in kept}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{file} is damaged ({type(error).__name__}: {error}): put it back, or move it "
                    "away to run what it held again"
                ) from error
            # Two threads that read it must share one table.
            self._known.setdefault(place, rows)
        return self._known[place]

    def keep(self, job: Job, run: Mapping[str, float], result: Mapping[str, Any]) -> None:
        """Add a result; the file is complete at any time."""
        with self._lock:
            rows, config = self._rows(job.task, job.stage, job.regulariser), job.config(run)
            key = _key(config)
            rows[key] = {"config": config, **result}
            file = self.file(job.task, job.stage, job.regulariser)
            content = {"command": self.line, "versions": versions(), "device": "cpu, one core"}
            file.parent.mkdir(parents=True, exist_ok=True)
            if file not in self._lines:
                self._lines[file] = {other: json.dumps(row) for other, row in rows.items()}
            self._lines[file][key] = json.dumps(rows[key])
            lines = ",\n".join(self._lines[file].values())
            head = json.dumps(content | {"regulariser": job.regulariser}, indent=2)[:-2]
            replace(file, f'{head},\n  "runs": [\n{lines}\n]}}\n')


def _key(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)
