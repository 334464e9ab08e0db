"""One layer of an integer network: its arithmetic, and checks of its numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from jsnn._checks import shown, whole_number
from jsnn.neurons.fixed import EXACT_BITS
from jsnn.neurons.reset import RESETS

__all__ = ["ARRAYS", "MOST_SHIFT", "IntegerLayer", "plain_int"]

# Fields of a layer that are arrays. The first and the last are always present.
ARRAYS = ("weights", "recurrent", "bias", "decay", "threshold", "reset_to", "start")
# Exponents beyond which shifts exceed 64 bits.
MOST_SHIFT = 60


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
            self._check_numbers()
            self._check_arrays()
            self._check_agreement()
        except ValueError as error:
            raise ValueError(f"layer {shown(self.name)}: {error}") from None

    def _check_numbers(self) -> None:
        """Each field that is no array, by itself."""
        bits = {"weight_bits": 2, "state_bits": 2, "decay_bits": 0, "pool": 1}
        for field, least in bits.items():
            most = EXACT_BITS if field != "pool" else 2**20
            plain_int(field, getattr(self, field), least, most)
        for field in ("weight_exponent", "recurrent_exponent", "state_exponent"):
            plain_int(field, getattr(self, field), -MOST_SHIFT, MOST_SHIFT)
        if self.reset not in RESETS:
            raise ValueError(f"expected reset to be one of {RESETS}, found {shown(self.reset)}")
        if not isinstance(self.strict, bool):
            raise ValueError(f"expected strict to be True or False, found {shown(self.strict)}")

    def _check_arrays(self) -> None:
        """Types and shapes of the arrays, and whether their bits hold them."""
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

    def _check_agreement(self) -> None:
        """Fields that must not contradict each other."""
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
        unit = self.sum_exponent(exponent)
        frames = inputs[:1] if constant else inputs
        sums = self._synapse(frames.astype(np.int64)) << (self.weight_exponent + exponent - unit)
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
        unit = self.sum_exponent(exponent)
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

    def sum_exponent(self, exponent: int) -> int:
        """Exponent of the finest unit in a sum of inputs in units of 2^exponent."""
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
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        # [T, B, H, W, C, taps] to rows in the order of the weights.
        windows = np.moveaxis(windows, 4, -1)
        return windows.reshape(*windows.shape[:4], -1) @ weights.reshape(-1, weights.shape[-1])


def plain_int(field: str, value: Any, low: int, high: int) -> None:
    """ValueError unless a field is an int of Python itself, between two ends."""
    if type(value) is not int:
        raise ValueError(f"{field}: expected a whole number, found {shown(value)}")
    whole_number(field, value, low, high)


def _integer_array(
    field: str, array: Any, kind: type, shape: tuple[int, ...], low: int, high: int
) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape != shape:
        described = (
            f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else shown(array)
        )
        raise ValueError(f"{field}: expected {np.dtype(kind)} of shape {shape}, found {described}")
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(
            f"{field}: expected {low} to {high}, which its bits hold, found {array.min()} to "
            f"{array.max()}"
        )


def _shifted(values: np.ndarray, bits: int) -> np.ndarray:
    """`values / 2^bits` to the nearest integer, ties to even."""
    if bits <= 0:
        return values << -bits
    below, rest = values >> bits, values & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return below + ((rest > half) | ((rest == half) & (below & 1 == 1)))
