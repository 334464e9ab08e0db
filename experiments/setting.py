"""Objects shared by the runs of one config, and a run before its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

import jsnn
from experiments import build, inputs, pace, restored, run_budget
from experiments.build import BUDGETS, limits
from experiments.runconfig import Config
from experiments.runfolder import RunFolder
from jsnn import data as data_sets
from jsnn.hardware import Hardware
from jsnn.nn import forward
from jsnn.nn.time_plan import Choice
from jsnn.train.devices import Devices
from jsnn.train.evaluation import make_eval_step
from jsnn.train.levers import Lever, Levered
from jsnn.train.losses import LOSSES
from jsnn.train.objective import Objective
from jsnn.train.state import TrainState, init_state, start_terms
from jsnn.train.step import make_epoch, make_train_step


class Setting(NamedTuple):
    """Objects that runs of one config share for all seeds, weights and budgets: compiled once.

    Attributes:
        devices: devices of the runs.
        data, hardware, encoder, network, levers: of the config.
        model: the network with its levers.
        objective, optimiser: of the config.
        epoch_steps: optimiser steps of an epoch.
        shapes: one encoded sample.
        traced: shapes of a workload.
        window, loop: time plan and loop of steps (`experiments.pace`).
        input: dense frames or lists of events.
        given: frames of every split in that form.
        train: training samples where the loop needs them.
        advance: function that runs an epoch or a step.
        eval_step: of `jsnn.train.evaluation.make_eval_step`.
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
        """Frames and labels of the validation set."""
        return self.given["validation"], self.data.validation.labels

    @property
    def test(self) -> tuple:
        """Frames and labels of the test set."""
        return self.given["test"], self.data.test.labels


class Begun(NamedTuple):
    """A run before its first step.

    Attributes:
        state: of the run, with the numbers of its terms.
        first: energy of the untrained network.
        hold: the budget of the run, None without one.
    """

    state: TrainState
    first: jsnn.EnergyBreakdown
    budget_of_run: run_budget.BudgetOfRun | None

    @property
    def initial_pj(self) -> float:
        """Mean energy of the untrained network."""
        return float(self.first.total_pj().mean())


def program(config: Config) -> tuple:
    """Key of configs that share a setting: all but seeds, weights and sizes."""
    shown = dataclasses.asdict(config)
    limited = tuple(name for name in BUDGETS if shown.pop(name) is not None)
    for own in ("seed", "energy_weight", "warm_start"):
        del shown[own]
    return (*shown.items(), limited)


def prepare(config: Config, devices: Devices) -> Setting:
    """Objects that do not depend on the seed or the size of a weight or budget."""
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
        LOSSES[config.task],
        hardware,
        build.terms(config, config.epochs * epoch_steps),
        levers=levers,
        event_temperature=config.event_temperature,
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


def begin(config: Config, made: Setting, devices: Devices) -> Begun:
    """A run of the setting before its first step.

    Args:
        config: of the run.
        made: setting of this config, or of one that differs only in seed, weight or budget size.
        devices: of the run.

    Raises:
        Infeasible: a budget below the spike-independent energy of the network.
    """
    sample = jax.random.permutation(jax.random.key(config.seed), len(made.data.train))[:256]
    state = init_state(made.model, made.optimiser, made.shapes, config.seed)
    # Weights and limits of this run, not of the one that the setting was made for.
    terms = build.terms(config, config.epochs * made.epoch_steps)
    objective = dataclasses.replace(made.objective, terms=terms)
    state, first = start_terms(
        state, made.model, objective, made.encoder, made.train[0][np.asarray(sample)]
    )
    if config.warm_start is not None:
        state = _warm(state, config)
    devices.agree("first state", state)
    state = devices.replicate(state)
    budget_of_run = None
    if limits(config):
        budget = build.budget(config, config.epochs * made.epoch_steps)
        budget_of_run = run_budget.start(budget, made, state.variables, config)
        numbers = devices.replicate(budget.numbers(budget_of_run.start))
        state = dataclasses.replace(state, terms={**state.terms, budget.name: numbers})
    return Begun(state, first, budget_of_run)


def without_terms(state: TrainState) -> TrainState:
    """The state without the numbers of its terms, which follow from the config, as it is kept."""
    return dataclasses.replace(state, terms=None)


def _warm(state: TrainState, config: Config) -> TrainState:
    """The state with the network of another run."""
    folder = RunFolder.existing(config.warm_start)
    other, _ = restored.network(folder, without_terms(state))
    return dataclasses.replace(state, params=other.params, collections=other.collections)


def _loop(config: Config, workload: jsnn.Workload, train) -> pace.Loop:
    device, size = jax.local_devices()[0], sum(leaf.nbytes for leaf in jax.tree.leaves(train))
    room = pace.room_of(device)
    return pace.loop(config.loop, workload, config.batch, size, device.platform, room)


def _workload(model, state: TrainState, frames, task: str, labels) -> jsnn.Workload:
    """Workload of a forward pass; ValueError if its outputs do not fit the task."""
    passed = forward(model, state.variables, frames)
    LOSSES[task](passed.outputs, labels)
    return passed.workload
