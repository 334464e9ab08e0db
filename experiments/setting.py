"""Objects shared by the runs of one config, and a run before its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax

import jsnn
from experiments import build, inputs, restored, run_budget
from experiments.build import BUDGETS, limits
from experiments.runconfig import Config
from jsnn import data as data_sets
from jsnn.hardware import Hardware
from jsnn.train.devices import Devices
from jsnn.train.levers import Lever
from jsnn.train.losses import LOSSES
from jsnn.train.objective import Objective
from jsnn.train.program import Program, Start, compile_program
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import without_terms
from jsnn.train.state import TrainState


@dataclasses.dataclass(frozen=True, eq=False)
class Setting(Program):
    """Objects that runs of one config share for all seeds, weights and budgets: compiled once.

    Attributes:
        data, hardware, network, levers: of the config.
        input: dense frames or lists of events.
        given: frames of every split in that form.
    """

    data: data_sets.Dataset
    hardware: Hardware
    network: nn.Module
    levers: tuple[Lever, ...]
    input: inputs.Choice
    given: Mapping[str, Any]

    @property
    def test(self) -> tuple:
        """Frames and labels of the test set."""
        return self.given["test"], self.data.test.labels


class Begun(NamedTuple):
    """A run before its first step.

    Attributes:
        start: state and energy of the untrained network.
        budget_of_run: the budget of the run, None without one.
    """

    start: Start
    budget_of_run: run_budget.BudgetOfRun | None

    @property
    def state(self) -> TrainState:
        """Initial state."""
        return self.start.state

    @property
    def first(self) -> jsnn.EnergyBreakdown:
        """Energy of the untrained network."""
        return self.start.first


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
    chosen_input, given = inputs.form(config, data, jax.local_devices()[0].platform)
    devices.agree("data set", [(part.frames, part.labels) for part in data.splits.values()])
    program = compile_program(
        model,
        objective,
        build.optimiser(config, data),
        encoder,
        (given["train"], data.train.labels),
        (given["validation"], data.validation.labels),
        batch=config.batch,
        augmented=data_sets.Shifted(encoder, config.shift) if config.shift else None,
        plan=config.plan,
        loop=config.loop,
        devices=devices,
    )
    shared = {field.name: getattr(program, field.name) for field in dataclasses.fields(program)}
    return Setting(
        **shared,
        data=data,
        hardware=hardware,
        network=network,
        levers=levers,
        input=chosen_input,
        given=given,
    )


def begin(config: Config, setting: Setting, devices: Devices) -> Begun:
    """A run of the setting before its first step.

    Args:
        config: of the run.
        setting: setting of this config, or of one that differs only in seed, weight or budget size.
        devices: of the run.

    Raises:
        Infeasible: a budget below the spike-independent energy of the network.
    """
    # Weights and limits of this run, not of the one that the setting was made for.
    start = setting.start(config.seed, build.terms(config, config.epochs * setting.epoch_steps))
    if config.warm_start is not None:
        start = start._replace(state=devices.replicate(_warm(start.state, config)))
    devices.agree("first state", start.state)
    if not limits(config):
        return Begun(start, None)
    budget = build.budget(config, config.epochs * setting.epoch_steps)
    budget_of_run = run_budget.start(budget, setting, start.state.variables, config)
    numbers = devices.replicate(budget.numbers(budget_of_run.start))
    return Begun(start.with_numbers(**{budget.name: numbers}), budget_of_run)


def _warm(state: TrainState, config: Config) -> TrainState:
    """The state with the network of another run."""
    folder = RunFolder.existing(config.warm_start)
    other, _ = restored.network(folder, without_terms(state))
    return dataclasses.replace(state, params=other.params, collections=other.collections)
