"""Budgets: limits on what an inference uses, as a constraint in place of an energy weight.

penalty = strength * sum_k relu(c_k)^2,   c_k = log(usage_k / limit_k(step))
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn.energy.area import memory_area_layers_mm2
from jsnn.energy.latency import latency_layers
from jsnn.train.levers import Pairs
from jsnn.train.objective import Batch, Numbers, Term
from jsnn.units import parse, text

__all__ = ["RESOURCES", "Budget", "Infeasible", "memory_bytes"]

# The quantities that can be limited, each with its kind (`jsnn.units.QUANTITIES`).
RESOURCES = {
    "energy_pj": "energy",
    "latency_s": "time",
    "memory_bytes": "memory",
    "area_mm2": "area",
}
# Width of words on a machine without a design parameter for it.
FULL_BITS = 32


class Infeasible(ValueError):
    """The budget is infeasible for networks of this shape, or for this network."""


def memory_bytes(pairs: Pairs) -> jax.Array:
    """Memory of the network itself: weights, biases and states, each at its width.

    sum_l [(weights + recurrent weights) * weight bits + (biases + neurons * state words) *
    state bits] / 8

    Words are 32 bits wide where a machine has no design parameter for them.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4, state_bits=16)
    >>> float(memory_bytes([(dense(64, 32, steps=5, rate=0.1), machine)]))
    1088.0
    """
    bits = 0.0
    for layer, hardware in pairs:
        at = layer.geometry
        weight_bits, state_bits = (
            FULL_BITS if width is None else width
            for width in (hardware.design.weight_bits, hardware.design.state_bits)
        )
        if not at.shared:
            bits = bits + (at.weights + at.recurrent_weights) * weight_bits
            bits = bits + at.biases * state_bits
        bits = bits + at.neurons * at.ops.state_words * state_bits
    return jnp.asarray(bits / 8, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Budget(Term):
    """Limits on an inference: a term of an objective (`jsnn.train.objective.Term`).

    limit_k(step) = start_k (limit_k / start_k)^u,
    u = clip((step / steps - anneal_from) / (anneal_to - anneal_from), 0, 1),
    start_k = max(initial usage_k, limit_k)

    Each limit is annealed from the usage of the untrained network: under the final limit from the
    start, the network would fall silent. The multiplier of a limit is the slope of the penalty,
    `2 strength relu(c_k)`: the task loss that changing the limit by a factor of e is worth.

    Which quantities are limited is static; the limits themselves are arrays, the numbers
    of the term, so that one compiled step serves all budgets on the same quantities.

    Attributes:
        energy_pj, latency_s, memory_bytes, area_mm2: limits, as numbers or with a unit, as
            `"60nJ"`; None: none. Energy and latency are
            means over the samples. Memory is that of `memory_bytes`, area that of the machine's
            memories (`jsnn.energy.area`); only levers change these two.
        node_nm: technology node of the area.
        steps: optimiser steps of the run; 0: the limits apply in full from the start.
        anneal_from, anneal_to: shares of the steps between which the limits are lowered.
        strength: of the penalty.

    Raises:
        ValueError: no limit, one that is not positive, an area without a node, shares out of order.

    >>> budget = Budget(energy_pj=100.0, steps=100)
    >>> numbers = budget.numbers({"energy_pj": 400.0})
    >>> [round(float(budget.limits(numbers, step)["energy_pj"])) for step in (0, 10, 35, 60, 100)]
    [400, 400, 200, 100, 100]
    >>> Budget(energy_pj="60nJ").energy_pj
    60000.0
    """

    name: ClassVar[str] = "budget"

    energy_pj: float | None = None
    latency_s: float | None = None
    memory_bytes: float | None = None
    area_mm2: float | None = None
    node_nm: float | None = None
    steps: int = 0
    anneal_from: float = 0.1
    anneal_to: float = 0.6
    strength: float = 10.0

    def __post_init__(self) -> None:
        if not self.limited:
            raise ValueError(f"expected at least one limit of {list(RESOURCES)}, found none")
        for name, limit in self.limited.items():
            kind = RESOURCES[name]
            if isinstance(limit, str):
                limit = parse(limit, kind)
                object.__setattr__(self, name, limit)
            if isinstance(limit, bool) or not isinstance(limit, Real):
                raise ValueError(
                    f"{name} must be a number, in {name.rpartition('_')[2]}, got {limit!r}; "
                    f"quantities with a unit are read by jsnn.units.parse({limit!r}, {kind!r})"
                )
            if not 0 < limit < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {limit}")
        if self.area_mm2 is not None and self.node_nm is None:
            raise ValueError("a limit of the area needs the node of its technology: give node_nm")
        if not 0 <= self.anneal_from < self.anneal_to <= 1:
            raise ValueError(
                "limits come down between two shares of the steps, 0 <= anneal_from < anneal_to "
                f"<= 1, got {self.anneal_from} and {self.anneal_to}"
            )
        if self.steps < 0 or not self.strength > 0:
            raise ValueError(
                "steps must not be negative and strength be positive, got "
                f"{self.steps} and {self.strength}"
            )

    @property
    def limited(self) -> dict[str, float]:
        """The limits that are set, by name."""
        every = {name: getattr(self, name) for name in RESOURCES}
        return {name: limit for name, limit in every.items() if limit is not None}

    def numbers(self, start: Mapping[str, Any]) -> Numbers:
        """The numbers of a run: logarithms of the limits and of their starting values.

        Args:
            start: mean usage of the untrained network, by name.
        """
        limit = {name: jnp.log(jnp.float32(value)) for name, value in self.limited.items()}
        return {
            "log_limit": limit,
            "log_start": {
                name: jnp.maximum(jnp.log(jnp.asarray(start[name], jnp.float32)), limit[name])
                for name in limit
            },
        }

    def start(self, batch: Batch) -> Numbers:
        """The numbers of a run that starts with the usage of a batch."""
        return self.numbers({name: each.mean() for name, each in self.figures(batch).items()})

    def limits(self, numbers: Numbers, step: jax.Array | int | None = None) -> dict[str, jax.Array]:
        """The limits at a step; None: those after the last step."""
        share = 1.0
        if self.steps and step is not None:
            span = self.anneal_to - self.anneal_from
            share = jnp.clip((step / self.steps - self.anneal_from) / span, 0.0, 1.0)
        return {
            name: jnp.exp(
                (1 - share) * numbers["log_start"][name] + share * numbers["log_limit"][name]
            )
            for name in numbers["log_limit"]
        }

    def usage(self, pairs: Pairs, total_pj: jax.Array) -> dict[str, jax.Array]:
        """Usage of each limited quantity by each sample, `[B]` each."""
        measures = {
            "energy_pj": lambda: total_pj,
            "latency_s": lambda: latency_layers(pairs).seconds,
            "memory_bytes": lambda: memory_bytes(pairs),
            "area_mm2": lambda: memory_area_layers_mm2(pairs, self.node_nm),
        }
        like = jnp.zeros_like(total_pj)
        return {name: measures[name]() + like for name in self.limited}

    def figures(self, batch: Batch) -> dict[str, jax.Array]:
        """Usage of each limited quantity by each sample, `[B]` each."""
        return self.usage(batch.pairs, batch.energies_pj)

    def __call__(self, batch, numbers, step=None):
        """The penalty, and the multiplier of each limit as `multiplier_<name>`."""
        means = {name: each.mean() for name, each in self.figures(batch).items()}
        return self.penalty(numbers, means, step)

    def score(self, sums: Mapping[str, Any], numbers: Numbers) -> float:
        """The penalty of the validation set, at the final limits."""
        return float(self.penalty(numbers, self.mean_usage(sums))[0])

    def mean_usage(self, sums: Mapping[str, Any], silent: bool = False) -> dict[str, float]:
        """Mean usage of each limited quantity over an evaluated set.

        Args:
            sums: from `jsnn.train.evaluation.evaluate`.
            silent: of the same network without hidden spikes.
        """
        figures = sums["figures_spike_independent" if silent else "figures"][self.name]
        return {name: float(value / sums["samples"]) for name, value in figures.items()}

    def penalty(
        self, numbers: Numbers, usage: Mapping[str, jax.Array], step: Any = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The penalty of a mean usage, and the multiplier of each limit as `multiplier_<name>`."""
        limits = self.limits(numbers, step)
        usage_shares = {name: jax.nn.relu(jnp.log(usage[name] / limits[name])) for name in limits}
        penalty = sum(self.strength * jnp.square(excess) for excess in usage_shares.values())
        reported = {
            f"multiplier_{n}": 2 * self.strength * excess for n, excess in usage_shares.items()
        }
        return penalty, reported

    def usage_shares(self, usage: Mapping[str, float]) -> dict[str, float]:
        """`usage / limit` by name, as plain numbers.

        >>> Budget(energy_pj=100.0).usage_shares({"energy_pj": 125.0})
        {'energy_pj': 1.25}
        """
        return {name: float(usage[name]) / limit for name, limit in self.limited.items()}

    def refuse_below(self, independent: Mapping[str, float]) -> None:
        """Raise unless every limit is at least the usage of the silent network.

        Args:
            independent: mean usage by name of the network when none of its neurons fires.

        Raises:
            Infeasible: naming the limit and the spike-independent usage.
        """
        below = [name for name, ratio in self.usage_shares(independent).items() if ratio > 1]
        if below:
            shortfalls = "; ".join(
                f"{name} is limited to {_both(name, self.limited[name])}, "
                f"its spike-independent usage is {_both(name, independent[name])}"
                for name in below
            )
            raise Infeasible(
                f"infeasible budget: {shortfalls} (what this network spends when none of its own "
                "neurons fires): raise the budget, or take a smaller network, fewer steps or "
                "another machine"
            )


def _both(name: str, value: float) -> str:
    """A number in the unit of its field, and again in a readable unit."""
    return f"{value:.6g} ({text(value, RESOURCES[name])})"
