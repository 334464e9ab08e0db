"""Layer after layer through a hierarchy of memories, as on a GPU or TPU.

After the first of the three machines of arXiv 2409.08290 v1, whose formulas are not published
(DERIVED: this table is ours). With w, v, b, o, e the bits of weight, state, input word, output word
and event, n the state words of a neuron, z = zero_skipping and B = batch:

| event             | unit       | what is done                     | bits  | component           |
|-------------------|------------|----------------------------------|-------|---------------------|
| input spike       | queue      | 1 read                           | e     | activation_movement |
| synop             | weights    | 1 read                           | w     | weight_memory       |
|                   | states     | 1 read, 1 write                  | v     | state_memory        |
|                   | adder      | 1 add                            | v     | synapse             |
| operand written   | states     | 1 write, zeros too               | p     | state_memory        |
| operand read      | states     | 1 read                           | p     | state_memory        |
| input word        | words      | 1 read, zeros too                | b     | activation_movement |
| connection, frame | weights    | 1 - z reads                      | w     | weight_memory       |
| mac               | weights    | z reads                          | w     | weight_memory       |
|                   | multiplier | 1 multiply                       | w x b | synapse             |
|                   | adder      | 1 add                            | v     | synapse             |
| neuron-step       | states     | n reads, n writes                | v     | state_memory        |
|                   | multiplier | multiplies of the neuron         | w x v | neuron              |
|                   | adder      | adds of the neuron               | v     | neuron              |
|                   | comparator | compares of the neuron           | v     | neuron              |
| bias added        | weights    | 1 read                           | v     | weight_memory       |
|                   | adder      | 1 add                            | v     | neuron              |
| current stored    | states     | 1 write                          | v     | state_memory        |
| current used      | states     | 1 read                           | v     | state_memory        |
|                   | adder      | 1 add, where the neuron has none | v     | neuron              |
| output spike      | queue      | 1 write                          | e     | activation_movement |
|                   | adder      | adds of the reset                | v     | neuron              |
| output word       | words      | 1 write                          | o     | activation_movement |
| inference         | dram       | 1/B loads of each weight         | w     | weight_memory       |
|                   | dram       | 1/B loads of each bias           | v     | weight_memory       |
|                   | weights    | 1/B writes of each weight        | w     | weight_memory       |
|                   | weights    | 1/B writes of each bias          | v     | weight_memory       |

In a product the operand takes the place of the weights: a synop reads none, the reads of a
connection and a mac are of p bits, a product is of p x b. Its words are of p bits: 1 for a spike, b
for a word, v for a sum. Spikes and words of an operand are input spikes and input words too. A
spike that is read and is not there adds nothing, a sum is added whatever it is.

An input word is read once and shared by all its connections; the sum of a real-valued frame stays
in the accumulator until it is complete. A comparison costs an add. Spikes fed back are input spikes
too. Input frames come from a sensor: bringing them is not counted, reading them is.

Where only weights that are not zero are stored (`Skipping`), each has its address: a weight is then
of w + i bits wherever it is read, loaded or stored, with i = `Geometry.index_bits`.

What fits where: each level (local, global, dram) has a bank for each of three tensors: weights with
biases and recurrent weights, states with stored currents, sums and operand, and one input frame of
real-valued words (output words, where a layer without a state writes them, go to the bank of words
that holds its output frame). A tensor lies whole in the nearest bank that holds it: `weights` in
the table is `weights@local`, `weights@global` or `weights@dram`. Weights that lie in dram are not
loaded. The queue is a memory of queue_events events. A tensor larger than dram is an error. The
price of an access depends on the size of the bank, not on what lies in it.

Time (DERIVED): `pes` adders and multipliers work side by side, one operation a cycle each, an
operand read being one; the queue moves a spike a cycle; loading overlaps with work; one layer
follows another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from jsnn.hardware.actions import ActionTable
from jsnn.hardware.architectures.machine import Machine
from jsnn.hardware.architectures.parts import (
    BYTE_BITS,
    Units,
    check_dram,
    hierarchy,
    state_bits,
    stored_bits,
    weight_bits,
)
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class Classical(Machine):
    """A processor with a hierarchy of memories (table above).

    Attributes:
        memory, arithmetic: names of the models, see `Machine`.
    """

    name: ClassVar[str] = "classical"
    concurrent: ClassVar[bool] = False
    skips_weights: ClassVar[bool] = True
    levels: ClassVar[tuple[str, ...]] = ("local", "global", "queue")
    others: ClassVar[tuple[str, ...]] = ("dram_pj_per_bit",)
    parameters: ClassVar[tuple[str, ...]] = (
        "weight_bits",
        "state_bits",
        "input_bits",
        "output_bits",
        "event_bits",
        "queue_events",
        "zero_skipping",
        "batch",
        "local_bytes",
        "global_bytes",
        "dram_bytes",
        "pes",
        "clock_hz",
    )
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("routing", "one processor: nothing is routed"),
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
        weights = hierarchy(weight_bits(d, g), d, temperature)
        states = hierarchy(state_bits(d, g), d, temperature)
        words = hierarchy((g.inputs + g.operand_inputs) * d.input_bits, d, temperature)
        outputs = hierarchy(g.neurons * d.output_bits, d, temperature)

        def weight(times):
            if g.operand:
                return units.operand("read", times, states)
            return units.access("weights", "read", times, stored_bits(d, g), weights)

        def state(verb, times):
            return units.access("states", verb, times, d.state_bits, states)

        n = g.ops.state_words
        fetch = () if g.operand else weight(1)
        return (
            {
                "spikes_in": (units.queue("read"),),
                "synops": (*fetch, *state("read", 1), *state("write", 1), units.add("synapse")),
                **units.product(states),
                "words_in": units.access("words", "read", 1, d.input_bits, words),
                "connections": weight(1 - d.zero_skipping),
                "macs": (*weight(d.zero_skipping), *units.mac()),
                "neuron_steps": (*state("read", n), *state("write", n), *units.update()),
                "bias_adds": (
                    *units.access("weights", "read", 1, d.state_bits, weights),
                    units.add("neuron"),
                ),
                "current_writes": state("write", 1),
                "current_reads": (*state("read", 1), units.current()),
                "spikes_out": (units.queue("write"), units.reset()),
                "words_out": units.access("words", "write", 1, d.output_bits, outputs),
                "loads": units.load(weights),
            },
        )

    def cycles(
        self, design: Design, geometry: Geometry, temperature: float = 0.0
    ) -> dict[str, Any]:
        """Cycles of one event; nothing in them is a hard choice."""
        d = design
        share = 1 / d.pes
        return {
            "spikes_in": 1.0,
            "synops": 0.0 if geometry.operand else share,
            "operand_reads": share,
            # Without skipping, a zero is multiplied too.
            "connections": (1 - d.zero_skipping) * share,
            "macs": d.zero_skipping * share,
            "neuron_steps": share,
            "spikes_out": 1.0,
        }

    def memories(self, design: Design) -> dict[str, Any]:
        """Bits of each memory on the chip, DRAM apart."""
        d = design
        tensors = ("weights", "states", "words")
        sizes = {f"{tensor}@local": d.local_bytes for tensor in tensors}
        sizes |= {f"{tensor}@global": d.global_bytes for tensor in tensors}
        sizes_bits = {name: size * BYTE_BITS for name, size in sizes.items()}
        return sizes_bits | {"queue": d.queue_events * d.event_bits}

    def check(self, layers: Sequence[tuple[Design, Geometry]]) -> None:
        """ValueError if a tensor is larger than dram."""
        for d, g in layers:
            needs = {
                "weights": weight_bits(d, g),
                "states": state_bits(d, g),
                "input words": (g.inputs + g.operand_inputs) * d.input_bits if g.real else 0,
                "output words": g.neurons * d.output_bits if g.writes_words else 0,
            }
            check_dram(d, g.name, needs)
