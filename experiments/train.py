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
from experiments.config import option, parse
from experiments.finish import finish, score_of, sizes
from experiments.hosts import HERE, Hosts
from experiments.memory import keep_memory
from experiments.progress import Progress
from experiments.runconfig import Config, configured
from experiments.runfolder import CHANGES, RunFolder
from experiments.setting import Begun, Setting, begin, prepare, without_terms
from experiments.summary import means, parameters, since
from jsnn.train import diagnosis
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.evaluation import evaluate
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
    # ---- start, or continue where the run stopped ------------------------------------------------
    (state, first, budget_of_run), folder, devices = begun, kept.folder, made.devices
    data, epoch_steps = made.data, made.epoch_steps
    numbers = state.terms
    best = {"state": state, "score": -np.inf, "task": np.inf, "epoch": 0}
    epoch, rows = 0, []
    if kept.checkpoints.latest() is not None:
        like = without_terms(state)
        saved, record = kept.checkpoints.restore({"state": like, "best": like})
        folder.refuse_unlike(record["config"])
        kept.checkpoints.rewind(record["epoch"])
        state = dataclasses.replace(saved["state"], terms=numbers)
        best = {**record["best"], "state": saved["best"]}
        epoch, rows = record["epoch"], record["rows"]
        kept.epoch = epoch
    for said in (folder.rewind(rows), folder.change_epochs(config.epochs, epoch)):
        if said is not None:
            console.print(said, markup=False)
    changes = folder.content().get(CHANGES)
    if changes:
        console.print(
            f"The {config.schedule} schedule, the ramp of the energy and a budget's descent are "
            f"those of {config.epochs} epochs from epoch {changes[-1]['after'] + 1} on, so that "
            f"this is not the run that has {config.epochs} from the start."
        )
    aim = (
        f"weight of the energy {config.energy_weight}"
        if budget_of_run is None
        else str(budget_of_run)
    )
    console.print(
        f"[bold]{config.dataset}[/]: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test; {config.model} {sizes(made)} ({config.neuron}), "
        f"T = {len(made.shapes)}, {parameters(state)} parameters; {aim}"
    )
    window, loop = made.window, made.loop
    console.print(f"window: {window.plan} ({window.reason}); loop: {loop.kind} ({loop.reason})")
    if data.timed:
        console.print(f"input: {made.input.frames} ({made.input.reason})")
    console.print(f"\nBefore training:\n{first}\n", markup=False)

    # ---- the loop --------------------------------------------------------------------------------
    with (
        Progress(console, config.epochs * epoch_steps, epoch * epoch_steps) as progress,
        Asked(devices.alone and not quiet) as asked,
    ):
        while epoch < config.epochs:
            epoch += 1
            order = draw_order(config, epoch, len(data.train), epoch_steps)
            # Stop between two steps only if the epoch before is saved.
            stop = asked if kept.epoch == epoch - 1 else None
            state, terms = _epoch(loop.kind, made.advance, state, made.train, order, progress, stop)
            _stop_if_not_finite(terms, (epoch - 1) * epoch_steps, kept)

            sums = _evaluated(made, state, config, epoch, kept)
            row = {"epoch": epoch, **means(terms, sums, first), "seconds": since(started)}
            _stop_if_not_finite_after(row, kept)
            folder.append(row)
            rows.append(row)
            progress.show(row)
            score = score_of(config, row, sums, begun)
            better = (score, -row["validation_task"]) > (best["score"], -best["task"])
            if better or config.select == "last":
                # The step donates its state, so the best one needs buffers of its own.
                copied = jax.tree.map(lambda leaf: leaf.copy(), without_terms(state))
                best = {
                    "state": copied,
                    "score": score,
                    "task": row["validation_task"],
                    "epoch": epoch,
                }
            if epoch == config.epochs or asked or kept.due():
                kept.save(epoch, without_terms(state), best, rows)
            if asked:
                raise KeyboardInterrupt

    # ---- test, once; show ------------------------------------------------------------------------
    tested, chosen, sums, result = finish(
        config,
        made,
        Begun(state, first, budget_of_run),
        best["state"],
        best["epoch"],
        rows,
        folder.path,
    )
    result |= {"devices": devices.count, "platform": platform.platform(), "seconds": since(started)}
    if changes:
        result[CHANGES] = changes
    folder.write(folder.result, result)
    if not quiet and devices.first:
        _show(config, tested, first, chosen, sums, result, rows, folder, console)
        console.print(f"\n{since(started):.0f} s; everything is in {folder.path}")
    return result


def draw_order(config: Config, epoch: int, samples: int, steps: int) -> np.ndarray:
    """The samples of each step of an epoch, `[steps, batch]`."""
    order = np.random.default_rng((config.seed, epoch)).permutation(samples)
    return order[: steps * config.batch].reshape(steps, config.batch)


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


def _epoch(
    kind: str, advance, state: TrainState, train, order: np.ndarray, progress: Progress, stop: Asked
):
    """State after the steps of an epoch, and the terms of each; broken off if `stop` says so."""
    if kind == "epoch":
        state, terms = advance(state, train, order)
        terms = jax.tree.map(np.asarray, jax.device_get(terms))
        progress.step(len(order))
        return state, [{name: rows[n] for name, rows in terms.items()} for n in range(len(order))]
    terms = []
    for index in order:
        given = train
        if kind == "host":
            given, index = (train[0][index], train[1][index]), None
        state, term = advance(state, given, index)
        terms.append(term)
        progress.step()
        if stop:
            raise KeyboardInterrupt
    return state, jax.tree.map(np.asarray, jax.device_get(terms))


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


def _stop_if_not_finite(terms: list[dict], before: int, kept: Kept) -> None:
    for number, term in enumerate(terms, before + 1):
        if not term["finite"]:
            names = ("task", "total_pj", "energy", "dead_neurons")
            named = [n for n in names if not np.isfinite(term.get(n, 0.0))]
            raise FloatingPointError(
                f"step {number}: {' and '.join(named) or 'the gradient'} is not finite. "
                f"{kept}. Lower --learning-rate or --clip, or look at the inputs"
            )


def _evaluated(
    made: Setting, state: TrainState, config: Config, epoch: int, kept: Kept
) -> dict[str, Any]:
    """Sums over the validation set, evaluated."""
    key = jax.random.key(config.seed)
    try:
        return evaluate(made.eval_step, state.variables, made.validation, config.batch, key)
    except FloatingPointError as error:
        raise FloatingPointError(f"epoch {epoch}: {error}. {kept}") from error


def _stop_if_not_finite_after(row: dict, kept: Kept) -> None:
    named = [n for n in ("task", "pj") if not np.isfinite(row[f"validation_{n}"])]
    if named:
        raise FloatingPointError(
            f"epoch {row['epoch']}: {' and '.join(named)} of the validation set is not finite. "
            f"{kept}. Lower --learning-rate or --clip, or look at the inputs"
        )


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
            config = folder.stored_config(Config, flags, free=("epochs",))
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
