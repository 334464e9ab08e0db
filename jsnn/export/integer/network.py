"""Layers of integers in a row: run in NumPy without floats, saved and loaded."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jsnn._checks import shown
from jsnn.export.integer import archive
from jsnn.export.integer.layer import ARRAYS, MOST_SHIFT, IntegerLayer, plain_int
from jsnn.neurons.fixed import EXACT_BITS

__all__ = ["READOUTS", "IntegerNetwork", "IntegerRun"]

FORMAT = "jsnn integer network 2"

READOUTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "LastMembrane": lambda v, s: v[-1],
    "MeanMembrane": lambda v, s: v.sum(0),
    "MaxMembrane": lambda v, s: v.max(0),
    "PerStep": lambda v, s: v,
    "SpikeCount": lambda v, s: s.sum(0, dtype=np.int64),
}


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
        self._check_fields()
        self._check_layers()
        self._check_sums()

    def _check_fields(self) -> None:
        if not isinstance(self.readout, str) or self.readout not in READOUTS:
            raise ValueError(
                f"the readout {shown(self.readout)} is no sum of integers; take of {list(READOUTS)}"
            )
        plain_int("input_exponent", self.input_exponent, -MOST_SHIFT, MOST_SHIFT)
        plain_int("largest_input", self.largest_input, 0, 2**EXACT_BITS)
        if not isinstance(self.constant, bool):
            raise ValueError(f"expected constant to be True or False, found {shown(self.constant)}")

    def _check_layers(self) -> None:
        """Each layer takes what the one before it sends, and the last is read out."""
        if not self.layers:
            raise ValueError("layers: expected at least one, found none")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layers: expected names of their own, found {names}")
        if self.readout == "SpikeCount" and self.layers[-1].threshold is None:
            raise ValueError(f"layer {names[-1]!r}: threshold: SpikeCount reads spikes out")
        for before, layer in itertools.pairwise(self.layers):
            if before.threshold is None:
                raise ValueError(f"layer {before.name!r}: threshold: only the last layer has none")
            sent, taken = before.weights.shape[-1], layer.weights.shape[-2]
            # After a convolution, the inputs of a dense layer are all positions of all channels.
            flattened = before.weights.ndim == 4 and layer.weights.ndim == 2 and taken % sent == 0
            if not flattened and (sent != taken or before.weights.ndim != layer.weights.ndim):
                raise ValueError(
                    f"layer {layer.name!r}: weights: expected to take what the {sent} neurons of "
                    f"{before.name!r} send, found shape {layer.weights.shape}"
                )

    def _check_sums(self) -> None:
        """No sum leaves the bits of float32, nor the 64 bits of a shift."""
        exponent, largest_input = self.input_exponent, self.largest_input
        for layer in self.layers:
            shift = layer.state_exponent - layer.sum_exponent(exponent)
            if shift > MOST_SHIFT:
                raise ValueError(
                    f"layer {layer.name!r}: state_exponent: its sum is 2^{shift} times finer than "
                    f"its membrane, more than 2^{MOST_SHIFT}"
                )
            largest = layer.largest_sum(exponent, largest_input)
            if largest >= 2**EXACT_BITS:
                raise ValueError(
                    f"{layer.name}: sums of up to {shown(largest)} units leave the {EXACT_BITS} "
                    "bits of float32, so that the network it was trained as need not do the same; "
                    "fewer bits of weights, states or inputs help"
                )
            # Inputs of the layers that follow are spikes.
            exponent, largest_input = 0, 1

    def run(self, frames: Any) -> IntegerRun:
        """Run the network on frames `[T, B, ...]` in int64.

        Raises:
            ValueError: frames that are empty, of another size than the first layer takes, not
                finite, not multiples of the input step, or larger than the largest input.
        """
        inputs = self._input_units(np.asarray(frames, np.float64))
        steps, exponent, constant = len(inputs), self.input_exponent, self.constant
        spikes = {}
        for layer in self.layers:
            layer.check_inputs(inputs.shape)
            membranes, fired = layer.run(inputs, exponent, constant)
            if layer.threshold is not None:
                spikes[layer.name] = fired
            inputs, exponent, constant = _pooled(fired, layer.pool), 0, False
        units = READOUTS[self.readout](membranes, fired)
        if self.readout == "SpikeCount":
            return IntegerRun(spikes, units, 1.0)
        unit = 2.0 ** self.layers[-1].state_exponent
        return IntegerRun(spikes, units, unit / steps if self.readout == "MeanMembrane" else unit)

    def _input_units(self, frames: np.ndarray) -> np.ndarray:
        """Frames as int64 in units of the input step."""
        if frames.ndim < 3 or not frames.size:
            raise ValueError(
                "expected frames [T, B, ...] of at least one step and sample, found shape "
                f"{frames.shape}"
            )
        if not np.isfinite(frames).all():
            raise ValueError("expected finite frames, found NaN or infinity")
        input_step = 2.0**self.input_exponent
        units = np.ldexp(frames, -self.input_exponent)
        inputs = np.rint(units).astype(np.int64)
        if not (inputs == units).all():
            raise ValueError(
                f"frames must be multiples of {input_step}, the input step of this network; "
                "round them to it, in training too, or export with a finer input_step"
            )
        if np.abs(inputs).max() > self.largest_input:
            raise ValueError(
                f"frames must be at most {self.largest_input * input_step} in size, found "
                f"{np.abs(frames).max()}; export with this largest_input"
            )
        return inputs

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file, with the SHA-256 of its bytes as the comment of the archive.

        It holds all arrays, and a JSON record of everything else, including the names of the
        arrays.
        """
        arrays, layers = {}, []
        for layer in self.layers:
            entries = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
            tensors = {name: entries.pop(name) for name in ARRAYS}
            present = [name for name, tensor in tensors.items() if tensor is not None]
            arrays |= {f"{layer.name}.{name}": tensors[name] for name in present}
            layers.append(entries | {"arrays": present})
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        record |= {"layers": layers, "format": FORMAT}
        Path(path).write_bytes(archive.sealed(record, arrays))

    @classmethod
    def load(cls, path: str | Path) -> IntegerNetwork:
        """Read what `save` wrote.

        Raises:
            ValueError: naming the file and the field: no such file, one that is damaged, of an
                older version of jsnn, or of a network that `IntegerNetwork` or `IntegerLayer`
                refuses.
        """
        record, arrays = archive.read(path)
        try:
            return _network(record, arrays)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _network(record: Any, arrays: dict[str, np.ndarray]) -> IntegerNetwork:
    """The network of a record and its arrays, each of which must be present and used."""
    names = [f.name for f in dataclasses.fields(IntegerNetwork)]
    entries = _entries("the record", record, [*names, "format"])
    if (written := entries.pop("format")) != FORMAT:
        raise ValueError(f"format: expected {FORMAT!r}, found {shown(written)}; export it again")
    records = entries.pop("layers")
    if not isinstance(records, list):
        raise ValueError(f"layers: expected a list, found {shown(records)}")
    layers = [_layer(f"layer {number}", each, arrays) for number, each in enumerate(records)]
    if arrays:
        raise ValueError(f"arrays that belong to no layer: {shown(sorted(arrays))}")
    return IntegerNetwork(tuple(layers), **entries)


def _layer(where: str, record: Any, arrays: dict[str, np.ndarray]) -> IntegerLayer:
    """The layer of a record; takes its arrays out of `arrays`."""
    plain = [f.name for f in dataclasses.fields(IntegerLayer) if f.name not in ARRAYS]
    entries = _entries(where, record, [*plain, "arrays"])
    names = entries.pop("arrays")
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not listed or not {"weights", "start"} <= set(names) <= set(ARRAYS):
        raise ValueError(
            f"{where}: arrays: expected weights, start and others out of "
            f"{list(ARRAYS)}, found {shown(names)}"
        )
    tensors = dict.fromkeys(ARRAYS)
    for name in dict.fromkeys(names):
        stored = f"{entries['name']}.{name}"
        if stored not in arrays:
            raise ValueError(f"{where}: the array {shown(stored)} is missing")
        tensors[name] = arrays.pop(stored)
    return IntegerLayer(**entries, **tensors)


def _entries(where: str, record: Any, names: list[str]) -> dict[str, Any]:
    """A copy of a record that has exactly these fields."""
    if not isinstance(record, dict) or set(record) != set(names):
        given = sorted(record) if isinstance(record, dict) else record
        raise ValueError(f"{where}: expected the fields {sorted(names)}, found {shown(given)}")
    return dict(record)


def _pooled(spikes: np.ndarray, window: int) -> np.ndarray:
    """OR over windows in space; incomplete rows and columns are dropped."""
    if window == 1:
        return spikes
    steps, batch, height, width, channels = spikes.shape
    rows, columns = height // window, width // window
    cut = spikes[:, :, : rows * window, : columns * window]
    return cut.reshape(steps, batch, rows, window, columns, window, channels).max((3, 5))
