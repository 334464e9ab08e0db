"""The folder of one run: config, metrics, checkpoints, result; a kill loses nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class RunFolder:
    """Files of a run below `path`."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, out: str | None, name: str, config: Any) -> RunFolder:
        """A new folder: `out`, or the first free `runs/name-N`.

        Raises:
            FileExistsError: `out` holds files already, of another run or of something else.
            OSError: it cannot be written to.
        """
        path = Path(out) if out is not None else _free(Path("runs"), name)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            owner = "another run" if (path / "config.json").exists() else "something else"
            raise FileExistsError(
                f"output folder {path} belongs to {owner}: choose another --out, or go on with "
                f"that run by --resume {path}"
            )
        folder = cls(path)
        with _saying(f"output folder {path} cannot be written to", "choose another --out"):
            path.mkdir(parents=True, exist_ok=True)
            replace(folder.config, _json(dataclasses.asdict(config)))
        return folder

    @classmethod
    def existing(cls, path: str) -> RunFolder:
        """The folder of an earlier run; FileNotFoundError if it is none."""
        folder = cls(Path(path))
        if not folder.config.exists():
            raise FileNotFoundError(
                f"{path} holds no config.json, so there is no run to resume; start one with --out"
            )
        return folder

    def stored_config(self, given: dict[str, Any], knobs: Iterable[str]) -> dict[str, Any]:
        """The config of the run.

        Args:
            given: flags given now.
            knobs: names that a config has.

        Raises:
            ValueError: a flag says something else than the run did, or the knobs are others.
        """
        stored = json.loads(self.config.read_text())
        unlike = sorted(stored.keys() ^ set(knobs))
        if unlike:
            raise ValueError(
                f"{self.config} was written by a version of jsnn with other knobs "
                f"({', '.join(unlike)}): resume it with that version"
            )
        as_json = json.loads(json.dumps(given))
        changed = [
            f"{name}: {stored.get(name)!r} in the run, {value!r} now"
            for name, value in as_json.items()
            if stored.get(name) != value
        ]
        if changed:
            raise ValueError(
                f"{self.path} was run with another config ({'; '.join(changed)}): drop these flags "
                "to resume it, or start a new run with --out"
            )
        return stored

    def write(self, file: Path, content: Any) -> None:
        """Write JSON whole or not at all; OSError if the disk refuses."""
        with self._saying_what(file):
            replace(file, _json(content))

    def append(self, row: dict[str, Any]) -> None:
        """Add one line to the metrics, or none; OSError if the disk refuses."""
        with self._saying_what(self.metrics):
            self.metrics.touch()
            before = self.metrics.stat().st_size
            try:
                with self.metrics.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            except OSError:
                os.truncate(self.metrics, before)
                raise

    def rows(self) -> list[dict[str, Any]]:
        """The metrics so far."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def rewind(self, epoch: int) -> None:
        """Drop metrics after `epoch`, which the run will write again; a torn last line too."""
        kept = []
        lines = self.metrics.read_text().splitlines() if self.metrics.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if row["epoch"] > epoch:
                break
            kept.append(line + "\n")
        with self._saying_what(self.metrics):
            replace(self.metrics, "".join(kept))

    def _saying_what(self, file: Path):
        return _saying(f"{file} could not be written", f"make room and --resume {self.path}")


def replace(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, file)


def keep(file: Path, content: Any) -> None:
    """Write JSON whole or not at all, its folder made where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace(file, _json(content))


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


@contextlib.contextmanager
def _saying(what: str, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # With an errno OSError makes the fitting subclass.
        reason = error.strerror or error
        raise OSError(error.errno, f"{what} ({reason}): {advice}") from error


def _free(root: Path, name: str) -> Path:
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"
