"""Energy of an access to a memory, by its size or its level: models to choose from.

| name                 | pJ of an access of b bits to a memory of S bits                          |
|----------------------|--------------------------------------------------------------------------|
| lemaire-regression   | slope·S + base, any width                                                |
| lemaire-interpolation| straight lines through (0, 0), 8 KB, 32 KB, 1 MB; flat above; any width  |
| packed-8kb           | one 64-bit read of 8 KB, shared by the floor(64/b) data packed into it   |
| horowitz-power-law   | e(8 KB)·(S / 8 KB)^p·b/64                                                |
| dosa                 | slope·S + base of the scratchpad; at `local`, of the accumulator         |
| by-level             | b·(pJ/bit of the level), any size                                        |
| accelergy            | register file growing with S (`local`, `core`), buffer of one size above |

Reading and writing cost the same, but for `accelergy`, whose source tells them apart (`write_pj`).
KB and MB are 1024 and 1024² bytes. A level is a place in the machine: a memory beside the
arithmetic (`local`), one that several of those share (`global`), a queue between layers (`queue`),
the memory of a core on a mesh (`core`). DRAM is no level: it has a price a bit of its own.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from jsnn._pytree import is_concrete
from jsnn.hardware.constants.memories import (
    IFMAP_BITS,
    RAM_1MIB_BITS,
    RAM_8KIB_BITS,
    RAM_32KIB_BITS,
    WEIGHT_FILE_BITS,
)
from jsnn.hardware.relaxation import ceil
from jsnn.hardware.technology import Technology

LEVELS = ("local", "global", "queue", "core")
BITS_PER_KIB = 8 * 1024
WORD_BITS = 64


@runtime_checkable
class MemoryModel(Protocol):
    """A frozen, hashable object that prices accesses.

    Attributes:
        name: its name.
        constants: names of all constants it may take from a technology.
    """

    name: ClassVar[str]
    constants: ClassVar[tuple[str, ...]]

    def needs(self, levels: Sequence[str]) -> tuple[str, ...]:
        """Names of the constants that prices at these levels are made of."""
        ...

    def access_pj(
        self,
        technology: Technology,
        level: str,
        size_bits: Any,
        bits: Any,
        temperature: float = 0.0,
    ) -> Any:
        """PJ of reading a datum of `bits` bits from a memory of `size_bits` at a level."""
        ...

    def write_pj(
        self,
        technology: Technology,
        level: str,
        size_bits: Any,
        bits: Any,
        temperature: float = 0.0,
    ) -> Any:
        """PJ of writing such a datum."""
        ...


def check_access(level: str, size_bits: Any, bits: Any) -> None:
    """ValueError for an unknown level, a negative size or a negative or missing width.

    >>> check_access("local", 8192, 8)
    """
    if level not in LEVELS:
        raise ValueError(f"unknown memory level {level!r}; valid: {list(LEVELS)}")
    for name, value in (("size_bits", size_bits), ("bits", bits)):
        if value is None or (is_concrete(value) and not np.all(np.asarray(value) >= 0)):
            raise ValueError(f"expected {name} >= 0 at level {level!r}, found {value}")


@dataclasses.dataclass(frozen=True)
class _Memory(abc.ABC):
    """A memory of one price for both directions, the same constants at every level."""

    name: ClassVar[str]
    constants: ClassVar[tuple[str, ...]]

    def needs(self, levels: Sequence[str]) -> tuple[str, ...]:
        """See `MemoryModel`."""
        for level in levels:
            check_access(level, 0, 0)
        return self.constants

    def access_pj(
        self,
        technology: Technology,
        level: str,
        size_bits: Any,
        bits: Any,
        temperature: float = 0.0,
    ) -> Any:
        """See `MemoryModel`; ValueError for what `check_access` refuses."""
        check_access(level, size_bits, bits)
        return self._pj(technology, level, size_bits, bits, temperature)

    def write_pj(
        self,
        technology: Technology,
        level: str,
        size_bits: Any,
        bits: Any,
        temperature: float = 0.0,
    ) -> Any:
        """See `MemoryModel`."""
        return self.access_pj(technology, level, size_bits, bits, temperature)

    @abc.abstractmethod
    def _pj(self, technology, level, size_bits, bits, temperature):
        """Price of an access by this model."""


@dataclasses.dataclass(frozen=True)
class LemaireRegression(_Memory):
    """`slope·size + base`, one access for a datum of any width.

    Lemaire et al., ICONIP 2022 (arXiv 2210.13107), as in its authors' code.

    >>> from jsnn.hardware import get
    >>> technology = get("hierarchy-45nm").technology
    >>> round(LemaireRegression().access_pj(technology, "local", 8 * 32 * 1024, 8), 2)
    16.06
    """

    name: ClassVar[str] = "lemaire-regression"
    constants: ClassVar[tuple[str, ...]] = ("ram_slope_pj_per_bit", "ram_base_pj")

    def _pj(self, technology, level, size_bits, bits, temperature):
        return technology["ram_slope_pj_per_bit"] * size_bits + technology["ram_base_pj"]


@dataclasses.dataclass(frozen=True)
class LemaireInterpolation(_Memory):
    """Lines through (0, 0), (8 KB, e8), (32 KB, e32), (1 MB, e1024), flat above; any width.

    Lemaire et al., ICONIP 2022 (arXiv 2210.13107), through Horowitz's 64-bit reads.

    >>> from jsnn.hardware import Technology
    >>> from jsnn.hardware.constants.horowitz import HOROWITZ_SRAM
    >>> float(LemaireInterpolation().access_pj(Technology(HOROWITZ_SRAM), "local", 4 * 8192, 8))
    5.0
    """

    name: ClassVar[str] = "lemaire-interpolation"
    constants: ClassVar[tuple[str, ...]] = ("sram_8kib_pj", "sram_32kib_pj", "sram_1mib_pj")

    def _pj(self, technology, level, size_bits, bits, temperature):
        sizes = (0, RAM_8KIB_BITS, RAM_32KIB_BITS, RAM_1MIB_BITS)
        energies = (0.0, *(technology[name] for name in self.constants))
        total = 0.0
        for left, right, low, high in zip(sizes, sizes[1:], energies, energies[1:], strict=False):
            share = (jnp.clip(size_bits, left, right) - left) / (right - left)
            total = total + (high - low) * share
        return total


@dataclasses.dataclass(frozen=True)
class Packed8KB(_Memory):
    """`e8 / floor(64 / bits)`: blocks of 8 KB whose 64-bit words hold as many data as fit.

    A datum wider than a word takes `ceil(bits / 64)` of them. Memories of other sizes are banks of
    such blocks. With a temperature the derivative in `bits` is that of
    `jsnn.hardware.relaxation.ceil`. T. Louis, as in Qualia EnergyEstimationMetric.py@15165fe8b9a5.

    >>> from jsnn.hardware import Technology
    >>> from jsnn.hardware.constants.horowitz import HOROWITZ_SRAM
    >>> technology = Technology(HOROWITZ_SRAM)
    >>> [float(Packed8KB().access_pj(technology, "local", 0, b)) for b in (8, 12, 64, 65)]
    [1.25, 2.0, 10.0, 20.0]
    """

    name: ClassVar[str] = "packed-8kb"
    constants: ClassVar[tuple[str, ...]] = ("sram_8kib_pj",)

    def _pj(self, technology, level, size_bits, bits, temperature):
        fits = jnp.asarray(bits) <= WORD_BITS
        # Each branch only ever sees what it is meant for, so that neither gradient is infinite.
        narrow, wide = jnp.where(fits, jnp.maximum(bits, 1), 1), jnp.where(fits, WORD_BITS, bits)
        packed = -ceil(-WORD_BITS / narrow, temperature)
        words = ceil(wide / WORD_BITS, temperature)
        return technology["sram_8kib_pj"] * jnp.where(fits, 1 / packed, words)


@dataclasses.dataclass(frozen=True)
class HorowitzPowerLaw(_Memory):
    """`e8 · (size / 8 KB)^p · bits / 64`; below one bit of memory flat, so that slopes are finite.

    Exponent fitted to the 8 KB, 32 KB and 1 MB reads of Horowitz, ISSCC 2014 (DERIVED).

    >>> from jsnn.hardware import Technology
    >>> from jsnn.hardware.constants.memories import POWER_LAW_RAM
    >>> technology = Technology(POWER_LAW_RAM)
    >>> round(float(HorowitzPowerLaw().access_pj(technology, "local", 8 * 32 * 1024, 64)), 1)
    19.3
    """

    name: ClassVar[str] = "horowitz-power-law"
    constants: ClassVar[tuple[str, ...]] = ("sram_8kib_pj", "sram_exponent")

    def _pj(self, technology, level, size_bits, bits, temperature):
        share = jnp.maximum(jnp.asarray(size_bits), 1) / RAM_8KIB_BITS
        return technology["sram_8kib_pj"] * share ** technology["sram_exponent"] * bits / WORD_BITS


@dataclasses.dataclass(frozen=True)
class Dosa(_Memory):
    """`slope · KB + base` an access: accumulator at `local`, scratchpad elsewhere.

    The size at `local` is that of the bank of one column: the source divides the accumulator by
    the columns of the array. It states no unit; read as pJ an access of any width.
    ucb-bar/dosa dataset/dse/energy_model.py@a7a3239382e1.

    >>> from jsnn.hardware import Technology
    >>> from jsnn.hardware.constants.memories import DOSA
    >>> kib = 8 * 1024
    >>> [round(Dosa().access_pj(Technology(DOSA), l, 64 * kib, 8), 4) for l in ("local", "global")]
    [8.372, 2.0983]
    """

    name: ClassVar[str] = "dosa"
    constants: ClassVar[tuple[str, ...]] = (
        "accumulator_base_pj",
        "accumulator_slope_pj_per_kib",
        "scratchpad_base_pj",
        "scratchpad_slope_pj_per_kib",
    )

    def needs(self, levels: Sequence[str]) -> tuple[str, ...]:
        """See `MemoryModel`."""
        super().needs(levels)
        kinds = {"accumulator" if level == "local" else "scratchpad" for level in levels}
        return tuple(name for name in self.constants if name.split("_")[0] in kinds)

    def _pj(self, technology, level, size_bits, bits, temperature):
        kind = "accumulator" if level == "local" else "scratchpad"
        slope, base = technology[f"{kind}_slope_pj_per_kib"], technology[f"{kind}_base_pj"]
        return slope * (size_bits / BITS_PER_KIB) + base


@dataclasses.dataclass(frozen=True)
class ByLevel(_Memory):
    """`bits · e(level)`: a price a bit for each level, whatever the size.

    >>> from jsnn.hardware import Constant, Technology
    >>> price = Constant(0.02, "pJ/bit", "a data sheet", "RECALLED")
    >>> ByLevel().access_pj(Technology({"local_pj_per_bit": price}), "local", 0, 8)
    0.16
    """

    name: ClassVar[str] = "by-level"
    constants: ClassVar[tuple[str, ...]] = tuple(f"{level}_pj_per_bit" for level in LEVELS)

    def needs(self, levels: Sequence[str]) -> tuple[str, ...]:
        """See `MemoryModel`."""
        super().needs(levels)
        return tuple(f"{level}_pj_per_bit" for level in LEVELS if level in levels)

    def _pj(self, technology, level, size_bits, bits, temperature):
        return technology[f"{level}_pj_per_bit"] * bits


@dataclasses.dataclass(frozen=True)
class Accelergy(_Memory):
    """Register files that grow with their size, and a global buffer of one size.

    `local` and `core`: the straight line in size through the 12 x 16 and the 192 x 16 bit register
    file, per 16-bit word; `global` and `queue`: the 128 KB buffer, per 64-bit word. The line is
    ours (at 256 bits it reads 0.241 pJ, where the source's third file costs 0.251).
    timeloop-accelergy-exercises@2d5510807128, eyeriss_like ERT_summary.

    >>> from jsnn.hardware import Technology
    >>> from jsnn.hardware.constants.memories import ACCELERGY_EYERISS
    >>> memory, technology = Accelergy(), Technology(ACCELERGY_EYERISS)
    >>> round(memory.access_pj(technology, "local", 192 * 16, 16), 3)
    1.977
    >>> round(memory.write_pj(technology, "global", 0, 64), 3)
    14.14
    """

    name: ClassVar[str] = "accelergy"
    constants: ClassVar[tuple[str, ...]] = (
        "ifmap_read_pj",
        "ifmap_write_pj",
        "weight_file_read_pj",
        "weight_file_write_pj",
        "buffer_read_pj",
        "buffer_write_pj",
    )

    def needs(self, levels: Sequence[str]) -> tuple[str, ...]:
        """See `MemoryModel`."""
        super().needs(levels)
        buffers = {level in ("global", "queue") for level in levels}
        return tuple(name for name in self.constants if name.startswith("buffer") in buffers)

    def write_pj(
        self,
        technology: Technology,
        level: str,
        size_bits: Any,
        bits: Any,
        temperature: float = 0.0,
    ) -> Any:
        """See `MemoryModel`."""
        check_access(level, size_bits, bits)
        return self._way(technology, level, size_bits, bits, "write")

    def _pj(self, technology, level, size_bits, bits, temperature):
        return self._way(technology, level, size_bits, bits, "read")

    def _way(self, technology, level, size_bits, bits, verb):
        if level in ("global", "queue"):
            return technology[f"buffer_{verb}_pj"] * bits / WORD_BITS
        small, large = technology[f"ifmap_{verb}_pj"], technology[f"weight_file_{verb}_pj"]
        slope = (large - small) / (WEIGHT_FILE_BITS - IFMAP_BITS)
        return (small + slope * (size_bits - IFMAP_BITS)) * bits / 16


MEMORIES: dict[str, MemoryModel] = {
    memory.name: memory
    for memory in (
        LemaireRegression(),
        LemaireInterpolation(),
        Packed8KB(),
        HorowitzPowerLaw(),
        Dosa(),
        ByLevel(),
        Accelergy(),
    )
}


def memory(name: str) -> MemoryModel:
    """The memory model of that name; ValueError with the valid names where there is none.

    >>> memory("by-level").constants[:2]
    ('local_pj_per_bit', 'global_pj_per_bit')
    """
    if name not in MEMORIES:
        raise ValueError(f"unknown memory model {name!r}; valid: {list(MEMORIES)}")
    return MEMORIES[name]
