"""An array of processing elements with stationary weights and the state beside the adder.

After the third of the three machines of arXiv 2409.08290 v1, whose formulas are not published
(DERIVED: this table is ours). With w, v, b the bits of weight, state and input word, a the bits of
an address (ceil(log2(senders)), at least 1), n the state words of a neuron, F =
targets_per_message, z = zero_skipping and B = batch:

| event              | unit       | what is done                       | bits  | component     |
|--------------------|------------|------------------------------------|-------|---------------|
| input spike        | link       | sparse: ceil(fan-out / F) messages | a + 1 | routing       |
| step               | link       | dense: the same for every sender   | 1     | routing       |
| synop              | states     | 1 read, 1 write                    | v     | state_memory  |
|                    | adder      | 1 add                              | v     | synapse       |
| word, not zero     | link       | sparse: ceil(fan-out / F) messages | a + b | routing       |
| frame of words     | link       | dense: the same for every sender   | b     | routing       |
| mac                | states     | 1 read, 1 write                    | v     | state_memory  |
|                    | multiplier | 1 multiply                         | w x b | synapse       |
|                    | adder      | 1 add                              | v     | synapse       |
| operand spike      | link       | sparse: 1 message                  | a + 1 | routing       |
| operand word,      | link       | sparse: 1 message                  | a + b | routing       |
| not zero           |            |                                    |       |               |
| operand written    | states     | 1 write, zeros too                 | p     | state_memory  |
| operand read       | states     | 1 read                             | p     | state_memory  |
| neuron-step        | states     | n reads, n writes                  | v     | state_memory  |
|                    | multiplier | multiplies of the neuron           | w x v | neuron        |
|                    | adder      | adds of the neuron                 | v     | neuron        |
|                    | comparator | compares of the neuron             | v     | neuron        |
| bias added         | adder      | 1 add                              | v     | neuron        |
| current stored     | states     | 1 write                            | v     | state_memory  |
| current used       | states     | 1 read                             | v     | state_memory  |
|                    | adder      | 1 add, where the neuron has none   | v     | neuron        |
| output spike       | adder      | adds of the reset                  | v     | neuron        |
| inference          | weights    | 1 - z reads of each connection     | w     | weight_memory |
|                    | weights    | 1 read of each bias                | v     | weight_memory |
|                    | dram       | 1/B loads of each weight           | w     | weight_memory |
|                    | dram       | 1/B loads of each bias             | v     | weight_memory |
|                    | weights    | 1/B writes of each weight          | w     | weight_memory |
|                    | weights    | 1/B writes of each bias            | v     | weight_memory |
| active connection  | weights    | z reads                            | w     | weight_memory |

A message costs its bits on each of its hops. Each layer and sample sends each step sparse (an
address with every value that is not zero) or dense (every value of the step in a fixed order, no
address), whichever is cheaper. Where a workload holds sums over the window only, as one written
down does, the window is sent one way. Senders are the inputs of the layer and, where it is
recurrent, its own neurons (fan-out: all neurons; their addresses, and in the dense case their bit
in every step, apart from those of the inputs). A connection is active if its input was not zero at
least once in the window; recurrent ones always are. A weight is read once in an inference and kept,
whatever T is: a connection counts once for each position where a convolution uses it. What leaves a
layer is paid where it arrives. A comparison costs an add.

In a product the operand takes the place of the weights. It changes with every step, so it is not
read once: every connection of a frame reads it (1 - z) times and every mac z times. A
multiplication is of p x b. Its words are of p bits: 1 for a spike, b for a word, v for a sum. Where
they arrive they are senders of their own, with addresses and in the dense case bits or words of
their own. A spike that is read and is not there adds nothing, a sum is added whatever it is. Sums
stay where they were added up, and are cleared in every step.

Where only weights that are not zero are stored (`Skipping`), each has its address: a weight is then
of w + i bits wherever it is read, loaded or stored, with i = `Geometry.index_bits`.

What fits where: weights with biases and recurrent weights lie whole in the nearest of the banks
local, global, dram that holds them (`weights@local` …); weights in dram are not loaded. States (at
least one word a neuron, for the sum of a frame), stored currents and operand besides lie whole in
the registers of all processing elements together if these hold them (`states@register`), else in
the nearest bank of states. A tensor larger than dram is an error. The price of an access depends on
the size of the bank; that of a register does not.

Time (DERIVED): `pes` processing elements do an operation a cycle each (an operand read is one);
links are never the bottleneck, but a step begins when the last message has made its hops; one layer
follows another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from jsnn._pytree import is_concrete
from jsnn.hardware.actions import ActionTable
from jsnn.hardware.architectures.machine import Machine
from jsnn.hardware.architectures.parts import (
    BYTE_BITS,
    Units,
    address_bits,
    check_dram,
    hierarchy,
    messages,
    state_bits,
    stored_bits,
    weight_bits,
)
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class Spatial(Machine):
    """Stationary weights, state in the processing elements, sparse or dense messages (table above).

    Attributes:
        memory, arithmetic: names of the models, see `Machine`.
    """

    name: ClassVar[str] = "spatial"
    concurrent: ClassVar[bool] = False
    skips_weights: ClassVar[bool] = True
    levels: ClassVar[tuple[str, ...]] = ("local", "global")
    others: ClassVar[tuple[str, ...]] = (
        "dram_pj_per_bit",
        "register_pj_per_bit",
        "link_pj_per_bit_hop",
    )
    chosen_by_step: ClassVar[tuple[str, ...]] = (
        "events_by_fan_out",
        "recurrent_events",
        "operand_events",
        "steps",
        "frames",
    )
    parameters: ClassVar[tuple[str, ...]] = (
        "weight_bits",
        "state_bits",
        "input_bits",
        "zero_skipping",
        "batch",
        "hops",
        "targets_per_message",
        "local_bytes",
        "global_bytes",
        "dram_bytes",
        "pes",
        "pe_state_bytes",
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
        """The table of the module: sparse, then dense."""
        g, d = geometry, design
        units = Units(technology, d, g, self.memory, self.arithmetic, temperature)
        weights = hierarchy(weight_bits(d, g), d, temperature)
        registers = d.pes * d.pe_state_bytes * BYTE_BITS
        states = hierarchy(state_bits(d, g, least=1), d, temperature, registers)

        def weight(times):
            return units.access("weights", "read", times, stored_bits(d, g), weights)

        def state(verb, times):
            return units.access("states", verb, times, d.state_bits, states)

        n, sum_ = g.ops.state_words, (*state("read", 1), *state("write", 1))
        connections = 0 if g.operand else g.synapses + g.recurrent_weights
        either = {
            "synops": (*sum_, units.add("synapse")),
            "macs": (*sum_, *units.mac()),
            "neuron_steps": (*state("read", n), *state("write", n), *units.update()),
            "bias_adds": (units.add("neuron"),),
            "current_writes": state("write", 1),
            "current_reads": (*state("read", 1), units.current()),
            "spikes_out": (units.reset(),),
            "inferences": (
                *weight((1 - d.zero_skipping) * connections),
                *units.access("weights", "read", g.biases, d.state_bits, weights),
            ),
            "loads": units.load(weights),
        }
        if g.operand:
            either |= units.product(states)
            either["connections"] = units.operand("read", 1 - d.zero_skipping, states)
            either["macs"] = (*units.operand("read", d.zero_skipping, states), *either["macs"])
        else:
            either["active_synapses"] = weight(d.zero_skipping)
        per_input = messages(g.fan_outs, d.targets_per_message, temperature)
        per_neuron = messages((g.recurrent_fan_out,), d.targets_per_message, temperature)[0]
        everything = sum(m * k for m, k in zip(per_input, g.inputs_by_fan_out, strict=True))
        everything = everything + g.operand_inputs
        spikes, words = (0, everything) if g.real else (everything, 0)
        value_bits = d.input_bits if g.real else 1
        address, own_address = address_bits(g.inputs), address_bits(g.neurons)
        fed_back = g.neurons * per_neuron if g.feeds_back else 0
        sparse = {
            "events_by_fan_out": (units.send(per_input, address + value_bits),),
            "recurrent_events": (units.send(per_neuron, own_address + 1),),
        }
        if g.operand_inputs:
            bits = address_bits(g.operand_inputs) + value_bits
            sparse["operand_events"] = (units.send(1, bits),)
        dense = {
            "steps": (units.send(spikes + fed_back, 1),),
            "frames": (units.send(words, d.input_bits),),
        }
        return either | sparse, either | dense

    def most_targets(self, design: Design, geometry: Geometry) -> Any:
        """Neurons of a layer whose state one processing element can hold.

        A message that stops at one of them serves no more targets than that (ours; the search for a
        design reads it, the energy estimate does not).

        >>> from jsnn.workload.analytic import dense
        >>> from jsnn.hardware.arithmetic import Linear
        >>> from jsnn.hardware.memory import HorowitzPowerLaw
        >>> machine = Spatial(HorowitzPowerLaw(), Linear())
        >>> layer = dense(100, 100, steps=4, rate=0.1).geometry
        >>> machine.most_targets(Design(state_bits=16, pe_state_bytes=64), layer)
        32.0
        """
        each = state_bits(design, geometry, least=1) / geometry.neurons
        return design.pe_state_bytes * BYTE_BITS / each

    def cycles(
        self, design: Design, geometry: Geometry, temperature: float = 0.0
    ) -> dict[str, Any]:
        """Cycles of one event; nothing in them is a hard choice."""
        share = 1 / design.pes
        return {
            "synops": 0.0 if geometry.operand else share,
            "operand_reads": share,
            "macs": share,
            "neuron_steps": share,
            "steps": design.hops,
        }

    def memories(self, design: Design) -> dict[str, Any]:
        """Bits of each memory on the chip, DRAM apart."""
        d = design
        tensors = ("weights", "states")
        sizes = {f"{tensor}@local": d.local_bytes for tensor in tensors}
        sizes |= {f"{tensor}@global": d.global_bytes for tensor in tensors}
        sizes["registers"] = d.pes * d.pe_state_bytes
        return {name: size * BYTE_BITS for name, size in sizes.items()}

    def check(self, layers: Sequence[tuple[Design, Geometry]]) -> None:
        """ValueError if a tensor is larger than dram, and states than all registers too."""
        for d, g in layers:
            states, registers = state_bits(d, g, least=1), d.pes * d.pe_state_bytes * BYTE_BITS
            # Nothing is said of sizes that are not known yet.
            concrete = is_concrete(states) and is_concrete(registers)
            spilled = states if concrete and states > registers else 0
            needs = {"weights": weight_bits(d, g), "states": spilled}
            check_dram(d, g.name, needs)
