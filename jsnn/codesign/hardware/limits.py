"""Limits that a machine sets to its own design parameters: cores, targets of a message, clock.

A chip has at least the cores that its layers need, a message reaches at most the targets that one
core or processing element holds, and a clock is at most what the supply allows. Each function
returns the values that it changes, by name, and by limit the log excess of the values that were
asked for, 0 where they meet it. Both are empty where no value bears on the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jsnn.codesign.hardware.rules import VOLTAGE
from jsnn.hardware.architectures import EventDriven, Messaging
from jsnn.train.levers import Pairs

__all__ = ["clock", "cores", "targets"]

Values = Mapping[str, Any]
Limited = tuple[dict[str, Any], dict[str, jax.Array]]

# Design parameters that bear on the cores, and on the targets of a message.
_CORES = ("cores", "core_weight_bytes", "core_state_bytes", "core_neurons")
_PLACES = ("targets_per_message", "pe_state_bytes", *_CORES[1:])


def cores(values: Values, layers: Pairs, highs: Mapping[str, float]) -> Limited:
    """At least the cores that the layers need, as far as the upper bound allows.

    Args:
        values: those that were asked for, by name.
        layers: on the machine with these values.
        highs: upper bounds, by name.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> machine = get("event-45nm").with_design(cores=1, core_state_bytes=32)
    >>> layers = [(dense(64, 32, steps=4, rate=0.25), machine)]
    >>> within, excess = cores({"cores": 1}, layers, {"cores": 64})
    >>> float(within["cores"]), float(excess["cores"])
    (2.0, 0.693)
    """
    machine = layers[0][1].architecture
    if not isinstance(machine, EventDriven) or not set(_CORES) & set(values):
        return {}, {}
    need = sum(machine.cores(h.design, layer.geometry, 1.0) for layer, h in layers)
    present = layers[0][1].design.cores
    excess = {"cores": jax.nn.relu(jnp.log(need / present))}
    if "cores" not in values:
        return {}, excess
    return {"cores": jnp.minimum(jnp.maximum(present, need), highs["cores"])}, excess


def targets(values: Values, layers: Pairs) -> Limited:
    """At most the targets that one core or processing element holds, of every layer.

    Args:
        values: those that were asked for, by name; one number of targets for all layers, or one
            for each.
        layers: on the machine with these values.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> machine = get("event-45nm").with_design(core_state_bytes=32, targets_per_message=32)
    >>> layers = [(dense(64, 32, steps=4, rate=0.25), machine)]
    >>> within, excess = targets({"targets_per_message": 32}, layers)
    >>> float(within["targets_per_message"]), float(excess["targets"])
    (16.0, 0.693)
    """
    machine = layers[0][1].architecture
    if not isinstance(machine, Messaging) or not set(_PLACES) & set(values):
        return {}, {}
    held = [jnp.asarray(machine.most_targets(h.design, layer.geometry)) for layer, h in layers]
    asked = [jnp.asarray(h.design.targets_per_message) for _, h in layers]
    held, asked = jnp.stack(held), jnp.stack(asked)
    excess = {"targets": jax.nn.relu(jnp.log(asked / held)).mean()}
    if "targets_per_message" not in values:
        return {}, excess
    within = jnp.minimum(asked, jnp.maximum(held, 1))
    one_for_all = jnp.ndim(values["targets_per_message"]) == 0
    return {"targets_per_message": within.min() if one_for_all else within}, excess


def clock(values: Values, clock_hz: Any, fastest_hz: Any) -> Limited:
    """At most the fastest clock; one that is not trained follows the supply, without excess.

    Args:
        values: those that were asked for, by name.
        clock_hz: of the machine where it is not among the values.
        fastest_hz: what the supply allows.

    >>> within, excess = clock({"clock_hz": 2e8}, 1e8, 1e8)
    >>> float(within["clock_hz"]), float(excess["clock"])
    (100000000.0, 0.693)
    >>> within, excess = clock({"voltage_v": 0.6}, 1e8, 5e7)
    >>> float(within["clock_hz"]), excess
    (50000000.0, {})
    """
    if not {"clock_hz", VOLTAGE} & set(values):
        return {}, {}
    asked_hz = values.get("clock_hz", clock_hz)
    within = {"clock_hz": jnp.minimum(asked_hz, fastest_hz)}
    if "clock_hz" not in values:
        return within, {}
    return within, {"clock": jax.nn.relu(jnp.log(asked_hz / fastest_hz))}
