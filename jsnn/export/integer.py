"""Export of a network trained on grids as integers, and a NumPy runtime without floats.

A network trained with `jsnn.codesign.bit_widths.Bits` computes in float32 exactly what this
computes in integers: the same spikes, the same readout.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jsnn._checks import check_number, shown, whole_number
from jsnn._ops.precision import F32
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import Fixed, in_force
from jsnn.neurons.fixed import EXACT_BITS
from jsnn.neurons.reset import RESETS
from jsnn.nn.layers import constants_of
from jsnn.train.levers import Lever, Levered, deployed_as_run, split

__all__ = ["IntegerLayer", "IntegerNetwork", "IntegerRun", "export", "input_step"]

# Fields of a layer that a file stores as arrays; its other fields are JSON. The first and the last
# are always present.
_ARRAYS = ("weights", "recurrent", "bias", "decay", "threshold", "reset_to", "start")
_FORMAT = "jsnn integer network 2"
# Errors that NumPy and the zip module raise on an unexpected file.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# Characters of a SHA-256 in hexadecimal.
_DIGEST = 64
# Exponents beyond which shifts exceed 64 bits.
_MOST_SHIFT = 60

READOUTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "LastMembrane": lambda v, s: v[-1],
    "MeanMembrane": lambda v, s: v.sum(0),
    "MaxMembrane": lambda v, s: v.max(0),
    "PerStep": lambda v, s: v,
    "SpikeCount": lambda v, s: s.sum(0, dtype=np.int64),
}


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerLayer:
    """One layer: integers, and the powers of two that they are multiples of.

    sum = Σ weights x 2^(weight_exponent + input exponent) + Σ recurrent s_(t-1) 2^recurrent_exponent
          + bias 2^state_exponent
    v <- clip((decay v) >> decay_bits + sum >> ..., low, high),   s = v >= threshold

    Shifts to the right round to the nearest, ties to even.

    Attributes:
        name: of the layer.
        weights: `[K, N]`, or `[H, W, C, N]` of a convolution of stride 1 that keeps the size; int8
            if the bits fit, for 4-bit weights too.
        recurrent: `[N, N]` or None.
        bias: `[N]` int32 or None.
        decay: `[N]` int32; None without leak.
        threshold: `[N]` int32; None for a layer without spikes.
        reset_to: `[N]` int32 that the reset `zero` writes; None without spikes.
        start: `[N]` int32 membranes before the first step.
        weight_bits, state_bits, decay_bits: widths.
        weight_exponent, recurrent_exponent, state_exponent: of the units.
        reset, strict: as in the neuron.
        pool: window of the OR pool after the spikes; 1 for none.

    Raises:
        ValueError: naming layer and field: arrays of another shape or type, numbers that exceed
            their bits, fields that contradict each other.
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

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"expected a layer to have a name, found {shown(self.name)}")
        try:
            self._check()
        except ValueError as error:
            raise ValueError(f"layer {shown(self.name)}: {error}") from None

    def _check(self) -> None:
        bits = {"weight_bits": 2, "state_bits": 2, "decay_bits": 0, "pool": 1}
        for field, least in bits.items():
            most = EXACT_BITS if field != "pool" else 2**20
            _plain_int(field, getattr(self, field), least, most)
        for field in ("weight_exponent", "recurrent_exponent", "state_exponent"):
            _plain_int(field, getattr(self, field), -_MOST_SHIFT, _MOST_SHIFT)
        if self.reset not in RESETS:
            raise ValueError(f"expected reset to be one of {RESETS}, found {shown(self.reset)}")
        if not isinstance(self.strict, bool):
            raise ValueError(f"expected strict to be True or False, found {shown(self.strict)}")
        kind = np.int8 if self.weight_bits <= 8 else np.int32
        weight, state = 2 ** (self.weight_bits - 1), 2 ** (self.state_bits - 1)
        if np.ndim(self.weights) not in (2, 4) or not np.size(self.weights):
            raise ValueError(
                f"weights: expected [K, N] or [H, W, C, N], found shape {np.shape(self.weights)}"
            )
        n = self.weights.shape[-1]
        _integer_array("weights", self.weights, kind, self.weights.shape, -weight, weight - 1)
        if self.recurrent is not None:
            _integer_array("recurrent", self.recurrent, kind, (n, n), -weight, weight - 1)
        ranges = {
            "bias": (-state, state - 1),
            "decay": (0, 2**self.decay_bits - 1),
            "threshold": (1, state - 1),
            "reset_to": (-state, state - 1),
            "start": (-state, state - 1),
        }
        for field, ends in ranges.items():
            if field == "start" or getattr(self, field) is not None:
                _integer_array(field, getattr(self, field), np.int32, (n,), *ends)
        if (self.decay is None) != (self.decay_bits == 0):
            raise ValueError(
                f"decay and decay_bits contradict each other: {self.decay_bits} bits "
                f"{'without' if self.decay is None else 'of'} a decay"
            )
        if self.state_bits - 1 + self.decay_bits > EXACT_BITS:
            raise ValueError(
                f"state_bits: a membrane of {self.state_bits} bits times a decay of "
                f"{self.decay_bits} is not exact in float32"
            )
        if (self.threshold is None) != (self.reset_to is None):
            raise ValueError("threshold and reset_to: expected both or neither")
        if self.threshold is None and (self.recurrent is not None or self.pool > 1):
            raise ValueError("threshold: a layer that feeds back or pools its spikes needs one")
        if self.pool > 1 and self.weights.ndim == 2:
            raise ValueError(f"pool: a dense layer has no space to pool, found {self.pool}")

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

    def check_inputs(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless inputs of this shape, `[T, B, ...]`, fit the weights."""
        taken, image = self.weights.shape[-2], self.weights.ndim == 4
        sent = shape[-1] if image else math.prod(shape[2:])
        if sent != taken or (image and len(shape) != 5) or 0 in shape:
            raise ValueError(
                f"layer {self.name!r} takes "
                f"{f'images of {taken} channels' if image else f'{taken} inputs'}, found {shape}: "
                "are the frames as large as those it was trained on?"
            )

    def largest_sum(self, exponent: int, largest_input: int) -> int:
        """The largest possible sum of inputs up to `largest_input` units, in its finest unit."""
        unit = self._unit(exponent)
        # Python integers, which no shift overflows.
        fans = tuple(range(self.weights.ndim - 1))
        total = np.abs(self.weights.astype(np.int64)).sum(fans).astype(object) * int(largest_input)
        total = total * 2 ** (self.weight_exponent + exponent - unit)
        if self.recurrent is not None:
            back = np.abs(self.recurrent.astype(np.int64)).sum(0).astype(object)
            total = total + back * 2 ** (self.recurrent_exponent - unit)
        if self.bias is not None:
            total = total + np.abs(self.bias.astype(object)) * 2 ** (self.state_exponent - unit)
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
    """The result of running an integer network.

    A mean over time is an integer too, in units of 1/T of the membrane's step.

    Attributes:
        spikes: `{layer: [T, B, ...]}` 0/1, before any pool, of every layer that fires.
        units: int64, the result of the readout in units.
        unit: value of one unit.
    """

    spikes: dict[str, np.ndarray]
    units: np.ndarray
    unit: float

    @property
    def outputs(self) -> np.ndarray:
        """The readout's result in float32."""
        return (self.units * self.unit).astype(np.float32)

    def equals(self, outputs: Any) -> np.ndarray:
        """Whether each output of a network in float32 is this integer.

        Compiled, a division by T may be off by one rounding, which does not change the integer.
        """
        return np.rint(np.asarray(outputs, np.float64) / self.unit) == self.units


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A sequence of layers and a readout; see `export`.

    Attributes:
        layers: in order; the last one is read out.
        readout: name of the readout, one of `READOUTS`.
        input_exponent: inputs count units of 2^input_exponent.
        largest_input: largest absolute input, in these units: no sum of such inputs exceeds the 24
            bits in which float32 is exact for integers.
        constant: whether the first frame is shown at every step.

    Raises:
        ValueError: naming layer and field: layers whose sizes do not match, an unknown
            readout, sums that could exceed 24 bits.
    """

    layers: tuple[IntegerLayer, ...]
    readout: str
    input_exponent: int
    largest_input: int
    constant: bool

    def __post_init__(self) -> None:
        if not isinstance(self.readout, str) or self.readout not in READOUTS:
            raise ValueError(
                f"the readout {shown(self.readout)} is no sum of integers; take of {list(READOUTS)}"
            )
        _plain_int("input_exponent", self.input_exponent, -_MOST_SHIFT, _MOST_SHIFT)
        _plain_int("largest_input", self.largest_input, 0, 2**EXACT_BITS)
        if not isinstance(self.constant, bool):
            raise ValueError(f"expected constant to be True or False, found {shown(self.constant)}")
        if not self.layers:
            raise ValueError("layers: expected at least one, found none")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layers: expected names of their own, found {names}")
        if self.readout == "SpikeCount" and self.layers[-1].threshold is None:
            raise ValueError(f"layer {names[-1]!r}: threshold: SpikeCount reads spikes out")
        for first, then in zip(self.layers, self.layers[1:], strict=False):
            if first.threshold is None:
                raise ValueError(f"layer {first.name!r}: threshold: only the last layer has none")
            sent, taken = first.weights.shape[-1], then.weights.shape[-2]
            # After a convolution, the inputs of a dense layer are all positions of all channels.
            fits = first.weights.ndim == 4 and then.weights.ndim == 2 and taken % sent == 0
            if not fits and (sent != taken or first.weights.ndim != then.weights.ndim):
                raise ValueError(
                    f"layer {then.name!r}: weights: expected to take what the {sent} neurons of "
                    f"{first.name!r} send, found shape {then.weights.shape}"
                )
        exponent, most = self.input_exponent, self.largest_input
        for layer in self.layers:
            if (shift := layer.state_exponent - layer._unit(exponent)) > _MOST_SHIFT:
                raise ValueError(
                    f"layer {layer.name!r}: state_exponent: its sum is 2^{shift} times finer than "
                    f"its membrane, more than 2^{_MOST_SHIFT}"
                )
            if (largest := layer.largest_sum(exponent, most)) >= 2**EXACT_BITS:
                raise ValueError(
                    f"{layer.name}: sums of up to {shown(largest)} units leave the {EXACT_BITS} "
                    "bits of float32, so that the network it was trained as need not do the same; "
                    "fewer bits of weights, states or inputs help"
                )
            exponent, most = 0, 1

    def run(self, frames: Any) -> IntegerRun:
        """Run the network on frames `[T, B, ...]` in int64.

        Raises:
            ValueError: frames that are empty, of another size than the first layer takes, not
                finite, not multiples of the input step, or larger than the largest input.
        """
        frames = np.asarray(frames, np.float64)
        self._check_frames(frames)
        units = np.ldexp(frames, -self.input_exponent)
        x, exponent, constant = np.rint(units).astype(np.int64), self.input_exponent, self.constant
        if not (x == units).all():
            raise ValueError(
                f"frames must be multiples of {2.0**exponent}, the input step of this network; "
                "round them to it, in training too, or export with a finer input_step"
            )
        if np.abs(x).max() > self.largest_input:
            raise ValueError(
                f"frames must be at most {self.largest_input * 2.0**exponent} in size, found "
                f"{np.abs(frames).max()}; export with this largest_input"
            )
        spikes = {}
        for layer in self.layers:
            layer.check_inputs(x.shape)
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

    def _check_frames(self, frames: np.ndarray) -> None:
        if frames.ndim < 3 or not frames.size:
            raise ValueError(
                "expected frames [T, B, ...] of at least one step and sample, found shape "
                f"{frames.shape}"
            )
        if not np.isfinite(frames).all():
            raise ValueError("expected finite frames, found NaN or infinity")

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file, with the SHA-256 of its bytes as the comment of the archive.

        It holds all arrays, and a JSON record of everything else, including the names of the
        arrays.
        """
        arrays, layers = {}, []
        for layer in self.layers:
            fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
            own = {name: fields.pop(name) for name in _ARRAYS}
            own = {name: array for name, array in own.items() if array is not None}
            arrays |= {f"{layer.name}.{name}": array for name, array in own.items()}
            layers.append(fields | {"arrays": list(own)})
        about = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        about |= {"layers": layers, "format": _FORMAT}
        Path(path).write_bytes(_sealed({"about": np.array(json.dumps(about)), **arrays}))

    @classmethod
    def load(cls, path: str | Path) -> IntegerNetwork:
        """Read what `save` wrote.

        Raises:
            ValueError: naming the file and the field: no such file, one that is damaged, of an
                older version of jsnn, or of a network that `IntegerNetwork` or `IntegerLayer`
                refuses.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
        body, digest = content[:-_DIGEST], content[-_DIGEST:]
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise ValueError(
                f"{path}: its digest is not that of its content: the file is damaged, or was "
                "written by an older version of jsnn, without a digest; export the network again"
            )
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(str(arrays.pop("about")))
        except _UNREADABLE as error:
            raise ValueError(
                f"{path}: is no archive of arrays with a record about them: {shown(str(error))}"
            ) from error
        try:
            return _network(about, arrays)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


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
    check_number("input_step", input_step)
    check_number("largest_input", largest_input, 0)
    mantissa, exponent = math.frexp(input_step)
    if mantissa != 0.5:
        raise ValueError(
            f"input_step must be a power of two, got {input_step}; scale the inputs so that their "
            "levels are multiples of one (255 levels: times 255 / 256), in training too"
        )
    exponent -= 1
    layers = tuple(
        _layer(name, neuron, params[name], constants[name]["neuron"], widths[0][name], pool)
        for name, neuron, pool in plan
    )
    largest = math.ceil(largest_input / input_step)
    if largest > 2**EXACT_BITS:
        raise ValueError(
            f"inputs of up to {largest} units of the input step leave the {EXACT_BITS} bits of "
            "float32; fewer levels of inputs help"
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


def _sealed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an archive whose comment is the SHA-256 of everything before it."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * _DIGEST
    body = buffer.getvalue()[:-_DIGEST]
    return body + hashlib.sha256(body).hexdigest().encode()


def _network(about: Any, arrays: dict[str, np.ndarray]) -> IntegerNetwork:
    """The network of a record and its arrays, each of which must be present and used."""
    own = [f.name for f in dataclasses.fields(IntegerNetwork)]
    about = _fields("the record", about, [*own, "format"])
    if (found := about.pop("format")) != _FORMAT:
        raise ValueError(f"format: expected {_FORMAT!r}, found {shown(found)}; export it again")
    if not isinstance(about["layers"], list):
        raise ValueError(f"layers: expected a list, found {shown(about['layers'])}")
    plain = [f.name for f in dataclasses.fields(IntegerLayer) if f.name not in _ARRAYS]
    layers = []
    for number, layer in enumerate(about.pop("layers")):
        layer = _fields(f"layer {number}", layer, [*plain, "arrays"])
        names = layer.pop("arrays")
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not listed or not {"weights", "start"} <= set(names) <= set(_ARRAYS):
            raise ValueError(
                f"layer {number}: arrays: expected weights, start and others out of "
                f"{list(_ARRAYS)}, found {shown(names)}"
            )
        held = dict.fromkeys(_ARRAYS)
        for name in dict.fromkeys(names):
            stored = f"{layer['name']}.{name}"
            if stored not in arrays:
                raise ValueError(f"layer {number}: the array {shown(stored)} is missing")
            held[name] = arrays.pop(stored)
        layers.append(IntegerLayer(**layer, **held))
    if arrays:
        raise ValueError(f"arrays that belong to no layer: {shown(sorted(arrays))}")
    return IntegerNetwork(tuple(layers), **about)


def _fields(where: str, entries: Any, names: list[str]) -> dict[str, Any]:
    if not isinstance(entries, dict) or set(entries) != set(names):
        found = sorted(entries) if isinstance(entries, dict) else entries
        raise ValueError(f"{where}: expected the fields {sorted(names)}, found {shown(found)}")
    return dict(entries)


def _plain_int(field: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int:
        raise ValueError(f"{field}: expected a whole number, found {shown(value)}")
    whole_number(field, value, low, high)


def _integer_array(
    field: str, array: Any, kind: type, shape: tuple[int, ...], low: int, high: int
) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else shown(array)
        raise ValueError(f"{field}: expected {np.dtype(kind)} of shape {shape}, found {found}")
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(
            f"{field}: expected {low} to {high}, which its bits hold, found {array.min()} to "
            f"{array.max()}"
        )


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
    shape = np.shape(constants["gain"])

    # Jitted as inside the network: outside of a program an exponential may round differently.
    @jax.jit
    def run(constants, trained):
        leaves = in_force(neuron, constants, trained)
        return neuron.numbers(leaves), neuron.init_state(leaves, (1, *shape))

    own, rest = jax.device_get(run(constants, params.get("neuron", {})))
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
        return np.broadcast_to(np.rint(whole), shape).astype(np.int32)

    decay_bits = bits if neuron.leaky else 0
    dynamics = neuron.neuron
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
        reset=getattr(dynamics, "reset", "none"),
        strict=getattr(dynamics, "strict", False),
        pool=pool,
    )


def _integers(name: str, values: Any, bits: int) -> tuple[np.ndarray, int]:
    """Integers of `bits` bits, and the exponent of their coarsest possible unit."""
    if not np.isfinite(np.asarray(values, np.float64)).all():
        raise ValueError(f"{name} must be finite, found NaN or infinity")
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
    """OR over windows in space; incomplete rows and columns are dropped."""
    if window == 1:
        return spikes
    steps, batch, height, width, channels = spikes.shape
    rows, columns = height // window, width // window
    cut = spikes[:, :, : rows * window, : columns * window]
    return cut.reshape(steps, batch, rows, window, columns, window, channels).max((3, 5))
