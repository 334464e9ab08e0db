"""Devices of a run, of this host or of several, and the process that writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import option
from jsnn.train.devices import AUTO, Devices, join, take
from jsnn.train.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Options of where a run is computed; not in its config, as it may continue elsewhere."""

    devices: int | None = option(
        None, "devices that share each batch; none: one, or all of several processes", least=1
    )
    distributed: str | None = option(None, "auto: be one of several processes, as SLURM or TPU say")
    coordinator: str | None = option(None, "address:port of process 0, the same in all processes")
    processes: int | None = option(None, "with --coordinator: how many there are", least=1)
    process: int | None = option(None, "with --coordinator: which this is, from 0", least=0)

    def join(self) -> None:
        """Become one of several processes, if the options say so.

        Raises:
            ValueError: options that contradict each other.
        """
        numbers = (self.processes, self.process)
        if self.distributed is not None:
            if self.distributed != AUTO:
                raise ValueError(f"--distributed must be auto or none, got {self.distributed!r}")
            if self.coordinator is not None:
                raise ValueError("--distributed auto finds the coordinator: leave it away")
            join(AUTO, *numbers)
        elif self.coordinator is not None:
            join(self.coordinator, *numbers)
        elif numbers != (None, None):
            raise ValueError("--processes and --process need --coordinator address:port")

    def take(self, batch: int) -> Devices:
        """The devices, each with its share of a batch (see `jsnn.train.devices.take`)."""
        return take(self.devices, batch)


HERE = Hosts()


class Onlooker(RunFolder):
    """A run's folder for all processes but the first: they read, the first one writes."""

    def lock(self, advice: str = "") -> None:
        """Nothing."""

    def write(self, file: Path, content: Any) -> None:
        """Nothing."""

    def append(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def rewind(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """Nothing."""

    def change_epochs(self, epochs: int, done: int) -> str | None:
        """Nothing."""


def taken(devices: Devices, resume: RunFolder) -> RunFolder:
    """The folder of an earlier run as this process may use it: locked by the first one.

    Raises:
        BlockingIOError: another run is using it.
    """
    if not devices.first:
        return Onlooker(resume.path)
    resume.lock()
    return resume


def folder(
    devices: Devices, out: str | None, name: str, config: Any, resume: RunFolder | None
) -> RunFolder:
    """The folder of a run, made and locked by the first process.

    Args:
        devices: of the run.
        out: its path; None chooses one, in a single process only.
        name: of the data set; of a file or function its last part.
        config: of the run.
        resume: the folder of an earlier run (from `taken`), or None.

    Raises:
        ValueError: several processes and no path that they share.
        OSError: see `RunFolder.create`.
    """
    if resume is not None:
        return resume
    name = Path(name.rpartition(":")[2]).stem
    if devices.alone:
        return RunFolder.create(out, name, config)
    if out is None:
        raise ValueError("several processes need --out, a folder that all of them see")
    created = RunFolder.create(out, name, config) if devices.first else Onlooker(Path(out))
    devices.wait("folder")
    return created
