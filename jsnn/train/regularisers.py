"""Activity regularisers of the literature: one number per workload, lower for fewer spikes.

term = mean_B regulariser(sample) / its value at initialisation

Each is a frozen dataclass, called with a workload and the parameters of the network, and is weighed
in a loss by `jsnn.train.objective.Activity(regulariser, weight=…)`. Where a source leaves a target
open we choose it so low that no run of a comparison reaches it.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp

from jsnn.energy import estimate_energy
from jsnn.energy.qnn import Density, estimate_qnn_energy
from jsnn.hardware import Hardware
from jsnn.train.objective import EVENT_TEMPERATURE, TEMPERATURE, Regulariser
from jsnn.train.optimiser import label_params
from jsnn.workload import LayerWorkload, Workload

__all__ = [
    "REGULARISERS",
    "EnergyEstimate",
    "EnergyRatio",
    "Hoyer",
    "L1Rate",
    "RateBounds",
    "SquaredRate",
    "SynapticPenalty",
    "SynopsTarget",
    "WeightsAndActivations",
    "make",
]


@dataclasses.dataclass(frozen=True)
class L1Rate:
    """`mean_n r_n`, the usual activity penalty: spikes per neuron and step, all hidden neurons.

    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(8, 4, steps=5, rate=0.5, rate_out=0.2),))
    >>> float(L1Rate()(work))
    0.2
    """

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        return _mean_rate(workload).mean()


@dataclasses.dataclass(frozen=True)
class SquaredRate:
    """`(mean_n r_n - target)^2`.

    Source: the budget term of arXiv 2602.12236 (SECONDARY), whose weight follows a controller;
    here it is fixed. With published targets of .05 to .2, runs would end above the energies that
    are compared.

    Attributes:
        target: spikes per neuron and step.

    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(8, 4, steps=5, rate=0.5, rate_out=0.2),))
    >>> float(SquaredRate(target=0.1)(work))
    0.01
    """

    target: float = 0.01

    def __post_init__(self):
        _not_negative(self, "target")

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        return jnp.square(_mean_rate(workload) - self.target).mean()


@dataclasses.dataclass(frozen=True)
class Hoyer:
    """`mean_l (sum_n c_n)^2 / (sum_n c_n^2) / N_l`, spike counts c; 0 for a silent layer.

    It equals the share of neurons that fire if all of those fire equally often. Source: Datta, Liu
    & Beerel 2022 (2212.10170), who compute it from clipped membranes at T = 1. Computed from single
    spikes it would just be their number, so over longer windows we compute it from spike counts.

    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(8, 4, steps=5, rate=0.5, rate_out=0.2),))
    >>> float(Hoyer()(work))
    1.0
    """

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        return jnp.stack([_hoyer(layer) for layer in _hidden(workload)]).mean()


@dataclasses.dataclass(frozen=True)
class RateBounds:
    """`mean_l [ relu(mean_n r_n - upper)^2 + mean_n relu(lower - r_n)^2 ]`.

    Source: Cramer et al. 2020 (1910.07407), spike-count regularisation.

    Attributes:
        lower: spikes per step below which a neuron is pushed up.
        upper: spikes per neuron and step above which a layer is pushed down.

    Raises:
        ValueError: bounds that cross, or a negative one.

    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(8, 4, steps=5, rate=0.5, rate_out=0.2),))
    >>> float(RateBounds(upper=0.1)(work))
    0.01
    """

    lower: float = 0.001
    upper: float = 0.01

    def __post_init__(self):
        _not_negative(self, "lower")
        if not self.lower <= self.upper:
            raise ValueError(f"bounds must not cross, got {self.lower} above {self.upper}")

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        terms = []
        for layer in _hidden(workload):
            rates = _counts(layer) / layer.steps
            over = jax.nn.relu(rates.mean(-1) - self.upper)
            under = jax.nn.relu(self.lower - rates)
            terms.append((jnp.square(over) + jnp.square(under).mean(-1)).mean())
        return jnp.stack(terms).mean()


@dataclasses.dataclass(frozen=True)
class SynopsTarget:
    """`(synops / (connections x T) - target)^2`, synaptic operations of hidden spikes.

    Source: Sorbaro et al. 2020 and the synops loss of sinabs: the squared distance of the number of
    synaptic operations from a target; here per connection and step, so that one target serves every
    network.

    Attributes:
        target: synaptic operations per connection and step.

    >>> from jsnn.workload.analytic import dense
    >>> hidden = dense(8, 4, steps=5, rate=0.5, rate_out=0.2, input_kind="events")
    >>> work = Workload((hidden, dense(4, 2, steps=5, rate=0.2)))
    >>> float(SynopsTarget(target=0.1)(work))
    0.01
    """

    target: float = 0.01

    def __post_init__(self):
        _not_negative(self, "target")

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        return jnp.square(_synops_rate(workload) - self.target).mean()


@dataclasses.dataclass(frozen=True)
class SynapticPenalty:
    """`sum_l sum_i fan-out_i s_i / (connections x T)`, spikes weighted by fan-out.

    Source: Suetake et al. 2023 (2302.01500), spiking synaptic penalty with p = 1, their best.

    >>> from jsnn.workload.analytic import dense
    >>> hidden = dense(8, 4, steps=5, rate=0.5, rate_out=0.2, input_kind="events")
    >>> work = Workload((hidden, dense(4, 2, steps=5, rate=0.2)))
    >>> float(SynapticPenalty()(work))
    0.2
    """

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        return _synops_rate(workload).mean()


@dataclasses.dataclass(frozen=True)
class WeightsAndActivations:
    """`sum_l mean_n r_n + weights · sum_l |W_l|_1`.

    Source: our stand-in for the two terms of arXiv 2409.08290 v1, on weights and on activations,
    whose exact form we could not find published.

    Attributes:
        weights: of the second term.

    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(8, 4, steps=5, rate=0.5, rate_out=0.2),))
    >>> params = {"hidden_0": {"synapse": {"kernel": jnp.ones((8, 4))}}}
    >>> float(WeightsAndActivations(weights=0.01)(work, params))
    0.52
    """

    weights: float = 4e-6

    def __post_init__(self):
        _not_negative(self, "weights")

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar; ValueError without parameters."""
        labels = jax.tree.leaves(label_params(params or {}))
        leaves = jax.tree.leaves(params)
        kernels = [
            leaf
            for leaf, label in zip(leaves, labels, strict=True)
            if label == "weights" and leaf.ndim > 1
        ]
        if not kernels:
            raise ValueError("a term on weights needs the parameters of the network, found none")
        active = sum(layer.spike_rate.mean() for layer in _hidden(workload))
        return active + self.weights * sum(jnp.abs(kernel).sum() for kernel in kernels)


@dataclasses.dataclass(frozen=True)
class EnergyEstimate:
    """The energy estimate in pJ: that of `jsnn.train.objective.Energy` on a network without levers.

    Attributes:
        hardware: the machine that the energy is estimated for.
        temperature, event_temperature: see `jsnn.train.objective.Objective`.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(64, 32, steps=5, rate=0.05, rate_out=0.1),))
    >>> float(EnergyEstimate(get("compute-only-45nm"))(work))
    619.2
    """

    hardware: Hardware
    temperature: float = TEMPERATURE
    event_temperature: float = EVENT_TEMPERATURE

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar, pJ."""
        priced = estimate_energy(workload, self.hardware, self.temperature, self.event_temperature)
        return priced.total_pj().mean()


@dataclasses.dataclass(frozen=True)
class EnergyRatio:
    """`E_SNN / E_QNN` of the mean sample: the energy over that of the QNN of equal capacity.

    The gradient goes through both: a network may also lower the ratio by making its QNN denser, so
    the energy itself must be looked at too.

    Attributes:
        hardware: the machine of both.
        density: of the QNN (`jsnn.energy.qnn.estimate_qnn_energy`). `average` is smooth; with
            `measured` only the first spike of an input counts.
        event_temperature: of the energy, see `jsnn.train.objective.Objective`.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(64, 32, steps=5, rate=0.05, rate_out=0.1),))
    >>> machine = get("neuromorphic-22nm")
    >>> from jsnn.energy.qnn import mean_energy_ratio
    >>> bool(jnp.allclose(EnergyRatio(machine)(work), mean_energy_ratio(work, machine, "average")))
    True
    """

    hardware: Hardware
    density: Density = "average"
    event_temperature: float = EVENT_TEMPERATURE

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar."""
        spiking = estimate_energy(workload, self.hardware, event_temperature=self.event_temperature)
        other = estimate_qnn_energy(workload, self.hardware, self.density)
        # Ratio of means: a silent sample, whose QNN may cost nothing, would make a mean of ratios
        # NaN.
        return spiking.total_pj().mean() / other.total_pj().mean()


REGULARISERS: dict[str, type] = {
    "energy": EnergyEstimate,
    "energy-ratio": EnergyRatio,
    "l1-rate": L1Rate,
    "squared-rate": SquaredRate,
    "hoyer": Hoyer,
    "rate-bounds": RateBounds,
    "synops-target": SynopsTarget,
    "synaptic-penalty": SynapticPenalty,
    "weights-activations": WeightsAndActivations,
}


def make(name: str, hardware: Hardware, **options: Any) -> Regulariser:
    """The regulariser of a name, on a machine if it needs one; ValueError for an unknown name.

    >>> from jsnn.hardware import get
    >>> make("squared-rate", get("neuromorphic-22nm"), target=0.05)
    SquaredRate(target=0.05)
    """
    if name not in REGULARISERS:
        raise ValueError(f"unknown regulariser {name!r}; there are: {', '.join(REGULARISERS)}")
    kind = REGULARISERS[name]
    if "hardware" in inspect.signature(kind).parameters:
        options = {"hardware": hardware, **options}
    return kind(**options)


def _hidden(workload: Workload) -> list[LayerWorkload]:
    layers = [layer for layer in workload if layer.geometry.spiking]
    if not layers:
        raise ValueError(f"no layer of {workload.names} spikes: there is nothing to regularise")
    return layers


def _counts(layer: LayerWorkload) -> jax.Array:
    """`[B, N]` spikes of each neuron over the window."""
    return layer.spikes.reshape(layer.spikes.shape[0], -1)


def _mean_rate(workload: Workload) -> jax.Array:
    """`[B]` spikes per neuron and step over all hidden neurons."""
    layers = _hidden(workload)
    chances = sum(layer.geometry.neurons * layer.steps for layer in layers)
    return sum(layer.output_events for layer in layers) / chances


def _synops_rate(workload: Workload) -> jax.Array:
    """`[B]` synaptic operations of hidden spikes per connection and step."""
    done, possible = 0.0, 0
    for layer in workload:
        if layer.geometry.from_neurons:
            done = done + layer.synops
            possible += layer.geometry.synapses * layer.steps
        if layer.geometry.recurrent_weights:
            done = done + layer.recurrent_synops
            possible += layer.geometry.recurrent_weights * layer.steps
    if not possible:
        raise ValueError(f"no spike of {workload.names} reaches a synapse of this network")
    return done / possible


def _hoyer(layer: LayerWorkload) -> jax.Array:
    counts = _counts(layer)
    total, square = counts.sum(-1), jnp.square(counts).sum(-1)
    share = jnp.square(total) / jnp.where(square > 0, square, 1) / layer.geometry.neurons
    return share.mean()


def _not_negative(regulariser: Any, name: str) -> None:
    if not getattr(regulariser, name) >= 0:
        raise ValueError(f"{name} must not be negative, got {getattr(regulariser, name)}")
