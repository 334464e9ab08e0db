"""Parts shared by the machines: units that act, and banks in which tensors lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jsnn._pytree import is_concrete
from jsnn.hardware.actions import Action
from jsnn.hardware.arithmetic import Arithmetic
from jsnn.hardware.design import Design
from jsnn.hardware.memory import MemoryModel
from jsnn.hardware.relaxation import ceil, place
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry

BYTE_BITS = 8


class Bank(NamedTuple):
    """A place where (a share of) a tensor lies.

    Attributes:
        level: `register`, `sram`, `local`, `global`, `dram` or `core`.
        share: 1 where the tensor lies here, else 0.
        size_bits: size of the bank; None where the price does not depend on it.
    """

    level: str
    share: Any
    size_bits: Any = None


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a machine, for one layer: each method describes an action.

    Attributes:
        technology, design, geometry: what is priced.
        memory: model of the memories; None where every bank has one price for a bit.
        arithmetic: model of the adders and multipliers.
        temperature: of hard choices, for their gradient (`jsnn.hardware.relaxation`).
    """

    technology: Technology
    design: Design
    geometry: Geometry
    memory: MemoryModel | None
    arithmetic: Arithmetic
    temperature: float = 0.0

    def add(self, component: str, times: Any = 1) -> Action:
        """Additions as wide as a state."""
        bits = self.design.state_bits
        pj = self.arithmetic.add_pj(self.technology, bits)
        return Action(component, "adder", "add", bits, times, pj)

    def compare(self, component: str, times: Any) -> Action:
        """Comparisons as wide as a state, each the price of an add."""
        return self.add(component, times)._replace(unit="comparator", verb="compare")

    def multiply(self, component: str, times: Any, left_bits: Any, right_bits: Any) -> Action:
        """Products."""
        pj = self.arithmetic.mul_pj(self.technology, left_bits, right_bits)
        return Action(component, "multiplier", "multiply", left_bits * right_bits, times, pj)

    def update(self) -> tuple[Action, ...]:
        """Operations of the neuron dynamics in one step."""
        g, d = self.geometry, self.design
        return (
            self.multiply("neuron", g.ops.multiplies, d.weight_bits, d.state_bits),
            self.add("neuron", g.ops.adds),
            self.compare("neuron", g.ops.compares),
        )

    def mac(self) -> tuple[Action, ...]:
        """A product of weight (or operand) and input word, and its accumulation."""
        d, g = self.design, self.geometry
        left_bits = operand_bits(d, g) if g.operand else d.weight_bits
        return self.multiply("synapse", 1, left_bits, d.input_bits), self.add("synapse")

    def current(self) -> Action:
        """The addition of a stored current, where the neuron dynamics have none of their own."""
        return self.add("neuron", 0 if self.geometry.ops.adds else 1)

    def reset(self) -> Action:
        """What an output spike takes from the membrane."""
        return self.add("neuron", self.geometry.ops.adds_per_spike)

    def access(
        self, tensor: str, verb: str, times: Any, bits: Any, banks: tuple[Bank, ...]
    ) -> tuple[Action, ...]:
        """Accesses to a tensor, at the banks in which it lies."""
        component = {"weights": "weight_memory", "states": "state_memory"}.get(
            tensor, "activation_movement"
        )
        return tuple(
            Action(
                component,
                f"{tensor}@{bank.level}",
                verb,
                bits,
                times * bank.share,
                self.access_pj(bank, bits, verb),
            )
            for bank in banks
        )

    def operand(self, verb: str, times: Any, banks: tuple[Bank, ...]) -> tuple[Action, ...]:
        """Accesses to the operand of a product; it lies among the states."""
        return self.access("states", verb, times, operand_bits(self.design, self.geometry), banks)

    def product(self, banks: tuple[Bank, ...]) -> dict[str, tuple[Action, ...]]:
        """Rows of the operand; none where the layer is no product."""
        if not self.geometry.operand:
            return {}
        return {
            "operand_writes": self.operand("write", 1, banks),
            "operand_reads": self.operand("read", 1, banks),
        }

    def queue(self, verb: str) -> Action:
        """An access to the queue of spikes."""
        d = self.design
        bank = Bank("queue", 1, d.queue_events * d.event_bits)
        pj = self.access_pj(bank, d.event_bits, verb)
        return Action("activation_movement", "queue", verb, d.event_bits, 1, pj)

    def load(self, banks: tuple[Bank, ...]) -> tuple[Action, ...]:
        """Bring weights and biases from dram to where they lie, shared by a batch."""
        g, d = self.geometry, self.design
        inside = [bank for bank in banks if bank.level != "dram"]
        kept = sum(bank.share for bank in inside)
        dram = Bank("dram", 1)
        actions = []
        for words, bits in (
            (g.weights + g.recurrent_weights, stored_bits(d, g)),
            (g.biases, d.state_bits),
        ):
            times = words / d.batch
            pj = self.access_pj(dram, bits, "read")
            actions.append(Action("weight_memory", "dram", "load", bits, times * kept, pj))
            actions += self.access("weights", "write", times, bits, tuple(inside))
        return tuple(actions)

    def send(self, times: Any, bits: Any) -> Action:
        """Messages of so many bits over the mesh."""
        pj = bits * self.design.hops * self.technology["link_pj_per_bit_hop"]
        return Action("routing", "link", "send", bits, times, pj)

    def access_pj(self, bank: Bank, bits: Any, verb: str) -> Any:
        """Energy of one access."""
        if bank.level in ("dram", "register", "sram"):
            return bits * self.technology[f"{bank.level}_pj_per_bit"]
        price = self.memory.write_pj if verb == "write" else self.memory.access_pj
        return price(self.technology, bank.level, bank.size_bits, bits, self.temperature)


def weight_bits(design: Design, geometry: Geometry) -> Any:
    """Size of weights, recurrent weights and biases."""
    weights = geometry.weights + geometry.recurrent_weights
    return weights * stored_bits(design, geometry) + geometry.biases * design.state_bits


def stored_bits(design: Design, geometry: Geometry) -> Any:
    """Width of a stored weight, with the address beside it where only some are stored."""
    return design.weight_bits + geometry.index_bits


def operand_bits(design: Design, geometry: Geometry) -> Any:
    """Width of a word of the operand: a spike, a word or a sum."""
    if geometry.operand.sums:
        return design.state_bits
    return design.input_bits if geometry.real else 1


def state_bits(design: Design, geometry: Geometry, least: int = 0) -> Any:
    """Size of states and stored currents, at least `least` words a neuron, and of an operand."""
    stored = 1 if geometry.input_kind == "constant" else 0
    words = max(geometry.ops.state_words, least, int(geometry.keeps_sums)) + stored
    size = geometry.neurons * words * design.state_bits
    if geometry.operand:
        size = size + geometry.operand.words * operand_bits(design, geometry)
    return size


def hierarchy(
    need_bits: Any, design: Design, temperature: float, registers_bits: Any = None
) -> tuple[Bank, ...]:
    """The banks local, global, dram (before them registers, where given) with a tensor in one."""
    sizes = {
        "local": design.local_bytes * BYTE_BITS,
        "global": design.global_bytes * BYTE_BITS,
        "dram": design.dram_bytes * BYTE_BITS,
    }
    if registers_bits is not None:
        sizes = {"register": registers_bits, **sizes}
    shares = place(need_bits, tuple(sizes.values()), temperature)
    return tuple(
        Bank(level, share, size) for (level, size), share in zip(sizes.items(), shares, strict=True)
    )


def messages(fan_outs: Sequence[int], targets: Any, temperature: float) -> jax.Array:
    """`[K]` messages that a value of each fan-out sends: `ceil(fan-out / targets)`."""
    return ceil(jnp.asarray(fan_outs) / targets, temperature)


def address_bits(senders: Any) -> Any:
    """Bits that tell so many senders apart: `max(1, ceil(log2(senders)))`.

    >>> [address_bits(n) for n in (1, 2, 3, 4, 5)]
    [1, 1, 2, 2, 3]
    """
    if isinstance(senders, int):
        return max(1, (senders - 1).bit_length())
    # A traced number of senders: the binary digits of a whole number are its exponent.
    return jnp.maximum(1, jnp.frexp(jnp.ceil(senders) - 1)[1])


def check_dram(design: Design, layer: str, needs_bits: Mapping[str, Any]) -> None:
    """ValueError if a tensor of a layer is larger than dram; silent about traced designs."""
    capacities = {level: getattr(design, f"{level}_bytes") for level in ("local", "global", "dram")}
    if not all(is_concrete(v) for v in (*needs_bits.values(), *capacities.values())):
        return
    for tensor, need in needs_bits.items():
        if need > capacities["dram"] * BYTE_BITS:
            levels = ", ".join(f"{name}_bytes = {size:.0f}" for name, size in capacities.items())
            raise ValueError(
                f"{tensor} of layer {layer!r} take {need / BYTE_BITS:.0f} bytes and spill "
                f"from every memory ({levels}): raise dram_bytes or take fewer bits"
            )
