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
import itertools
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import jsnn
from experiments import build, holding, hosts, inputs, integers, pace, pruned, restored, windows
from experiments.build import BUDGETS, limits
from experiments.compiled import keep_compiled
from experiments.config import check, knob, parse
from experiments.hosts import HERE, Hosts
from experiments.memory import keep_memory
from experiments.progress import Progress
from experiments.recipes import RECIPES
from experiments.runfolder import RunFolder
from experiments.summary import at_bits, means, parameters, since, summary, versions
from jsnn import data as data_sets
from jsnn import diagnose, plots
from jsnn.checkpoint import Checkpoints
from jsnn.devices import Devices
from jsnn.hardware import Hardware
from jsnn.levers import Lever, Levered
from jsnn.objectives import TASKS, Objective
from jsnn.run import forward
from jsnn.timeplan import Choice
from jsnn.training import (
    TrainState,
    evaluate,
    init_state,
    initial_bill,
    make_epoch,
    make_eval_step,
    make_train_step,
    with_reference,
)

# At a living weight of 1 a network of digits stayed 5 % above its 41 nJ and lost 2 points. In the
# last epoch the limit has come down and the network has settled at it.
UNDER_A_BUDGET = {"energy_weight": 0.0, "living_weight": 0.1, "select": "last"}


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
    window: str | None = knob(
        None, "steps that are run: none (all), a number, learned, or LOW:HIGH to learn within"
    )
    early_exit: str | None = knob(
        None, "stop each sample of the test once sure by this rule: softmax, entropy, margin or gap"
    )
    exit_loss: float = knob(0.0, "validation accuracy that early exit may lose", least=0, below=1)
    shift: int = knob(0, "images: move training samples by up to so many pixels", least=0)
    # what it is trained against
    hardware: str = knob("neuromorphic-22nm", "machine that the bill is priced on")
    input_bits: int | None = knob(
        None, "width of a real-valued input word; none: the data's own", least=1
    )
    energy_weight: float = knob(0.25, "weight of bill / bill at initialisation", least=0)
    energy_ramp: float = knob(0.5, "share of training in which that weight rises", least=0, below=1)
    living_weight: float = knob(1.0, "weight of the term that keeps layers alive", least=0)
    energy_budget: str | None = knob(None, "most an inference may burn on average, as 40nJ")
    latency_budget: str | None = knob(None, "most it may take on average, as 1ms")
    memory_budget: str | None = knob(None, "most that weights and states may occupy, as 64KiB")
    area_budget: str | None = knob(None, "most that the machine's memories may take, as 2mm2")
    prune: str = knob("none", "what the bill may take away: none, units or weights")
    prune_rate: float | None = knob(
        None, "learning rate of gates or thresholds / of weights; none: 10 or 3", least=0
    )
    # what is trained beside the weights
    weight_bits: str | None = knob(
        None, "bits of weights and decays: a number, learned by layer, or none (float)"
    )
    state_bits: str | None = knob(
        None, "bits of membranes and biases (lif, if): a number, learned by layer, or none (float)"
    )
    bits_scale: float = knob(
        5.0, "learning rate of bits and of ranges (log2) / that of weights", least=0
    )
    # how
    warm_start: str | None = knob(None, "folder of a run whose network to start from")
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
    window_scale: float = knob(5.0, "learning rate of a learned window / that of weights", least=0)
    select: str = knob("best", "epoch that is tested: best on validation, or last")
    checkpoint_seconds: float = knob(20.0, "at least this long between two checkpoints", least=0)
    # how it is computed: time and memory, not results
    plan: str = knob("auto", "the time window: auto, whole, or chunked:STEPS for long ones")
    input: str = knob("dense", "recorded events: dense, events (lists), or auto; changes rounding")
    loop: str = knob("auto", "calls: auto, epoch (one each), step, or host (the set stays there)")
    precision: str = knob("f32", "operands of matrix products, f32 or bf16; this one does change")

    def __post_init__(self):
        check(self)
        windows.check(self)
        if self.refit and self.early_exit is not None:
            raise ValueError("--refit leaves no samples to choose the threshold of --early-exit by")
        if self.select not in ("best", "last"):
            raise ValueError(f"--select must be best or last, got {self.select!r}")
        if self.refit and self.select != "last":
            raise ValueError(
                "--refit leaves no samples to choose an epoch by: it needs --select last"
            )
        if limits(self) and self.energy_weight:
            raise ValueError(
                "a budget takes the place of --energy-weight: leave one of them away, got "
                f"--energy-weight {self.energy_weight}"
            )
        if not self.warmup_epochs < self.epochs:
            raise ValueError(
                f"--warmup-epochs must be less than --epochs, got {self.warmup_epochs} of "
                f"{self.epochs}"
            )


class Setting(NamedTuple):
    """What runs of one config share, whatever their seeds, weights and budgets: compiled once.

    Attributes:
        devices: that it runs on.
        data, hardware, encoder, network, levers: of the config.
        model: the network with its levers.
        objective, optimiser: of the config.
        epoch_steps: optimiser steps of an epoch.
        shapes: one encoded sample.
        traced: shapes of a workload.
        window, loop: how steps are carried out (`experiments.pace`).
        input: dense frames or lists of events.
        given: frames of every split in that form.
        train: training samples where its loop wants them.
        advance: an epoch or a step.
        eval_step: of `jsnn.training.make_eval_step`.
    """

    devices: Devices
    data: data_sets.Dataset
    hardware: Hardware
    encoder: Any
    network: nn.Module
    levers: tuple[Lever, ...]
    model: nn.Module | Levered
    objective: Objective
    optimiser: optax.GradientTransformation
    epoch_steps: int
    shapes: jax.Array
    traced: jsnn.Workload
    window: Choice
    loop: pace.Loop
    input: inputs.Choice
    given: Mapping[str, Any]
    train: tuple
    advance: Callable
    eval_step: Callable

    @property
    def validation(self) -> tuple:
        """Frames and labels."""
        return self.given["validation"], self.data.validation.labels

    @property
    def test(self) -> tuple:
        """Frames and labels."""
        return self.given["test"], self.data.test.labels


class Begun(NamedTuple):
    """A run before its first step.

    Attributes:
        state: of the run, with its goal.
        first: bill of the untrained network.
        hold: what a budget asks for, None without one.
    """

    state: TrainState
    first: jsnn.Bill
    hold: holding.Hold | None


def program(config: Config) -> tuple:
    """What runs must have in common to share a setting: all but seeds, weights and sizes."""
    shown = dataclasses.asdict(config)
    limited = tuple(name for name in BUDGETS if shown.pop(name) is not None)
    for own in ("seed", "energy_weight", "warm_start"):
        del shown[own]
    return (*shown.items(), limited)


def prepare(config: Config, devices: Devices) -> Setting:
    """Everything that does not depend on the seed or the size of a weight or budget."""
    build.check_names(config)
    data = build.dataset(config)
    hardware = build.hardware(config, data)
    if config.batch > len(data.train):
        raise ValueError(
            f"--batch must lie in 1 to {len(data.train)}, the training samples of "
            f"{config.dataset}, got {config.batch}"
        )
    encoder = build.encoder(config, data)
    network = build.network(config, data, encoder.input_kind)
    model = build.trained(config, data, hardware)
    levers = getattr(model, "levers", ())
    epoch_steps = len(data.train) // config.batch
    objective = Objective(
        config.task,
        hardware,
        config.energy_weight,
        living_weight=config.living_weight,
        ramp_steps=int(config.energy_ramp * config.epochs * epoch_steps),
        levers=levers,
        constraint=build.budget(config, config.epochs * epoch_steps),
    )
    optimiser = build.optimiser(config, data)
    augmented = data_sets.Shifted(encoder, config.shift) if config.shift else encoder
    chosen_input, given = inputs.form(config, data, jax.local_devices()[0].platform)
    train = (given["train"], data.train.labels)
    devices.agree("data set", [(part.frames, part.labels) for part in data.splits.values()])
    shapes = encoder(jax.random.key(0), train[0][:1])
    state = jax.eval_shape(lambda: init_state(model, optimiser, shapes, config.seed))
    traced = jax.eval_shape(
        lambda state: _workload(model, state, shapes, config.task, train[1][:1]), state
    )
    window = pace.window(config.plan, traced, config.batch, "batch_stats" in state.collections)
    loop = _loop(config, traced, train)
    make = make_epoch if loop.kind == "epoch" else make_train_step
    advance = devices.training(make(model, objective, optimiser, augmented, plan=window.plan))
    eval_step = make_eval_step(model, objective, encoder, plan=window.plan)
    eval_step = devices.evaluation(eval_step)
    if loop.kind != "host":
        train = devices.replicate(train)
    return Setting(
        devices,
        data,
        hardware,
        encoder,
        network,
        levers,
        model,
        objective,
        optimiser,
        epoch_steps,
        shapes,
        traced,
        window,
        loop,
        chosen_input,
        given,
        train,
        advance,
        eval_step,
    )


def begin(config: Config, made: Setting, devices: Devices, own: bool = True) -> Begun:
    """A run of the setting before its first step.

    Args:
        config: of the run.
        made: of this config, or of one that differs in seed, weight or size of a budget only.
        devices: of the run.
        own: whether the setting was made for this config alone.

    Raises:
        Infeasible: a budget below the floor of the network.
    """
    sample = jax.random.permutation(jax.random.key(config.seed), len(made.data.train))[:256]
    state = init_state(made.model, made.optimiser, made.shapes, config.seed)
    first = initial_bill(
        state, made.model, made.objective, made.encoder, made.train[0][np.asarray(sample)]
    )
    state = with_reference(state, first)
    if config.warm_start is not None:
        state = _warm(state, config)
    devices.agree("first state", state)
    state = devices.replicate(state)
    hold = None
    if limits(config):
        budget = build.budget(config, config.epochs * made.epoch_steps)
        hold = holding.start(budget, made, state.variables, config)
        state = dataclasses.replace(state, goal=devices.replicate(budget.goal(hold.start)))
    elif not own:
        goal = {"energy_weight": jnp.float32(config.energy_weight)}
        state = dataclasses.replace(state, goal=devices.replicate(goal))
    return Begun(state, first, hold)


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
        resume: folder of an earlier run to go on with.
        where: devices and processes.
        made: a setting shared with other runs, which then prints and draws nothing.

    Raises:
        Infeasible: the budget is below the floor, or the trained network is above it.
    """
    started, devices = time.perf_counter(), where.take(config.batch)
    quiet = made is not None
    console = Console(highlight=False, soft_wrap=True, quiet=quiet or not devices.first)

    # ---- data, network, objective; start, or go on where the run stopped -------------------------
    made = made or prepare(config, devices)
    state, first, hold = begin(config, made, devices, own=not quiet)
    goal = jax.device_get(state.goal)
    best = {"state": state, "score": -np.inf, "task": np.inf, "epoch": 0}
    folder = hosts.folder(devices, out, config.dataset, config, resume)
    checkpoints = Checkpoints(folder.checkpoints)
    epoch = 0
    if resume and checkpoints.latest() is not None:
        like = _goalless(state)
        saved, record = checkpoints.restore({"state": like, "best": like})
        state = dataclasses.replace(saved["state"], goal=devices.replicate(goal))
        best = {**record["best"], "state": saved["best"]}
        epoch = record["epoch"]
    folder.rewind(epoch)
    data, epoch_steps = made.data, made.epoch_steps
    aim = f"weight of the energy {config.energy_weight}" if hold is None else str(hold)
    console.print(
        f"[bold]{config.dataset}[/]: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test; {config.model} {_sizes(made)} ({config.neuron}), "
        f"T = {len(made.shapes)}, {parameters(state)} parameters; {aim}"
    )
    window, loop = made.window, made.loop
    console.print(f"window: {window.plan} ({window.reason}); loop: {loop.kind} ({loop.reason})")
    if data.timed:
        console.print(f"input: {made.input.frames} ({made.input.reason})")
    console.print(f"\nBefore training:\n{first}\n", markup=False)

    # ---- the loop --------------------------------------------------------------------------------
    saved_at = time.perf_counter()
    with Progress(console, config.epochs * epoch_steps, epoch * epoch_steps) as progress:
        while epoch < config.epochs:
            epoch += 1
            order = draw_order(config, epoch, len(data.train), epoch_steps)
            state, terms = _epoch(loop.kind, made.advance, state, made.train, order, progress)
            _stop_if_not_finite(terms, (epoch - 1) * epoch_steps, checkpoints, folder)

            sums = evaluate(
                made.eval_step,
                state.variables,
                made.validation,
                config.batch,
                jax.random.key(config.seed),
            )
            row = {"epoch": epoch, **means(terms, sums, first), "seconds": since(started)}
            _stop_if_not_finite_after(row, checkpoints, folder)
            folder.append(row)
            progress.show(row)
            score = score_of(config, row, sums, float(state.reference_pj), hold)
            better = (score, -row["validation_task"]) > (best["score"], -best["task"])
            if better or config.select == "last":
                # The step donates its state, so the best one needs buffers of its own.
                copied = jax.tree.map(lambda leaf: leaf.copy(), _goalless(state))
                best = {
                    "state": copied,
                    "score": score,
                    "task": row["validation_task"],
                    "epoch": epoch,
                }
            if epoch == config.epochs or since(saved_at) > config.checkpoint_seconds:
                record = {"epoch": epoch, "best": {k: v for k, v in best.items() if k != "state"}}
                tree = {"state": _goalless(state), "best": best["state"]}
                _save(checkpoints, epoch, tree, record, folder)
                saved_at = time.perf_counter()
    checkpoints.close()

    # ---- test, once; show ------------------------------------------------------------------------
    tested, chosen, sums, result = finish(
        config,
        made,
        Begun(state, first, hold),
        best["state"],
        best["epoch"],
        folder.rows(),
        folder.path,
    )
    result |= {"devices": devices.count, "platform": platform.platform(), "seconds": since(started)}
    folder.write(folder.result, result)
    if not quiet and devices.first:
        _show(config, tested, first, chosen, sums, result, folder, console)
        console.print(f"\n{since(started):.0f} s; everything is in {folder.path}")
    if hold is not None:
        hold.check(result["budget"], folder.path)
    return result


def draw_order(config: Config, epoch: int, samples: int, steps: int) -> np.ndarray:
    """The samples of each step of an epoch, `[steps, batch]`."""
    order = np.random.default_rng((config.seed, epoch)).permutation(samples)
    return order[: steps * config.batch].reshape(steps, config.batch)


def score_of(
    config: Config, row: dict, sums: dict, reference_pj: float, hold: holding.Hold | None
) -> float:
    """What an epoch is chosen by: the trade of the loss, with accuracy in place of its task."""
    if hold is not None:
        return row["validation_accuracy"] - hold.penalty(sums)
    return row["validation_accuracy"] - config.energy_weight * row["validation_pj"] / reference_pj


def finish(
    config: Config,
    made: Setting,
    begun: Begun,
    chosen: TrainState,
    epoch: int,
    rows: Sequence[dict[str, Any]],
    path: Path,
) -> tuple[Setting, TrainState, dict, dict[str, Any]]:
    """Bring the chosen network under its budget and test it once.

    Returns the setting and the network that were tested, the sums and the result.

    Args:
        config, made, begun: of the run.
        chosen: state of the chosen epoch.
        epoch: its number.
        rows: metrics of the run.
        path: folder of the run.
    """
    first, hold, data, test = begun.first, begun.hold, made.data, made.test
    held, settled, test_key = None, None, jax.random.key(config.seed + 1)
    if windows.learned(config):
        sums = evaluate(made.eval_step, chosen.variables, test, config.batch, test_key)
        made, chosen, settled = _settle(config, made, begun, chosen)
        settled["relaxed"] |= {name: summary(sums, first)[name] for name in windows.SHOWN}
    if hold is not None:
        chosen, held = hold.apply(made, chosen, config, rows)
    sums = evaluate(made.eval_step, chosen.variables, test, config.batch, test_key)
    measured = summary(sums, first)
    quantised = {}
    if config.weight_bits is not None:
        # What was tested ran on its grids already.
        bits, rounded = config.weight_bits, sums
        shown = (data.test.frames, data.test.labels)
        quantised = integers.report(
            made.model, chosen.variables, made.encoder, shown, test_key, config.batch
        )
        if network := quantised.pop("network"):
            network.save(path / "integers.npz")
    else:
        bits = int(made.hardware.design.weight_bits or 32)
        narrow = at_bits(chosen, bits).variables
        rounded = evaluate(made.eval_step, narrow, test, config.batch, test_key)
    spiking = [layer.geometry.spiking for layer in made.traced]
    validation_accuracy = rows[epoch - 1]["validation_accuracy"]
    if held is not None:
        validation_accuracy = held["accuracy"]["validation"]
        held = hold.tested(held, sums)
    result = {
        "config": dataclasses.asdict(config),
        "chosen_epoch": epoch,
        # Of samples that were trained on it would say nothing.
        "validation_accuracy": None if config.refit else validation_accuracy,
        "test_accuracy": measured["accuracy"],
        "test_accuracy_at_weight_bits": {
            "weight_bits": bits,
            "accuracy": rounded["accuracy"] / rounded["samples"],
        },
        **quantised,
        "test_majority": data.test.majority,
        "initial_pj": float(begun.state.reference_pj),
        **{name: value for name, value in measured.items() if name != "accuracy"},
        "silent_layers": diagnose.silent_layers(first.layers, sums["ever"], spiking),
        **({} if held is None else {"budget": held}),
        "steps": len(jax.eval_shape(made.encoder, test_key, data.test.frames[:1])),
        "network": f"{config.model} {_sizes(made)} {config.neuron}",
        "layers": list(first.layers),
        "parameters": parameters(chosen),
        "constants": list(first.marks),
        "unpriced": dict(first.unpriced),
        "data_notes": data.notes,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }
    if settled is not None:
        settled["whole"] |= {name: measured[name] for name in windows.SHOWN}
        result["window"] = settled
    if config.early_exit is not None:
        result["early_exit"] = _early_exit(config, made, chosen)
    if config.prune != "none":
        result["pruned"] = _pruned(made, chosen, config, test, test_key, path)
    return made, chosen, sums, result


def _show(config, made: Setting, first, chosen: TrainState, sums, result, folder, console) -> None:
    """Pictures, and the lines to read at the end."""
    parts_pj = np.asarray(sums["parts_pj"] / sums["samples"])[None]
    final = dataclasses.replace(first, parts_pj=parts_pj)
    plots.curves(folder.rows(), first.layers, folder.path / "curves.png")
    plots.breakdown(first.mean(), final, folder.path / "breakdown.png")
    frames = made.encoder(jax.random.key(0), made.data.test.frames[:1])
    trains = diagnose.spike_trains(made.model, jax.device_get(chosen.variables), frames)
    plots.raster(trains, folder.path / "raster.png")
    chosen_by = "the last" if config.select == "last" else "chosen on validation"
    console.print(f"\nAfter training (epoch {result['chosen_epoch']}, {chosen_by}):\n{final}\n")
    said = (diagnose.describe(result), windows.describe(result), pruned.lines(result.get("pruned")))
    for line in itertools.chain(*said):
        console.print(line)


def _goalless(state: TrainState) -> TrainState:
    """What is kept of a state: its goal follows from the config."""
    return dataclasses.replace(state, goal=None)


def _warm(state: TrainState, config: Config) -> TrainState:
    """The state with the network of another run."""
    folder = RunFolder.existing(config.warm_start)
    params, collections, _ = restored.network(folder, _goalless(state))
    return dataclasses.replace(state, params=params, collections=collections)


def _sizes(made: Setting) -> str:
    inputs = "-".join(str(layer.geometry.inputs) for layer in made.traced)
    return f"{inputs}-{made.data.classes}"


def _early_exit(config: Config, made: Setting, chosen: TrainState) -> dict[str, Any]:
    """What stopping each sample once sure gives on test, the threshold chosen on validation."""
    network = windows.Chosen(made.model, jax.device_get(chosen.variables), made.encoder)
    rule, found = config.early_exit, []
    for number, split in enumerate((made.validation, made.test)):
        key = jax.random.key(config.seed + number)
        found.append(windows.answers(network, made.hardware, split, config.batch, key, (rule,)))
    return windows.exits(*found, rule, config.exit_loss)


def _settle(
    config: Config, made: Setting, begun: Begun, chosen: TrainState
) -> tuple[Setting, TrainState, dict[str, Any]]:
    """Whole steps for a learned window: of those on both sides the better on validation."""
    (lever,) = made.levers
    leaf = jax.device_get(chosen.params["levers"][lever.name])
    variables = windows.plain(chosen.variables)
    bare = dataclasses.replace(made.objective, levers=())
    ways, tried = [], []
    for steps in lever.whole(leaf):
        encoder = windows.First(made.encoder, steps)
        measure = make_eval_step(made.network, bare, encoder, plan=made.window.plan)
        way = made._replace(
            model=made.network,
            levers=(),
            encoder=encoder,
            objective=bare,
            eval_step=made.devices.evaluation(measure),
        )
        key = jax.random.key(config.seed)
        sums = evaluate(way.eval_step, variables, made.validation, config.batch, key)
        found = summary(sums, begun.first)
        row = {"validation_pj": found["total_pj"], "validation_accuracy": found["accuracy"]}
        score = score_of(config, row, sums, float(chosen.reference_pj), begun.hold)
        ways.append(way)
        tried.append({"steps": steps, "score": score} | {n: found[n] for n in windows.SHOWN})
    best = max(range(len(tried)), key=lambda number: tried[number]["score"])
    found = {
        "relaxed": {"steps": float(lever.steps(leaf))},
        "tried_on_validation": tried,
        "whole": {"steps": tried[best]["steps"]},
    }
    return ways[best], dataclasses.replace(chosen, params=variables["params"]), found


def _loop(config: Config, workload: jsnn.Workload, train) -> pace.Loop:
    device, size = jax.local_devices()[0], sum(leaf.nbytes for leaf in jax.tree.leaves(train))
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


def _pruned(
    made: Setting, chosen: TrainState, config: Config, test: tuple, key: jax.Array, path: Path
) -> dict[str, Any]:
    """The pruned network, written out and measured on test samples; an entry of the result."""
    plain = dataclasses.replace(made.objective, levers=(), constraint=None)

    def measure(model, variables) -> dict[str, float]:
        step = make_eval_step(model, plain, made.encoder)
        sums = evaluate(step, variables, test, config.batch, key)
        return {
            "test_accuracy": float(sums["accuracy"] / sums["samples"]),
            "dense_pj": float(sums["parts_pj"].sum() / sums["samples"]),
        }

    starts = range(0, len(test[0]), config.batch)
    batches = [
        made.encoder(jax.random.fold_in(key, number), test[0][start : start + config.batch])
        for number, start in enumerate(starts)
    ]
    variables = jax.device_get(chosen.variables)
    return pruned.written_out(
        made.levers[0], made.network, variables, made.hardware, batches, measure, path
    )


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """`main` with a command line."""
    flags = parse(Flags, argv, __doc__)
    out, resume, smoke = (flags.pop(name, None) for name in ("out", "resume", "smoke"))
    knobs = [field.name for field in dataclasses.fields(Hosts)]
    where = Hosts(**{name: flags.pop(name) for name in knobs if name in flags})
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
        knobs = [field.name for field in dataclasses.fields(Config)]
        stored = folder.stored_config(flags, knobs)
        stored["widths"] = tuple(stored["widths"])
        return main(Config(**stored), resume=folder, where=where)
    return main(configured(flags, smoke), out=out, where=where)


def configured(flags: dict[str, Any], smoke: bool = False) -> Config:
    """The config of flags: recipe of the data set, `--smoke`, a budget, then the flags."""
    recipe = RECIPES.get(flags.get("dataset", Config.dataset), {})
    short = {"epochs": 2, "limit": 256} if smoke else {}
    # A budget takes the place of the recipe's weight, not of one that was asked for.
    limited = any(flags.get(name) for name in BUDGETS)
    return Config(**recipe | short | (UNDER_A_BUDGET if limited else {}) | flags)


@dataclasses.dataclass(frozen=True)
class Flags(Hosts, Config):
    """The knobs of a run, where it is computed and where it goes."""

    out: str | None = knob(None, "folder of the run; none: a new one below runs/")
    resume: str | None = knob(None, "go on with the run in this folder, bit for bit")
    smoke: bool = knob(False, "two epochs on 256 samples: does it run at all?")
    compile_cache: bool = knob(True, "keep compiled programs for the next run")
    keep_memory: bool = knob(True, "keep freed memory in the process: faster steps on a CPU")


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
