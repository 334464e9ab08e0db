"""Train state, and the numbers that the terms of its loss start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jsnn._pytree import is_concrete
from jsnn.energy import EnergyBreakdown
from jsnn.nn import Forward, forward
from jsnn.train.objective import Batch, Numbers, Objective
from jsnn.workload import require_finite

Encoder = Callable[[jax.Array, jax.Array], jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a run needs to continue as if it had never stopped.

    Attributes:
        step: optimiser steps done, int32.
        params: trained leaves.
        collections: other variables of the model (`constants`, `batch_stats`).
        opt_state: state of the optimiser.
        key: PRNG key data of the run; step keys are derived from it, so it never changes.
        terms: numbers of the objective's terms (`jsnn.train.objective.Term.start`); None until
            `start_terms` has measured them.
    """

    step: jax.Array
    params: Any
    collections: Mapping[str, Any]
    opt_state: Any
    key: jax.Array
    terms: Mapping[str, Numbers] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `model.apply` takes."""
        return {"params": self.params, **self.collections}


def init_state(
    model: nn.Module, optimiser: optax.GradientTransformation, frames: jax.Array, seed: int
) -> TrainState:
    """Initial state, before `start_terms`.

    Args:
        model: the network.
        optimiser: from `make_optimiser` or any optax transformation.
        frames: `[T, B, ...]`, for shapes.
        seed: of the run.
    """
    key = jax.random.key(seed)
    variables = dict(jax.jit(model.init)(jax.random.fold_in(key, 0), frames))
    params = variables.pop("params")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        collections=variables,
        opt_state=optimiser.init(params),
        key=jax.random.key_data(key),
    )


def start_terms(
    state: TrainState, model: nn.Module, objective: Objective, encoder: Encoder, frames: Any
) -> tuple[TrainState, EnergyBreakdown]:
    """The state with the numbers of its terms, and the energy estimate of the network as it is.

    Both are measured in training mode.

    Args:
        state: before the first step.
        model, objective, encoder: of the run.
        frames: samples `[B, ...]`; a few hundred are enough.

    Raises:
        ValueError: frames that are not what a layer declares, or membranes that are not finite,
            naming the layer; a term without a positive, finite value.
    """

    @jax.jit
    def measure(state, frames):
        passed = as_trained(state, model, encoder, frames, objective.unpriced)
        estimate = objective.estimate_energy(passed.workload, state.params)
        return estimate, passed.outputs, passed.workload

    estimate, outputs, workload = measure(state, frames)
    if all(is_concrete(layer.events_by_fan_out) for layer in workload):
        if not all(np.asarray(layer.finite).all() for layer in workload):
            # Outside of jit a layer names the value.
            as_trained(state, model, encoder, frames, objective.unpriced)
        require_finite(workload)
    batch = Batch(objective, outputs, None, workload, state.params, known_estimate=estimate)
    return dataclasses.replace(state, terms=objective.start(batch)), estimate


def as_trained(
    state: TrainState,
    model: nn.Module,
    encoder: Encoder,
    frames: Any,
    unpriced: tuple[str, ...] = (),
) -> Forward:
    """A forward pass of samples `[B, ...]` as the next training step would make it.

    Args:
        state: before the step.
        model, encoder: of the run.
        frames: samples.
        unpriced: as for `jsnn.run`.
    """
    key = step_key(state)
    options = {"train": True, "rngs": streams(key), "unpriced": unpriced}
    return forward(model, state.variables, encoder(key, frames), **options)


def step_key(state: TrainState) -> jax.Array:
    """Key of the next step."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step + 1)


def streams(key: jax.Array) -> dict[str, jax.Array]:
    """Keys of flax's random streams for one step."""
    return {"dropout": jax.random.fold_in(key, 1), "state": jax.random.fold_in(key, 2)}
