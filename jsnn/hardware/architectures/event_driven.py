"""Cores with memories of their own that do work only where a message arrives.

After the second of the three machines of arXiv 2409.08290 v1, whose formulas are not published
(DERIVED: this table is ours). With w, v, b, e the bits of weight, state, input word and event, n
the state words of a neuron and F = targets_per_message:

| event           | unit       | what is done                        | bits  | component     |
|-----------------|------------|-------------------------------------|-------|---------------|
| input spike     | link       | ceil(fan-out / F) messages          | e     | routing       |
| synop           | weights    | 1 read                              | w     | weight_memory |
|                 | states     | 1 read, 1 write                     | v     | state_memory  |
|                 | adder      | 1 add                               | v     | synapse       |
| word, not zero  | link       | ceil(fan-out / F) messages          | e + b | routing       |
| mac             | weights    | 1 read                              | w     | weight_memory |
|                 | states     | 1 read, 1 write                     | v     | state_memory  |
|                 | multiplier | 1 multiply                          | w x b | synapse       |
|                 | adder      | 1 add                               | v     | synapse       |
| operand spike   | link       | 1 message                           | e     | routing       |
| operand word,   | link       | 1 message                           | e + b | routing       |
| not zero        |            |                                     |       |               |
| operand written | states     | 1 write, zeros too                  | p     | state_memory  |
| operand read    | states     | 1 read                              | p     | state_memory  |
| neuron-step     | states     | n reads, n writes                   | v     | state_memory  |
|                 | multiplier | multiplies of the neuron            | w x v | neuron        |
|                 | adder      | adds of the neuron                  | v     | neuron        |
|                 | comparator | compares of the neuron              | v     | neuron        |
| bias added      | weights    | 1 read                              | v     | weight_memory |
|                 | adder      | 1 add                               | v     | neuron        |
| current stored  | states     | 1 write                             | v     | state_memory  |
| current used    | states     | 1 read                              | v     | state_memory  |
|                 | adder      | 1 add, where the neuron has none    | v     | neuron        |
| output spike    | adder      | adds of the reset                   | v     | neuron        |
| inference       |            | nothing: weights stay in their core |       |               |

A message carries the address of its sender to `F` targets in one destination core and costs its
bits on each of its hops; with F = 1 each target has a message of its own. A zero is never sent. A
spike fed back reaches all neurons of its layer. The sum of a real-valued frame is a state: every
mac reads and writes it. What leaves a layer is paid where it arrives. A comparison costs an add.

In a product the operand takes the place of the weights: a synop reads none, the read of a mac is of
p bits and lies among the states, a multiplication is of p x b. Its words are of p bits: 1 for a
spike, b for a word, v for a sum. A spike that is read and is not there adds nothing, a sum is added
whatever it is. Sums stay where they were added up, and are cleared in every step.

Where only weights that are not zero are stored (`Skipping`), each has its address: a weight is then
of w + i bits wherever it is read, loaded or stored, with i = `Geometry.index_bits`.

What fits where: `weights` and `states` are the memories of a core, `weights@core` and
`states@core`; the price of an access depends on their size. A layer takes as many cores as its
neurons, its weights (with biases) and its states (at least one word a neuron, stored currents and
operand besides, but for sums that another layer added up) need, whichever needs most, and shares
none. A network that needs more cores than there are is an error.

Time (DERIVED): the work of a layer is spread evenly over its cores, `pes` operations a cycle in
each, an operand read being one; a core takes in a message a cycle, and every core of a layer hears
every spike; a step begins when the last message has made its hops. All layers work at once, the
slowest sets the pace.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn._pytree import is_concrete
from jsnn.hardware.actions import ActionTable
from jsnn.hardware.architectures.machine import Machine
from jsnn.hardware.architectures.parts import (
    BYTE_BITS,
    Bank,
    Units,
    messages,
    operand_bits,
    state_bits,
    stored_bits,
    weight_bits,
)
from jsnn.hardware.design import Design
from jsnn.hardware.relaxation import ceil
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class EventDriven(Machine):
    """Cores on a mesh that work on messages (table above).

    Attributes:
        memory, arithmetic: names of the models, see `Machine`.
    """

    name: ClassVar[str] = "event-driven"
    concurrent: ClassVar[bool] = True
    skips_weights: ClassVar[bool] = True
    levels: ClassVar[tuple[str, ...]] = ("core",)
    others: ClassVar[tuple[str, ...]] = ("link_pj_per_bit_hop",)
    parameters: ClassVar[tuple[str, ...]] = (
        "weight_bits",
        "state_bits",
        "input_bits",
        "event_bits",
        "hops",
        "targets_per_message",
        "core_weight_bytes",
        "core_state_bytes",
        "core_neurons",
        "cores",
        "pes",
        "clock_hz",
    )
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("activation_movement", "all movement is priced by hops, under routing"),
    )

    def actions(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[ActionTable, ...]:
        """The table of the module; one dataflow."""
        g, d = geometry, design
        units = Units(technology, d, g, self.memory, self.arithmetic, temperature)
        weights = (Bank("core", 1, d.core_weight_bytes * BYTE_BITS),)
        states = (Bank("core", 1, d.core_state_bytes * BYTE_BITS),)

        def state(verb, times):
            return units.access("states", verb, times, d.state_bits, states)

        stored = stored_bits(d, g)
        fetch = () if g.operand else units.access("weights", "read", 1, stored, weights)
        factor = units.operand("read", 1, states) if g.operand else fetch
        n, sum_ = g.ops.state_words, (*state("read", 1), *state("write", 1))
        per_input = messages(g.fan_outs, d.targets_per_message, temperature)
        per_neuron = messages((g.recurrent_fan_out,), d.targets_per_message, temperature)[0]
        message_bits = d.event_bits + (d.input_bits if g.real else 0)
        return (
            {
                "events_by_fan_out": (units.send(per_input, message_bits),),
                "recurrent_events": (units.send(per_neuron, d.event_bits),),
                "synops": (*fetch, *sum_, units.add("synapse")),
                "macs": (*factor, *sum_, *units.mac()),
                "operand_events": (units.send(1, message_bits),),
                **units.product(states),
                "neuron_steps": (*state("read", n), *state("write", n), *units.update()),
                "bias_adds": (
                    *units.access("weights", "read", 1, d.state_bits, weights),
                    units.add("neuron"),
                ),
                "current_writes": state("write", 1),
                "current_reads": (*state("read", 1), units.current()),
                "spikes_out": (units.reset(),),
            },
        )

    def filled(self, design: Design, geometry: Geometry) -> jax.Array:
        """Cores that a layer would fill if it could share them; it takes whole ones."""
        own = state_bits(design, geometry, least=1)
        if geometry.operand and geometry.operand.sums:
            own = own - geometry.operand.words * operand_bits(design, geometry)
        shares = (
            geometry.neurons / design.core_neurons,
            weight_bits(design, geometry) / (design.core_weight_bytes * BYTE_BITS),
            own / (design.core_state_bytes * BYTE_BITS),
        )
        return jnp.max(jnp.stack([jnp.asarray(s, float) for s in shares]))

    def cores(self, design: Design, geometry: Geometry, temperature: float = 0.0) -> jax.Array:
        """Cores that a layer takes: `ceil(filled)`.

        >>> from jsnn.workload.analytic import dense
        >>> design = Design(
        ...     weight_bits=8, state_bits=8, core_weight_bytes=1024, core_state_bytes=64,
        ...     core_neurons=64,
        ... )
        >>> from jsnn.hardware.arithmetic import Linear
        >>> from jsnn.hardware.memory import HorowitzPowerLaw
        >>> machine = EventDriven(HorowitzPowerLaw(), Linear())
        >>> float(machine.cores(design, dense(100, 100, steps=4, rate=0.1).geometry))
        10.0
        """
        return ceil(self.filled(design, geometry), temperature)

    def most_targets(self, design: Design, geometry: Geometry) -> jax.Array:
        """Neurons of a layer that a core can hold: no message serves more of them.

        >>> from jsnn.workload.analytic import dense
        >>> design = Design(
        ...     weight_bits=8, state_bits=8, core_weight_bytes=1024, core_state_bytes=64,
        ...     core_neurons=64,
        ... )
        >>> from jsnn.hardware.arithmetic import Linear
        >>> from jsnn.hardware.memory import HorowitzPowerLaw
        >>> machine = EventDriven(HorowitzPowerLaw(), Linear())
        >>> float(machine.most_targets(design, dense(100, 100, steps=4, rate=0.1).geometry))
        10.24
        """
        return geometry.neurons / self.filled(design, geometry)

    def cycles(
        self, design: Design, geometry: Geometry, temperature: float = 0.0
    ) -> dict[str, Any]:
        """Cycles of one event."""
        share = 1 / (self.cores(design, geometry, temperature) * design.pes)
        return {
            "events_by_fan_out": 1.0,
            "recurrent_events": 1.0,
            "synops": 0.0 if geometry.operand else share,
            "operand_reads": share,
            "macs": share,
            "neuron_steps": share,
            "steps": design.hops,
        }

    def memories(self, design: Design) -> dict[str, Any]:
        """Bits of each kind of memory in all cores together."""
        core = {"weights@core": design.core_weight_bytes, "states@core": design.core_state_bytes}
        return {name: design.cores * size * BYTE_BITS for name, size in core.items()}

    def check(self, layers: Sequence[tuple[Design, Geometry]]) -> None:
        """ValueError if the layers need more cores than there are."""
        sizes = [size for _, g in layers for size in (g.neurons, g.weights)]
        if not all(map(is_concrete, [*sizes, *jax.tree.leaves([d for d, _ in layers])])):
            return
        # Known before a function is traced, so that it is refused there too.
        with jax.ensure_compile_time_eval():
            needed = [(g.name, int(self.cores(d, g))) for d, g in layers]
        total, cores = sum(count for _, count in needed), layers[0][0].cores
        if total > cores:
            raise ValueError(
                f"the layers need {total} cores, the chip has {cores:.0f}: "
                + ", ".join(f"{name} {count}" for name, count in needed)
                + "; raise cores or the memory of a core, or take fewer bits"
            )
