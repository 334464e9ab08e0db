"""The objective of training: a task loss, and terms beside it such as the energy of inference.

loss = mean_B(task) + sum of the terms
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jsnn._pytree import is_concrete
from jsnn.energy import EnergyBreakdown, estimate_layers
from jsnn.hardware import Hardware, check_hardware
from jsnn.train.levers import Lever, Pairs, price
from jsnn.train.losses import LOSSES, Loss, Metric, accuracy, name_of, takes_classes
from jsnn.workload import LayerWorkload, Workload

__all__ = [
    "EVENT_TEMPERATURE",
    "TEMPERATURE",
    "Activity",
    "Batch",
    "DeadNeurons",
    "Energy",
    "Numbers",
    "Objective",
    "Regulariser",
    "RelativeTerm",
    "Term",
    "active_share",
    "energy_terms",
    "per_sample",
    "ramped",
]

# At this value a layer whose sparse dataflow costs four times its dense one gets half the slope of
# the sparse one. Chosen on search folds of convolutions on digits under an earlier form of the
# gradient; 1 is no better under this form (`experiments/results/dataflow_gradient.json`).
EVENT_TEMPERATURE = 2.0
# Temperature of the hard choices of a design, in the gradient.
TEMPERATURE = 0.5
# A function of the workload of a batch and the parameters; hashable.
Regulariser = Callable[[Workload, Any], jax.Array]
# Names of what steps report themselves (`jsnn.train.step`).
_OF_STEPS = {"loss", "finite", "spike_rates"}
# What a term needs to know of its run, as arrays: weights and units.
Numbers = Mapping[str, Any]


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


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What a network did in a batch, and what that costs: priced once for all terms.

    Attributes:
        objective: gives the machine, the levers and the temperatures.
        outputs: of the readout.
        labels: as the loss takes them; None where terms are started.
        workload: of the batch.
        params: of the network and its levers.
        known_estimate: the energy estimate where it is known already.
    """

    objective: Objective
    outputs: jax.Array
    labels: jax.Array | None
    workload: Workload
    params: Any = None
    known_estimate: EnergyBreakdown | None = None

    @functools.cached_property
    def pairs(self) -> Pairs:
        """Each layer under the levers, and the hardware that it runs on."""
        return price(self.objective.levers, self.params, self.workload, self.objective.hardware)

    @functools.cached_property
    def estimate(self) -> EnergyBreakdown:
        """The energy estimate, whose hard choices have a gradient."""
        if self.known_estimate is not None:
            return self.known_estimate
        temperatures = self.objective.temperature, self.objective.event_temperature
        return estimate_layers(self.pairs, *temperatures)

    @functools.cached_property
    def energies_pj(self) -> jax.Array:
        """Energy of each sample, `[B]`."""
        return self.estimate.total_pj()


class Term(abc.ABC):
    """Something weighed in the loss beside the task: a frozen, hashable dataclass.

    Attributes:
        name: of its numbers in `TrainState.terms`; the terms of an objective have different names.
    """

    name: ClassVar[str]

    def start(self, batch: Batch) -> Numbers:
        """Its numbers at the start of a run, as arrays, so that one compiled step serves all.

        Args:
            batch: samples of the untrained network, without labels.
        """
        return {}

    @abc.abstractmethod
    def __call__(
        self, batch: Batch, numbers: Numbers, step: jax.Array | int | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """What is added to the loss, and what is reported under its name.

        Args:
            batch: of the step.
            numbers: those of the run, from `start`.
            step: optimiser steps done; None: the run is over.
        """

    def figures(self, batch: Batch) -> dict[str, jax.Array]:
        """Figures of each sample, `[B]` each, that an evaluation sums."""
        return {}

    def score(self, sums: Mapping[str, Any], numbers: Numbers) -> float:
        """What the term takes off the score that an epoch is chosen by.

        Args:
            sums: over the validation set (`jsnn.train.evaluation.evaluate`).
            numbers: of the run.
        """
        return 0.0

    def check(self, objective: Objective) -> None:  # noqa: B027, few terms have conditions
        """Raise ValueError if the term does not fit the rest of an objective."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelativeTerm(Term):
    """A term relative to its value at initialisation, which is its unit.

    weight · min(step / ramp_steps, 1) · value / reference

    Relative to that: a fixed weight on a logarithm has a gradient that grows as the value falls,
    and drives networks to silence.

    Attributes:
        weight: 0 trains without the term; it is still reported.
        ramp_steps: optimiser steps over which the weight rises linearly from 0, so that a network
            learns to fire before it learns to fire less.

    Raises:
        ValueError: a weight or ramp that is negative or infinite.
    """

    weight: float = 1.0
    ramp_steps: int = 0

    def __post_init__(self) -> None:
        _not_negative(self, "weight", "ramp_steps")

    @abc.abstractmethod
    def value(self, batch: Batch) -> jax.Array:
        """The scalar that is weighed, as a mean over the batch."""

    def start(self, batch: Batch) -> Numbers:
        """The weight, and the value of the untrained network.

        Raises:
            ValueError: a value that is not positive and finite, unless it is traced.
        """
        reference = self.value(batch).astype(jnp.float32)
        if is_concrete(reference) and not 0 < float(reference) < math.inf:
            raise ValueError(
                f"the term {self.name!r} of the untrained network is {float(reference):g}, which "
                "cannot be its unit: expected a positive, finite value; leave the term out, or "
                "begin with a network that fires"
            )
        return {"weight": jnp.float32(self.weight), "reference": reference}

    def __call__(self, batch, numbers, step=None):
        """The weighed value, and the value relative to its unit."""
        relative = self.value(batch) / numbers["reference"]
        return ramped(numbers["weight"], self.ramp_steps, step) * relative, {self.name: relative}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy(RelativeTerm):
    """The mean energy per inference, relative to that at initialisation.

    weight · mean_B(energy) / reference

    >>> Energy(weight=0.25, ramp_steps=500)
    Energy(weight=0.25, ramp_steps=500)
    """

    name: ClassVar[str] = "energy"

    def value(self, batch: Batch) -> jax.Array:
        """Mean energy in pJ."""
        return batch.energies_pj.mean()

    def score(self, sums: Mapping[str, Any], numbers: Numbers) -> float:
        """The weighed energy of the validation set."""
        mean_pj = float((sums["parts_pj"] / sums["samples"]).sum())
        return float(numbers["weight"]) * mean_pj / float(numbers["reference"])


@dataclasses.dataclass(frozen=True)
class Activity(RelativeTerm):
    """An activity regulariser (`jsnn.train.regularisers`), relative to its value at initialisation.

    Attributes:
        regulariser: any hashable function of a workload and the parameters.
        name: of the term; two regularisers of one objective need different names.
        weight, ramp_steps: as for `RelativeTerm`.

    >>> from jsnn.train.regularisers import L1Rate
    >>> Activity(L1Rate(), weight=0.1).name
    'activity'
    """

    regulariser: Regulariser
    name: str = "activity"

    def value(self, batch: Batch) -> jax.Array:
        """The regulariser of the batch."""
        return self.regulariser(batch.workload, batch.params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadNeurons(Term):
    """A penalty for layers most of whose neurons do not fire at all.

    weight · mean_l relu(least_active_share - active_l) / least_active_share

    With the weight of the energy, an entirely silent network has a penalty as large as its initial
    energy.

    Attributes:
        weight: of the penalty.
        least_active_share: share of active neurons (`active_share`) below which it acts.
        ramp_steps: optimiser steps over which the weight rises linearly from 0.

    Raises:
        ValueError: a negative or infinite weight or ramp, a share outside (0, 1].
    """

    name: ClassVar[str] = "dead_neurons"

    weight: float = 1.0
    least_active_share: float = 0.1
    ramp_steps: int = 0

    def __post_init__(self) -> None:
        _not_negative(self, "weight", "ramp_steps")
        if not 0 < self.least_active_share <= 1:
            raise ValueError(
                f"least_active_share must lie in (0, 1], got {self.least_active_share}"
            )

    def start(self, batch: Batch) -> Numbers:
        """The weight."""
        return {"weight": jnp.float32(self.weight)}

    def __call__(self, batch, numbers, step=None):
        """The weighed penalty, and the penalty."""
        share = active_share(Workload(tuple(layer for layer, _ in batch.pairs)))
        penalty = jax.nn.relu(self.least_active_share - share) / self.least_active_share
        penalty = penalty.mean()
        return ramped(numbers["weight"], self.ramp_steps, step) * penalty, {self.name: penalty}


def energy_terms(
    weight: float, *, ramp_steps: int = 0, dead_neuron_weight: float = 1.0
) -> tuple[Energy, DeadNeurons]:
    """The energy with a weight, and the dead-neuron penalty relative to it.

    weight · (energy / reference + dead_neuron_weight · dead)

    So that a silent network costs at least as much as the initial one.

    >>> energy_terms(0.25)[1]
    DeadNeurons(weight=0.25, least_active_share=0.1, ramp_steps=0)
    """
    return (
        Energy(weight=weight, ramp_steps=ramp_steps),
        DeadNeurons(weight=weight * dead_neuron_weight, ramp_steps=ramp_steps),
    )


@dataclasses.dataclass(frozen=True)
class Objective:
    """A task loss and the terms beside it, on one machine.

    loss = mean_B loss(outputs, labels) + sum of the terms

    What differs between runs of one program (weights, limits, units) are the numbers of its terms:
    arrays, measured on the untrained network (`jsnn.train.start_terms`), kept in
    `TrainState.terms`.

    Attributes:
        loss: any function of outputs and labels that gives one value a sample, `[B]`; those of
            the library are in `jsnn.train.losses`.
        hardware: the machine that the energy is estimated for.
        terms: `Energy`, `DeadNeurons`, `Activity`, `jsnn.train.budget.Budget`, or your own
            `Term`; without any the energy is still reported.
        levers: those of the network (`jsnn.train.levers.Levered`), which change what its layers
            cost.
        metrics: functions of outputs and labels, `[B, ...]`, that steps average and evaluations
            sum; None: the accuracy, of a loss whose labels are classes.
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
        unpriced: parameters that no layer accounts for and that stay out of the energy
            (`jsnn.run`).

    Raises:
        ValueError: a name in place of a loss, two terms or metrics of one name, a term that is
            none, a negative temperature.

    >>> from jsnn.hardware import get
    >>> from jsnn.train.losses import CrossEntropy
    >>> objective = Objective(CrossEntropy(), get("neuromorphic-22nm"), energy_terms(0.25))
    >>> [term.name for term in objective.terms]
    ['energy', 'dead_neurons']
    """

    loss: Loss
    hardware: Hardware
    terms: tuple[Term, ...] = ()
    _: dataclasses.KW_ONLY
    levers: tuple[Lever, ...] = ()
    metrics: tuple[Metric, ...] | None = None
    temperature: float = TEMPERATURE
    event_temperature: float = EVENT_TEMPERATURE
    unpriced: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_hardware(self.hardware)
        if isinstance(self.loss, str) or not callable(self.loss):
            raise ValueError(
                f"loss must be a function of outputs and labels, got {self.loss!r}; those of the "
                f"library are in jsnn.train.losses ({', '.join(sorted(LOSSES))} by name in LOSSES)"
            )
        if isinstance(self.terms, Term):
            raise ValueError(f"terms must be a tuple of terms, got {self.terms!r}: give (term,)")
        object.__setattr__(self, "terms", tuple(self.terms))
        if strangers := [term for term in self.terms if not isinstance(term, Term)]:
            raise ValueError(
                f"terms must be of jsnn.train.objective.Term, got {strangers[0]!r}; a regulariser "
                "is weighed by Activity(regulariser, weight=...)"
            )
        if self.metrics is None:
            given = (accuracy,) if takes_classes(self.loss) else ()
            object.__setattr__(self, "metrics", given)
        self._check_names()
        _not_negative(self, "temperature", "event_temperature")
        for term in self.terms:
            term.check(self)

    def _check_names(self) -> None:
        for term in self.terms:
            if not isinstance(getattr(term, "name", None), str):
                raise ValueError(f"the term {term!r} needs an attribute name, a string of its own")
        named = {
            "terms": [term.name for term in self.terms],
            "metrics": [name_of(metric) for metric in self.metrics],
        }
        for kind, names in named.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{kind} need different names, got {', '.join(names)}")

    def estimate_energy(self, workload: Workload, params: Any = None) -> EnergyBreakdown:
        """The energy estimate of the network with its levers, whose leaves are in `params`."""
        whole = estimate_layers(price(self.levers, params, workload, self.hardware))
        return dataclasses.replace(whole, left_out=workload.unpriced)

    def figures(self, workload: Workload, params: Any = None) -> dict[str, dict[str, jax.Array]]:
        """What the terms measure of each sample, by term; only terms that measure something."""
        batch = Batch(self, None, None, workload, params)
        measured = {term.name: term.figures(batch) for term in self.terms}
        return {name: figures for name, figures in measured.items() if figures}

    def start(self, batch: Batch) -> dict[str, Numbers]:
        """The numbers of all terms at the start of a run."""
        return {term.name: term.start(batch) for term in self.terms}

    def __call__(
        self,
        outputs: jax.Array,
        labels: jax.Array,
        workload: Workload,
        params: Any = None,
        numbers: Mapping[str, Numbers] | None = None,
        step: jax.Array | int | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss, and what is reported: task, total_pj, the metrics, what the terms report, loss.

        Args:
            outputs: of the readout.
            labels: as the loss takes them.
            workload: of the same batch.
            params: of the network; levers and regularisers read them.
            numbers: of the terms, from `start`.
            step: optimiser steps done; None: the run is over.

        Raises:
            ValueError: numbers of other terms than those of the objective; a loss or metric that
                does not give one value a sample, a term that does not give one number; two figures
                of one name.
        """
        expected = {term.name for term in self.terms}
        if expected != set(numbers or ()):
            raise ValueError(
                f"expected numbers of the terms {sorted(expected)}, found "
                f"{sorted(numbers or ())}; measure them first: state, first = start_terms(state, "
                "model, objective, encoder, frames)"
            )
        batch = Batch(self, outputs, labels, workload, params)
        samples = len(batch.energies_pj)
        task = per_sample("loss", self.loss, outputs, labels, samples).mean()
        loss, reported = task, {"task": task, "total_pj": batch.energies_pj.mean()}
        for metric in self.metrics:
            name = name_of(metric)
            values = per_sample(f"metric {name}", metric, outputs, labels, samples)
            _report(reported, f"the metric {name!r}", {name: values.mean(0)})
        for term in self.terms:
            penalty, figures = term(batch, numbers[term.name], step)
            if jnp.ndim(penalty):
                raise ValueError(
                    f"the term {term.name!r} must add one number to the loss, got shape "
                    f"{list(jnp.shape(penalty))}: average over the batch"
                )
            loss = loss + penalty
            _report(reported, f"the term {term.name!r}", figures)
        return loss, reported | {"loss": loss}


def per_sample(
    kind: str, function: Callable, outputs: jax.Array, labels: jax.Array, samples: int
) -> jax.Array:
    """Values of a loss or a metric; ValueError unless their first axis is that of the samples."""
    values = jnp.asarray(function(outputs, labels))
    wanted = 1 if kind == "loss" else None
    if not values.ndim or len(values) != samples or values.ndim != (wanted or values.ndim):
        shape = "[B]" if wanted else "[B, ...]"
        raise ValueError(
            f"the {kind} must give one value a sample, {shape} with B = {samples}, got "
            f"{list(values.shape)}: average over classes and steps, not over the batch"
        )
    return values


def _report(reported: dict[str, Any], who: str, figures: Mapping[str, Any]) -> None:
    """Add figures to those reported; ValueError where another has the same name."""
    if taken := sorted(set(figures) & (set(reported) | _OF_STEPS)):
        raise ValueError(
            f"{who} reports {', '.join(map(repr, taken))}, which is reported already: give it "
            "another name"
        )
    reported |= figures


def ramped(weight: jax.Array, ramp_steps: int, step: jax.Array | int | None) -> jax.Array:
    """A weight that rises linearly from 0 over the first optimiser steps; step None: all of it.

    >>> float(ramped(0.5, 10, 4)), ramped(0.5, 10, None)
    (0.2, 0.5)
    """
    if not ramp_steps or step is None:
        return weight
    return weight * jnp.minimum(step / ramp_steps, 1.0)


def _not_negative(owner: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(owner, name) < np.inf:
            raise ValueError(f"{name} must not be negative or infinite, got {getattr(owner, name)}")
