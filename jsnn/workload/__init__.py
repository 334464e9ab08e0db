"""Workloads: counts of a forward pass, measured, analytic, or over another time window."""

from jsnn.workload import analytic, truncation
from jsnn.workload.connectivity import Connectivity
from jsnn.workload.geometry import INPUT_KINDS, Geometry, InputKind, Operand
from jsnn.workload.workload import (
    ByStep,
    LayerWorkload,
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
    "Connectivity",
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
