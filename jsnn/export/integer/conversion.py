"""Integers of a network that was trained on grids of powers of two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jsnn._checks import check_number
from jsnn._ops.precision import F32
from jsnn.export.integer.layer import IntegerLayer
from jsnn.export.integer.network import READOUTS, IntegerNetwork
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import Fixed, in_force
from jsnn.neurons.fixed import EXACT_BITS
from jsnn.nn.layers import constants_of
from jsnn.train.levers import Lever, Levered, deployed_as_run, split

__all__ = ["export", "input_step"]


def export(
    levered: Levered,
    variables: Mapping[str, Any],
    *,
    input_step: float = 1.0,
    largest_input: float = 1.0,
) -> IntegerNetwork:
    """The integers of a network that a `Bits` lever put on grids of powers of two.

    Args:
        levered: an MLP, ConvNet (without norm) or SRNN of `Fixed` neurons with its levers.
        variables: of it.
        input_step: a power of two that all inputs are multiples of; 1 for spikes and events.
        largest_input: largest absolute input.

    Raises:
        ValueError: a network, readout, lever or grid without an integer form, with the reason; sums
            that could exceed the 24 bits in which float32 is exact for integers.

    >>> import jax.numpy as jnp
    >>> from jsnn.codesign.bit_widths import Bits
    >>> from jsnn.neurons import LI, LIF
    >>> model = MLP((4,), 3, neuron=Fixed(LIF()), readout_neuron=Fixed(LI()), input_kind="events")
    >>> model = Levered(model, (Bits(4, 8),))
    >>> frames = jnp.ones((5, 2, 8))
    >>> variables = model.init(jax.random.key(0), frames)
    >>> network = export(model, variables)
    >>> network.layers[0].weights.dtype, int(abs(network.layers[0].weights).max()) <= 8
    (dtype('int8'), True)
    >>> bool(network.run(frames).equals(model.apply(variables, frames)).all())
    True
    """
    model = levered.model
    _, leaves = split(variables["params"])
    for lever in levered.levers:
        if type(lever).outputs is not Lever.outputs:
            raise ValueError(
                f"the lever {lever.name!r} changes outputs, which stay as they are here"
            )
    given = jax.device_get(deployed_as_run(levered.levers, variables))
    params, constants = given["params"], constants_of(given)
    widths = [lever.widths(leaves[lever.name]) for lever in levered.levers if lever.name == "bits"]
    if not widths:
        raise ValueError(
            "no lever put this network on grids: train it with jsnn.codesign.bit_widths.Bits"
        )
    readout = type(model.readout).__name__ if hasattr(model, "readout") else ""
    plan = _plan(model)
    if readout not in READOUTS:
        raise ValueError(f"the readout {readout!r} is no sum of integers; take of {list(READOUTS)}")
    exponent, largest = _input_range(input_step, largest_input)
    layers = tuple(
        _layer(name, neuron, params[name], constants[name]["neuron"], widths[0][name], pool)
        for name, neuron, pool in plan
    )
    return IntegerNetwork(layers, readout, exponent, largest, model.input_kind == "constant")


def input_step(frames: Any) -> float:
    """The largest power of two of which all values are multiples.

    Raises:
        ValueError: values that are on no grid of 24 bits.

    >>> input_step([0.0, 0.75, 3.0])
    0.25
    """
    _, exponent = _integers("inputs", frames, EXACT_BITS + 1)
    return 2.0**exponent


def _input_range(input_step: float, largest_input: float) -> tuple[int, int]:
    """Exponent of the input step, and the largest input in units of it."""
    check_number("input_step", input_step)
    check_number("largest_input", largest_input, 0)
    mantissa, exponent = math.frexp(input_step)
    if mantissa != 0.5:
        raise ValueError(
            f"input_step must be a power of two, got {input_step}; scale the inputs so that their "
            "levels are multiples of one (255 levels: times 255 / 256), in training too"
        )
    largest = math.ceil(largest_input / input_step)
    if largest > 2**EXACT_BITS:
        raise ValueError(
            f"inputs of up to {largest} units of the input step leave the {EXACT_BITS} bits of "
            "float32; fewer levels of inputs help"
        )
    return exponent - 1, largest


def _plan(model: Any) -> list[tuple[str, Fixed, int]]:
    """Name, neuron and pool of each layer in execution order."""
    if not isinstance(model, MLP | SRNN | ConvNet):
        raise ValueError(
            f"{type(model).__name__} has no integer form, only layers in a row have: MLP, SRNN, "
            "ConvNet"
        )
    if getattr(model, "norm", False) or getattr(model, "normalise", False):
        raise ValueError("normalisations have no integers: fold them (jsnn.export.folding)")
    if model.precision != F32:
        raise ValueError(f"integers equal float32 alone, got products in {model.precision}")
    for neuron in (model.neuron, model.readout_neuron):
        if not isinstance(neuron, Fixed):
            raise ValueError(f"{neuron} computes in floating point: wrap it, Fixed(neuron)")
    if isinstance(model, ConvNet):
        plan = [(f"conv_{n}", model.neuron, model.pool) for n in range(len(model.widths))]
        plan += [("hidden", model.neuron, 1)] if model.hidden else []
    else:
        plan = [(f"hidden_{n}", model.neuron, 1) for n in range(len(model.widths))]
    return [*plan, ("readout", model.readout_neuron, 1)]


def _layer(
    name: str,
    neuron: Fixed,
    params: Mapping[str, Any],
    constants: Mapping[str, Any],
    widths: Mapping[str, int],
    pool: int,
) -> IntegerLayer:
    """The integers of one layer, whose parameters and constants lie on its grids."""
    shape = np.shape(constants["gain"])

    # Jitted as inside the network: outside of a program an exponential may round differently.
    @jax.jit
    def run(constants, trained):
        leaves = in_force(neuron, constants, trained)
        return neuron.numbers(leaves), neuron.init_state(leaves, (1, *shape))

    numbers, state = jax.device_get(run(constants, params.get("neuron", {})))
    if not (numbers.gain == 1).all() or np.unique(numbers.step).size > 1:
        raise ValueError(f"{name}: expected a gain of 1 and one step for all neurons (Bits)")
    step = float(np.unique(numbers.step)[0])
    bits, state_bits = widths["weight_bits"], widths["state_bits"]
    kernel, weight_exponent = _integers(f"{name}: weights", params["synapse"]["kernel"], bits)
    recurrent, recurrent_exponent = params.get("recurrent"), 0
    if recurrent is not None:
        recurrent, recurrent_exponent = _integers(f"{name}: recurrent weights", recurrent, bits)

    def in_steps(values: Any, unit: float = step) -> np.ndarray | None:
        if values is None:
            return None
        whole = np.asarray(values, np.float64) / unit
        if not (whole == np.rint(whole)).all():
            raise ValueError(f"{name}: values off the grid of {unit}; take them from Bits.network")
        return np.broadcast_to(np.rint(whole), shape).astype(np.int32)

    decay_bits = bits if neuron.leaky else 0
    return IntegerLayer(
        name=name,
        weights=kernel,
        recurrent=recurrent,
        bias=in_steps(params["synapse"].get("bias")),
        decay=in_steps(numbers.decay, 2.0**-decay_bits),
        threshold=in_steps(numbers.threshold),
        reset_to=in_steps(numbers.reset),
        start=in_steps(state.v[0]),
        weight_bits=bits,
        state_bits=state_bits,
        decay_bits=decay_bits,
        weight_exponent=weight_exponent,
        recurrent_exponent=recurrent_exponent,
        state_exponent=round(math.log2(step)),
        reset=getattr(neuron.neuron, "reset", "none"),
        strict=getattr(neuron.neuron, "strict", False),
        pool=pool,
    )


def _integers(name: str, values: Any, bits: int) -> tuple[np.ndarray, int]:
    """Integers of `bits` bits, and the exponent of their coarsest possible unit."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, found NaN or infinity")
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    used = whole != 0
    # The lowest bit that is set, as a power of two.
    lowest = np.where(used, whole & -whole, 1)
    trailing = np.frexp(lowest.astype(np.float64))[1] - 1
    exponent = int((exponents - 53 + trailing)[used].min()) if used.any() else 0
    integers = np.ldexp(values, -exponent)
    half = 2 ** (bits - 1)
    if not ((integers >= -half) & (integers <= half - 1)).all():
        raise ValueError(
            f"{name} do not fit {bits} bits on any grid of powers of two; weights that do come "
            "from Bits(power_of_two=True), inputs can be rounded to a grid before training"
        )
    kind = np.int8 if bits <= 8 else np.int32
    return integers.astype(kind), exponent
