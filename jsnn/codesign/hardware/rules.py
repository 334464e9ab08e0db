"""Rules for trainable design parameters: what opposes each, and the values that can be built.

A design parameter that nothing opposes runs into its bound whatever the network does, so it is
refused. With F = targets_per_message:

| design parameter    | machines          | pushed up by                        | pushed down by  |
|---------------------|-------------------|-------------------------------------|-----------------|
| local_bytes,        | classical,        | energy: what does not fit spills    | area            |
| global_bytes        | spatial           |                                     |                 |
| pes                 | spatial           | latency; energy: states fit them    | area: registers |
| pe_state_bytes      | spatial           | energy: states fit, F fits          | area            |
| core_weight_bytes,  | event-driven      | capacity: cores run out; energy: F  | area            |
| core_state_bytes    |                   | fits                                |                 |
| core_neurons        | event-driven      | capacity: cores run out             | latency         |
| cores               | event-driven      | capacity                            | area            |
| targets_per_message | event-driven,     | energy: fewer messages              | capacity: what  |
|                     | spatial           |                                     | one place holds |
| clock_hz            | those with times  | latency                             | capacity: what  |
|                     |                   |                                     | the supply lets |
| voltage_v           | those with times  | latency: a slower clock             | energy          |
| dense_share         | …-committed       | energy, of busy layers              | energy, of calm |
| weight_bits         | all that have it  | task: rounded weights               | energy          |

Rounding to values that can be built: sizes up to a power of two, so that what fits still fits;
registers up to words of 8 bytes; cores, processing elements and bits up to whole numbers; targets
down to whole numbers; a supply voltage up to steps of 10 mV; a clock down to steps of 1 MHz, so
that the supply still allows it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax.numpy as jnp

from jsnn.hardware import Hardware
from jsnn.hardware.architectures import Messaging, Sized, Timed

__all__ = ["RULES", "TERMS", "Rule", "nearest_feasible", "refusal", "unopposed"]

TERMS = ("energy", "latency", "area", "capacity", "task")
VOLTAGE = "voltage_v"
# Share of a step within which a value counts as on it: float32 rounding must not add a step.
SLACK = 0.01
SLACK_SHARE = 1e-4


class Rule(NamedTuple):
    """How one design parameter is trained and built.

    Attributes:
        log: whether it is trained in its logarithm.
        step: distance of two values that can be built; 0: the powers of two.
        way: direction of rounding, `up`, `down` or `nearest`.
        up, down: terms, at least one of which must be present to push it in that direction.
        per_layer: whether each layer may have its own value.
    """

    log: bool
    step: float
    way: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    per_layer: bool = False


_SIZE = Rule(True, 0, "up", ("energy", "capacity"), ("area",))
RULES: dict[str, Rule] = {
    "local_bytes": _SIZE,
    "global_bytes": _SIZE,
    "core_weight_bytes": _SIZE,
    "core_state_bytes": _SIZE,
    "pe_state_bytes": _SIZE._replace(step=8),
    "core_neurons": Rule(True, 1, "up", ("capacity",), ("latency",)),
    "cores": Rule(True, 1, "up", ("capacity",), ("area",)),
    "pes": Rule(True, 1, "up", ("latency", "energy"), ("area",)),
    "targets_per_message": Rule(True, 1, "down", ("energy",), ("capacity",), per_layer=True),
    "clock_hz": Rule(True, 1e6, "down", ("latency",), ("capacity",)),
    VOLTAGE: Rule(False, 0.01, "up", ("latency",), ("energy",)),
    "dense_share": Rule(False, 1, "nearest", ("energy",), ("energy",), per_layer=True),
    "weight_bits": Rule(False, 1, "up", ("task",), ("energy",)),
    "state_bits": Rule(False, 1, "up", ("task",), ("energy",)),
}
_BY_NATURE = {
    "dram_bytes": "DRAM is another chip, whose size costs nothing here: larger is always better",
    "queue_events": "no spike is ever lost here: a smaller queue is always better",
    "event_bits": "an address has the bits that it needs: fewer are always better",
    "hops": "the network on chip says how many; fewer are always better",
    "weight_fetch_share": "the mapping says it; less is always better",
    "temporal_reuse": "it has no price: more is always better",
    "zero_skipping": "it has no price: more is always better",
    "batch": "waiting for a batch has no price: a larger one is always better",
    "input_bits": "the data say it, and no input is rounded here: fewer are always better",
    "output_bits": "no output is rounded here: fewer are always better",
    "crossbar": "its tiles have no area or latency here",
}


def refusal(hardware: Hardware, name: str) -> str | None:
    """The reason why a design parameter of this machine cannot be trained; None if it can.

    >>> from jsnn.hardware import get
    >>> refusal(get("spatial-45nm"), "pes") is None
    True
    >>> refusal(get("classical-45nm"), "pes")
    'its processing elements have no area here: more of them are always better'
    """
    architecture = hardware.architecture
    if name == VOLTAGE:
        if not isinstance(architecture, Timed):
            return "it publishes no times: a lower supply is always better"
        return None
    if name not in architecture.parameters:
        return f"it has no such design parameter, only {[*architecture.parameters, VOLTAGE]}"
    if name in _BY_NATURE:
        return _BY_NATURE[name]
    if name == "state_bits":
        return (
            "states are not rounded here, so that the task does not feel it: name it in `opposed` "
            "where another lever or term does"
        )
    if name == "pes" and "pe_state_bytes" not in architecture.parameters:
        return "its processing elements have no area here: more of them are always better"
    if name == "targets_per_message" and not isinstance(architecture, Messaging):
        return "nothing here says how many targets share a place: more are always better"
    if name not in RULES or (RULES[name].down == ("area",) and not isinstance(architecture, Sized)):
        return "it has no area here: nothing opposes it"
    if ("latency",) in (RULES[name].up, RULES[name].down) and not isinstance(architecture, Timed):
        return "it publishes no times: nothing opposes it"
    return None


def unopposed(name: str, terms: Collection[str]) -> str | None:
    """The direction, `up` or `down`, in which no term pushes a parameter; None if both have one.

    >>> unopposed("pes", {"energy"}), unopposed("pes", {"energy", "area"})
    ('down', None)
    """
    rule = RULES[name]
    ways = {"up": rule.up, "down": rule.down}
    return next((way for way, pushing in ways.items() if not set(terms) & set(pushing)), None)


def nearest_feasible(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> Any:
    """A value rounded to one that can be built, by the rule of its parameter, in `[low, high]`.

    Args:
        name: of the design parameter.
        value: a number or an array, traced or not.
        low, high: plain numbers.

    Raises:
        ValueError: nothing between the bounds can be built.

    >>> [float(nearest_feasible("local_bytes", value)) for value in (5000.0, 8192.0, 8193.0)]
    [8192.0, 8192.0, 16384.0]
    >>> float(nearest_feasible("local_bytes", 5000.0, high=6000.0))
    4096.0
    >>> float(nearest_feasible("clock_hz", 187.6e6))
    187000000.0
    """
    rule = RULES[name]
    step = rule.step
    units = jnp.asarray(value) / step if step else jnp.log2(value)
    least, most = (at / step if step else math.log2(max(at, 1e-30)) for at in (low, high))
    least, most = float(math.ceil(least - 1e-9)), min(most + 1e-9, 2.0**31) // 1
    if least > most:
        kind = f"multiple of {step:g}" if step else "power of two"
        raise ValueError(
            f"{name} is built as a {kind}, and there is none from {low:g} to {high:g}: widen the "
            "bounds"
        )
    slack = jnp.minimum(SLACK, SLACK_SHARE * jnp.abs(units)) if step else SLACK_SHARE
    towards = {"up": jnp.ceil(units - slack), "down": jnp.floor(units + slack)}
    whole = jnp.clip(towards.get(rule.way, jnp.round(units)), least, most)
    if step:
        # A multiple of a step that is no power of two may miss a bound by its last digit.
        return jnp.clip(whole * step, low, high)
    return jnp.ldexp(jnp.ones_like(whole), whole.astype(int))
