"""A network trained on grids as a network of integers, and NumPy that runs it without a float.

What `jsnn.codesign.bits.Bits` trains computes in float32 what this computes in integers: the same
spikes, the same readout.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jsnn.levers import Lever, Levered, deployed_as_run, split
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import Fixed
from jsnn.neurons.fixed import EXACT_BITS
from jsnn.precision import F32

__all__ = ["IntegerLayer", "IntegerNetwork", "IntegerRun", "export", "input_step"]

# Arrays of a layer that a file holds; the rest of it is written as JSON.
_ARRAYS = ("weights", "recurrent", "bias", "decay", "threshold", "reset_to", "start")

READOUTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "LastMembrane": lambda v, s: v[-1],
    "MeanMembrane": lambda v, s: v.sum(0),
    "MaxMembrane": lambda v, s: v.max(0),
    "PerStep": lambda v, s: v,
    "SpikeCount": lambda v, s: s.sum(0, dtype=np.int64),
}


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerLayer:
    """One layer: integers, and the powers of two that they count.

    sum = Σ weights x 2^(weight_exponent + input exponent) + Σ recurrent s_(t-1) 2^recurrent_exponent
          + bias 2^state_exponent
    v <- clip((decay v) >> decay_bits + sum >> ..., low, high),   s = v >= threshold

    Shifts to the right round to the nearest, ties to even.

    Attributes:
        name: of the layer.
        weights: `[K, N]`, or `[H, W, C, N]` of a convolution of stride 1 that keeps the size; int8
            where the bits fit, 4-bit weights too.
        recurrent: `[N, N]` or None.
        bias: `[N]` int32 or None.
        decay: `[N]` int32; None without leak.
        threshold: `[N]` int32; None for a layer without spikes.
        reset_to: `[N]` int32 that the reset `zero` writes; None without spikes.
        start: `[N]` int32 membrane before the first step.
        weight_bits, state_bits, decay_bits: widths.
        weight_exponent, recurrent_exponent, state_exponent: of the units.
        reset, strict: as of the neuron.
        pool: window of the OR pool behind the spikes; 1 for none.
    """  # noqa: E501

    name: str
    weights: np.ndarray
    recurrent: np.ndarray | None
    bias: np.ndarray | None
    decay: np.ndarray | None
    threshold: np.ndarray | None
    reset_to: np.ndarray | None
    start: np.ndarray
    weight_bits: int
    state_bits: int
    decay_bits: int
    weight_exponent: int
    recurrent_exponent: int
    state_exponent: int
    reset: str
    strict: bool
    pool: int

    def run(
        self, inputs: np.ndarray, exponent: int, constant: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Membranes and spikes `[T, B, ...]` for integers `[T, B, ...]` in units of 2^exponent."""
        unit = self._unit(exponent)
        shown = inputs[:1] if constant else inputs
        sums = self._synapse(shown.astype(np.int64)) << (self.weight_exponent + exponent - unit)
        if self.bias is not None:
            sums = sums + (self.bias.astype(np.int64) << (self.state_exponent - unit))
        sums = np.broadcast_to(sums, (len(inputs), *sums.shape[1:]))
        half = 1 << (self.state_bits - 1)
        v = np.broadcast_to(self.start.astype(np.int64), sums.shape[1:])
        sent = np.zeros(sums.shape[1:], np.int64)
        membranes, spikes = [], []
        for arrived in sums:
            if self.recurrent is not None:
                back = sent @ self.recurrent.astype(np.int64)
                arrived = arrived + (back << (self.recurrent_exponent - unit))
            if self.decay is not None:
                v = _shifted(v * self.decay.astype(np.int64), self.decay_bits)
            v = np.clip(v + _shifted(arrived, self.state_exponent - unit), -half, half - 1)
            if self.threshold is not None:
                fires = v > self.threshold if self.strict else v >= self.threshold
                sent = fires.astype(np.int64)
                if self.reset == "subtract":
                    v = v - sent * self.threshold
                elif self.reset == "zero":
                    v = np.where(fires, self.reset_to, v)
            membranes.append(v)
            spikes.append(sent)
        return np.stack(membranes), np.stack(spikes).astype(np.uint8)

    def largest_sum(self, exponent: int, largest_input: int) -> int:
        """The largest sum that inputs of up to so many units can make, in its finest unit."""
        unit = self._unit(exponent)
        fans = tuple(range(self.weights.ndim - 1))
        total = np.abs(self.weights.astype(np.int64)).sum(fans) * largest_input
        total = total << (self.weight_exponent + exponent - unit)
        if self.recurrent is not None:
            back = np.abs(self.recurrent.astype(np.int64)).sum(0)
            total = total + (back << (self.recurrent_exponent - unit))
        if self.bias is not None:
            bias = np.abs(self.bias.astype(np.int64))
            total = total + (bias << (self.state_exponent - unit))
        return int(total.max())

    def _unit(self, exponent: int) -> int:
        """Exponent of the finest unit in the sum."""
        units = [self.weight_exponent + exponent, self.state_exponent]
        return min(units if self.recurrent is None else [*units, self.recurrent_exponent])

    def _synapse(self, inputs: np.ndarray) -> np.ndarray:
        weights = self.weights.astype(np.int64)
        if weights.ndim == 2:
            return inputs.reshape(*inputs.shape[:2], -1) @ weights
        height, width = weights.shape[:2]
        low = ((height - 1) // 2, (width - 1) // 2)
        pads = [(low[0], height - 1 - low[0]), (low[1], width - 1 - low[1])]
        padded = np.pad(inputs, [(0, 0), (0, 0), *pads, (0, 0)])
        seen = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        # [T, B, H, W, C, taps] to rows in the order of the weights.
        seen = np.moveaxis(seen, 4, -1)
        return seen.reshape(*seen.shape[:4], -1) @ weights.reshape(-1, weights.shape[-1])


class IntegerRun(NamedTuple):
    """What an integer network did.

    A mean over time is an integer, too, in units of a T-th of the membrane's step.

    Attributes:
        spikes: `{layer: [T, B, ...]}` 0/1, before any pool, of every layer that fires.
        units: int64, what the readout gathered.
        unit: value of one of them.
    """

    spikes: dict[str, np.ndarray]
    units: np.ndarray
    unit: float

    @property
    def outputs(self) -> np.ndarray:
        """The readout's result in float32."""
        return (self.units * self.unit).astype(np.float32)

    def equals(self, outputs: Any) -> np.ndarray:
        """Where the outputs of a network in float32 are these integers.

        Compiled, a division by T may come out one rounding off; to the integer it makes no odds.
        """
        return np.rint(np.asarray(outputs, np.float64) / self.unit) == self.units


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Layers in a row and a readout; see `export`.

    Attributes:
        layers: the last one is read out.
        readout: name of the readout, one of `READOUTS`.
        input_exponent: inputs count units of 2^input_exponent.
        constant: the first frame is shown at every step.
    """

    layers: tuple[IntegerLayer, ...]
    readout: str
    input_exponent: int
    constant: bool

    def run(self, frames: Any) -> IntegerRun:
        """Run frames `[T, B, ...]` in int64.

        Raises:
            ValueError: frames that are no multiples of the input step.
        """
        frames = np.asarray(frames, np.float64)
        units = np.ldexp(frames, -self.input_exponent)
        x, exponent, constant = np.rint(units).astype(np.int64), self.input_exponent, self.constant
        if not (x == units).all():
            raise ValueError(
                f"frames must be multiples of {2.0**exponent}, the input step of this network; "
                "round them to it, in training too, or export with a finer input_step"
            )
        spikes = {}
        for layer in self.layers:
            v, sent = layer.run(x, exponent, constant)
            if layer.threshold is not None:
                spikes[layer.name] = sent
            x, exponent, constant = _pooled(sent, layer.pool), 0, False
        units = READOUTS[self.readout](v, sent)
        if self.readout == "SpikeCount":
            return IntegerRun(spikes, units, 1.0)
        unit = 2.0 ** self.layers[-1].state_exponent
        return IntegerRun(
            spikes, units, unit / len(frames) if self.readout == "MeanMembrane" else unit
        )

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file."""
        arrays, layers = {}, []
        for layer in self.layers:
            fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
            for name in _ARRAYS:
                if (array := fields.pop(name)) is not None:
                    arrays[f"{layer.name}.{name}"] = array
            layers.append(fields)
        about = {
            "layers": layers,
            "readout": self.readout,
            "input_exponent": self.input_exponent,
            "constant": self.constant,
        }
        with Path(path).open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> IntegerNetwork:
        """Read what `save` wrote."""
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            layers = tuple(
                IntegerLayer(**fields, **{n: file.get(f"{fields['name']}.{n}") for n in _ARRAYS})
                for fields in about.pop("layers")
            )
        return cls(layers, **about)


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
        ValueError: a network, readout, lever or grid that has no integers, with the reason; sums
            that could leave the 24 bits in which float32 computes as integers do.

    >>> import jax.numpy as jnp
    >>> from jsnn.codesign.bits import Bits
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
    params = jax.device_get(deployed_as_run(levered.levers, variables["params"]))
    widths = [lever.widths(leaves[lever.name]) for lever in levered.levers if lever.name == "bits"]
    if not widths:
        raise ValueError(
            "no lever put this network on grids: train it with jsnn.codesign.bits.Bits"
        )
    readout = type(model.readout).__name__ if hasattr(model, "readout") else ""
    plan = _plan(model)
    if readout not in READOUTS:
        raise ValueError(f"the readout {readout!r} is no sum of integers; take of {list(READOUTS)}")
    mantissa, exponent = math.frexp(input_step)
    if mantissa != 0.5:
        raise ValueError(
            f"input_step must be a power of two, got {input_step}; scale the inputs so that their "
            "levels are multiples of one (255 levels: times 255 / 256), in training too"
        )
    exponent -= 1
    layers = tuple(
        _layer(name, neuron, params[name], widths[0][name], pool) for name, neuron, pool in plan
    )
    largest = [math.ceil(largest_input / input_step), *[1] * (len(layers) - 1)]
    units = [exponent, *[0] * (len(layers) - 1)]
    for layer, unit, most in zip(layers, units, largest, strict=True):
        if (found := layer.largest_sum(unit, most)) >= 2**EXACT_BITS:
            raise ValueError(
                f"{layer.name}: sums of up to {found} units leave the {EXACT_BITS} bits of "
                "float32, so that the network it was trained as need not do the same; fewer bits "
                "of weights, states or inputs help"
            )
    return IntegerNetwork(layers, readout, exponent, model.input_kind == "constant")


def input_step(frames: Any) -> float:
    """The largest power of two that all values are multiples of.

    Raises:
        ValueError: values on no grid of 24 bits.

    >>> input_step([0.0, 0.75, 3.0])
    0.25
    """
    _, exponent = _integers("inputs", frames, EXACT_BITS + 1)
    return 2.0**exponent


def _plan(model: Any) -> list[tuple[str, Fixed, int]]:
    """Name, neuron and pool of each layer in the order in which they run."""
    if not isinstance(model, MLP | SRNN | ConvNet):
        raise ValueError(
            f"{type(model).__name__} has no integer form, only layers in a row have: MLP, SRNN, "
            "ConvNet"
        )
    if getattr(model, "norm", False) or getattr(model, "normalise", False):
        raise ValueError("normalisations have no integers: fold them (jsnn.codesign.folding)")
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
    name: str, neuron: Fixed, params: Mapping[str, Any], widths: Mapping[str, int], pool: int
) -> IntegerLayer:
    own = jax.device_get(jax.jit(neuron.numbers)(params["neuron"]))
    if not (own.gain == 1).all() or np.unique(own.step).size > 1:
        raise ValueError(f"{name}: expected a gain of 1 and one step for all neurons (Bits)")
    step = float(np.unique(own.step)[0])
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
        shape = np.shape(params["neuron"]["gain"])
        return np.broadcast_to(np.rint(whole), shape).astype(np.int32)

    decay_bits = bits if neuron.leaky else 0
    shape = (1, *np.shape(params["neuron"]["gain"]))
    rest = jax.jit(neuron.init_state, static_argnums=1)(params["neuron"], shape)
    law = neuron.neuron
    return IntegerLayer(
        name=name,
        weights=kernel,
        recurrent=recurrent,
        bias=in_steps(params["synapse"].get("bias")),
        decay=in_steps(own.decay, 2.0**-decay_bits),
        threshold=in_steps(own.threshold),
        reset_to=in_steps(own.reset),
        start=in_steps(rest.v[0]),
        weight_bits=bits,
        state_bits=state_bits,
        decay_bits=decay_bits,
        weight_exponent=weight_exponent,
        recurrent_exponent=recurrent_exponent,
        state_exponent=round(math.log2(step)),
        reset=getattr(law, "reset", "none"),
        strict=getattr(law, "strict", False),
        pool=pool,
    )


def _integers(name: str, values: Any, bits: int) -> tuple[np.ndarray, int]:
    """Integers of so many bits, and the exponent of the coarsest power of two that they count."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    used = whole != 0
    # The lowest bit that is set, as a power of two.
    lowest = np.where(used, whole & -whole, 1)
    trailing = np.frexp(lowest.astype(np.float64))[1] - 1
    exponent = int((exponents - 53 + trailing)[used].min()) if used.any() else 0
    found = np.ldexp(np.asarray(values, np.float64), -exponent)
    half = 2 ** (bits - 1)
    if not ((found >= -half) & (found <= half - 1)).all():
        raise ValueError(
            f"{name} do not fit {bits} bits on any grid of powers of two; weights that do come "
            "from Bits(power_of_two=True), inputs can be rounded to a grid before training"
        )
    kind = np.int8 if bits <= 8 else np.int32
    return found.astype(kind), exponent


def _shifted(values: np.ndarray, bits: int) -> np.ndarray:
    """`values / 2^bits` to the nearest integer, ties to even."""
    if bits <= 0:
        return values << -bits
    below, rest = values >> bits, values & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return below + ((rest > half) | ((rest == half) & (below & 1 == 1)))


def _pooled(spikes: np.ndarray, window: int) -> np.ndarray:
    """OR over windows of space; rows and columns left over are cut off."""
    if window == 1:
        return spikes
    steps, batch, height, width, channels = spikes.shape
    rows, columns = height // window, width // window
    cut = spikes[:, :, : rows * window, : columns * window]
    return cut.reshape(steps, batch, rows, window, columns, window, channels).max((3, 5))
