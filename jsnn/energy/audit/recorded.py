"""Record of a layer: the frames that came in and the spikes that left."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from jsnn.energy.audit.wires import Conv, Dense, Product, Wires
from jsnn.workload import INPUT_KINDS, InputKind

# How far a value may lie from a whole number of events (averages of float32 spikes).
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedLayer:
    """What one layer received and sent, and what it is made of.

    Attributes:
        name: its name.
        frames: `[T, B, *in]` as they arrived.
        spikes: `[T, B, *out]` as they left; zeros where the layer never fires.
        wiring: `Dense`, `Conv` or `Product`.
        input_kind: see `jsnn.workload.Geometry`.
        state_words, multiplies, adds, compares, adds_per_spike: see `jsnn.neurons.NeuronOps`.
        bias: whether there is a bias for each feature (the last axis of the output).
        spiking: whether the neurons fire.
        recurrent: whether each spike is fed back to all neurons in the next step.
        input_unit: value of one input event.
        before: `[B, *out]` spikes of the step before the first, fed back; none by default.
        kept: of the stored forward weights, which are there; the others have no wire. All by
            default.
        index_bits: width of the address stored beside each weight.
        shared: the weights are those of an earlier use of the same layer, loaded there.
        operand: `[T, B, *operand]` spikes (or words) that a `Product` keeps as its operand; none
            where its operand are sums.

    Raises:
        ValueError: shapes that do not fit each other, an unknown input kind, spikes other than 0
            and 1, events that are not whole multiples of `input_unit`.

    >>> ones = np.ones((2, 1, 3))
    >>> RecordedLayer("a", ones, ones[..., :2], Dense(3, 2), "spikes", 1, 0, 0, 1, 1).neurons
    2
    """

    name: str
    frames: np.ndarray
    spikes: np.ndarray
    wiring: Dense | Conv | Product
    input_kind: InputKind
    state_words: int
    multiplies: int
    adds: int
    compares: int
    adds_per_spike: int
    bias: bool = False
    spiking: bool = True
    recurrent: bool = False
    input_unit: float = 1.0
    before: np.ndarray | None = None
    operand: np.ndarray | None = None
    kept: np.ndarray | None = None
    index_bits: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        if self.input_kind not in INPUT_KINDS:
            raise ValueError(f"input_kind must be one of {INPUT_KINDS}, got {self.input_kind!r}")
        if np.ndim(self.frames) < 3 or not len(self.frames):
            raise ValueError(
                f"{self.name}: frames must be [T, B, ...] with at least one step, got shape "
                f"{list(np.shape(self.frames))}"
            )
        self._check_spikes()
        self._check_operand()
        if self.kept is not None:
            stored = self.wiring.kernel_shape(self.input_shape)
            if self.kept.shape != stored:
                raise ValueError(
                    f"{self.name}: expected kept {list(stored)} as the stored weights, got "
                    f"{list(self.kept.shape)}"
                )
        if not self.real:
            self._check_events()

    def _check_spikes(self) -> None:
        sent = (*self.frames.shape[:2], *self.wiring.output_shape(self.input_shape))
        if self.spikes.shape != sent:
            raise ValueError(
                f"{self.name}: expected spikes {list(sent)}, got {list(self.spikes.shape)}"
            )
        if self.before is not None and self.before.shape != sent[1:]:
            raise ValueError(
                f"{self.name}: expected spikes before {list(sent[1:])}, got "
                f"{list(self.before.shape)}"
            )
        fired = self.spikes if self.before is None else np.append(self.spikes, self.before)
        if not np.isin(fired, (0, 1)).all():
            raise ValueError(f"{self.name}: spikes must be 0 or 1")

    def _check_operand(self) -> None:
        arrives = isinstance(self.wiring, Product) and not self.wiring.sums
        if arrives != (self.operand is not None):
            raise ValueError(
                f"{self.name}: a product of spikes needs an operand, no other layer has one; found "
                f"{self.wiring} and {'none' if self.operand is None else 'one'}"
            )
        if not arrives:
            return
        shape = (*self.frames.shape[:2], *self.wiring.operand_shape)
        if self.operand.shape != shape:
            raise ValueError(
                f"{self.name}: expected an operand {list(shape)}, got {list(self.operand.shape)}"
            )
        if not self.real and not np.isin(self.operand, (0, 1)).all():
            raise ValueError(f"{self.name}: an operand of spikes must be 0 or 1")

    def _check_events(self) -> None:
        values = np.abs(self.frames) / self.input_unit
        off = np.abs(values - np.rint(values)).max()
        if off > TOLERANCE:
            raise ValueError(
                f"{self.name}: input events must be whole multiples of input_unit = "
                f"{self.input_unit}, one is {off:.3g} units off; set input_unit (1 / window² "
                "behind an average pool) or the input kind (analog for real values)"
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input frame."""
        return self.frames.shape[2:]

    @property
    def real(self) -> bool:
        """Whether the input consists of real-valued words."""
        return self.input_kind in ("analog", "constant")

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.spikes[0, 0].size

    @property
    def weights(self) -> int:
        """Stored weights, the recurrent ones included."""
        kernel = np.ones(self.wiring.kernel_shape(self.input_shape), int)
        forward = kernel if self.kept is None else self.kept
        return int(forward.sum()) + (self.neurons**2 if self.recurrent else 0)

    @property
    def wires(self) -> Wires:
        """For each input: the outputs it reaches and the weight (or operand) on the way to each."""
        wires = self.wiring.wires(self.input_shape)
        if self.kept is None:
            return wires
        there = np.ravel(self.kept).astype(bool)
        return tuple((to[there[by]], by[there[by]]) for to, by in wires)

    @property
    def biases(self) -> int:
        """Stored biases."""
        return self.spikes.shape[-1] if self.bias else 0

    @property
    def writes_words(self) -> bool:
        """Whether real-valued words leave: not where there are spikes, a state or sums to keep."""
        return not self.spiking and not self.state_words and not self.adds_up

    @property
    def product(self) -> bool:
        """Whether an operand takes the place of weights."""
        return isinstance(self.wiring, Product)

    @property
    def adds_up(self) -> bool:
        """Whether the results are sums that the next product reads where they are."""
        return self.operand is not None

    @property
    def operand_words(self) -> int:
        """Words of one frame of the operand."""
        return math.prod(self.wiring.operand_shape) if self.product else 0

    @property
    def stored_currents(self) -> int:
        """Currents kept for the whole window."""
        return self.neurons if self.input_kind == "constant" else 0
