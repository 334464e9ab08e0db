"""Names of events and of components: the rows and columns of every price table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

COMPONENTS = (
    "synapse",
    "neuron",
    "weight_memory",
    "state_memory",
    "activation_movement",
    "routing",
    "static",
)

EVENTS = {
    "spikes_in": "spikes that arrive, fed-back ones and operands included",
    "events_by_fan_out": "spikes, or words that are not zero, that come from outside the layer, "
    "one number for each of their fan-outs",
    "recurrent_events": "spikes that are fed back",
    "synops": "accumulations that those spikes cause (in a product: where they meet another)",
    "mean_synops": "accumulations of a mean step (synops / T)",
    "synapses": "connections that carry spikes",
    "synapse_steps": "connections that carry spikes x T",
    "active_synapses": "connections behind inputs that were not zero at least once; all recurrent "
    "ones",
    "frames": "real-valued input frames (1 where the input is constant)",
    "words_in": "real-valued input words, zeros included",
    "connections": "connections of those words, zeros included",
    "macs": "multiply-accumulates of input words that are not zero",
    "bias_adds": "biases added",
    "current_writes": "currents of a constant input stored for the window",
    "current_reads": "stored currents read, one a neuron-step",
    "operand_events": "spikes, or words that are not zero, that arrive as operand of a product",
    "operand_writes": "words of an operand written, zeros too",
    "operand_reads": "words of an operand read for spikes: each spike x its fan-out",
    "neuron_steps": "neurons x T",
    "spikes_out": "spikes that leave",
    "words_out": "real-valued words that leave a layer without a state",
    "steps": "T",
    "inferences": "1",
    "loads": "1; 0 where a layer shares the weights of one that ran before",
}

# Events counted `[B, K]`: their prices may be a number or one for each fan-out.
BY_FAN_OUT = ("events_by_fan_out",)

# pJ of one event in each component; what is not named costs nothing.
PriceTable = Mapping[str, Mapping[str, Any]]


class Action(NamedTuple):
    """Something the hardware does when an event happens.

    Attributes:
        component: component that its energy is charged to.
        unit: what acts, such as `adder`, `weights@global` or `link`.
        verb: `read`, `write`, `load`, `add`, `multiply`, `compare` or `send`.
        bits: width of what it acts on; of a product, the widths of both factors multiplied.
        times: how often one event makes it happen; a number, or one for each fan-out.
        pj: energy of doing it once.
    """

    component: str
    unit: str
    verb: str
    bits: Any
    times: Any
    pj: Any


# What each event sets in motion.
ActionTable = Mapping[str, tuple[Action, ...]]


def priced(table: ActionTable) -> PriceTable:
    """A price table: `price[event][component] = Σ times · pj`.

    >>> priced({"synops": (Action("synapse", "adder", "add", 8, 2, 0.5),)})
    {'synops': {'synapse': 1.0}}
    """
    prices: dict[str, dict[str, Any]] = {}
    for event, actions in table.items():
        row = prices.setdefault(event, {})
        for action in actions:
            row[action.component] = row.get(action.component, 0) + action.times * action.pj
    return prices


def weighted(event: str, count: Any, weight: Any) -> Any:
    """`count · weight`, summed over fan-outs where the event is kept apart by them."""
    product = count * weight
    return product.sum(-1) if event in BY_FAN_OUT else product
