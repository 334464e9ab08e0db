"""Counts of the four machines: each action of their tables, counted where it happens."""

# The methods are the events of those tables.
# ruff: noqa: D102

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import ClassVar

from jsnn.energy.audit.prices import access_pj, add_pj, multiply_pj
from jsnn.energy.audit.recorded import RecordedLayer
from jsnn.energy.audit.wires import Wires
from jsnn.hardware import Hardware
from jsnn.hardware.actions import COMPONENTS

Key = tuple[str, str, float]


class Machine:
    """Counts of one sample on one machine, and what all machines share.

    Attributes:
        chosen_by_step: whether the cheapest dataflow is chosen anew in every step.
    """

    chosen_by_step: ClassVar[bool] = True

    def __init__(self, layer: RecordedLayer, hardware: Hardware, wires: Wires) -> None:
        self.layer, self.hardware, self.wires = layer, hardware, wires
        self.parameters = {name: float(value) for name, value in hardware.design.parameters.items()}
        self.weight, self.state = self.parameters["weight_bits"], self.parameters["state_bits"]
        # A weight with its address.
        self.stored = self.weight + layer.index_bits
        self.input = self.parameters["input_bits"]
        self.skipped = Fraction(self.parameters.get("zero_skipping", 0.0))
        self.operand = self._operand_bits()
        self.factor_bits = self.operand if layer.product else self.weight
        self.share = 1 / Fraction(self.parameters.get("batch", 1.0))
        self.where: dict[str, tuple[str, float]] = {}
        self.times: dict[tuple, Fraction | int] = {}
        self.prices: dict[tuple, float] = {}
        self.place()

    # The counts.

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
        totals: dict[Key, Fraction | int] = {}
        for (_, unit, verb, widths), times in self.times.items():
            key = unit, verb, math.prod(widths)
            totals[key] = totals.get(key, 0) + times
        return totals

    def parts_pj(self) -> list[float]:
        parts = dict.fromkeys(COMPONENTS, 0.0)
        for key, times in self.times.items():
            parts[key[0]] += float(times) * self.prices[key]
        return list(parts.values())

    # What units do.

    def add(self, component: str, times: int) -> None:
        pj = functools.partial(add_pj, self.hardware, self.state)
        self.book(component, "adder", "add", (self.state,), times, pj)

    def compare(self, times: int) -> None:
        pj = functools.partial(add_pj, self.hardware, self.state)
        self.book("neuron", "comparator", "compare", (self.state,), times, pj)

    def multiply(self, component: str, left: float, right: float, times: int) -> None:
        pj = functools.partial(multiply_pj, self.hardware, left, right)
        self.book(component, "multiplier", "multiply", (left, right), times, pj)

    def access(self, tensor: str, verb: str, bits: float, times: Fraction | int) -> None:
        component, name = _TENSORS[tensor]
        level, size_bits = self.where[tensor]
        unit = name if level == "queue" else f"{name}@{level}"
        pj = functools.partial(access_pj, self.hardware, level, size_bits, bits, verb)
        self.book(component, unit, verb, (bits,), times, pj)

    def send(self, fan_out: int, bits: float) -> None:
        """Messages that reach `fan_out` targets, so many with each."""
        messages = math.ceil(fan_out / Fraction(self.parameters["targets_per_message"]))
        self.book("routing", "link", "send", (bits,), messages, lambda: self._message_pj(bits))

    def _message_pj(self, bits: float) -> float:
        return (
            bits * self.parameters["hops"] * float(self.hardware.technology["link_pj_per_bit_hop"])
        )

    def _operand_bits(self) -> float:
        """Width of a word of the operand: a sum, a word or a spike."""
        if not self.layer.adds_up:
            return self.state
        return self.input if self.layer.real else 1.0

    def factor(self, times: Fraction | int) -> None:
        """Read what an input is multiplied with: a weight, or a word of the operand."""
        if self.layer.product:
            self.access("states", "read", self.operand, times)
        else:
            self.access("weights", "read", self.stored, times)

    # Rows that the tables share.

    def operand_reads(self, times: int) -> None:
        self.access("states", "read", self.operand, times)

    def operand_written(self, times: int) -> None:
        self.access("states", "write", self.operand, times)

    def synapse(self, times: int) -> None:
        self.access("states", "read", self.state, times)
        self.access("states", "write", self.state, times)
        self.add("synapse", times)

    def neuron_steps(self, times: int) -> None:
        operations = self.layer
        self.access("states", "read", self.state, times * operations.state_words)
        self.access("states", "write", self.state, times * operations.state_words)
        self.multiply("neuron", self.weight, self.state, times * operations.multiplies)
        self.add("neuron", times * operations.adds)
        self.compare(times * operations.compares)

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

    def operand_spike(self) -> None: ...

    def operand_word(self) -> None: ...

    def operand_word_not_zero(self) -> None: ...

    # What fits where.

    def place(self) -> None:
        """Choose a memory for each tensor."""

    def weights_bits(self) -> Fraction:
        """Size of weights, recurrent weights and biases together."""
        layer = self.layer
        return layer.weights * Fraction(self.stored) + layer.biases * Fraction(self.state)

    def states_bits(self, least: int) -> Fraction:
        """Size of states, at least so many words a neuron, of stored currents and operand."""
        layer = self.layer
        least = max(least, int(layer.adds_up))
        words = layer.neurons * max(layer.state_words, least) + layer.stored_currents
        return words * Fraction(self.state) + layer.operand_words * Fraction(self.operand)

    def nearest(self, tensor: str, need_bits: Fraction) -> tuple[str, float]:
        """The first level whose bank holds the whole tensor, and the size of that bank."""
        for level in ("local", "global", "dram"):
            size_bits = 8 * self.parameters[f"{level}_bytes"]
            if need_bits <= size_bits:
                return level, size_bits
        raise ValueError(
            f"{self.hardware.name}: the {tensor} of layer {self.layer.name!r} take "
            f"{float(need_bits / 8):.0f} bytes, more than dram_bytes = "
            f"{self.parameters['dram_bytes']:.0f}"
        )

    def load(self) -> None:
        """Weights and biases go from DRAM to where they lie, once for a whole batch."""
        if self.where["weights"][0] == "dram" or self.layer.shared:
            return
        for words, bits in ((self.layer.weights, self.stored), (self.layer.biases, self.state)):
            pj = functools.partial(access_pj, self.hardware, "dram", 0.0, bits, "read")
            self.book("weight_memory", "dram", "load", (bits,), words * self.share, pj)
            self.access("weights", "write", bits, words * self.share)


# Column of the energy breakdown and name of each tensor in a memory.
_TENSORS = {
    "weights": ("weight_memory", "weights"),
    "states": ("state_memory", "states"),
    "queue": ("activation_movement", "queue"),
    "words in": ("activation_movement", "words"),
    "words out": ("activation_movement", "words"),
}


class Classical(Machine):
    """`jsnn.hardware.architectures.classical`, row by row."""

    def place(self) -> None:
        layer, parameters = self.layer, self.parameters
        self.where["weights"] = self.nearest("weights", self.weights_bits())
        self.where["states"] = self.nearest("states", self.states_bits(least=0))
        self.where["queue"] = "queue", parameters["queue_events"] * parameters["event_bits"]
        if layer.real:
            words = layer.frames[0, 0].size + (layer.operand[0, 0].size if layer.adds_up else 0)
            need_bits = words * Fraction(self.input)
            self.where["words in"] = self.nearest("input words", need_bits)
        if layer.writes_words:
            need_bits = layer.neurons * Fraction(parameters["output_bits"])
            self.where["words out"] = self.nearest("output words", need_bits)

    def inference(self) -> None:
        self.load()

    def input_spike(self, fan_out: int, recurrent: bool) -> None:
        self.access("queue", "read", self.parameters["event_bits"], 1)

    def synops(self, times: int) -> None:
        self.access("weights", "read", self.stored, times)
        self.synapse(times)

    def input_word(self) -> None:
        self.access("words in", "read", self.input, 1)

    def operand_spike(self) -> None:
        self.access("queue", "read", self.parameters["event_bits"], 1)

    def operand_word(self) -> None:
        self.access("words in", "read", self.input, 1)

    def word_connections(self, times: int) -> None:
        self.factor(times * (1 - self.skipped))

    def macs(self, times: int) -> None:
        self.factor(times * self.skipped)
        self.multiply("synapse", self.factor_bits, self.input, times)
        self.add("synapse", times)

    def biases_added(self, times: int) -> None:
        self.access("weights", "read", self.state, times)
        self.add("neuron", times)

    def output_spikes(self, times: int) -> None:
        self.access("queue", "write", self.parameters["event_bits"], times)
        super().output_spikes(times)

    def output_words(self, times: int) -> None:
        self.access("words out", "write", self.parameters["output_bits"], times)


class EventDriven(Machine):
    """`jsnn.hardware.architectures.event_driven`, row by row."""

    def place(self) -> None:
        self.where["weights"] = "core", 8 * self.parameters["core_weight_bytes"]
        self.where["states"] = "core", 8 * self.parameters["core_state_bytes"]

    def input_spike(self, fan_out: int, recurrent: bool) -> None:
        self.send(fan_out, self.parameters["event_bits"])

    def synops(self, times: int) -> None:
        self.access("weights", "read", self.stored, times)
        self.synapse(times)

    def word_not_zero(self, fan_out: int) -> None:
        self.send(fan_out, self.parameters["event_bits"] + self.input)

    def operand_spike(self) -> None:
        self.send(1, self.parameters["event_bits"])

    def operand_word_not_zero(self) -> None:
        self.send(1, self.parameters["event_bits"] + self.input)

    def macs(self, times: int) -> None:
        self.factor(times)
        self.multiply("synapse", self.factor_bits, self.input, times)
        self.synapse(times)

    def biases_added(self, times: int) -> None:
        self.access("weights", "read", self.state, times)
        self.add("neuron", times)

    def cores(self) -> int:
        """Cores that the layer takes for itself; sums lie where another layer added them up."""
        layer = self.layer
        elsewhere = 0 if layer.adds_up else layer.operand_words * Fraction(self.state)
        needs = {
            "core_neurons": Fraction(self.layer.neurons),
            "core_weight_bytes": self.weights_bits() / 8,
            "core_state_bytes": (self.states_bits(least=1) - elsewhere) / 8,
        }
        return max(
            math.ceil(need / Fraction(self.parameters[parameter]))
            for parameter, need in needs.items()
        )


class Spatial(Machine):
    """`jsnn.hardware.architectures.spatial`, row by row but for the messages."""

    def place(self) -> None:
        self.where["weights"] = self.nearest("weights", self.weights_bits())
        need_bits = self.states_bits(least=1)
        registers = Fraction(self.parameters["pes"]) * Fraction(self.parameters["pe_state_bytes"])
        if need_bits <= 8 * registers:
            self.where["states"] = "register", 0.0
        else:
            self.where["states"] = self.nearest("states", need_bits)

    def inference(self) -> None:
        self.access("weights", "read", self.state, self.layer.biases)
        self.load()

    def connections(self, times: int, active: bool) -> None:
        self.access("weights", "read", self.stored, times * (1 - self.skipped))
        if active:
            self.access("weights", "read", self.stored, times * self.skipped)

    def synops(self, times: int) -> None:
        self.synapse(times)

    def word_connections(self, times: int) -> None:
        if self.layer.product:
            self.factor(times * (1 - self.skipped))

    def macs(self, times: int) -> None:
        if self.layer.product:
            self.factor(times * self.skipped)
        self.multiply("synapse", self.factor_bits, self.input, times)
        self.synapse(times)

    def biases_added(self, times: int) -> None:
        self.add("neuron", times)


class SpatialSparse(Spatial):
    """An address with every value that is not zero."""

    def input_spike(self, fan_out: int, recurrent: bool) -> None:
        senders = self.layer.neurons if recurrent else len(self.wires)
        self.send(fan_out, _address_bits(senders) + 1.0)

    def word_not_zero(self, fan_out: int) -> None:
        self.send(fan_out, _address_bits(len(self.wires)) + self.input)

    def operand_spike(self) -> None:
        self.send(1, _address_bits(self.layer.operand_words) + 1.0)

    def operand_word_not_zero(self) -> None:
        self.send(1, _address_bits(self.layer.operand_words) + self.input)


class SpatialDense(Spatial):
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
        for _ in range(self.layer.operand_words if self.layer.adds_up else 0):
            self.send(1, bits)


class Neuromorphic(Machine):
    """`jsnn.hardware.architectures.neuromorphic`, row by row but for the dataflows."""

    chosen_by_step = False

    def place(self) -> None:
        self.where["weights"] = self.where["states"] = "sram", 0.0
        self.fetched = Fraction(self.parameters["weight_fetch_share"])
        self.kept = Fraction(self.parameters["temporal_reuse"])

    def fetch(self, times: Fraction | int) -> None:
        self.access("weights", "read", self.stored, times * self.fetched)

    def message(self, network: str, bits: float, targets: int) -> None:
        """One target after another, each with its share of a message."""
        price_pj = float(self.hardware.technology[f"{network}_hop_pj_per_bit"])
        times = targets / Fraction(self.parameters["targets_per_message"])
        pj = bits * self.parameters["hops"] * price_pj
        self.book("routing", f"link@{network}", "send", (bits,), times, lambda: pj)

    def input_spike(self, fan_out: int, recurrent: bool) -> None: ...

    def synops(self, times: int) -> None:
        self.add("synapse", times)

    def word_connections(self, times: int) -> None:
        self.fetch(times)

    def macs(self, times: int) -> None:
        self.multiply("synapse", self.weight, self.input, times)

    def biases_added(self, times: int) -> None:
        self.access("weights", "read", self.state, times)
        self.add("neuron", times)


class NeuromorphicSparse(Neuromorphic):
    """A message for every target of a value that is not zero."""

    def synops(self, times: int) -> None:
        super().synops(times)
        self.message("sparse", 1.0, times)
        # A weight that stays for the window is fetched once for all T steps.
        steps = len(self.layer.frames)
        self.fetch(times * (1 - self.kept))
        self.fetch(times * self.kept / steps)

    def macs(self, times: int) -> None:
        super().macs(times)
        self.message("sparse", self.input, times)


class NeuromorphicDense(Neuromorphic):
    """A message for every connection in every step."""

    def inference(self) -> None:
        for targets in self._fan_outs():
            self.fetch(targets * self.kept)

    def step(self) -> None:
        for targets in self._fan_outs():
            self.fetch(targets * (1 - self.kept))
            self.message("dense", 1.0, targets)

    def word_connections(self, times: int) -> None:
        super().word_connections(times)
        self.message("dense", self.input, times)

    def _fan_outs(self) -> list[int]:
        """Targets of each sender of spikes."""
        senders = [] if self.layer.real else [targets.size for targets, _ in self.wires]
        return senders + [self.layer.neurons] * (self.layer.neurons * self.layer.recurrent)


MACHINES: dict[str, tuple[type[Machine], ...]] = {
    "classical": (Classical,),
    "event-driven": (EventDriven,),
    "spatial": (SpatialSparse, SpatialDense),
    "neuromorphic": (NeuromorphicSparse, NeuromorphicDense),
}


def _address_bits(senders: int) -> int:
    """The shortest address, of at least one bit, that tells all senders apart."""
    return next(bits for bits in itertools.count(1) if 2**bits >= senders)


def check_products(layers: Sequence[RecordedLayer], hardware: Hardware) -> None:
    """ValueError for products of spikes with spikes, which the table of the machine lacks."""
    products = [layer.name for layer in layers if layer.product]
    if products:
        raise ValueError(
            f"{hardware.name}: the table of architecture {hardware.architecture.name!r} has no "
            f"products of spikes with spikes, found layers {products}: audit them on a machine of "
            "architecture classical, event-driven or spatial"
        )


def check_cores(layers: Sequence[RecordedLayer], hardware: Hardware) -> None:
    """ValueError if the layers need more cores than there are; no two share one."""
    needed = sum(EventDriven(layer, hardware, ()).cores() for layer in layers)
    if needed > hardware.design.cores:
        raise ValueError(
            f"{hardware.name}: the layers need {needed} cores, there are "
            f"cores = {hardware.design.cores:.0f}"
        )
