"""A run saved in its folder while it trains, and continued from there bit for bit."""

from __future__ import annotations

import dataclasses
import errno
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jsnn.train.checkpoint import Checkpoints
from jsnn.train.fitted import Best, Callback, Fitted
from jsnn.train.program import Program, Start
from jsnn.train.run_folder import RunFolder
from jsnn.train.state import TrainState

__all__ = ["Saving", "check_config", "checkpoint_record", "without_terms"]


class Saving(Callback):
    """Metrics and checkpoints of a run in its folder; Ctrl-C stops it once its epoch is saved.

    A checkpoint is due after the first epoch of a process, and whenever `seconds` have passed since
    the last or saving takes at most `SHARE` of the time: short runs are saved after nearly every
    epoch, none loses more than `seconds` and an epoch. A second Ctrl-C stops the run at once.

    Args:
        folder: of the run.
        seconds: between two checkpoints.
        listen: whether to listen to Ctrl-C inside the `with` block; Python listens in its main
            thread only, and a handler installed by other code stays.
        checkpoints: of the run; None: those of the folder.

    Attributes:
        saved_epoch: of the newest checkpoint, 0 if there is none.
        note: a line on metrics that a continued run had to put back; None: they were as written.

    Raises:
        KeyboardInterrupt: from the callback, after Ctrl-C.
        OSError: a checkpoint that could not be written, saying which one is whole.

    >>> import tempfile, jsnn
    >>> from jsnn.train import RunFolder, compile_program, energy_terms, fit_program, make_optimiser
    >>> from jsnn.train.losses import CrossEntropy
    >>> digits, encoder = jsnn.data.load("digits"), jsnn.data.Direct(steps=2)
    >>> model = jsnn.models.MLP((8,), 10, input_kind=encoder.input_kind)
    >>> machine = jsnn.hardware.get("neuromorphic-22nm")
    >>> objective = jsnn.train.Objective(CrossEntropy(), machine, energy_terms(0.1))
    >>> sets = [(part.frames, part.labels) for part in (digits.train, digits.validation)]
    >>> program = compile_program(
    ...     model, objective, make_optimiser(1e-2, steps=40), encoder, *sets, batch=64
    ... )
    >>> def train(folder, epochs):
    ...     with folder, Saving(folder) as saving:
    ...         start = program.start(seed=0)
    ...         resumed = saving.resumed(program, start)
    ...         return fit_program(program, start, epochs, callbacks=[saving], resumed=resumed)
    >>> with tempfile.TemporaryDirectory() as path:
    ...     first = len(train(RunFolder.create(f"{path}/run"), 1).rows)
    ...     first, len(train(RunFolder.existing(f"{path}/run"), 2).rows)
    (1, 2)
    """

    SHARE = 0.05

    def __init__(
        self,
        folder: RunFolder,
        seconds: float = 20.0,
        *,
        listen: bool = True,
        checkpoints: Checkpoints | None = None,
    ):
        self.folder = folder
        self.checkpoints = checkpoints or Checkpoints(folder.checkpoints)
        self.saved_epoch, self.note = 0, None
        self._seconds, self._interrupt = seconds, _Interrupt(listen)
        self._at, self._cost = None, 0.0
        self._done, self._last = 0, 0

    def __enter__(self) -> Saving:
        self._interrupt.listen()
        return self

    def __exit__(self, *_) -> None:
        self._interrupt.leave()

    def __str__(self) -> str:
        epoch = self.checkpoints.latest()
        if epoch is None:
            return f"No checkpoint was in {self.folder.checkpoints} yet"
        return f"The checkpoint of epoch {epoch} in {self.folder.checkpoints} is whole"

    def resumed(self, program: Program, start: Start) -> Fitted | None:
        """The run as its newest whole checkpoint knows it; None without one.

        Newer checkpoints are removed, and the metrics are those of the checkpoint again.

        Args:
            program: of the run.
            start: of the run.

        Raises:
            ValueError: the checkpoint is of another config or network, or damaged.
        """
        if self.checkpoints.latest() is None:
            self.note = self.folder.rewind([])
            return None
        like = without_terms(start.state)
        saved, record = self.checkpoints.restore({"state": like, "best": like})
        self.folder.refuse_unlike(record["config"])
        self.checkpoints.rewind(record["epoch"])
        self.note = self.folder.rewind(record["rows"])
        self.saved_epoch = record["epoch"]
        state = dataclasses.replace(saved["state"], terms=start.state.terms)
        best = Best(saved["best"], **record["best"])
        return Fitted(program, start, state, best, record["rows"])

    def begin(self, run: Fitted, epochs: int) -> None:
        """See `Callback`."""
        self._done, self._last = len(run.rows), epochs

    def steps(self, count: int) -> None:
        """Stop between two steps only if the epoch before is saved."""
        if count == 1 and self._interrupt and self.saved_epoch == self._done:
            raise KeyboardInterrupt(f"Stopped by Ctrl-C. {self}")

    def epoch(self, run: Fitted) -> None:
        """Write the figures; save what is due, and stop if asked to."""
        self._done = run.rows[-1]["epoch"]
        self.folder.append(run.rows[-1])
        if self._done == self._last or self._interrupt or self.due():
            best = run.best._replace(state=without_terms(run.best.state))
            self.save(self._done, without_terms(run.state), best._asdict(), run.rows)
        if self._interrupt:
            raise KeyboardInterrupt(f"Stopped by Ctrl-C. {self}")

    def due(self) -> bool:
        """Whether a checkpoint is due; of several processes the clock of the first one decides."""
        passed = np.inf if self._at is None else _seconds_since(self._at)
        now = passed > self._seconds or self._cost <= self.SHARE * passed
        if jax.process_count() > 1:
            now = bool(multihost_utils.broadcast_one_to_all(np.asarray(now)))
        return now

    def save(
        self, epoch: int, state: Any, best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write a checkpoint.

        Args:
            epoch: the epoch that has ended.
            state: at its end.
            best: the chosen state, with its score, task and epoch.
            rows: metrics of all epochs.

        Raises:
            OSError: it could not be written.
        """
        began = time.perf_counter()
        self.folder.sync()
        scores = {name: value for name, value in best.items() if name != "state"}
        try:
            self.checkpoints.save(
                epoch,
                {"state": state, "best": best["state"]},
                checkpoint_record(self.folder, epoch, scores, rows),
            )
        except (OSError, ValueError) as error:
            # tensorstore reports a full disk as a ValueError.
            reason = getattr(error, "strerror", None) or str(error)
            reason = reason.partition(" [tensorstore_spec")[0]
            raise OSError(
                getattr(error, "errno", None) or errno.EIO,
                f"checkpoint of epoch {epoch} could not be written ({reason}). {self}. Make room "
                f"and continue the run (--resume {self.folder.path})",
            ) from error
        self.saved_epoch, self._at = epoch, time.perf_counter()
        self._cost = self._at - began


def without_terms(state: TrainState) -> TrainState:
    """The state without the numbers of its terms, which follow from the config, as it is saved."""
    return dataclasses.replace(state, terms=None)


def checkpoint_record(
    folder: RunFolder, epoch: int, best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Record that a checkpoint holds beside its arrays.

    Args:
        folder: of the run, whose config made the checkpoint.
        epoch: the last one done.
        best: score, task and epoch of the chosen network.
        rows: metrics of all epochs done.
    """
    return {"epoch": epoch, "best": dict(best), "config": folder.content(), "rows": list(rows)}


def check_config(folder: RunFolder, checkpoints: Checkpoints, epochs: int | None = None) -> None:
    """Compare the config of a run with that of its newest checkpoint.

    Args:
        folder: of the run.
        checkpoints: of the run.
        epochs: number of epochs the run shall have; None: that of its config.

    Raises:
        ValueError: the config was changed, or more epochs are done already.
    """
    if checkpoints.latest() is None:
        folder.refuse_edited()
        return
    record = checkpoints.record()
    folder.refuse_unlike(record.get("config"))
    if epochs is not None and epochs < record["epoch"]:
        raise ValueError(
            f"epochs must be at least {record['epoch']}, those that {folder.path} has done, "
            f"got {epochs}"
        )


class _Interrupt:
    """Whether Ctrl-C asked the run to stop; a second one stops it at once."""

    def __init__(self, wanted: bool):
        self._wanted, self._listens, self._asked = wanted, False, False

    def __bool__(self) -> bool:
        return self._asked

    def listen(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._listens = self._wanted and main and own
        if self._listens:
            signal.signal(signal.SIGINT, self._ask)

    def leave(self) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, number, frame) -> None:
        if self._asked:
            signal.default_int_handler(number, frame)
        self._asked = True


def _seconds_since(moment: float) -> float:
    return time.perf_counter() - moment
