"""Plans by name, and the rule that chooses one."""

from __future__ import annotations

from typing import NamedTuple

import jax

from jsnn.neurons.protocol import Neuron
from jsnn.unroll.contract import Plan, Recurrent
from jsnn.unroll.fused import Fused
from jsnn.unroll.pallas import Pallas
from jsnn.unroll.parallel import Parallel
from jsnn.unroll.scan import Scan

PLANS: dict[str, type] = {
    "scan": Scan,
    "fused": Fused,
    "parallel": Parallel,
    "pallas": Pallas,
}


class Choice(NamedTuple):
    """A plan and why it was chosen.

    >>> print(Choice(Scan(), "nothing else was measured"))
    Scan(): nothing else was measured
    """

    plan: Plan
    reason: str

    def __str__(self):
        return f"{self.plan}: {self.reason}"


def plan(name: str) -> Plan:
    """The plan of this name with its defaults.

    Raises:
        ValueError: no such plan.

    Example:
        >>> plan("fused")
        Fused()
    """
    if name not in PLANS:
        raise ValueError(f"no plan is called {name!r}; there are: {', '.join(PLANS)}")
    return PLANS[name]()


def choose(neuron: Neuron, recurrent: Recurrent | None, steps: int, device: str) -> Choice:
    """The plan for a population where none is named: the reference unless another measured faster.

    Args:
        neuron: model of the population.
        recurrent: as in `unroll`.
        steps: length of the window.
        device: jax's name of the platform: `cpu`, `gpu`, `tpu`.

    Example:
        >>> from jsnn.neurons import LI, LIF
        >>> print(choose(LIF(), None, 100, "cpu"))
        Fused(): less to keep and less to do backward than step by step on a cpu
        >>> print(choose(LI(), None, 100, "cpu"))
        Scan(): without spikes there is little to keep
    """
    fused = Fused()
    if steps == 1:
        return Choice(Scan(), "one step has nothing to fuse")
    if not neuron.spiking:
        return Choice(Scan(), "without spikes there is little to keep")
    if device != "cpu":
        return Choice(Scan(), f"no other plan was measured on a {device}")
    refusal = fused.refuses(neuron, recurrent)
    if refusal:
        return Choice(Scan(), refusal)
    return Choice(fused, "less to keep and less to do backward than step by step on a cpu")


def settle(
    wanted: Plan | str | None, neuron: Neuron, recurrent: Recurrent | None, steps: int
) -> Plan:
    """The plan that was asked for, or the rule's.

    Raises:
        ValueError: no such plan, or one that cannot run this population.
    """
    if wanted is None:
        return choose(neuron, recurrent, steps, jax.default_backend()).plan
    chosen = plan(wanted) if isinstance(wanted, str) else wanted
    if not isinstance(chosen, Plan):
        raise ValueError(f"plan must be one of {', '.join(PLANS)} or a Plan, got {wanted!r}")
    refusal = chosen.refuses(neuron, recurrent)
    if refusal:
        raise ValueError(f"{chosen} cannot run this population: {refusal}; Scan() runs everything")
    return chosen
