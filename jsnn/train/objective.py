"""The objective of training: task loss, energy of inference, and a penalty for dead neurons.

loss = task + energy_weight * (mean_B(energy) / initial energy + dead_neuron_weight * dead)

or, under a constraint: loss = task + penalty + dead_neuron_weight * dead
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jsnn.energy import EnergyBreakdown, estimate_layers
from jsnn.hardware import Hardware, check_hardware
from jsnn.train.levers import Lever, Pairs, price
from jsnn.train.losses import TASKS, accuracy
from jsnn.workload import LayerWorkload, Workload

# At this value a layer whose sparse dataflow costs four times its dense one gets half the slope of
# the sparse one. Chosen on search folds of convolutions on digits under an earlier form of the
# gradient; 1 is no better under this form (`experiments/results/dataflow_gradient.json`).
EVENT_TEMPERATURE = 2.0
# Temperature of the hard choices of a design, in the gradient.
TEMPERATURE = 0.5
# A function of the workload of a batch and the parameters; hashable.
Regulariser = Callable[[Workload, Any], jax.Array]


def active_share(workload: Workload, half: float = 0.2) -> jax.Array:
    """Active neurons of each hidden spiking layer as a smooth share in [0, 1], `[layers]`.

    active_l = mean_n r_n / (r_n + half),   r_n = spikes of neuron n per inference, batch mean

    Its slope is steepest at r = 0, so a layer about to fall silent is pulled back while its
    surrogate still has a gradient. Layers that cannot spike are left out.

    Args:
        workload: of a batch.
        half: spikes per inference at which a neuron counts as one half.
    """
    shares = [
        _half_saturation(layer.spikes.mean(0), half) * _of_all(layer)
        for layer in workload
        if layer.geometry.spiking
    ]
    return jnp.stack(shares) if shares else jnp.ones((1,))


def _half_saturation(rates: jax.Array, half: float) -> jax.Array:
    return (rates / (rates + half)).mean()


def _of_all(layer: LayerWorkload) -> Any:
    """Neurons that ran per neuron left: those that a lever removed do not count as dead."""
    ran, left = math.prod(layer.spikes.shape[1:]), layer.geometry.neurons
    return 1 if isinstance(left, int) else ran / left


class Constraint(Protocol):
    """Limits on an inference; hashable, takes the place of the weighted energy."""

    def usage(self, pairs: Pairs, total_pj: jax.Array) -> dict[str, jax.Array]:
        """Usage of each limited quantity by each sample, `[B]` each, by name.

        Args:
            pairs: layers and the hardware that they run on.
            total_pj: their energy, `[B]`.
        """
        ...

    def penalty(
        self, targets: Any, usage: dict[str, jax.Array], step: jax.Array | int | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The penalty term of the loss, and terms to be reported with it.

        Args:
            targets: the limits, as stored in the state of the run (`TrainState.targets`).
            usage: mean usage over the batch.
            step: optimiser steps done; None: the run is over.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Objective:
    """Task, energy and dead-neuron terms with their weights.

    loss = mean_B task + energy_weight * (mean_B energy / reference_pj + dead_neuron_weight * dead)
    dead = mean_l relu(least_active_share - active_l) / least_active_share

    The energy is relative to that at initialisation: a fixed weight on its logarithm has a gradient
    that grows as the energy falls, and drives networks to silence. With dead_neuron_weight 1, an
    entirely silent network has a penalty as large as its initial energy.

    With a constraint: loss = mean_B task + penalty + dead_neuron_weight * dead.

    Targets are the numbers that differ between runs, as arrays, so that one compiled step serves
    them all: `{"energy_weight": w}`, or what the constraint takes.

    Attributes:
        task: one of `TASKS`.
        hardware: the machine that the energy is estimated for.
        energy_weight: 0 trains on the task alone; the energy is still reported.
        dead_neuron_weight: weight of the dead-neuron penalty against the relative energy.
        least_active_share: share of active neurons below which this penalty acts.
        ramp_steps: optimiser steps over which the energy weight rises linearly from 0 to its value,
            so that a network learns to fire before it learns to fire less.
        temperature: of the hard choices of a design, in the gradient
            (`jsnn.energy.estimate_energy`).
        event_temperature: of the choice between dataflows, in the gradient with respect to spikes.
            A layer in the dense dataflow must still get a gradient from what its spikes would cost
            in the sparse one, or little drives it there; 0 is the hard choice. Up to the rate at
            which the dataflow changes (`jsnn.energy.dataflow`) the gradient is the slope of the
            estimate. Above it, where the estimate is nearly flat in the spikes, it falls
            continuously from that slope, as `(E_dense / E_sparse)^(1/t)`: just above that rate it
            is about sixty times that of the estimate on neuromorphic-22nm (a dense layer of 512
            inputs).
        levers: those of the network (`jsnn.train.levers.Levered`), which change what its layers
            cost.
        constraint: limits on an inference (`jsnn.train.budget`), in place of a weight.
        unpriced: parameters that no layer accounts for and that stay out of the energy
            (`jsnn.run`).
        regulariser: weighted in place of the energy (`jsnn.train.regularisers`), relative to its
            own value at initialisation; None: the energy.

    Raises:
        ValueError: unknown task, negative weight or temperature, share outside (0, 1], a weight
            together with a constraint.
    """

    task: str
    hardware: Hardware
    energy_weight: float = 0.0
    dead_neuron_weight: float = 1.0
    least_active_share: float = 0.1
    ramp_steps: int = 0
    temperature: float = TEMPERATURE
    event_temperature: float = EVENT_TEMPERATURE
    levers: tuple[Lever, ...] = ()
    constraint: Constraint | None = None
    regulariser: Regulariser | None = None
    unpriced: tuple[str, ...] = ()

    def __post_init__(self):
        check_hardware(self.hardware)
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {sorted(TASKS)}, got {self.task!r}")
        weights = ("energy_weight", "dead_neuron_weight", "ramp_steps")
        for name in (*weights, "temperature", "event_temperature"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must not be negative or infinite, got {getattr(self, name)}"
                )
        if not 0 < self.least_active_share <= 1:
            raise ValueError(
                f"least_active_share must lie in (0, 1], got {self.least_active_share}"
            )
        if self.constraint is not None and self.energy_weight:
            raise ValueError(
                f"a constraint takes the place of a weight: energy_weight must be 0 beside it, "
                f"got {self.energy_weight}"
            )

    def estimate_energy(self, workload: Workload, params: Any = None) -> EnergyBreakdown:
        """The energy estimate of the network with its levers, whose leaves are in `params`."""
        whole = estimate_layers(price(self.levers, params, workload, self.hardware))
        return dataclasses.replace(whole, left_out=workload.unpriced)

    def usage(self, workload: Workload, params: Any = None) -> dict[str, jax.Array]:
        """Usage of each limited quantity by each sample, `[B]`; empty without a constraint."""
        if self.constraint is None:
            return {}
        pairs = price(self.levers, params, workload, self.hardware)
        return self.constraint.usage(pairs, estimate_layers(pairs).total_pj())

    def __call__(
        self,
        outputs: jax.Array,
        labels: jax.Array,
        workload: Workload,
        reference_pj: jax.Array,
        step: jax.Array | int | None = None,
        params: Any = None,
        targets: Any = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss, and its raw terms: task, energy (relative), dead_neurons, total_pj, accuracy.

        Under a constraint also the terms that it reports.

        Args:
            outputs: of the readout.
            labels: as the task takes them.
            workload: of the same batch.
            reference_pj: unit of the energy term; with a regulariser, in the regulariser's unit.
            step: optimiser steps done, for the ramp; None: the ramp is over.
            params: of the network; only levers and regularisers read them.
            targets: of the run; None: the energy weight above.

        Raises:
            ValueError: a constraint without targets.
        """
        pairs = price(self.levers, params, workload, self.hardware)
        each_pj = estimate_layers(pairs, self.temperature, self.event_temperature).total_pj()
        total_pj = each_pj.mean()
        weighed = total_pj if self.regulariser is None else self.regulariser(workload, params)
        share = active_share(Workload(tuple(layer for layer, _ in pairs)))
        terms = {
            "task": TASKS[self.task](outputs, labels).mean(),
            "energy": weighed / reference_pj,
            "dead_neurons": (
                jax.nn.relu(self.least_active_share - share) / self.least_active_share
            ).mean(),
            "total_pj": total_pj,
            "accuracy": accuracy(outputs, labels).mean(),
        }
        if self.constraint is not None:
            if targets is None:
                raise ValueError(
                    "a constraint needs targets: put its limits into TrainState.targets"
                )
            usage = self.constraint.usage(pairs, each_pj)
            means = {name: each.mean() for name, each in usage.items()}
            penalty, reported = self.constraint.penalty(targets, means, step)
            loss = terms["task"] + penalty + self.dead_neuron_weight * terms["dead_neurons"]
            return loss, terms | reported | {"loss": loss}
        cost = terms["energy"] + self.dead_neuron_weight * terms["dead_neurons"]
        weight = self.energy_weight if targets is None else targets["energy_weight"]
        if self.ramp_steps and step is not None:
            weight = weight * jnp.minimum(step / self.ramp_steps, 1.0)
        loss = terms["task"] + weight * cost
        return loss, terms | {"loss": loss}
