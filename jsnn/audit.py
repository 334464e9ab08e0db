"""A second count of the energy, event by event, that shares no formula with the first.

`jsnn.energy` multiplies totals with prices. The auditor walks a recorded run instead: every step,
sample and input that is not zero, down an explicit list of the wires behind it, and books each
action of the tables in `jsnn.hardware.architectures.classical`, `event_driven` and `spatial` where
it happens. It reads constants and knobs of a machine and nothing else of the analytic side; placing
of tensors, memory and arithmetic models are written here once more. Both must agree: counts
exactly, energies to rounding.

A sample costs one Python step for each of its events: meant for tests and small networks.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from jsnn.hardware import Hardware
from jsnn.hardware.ledger import COMPONENTS
from jsnn.workload import INPUT_KINDS, InputKind

# How far a value may lie from a whole number of events (averages of float32 spikes).
TOLERANCE = 1e-3

Wires = tuple[tuple[np.ndarray, np.ndarray], ...]
Key = tuple[str, str, float]


@dataclasses.dataclass(frozen=True)
class Dense:
    """Every input is wired to every output.

    Attributes:
        inputs, outputs: sizes.
    """

    inputs: int
    outputs: int

    def kernel_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the stored weights."""
        return self.inputs, self.outputs

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a frame that leaves; ValueError if `input_shape` does not fit."""
        if tuple(input_shape) != (self.inputs,):
            raise ValueError(f"{self} takes frames [{self.inputs}], found {list(input_shape)}")
        return (self.outputs,)

    def wires(self, input_shape: tuple[int, ...]) -> Wires:
        """For each input: the outputs it reaches and the weight on the way to each.

        >>> [(to.tolist(), by.tolist()) for to, by in Dense(2, 3).wires((2,))]
        [([0, 1, 2], [0, 1, 2]), ([0, 1, 2], [3, 4, 5])]
        """
        size = self.output_shape(input_shape)[0]
        addresses = np.arange(self.inputs * size).reshape(self.inputs, size)
        return tuple((np.arange(size), row) for row in addresses)


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution over any number of spatial axes, channels last.

    Attributes:
        kernel, strides, dilation: one number for each spatial axis.
        padding: `(low, high)` for each spatial axis.
        groups: groups of channels that do not see each other.
        features: output channels.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    features: int

    def __post_init__(self) -> None:
        axes = {len(field) for field in (self.kernel, self.strides, self.padding, self.dilation)}
        if len(axes) > 1:
            raise ValueError(f"expected one entry an axis in every field, found {self}")
        if self.features % self.groups:
            raise ValueError(f"{self.features} features do not split into {self.groups} groups")

    def kernel_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the stored weights: taps, channels of one group, features."""
        return *self.kernel, input_shape[-1] // self.groups, self.features

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a frame that leaves; ValueError if `input_shape` does not fit."""
        return *(len(places) for places in self._corners(input_shape)), self.features

    def wires(self, input_shape: tuple[int, ...]) -> Wires:
        """For each input: the outputs it reaches and the weight on the way to each.

        The kernel is laid on every place it can take; taps on the padding have no wire.

        >>> conv = Conv((2,), (1,), ((0, 0),), (1,), groups=1, features=1)
        >>> [to.tolist() for to, _ in conv.wires((3, 1))]
        [[0], [0, 1], [1]]
        """
        *space, channels = input_shape
        inside, across = channels // self.groups, self.features // self.groups
        found: list[tuple[list[int], list[int]]] = [([], []) for _ in range(np.prod(input_shape))]
        pixels = np.arange(np.prod(space, dtype=int)).reshape(space)
        corners = self._corners(input_shape)
        for cell, corner in enumerate(itertools.product(*corners)):
            for tap, offset in enumerate(itertools.product(*map(range, self.kernel))):
                place = tuple(
                    c + o * d for c, o, d in zip(corner, offset, self.dilation, strict=True)
                )
                if not all(0 <= p < size for p, size in zip(place, space, strict=True)):
                    continue
                for group, channel in itertools.product(range(self.groups), range(inside)):
                    source = int(pixels[place]) * channels + group * inside + channel
                    first = group * across
                    row = (tap * inside + channel) * self.features
                    for feature in range(first, first + across):
                        found[source][0].append(cell * self.features + feature)
                        found[source][1].append(row + feature)
        return tuple((np.asarray(to, int), np.asarray(by, int)) for to, by in found)

    def _corners(self, input_shape: tuple[int, ...]) -> list[range]:
        if len(input_shape) != len(self.kernel) + 1 or input_shape[-1] % self.groups:
            raise ValueError(
                f"{self} takes {len(self.kernel)} spatial axes and channels that split into "
                f"{self.groups} groups, found frames {list(input_shape)}"
            )
        corners = [
            range(-low, size + high - (taps - 1) * step, stride)
            for size, taps, stride, (low, high), step in zip(
                input_shape, self.kernel, self.strides, self.padding, self.dilation, strict=False
            )
        ]
        if not all(corners):
            raise ValueError(f"{self} does not fit frames {list(input_shape)}")
        return corners


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedLayer:
    """What one layer received and sent, and what it is made of.

    Attributes:
        name: its name.
        frames: `[T, B, *in]` as they arrived.
        spikes: `[T, B, *out]` as they left; zeros where the layer never fires.
        wiring: `Dense` or `Conv`.
        input_kind: see `jsnn.workload.Geometry`.
        state_words, multiplies, adds, compares, adds_per_spike: see `jsnn.neurons.NeuronOps`.
        bias: whether there is a bias for each feature (the last axis of the output).
        spiking: whether the neurons fire.
        recurrent: whether each spike is fed back to all neurons in the next step.
        input_unit: value of one input event.
        before: `[B, *out]` spikes of the step before the first, fed back; none by default.

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
    wiring: Dense | Conv
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

    def __post_init__(self) -> None:
        if self.input_kind not in INPUT_KINDS:
            raise ValueError(f"input_kind must be one of {INPUT_KINDS}, got {self.input_kind!r}")
        if np.ndim(self.frames) < 3 or not len(self.frames):
            raise ValueError(
                f"{self.name}: frames must be [T, B, ...] with at least one step, got shape "
                f"{list(np.shape(self.frames))}"
            )
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
        if not self.real:
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
        return int(kernel.sum()) + (self.neurons**2 if self.recurrent else 0)

    @property
    def biases(self) -> int:
        """Stored biases."""
        return self.spikes.shape[-1] if self.bias else 0

    @property
    def writes_words(self) -> bool:
        """Whether real-valued words leave: from a layer that neither fires nor keeps a state."""
        return not self.spiking and not self.state_words

    @property
    def stored_currents(self) -> int:
        """Currents kept for the whole window."""
        return self.neurons if self.input_kind == "constant" else 0


@dataclasses.dataclass(frozen=True, eq=False)
class LayerAudit:
    """What one layer made the machine do.

    Attributes:
        name: name of the layer.
        counts: for each dataflow and sample, `{(unit, verb, bits): times}` as integers or exact
            fractions; what never happens is left out.
        plans_pj: `[P, B, C]` energy of each dataflow, sample and component.
        received: `[B, N]` accumulations that arrived at each neuron.
    """

    name: str
    counts: tuple[tuple[dict[Key, Fraction | int], ...], ...]
    plans_pj: np.ndarray
    received: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """`[B]` number of the cheapest dataflow of each sample."""
        return self.plans_pj.sum(-1).argmin(0)

    @property
    def parts_pj(self) -> np.ndarray:
        """`[B, C]` energy of the cheapest dataflow of each sample."""
        return self.plans_pj[self.chosen, np.arange(self.plans_pj.shape[1])]


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What a recorded run made a machine do.

    Attributes:
        layers: one entry a layer, in the order of the recording.
        hardware: name of the machine.
    """

    layers: tuple[LayerAudit, ...]
    hardware: str

    def __getitem__(self, name: str) -> LayerAudit:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}; the audit has {[l.name for l in self.layers]}")

    @property
    def parts_pj(self) -> np.ndarray:
        """`[B, L, C]` energy of each sample, layer and component."""
        return np.stack([layer.parts_pj for layer in self.layers], axis=1)

    def total_pj(self) -> np.ndarray:
        """`[B]` energy of each sample."""
        return self.parts_pj.sum((-2, -1))


def audit(layers: Sequence[RecordedLayer], hardware: Hardware) -> Audit:
    """Walk a recorded run on a machine and book everything that happens.

    Args:
        layers: what the layers received and sent (`jsnn.recording.record` makes it).
        hardware: a machine of architecture `classical`, `event-driven` or `spatial`.

    Raises:
        ValueError: no layer, another architecture, a tensor that no memory holds, more cores than
            there are, a static power (the auditor counts what is done, not how long it takes).

    >>> from jsnn.hardware import get
    >>> ones = np.ones((2, 1, 3))
    >>> layer = RecordedLayer("a", ones, ones[..., :2], Dense(3, 2), "spikes", 1, 0, 0, 1, 1)
    >>> (found,) = audit((layer,), get("classical-45nm")).layers
    >>> found.counts[0][0]["adder", "add", 16.0]
    16
    """
    if not layers:
        raise ValueError("expected a recording of at least one layer, found none")
    name = hardware.architecture.name
    if name not in _MACHINES:
        raise ValueError(
            f"{hardware.name}: no table of actions for architecture {name!r}, only for "
            f"{list(_MACHINES)}"
        )
    if "static_power_w" in hardware.technology:
        raise ValueError(
            f"{hardware.name}: the auditor knows no time, found static_power_w: audit a technology "
            "without it"
        )
    if name == "event-driven":
        _check_cores(layers, hardware)
    return Audit(tuple(_audit_layer(layer, hardware) for layer in layers), hardware.name)


def _audit_layer(layer: RecordedLayer, hardware: Hardware) -> LayerAudit:
    wires = layer.wiring.wires(layer.input_shape)
    counts, plans_pj, received = [], [], []
    for plan in _MACHINES[hardware.architecture.name]:
        samples = [plan(layer, hardware, wires) for _ in range(layer.frames.shape[1])]
        received = [_walk(layer, wires, b, machine) for b, machine in enumerate(samples)]
        counts.append(tuple(machine.counts() for machine in samples))
        plans_pj.append([machine.parts_pj() for machine in samples])
    return LayerAudit(layer.name, tuple(counts), np.asarray(plans_pj), np.asarray(received))


def _walk(layer: RecordedLayer, wires: Wires, sample: int, machine: _Machine) -> np.ndarray:
    """Everything that happens to one sample, in order; accumulations received by each neuron."""
    frames = layer.frames[:, sample].reshape(len(layer.frames), -1)
    fired = layer.spikes[:, sample].reshape(len(layer.spikes), -1)
    constant = layer.input_kind == "constant"
    shown = frames[:1] if constant else frames
    received = np.zeros(layer.neurons, int)
    everyone = np.arange(layer.neurons)

    machine.inference()
    for source, (targets, _) in enumerate(wires):
        machine.connections(targets.size, active=bool((shown[:, source] != 0).any()))
    if layer.recurrent:
        for _ in everyone:
            machine.connections(everyone.size, active=True)

    def spike(targets: np.ndarray, recurrent: bool = False) -> None:
        machine.input_spike(targets.size, recurrent)
        received[targets] += 1
        machine.synops(targets.size)

    def words(frame: np.ndarray) -> None:
        machine.frame_of_words()
        for value, (targets, _) in zip(frame, wires, strict=True):
            machine.input_word()
            machine.word_connections(targets.size)
            if value != 0:
                machine.word_not_zero(targets.size)
                received[targets] += 1
                machine.macs(targets.size)

    for t in range(len(frames)):
        machine.step()
        if not layer.real:
            for source in np.flatnonzero(frames[t]):
                # A sum of several spikes is that many events.
                for _ in range(round(abs(float(frames[t, source])) / layer.input_unit)):
                    spike(wires[source][0])
        elif t == 0 or not constant:
            words(frames[t])
        if layer.recurrent:
            earlier = fired[t - 1] if t else _before(layer, sample)
            for _ in np.flatnonzero(earlier):
                spike(everyone, recurrent=True)
        if layer.bias and (t == 0 or not constant):
            machine.biases_added(everyone.size)
        if constant:
            if t == 0:
                machine.currents_stored(everyone.size)
            machine.currents_used(everyone.size)
        machine.neuron_steps(everyone.size)
        machine.output_spikes(int(np.count_nonzero(fired[t])))
        if layer.writes_words:
            machine.output_words(everyone.size)
    return received


def _before(layer: RecordedLayer, sample: int) -> np.ndarray:
    return np.zeros(layer.neurons) if layer.before is None else layer.before[sample].ravel()


class _Machine:
    """Books of one sample on one machine, and what is the same on all of them."""

    def __init__(self, layer: RecordedLayer, hardware: Hardware, wires: Wires) -> None:
        self.layer, self.hardware, self.wires = layer, hardware, wires
        self.knobs = {name: float(value) for name, value in hardware.design.knobs.items()}
        self.weight, self.state = self.knobs["weight_bits"], self.knobs["state_bits"]
        self.input = self.knobs["input_bits"]
        self.skipped = Fraction(self.knobs.get("zero_skipping", 0.0))
        self.share = 1 / Fraction(self.knobs.get("batch", 1.0))
        self.where: dict[str, tuple[str, float]] = {}
        self.times: dict[tuple, Fraction | int] = {}
        self.prices: dict[tuple, float] = {}
        self.place()

    # The books.

    def book(
        self,
        component: str,
        unit: str,
        verb: str,
        widths: tuple[float, ...],
        times: Fraction | int,
        pj: Callable[[], float],
    ) -> None:
        if not times:
            return
        key = component, unit, verb, widths
        if key not in self.prices:
            self.prices[key] = pj()
        self.times[key] = self.times.get(key, 0) + times

    def counts(self) -> dict[Key, Fraction | int]:
        found: dict[Key, Fraction | int] = {}
        for (_, unit, verb, widths), times in self.times.items():
            key = unit, verb, math.prod(widths)
            found[key] = found.get(key, 0) + times
        return found

    def parts_pj(self) -> list[float]:
        parts = dict.fromkeys(COMPONENTS, 0.0)
        for key, times in self.times.items():
            parts[key[0]] += float(times) * self.prices[key]
        return list(parts.values())

    # What units do.

    def add(self, component: str, times: int) -> None:
        pj = functools.partial(_add_pj, self.hardware, self.state)
        self.book(component, "adder", "add", (self.state,), times, pj)

    def compare(self, times: int) -> None:
        pj = functools.partial(_add_pj, self.hardware, self.state)
        self.book("neuron", "comparator", "compare", (self.state,), times, pj)

    def multiply(self, component: str, right: float, times: int) -> None:
        pj = functools.partial(_multiply_pj, self.hardware, self.weight, right)
        self.book(component, "multiplier", "multiply", (self.weight, right), times, pj)

    def access(self, tensor: str, verb: str, bits: float, times: Fraction | int) -> None:
        component, name = _TENSORS[tensor]
        level, size_bits = self.where[tensor]
        unit = name if level == "queue" else f"{name}@{level}"
        pj = functools.partial(_access_pj, self.hardware, level, size_bits, bits, verb)
        self.book(component, unit, verb, (bits,), times, pj)

    def send(self, fan_out: int, bits: float) -> None:
        """Messages that reach `fan_out` targets, so many with each."""
        messages = math.ceil(fan_out / Fraction(self.knobs["targets_per_message"]))
        self.book("routing", "link", "send", (bits,), messages, lambda: self._message_pj(bits))

    def _message_pj(self, bits: float) -> float:
        return bits * self.knobs["hops"] * float(self.hardware.technology["link_pj_per_bit_hop"])

    # Rows that all three tables share.

    def synapse(self, times: int) -> None:
        self.access("states", "read", self.state, times)
        self.access("states", "write", self.state, times)
        self.add("synapse", times)

    def neuron_steps(self, times: int) -> None:
        law = self.layer
        self.access("states", "read", self.state, times * law.state_words)
        self.access("states", "write", self.state, times * law.state_words)
        self.multiply("neuron", self.state, times * law.multiplies)
        self.add("neuron", times * law.adds)
        self.compare(times * law.compares)

    def currents_stored(self, times: int) -> None:
        self.access("states", "write", self.state, times)

    def currents_used(self, times: int) -> None:
        self.access("states", "read", self.state, times)
        if not self.layer.adds:
            self.add("neuron", times)

    def output_spikes(self, times: int) -> None:
        self.add("neuron", times * self.layer.adds_per_spike)

    # Rows that some tables lack.

    def inference(self) -> None: ...

    def step(self) -> None: ...

    def connections(self, times: int, active: bool) -> None: ...

    def frame_of_words(self) -> None: ...

    def input_word(self) -> None: ...

    def word_connections(self, times: int) -> None: ...

    def word_not_zero(self, fan_out: int) -> None: ...

    def output_words(self, times: int) -> None: ...

    # What fits where.

    def place(self) -> None:
        """Choose a memory for each tensor."""

    def weights_bits(self) -> Fraction:
        """Size of weights, recurrent weights and biases together."""
        layer = self.layer
        return layer.weights * Fraction(self.weight) + layer.biases * Fraction(self.state)

    def states_bits(self, least: int) -> Fraction:
        """Size of states, at least so many words a neuron, and of stored currents besides."""
        layer = self.layer
        words = layer.neurons * max(layer.state_words, least) + layer.stored_currents
        return words * Fraction(self.state)

    def nearest(self, tensor: str, need_bits: Fraction) -> tuple[str, float]:
        """The first level whose bank holds the whole tensor, and the size of that bank."""
        for level in ("local", "global", "dram"):
            size_bits = 8 * self.knobs[f"{level}_bytes"]
            if need_bits <= size_bits:
                return level, size_bits
        raise ValueError(
            f"{self.hardware.name}: the {tensor} of layer {self.layer.name!r} take "
            f"{float(need_bits / 8):.0f} bytes, more than dram_bytes = "
            f"{self.knobs['dram_bytes']:.0f}"
        )

    def load(self) -> None:
        """Weights and biases go from DRAM to where they lie, once for a whole batch."""
        if self.where["weights"][0] == "dram":
            return
        for words, bits in ((self.layer.weights, self.weight), (self.layer.biases, self.state)):
            pj = functools.partial(_access_pj, self.hardware, "dram", 0.0, bits, "read")
            self.book("weight_memory", "dram", "load", (bits,), words * self.share, pj)
            self.access("weights", "write", bits, words * self.share)


# Column of the bill and name of each tensor in a memory.
_TENSORS = {
    "weights": ("weight_memory", "weights"),
    "states": ("state_memory", "states"),
    "queue": ("activation_movement", "queue"),
    "words in": ("activation_movement", "words"),
    "words out": ("activation_movement", "words"),
}


class _Classical(_Machine):
    """`jsnn.hardware.architectures.classical`, row by row."""

    def place(self) -> None:
        layer, knobs = self.layer, self.knobs
        self.where["weights"] = self.nearest("weights", self.weights_bits())
        self.where["states"] = self.nearest("states", self.states_bits(least=0))
        self.where["queue"] = "queue", knobs["queue_events"] * knobs["event_bits"]
        if layer.real:
            need_bits = layer.frames[0, 0].size * Fraction(self.input)
            self.where["words in"] = self.nearest("input words", need_bits)
        if layer.writes_words:
            need_bits = layer.neurons * Fraction(knobs["output_bits"])
            self.where["words out"] = self.nearest("output words", need_bits)

    def inference(self) -> None:
        self.load()

    def input_spike(self, fan_out: int, recurrent: bool) -> None:
        self.access("queue", "read", self.knobs["event_bits"], 1)

    def synops(self, times: int) -> None:
        self.access("weights", "read", self.weight, times)
        self.synapse(times)

    def input_word(self) -> None:
        self.access("words in", "read", self.input, 1)

    def word_connections(self, times: int) -> None:
        self.access("weights", "read", self.weight, times * (1 - self.skipped))

    def macs(self, times: int) -> None:
        self.access("weights", "read", self.weight, times * self.skipped)
        self.multiply("synapse", self.input, times)
        self.add("synapse", times)

    def biases_added(self, times: int) -> None:
        self.access("weights", "read", self.state, times)
        self.add("neuron", times)

    def output_spikes(self, times: int) -> None:
        self.access("queue", "write", self.knobs["event_bits"], times)
        super().output_spikes(times)

    def output_words(self, times: int) -> None:
        self.access("words out", "write", self.knobs["output_bits"], times)


class _EventDriven(_Machine):
    """`jsnn.hardware.architectures.event_driven`, row by row."""

    def place(self) -> None:
        self.where["weights"] = "core", 8 * self.knobs["core_weight_bytes"]
        self.where["states"] = "core", 8 * self.knobs["core_state_bytes"]

    def input_spike(self, fan_out: int, recurrent: bool) -> None:
        self.send(fan_out, self.knobs["event_bits"])

    def synops(self, times: int) -> None:
        self.access("weights", "read", self.weight, times)
        self.synapse(times)

    def word_not_zero(self, fan_out: int) -> None:
        self.send(fan_out, self.knobs["event_bits"] + self.input)

    def macs(self, times: int) -> None:
        self.access("weights", "read", self.weight, times)
        self.multiply("synapse", self.input, times)
        self.synapse(times)

    def biases_added(self, times: int) -> None:
        self.access("weights", "read", self.state, times)
        self.add("neuron", times)

    def cores(self) -> int:
        """Cores that the layer takes for itself."""
        needs = {
            "core_neurons": Fraction(self.layer.neurons),
            "core_weight_bytes": self.weights_bits() / 8,
            "core_state_bytes": self.states_bits(least=1) / 8,
        }
        return max(math.ceil(need / Fraction(self.knobs[knob])) for knob, need in needs.items())


class _Spatial(_Machine):
    """`jsnn.hardware.architectures.spatial`, row by row but for the messages."""

    def place(self) -> None:
        self.where["weights"] = self.nearest("weights", self.weights_bits())
        need_bits = self.states_bits(least=1)
        registers = Fraction(self.knobs["pes"]) * Fraction(self.knobs["pe_state_bytes"])
        if need_bits <= 8 * registers:
            self.where["states"] = "register", 0.0
        else:
            self.where["states"] = self.nearest("states", need_bits)

    def inference(self) -> None:
        self.access("weights", "read", self.state, self.layer.biases)
        self.load()

    def connections(self, times: int, active: bool) -> None:
        self.access("weights", "read", self.weight, times * (1 - self.skipped))
        if active:
            self.access("weights", "read", self.weight, times * self.skipped)

    def synops(self, times: int) -> None:
        self.synapse(times)

    def macs(self, times: int) -> None:
        self.multiply("synapse", self.input, times)
        self.synapse(times)

    def biases_added(self, times: int) -> None:
        self.add("neuron", times)


class _SpatialSparse(_Spatial):
    """An address with every value that is not zero."""

    def input_spike(self, fan_out: int, recurrent: bool) -> None:
        senders = self.layer.neurons if recurrent else len(self.wires)
        self.send(fan_out, _address_bits(senders) + 1.0)

    def word_not_zero(self, fan_out: int) -> None:
        self.send(fan_out, _address_bits(len(self.wires)) + self.input)


class _SpatialDense(_Spatial):
    """Every value of every step, in a fixed order."""

    def input_spike(self, fan_out: int, recurrent: bool) -> None: ...

    def step(self) -> None:
        if not self.layer.real:
            self._frame(1.0)
        if self.layer.recurrent:
            for _ in range(self.layer.neurons):
                self.send(self.layer.neurons, 1.0)

    def frame_of_words(self) -> None:
        self._frame(self.input)

    def _frame(self, bits: float) -> None:
        for targets, _ in self.wires:
            self.send(targets.size, bits)


_MACHINES: dict[str, tuple[type[_Machine], ...]] = {
    "classical": (_Classical,),
    "event-driven": (_EventDriven,),
    "spatial": (_SpatialSparse, _SpatialDense),
}


def _address_bits(senders: int) -> int:
    """The shortest address, of at least one bit, that tells all senders apart."""
    return next(bits for bits in itertools.count(1) if 2**bits >= senders)


def _check_cores(layers: Sequence[RecordedLayer], hardware: Hardware) -> None:
    """ValueError if the layers need more cores than there are; no two share one."""
    needed = sum(_EventDriven(layer, hardware, ()).cores() for layer in layers)
    if needed > hardware.design.cores:
        raise ValueError(
            f"{hardware.name}: the layers need {needed} cores, there are "
            f"cores = {hardware.design.cores:.0f}"
        )


def _access_pj(hardware: Hardware, level: str, size_bits: float, bits: float, verb: str) -> float:
    """One access, by the equations in the documentation of `jsnn.hardware.memory`."""
    name = hardware.architecture.memory
    e = {key: float(c.value) for key, c in hardware.technology.constants.items()}
    kib = size_bits / 8192
    if level in ("dram", "register"):
        return e[f"{level}_pj_per_bit"] * bits
    if name == "lemaire-regression":
        return e["ram_base_pj"] + size_bits * e["ram_slope_pj_per_bit"]
    if name == "lemaire-interpolation":
        known = [0.0, e["sram_8kib_pj"], e["sram_32kib_pj"], e["sram_1mib_pj"]]
        # Beyond its last point np.interp is flat.
        return float(np.interp(kib, [0, 8, 32, 1024], known))
    if name == "packed-8kb":
        return e["sram_8kib_pj"] * (1 / (64 // bits) if bits <= 64 else -(-bits // 64))
    if name == "horowitz-power-law":
        decades = math.log10(max(size_bits, 1.0)) - math.log10(65536)
        return e["sram_8kib_pj"] * 10 ** (e["sram_exponent"] * decades) * bits / 64
    if name == "dosa":
        kind = "accumulator" if level == "local" else "scratchpad"
        return e[f"{kind}_base_pj"] + e[f"{kind}_slope_pj_per_kib"] * kib
    if name == "by-level":
        return e[f"{level}_pj_per_bit"] * bits
    if name == "accelergy" and level in ("global", "queue"):
        return e[f"buffer_{verb}_pj"] / 64 * bits
    if name == "accelergy":
        small, large = e[f"ifmap_{verb}_pj"], e[f"weight_file_{verb}_pj"]
        words = size_bits / 16
        return ((192 - words) * small + (words - 12) * large) / (192 - 12) / 16 * bits
    raise ValueError(f"{hardware.name}: the auditor knows no memory model {name!r}")


def _add_pj(hardware: Hardware, bits: float) -> float:
    """One addition, by the equations in the documentation of `jsnn.hardware.arithmetic`."""
    name = hardware.architecture.arithmetic
    e = {key: float(c.value) for key, c in hardware.technology.constants.items()}
    if name == "bit-product":
        return e["accumulate_pj"]
    if name == "recommended":
        return bits / 32 * e["add_int32_pj"]
    return _by_width(hardware, e["add_int8_pj"], e.get("add_int32_pj", 0.0), bits)


def _multiply_pj(hardware: Hardware, left: float, right: float) -> float:
    """One product, by the equations in the documentation of `jsnn.hardware.arithmetic`."""
    name = hardware.architecture.arithmetic
    e = {key: float(c.value) for key, c in hardware.technology.constants.items()}
    if name == "bit-product":
        return left * right * e["mac_pj_per_bit2"]
    if name == "recommended":
        return left * right / 64 * e["mul_int8_pj"]
    if name == "product":
        share = (left * right - 64) / 960
        return (1 - share) * e["mul_int8_pj"] + share * e["mul_int32_pj"]
    return _by_width(hardware, e["mul_int8_pj"], e.get("mul_int32_pj", 0.0), max(left, right))


def _by_width(hardware: Hardware, at_8: float, at_32: float, bits: float) -> float:
    """One operation of which the 8-bit and the 32-bit unit are known."""
    name = hardware.architecture.arithmetic
    if name == "int8":
        return at_8
    if name == "saturation" and bits <= 32:
        return at_8 if bits <= 8 else at_32
    if name in ("linear", "product"):
        return (at_8 * (32 - bits) + at_32 * (bits - 8)) / 24
    if name == "quadratic":
        # Lagrange's polynomial; the term of (0, 0) is zero.
        return at_8 * bits * (32 - bits) / 192 + at_32 * bits * (bits - 8) / 768
    raise ValueError(f"{hardware.name}: the auditor has no {name!r} arithmetic of {bits} bits")
