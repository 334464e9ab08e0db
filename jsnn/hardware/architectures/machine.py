"""Machines whose prices follow from their actions, and models by name for three of them."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from jsnn.hardware.actions import ActionTable, PriceTable, priced
from jsnn.hardware.arithmetic import arithmetic
from jsnn.hardware.design import Design
from jsnn.hardware.memory import memory
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
    """An acting machine whose memories and arithmetic are models to choose by name.

    Attributes:
        memory: name of the memory model (`jsnn.hardware.memory`).
        arithmetic: name of the model of adders and multipliers (`jsnn.hardware.arithmetic`).
        levels: levels of memory whose accesses that model prices.
        others: constants it takes besides those of the two models.
    """

    memory: str
    arithmetic: str
    levels: ClassVar[tuple[str, ...]]
    others: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        memory(self.memory), arithmetic(self.arithmetic)

    @property
    def constants(self) -> tuple[str, ...]:
        """Constants of its memories and arithmetic, and what else it needs."""
        accesses = memory(self.memory).needs(self.levels)
        return (*accesses, *arithmetic(self.arithmetic).constants, *self.others)
