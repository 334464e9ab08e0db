"""Protocol of an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from jsnn.hardware.actions import ActionTable, PriceTable
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


class Architecture(Protocol):
    """A frozen, hashable object that prices events.

    Attributes:
        name: its name.
        constants: names of the constants it takes from a technology.
        parameters: names of the design parameters it takes from a design.
        unpriced: components it has no price for, each with the reason.
    """

    name: ClassVar[str]
    constants: ClassVar[tuple[str, ...]]
    parameters: ClassVar[tuple[str, ...]]
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
        softened ones (`jsnn.hardware.relaxation`).
        """
        ...


@runtime_checkable
class Countable(Protocol):
    """An architecture that says what it does, not only what that costs."""

    def actions(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[ActionTable, ...]:
        """What each event sets in motion, one table for each dataflow."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """An architecture that chooses its dataflow anew in every step.

    Attributes:
        chosen_by_step: events whose prices depend on the choice; those of all others are the same
            in every table.
    """

    chosen_by_step: ClassVar[tuple[str, ...]]


@runtime_checkable
class Itemised(Protocol):
    """An architecture that prices what its source publishes, which may be static energy too."""

    @property
    def priced(self) -> tuple[str, ...]:
        """Components with a price."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """An architecture whose memories or cores can be too small for a network."""

    def check(self, layers: Sequence[tuple[Design, Geometry]]) -> None:
        """ValueError if the layers do not fit; silent about design parameters that are traced."""
        ...


@runtime_checkable
class Timed(Protocol):
    """An architecture that says how long its work takes; its design has a clock.

    Attributes:
        concurrent: whether all layers work at once, so that the slowest sets the pace; else one
            follows another.
    """

    concurrent: ClassVar[bool]

    def cycles(
        self, design: Design, geometry: Geometry, temperature: float = 0.0
    ) -> Mapping[str, Any]:
        """Clock cycles of each event; the temperature is that of `Architecture.prices`."""
        ...


@runtime_checkable
class Messaging(Protocol):
    """An architecture whose messages go to one place, which holds a limited number of neurons."""

    def most_targets(self, design: Design, geometry: Geometry) -> Any:
        """Neurons of a layer that one message can serve, not always a whole number."""
        ...


@runtime_checkable
class Skipping(Protocol):
    """An architecture that can store and read only the weights that are not zero.

    DERIVED: a stored weight is a word of its value and the address of its target
    (`Geometry.index_bits` wide) in a list for each input; where each list begins is not counted.
    All that happens once a connection happens only for those that are there.
    """

    skips_weights: ClassVar[bool]


@runtime_checkable
class Sized(Protocol):
    """An architecture that says what memories it has on its chip."""

    def memories(self, design: Design) -> Mapping[str, Any]:
        """Bits of each memory, by name; DRAM is another chip."""
        ...
