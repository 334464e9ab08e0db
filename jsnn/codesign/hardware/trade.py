"""Cost of a design: energy, latency and area together, so that no parameter is free.

cost = E / E0 + latency_weight · L / L0 + area_weight · A / A0 + excess_weight · excess

E0, L0 and A0 are those of the same workload on the machine before any lever. `Trade.cost` is that
of a recorded workload; as a term of an objective `Trade` adds all of it but the energy, which is a
term of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn.codesign.hardware.design_parameters import DesignParameters
from jsnn.codesign.hardware.rules import RULES, unopposed
from jsnn.energy import estimate_layers
from jsnn.energy.area import memory_area_layers_mm2
from jsnn.energy.latency import latency_layers
from jsnn.train.levers import Pairs, split
from jsnn.train.objective import Batch, Energy, Numbers, Objective, Term, ramped

__all__ = ["Trade", "check_opposed"]


def check_opposed(parameters: DesignParameters, terms: set[str]) -> None:
    """Raise ValueError if the terms of a cost push a design parameter in one direction only.

    Args:
        parameters: those that are trained.
        terms: of the cost, out of `jsnn.codesign.hardware.rules.TERMS`.

    >>> from jsnn.codesign.hardware.design_parameters import DesignParameter
    >>> from jsnn.hardware import get
    >>> parameters = DesignParameters(get("spatial-45nm"), (DesignParameter("pes", 16, 4096),))
    >>> check_opposed(parameters, {"energy", "latency", "area"})
    """
    for name in parameters.names:
        if name in parameters.opposed:
            continue
        if (way := unopposed(name, terms)) is not None:
            pushing = getattr(RULES[name], way)
            raise ValueError(
                f"nothing pushes {name} {way}: it takes {' or '.join(pushing)} among the terms of "
                f"the cost, found {sorted(terms)}; give that term a weight or leave the design "
                "parameter out"
            )


@dataclasses.dataclass(frozen=True)
class Trade(Term):
    """Weights of the terms in the cost of a design; latency, area and excess as a term of a loss.

    weight · min(step / ramp_steps, 1) · (latency_weight · L / L0 + area_weight · A / A0)
    + excess_weight · excess

    Attributes:
        latency_weight, area_weight: of L / L0 and A / A0; energy weighs 1.
        node_nm: technology node of the memory cells; required with an area weight.
        excess_weight: of `DesignParameters.excess`.
        temperature: of hard choices, for their gradient (`jsnn.hardware.relaxation`).
        weight: of latency and area in the loss: the weight of the energy beside them.
        ramp_steps: optimiser steps over which that weight rises linearly from 0.

    Raises:
        ValueError: a negative weight or ramp, no penalty or temperature, an area without a node;
            from an objective, a design parameter that its terms push in one direction only.
    """

    name: ClassVar[str] = "trade"

    latency_weight: float = 0.0
    area_weight: float = 0.0
    node_nm: float | None = None
    excess_weight: float = 10.0
    temperature: float = 0.1
    weight: float = 1.0
    ramp_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("latency_weight", "area_weight", "weight", "ramp_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("excess_weight", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.area_weight and self.node_nm is None:
            raise ValueError("an area needs the node of its memory cells: give node_nm")

    @property
    def terms(self) -> set[str]:
        """Names of the terms that the cost has."""
        names = {"energy", "capacity"}
        names |= {"latency"} if self.latency_weight else set()
        return names | ({"area"} if self.area_weight else set())

    def means(self, pairs: Pairs, temperature: float = 0.0) -> dict[str, jax.Array]:
        """`latency_s` and `area_mm2` of a mean inference, those that have a weight.

        >>> from jsnn.hardware import get
        >>> from jsnn.workload.analytic import dense
        >>> pairs = [(dense(64, 32, steps=4, rate=0.25), get("spatial-45nm"))]
        >>> {k: float(v) for k, v in Trade(1.0, 1.0, 45).means(pairs).items()}
        {'latency_s': 6.25e-08, 'area_mm2': 5.38}
        """
        averages = {}
        if self.latency_weight:
            averages["latency_s"] = latency_layers(pairs, temperature).seconds.mean()
        if self.area_weight:
            averages["area_mm2"] = jnp.asarray(memory_area_layers_mm2(pairs, self.node_nm))
        return averages

    def beside(
        self, pairs: Pairs, before: Pairs, temperature: Any = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The latency and area terms of the cost, and the figures behind them.

        Args:
            pairs: layers and their hardware, with levers.
            before: the same layers on the machine before any lever.
            temperature: None: that of the trade.
        """
        temperature = self.temperature if temperature is None else temperature
        weights = {"latency_s": self.latency_weight, "area_mm2": self.area_weight}
        now, then = self.means(pairs, temperature), self.means(before)
        # More work must not raise the reference that cost is relative to.
        shares = [weights[n] * now[n] / jax.lax.stop_gradient(then[n]) for n in now]
        return sum(shares, jnp.zeros(())), now

    def cost(
        self, pairs: Pairs, before: Pairs, excess: Any = 0.0, temperature: Any = None
    ) -> jax.Array:
        """The cost of a recorded workload; arguments of `beside`, and the parameters' excess."""
        temperature = self.temperature if temperature is None else temperature
        now, then = estimate_layers(pairs, temperature), estimate_layers(before)
        energy = now.total_pj().mean() / jax.lax.stop_gradient(then.total_pj().mean())
        beside, _ = self.beside(pairs, before, temperature)
        return energy + beside + self.excess_weight * excess

    def check(self, objective: Objective) -> None:
        """Refuse a design parameter that the terms of an objective push in one direction only."""
        terms = {"task", "capacity"} | (self.terms - {"energy"} if self.weight else set())
        if any(isinstance(term, Energy) and term.weight for term in objective.terms):
            terms |= {"energy"}
        for lever in objective.levers:
            if isinstance(lever, DesignParameters):
                check_opposed(lever, terms)

    def start(self, batch: Batch) -> Numbers:
        """The weight."""
        return {"weight": jnp.float32(self.weight)}

    def __call__(self, batch, numbers, step=None):
        """Latency, area and excess weighed; reported as `latency_s`, `area_mm2` and `excess`."""
        before = [(layer, batch.objective.hardware) for layer in batch.workload]
        cost, means = self.beside(batch.pairs, before)
        excess = self.excess(batch)
        weighed = ramped(numbers["weight"], self.ramp_steps, step) * cost
        return weighed + self.excess_weight * excess, means | {"excess": excess}

    def excess(self, batch: Batch) -> jax.Array:
        """Excess of the design parameters over the limits of their machine."""
        levers = batch.objective.levers
        total = jnp.zeros(())
        pairs = [(layer, batch.objective.hardware) for layer in batch.workload]
        if not levers:
            return total
        network, leaves = split(batch.params)
        for lever in levers:
            if isinstance(lever, DesignParameters):
                total = total + lever.excess(leaves[lever.name], pairs)
            pairs = lever.price(leaves[lever.name], network, pairs)
        return total
