"""Programs of training: all that runs share which differ in seed, weights or limits only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from jsnn._checks import whole_number
from jsnn.energy import EnergyBreakdown
from jsnn.events import BitFrames, EventFrames
from jsnn.nn import forward
from jsnn.nn.time_plan import Choice
from jsnn.train import pace
from jsnn.train.devices import Devices, take
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.levers import Levered
from jsnn.train.objective import Numbers, Objective, Term
from jsnn.train.state import Encoder, TrainState, init_state, start_terms
from jsnn.train.step import check_samples, make_epoch, make_train_step
from jsnn.workload import Workload

__all__ = ["FIRST_SAMPLES", "Data", "Program", "Start", "compile_program"]

# Training samples that the untrained network is measured on.
FIRST_SAMPLES = 256
# Samples `[N, ...]` and their labels `[N, ...]`.
Data = tuple[Any, Any]


class Start(NamedTuple):
    """A run before its first step.

    Attributes:
        state: initial; its arrays are donated to the first step.
        first: energy estimate of the untrained network.
        numbers: of the terms, on the host.
    """

    state: TrainState
    first: EnergyBreakdown
    numbers: Mapping[str, Numbers]

    @property
    def initial_pj(self) -> float:
        """Mean energy of the untrained network."""
        return float(self.first.total_pj().mean())

    def with_numbers(self, **numbers: Numbers) -> Start:
        """The run with other numbers of the terms that are named."""
        terms = {**self.state.terms, **numbers}
        state = dataclasses.replace(self.state, terms=terms)
        return Start(state, self.first, jax.device_get(terms))


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Model, objective and data with their compiled step (from `compile_program`).

    Attributes:
        model: the network, or `Levered` with its levers.
        objective, optimiser, encoder: of the runs.
        train, validation: samples and labels; the training set where the loop needs it.
        batch: samples of a step.
        devices: that share each batch.
        shapes: one encoded sample.
        traced: shapes of a workload.
        window: time plan, and why.
        loop: loop of steps, and why.
        advance: compiled step or epoch.
        eval_step: of `jsnn.train.evaluation.make_eval_step`.
    """

    model: nn.Module | Levered
    objective: Objective
    optimiser: optax.GradientTransformation
    encoder: Encoder
    train: Data
    validation: Data | None
    batch: int
    devices: Devices
    shapes: jax.Array
    traced: Workload
    window: Choice
    loop: pace.Loop
    advance: Callable
    eval_step: Callable

    @property
    def samples(self) -> int:
        """Training samples."""
        return len(self.train[1])

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps of an epoch; samples beyond them come in another epoch."""
        return self.samples // self.batch

    def start(self, seed: int, terms: Sequence[Term] | None = None) -> Start:
        """A run before its first step.

        Args:
            seed: of the weights, and of the samples that the untrained network is measured on.
            terms: of this run, which may differ from those of the objective in their numbers only;
                None: those of the objective.
        """
        seed = whole_number("seed", seed, 0, 2**63 - 1)
        order = jax.random.permutation(jax.random.key(seed), self.samples)
        objective = self.objective
        if terms is not None:
            objective = dataclasses.replace(objective, terms=tuple(terms))
        state = init_state(self.model, self.optimiser, self.shapes, seed)
        frames = self.train[0][np.asarray(order[:FIRST_SAMPLES])]
        state, first = start_terms(state, self.model, objective, self.encoder, frames)
        return Start(self.devices.replicate(state), first, jax.device_get(state.terms))

    def evaluate(self, variables: Any, data: Data, seed: int) -> dict[str, Any]:
        """Sums of an evaluation (`jsnn.train.evaluation.evaluate`)."""
        return evaluate(self.eval_step, variables, data, self.batch, jax.random.key(seed))

    def epoch(
        self, state: TrainState, order: np.ndarray, stepped: Callable[[int], None]
    ) -> tuple[TrainState, list[dict[str, Any]]]:
        """The state after an epoch, and the terms of each step.

        Args:
            state: before; its arrays are donated.
            order: samples of each step, `[steps, B]`.
            stepped: called with the number of steps that were done; what it raises ends the epoch.
        """
        if self.loop.kind == "epoch":
            state, terms = self.advance(state, self.train, order)
            terms = jax.tree.map(np.asarray, jax.device_get(terms))
            stepped(len(order))
            rows = [{name: rows[n] for name, rows in terms.items()} for n in range(len(order))]
            return state, rows
        rows = []
        for index in order:
            given = self.train
            if self.loop.kind == "host":
                given, index = (given[0][index], given[1][index]), None
            state, terms = self.advance(state, given, index)
            rows.append(terms)
            stepped(1)
        return state, jax.tree.map(np.asarray, jax.device_get(rows))


def compile_program(
    model: nn.Module | Levered,
    objective: Objective,
    optimiser: optax.GradientTransformation,
    encoder: Encoder,
    train: Data,
    validation: Data | None = None,
    *,
    batch: int,
    augmented: Encoder | None = None,
    plan: str = "auto",
    loop: str = "auto",
    devices: Devices | None = None,
) -> Program:
    """The program of a model and an objective on data; compiled at its first use.

    Args:
        model: the network, or `Levered`.
        objective: loss and terms.
        optimiser: from `make_optimiser`, or any optax transformation.
        encoder: turns samples into frames `[T, B, ...]`.
        train: samples `[N, ...]` and labels `[N, ...]`, NumPy or `jsnn.events` lists.
        validation: the same; None: nothing is measured after an epoch.
        batch: samples of a step.
        augmented: encoder of training samples; None: `encoder`.
        plan: the time window (`jsnn.train.pace.window`).
        loop: how steps are called (`jsnn.train.pace.loop`).
        devices: that share a batch; None: one.

    Raises:
        ValueError: fewer samples than a batch, samples and labels of unequal number, outputs that
            do not fit the loss, unknown words.
    """
    _check_data("train", train)
    if validation is not None:
        _check_data("validation", validation)
        shapes = [getattr(data[0], "shape", None) for data in (train, validation)]
        if None not in shapes and shapes[0][1:] != shapes[1][1:]:
            raise ValueError(
                f"samples of train and validation must have one shape, got {list(shapes[0][1:])} "
                f"and {list(shapes[1][1:])}"
            )
    samples, labels = train
    batch = whole_number("batch", batch, 0, 10**9)
    if not 1 <= batch <= len(labels):
        raise ValueError(f"batch must lie in 1 to {len(labels)}, the training samples, got {batch}")
    devices = devices or take(1, batch)
    shapes = encoder(jax.random.key(0), samples[:1])
    state = jax.eval_shape(lambda: init_state(model, optimiser, shapes, 0))

    def passed(state: TrainState) -> Workload:
        passed = forward(model, state.variables, shapes, unpriced=objective.unpriced)
        objective.loss(passed.outputs, labels[:1])
        return passed.workload

    traced = jax.eval_shape(passed, state)
    window = pace.window(plan, traced, batch, "batch_stats" in state.collections)
    chosen = _loop(loop, traced, batch, train)
    make = make_epoch if chosen.kind == "epoch" else make_train_step
    step = make(model, objective, optimiser, augmented or encoder, plan=window.plan)
    eval_step = make_eval_step(model, objective, encoder, plan=window.plan)
    return Program(
        model=model,
        objective=objective,
        optimiser=optimiser,
        encoder=encoder,
        train=train if chosen.kind == "host" else devices.replicate(train),
        validation=validation,
        batch=batch,
        devices=devices,
        shapes=shapes,
        traced=traced,
        window=window,
        loop=chosen,
        advance=devices.training(step),
        eval_step=devices.evaluation(eval_step),
    )


def _check_data(name: str, data: Any) -> None:
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise ValueError(
            f"{name} must be a pair, samples [N, ...] and labels [N, ...], got "
            f"{type(data).__name__}; of a split of jsnn.data take (split.frames, split.labels)"
        )
    if not hasattr(data[1], "dtype"):
        raise ValueError(
            f"labels of {name} must be an array, got {type(data[1]).__name__}: np.asarray(labels)"
        )
    if not hasattr(data[0], "dtype") and not isinstance(data[0], EventFrames | BitFrames):
        raise ValueError(
            f"samples of {name} must be an array, got {type(data[0]).__name__}: np.asarray(samples)"
        )
    check_samples(*data)


def _loop(word: str, traced: Workload, batch: int, train: Data) -> pace.Loop:
    device, size = jax.local_devices()[0], sum(leaf.nbytes for leaf in jax.tree.leaves(train))
    return pace.loop(word, traced, batch, size, device.platform, pace.room_of(device))
