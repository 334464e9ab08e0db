"""Machines that are built for one dataflow in each layer, instead of choosing it as they run.

`price = (1 - dense_share) · sparse + dense_share · dense`, the tables being those of the machine
that chooses. A real machine has a share of 0 or 1; values between are for a gradient. Such a
machine never costs less than the one that chooses, but needs no means to choose.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jsnn.hardware.actions import ActionTable
from jsnn.hardware.architectures.neuromorphic import Neuromorphic
from jsnn.hardware.architectures.spatial import Spatial
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry


@dataclasses.dataclass(frozen=True)
class CommittedSpatial(Spatial):
    """`Spatial` whose messages go sparse or dense, layer by layer, for good."""

    name: ClassVar[str] = "spatial-committed"
    parameters: ClassVar[tuple[str, ...]] = (*Spatial.parameters, "dense_share")
    chosen_by_step: ClassVar[tuple[str, ...]] = ()

    def actions(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[ActionTable, ...]:
        """One table, in which both dataflows act as often as their share says."""
        return _mixed(super().actions(technology, design, geometry, temperature), design)


@dataclasses.dataclass(frozen=True)
class CommittedNeuromorphic(Neuromorphic):
    """`Neuromorphic` whose layers send sparse or dense for good."""

    name: ClassVar[str] = "neuromorphic-committed"
    parameters: ClassVar[tuple[str, ...]] = (*Neuromorphic.parameters, "dense_share")

    def actions(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[ActionTable, ...]:
        """One table, in which both dataflows act as often as their share says."""
        return _mixed(super().actions(technology, design, geometry, temperature), design)


def _mixed(tables: tuple[ActionTable, ...], design: Design) -> tuple[ActionTable]:
    mixed: dict[str, tuple] = {}
    shares = 1 - design.dense_share, design.dense_share
    for share, table in zip(shares, tables, strict=True):
        for event, actions in table.items():
            part = tuple(action._replace(times=action.times * share) for action in actions)
            mixed[event] = (*mixed.get(event, ()), *part)
    return (mixed,)
