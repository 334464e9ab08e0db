"""Analytic workload of a layer, instead of a measured one: for what-if questions and examples."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jsnn._checks import check_number, shown, whole_number
from jsnn.neurons import NeuronOps
from jsnn.workload.connectivity import Connectivity
from jsnn.workload.geometry import INPUT_KINDS, Geometry, InputKind
from jsnn.workload.workload import LayerWorkload

# Of neurons, inputs or steps; counts of so many are finite, but exact in float32 up to 2^24 only.
_MOST = 10**9


def dense(
    inputs: int,
    neurons: int,
    *,
    steps: int,
    rate: Any,
    rate_out: Any = None,
    active: Any = None,
    input_kind: InputKind = "spikes",
    bias: bool = False,
    spiking: bool = True,
    multiplies: int = 0,
    name: str = "dense",
) -> LayerWorkload:
    """A dense layer of integrate-and-fire neurons at a given spike rate.

    Events are `rate · steps · inputs`, each with a fan-out of `neurons`. Real-valued inputs
    (`analog`, `constant`) have no zeros. A neuron keeps one state word, compares once a step and
    subtracts once a spike.

    Args:
        inputs, neurons: sizes of the layer.
        steps: T.
        rate: spikes per input and step, a number or `[B]`; above 1 where several meet in one input.
        rate_out: spikes per neuron and step, 0 to 1; `rate` unless given.
        active: share of the inputs that fire at least once; `min(1, 2·T·rate / (T + 1))` unless
            given, the mid-point of the bounds in arXiv 2409.08290 theorem 2.
        input_kind: kind of the input.
        bias: whether the neurons have a bias.
        spiking: False for neurons that never fire.
        multiplies: multiplications of a neuron-step (1 for a leak).
        name: name of the layer.

    Returns:
        The workload of a batch of B (1 for a number).

    Raises:
        ValueError: an impossible number: sizes and steps that are not whole or below 1,
            rates that are negative, infinite or NaN, shares above 1, arrays of other shapes than
            `[B]`, another kind of input, flags that are not bool. Of traced rates only the shape
            is checked.

    >>> layer = dense(100, 10, steps=5, rate=0.1)
    >>> float(layer.synops[0]), round(float(layer.active_synapses[0]), 2)
    (500.0, 166.67)
    """
    inputs, neurons = (
        whole_number(n, v, 1, _MOST) for n, v in (("inputs", inputs), ("neurons", neurons))
    )
    steps = whole_number("steps", steps, 1, _MOST)
    multiplies = whole_number("multiplies", multiplies, 0, _MOST)
    rate = _numbers("rate", rate, _MOST)
    if rate_out is None:
        check_number("rate_out", rate, 0, 1)
    else:
        rate_out = _numbers("rate_out", rate_out, 1)
    if active is not None:
        active = _numbers("active", active, 1)
    _check_facts(input_kind, name, bias=bias, spiking=spiking)
    rate = jnp.atleast_1d(jnp.asarray(rate, jnp.result_type(float)))
    for argument, value in {"rate": rate, "rate_out": rate_out, "active": active}.items():
        if value is not None and jnp.shape(value) not in ((), (1,), rate.shape[:1]):
            raise ValueError(
                f"expected {argument} to be a number or [B] numbers, one for each of the "
                f"{rate.shape[0]} samples, found shape {jnp.shape(value)}"
            )
    zero = jnp.zeros_like(rate)
    fires = rate if rate_out is None else jnp.asarray(rate_out, rate.dtype) + zero
    events = input_kind in ("spikes", "events")
    if not events:
        active = 1.0
    elif active is None:
        active = jnp.minimum(2 * steps * rate / (steps + 1), 1.0)
    active = jnp.asarray(active, rate.dtype) + zero
    frames = steps if input_kind == "analog" else 1
    output = jnp.broadcast_to(fires[:, None] * steps, (rate.size, neurons))
    arrived = rate * (steps * inputs) if events else zero + frames * inputs
    return LayerWorkload(
        events_by_fan_out=arrived[:, None],
        active=(active * inputs)[:, None],
        recurrent_events=zero,
        spikes=output if spiking else jnp.zeros_like(output),
        steps=steps,
        geometry=Geometry.of(
            Connectivity.uniform(
                "dense", inputs, neurons, weights=inputs * neurons, biases=neurons * bias
            ),
            NeuronOps(1, multiplies, 0, compares=int(spiking), adds_per_spike=int(spiking)),
            (neurons,),
            name=name,
            input_kind=input_kind,
            spiking=spiking,
        ),
    )


def _check_facts(input_kind: Any, name: Any, **flags: Any) -> None:
    if input_kind not in INPUT_KINDS:
        raise ValueError(f"expected an input_kind of {INPUT_KINDS}, found {shown(input_kind)}")
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"expected {flag} to be True or False, found {shown(value)}")
    if not isinstance(name, str):
        raise ValueError(f"expected name to be a text, found {shown(name)}")


def _numbers(name: str, values: Any, high: float) -> Any:
    """Numbers from 0 to `high`; a list of them, traced ones too, as an array."""
    listed = isinstance(values, list | tuple)
    if (listed and not values) or getattr(values, "size", 1) == 0:
        raise ValueError(f"expected {name} of at least one sample, found an empty batch")
    if not listed:
        check_number(name, values, 0, high)
        return values
    for value in values:
        check_number(name, value, 0, high)
    return jnp.asarray(values)
