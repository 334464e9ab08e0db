"""Chips as their papers publish them: events x energy, plus static power x time.

A chip is the list of constants that its source publishes. Each has one meaning:

| constant             | charged for                                            | component |
|----------------------|--------------------------------------------------------|-----------|
| synop_pj             | synop                                                  | synapse   |
| conv_synop_pj        | synop of a convolution, instead                        | synapse   |
| mac_pj               | mac; where it is not published, a synop's price        | synapse   |
| neuron_pj            | neuron-step                                            | neuron    |
| update_pj            | neuron-step, on top                                    | neuron    |
| firing_neuron_pj     | neuron-step that fires, instead of neuron_pj           | neuron    |
| spike_pj             | output spike                                           | neuron    |
| message_pj           | message to a core: ceil(fan-out / targets_per_message) | routing   |
| hop_pj               | the same, x hops                                       | routing   |
| pass_synapse_pj      | connection, once an inference, whatever arrives        | synapse   |
| pass_neuron_pj       | neuron, once an inference                              | neuron    |
| core_static_power_w, | step: ceil(neurons / core_neurons) cores x power       | static    |
| step_latency_s       | x duration of a step                                   |           |
| leakage_power_w,     | synop: (leakage + idle x clock) x cycles / clock, on   | static    |
| idle_power_w_per_hz, | a chip that works through its events one by one and    |           |
| synop_cycles         | is never kept waiting                                  |           |

`P = P_static + P_idle·f + Σ energy · rate` is the only form that holds away from the operating
point at which it was measured (`jsnn.hardware.power`); an average over all power is a chip of one
constant, and says so. What a source does not publish carries its reason in `reasons`: a component
is priced or has a reason, never zero by silence. A price that contains another component (a
synaptic operation with its memory) leaves that one unpriced, with that as the reason.

Where no mac_pj is published a real-valued input word that is not zero costs a synop for each of its
connections, as if graded events were as cheap as binary ones: a lower bound, listed as the unpriced
`multiplication`. Biases and stored currents are part of a neuron-step. How many neurons, inputs or
weights a chip can hold is not checked. The `pass_…` constants are those of a processor that
computes an ordinary network once, densely; for a decision at every step multiply by T.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jsnn.hardware.actions import COMPONENTS, PriceTable
from jsnn.hardware.architectures.parts import messages
from jsnn.hardware.design import Design
from jsnn.hardware.power import PJ_PER_J
from jsnn.hardware.relaxation import ceil
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry

# Component that each constant is charged to.
VOCABULARY = {
    "synop_pj": "synapse",
    "conv_synop_pj": "synapse",
    "mac_pj": "synapse",
    "neuron_pj": "neuron",
    "update_pj": "neuron",
    "firing_neuron_pj": "neuron",
    "spike_pj": "neuron",
    "message_pj": "routing",
    "hop_pj": "routing",
    "pass_synapse_pj": "synapse",
    "pass_neuron_pj": "neuron",
    "core_static_power_w": "static",
    "step_latency_s": "static",
    "leakage_power_w": "static",
    "idle_power_w_per_hz": "static",
    "synop_cycles": "static",
}

# Constants that mean nothing without others.
_TOGETHER = (
    ("core_static_power_w", "step_latency_s"),
    ("leakage_power_w", "idle_power_w_per_hz", "synop_cycles"),
)
_NEEDS = {
    "conv_synop_pj": "synop_pj",
    "mac_pj": "synop_pj",
    "leakage_power_w": "synop_pj",
    "firing_neuron_pj": "neuron_pj",
}
_PARAMETERS = {
    "message_pj": ("targets_per_message",),
    "hop_pj": ("hops", "targets_per_message"),
    "core_static_power_w": ("core_neurons",),
    "idle_power_w_per_hz": ("clock_hz",),
}
_GRADED = (
    "multiplication",
    "no price of a real-valued input: each of its connections is charged as a synaptic operation, "
    "a lower bound",
)


@dataclasses.dataclass(frozen=True)
class Chip:
    """Prices of single events as published (table above).

    Attributes:
        constants: names out of `VOCABULARY`: what the source publishes.
        reasons: `(component, why it has no price)` for every component that none of them prices;
            `static` may be missing, other entries than components may be added.

    Raises:
        ValueError: an unknown constant, half of a group that belongs together, a component that is
            neither priced nor has a reason, or has both.

    >>> from jsnn.hardware import get
    >>> get("truenorth-28nm").architecture.constants
    ('synop_pj', 'core_static_power_w', 'step_latency_s')
    """

    constants: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...] = ()
    name: ClassVar[str] = "chip"

    def __post_init__(self) -> None:
        unknown = [name for name in self.constants if name not in VOCABULARY]
        if unknown or not self.constants:
            raise ValueError(
                f"expected constants of a chip out of {list(VOCABULARY)}, found "
                f"{unknown or 'none'}: say under one of these names what the source publishes"
            )
        self._check_groups()
        self._check_reasons()

    def _check_groups(self) -> None:
        for group in _TOGETHER:
            missing = [name for name in group if name not in self.constants]
            if missing and len(missing) < len(group):
                raise ValueError(f"{list(group)} belong together, {missing} missing: add or drop")
        for name, needed in _NEEDS.items():
            if name in self.constants and needed not in self.constants:
                raise ValueError(f"{name!r} needs {needed!r}, which is missing: add it")

    def _check_reasons(self) -> None:
        stated = dict(self.reasons)
        both = [c for c in self.priced if c in stated]
        neither = [c for c in COMPONENTS if c not in (*self.priced, *stated, "static")]
        if both or neither:
            raise ValueError(
                f"expected a price or a reason for every component: {both} have both, {neither} "
                "have neither"
            )

    @property
    def priced(self) -> tuple[str, ...]:
        """Components with a price."""
        components = {VOCABULARY[name] for name in self.constants}
        return tuple(component for component in COMPONENTS if component in components)

    @property
    def unpriced(self) -> tuple[tuple[str, str], ...]:
        """The reasons, and what a real-valued input is missing."""
        charged = "synop_pj" in self.constants and "mac_pj" not in self.constants
        return (*self.reasons, _GRADED) if charged else self.reasons

    @property
    def parameters(self) -> tuple[str, ...]:
        """Design parameters that the constants call for."""
        named = [parameter for name in self.constants for parameter in _PARAMETERS.get(name, ())]
        return tuple(dict.fromkeys(named))

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers."""
        g, prices_pj = geometry, {name: technology[name] for name in self.constants}
        table: dict[str, dict] = {}

        def charge(event, component, pj):
            row = table.setdefault(event, {})
            row[component] = row.get(component, 0.0) + pj

        if "synop_pj" in prices_pj:
            synop = prices_pj["synop_pj"]
            if g.kind == "conv":
                synop = prices_pj.get("conv_synop_pj", synop)
            charge("synops", "synapse", synop)
            charge("macs", "synapse", prices_pj.get("mac_pj", synop))
        for name in ("neuron_pj", "update_pj"):
            if name in prices_pj:
                charge("neuron_steps", "neuron", prices_pj[name])
        if "firing_neuron_pj" in prices_pj:
            charge("spikes_out", "neuron", prices_pj["firing_neuron_pj"] - prices_pj["neuron_pj"])
        if "spike_pj" in prices_pj:
            charge("spikes_out", "neuron", prices_pj["spike_pj"])
        if "routing" in self.priced:
            message = prices_pj.get("message_pj", 0.0)
            if "hop_pj" in prices_pj:
                message = message + design.hops * prices_pj["hop_pj"]
            targets = design.targets_per_message
            charge(
                "events_by_fan_out", "routing", messages(g.fan_outs, targets, temperature) * message
            )
            fed_back = messages((g.recurrent_fan_out,), targets, temperature)[0]
            charge("recurrent_events", "routing", fed_back * message)
        if "pass_synapse_pj" in prices_pj:
            connections = g.synapses + g.recurrent_weights
            charge("inferences", "synapse", connections * prices_pj["pass_synapse_pj"])
        if "pass_neuron_pj" in prices_pj:
            charge("inferences", "neuron", g.neurons * prices_pj["pass_neuron_pj"])
        if "core_static_power_w" in prices_pj:
            cores = ceil(g.neurons / design.core_neurons, temperature)
            joule = prices_pj["core_static_power_w"] * prices_pj["step_latency_s"]
            charge("steps", "static", cores * joule * PJ_PER_J)
        if "leakage_power_w" in prices_pj:
            power_w = (
                prices_pj["leakage_power_w"] + prices_pj["idle_power_w_per_hz"] * design.clock_hz
            )
            busy = power_w * prices_pj["synop_cycles"] / design.clock_hz * PJ_PER_J
            for event in ("synops", "macs"):
                charge(event, "static", busy)
        return (table,)
