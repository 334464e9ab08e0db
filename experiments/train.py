"""Train a spiking network against the energy estimate of its inference.

    python -m experiments.train
    python -m experiments.train --dataset qtdb --energy-weight 0.05 --out runs/qtdb
    python -m experiments.train --resume runs/qtdb
    python -m experiments.train --resume runs/qtdb --epochs 200

The default run learns scikit-learn's digits. The defaults of each data set are in
`experiments/recipes.py`; expected figures are in experiments/README.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from rich.console import Console

from experiments import hosts, pruned, restored, windows
from experiments.compiled import keep_compiled
from experiments.config import option, parse, stored_config
from experiments.finish import finish, sizes
from experiments.hosts import HERE, Hosts
from experiments.memory import keep_memory
from experiments.progress import Progress
from experiments.runconfig import Config, configured
from experiments.setting import Begun, Setting, begin, prepare, without_terms
from experiments.summary import parameters, since
from jsnn.train import Best, Callback, Diverged, Fitted, diagnosis, fit_program
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.run_folder import CHANGES, RunFolder
from jsnn.train.state import TrainState
from jsnn.viz import plots


def main(
    config: Config,
    out: str | None = None,
    resume: RunFolder | None = None,
    where: Hosts = HERE,
    made: Setting | None = None,
) -> dict[str, Any]:
    """Train, evaluate once on test, write everything below the run folder; returns the result.

    Args:
        config: of the run.
        out: folder of the run; None: a new one.
        resume: folder of an earlier run to continue.
        where: devices and processes.
        made: a setting shared with other runs; the run then prints and draws nothing.

    Raises:
        Infeasible: the budget is below the spike-independent energy, or the trained network is
            above it.
        KeyboardInterrupt: Ctrl-C, with a line on what was saved.
    """
    started, devices = time.perf_counter(), where.take(config.batch)
    quiet = made is not None
    console = Console(highlight=False, soft_wrap=True, quiet=quiet or not devices.first)
    with contextlib.ExitStack() as held:
        checkpoints = None
        if resume is not None:
            resume = held.enter_context(hosts.taken(devices, resume))
            checkpoints = Checkpoints(resume.checkpoints)
            restored.check(resume, checkpoints, config.epochs)
        made = made or prepare(config, devices)
        begun = begin(config, made, devices)
        folder = held.enter_context(hosts.folder(devices, out, config.dataset, config, resume))
        checkpoints = checkpoints or Checkpoints(folder.checkpoints)
        kept = Kept(folder, checkpoints, config.checkpoint_seconds)
        try:
            result = _train(config, made, begun, kept, console, started, quiet)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                f"Stopped by Ctrl-C. {kept}. Continue with: {kept.command}"
            ) from stop
    if begun.budget_of_run is not None:
        begun.budget_of_run.check(result["budget"], folder.path)
    return result


def _train(
    config: Config,
    made: Setting,
    begun: Begun,
    kept: Kept,
    console: Console,
    started: float,
    quiet: bool,
) -> dict[str, Any]:
    folder, devices, first = kept.folder, made.devices, begun.first
    resumed = _resumed(made, begun, kept)
    rows = [] if resumed is None else resumed.rows
    for said in (folder.rewind(rows), folder.change_epochs(config.epochs, len(rows))):
        if said is not None:
            console.print(said, markup=False)
    changes = folder.content().get(CHANGES)
    _announce(config, made, begun, changes, console)
    steps = made.epoch_steps
    with (
        Progress(console, config.epochs * steps, len(rows) * steps) as progress,
        Asked(devices.alone and not quiet) as asked,
    ):
        watched = Watched(kept, progress, asked, config.epochs)
        try:
            run = fit_program(
                made,
                begun.start,
                config.epochs,
                seed=config.seed,
                select=config.select,
                callbacks=(watched,),
                resumed=resumed,
            )
        except Diverged as error:
            raise FloatingPointError(
                f"{error}. {kept}. Lower --learning-rate or --clip, or look at the inputs"
            ) from error
    # The test set is used here, once.
    tested, chosen, sums, result = finish(
        config, made, begun, run.best.state, run.best.epoch, run.rows, folder.path
    )
    result |= {"devices": devices.count, "platform": platform.platform(), "seconds": since(started)}
    if changes:
        result[CHANGES] = changes
    folder.write(folder.result, result)
    if not quiet and devices.first:
        _show(config, tested, first, chosen, sums, result, run.rows, folder, console)
        console.print(f"\n{since(started):.0f} s; everything is in {folder.path}")
    return result


def _resumed(made: Setting, begun: Begun, kept: Kept) -> Fitted | None:
    """The run as its checkpoint knows it, None without one."""
    if kept.checkpoints.latest() is None:
        return None
    like = without_terms(begun.state)
    saved, record = kept.checkpoints.restore({"state": like, "best": like})
    kept.folder.refuse_unlike(record["config"])
    kept.checkpoints.rewind(record["epoch"])
    kept.epoch = record["epoch"]
    state = dataclasses.replace(saved["state"], terms=begun.state.terms)
    best = Best(saved["best"], **record["best"])
    return Fitted(made, begun.start, state, best, record["rows"])


def _announce(
    config: Config, made: Setting, begun: Begun, changes: list | None, console: Console
) -> None:
    """Print what is trained, on what and how."""
    data = made.data
    if changes:
        console.print(
            f"The {config.schedule} schedule, the ramp of the energy and a budget's descent are "
            f"those of {config.epochs} epochs from epoch {changes[-1]['after'] + 1} on, so that "
            f"this is not the run that has {config.epochs} from the start."
        )
    limited = begun.budget_of_run
    aim = f"weight of the energy {config.energy_weight}" if limited is None else str(limited)
    console.print(
        f"[bold]{config.dataset}[/]: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test; {config.model} {sizes(made)} ({config.neuron}), "
        f"T = {len(made.shapes)}, {parameters(begun.state)} parameters; {aim}"
    )
    window, loop = made.window, made.loop
    console.print(f"window: {window.plan} ({window.reason}); loop: {loop.kind} ({loop.reason})")
    if data.timed:
        console.print(f"input: {made.input.frames} ({made.input.reason})")
    console.print(f"\nBefore training:\n{begun.first}\n", markup=False)


class Watched(Callback):
    """Metrics, progress and checkpoints of a run, which stops once Ctrl-C was pressed.

    Args:
        kept: its checkpoints.
        progress: its bar.
        asked: whether it shall stop.
        epochs: of the run.
    """

    def __init__(self, kept: Kept, progress: Progress, asked: Asked, epochs: int):
        self._kept, self._progress, self._asked, self._epochs = kept, progress, asked, epochs
        self._done = kept.epoch

    def steps(self, count: int) -> None:
        """Advance the bar; stop between two steps only if the epoch before is saved."""
        self._progress.step(count)
        if count == 1 and self._asked and self._kept.epoch == self._done:
            raise KeyboardInterrupt

    def epoch(self, run: Fitted) -> None:
        """Write and show the figures; save what is due, and stop if asked to."""
        row, kept = run.rows[-1], self._kept
        self._done = row["epoch"]
        kept.folder.append(row)
        self._progress.show(row)
        if self._done == self._epochs or self._asked or kept.due():
            best = run.best._replace(state=without_terms(run.best.state))
            kept.save(self._done, without_terms(run.state), best._asdict(), run.rows)
        if self._asked:
            raise KeyboardInterrupt


def _show(
    config, made: Setting, first, chosen: TrainState, sums, result, rows, folder, console
) -> None:
    """Draw the pictures and print the final lines."""
    parts_pj = np.asarray(sums["parts_pj"] / sums["samples"])[None]
    final = dataclasses.replace(first, parts_pj=parts_pj)
    plots.curves(rows, first.layers, folder.path / "curves.png")
    plots.breakdown(first.mean(), final, folder.path / "breakdown.png")
    frames = made.encoder(jax.random.key(0), made.data.test.frames[:1])
    trains = diagnosis.spike_trains(made.model, jax.device_get(chosen.variables), frames)
    plots.raster(trains, folder.path / "raster.png")
    chosen_by = "the last" if config.select == "last" else "chosen on validation"
    console.print(f"\nAfter training (epoch {result['chosen_epoch']}, {chosen_by}):\n{final}\n")
    said = (
        diagnosis.describe(result),
        windows.describe(result),
        pruned.lines(result.get("pruned")),
    )
    for line in itertools.chain(*said):
        console.print(line)


class Kept:
    """Checkpoints of a run, and when the next one is due.

    A checkpoint is due after the first epoch of a process, and whenever `seconds` have passed since
    the last or saving takes at most `SHARE` of the time: short runs are saved after nearly every
    epoch, none loses more than `seconds` and an epoch.

    Args:
        folder, checkpoints: of the run.
        seconds: between two checkpoints.

    Attributes:
        epoch: of the newest checkpoint, 0 if there is none.
    """

    SHARE = 0.05

    def __init__(self, folder: RunFolder, checkpoints: Checkpoints, seconds: float):
        self.folder, self.checkpoints, self._seconds = folder, checkpoints, seconds
        self.epoch, self._at, self._cost = 0, None, 0.0

    def __str__(self) -> str:
        epoch = self.checkpoints.latest()
        if epoch is None:
            return f"No checkpoint was in {self.folder.checkpoints} yet"
        return f"The checkpoint of epoch {epoch} in {self.folder.checkpoints} is whole"

    @property
    def command(self) -> str:
        """The command that continues the run."""
        return f"python -m experiments.train --resume {shlex.quote(str(self.folder.path))}"

    def due(self) -> bool:
        """Whether a checkpoint is due; of several processes the clock of the first one decides."""
        passed = np.inf if self._at is None else since(self._at)
        now = passed > self._seconds or self._cost <= self.SHARE * passed
        if jax.process_count() > 1:
            now = bool(multihost_utils.broadcast_one_to_all(np.asarray(now)))
        return now

    def save(
        self, epoch: int, state: TrainState, best: dict[str, Any], rows: list[dict[str, Any]]
    ) -> None:
        """Write a checkpoint.

        Args:
            epoch: the epoch that has ended.
            state: at its end.
            best: the chosen state, with its score, task and epoch.
            rows: metrics of all epochs.
        """
        began = time.perf_counter()
        self.folder.sync()
        scores = {name: value for name, value in best.items() if name != "state"}
        try:
            self.checkpoints.save(
                epoch,
                {"state": state, "best": best["state"]},
                restored.record(self.folder, epoch, scores, rows),
            )
        except (OSError, ValueError) as error:
            # tensorstore reports a full disk as a ValueError.
            reason = getattr(error, "strerror", None) or str(error)
            reason = reason.partition(" [tensorstore_spec")[0]
            raise OSError(
                getattr(error, "errno", None) or errno.EIO,
                f"checkpoint of epoch {epoch} could not be written ({reason}). {self}. Make room "
                f"and --resume {self.folder.path}",
            ) from error
        self.epoch, self._at = epoch, time.perf_counter()
        self._cost = self._at - began


class Asked:
    """Whether Ctrl-C asked the run to stop, which it does once its epoch is saved.

    A second Ctrl-C stops it at once.

    Args:
        wanted: whether to listen; Python listens in its main thread only, and a handler
            installed by other code stays.
    """

    def __init__(self, wanted: bool):
        main = threading.current_thread() is threading.main_thread()
        own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._listens, self._asked = wanted and main and own, False

    def __bool__(self) -> bool:
        return self._asked

    def __enter__(self) -> Asked:
        if self._listens:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, number, frame) -> None:
        if self._asked:
            signal.default_int_handler(number, frame)
        self._asked = True


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Call `main` with a command line."""
    flags = parse(Flags, argv, __doc__)
    out, resume, smoke = (flags.pop(name, None) for name in ("out", "resume", "smoke"))
    options = [field.name for field in dataclasses.fields(Hosts)]
    where = Hosts(**{name: flags.pop(name) for name in options if name in flags})
    if flags.pop("keep_memory", True):
        kept = keep_memory()
        if not kept.kept:
            print(f"freed memory goes back to the system: {kept.reason}")
    where.join()
    if flags.pop("compile_cache", True):
        keep_compiled()
    if resume is not None:
        if out is not None or smoke:
            raise ValueError("--resume takes everything from the run: leave --out and --smoke away")
        folder = RunFolder.existing(resume)
        with folder:
            if jax.process_index() == 0:
                folder.lock()
            config = stored_config(folder, Config, flags, free=("epochs",))
            return main(config, resume=folder, where=where)
    return main(configured(flags, smoke), out=out, where=where)


@dataclasses.dataclass(frozen=True)
class Flags(Hosts, Config):
    """Options of a run, where it is computed and where it is written."""

    out: str | None = option(None, "folder of the run; none: a new one below runs/")
    resume: str | None = option(None, "continue the run in this folder, bit for bit")
    smoke: bool = option(False, "two epochs on 256 samples: does it run at all?")
    compile_cache: bool = option(True, "keep compiled programs for the next run")
    keep_memory: bool = option(True, "keep freed memory in the process: faster steps on a CPU")


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        words = "Stopped by Ctrl-C before training began; no file was changed."
        print(stop if stop.args else words, file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
