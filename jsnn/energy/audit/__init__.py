"""A second count of the energy, event by event, that shares no formula with the first.

`jsnn.energy` multiplies totals with prices. The auditor walks a recorded run instead: every step,
sample and input that is not zero, down an explicit list of the wires behind it, and counts each
action of the tables in `jsnn.hardware.architectures.classical`, `event_driven`, `spatial` and
`neuromorphic` where it happens. It reads constants and design parameters of a machine and nothing
else of the analytic side; placing of tensors, memory and arithmetic models are written here once
more. Both must agree: counts exactly, energies to rounding.

A sample costs one Python step for each of its events: meant for tests and small networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jsnn.energy.audit.machines import MACHINES, Key, Machine, check_cores, check_products
from jsnn.energy.audit.recorded import RecordedLayer
from jsnn.energy.audit.wires import Conv, Dense, Product, Wires
from jsnn.hardware import Hardware, check_hardware

__all__ = ["Audit", "Conv", "Dense", "LayerAudit", "Product", "RecordedLayer", "audit"]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerAudit:
    """What one layer made the machine do.

    Attributes:
        name: name of the layer.
        counts: for each dataflow and sample, `{(unit, verb, bits): times}` as integers or exact
            fractions; what never happens is left out.
        plans_pj: `[P, B, 1 + T, C]` energy of each dataflow, sample, step and component; before the
            first step what happens once in an inference.
        received: `[B, N]` accumulations that arrived at each neuron.
        by_step: whether the machine chooses its dataflow anew in every step, or once a sample.
    """

    name: str
    counts: tuple[tuple[dict[Key, Fraction | int], ...], ...]
    plans_pj: np.ndarray
    received: np.ndarray
    by_step: bool

    @property
    def chosen(self) -> np.ndarray:
        """`[B, 1 + T]` number of the cheapest dataflow of each sample (and step)."""
        costs_pj = self.plans_pj.sum(-1)
        if not self.by_step:
            costs_pj = np.broadcast_to(costs_pj.sum(-1, keepdims=True), costs_pj.shape)
        return costs_pj.argmin(0)

    @property
    def parts_pj(self) -> np.ndarray:
        """`[B, C]` energy of each sample, in its cheapest dataflow."""
        best = np.take_along_axis(self.plans_pj, self.chosen[None, ..., None], axis=0)[0]
        return best.sum(1)


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
    """Walk a recorded run on a machine and count everything that happens.

    Args:
        layers: what the layers received and sent (`jsnn.nn.recording.record` makes it).
        hardware: a machine of architecture `classical`, `event-driven`, `spatial` or
            `neuromorphic` (which has no products of spikes with spikes).

    Raises:
        ValueError: no layer, another architecture, a product that the machine has no price for, a
            tensor that no memory holds, more cores than there are, a static power (the auditor
            counts what is done, not how long it takes).

    >>> from jsnn.hardware import get
    >>> ones = np.ones((2, 1, 3))
    >>> layer = RecordedLayer("a", ones, ones[..., :2], Dense(3, 2), "spikes", 1, 0, 0, 1, 1)
    >>> (found,) = audit((layer,), get("classical-45nm")).layers
    >>> found.counts[0][0]["adder", "add", 16.0]
    16
    """
    check_hardware(hardware)
    if not layers:
        raise ValueError("expected a recording of at least one layer, found none")
    name = hardware.architecture.name
    if name not in MACHINES:
        raise ValueError(
            f"{hardware.name}: no table of actions for architecture {name!r}, only for "
            f"{list(MACHINES)}"
        )
    if "static_power_w" in hardware.technology:
        raise ValueError(
            f"{hardware.name}: the auditor knows no time, found static_power_w: audit a technology "
            "without it"
        )
    if name == "event-driven":
        check_cores(layers, hardware)
    if name == "neuromorphic":
        check_products(layers, hardware)
    return Audit(tuple(_audit_layer(layer, hardware) for layer in layers), hardware.name)


def _audit_layer(layer: RecordedLayer, hardware: Hardware) -> LayerAudit:
    wires = layer.wires
    counts, plans_pj, received = [], [], []
    plans = MACHINES[hardware.architecture.name]
    for plan in plans:
        samples = [plan(layer, hardware, wires) for _ in range(layer.frames.shape[1])]
        walked = [_walk(layer, wires, b, machine) for b, machine in enumerate(samples)]
        received = [targets for targets, _ in walked]
        counts.append(tuple(machine.counts() for machine in samples))
        plans_pj.append([each for _, each in walked])
    return LayerAudit(
        layer.name,
        tuple(counts),
        np.asarray(plans_pj),
        np.asarray(received),
        all(plan.chosen_by_step for plan in plans),
    )


def _walk(
    layer: RecordedLayer, wires: Wires, sample: int, machine: Machine
) -> tuple[np.ndarray, np.ndarray]:
    """Everything that happens to one sample, in order.

    Gives the accumulations that each neuron received, and `[1 + T, C]` pJ of the steps.
    """
    walk = _Walk(layer, wires, sample, machine)
    walk.load()
    running_pj = [machine.parts_pj()]
    for t in range(len(layer.frames)):
        walk.step(t)
        running_pj.append(machine.parts_pj())
    return walk.received, np.diff(running_pj, axis=0, prepend=0.0)


class _Walk:
    """The walk of one sample through a layer, event by event.

    Attributes:
        received: accumulations that each neuron has received until now.
    """

    def __init__(self, layer: RecordedLayer, wires: Wires, sample: int, machine: Machine):
        self.layer, self.wires, self.sample, self.machine = layer, wires, sample, machine
        self.frames = layer.frames[:, sample].reshape(len(layer.frames), -1)
        self.fired = layer.spikes[:, sample].reshape(len(layer.spikes), -1)
        self.received = np.zeros(layer.neurons, int)
        self.everyone = np.arange(layer.neurons)

    def load(self) -> None:
        """What an inference begins with: the weights."""
        layer, machine = self.layer, self.machine
        shown = self.frames[:1] if layer.input_kind == "constant" else self.frames
        machine.inference()
        for source, (targets, _) in enumerate(() if layer.product else self.wires):
            machine.connections(targets.size, active=bool((shown[:, source] != 0).any()))
        if layer.recurrent:
            for _ in self.everyone:
                machine.connections(self.everyone.size, active=True)

    def step(self, t: int) -> None:
        """Input, feedback and neurons of a step."""
        layer, machine = self.layer, self.machine
        constant = layer.input_kind == "constant"
        new_input = t == 0 or not constant
        machine.step()
        if layer.product and new_input:
            self.keep_operand(t)
        if not layer.real:
            self.events(t)
        elif new_input:
            self.words(self.frames[t])
        if layer.recurrent:
            earlier = self.fired[t - 1] if t else _before(layer, self.sample)
            for _ in np.flatnonzero(earlier):
                self.spike(self.everyone, recurrent=True)
        if layer.bias and new_input:
            machine.biases_added(self.everyone.size)
        if constant:
            if t == 0:
                machine.currents_stored(self.everyone.size)
            machine.currents_used(self.everyone.size)
        machine.neuron_steps(self.everyone.size)
        machine.output_spikes(int(np.count_nonzero(self.fired[t])))
        if layer.writes_words:
            machine.output_words(self.everyone.size)

    def events(self, t: int) -> None:
        """Spikes and events that come in; a sum of several spikes is that many events."""
        for source in np.flatnonzero(self.frames[t]):
            for _ in range(round(abs(float(self.frames[t, source])) / self.layer.input_unit)):
                if self.layer.product:
                    self.meet(*self.wires[source], t)
                else:
                    self.spike(self.wires[source][0])

    def spike(self, targets: np.ndarray, recurrent: bool = False) -> None:
        """A spike that is added to its targets."""
        self.machine.input_spike(targets.size, recurrent)
        self.received[targets] += 1
        self.machine.synops(targets.size)

    def meet(self, targets: np.ndarray, words: np.ndarray, t: int) -> None:
        """A spike that is multiplied by words of an operand."""
        self.machine.input_spike(targets.size, False)
        for target, word in zip(targets, words, strict=True):
            self.machine.operand_reads(1)
            if not self.layer.adds_up or self.layer.operand[t, self.sample].flat[word]:
                self.received[target] += 1
                self.machine.synapse(1)

    def keep_operand(self, t: int) -> None:
        """The operand of a step is stored."""
        if self.layer.adds_up:
            for value in self.layer.operand[t, self.sample].flat:
                if self.layer.real:
                    self.machine.operand_word()
                    if value != 0:
                        self.machine.operand_word_not_zero()
                elif value != 0:
                    self.machine.operand_spike()
        self.machine.operand_written(self.layer.operand_words)

    def words(self, frame: np.ndarray) -> None:
        """A frame of real-valued words."""
        self.machine.frame_of_words()
        for value, (targets, _) in zip(frame, self.wires, strict=True):
            self.machine.input_word()
            self.machine.word_connections(targets.size)
            if value != 0:
                self.machine.word_not_zero(targets.size)
                self.received[targets] += 1
                self.machine.macs(targets.size)


def _before(layer: RecordedLayer, sample: int) -> np.ndarray:
    return np.zeros(layer.neurons) if layer.before is None else layer.before[sample].ravel()
