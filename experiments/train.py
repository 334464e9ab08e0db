"""Train a spiking network against the energy of its inference.

    python -m experiments.train
    python -m experiments.train --dataset qtdb --energy-weight 0.05 --out runs/qtdb
    python -m experiments.train --resume runs/qtdb

The default run learns scikit-learn's digits. What a data set is trained with unless a flag says
otherwise stands in `experiments/recipes.py`; expected figures are in README.
"""

from __future__ import annotations

import dataclasses
import errno
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from rich.console import Console

import jsnn
from experiments import build, hosts, pace
from experiments.compiled import keep_compiled
from experiments.config import check, knob, parse
from experiments.hosts import HERE, Hosts
from experiments.progress import Progress
from experiments.recipes import RECIPES
from experiments.runfolder import RunFolder
from jsnn import data as data_sets
from jsnn import diagnose, plots
from jsnn.checkpoint import Checkpoints
from jsnn.objectives import TASKS, Objective
from jsnn.quantise import fake_quantise
from jsnn.run import forward
from jsnn.training import (
    TrainState,
    evaluate,
    init_state,
    initial_bill,
    label_params,
    make_epoch,
    make_eval_step,
    make_train_step,
    with_reference,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Every knob of a run. The defaults are those of digits; recipes change them by data set."""

    # what is learned
    dataset: str = knob("digits", "name of the data set")
    data_dir: str | None = knob(None, "folder that holds the data; none: JSNN_DATA")
    data_options: str = knob("", "options of the data set, as steps=25,binary=False")
    fold: int | None = knob(None, "test on this fold of the training samples instead", least=0)
    folds: int = knob(5, "how many folds there are", least=2)
    split_seed: int = knob(0, "seed of splits that are not published", least=0)
    refit: bool = knob(
        False, "train on the validation samples too, when all else is chosen; needs --select last"
    )
    limit: int | None = knob(None, "use at most this many samples of each split", least=1)
    task: str = knob("cross-entropy", "loss: cross-entropy, every-step or tet")
    # the network
    model: str = knob("mlp", "mlp, conv, srnn or spikformer")
    widths: tuple[int, ...] = knob((256, 256), "neurons (channels) of each hidden layer")
    hidden: int = knob(0, "conv: width of a dense layer before the readout", least=0)
    neuron: str = knob("lif", "law of the hidden neurons")
    tau_steps: float = knob(10.0, "membrane time constant, in steps", above=0)
    reset: str = knob("subtract", "reset: subtract, zero or none")
    detach_reset: bool = knob(False, "no gradient through the reset")
    surrogate: str | None = knob(None, "surrogate gradient; none: the neuron's own")
    readout: str = knob("mean-membrane", "how the output membranes become logits")
    readout_tau_steps: float = knob(2.0, "time constant of the readout, in steps", above=0)
    readout_gain: float = knob(5.0, "factor on the membranes of the readout")
    gain: float = knob(2.0, "mlp: variance of the first weights x fan-in", above=0)
    norm: bool = knob(False, "mlp: batch norm over time and batch")
    use_bias: bool = knob(True, "srnn: biases")
    recurrent_init: str = knob("orthogonal", "srnn: recurrent weights, orthogonal or xavier")
    dropout: float = knob(0.0, "share of hidden spikes dropped in training", least=0, below=1)
    input_dropout: float = knob(0.0, "mlp: share of inputs dropped in training", least=0, below=1)
    encoder: str = knob("direct", "how samples become frames")
    steps: int = knob(6, "time steps T of still samples", least=1)
    delta_threshold: float = knob(0.1, "delta: distance of two levels of the signal", above=0)
    shift: int = knob(0, "images: move training samples by up to so many pixels", least=0)
    # what it is trained against
    hardware: str = knob("neuromorphic-22nm", "machine that the bill is priced on")
    input_bits: int | None = knob(
        None, "width of a real-valued input word; none: the data's own", least=1
    )
    energy_weight: float = knob(0.25, "weight of bill / bill at initialisation", least=0)
    energy_ramp: float = knob(0.5, "share of training in which that weight rises", least=0, below=1)
    living_weight: float = knob(1.0, "weight of the term that keeps layers alive", least=0)
    # how
    seed: int = knob(0, "seed of weights, batches and encoders", least=0)
    epochs: int = knob(100, "passes over the training samples", least=1)
    batch: int = knob(32, "samples of a step", least=1)
    learning_rate: float = knob(2e-3, "peak learning rate of the weights", above=0)
    warmup_epochs: float = knob(1.0, "epochs of linear warm-up", least=0)
    schedule: str = knob("cosine", "cosine, linear or constant")
    weight_decay: float = knob(1e-2, "of AdamW, on weights", least=0)
    clip: float = knob(1.0, "global norm that gradients are clipped to", above=0)
    time_constant_scale: float = knob(
        0.0, "learning rate of time constants (in steps) / of weights", least=0
    )
    threshold_scale: float = knob(0.0, "learning rate of thresholds / that of weights", least=0)
    select: str = knob("best", "epoch that is tested: best on validation, or last")
    checkpoint_seconds: float = knob(20.0, "at least this long between two checkpoints", least=0)
    # how it is computed: time and memory, not results
    plan: str = knob("auto", "the time window: auto, whole, or chunked:STEPS for long ones")
    loop: str = knob("auto", "calls: auto, epoch (one each), step, or host (the set stays there)")
    precision: str = knob("f32", "operands of matrix products, f32 or bf16; this one does change")

    def __post_init__(self):
        check(self)
        if self.select not in ("best", "last"):
            raise ValueError(f"--select must be best or last, got {self.select!r}")
        if self.refit and self.select != "last":
            raise ValueError(
                "--refit leaves no samples to choose an epoch by: it needs --select last"
            )
        if not self.warmup_epochs < self.epochs:
            raise ValueError(
                f"--warmup-epochs must be less than --epochs, got {self.warmup_epochs} of "
                f"{self.epochs}"
            )


def main(
    config: Config,
    out: str | None = None,
    resume: RunFolder | None = None,
    where: Hosts = HERE,
) -> dict[str, Any]:
    """Train, evaluate once on test, write everything below the run folder; returns the result."""
    started, devices = time.perf_counter(), where.take(config.batch)
    console = Console(highlight=False, soft_wrap=True, quiet=not devices.first)

    # ---- data, network, objective ---------------------------------------------------------------
    build.check_names(config)
    data = build.dataset(config)
    hardware = build.hardware(config, data)
    if config.batch > len(data.train):
        raise ValueError(
            f"--batch must lie in 1 to {len(data.train)}, the training samples of "
            f"{config.dataset}, got {config.batch}"
        )
    encoder = build.encoder(config, data)
    model = build.network(config, data, encoder.input_kind)
    epoch_steps = len(data.train) // config.batch
    objective = Objective(
        config.task,
        hardware,
        config.energy_weight,
        living_weight=config.living_weight,
        ramp_steps=int(config.energy_ramp * config.epochs * epoch_steps),
    )
    optimiser = build.optimiser(config, data)
    augmented = data_sets.Shifted(encoder, config.shift) if config.shift else encoder
    train = (data.train.frames, data.train.labels)
    validation = (data.validation.frames, data.validation.labels)
    devices.agree("data set", [(part.frames, part.labels) for part in data.splits.values()])

    # ---- start, or go on where the run stopped ---------------------------------------------------
    sample = jax.random.permutation(jax.random.key(config.seed), len(data.train))[:256]
    shapes = encoder(jax.random.key(0), train[0][:1])
    state = init_state(model, optimiser, shapes, config.seed)
    first = initial_bill(state, model, objective, encoder, train[0][np.asarray(sample)])
    state = with_reference(state, first)
    traced = jax.eval_shape(lambda: _workload(model, state, shapes, config.task, train[1][:1]))
    window = pace.window(config.plan, traced, config.batch, "batch_stats" in state.collections)
    loop = _loop(config, traced, train)
    make = make_epoch if loop.kind == "epoch" else make_train_step
    advance = devices.training(make(model, objective, optimiser, augmented, plan=window.plan))
    eval_step = make_eval_step(model, objective, encoder, plan=window.plan)
    eval_step = devices.evaluation(eval_step)
    if loop.kind != "host":
        train = devices.replicate(train)
    devices.agree("first state", state)
    state = devices.replicate(state)
    best = {"state": state, "score": -np.inf, "task": np.inf, "epoch": 0}
    folder = hosts.folder(devices, out, config.dataset, config, resume)
    checkpoints = Checkpoints(folder.checkpoints)
    epoch = 0
    if resume and checkpoints.latest() is not None:
        saved, record = checkpoints.restore({"state": state, "best": state})
        state, best = saved["state"], {**record["best"], "state": saved["best"]}
        epoch = record["epoch"]
    folder.rewind(epoch)
    sizes = "-".join(str(layer.geometry.inputs) for layer in traced) + f"-{data.classes}"
    console.print(
        f"[bold]{config.dataset}[/]: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test; {config.model} {sizes} ({config.neuron}), T = {len(shapes)}, "
        f"{_parameters(state)} parameters; weight of the energy {config.energy_weight}"
    )
    console.print(f"window: {window.plan} ({window.reason}); loop: {loop.kind} ({loop.reason})")
    console.print(f"\nBefore training:\n{first}\n", markup=False)

    # ---- the loop --------------------------------------------------------------------------------
    saved_at = time.perf_counter()
    with Progress(console, config.epochs * epoch_steps, epoch * epoch_steps) as progress:
        while epoch < config.epochs:
            epoch += 1
            order = np.random.default_rng((config.seed, epoch)).permutation(len(data.train))
            order = order[: epoch_steps * config.batch].reshape(epoch_steps, config.batch)
            state, terms = _epoch(loop.kind, advance, state, train, order, progress)
            _stop_if_not_finite(terms, (epoch - 1) * epoch_steps, checkpoints, folder)

            sums = evaluate(
                eval_step, state.variables, validation, config.batch, jax.random.key(config.seed)
            )
            row = {"epoch": epoch, **_means(terms, sums, first), "seconds": _since(started)}
            _stop_if_not_finite_after(row, checkpoints, folder)
            folder.append(row)
            progress.show(row)
            # The same trade as in the loss, with accuracy in place of the task's loss.
            relative = row["validation_pj"] / float(state.reference_pj)
            score = row["validation_accuracy"] - config.energy_weight * relative
            better = (score, -row["validation_task"]) > (best["score"], -best["task"])
            if better or config.select == "last":
                # The step donates its state, so the best one needs buffers of its own.
                copied = jax.tree.map(lambda leaf: leaf.copy(), state)
                best = {
                    "state": copied,
                    "score": score,
                    "task": row["validation_task"],
                    "epoch": epoch,
                }
            if epoch == config.epochs or _since(saved_at) > config.checkpoint_seconds:
                record = {"epoch": epoch, "best": {k: v for k, v in best.items() if k != "state"}}
                _save(checkpoints, epoch, {"state": state, "best": best["state"]}, record, folder)
                saved_at = time.perf_counter()
    checkpoints.close()

    # ---- test, once ------------------------------------------------------------------------------
    chosen: TrainState = best["state"]
    test = (data.test.frames, data.test.labels)
    test_key = jax.random.key(config.seed + 1)
    sums = evaluate(eval_step, chosen.variables, test, config.batch, test_key)
    measured = _summary(sums, first)
    bits = int(hardware.design.weight_bits or 32)
    rounded = evaluate(eval_step, _at_bits(chosen, bits).variables, test, config.batch, test_key)
    spiking = [layer.geometry.spiking for layer in traced]
    silent = diagnose.silent_layers(first.layers, sums["ever"], spiking)
    result = {
        "config": dataclasses.asdict(config),
        "chosen_epoch": best["epoch"],
        # Of samples that were trained on it would say nothing.
        "validation_accuracy": None
        if config.refit
        else folder.rows()[best["epoch"] - 1]["validation_accuracy"],
        "test_accuracy": measured["accuracy"],
        "test_accuracy_at_weight_bits": {
            "weight_bits": bits,
            "accuracy": rounded["accuracy"] / rounded["samples"],
        },
        "test_majority": data.test.majority,
        "initial_pj": float(state.reference_pj),
        **{name: value for name, value in measured.items() if name != "accuracy"},
        "silent_layers": silent,
        "steps": len(shapes),
        "network": f"{config.model} {sizes} {config.neuron}",
        "layers": list(first.layers),
        "parameters": _parameters(state),
        "constants": list(first.marks),
        "unpriced": dict(first.unpriced),
        "data_notes": data.notes,
        "versions": _versions(),
        "device": jax.devices()[0].device_kind,
        "devices": devices.count,
        "platform": platform.platform(),
        "seconds": _since(started),
    }
    folder.write(folder.result, result)
    if not devices.first:
        return result

    # ---- show ------------------------------------------------------------------------------------
    final = dataclasses.replace(
        first, parts_pj=np.asarray(sums["parts_pj"] / sums["samples"])[None]
    )
    plots.curves(folder.rows(), first.layers, folder.path / "curves.png")
    plots.breakdown(first.mean(), final, folder.path / "breakdown.png")
    frames = encoder(jax.random.key(0), test[0][:1])
    trains = diagnose.spike_trains(model, jax.device_get(chosen.variables), frames)
    plots.raster(trains, folder.path / "raster.png")
    chosen_by = "the last" if config.select == "last" else "chosen on validation"
    console.print(f"\nAfter training (epoch {best['epoch']}, {chosen_by}):\n{final}\n")
    for line in diagnose.describe(result):
        console.print(line)
    console.print(f"\n{_since(started):.0f} s; everything is in {folder.path}")
    return result


def _loop(config: Config, workload: jsnn.Workload, train) -> pace.Loop:
    device, size = jax.local_devices()[0], sum(array.nbytes for array in train)
    room = pace.room_of(device)
    return pace.loop(config.loop, workload, config.batch, size, device.platform, room)


def _epoch(kind: str, advance, state: TrainState, train, order: np.ndarray, progress: Progress):
    """State after the steps of an epoch, and the terms of each."""
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
    return state, jax.tree.map(np.asarray, jax.device_get(terms))


def _workload(model, state: TrainState, frames, task: str, labels) -> jsnn.Workload:
    """What a pass records; ValueError if its outputs do not fit the task."""
    passed = forward(model, state.variables, frames)
    TASKS[task](passed.outputs, labels)
    return passed.workload


def _means(terms: list[dict], sums: dict, first: jsnn.Bill) -> dict[str, Any]:
    """One row of metrics: training terms averaged over the epoch, validation over its set."""
    names = ("loss", "task", "energy", "silence", "accuracy")
    trained = {f"train_{name}": float(np.mean([term[name] for term in terms])) for name in names}
    measured = _summary(sums, first)
    return {
        **trained,
        "train_pj": float(np.mean([term["total_pj"] for term in terms])),
        "validation_task": float(sums["task"] / sums["samples"]),
        "validation_accuracy": measured["accuracy"],
        "validation_pj": measured["total_pj"],
        "validation_floor_pj": measured["floor_pj"],
        "spikes": measured["spikes"],
    }


def _summary(sums: dict, first: jsnn.Bill) -> dict[str, Any]:
    """Means of an evaluated set, as JSON."""
    count = float(sums["samples"])
    parts = sums["parts_pj"] / count
    total, floor, twin = float(parts.sum()), sums["floor_pj"] / count, sums["twin_pj"] / count
    return {
        "accuracy": float(sums["accuracy"] / count),
        "total_pj": total,
        "floor_pj": float(floor),
        "avoidable_pj": float(total - floor),
        "twin_pj": float(twin),
        "ratio_to_twin": float(total / twin),
        "op_count_pj": float(sums["op_count_pj"] / count),
        "bill_pj": {
            layer: dict(zip(first.components, row, strict=True))
            for layer, row in zip(first.layers, parts.tolist(), strict=True)
        },
        "spikes": (sums["spikes"] / count).tolist(),
        "spike_rates": (sums["rates"] / count).tolist(),
    }


def _stop_if_not_finite(
    terms: list[dict], before: int, checkpoints: Checkpoints, folder: RunFolder
) -> None:
    for number, term in enumerate(terms, before + 1):
        if not term["finite"]:
            named = [n for n in ("task", "energy", "silence") if not np.isfinite(term[n])]
            raise FloatingPointError(
                f"step {number}: {' and '.join(named) or 'the gradient'} is not finite. "
                f"{_kept(checkpoints, folder)}. Lower --learning-rate or --clip, or look at the "
                "inputs"
            )


def _stop_if_not_finite_after(row: dict, checkpoints: Checkpoints, folder: RunFolder) -> None:
    named = [n for n in ("task", "pj") if not np.isfinite(row[f"validation_{n}"])]
    if named:
        raise FloatingPointError(
            f"epoch {row['epoch']}: {' and '.join(named)} of the validation set is not finite. "
            f"{_kept(checkpoints, folder)}. Lower --learning-rate or --clip, or look at the inputs"
        )


def _kept(checkpoints: Checkpoints, folder: RunFolder) -> str:
    epoch = checkpoints.latest()
    if epoch is None:
        return f"No checkpoint was in {folder.checkpoints} yet"
    return f"The checkpoint of epoch {epoch} in {folder.checkpoints} is whole"


def _save(checkpoints: Checkpoints, epoch: int, tree: Any, record: dict, folder: RunFolder) -> None:
    try:
        checkpoints.save(epoch, tree, record)
    except (OSError, ValueError) as error:
        # tensorstore reports a full disk as a ValueError.
        reason = getattr(error, "strerror", None) or str(error).partition(" [tensorstore_spec")[0]
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"checkpoint of epoch {epoch} could not be written ({reason}). "
            f"{_kept(checkpoints, folder)}. Make room and --resume {folder.path}",
        ) from error


def _at_bits(state: TrainState, bits: int) -> TrainState:
    """The network with its weights rounded to the width that the bill is priced at."""
    labels = label_params(state.params)
    rounded = jax.tree.map(
        lambda leaf, label: fake_quantise(leaf, bits) if label == "weights" else leaf,
        state.params,
        labels,
    )
    return dataclasses.replace(state, params=rounded)


def _parameters(state: TrainState) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def _since(moment: float) -> float:
    return round(time.perf_counter() - moment, 3)


def _versions() -> dict[str, str]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "python": platform.python_version(),
        "jsnn": jsnn.__version__,
        **{name: metadata.version(name) for name in packages},
    }


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """`main` with a command line."""
    flags = parse(Flags, argv, __doc__)
    out, resume, smoke = (flags.pop(name, None) for name in ("out", "resume", "smoke"))
    knobs = [field.name for field in dataclasses.fields(Hosts)]
    where = Hosts(**{name: flags.pop(name) for name in knobs if name in flags})
    where.join()
    if flags.pop("compile_cache", True):
        keep_compiled()
    if resume is not None:
        if out is not None or smoke:
            raise ValueError("--resume takes everything from the run: leave --out and --smoke away")
        folder = RunFolder.existing(resume)
        knobs = [field.name for field in dataclasses.fields(Config)]
        stored = folder.stored_config(flags, knobs)
        stored["widths"] = tuple(stored["widths"])
        return main(Config(**stored), resume=folder, where=where)
    recipe = RECIPES.get(flags.get("dataset", Config.dataset), {})
    short = {"epochs": 2, "limit": 256} if smoke else {}
    return main(Config(**recipe | short | flags), out=out, where=where)


@dataclasses.dataclass(frozen=True)
class Flags(Hosts, Config):
    """The knobs of a run, where it is computed and where it goes."""

    out: str | None = knob(None, "folder of the run; none: a new one below runs/")
    resume: str | None = knob(None, "go on with the run in this folder, bit for bit")
    smoke: bool = knob(False, "two epochs on 256 samples: does it run at all?")
    compile_cache: bool = knob(True, "keep compiled programs for the next run")


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
