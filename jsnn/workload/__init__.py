"""Workloads: counts of a forward pass, measured, analytic, or over another time window."""

from jsnn.workload import analytic, truncation
from jsnn.workload.workload import (
    INPUT_KINDS,
    ByStep,
    Geometry,
    InputKind,
    LayerWorkload,
    Operand,
    Stored,
    Workload,
    newly_active,
    refuse_levers,
    require_events,
    require_finite,
    within,
)

__all__ = [
    "INPUT_KINDS",
    "ByStep",
    "Geometry",
    "InputKind",
    "LayerWorkload",
    "Operand",
    "Stored",
    "Workload",
    "analytic",
    "newly_active",
    "refuse_levers",
    "require_events",
    "require_finite",
    "truncation",
    "within",
]
