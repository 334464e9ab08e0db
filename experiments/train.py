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
import itertools
import platform
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments import hosts, pruned, windows
from experiments.compiled import keep_compiled
from experiments.config import option, parse, stored_config
from experiments.finish import finish, sizes
from experiments.hosts import HERE, Hosts
from experiments.memory import keep_memory
from experiments.runconfig import Config, configured
from experiments.setting import Begun, Setting, begin, prepare
from experiments.summary import parameters, since
from jsnn.train import Diverged, Progress, Saving, diagnosis, fit_program
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.run_folder import CHANGES, RunFolder
from jsnn.train.saving import check_config
from jsnn.train.state import TrainState
from jsnn.viz import plots


def main(
    config: Config,
    out: str | None = None,
    resume: RunFolder | None = None,
    where: Hosts = HERE,
    setting: Setting | None = None,
) -> dict[str, Any]:
    """Train, evaluate once on test, write everything below the run folder; returns the result.

    Args:
        config: of the run.
        out: folder of the run; None: a new one.
        resume: folder of an earlier run to continue.
        where: devices and processes.
        setting: a setting shared with other runs; the run then prints and draws nothing.

    Raises:
        Infeasible: the budget is below the spike-independent energy, or the trained network is
            above it.
        KeyboardInterrupt: Ctrl-C, with a line on what was saved.
    """
    started, devices = time.perf_counter(), where.take(config.batch)
    quiet = setting is not None
    console = Console(highlight=False, soft_wrap=True, quiet=quiet or not devices.first)
    with contextlib.ExitStack() as held:
        checkpoints = None
        if resume is not None:
            resume = held.enter_context(hosts.taken(devices, resume))
            checkpoints = Checkpoints(resume.checkpoints)
            check_config(resume, checkpoints, config.epochs)
        setting = setting or prepare(config, devices)
        begun = begin(config, setting, devices)
        folder = held.enter_context(hosts.folder(devices, out, config.dataset, config, resume))
        saving = Saving(
            folder,
            config.checkpoint_seconds,
            listen=devices.alone and not quiet,
            checkpoints=checkpoints,
        )
        try:
            result = _train(config, setting, begun, saving, console, started, quiet)
        except KeyboardInterrupt as stop:
            command = f"python -m experiments.train --resume {shlex.quote(str(folder.path))}"
            raise KeyboardInterrupt(
                f"Stopped by Ctrl-C. {saving}. Continue with: {command}"
            ) from stop
    if begun.budget_of_run is not None:
        begun.budget_of_run.check(result["budget"], folder.path)
    return result


def _train(
    config: Config,
    setting: Setting,
    begun: Begun,
    saving: Saving,
    console: Console,
    started: float,
    quiet: bool,
) -> dict[str, Any]:
    folder, devices, first = saving.folder, setting.devices, begun.first
    resumed = saving.resumed(setting, begun.start)
    done = 0 if resumed is None else len(resumed.rows)
    for said in (saving.note, folder.change_epochs(config.epochs, done)):
        if said is not None:
            console.print(said, markup=False)
    changes = folder.content().get(CHANGES)
    _announce(config, setting, begun, changes, console)
    with Progress(console) as progress, saving:
        try:
            run = fit_program(
                setting,
                begun.start,
                config.epochs,
                seed=config.seed,
                select=config.select,
                callbacks=(progress, saving),
                resumed=resumed,
            )
        except Diverged as error:
            raise FloatingPointError(
                f"{error}. {saving}. Lower --learning-rate or --clip, or look at the inputs"
            ) from error
    # The test set is used here, once.
    tested, chosen, sums, result = finish(
        config, setting, begun, run.best.state, run.best.epoch, run.rows, folder.path
    )
    result |= {"devices": devices.count, "platform": platform.platform(), "seconds": since(started)}
    if changes:
        result[CHANGES] = changes
    folder.write(folder.result, result)
    if not quiet and devices.first:
        _show(config, tested, first, chosen, sums, result, run.rows, folder, console)
        console.print(f"\n{since(started):.0f} s; everything is in {folder.path}")
    return result


def _announce(
    config: Config, setting: Setting, begun: Begun, changes: list | None, console: Console
) -> None:
    """Print what is trained, on what and how."""
    data = setting.data
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
        f"{len(data.test)} test; {config.model} {sizes(setting)} ({config.neuron}), "
        f"T = {len(setting.shapes)}, {parameters(begun.state)} parameters; {aim}"
    )
    window, loop = setting.window, setting.loop
    console.print(f"window: {window.plan} ({window.reason}); loop: {loop.kind} ({loop.reason})")
    if data.timed:
        console.print(f"input: {setting.input.frames} ({setting.input.reason})")
    console.print(f"\nBefore training:\n{begun.first}\n", markup=False)


def _show(
    config, setting: Setting, first, chosen: TrainState, sums, result, rows, folder, console
) -> None:
    """Draw the pictures and print the final lines."""
    parts_pj = np.asarray(sums["parts_pj"] / sums["samples"])[None]
    final = dataclasses.replace(first, parts_pj=parts_pj)
    plots.curves(rows, first.layers, folder.path / "curves.png")
    plots.breakdown(first.mean(), final, folder.path / "breakdown.png")
    frames = setting.encoder(jax.random.key(0), setting.data.test.frames[:1])
    trains = diagnosis.spike_trains(setting.model, jax.device_get(chosen.variables), frames)
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
