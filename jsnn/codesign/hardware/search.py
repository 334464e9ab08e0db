"""Search for the best design for a recorded workload, by gradient from several starts."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jsnn.codesign.hardware.design_parameters import DesignParameters, squared
from jsnn.codesign.hardware.rules import RULES
from jsnn.codesign.hardware.trade import Trade, check_opposed
from jsnn.train.levers import Pairs
from jsnn.workload import Workload

__all__ = ["Found", "search"]

# Spread of the random starts, in units of the leaves.
SPREAD = 2.0
# Temperature of hard choices at the first and the last step: high to feel limits from afar, low to
# find exactly where they are met.
WARM, COLD = 1.0, 0.03
# Rounds of steps to a neighbour at the end.
ROUNDS = 50
# Excess up to which a limit counts as met.
KEPT = 1e-6


@dataclasses.dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        relaxed: values of the design parameters by name, the best between their bounds.
        relaxed_cost: their cost.
        feasible: the best values that can be built.
        feasible_cost: their cost.
        start_cost: cost of the machine before the search.
        relaxed_costs, feasible_costs: `[restarts, steps + 1]` costs during the search; the latter
            are infinite where a limit of the machine is exceeded.
    """

    relaxed: dict[str, Any]
    relaxed_cost: float
    feasible: dict[str, Any]
    feasible_cost: float
    start_cost: float
    relaxed_costs: np.ndarray
    feasible_costs: np.ndarray


def search(
    parameters: DesignParameters,
    trade: Trade,
    workload: Workload,
    *,
    steps: int = 200,
    restarts: int = 8,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Found:
    """Values of the design parameters of least cost for a workload, relaxed and feasible.

    Adam on all starts at once, the first of them the machine's own values, with a falling
    temperature. In each step the design is also rounded to one that can be built, and scored. The
    best of all these is then improved by steps to its neighbours as long as that helps. The result
    is a local optimum if no start lies in the basin of the global one.

    Args:
        parameters: those that may be changed.
        trade: the cost.
        workload: of a batch.
        steps: of each start.
        restarts: number of starts.
        learning_rate: of the leaves, which lie between about -4 and 4.
        seed: of the other starts.

    Raises:
        ValueError: a design parameter that the cost pushes in one direction only (no task opposes
            fewer bits here), no buildable design within the limits of the machine, no step or
            start.

    >>> from jsnn.codesign.hardware.design_parameters import DesignParameter
    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(64, 32, steps=4, rate=0.25), dense(32, 10, steps=4, rate=0.1)))
    >>> trained = (DesignParameter("local_bytes", 512, 65536),)
    >>> parameters = DesignParameters(get("spatial-45nm"), trained)
    >>> found = search(parameters, Trade(area_weight=1.0, node_nm=45), work, steps=50, restarts=2)
    >>> float(found.feasible["local_bytes"]), found.feasible_cost < found.start_cost
    (2048.0, True)
    """
    if steps < 1 or restarts < 1:
        raise ValueError(f"expected steps and restarts of 1 or more, found {steps} and {restarts}")
    check_opposed(parameters, trade.terms)
    before = [(layer, parameters.hardware) for layer in workload]
    cost = _Cost(parameters, trade, before)
    starts = _starts(parameters, workload, restarts, seed)
    temperatures = jnp.geomspace(WARM, COLD, steps + 1)
    path = _descent(cost, starts, optax.adam(learning_rate), temperatures)
    costs = {kind: path[f"{kind}_cost"] for kind in ("relaxed", "feasible")}
    if not np.isfinite(costs["feasible"]).any():
        raise ValueError(
            f"{parameters.hardware.name}: nothing that can be built between the bounds of "
            f"{list(parameters.names)} keeps the limits of the machine: widen them"
        )
    best = {kind: np.unravel_index(np.nanargmin(c), c.shape) for kind, c in costs.items()}
    relaxed, feasible = (
        {name: values[best[kind]] for name, values in path[kind].items()} for kind in costs
    )
    feasible = {name: feasible[name] for name in parameters.names}
    feasible, feasible_cost = _polished(parameters, jax.jit(jax.vmap(cost.feasible)), feasible)
    return Found(
        relaxed=relaxed,
        relaxed_cost=float(costs["relaxed"][best["relaxed"]]),
        feasible=feasible,
        feasible_cost=feasible_cost,
        start_cost=float(trade.cost(before, before)),
        relaxed_costs=costs["relaxed"],
        feasible_costs=costs["feasible"],
    )


class _Cost(NamedTuple):
    """The cost of a design for one workload, whose layers `before` are on the machine as it is."""

    parameters: DesignParameters
    trade: Trade
    before: Pairs

    def relaxed(self, leaves: Any, temperature: Any) -> tuple[jax.Array, dict[str, Any]]:
        """Cost and values of leaves, excess over the limits penalised."""
        values, excess = self.parameters.settled(leaves, self.before)
        pairs = self.parameters.on(values, self.before)
        return self.trade.cost(pairs, self.before, squared(excess), temperature), values

    def feasible(self, values: Any) -> tuple[dict[str, Any], jax.Array]:
        """The nearest values that can be built, and their cost: infinite beyond a limit."""
        whole, excess = self.parameters.construct(values, self.before)
        pairs = self.parameters.on(whole, self.before)
        kept = squared(excess) <= KEPT
        return whole, jnp.where(kept, self.trade.cost(pairs, self.before), jnp.inf)


def _starts(
    parameters: DesignParameters, workload: Workload, restarts: int, seed: int
) -> dict[str, jax.Array]:
    """`[restarts, ...]` leaves: first those of the machine itself, then random ones."""
    first = parameters.init(jax.random.key(seed), None, workload)
    keys = iter(jax.random.split(jax.random.key(seed), len(first)))
    starts = {}
    for name, leaf in first.items():
        others = SPREAD * jax.random.normal(next(keys), (restarts - 1, *leaf.shape), leaf.dtype)
        starts[name] = jnp.concatenate([leaf[None], others])
    return starts


def _descent(
    cost: _Cost,
    starts: dict[str, jax.Array],
    optimiser: optax.GradientTransformation,
    temperatures: jax.Array,
) -> dict[str, Any]:
    """Values and costs of each start and step, relaxed and feasible, `[restarts, steps, ...]`."""

    def step(state, temperature):
        leaves, moments = state
        (relaxed_cost, relaxed), slopes = jax.value_and_grad(cost.relaxed, has_aux=True)(
            leaves, temperature
        )
        feasible, feasible_cost = cost.feasible(cost.parameters.values(leaves))
        changes, moments = optimiser.update(slopes, moments, leaves)
        passed = {
            "relaxed": relaxed,
            "relaxed_cost": relaxed_cost,
            "feasible": feasible,
            "feasible_cost": feasible_cost,
        }
        return (optax.apply_updates(leaves, changes), moments), passed

    def descend(leaves):
        return jax.lax.scan(step, (leaves, optimiser.init(leaves)), temperatures)[1]

    path = jax.jit(jax.vmap(descend))(starts)
    return jax.tree.map(np.asarray, jax.device_get(path))


def _polished(
    parameters: DesignParameters, scored: Any, values: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """The best design found by changing one parameter at a time as long as that helps."""
    best = np.inf
    for _ in range(ROUNDS):
        whole, costs = jax.device_get(scored(_neighbours(parameters, values)))
        cheapest = int(np.argmin(costs))
        if not costs[cheapest] < best:
            break
        best = float(costs[cheapest])
        values = {name: whole[name][cheapest] for name in whole}
    return values, best


def _neighbours(parameters: DesignParameters, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """The design, and those that differ by one step, or a factor of two, in one parameter."""
    designs = [values]
    for parameter in parameters.parameters:
        old, step = np.asarray(values[parameter.name]), RULES[parameter.name].step
        for place in np.ndindex(old.shape):
            at = old[place]
            for new in (at / 2, at * 2, at - step, at + step):
                moved = old.copy()
                moved[place] = np.clip(new, parameter.low, parameter.high)
                designs.append({**values, parameter.name: moved})
    return {
        name: np.stack([np.asarray(design[name]) for design in designs])
        for name in parameters.names
    }
