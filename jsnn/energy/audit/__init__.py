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
    frames = layer.frames[:, sample].reshape(len(layer.frames), -1)
    fired = layer.spikes[:, sample].reshape(len(layer.spikes), -1)
    constant = layer.input_kind == "constant"
    shown = frames[:1] if constant else frames
    received = np.zeros(layer.neurons, int)
    everyone = np.arange(layer.neurons)

    machine.inference()
    for source, (targets, _) in enumerate(() if layer.product else wires):
        machine.connections(targets.size, active=bool((shown[:, source] != 0).any()))
    if layer.recurrent:
        for _ in everyone:
            machine.connections(everyone.size, active=True)

    def spike(targets: np.ndarray, recurrent: bool = False) -> None:
        machine.input_spike(targets.size, recurrent)
        received[targets] += 1
        machine.synops(targets.size)

    def meet(targets: np.ndarray, words: np.ndarray, t: int) -> None:
        machine.input_spike(targets.size, False)
        for target, word in zip(targets, words, strict=True):
            machine.operand_reads(1)
            if not layer.adds_up or layer.operand[t, sample].flat[word]:
                received[target] += 1
                machine.synapse(1)

    def keep_operand(t: int) -> None:
        if layer.adds_up:
            for value in layer.operand[t, sample].flat:
                if layer.real:
                    machine.operand_word()
                    if value != 0:
                        machine.operand_word_not_zero()
                elif value != 0:
                    machine.operand_spike()
        machine.operand_written(layer.operand_words)

    def words(frame: np.ndarray) -> None:
        machine.frame_of_words()
        for value, (targets, _) in zip(frame, wires, strict=True):
            machine.input_word()
            machine.word_connections(targets.size)
            if value != 0:
                machine.word_not_zero(targets.size)
                received[targets] += 1
                machine.macs(targets.size)

    running_pj = [machine.parts_pj()]
    for t in range(len(frames)):
        machine.step()
        if layer.product and (t == 0 or not constant):
            keep_operand(t)
        if not layer.real:
            for source in np.flatnonzero(frames[t]):
                # A sum of several spikes is that many events.
                for _ in range(round(abs(float(frames[t, source])) / layer.input_unit)):
                    if layer.product:
                        meet(*wires[source], t)
                    else:
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
        running_pj.append(machine.parts_pj())
    return received, np.diff(running_pj, axis=0, prepend=0.0)


def _before(layer: RecordedLayer, sample: int) -> np.ndarray:
    return np.zeros(layer.neurons) if layer.before is None else layer.before[sample].ravel()
