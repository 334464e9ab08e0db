"""Machines whose prices follow from their actions, three of them with models of their units."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from jsnn.hardware.actions import ActionTable, PriceTable, priced
from jsnn.hardware.arithmetic import ARITHMETIC, Arithmetic
from jsnn.hardware.design import Design
from jsnn.hardware.memory import MEMORIES, MemoryModel
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


class Acting(abc.ABC):
    """A machine that says what it does; the prices follow."""

    @abc.abstractmethod
    def actions(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[ActionTable, ...]:
        """What each event sets in motion, one table for each dataflow."""

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """What `actions` comes to."""
        return tuple(map(priced, self.actions(technology, design, geometry, temperature)))


@dataclasses.dataclass(frozen=True)
class Machine(Acting):
    """An acting machine whose memories and arithmetic are models of their own.

    Attributes:
        memory: model of its memories (`jsnn.hardware.memory`).
        arithmetic: model of its adders and multipliers (`jsnn.hardware.arithmetic`).
        levels: levels of memory whose accesses that model prices.
        others: constants it takes besides those of the two models.

    Raises:
        ValueError: something else in place of a model, such as its name.
    """

    memory: MemoryModel
    arithmetic: Arithmetic
    levels: ClassVar[tuple[str, ...]]
    others: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        for field, protocol, models in (
            ("memory", MemoryModel, MEMORIES),
            ("arithmetic", Arithmetic, ARITHMETIC),
        ):
            value = getattr(self, field)
            if isinstance(value, type) or not isinstance(value, protocol):
                offered = ", ".join(f"{type(model).__name__}()" for model in models.values())
                raise ValueError(
                    f"expected a model of jsnn.hardware.{field} ({offered}, or your own), found "
                    f"{value!r}; jsnn.hardware.{field}.{field}(name) is the one of a name"
                )

    @property
    def constants(self) -> tuple[str, ...]:
        """Constants of its memories and arithmetic, and what else it needs."""
        accesses = self.memory.needs(self.levels)
        return (*accesses, *self.arithmetic.constants, *self.others)
