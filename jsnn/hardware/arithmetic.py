"""Energy of an integer addition and product, by the width of their operands.

With a8, a32, m8, m32 the published 8- and 32-bit adders and multipliers (Horowitz, ISSCC 2014),
b = bits of an operand, w = those of the wider one, l·r = the product of both:

| name        | add                              | multiply                                   |
|-------------|----------------------------------|--------------------------------------------|
| product     | line in b through a8, a32        | line in l·r through m8, m32                |
| linear      | line in b through a8, a32        | line in w through m8, m32                  |
| quadratic   | parabola in b through 0, a8, a32 | parabola in w through 0, m8, m32           |
| saturation  | a8 to 8 bits, above a32          | m8 to 8 bits, above m32                    |
| recommended | a32·b/32                         | m8·l·r/64                                  |
| int8        | a8, any width                    | m8, any width                              |
| bit-product | accumulate, any width            | (pJ a weight bit and input bit)·l·r        |

Where a line or parabola falls below zero, the price is refused (ValueError; zero under tracing).
`linear`, `quadratic` and `saturation` are those of Qualia (EnergyEstimationMetric.py@15165fe8b9a5),
which knows one width; `product` and `recommended` are ours (DERIVED), `bit-product` that of the
reconstruction of arXiv 2409.08290. All but `saturation` have a slope in the widths.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from jsnn._pytree import is_concrete
from jsnn.hardware.technology import Technology

_INT = ("add_int8_pj", "add_int32_pj", "mul_int8_pj", "mul_int32_pj")


@runtime_checkable
class Arithmetic(Protocol):
    """A frozen, hashable object that prices adders and multipliers.

    Attributes:
        name: its name.
        constants: names of the constants it takes from a technology.
    """

    name: ClassVar[str]
    constants: ClassVar[tuple[str, ...]]

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """PJ of an addition, comparison or subtraction of so many bits."""
        ...

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """PJ of a product of so many bits by so many."""
        ...


def _between(value: Any, x: tuple[float, float], y: tuple[Any, Any]) -> Any:
    """Straight line through two published points."""
    return y[0] + (y[1] - y[0]) * ((value - x[0]) / (x[1] - x[0]))


def _above_zero(pj: Any, curve: str, bits: Any) -> Any:
    """The price; where a line or parabola falls below zero ValueError, zero under tracing."""
    if not is_concrete(pj):
        return jnp.maximum(pj, 0)
    if np.any(np.asarray(pj) < 0):
        raise ValueError(
            f"the {curve} is negative at {bits} bits: take more bits, or another arithmetic "
            "('quadratic', 'product' or 'recommended')"
        )
    return pj


def _wider(left: Any, right: Any) -> Any:
    plain = isinstance(left, int | float) and isinstance(right, int | float)
    return max(left, right) if plain else jnp.maximum(left, right)


def add_pj(technology: Technology, bits: Any) -> Any:
    """Integer addition: the line through the published 8- and 32-bit adders, pJ.

    >>> from jsnn.hardware import get
    >>> technology = get("hierarchy-45nm").technology
    >>> add_pj(technology, 8.0), add_pj(technology, 32.0)
    (0.03, 0.1)
    """
    published = technology["add_int8_pj"], technology["add_int32_pj"]
    pj = _between(bits, (8, 32), published)
    return _above_zero(pj, "line through the 8- and 32-bit adders", bits)


def mul_pj(technology: Technology, left_bits: Any, right_bits: Any) -> Any:
    """Integer product: the line in `left · right` bits through the 8x8 and 32x32 multipliers, pJ.

    >>> from jsnn.hardware import get
    >>> technology = get("hierarchy-45nm").technology
    >>> mul_pj(technology, 8.0, 8.0), mul_pj(technology, 32.0, 32.0)
    (0.2, 3.1)
    """
    published = technology["mul_int8_pj"], technology["mul_int32_pj"]
    cells = left_bits * right_bits
    pj = _between(cells, (64, 1024), published)
    return _above_zero(pj, "line through the 64 and 1024 cells of the multipliers", cells)


@dataclasses.dataclass(frozen=True)
class Product:
    """`add_pj` and `mul_pj`: lines in the bits of an adder and in the cells of a multiplier.

    >>> from jsnn.hardware import get
    >>> round(Product().mul_pj(get("hierarchy-45nm").technology, 8.0, 16.0), 4)
    0.3933
    """

    name: ClassVar[str] = "product"
    constants: ClassVar[tuple[str, ...]] = _INT

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See `add_pj` of the module."""
        return add_pj(technology, bits)

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See `mul_pj` of the module."""
        return mul_pj(technology, left_bits, right_bits)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Lines in the width through 8 and 32 bits.

    With Horowitz's multipliers their line falls below zero under 6.4 bits.

    >>> from jsnn.hardware import get
    >>> round(Linear().mul_pj(get("hierarchy-45nm").technology, 8.0, 16.0), 4)
    1.1667
    """

    name: ClassVar[str] = "linear"
    constants: ClassVar[tuple[str, ...]] = _INT

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See the table of the module."""
        return add_pj(technology, bits)

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See the table of the module."""
        bits = _wider(left_bits, right_bits)
        published = technology["mul_int8_pj"], technology["mul_int32_pj"]
        pj = _between(bits, (8, 32), published)
        return _above_zero(pj, "line through the 8- and 32-bit multipliers", bits)


def _parabola(bits: Any, at_8: Any, at_32: Any) -> Any:
    """The parabola through (0, 0), (8, at_8), (32, at_32)."""
    per_bit = (16 * at_8 - at_32) / 96
    return bits * (per_bit + bits * (at_8 - 8 * per_bit) / 64)


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """Parabolas in the width through 0, 8 and 32 bits; the adder's peaks at 76 bits.

    >>> from jsnn.hardware import get
    >>> model, technology = Quadratic(), get("hierarchy-45nm").technology
    >>> round(model.add_pj(technology, 16.0), 4), round(model.mul_pj(technology, 16.0, 16.0), 4)
    (0.0567, 0.7833)
    """

    name: ClassVar[str] = "quadratic"
    constants: ClassVar[tuple[str, ...]] = _INT

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See the table of the module."""
        pj = _parabola(bits, technology["add_int8_pj"], technology["add_int32_pj"])
        return _above_zero(pj, "parabola through 0, 8 and 32 bits of the adders", bits)

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See the table of the module."""
        bits = _wider(left_bits, right_bits)
        pj = _parabola(bits, technology["mul_int8_pj"], technology["mul_int32_pj"])
        return _above_zero(pj, "parabola through 0, 8 and 32 bits of the multipliers", bits)


@dataclasses.dataclass(frozen=True)
class Saturation:
    """The next wider of the published units; ValueError above 32 bits (not seen under tracing).

    >>> from jsnn.hardware import get
    >>> technology = get("hierarchy-45nm").technology
    >>> [Saturation().add_pj(technology, bits) for bits in (4.0, 8.0, 9.0)]
    [0.03, 0.03, 0.1]
    """

    name: ClassVar[str] = "saturation"
    constants: ClassVar[tuple[str, ...]] = _INT

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See the table of the module."""
        return self._step(bits, technology["add_int8_pj"], technology["add_int32_pj"])

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See the table of the module."""
        bits = _wider(left_bits, right_bits)
        return self._step(bits, technology["mul_int8_pj"], technology["mul_int32_pj"])

    def _step(self, bits: Any, at_8: Any, at_32: Any) -> Any:
        if isinstance(bits, int | float) and bits <= 32:
            return at_8 if bits <= 8 else at_32
        if is_concrete(bits) and np.any(np.asarray(bits) > 32):
            raise ValueError(f"no unit wider than 32 bits was published, found {bits} bits")
        return jnp.where(jnp.asarray(bits) <= 8, at_8, at_32)


@dataclasses.dataclass(frozen=True)
class Recommended:
    """`a32·b/32` and `m8·l·r/64`: through zero, so that narrow operands are neither free nor dear.

    >>> from jsnn.hardware import get
    >>> model, technology = Recommended(), get("hierarchy-45nm").technology
    >>> model.add_pj(technology, 16.0), model.mul_pj(technology, 4.0, 8.0)
    (0.05, 0.1)
    """

    name: ClassVar[str] = "recommended"
    constants: ClassVar[tuple[str, ...]] = ("add_int32_pj", "mul_int8_pj")

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See the table of the module."""
        return technology["add_int32_pj"] * bits / 32

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See the table of the module."""
        return technology["mul_int8_pj"] * left_bits * right_bits / 64


@dataclasses.dataclass(frozen=True)
class Int8:
    """One price for each operation, that of the 8-bit unit, as papers with 8-bit networks do.

    >>> from jsnn.hardware import get
    >>> Int8().add_pj(get("hierarchy-45nm").technology, 16.0)
    0.03
    """

    name: ClassVar[str] = "int8"
    constants: ClassVar[tuple[str, ...]] = ("add_int8_pj", "mul_int8_pj")

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See the table of the module."""
        return technology["add_int8_pj"]

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See the table of the module."""
        return technology["mul_int8_pj"]


@dataclasses.dataclass(frozen=True)
class BitProduct:
    """One price for an addition of any width, one for each pair of bits of a product.

    >>> from jsnn.hardware import get
    >>> round(BitProduct().mul_pj(get("neuromorphic-22nm").technology, 4.0, 3.0), 3)
    0.144
    """

    name: ClassVar[str] = "bit-product"
    constants: ClassVar[tuple[str, ...]] = ("accumulate_pj", "mac_pj_per_bit2")

    def add_pj(self, technology: Technology, bits: Any) -> Any:
        """See the table of the module."""
        return technology["accumulate_pj"]

    def mul_pj(self, technology: Technology, left_bits: Any, right_bits: Any) -> Any:
        """See the table of the module."""
        return technology["mac_pj_per_bit2"] * left_bits * right_bits


ARITHMETIC: dict[str, Arithmetic] = {
    model.name: model
    for model in (
        Product(),
        Linear(),
        Quadratic(),
        Saturation(),
        Recommended(),
        Int8(),
        BitProduct(),
    )
}


def arithmetic(name: str) -> Arithmetic:
    """The model of that name; ValueError with the valid names where there is none.

    >>> arithmetic("recommended").constants
    ('add_int32_pj', 'mul_int8_pj')
    """
    if name not in ARITHMETIC:
        raise ValueError(f"unknown arithmetic {name!r}; valid: {list(ARITHMETIC)}")
    return ARITHMETIC[name]
