"""What an architecture must offer."""

from __future__ import annotations

from typing import ClassVar, Protocol

from jsnn.hardware.design import Design
from jsnn.hardware.ledger import PriceTable
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


class Architecture(Protocol):
    """A frozen, hashable object that prices events.

    Attributes:
        name: its name.
        constants: names of the constants it takes from a technology.
        knobs: names of the knobs it takes from a design.
        unpriced: components it has no price for, each with the reason.
    """

    name: ClassVar[str]
    constants: ClassVar[tuple[str, ...]]
    knobs: ClassVar[tuple[str, ...]]
    unpriced: ClassVar[tuple[tuple[str, str], ...]]

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """PJ of each event in each component, one table for each dataflow the machine offers.

        A machine with several dataflows runs each layer in the cheapest of them. Hard choices
        inside (what fits, whole messages) are exact; with a temperature their gradient is that of
        softened ones (`jsnn.hardware.relax`).
        """
        ...
