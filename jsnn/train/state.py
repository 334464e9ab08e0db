"""Train state, and the energy at initialisation that its loss is relative to."""

from __future__ import annotations

import dataclasses
import math
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
from jsnn.train.objective import Objective
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
        reference_pj: energy at initialisation, the unit of the energy term.
        targets: numbers of this run that its compiled step takes (see
            `jsnn.train.objective.Objective`); None: those of the objective.
    """

    step: jax.Array
    params: Any
    collections: Mapping[str, Any]
    opt_state: Any
    key: jax.Array
    reference_pj: jax.Array
    targets: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `model.apply` takes."""
        return {"params": self.params, **self.collections}


def init_state(
    model: nn.Module, optimiser: optax.GradientTransformation, frames: jax.Array, seed: int
) -> TrainState:
    """Initial state; `reference_pj` is NaN until `with_reference` has measured it.

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
        reference_pj=jnp.full((), jnp.nan, jnp.float32),
    )


def initial_energy(
    state: TrainState, model: nn.Module, objective: Objective, encoder: Encoder, frames
) -> EnergyBreakdown:
    """The energy estimate of the current network, in training mode, on samples `[B, ...]`.

    Raises:
        ValueError: frames that are not what a layer declares, or membranes that are not finite,
            naming the layer.
    """

    @jax.jit
    def measure(state, frames):
        workload = as_trained(state, model, encoder, frames, objective.unpriced).workload
        return objective.estimate_energy(workload, state.params), workload

    whole, workload = measure(state, frames)
    if not all(is_concrete(layer.events_by_fan_out) for layer in workload):
        return whole
    if not all(np.asarray(layer.finite).all() for layer in workload):
        # Outside of jit a layer names the value.
        as_trained(state, model, encoder, frames, objective.unpriced)
    require_finite(workload)
    return whole


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


def with_reference(state: TrainState, first: EnergyBreakdown) -> TrainState:
    """The state with the mean energy of an estimate as the unit of the energy term.

    Raises:
        ValueError: not an energy estimate, or (unless traced) not a positive, finite one.
    """
    if not isinstance(first, EnergyBreakdown):
        raise ValueError(
            f"expected an EnergyBreakdown, as of initial_energy(state, model, objective, encoder, "
            f"frames), found {type(first).__name__}"
        )
    reference_pj = first.total_pj().mean().astype(jnp.float32)
    if is_concrete(reference_pj) and not 0 < float(reference_pj) < math.inf:
        raise ValueError(
            f"the energy at initialisation is {float(reference_pj):g} pJ, which cannot be the "
            "unit of the energy term: expected a positive, finite one"
        )
    return dataclasses.replace(state, reference_pj=reference_pj)


def step_key(state: TrainState) -> jax.Array:
    """Key of the next step."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step + 1)


def streams(key: jax.Array) -> dict[str, jax.Array]:
    """Keys of flax's random streams for one step."""
    return {"dropout": jax.random.fold_in(key, 1), "state": jax.random.fold_in(key, 2)}
