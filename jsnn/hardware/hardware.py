"""A machine: an architecture, the technology it is built in and the parameters of its design."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jsnn._pytree import pytree
from jsnn.hardware.actions import PriceTable
from jsnn.hardware.architectures.protocol import (
    Architecture,
    Bounded,
    Itemised,
    Skipping,
    Timed,
)
from jsnn.hardware.design import Design
from jsnn.hardware.power import PJ_PER_J
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@pytree
@dataclasses.dataclass(frozen=True)
class Hardware:
    """A machine: prices for the events of a workload.

    A pytree: constants and design parameters are leaves, names and sources static. Static energy is
    priced where the technology holds `static_power_w` and the time is known: either
    `step_latency_s` (the power is then that of what one layer occupies) or an architecture that
    counts its cycles. Elsewhere it is unpriced, never zero by assumption.

    Attributes:
        name: its name.
        architecture: how constants, design parameters and sizes combine.
        technology: cited constants.
        design: design parameters.

    Raises:
        ValueError: the architecture needs a constant or a design parameter that is not there.

    >>> from jsnn.hardware import get
    >>> get("neuromorphic-22nm").with_design(weight_bits=4).design.weight_bits
    4.0
    """

    name: str = dataclasses.field(metadata={"static": True})
    architecture: Architecture = dataclasses.field(metadata={"static": True})
    technology: Technology
    design: Design

    def __post_init__(self) -> None:
        needed, parameters = self.architecture.constants, self.architecture.parameters
        missing = [name for name in needed if name not in self.technology]
        missing += [name for name in parameters if getattr(self.design, name) is None]
        if missing:
            raise ValueError(
                f"{self.name}: architecture {self.architecture.name!r} needs {missing}; "
                "add them to its technology (cited constants) or design (design parameters)"
            )

    @property
    def _prices_static(self) -> bool:
        return "static_power_w" in self.technology and "step_latency_s" in self.technology

    @property
    def burns_while_it_works(self) -> bool:
        """Whether static energy is static power x the time that the architecture says it takes."""
        timed = isinstance(self.architecture, Timed)
        return timed and "static_power_w" in self.technology and not self._prices_static

    @property
    def skips_weights(self) -> bool:
        """Whether the machine can store and read only the weights that are not zero."""
        return isinstance(self.architecture, Skipping)

    @property
    def unpriced(self) -> tuple[tuple[str, str], ...]:
        """Components without a price, each with the reason."""
        architecture = self.architecture
        priced = architecture.priced if isinstance(architecture, Itemised) else ()
        settled = "static" in (*priced, *dict(architecture.unpriced))
        if self._prices_static or self.burns_while_it_works or settled:
            return architecture.unpriced
        return (*architecture.unpriced, ("static", "no static power and latency published"))

    def prices(self, geometry: Geometry, temperature: float = 0.0) -> tuple[PriceTable, ...]:
        """PJ per event and component for a layer, one table for each dataflow.

        Raises:
            ValueError: a product layer, or stored addresses of weights, on an architecture that has
                no price of them.

        >>> from jsnn.hardware import get
        >>> from jsnn.workload.analytic import dense
        >>> (table,) = get("compute-only-45nm").prices(dense(3, 2, steps=1, rate=0.5).geometry)
        >>> table["synops"]
        {'synapse': 0.9}
        """
        if geometry.index_bits and not self.skips_weights:
            raise ValueError(
                f"{self.name}: architecture {self.architecture.name!r} has no price for weights "
                f"stored with their addresses (layer {geometry.name!r}): it does not skip weights "
                "that are zero; the three machines classical, event-driven and spatial, hierarchy, "
                "neuromorphic and compute-only do"
            )
        tables = self.architecture.prices(self.technology, self.design, geometry, temperature)
        if geometry.operand and not all("operand_reads" in table for table in tables):
            raise ValueError(
                f"{self.name}: architecture {self.architecture.name!r} has no price for products "
                f"of spikes with spikes (layer {geometry.name!r}); the three machines classical, "
                "event-driven and spatial, and compute-only, have"
            )
        if not self._prices_static:
            return tables
        power_w, latency_s = self.technology["static_power_w"], self.technology["step_latency_s"]
        static = {"static": power_w * latency_s * PJ_PER_J}
        return tuple({**table, "steps": {**table.get("steps", {}), **static}} for table in tables)

    def check(self, layers: Sequence[tuple[Design, Geometry]]) -> None:
        """ValueError if a network of these layers does not fit, saying what spills where."""
        if isinstance(self.architecture, Bounded):
            self.architecture.check(layers)

    def with_design(self, **parameters: Any) -> Hardware:
        """A copy with other design parameters; ValueError for one that the machine lacks."""
        unknown = [name for name in parameters if name not in self.architecture.parameters]
        if unknown:
            raise ValueError(
                f"{self.name} has no design parameter {unknown}, only "
                f"{list(self.architecture.parameters)}"
            )
        return dataclasses.replace(self, design=dataclasses.replace(self.design, **parameters))

    def with_constants(self, **values: Any) -> Hardware:
        """A copy with other values of its constants (sensitivity studies)."""
        return dataclasses.replace(self, technology=self.technology.with_values(**values))

    def __str__(self) -> str:
        lines = [f"{self.name} (architecture {self.architecture.name})"]
        lines += [f"  {name} = {value}" for name, value in self.design.parameters.items()]
        for name, c in self.technology.constants.items():
            note = f"; {c.note}" if c.note else ""
            lines.append(f"  {name} = {c.value} {c.unit} [{c.provenance}: {c.source}{note}]")
        lines += [f"  {component}: unpriced, {reason}" for component, reason in self.unpriced]
        return "\n".join(lines)


def check_hardware(hardware: Any) -> None:
    """Raise ValueError unless it is a machine.

    >>> check_hardware("hierarchy-45nm")
    Traceback (most recent call last):
    ...
    ValueError: expected a Hardware, found 'hierarchy-45nm': jsnn.hardware.get('hierarchy-45nm')
    """
    if isinstance(hardware, Hardware):
        return
    name = hardware if isinstance(hardware, str) else "neuromorphic-22nm"
    given = repr(hardware) if isinstance(hardware, str) else type(hardware).__name__
    raise ValueError(f"expected a Hardware, found {given}: jsnn.hardware.get({name!r})")
