"""Runs of one task that differ in numbers only, through one compiled program.

Slope of the surrogate, learning rate, strength and seed are traced, so the runs of a regulariser
on a task compile once. Runs are read as `{"regulariser", "flags", "runs"}` from standard input;
each gives a line of JSON on standard output:

    echo '{"regulariser": "l1-rate", "flags": {"dataset": "digits", "epochs": 3}, "runs":
        [{"seed": 0, "slope": 1, "rate": 1, "strength": 0.3}]}' | python -m experiments.swept
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import build
from experiments.compiled import keep_compiled
from experiments.recipes import RECIPES
from experiments.runconfig import Config
from jsnn import data as data_sets
from jsnn.hardware import Hardware
from jsnn.nn import forward
from jsnn.surrogate import Surrogate
from jsnn.train import pace
from jsnn.train.losses import LOSSES, accuracy
from jsnn.train.objective import Activity, DeadNeurons, Energy, Objective, Regulariser
from jsnn.train.program import FIRST_SAMPLES
from jsnn.train.regularisers import make
from jsnn.train.state import TrainState, as_trained, init_state, start_terms
from jsnn.train.step import Encoder, make_epoch, make_train_step
from jsnn.workload import Workload

NONE = "none"
# Sets whose sizes differ by a few samples, as of folds, share a program.
SIZE_STEP = 64


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Numbers in which the runs of one program differ.

    Attributes:
        seed: of weights, batches and encoders.
        slope: factor on the slope of the surrogate, whose area is kept.
        rate: factor on the learning rate.
        strength: weight of the regulariser relative to its value at initialisation or, if nothing
            fires there, on the network trained without it.
    """

    seed: int
    slope: float
    rate: float
    strength: float

    def __post_init__(self):
        for name in ("slope", "rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.strength >= 0:
            raise ValueError(f"strength must not be negative, got {self.strength}")


# Equality would compare tracers.
@dataclasses.dataclass(frozen=True, eq=False)
class Steeper(Surrogate):
    """`k · base.derivative(k · x)` for a slope k that may be traced: narrower, of the same area."""

    base: Surrogate
    slope: Any

    def derivative(self, x: jax.Array) -> jax.Array:
        """The derivative of the class."""
        return self.slope * self.base.derivative(self.slope * x)


class Swept:
    """A task and a regulariser, compiled once; `run` trains and tests a network.

    Attributes:
        config, data, encoder, hardware, model, objective: what the runs share.
    """

    def __init__(
        self,
        config: Config,
        regulariser: str | Regulariser,
        model: nn.Module | None = None,
        price: Callable[[Workload], Any] | None = None,
    ):
        """Build what all runs share.

        Args:
            config: of the task.
            regulariser: its name, `none` for no weight on the energy, or a custom one.
            model: in place of the network of the config.
            price: function of a workload to a tree of figures `[B]`; runs also give their means.

        Raises:
            ValueError: names or data that do not fit.
        """
        build.check_names(config)
        self.config, self.price = config, price or (lambda workload: {})
        self.data = data = build.dataset(config)
        self.hardware = hardware = build.hardware(config, data)
        self.encoder: Encoder = build.encoder(config, data)
        self.model = model or build.network(config, data, self.encoder.input_kind)
        self.steps = len(data.train) // config.batch
        if not self.steps:
            raise ValueError(f"{len(data.train)} training samples are fewer than a batch")
        ramp_steps = int(config.energy_ramp * config.epochs * self.steps)
        self.regulariser = _named(regulariser, hardware, config.event_temperature)
        self.term = (
            Energy(ramp_steps=ramp_steps)
            if self.regulariser is None
            else Activity(self.regulariser, ramp_steps=ramp_steps)
        )
        self.objective = Objective(
            LOSSES[config.task],
            hardware,
            (self.term, DeadNeurons(weight=config.dead_neuron_weight, ramp_steps=ramp_steps)),
            event_temperature=config.event_temperature,
        )
        shift = config.shift
        self.augmented = data_sets.Shifted(self.encoder, shift) if shift else self.encoder
        self.train = (jnp.asarray(_padded(data.train.frames)), _padded(data.train.labels))
        self.test = (data.test.frames, data.test.labels)
        shapes = self.encoder(jax.random.key(0), self.train[0][:1])
        traced = jax.eval_shape(self._workload, shapes)
        size = sum(array.nbytes for array in self.train)
        self.loop = pace.loop("auto", traced, config.batch, size, jax.default_backend(), None).kind
        self._start = jax.jit(self._begin)
        self._advance = jax.jit(self._go, donate_argnums=0)
        self._score = jax.jit(self._judge)
        self._unit = jax.jit(self._measure_unit)
        self.shapes = shapes
        self._units: dict[int, float] = {}

    def run(self, numbers: Numbers) -> dict[str, Any]:
        """Train to the end and test once: means, and accuracy and pJ of every sample."""
        started = time.perf_counter()
        state, initial_pj, finite = self.trained(numbers)
        right, pj, spike_independent_pj, rates, prices = self._tested(state, numbers)
        return {
            "accuracy": float(right.mean()),
            "pj": float(pj.mean()),
            "spike_independent_pj": float(spike_independent_pj.mean()),
            "initial_pj": initial_pj,
            "spike_rates": rates.mean(0).round(6).tolist(),
            "finite": finite,
            "seconds": round(time.perf_counter() - started, 3),
            "samples": {"accuracy": right.tolist(), "pj": pj.tolist()},
            "prices": jax.tree.map(lambda column: float(column.mean()), prices),
        }

    def trained(self, numbers: Numbers) -> tuple[TrainState, float, bool]:
        """State after the last epoch, energy before the first, and whether all stayed finite.

        If nothing fires at initialisation, a regulariser is zero or only its part without spikes:
        its unit is then its value on the network trained without it.

        Raises:
            ValueError: a regulariser that is zero on both.
        """
        sample = self._first_samples(numbers.seed)
        state, initial_pj = self._start(numbers.seed, sample)
        if not np.isfinite(self._unit_of(state)):
            state = self._with_unit(state, self._unit_once_trained(numbers.seed))
        state, finite = self._to_the_end(state, numbers)
        return state, float(initial_pj), finite

    def _first_samples(self, seed: int) -> jax.Array:
        key = jax.random.key(seed)
        return self.train[0][jax.random.permutation(key, len(self.data.train))[:FIRST_SAMPLES]]

    def _unit_once_trained(self, seed: int) -> float:
        """The regulariser's value on the network of a seed trained without it."""
        if seed not in self._units:
            sample = self._first_samples(seed)
            state = self._with_unit(self._start(seed, sample)[0], 1.0)
            state, _ = self._to_the_end(state, Numbers(seed, 1.0, 1.0, 0.0))
            self._units[seed] = float(self._unit(state, sample))
        if not np.isfinite(self._units[seed]):
            raise ValueError(
                f"{self.regulariser} is zero at initialisation and after training: it "
                "has no unit, and nothing to lower; move its bounds or targets"
            )
        return self._units[seed]

    def _to_the_end(self, state: TrainState, numbers: Numbers) -> tuple[TrainState, bool]:
        """State after all epochs, and whether all stayed finite."""
        config = self.config
        weight = jnp.float32(numbers.strength)
        terms = {
            self.term.name: {**state.terms[self.term.name], "weight": weight},
            DeadNeurons.name: {"weight": weight * config.dead_neuron_weight},
        }
        state = dataclasses.replace(state, terms=terms)
        traced = tuple(map(jnp.float32, (numbers.slope, numbers.rate)))
        finite = True
        for epoch in range(1, config.epochs + 1):
            order = np.random.default_rng((numbers.seed, epoch)).permutation(len(self.data.train))
            order = order[: self.steps * config.batch].reshape(self.steps, config.batch)
            for index in [order] if self.loop == "epoch" else order:
                state, healthy = self._advance(state, traced, self.train, index)
                finite = finite & healthy
        return state, bool(finite)

    def _workload(self, frames):
        variables = self.model.init(jax.random.key(0), frames)
        return forward(self.model, variables, frames).workload

    def _begin(self, seed, frames) -> tuple[TrainState, jax.Array]:
        optimiser = self._optimiser(1.0)
        state = init_state(self.model, optimiser, self.shapes, seed)
        state, first = start_terms(state, self.model, self.objective, self.encoder, frames)
        initial_pj = first.total_pj().mean().astype(jnp.float32)
        if self.regulariser is None:
            return state, initial_pj
        unit = self._unit_of(state)
        unit = jnp.where(self._fires(state, frames) & (unit > 0), unit, jnp.nan)
        return self._with_unit(state, unit), initial_pj

    def _fires(self, state, frames) -> jax.Array:
        """Whether any neuron fires; true for networks without spiking neurons."""
        workload = as_trained(state, self.model, self.encoder, frames).workload
        counts = [layer.output_events.sum() for layer in workload if layer.geometry.spiking]
        return jnp.asarray(sum(counts) > 0 if counts else True)

    def _unit_of(self, state: TrainState) -> jax.Array:
        return state.terms[self.term.name]["reference"]

    def _with_unit(self, state: TrainState, unit: Any) -> TrainState:
        numbers = {**state.terms[self.term.name], "reference": jnp.float32(unit)}
        return dataclasses.replace(state, terms={**state.terms, self.term.name: numbers})

    def _measure_unit(self, state, frames) -> jax.Array:
        state, _ = start_terms(state, self.model, self.objective, self.encoder, frames)
        unit = self._unit_of(state)
        return jnp.where(unit > 0, unit, jnp.nan)

    def _go(self, state, traced, data, index):
        slope, rate = traced
        make_steps = make_epoch if self.loop == "epoch" else make_train_step
        advance = make_steps(
            _steeper(self.model, slope),
            self.objective,
            self._optimiser(rate),
            self.augmented,
        )
        state, terms = advance(state, data, index)
        return state, terms["finite"].all()

    def _optimiser(self, rate):
        # The whole update of AdamW is proportional to its learning rate.
        return optax.chain(build.optimiser(self.config, self.data), optax.scale(rate))

    def _judge(self, variables, samples, labels, key):
        passed = forward(self.model, variables, self.encoder(key, samples))
        work = passed.workload
        return (
            accuracy(passed.outputs, labels),
            self.objective.estimate_energy(work).total_pj(),
            self.objective.estimate_energy(work.silenced()).total_pj(),
            jnp.stack([layer.spike_rate for layer in work], axis=-1),
            self.price(work),
        )

    def _tested(self, state: TrainState, numbers: Numbers) -> tuple:
        frames, labels = self.test
        batch, count = self.config.batch, len(frames)
        key, parts = jax.random.key(numbers.seed + 1), []
        for number, start in enumerate(range(0, count, batch)):
            index = np.minimum(np.arange(start, start + batch), count - 1)
            given = jax.random.fold_in(key, number)
            parts.append(self._score(state.variables, frames[index], labels[index], given))
        joined = jax.tree.map(lambda *columns: np.concatenate(columns), *jax.device_get(parts))
        return jax.tree.map(lambda column: column.astype(np.float64)[:count], joined)


def _named(
    regulariser: str | Regulariser, hardware: Hardware, event_temperature: float
) -> Regulariser | None:
    if regulariser == NONE:
        return None
    if not isinstance(regulariser, str):
        return regulariser
    instance = make(regulariser, hardware)
    if hasattr(instance, "event_temperature"):
        return dataclasses.replace(instance, event_temperature=event_temperature)
    return instance


def _steeper(model: nn.Module, slope: Any) -> nn.Module:
    """The network with a steeper surrogate; unchanged if it has none."""
    neuron = getattr(model, "neuron", None)
    surrogate = getattr(neuron, "surrogate", None)
    if surrogate is None:
        return model
    return model.clone(neuron=dataclasses.replace(neuron, surrogate=Steeper(surrogate, slope)))


def task_config(flags: Mapping[str, Any]) -> Config:
    """The recipe of a data set under the flags of a comparison: all samples, the last epoch."""
    recipe = RECIPES.get(flags["dataset"], {})
    given = {**recipe, "energy_weight": 0.0, "select": "last", "refit": True, **flags}
    widths = tuple(given["widths"]) if "widths" in given else Config.widths
    return Config(**{**given, "widths": widths})


def _padded(array: np.ndarray) -> np.ndarray:
    """The array padded with zeros that no index refers to."""
    more = -len(array) % SIZE_STEP
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])


def main() -> None:
    """Serve the runs on standard input."""
    keep_compiled()
    job = json.loads(sys.stdin.read())
    swept = Swept(task_config(job["flags"]), job["regulariser"])
    for run in job["runs"]:
        print(json.dumps(swept.run(Numbers(**run))), flush=True)


if __name__ == "__main__":
    main()
