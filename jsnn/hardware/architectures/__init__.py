"""Architectures: each turns technology, design and the geometry of a layer into prices."""

from jsnn.hardware.architectures.chip import Chip
from jsnn.hardware.architectures.classical import Classical
from jsnn.hardware.architectures.committed import CommittedNeuromorphic, CommittedSpatial
from jsnn.hardware.architectures.compute_only import ComputeOnly
from jsnn.hardware.architectures.event_driven import EventDriven
from jsnn.hardware.architectures.hierarchy import Hierarchy
from jsnn.hardware.architectures.instructions import Instructions
from jsnn.hardware.architectures.neuromorphic import Neuromorphic
from jsnn.hardware.architectures.protocol import (
    Architecture,
    Bounded,
    Countable,
    Itemised,
    Messaging,
    Sized,
    Skipping,
    Stepwise,
    Timed,
)
from jsnn.hardware.architectures.sata import Sata
from jsnn.hardware.architectures.spatial import Spatial
from jsnn.hardware.architectures.spikesim import SpikeSim

__all__ = [
    "Architecture",
    "Bounded",
    "Chip",
    "Classical",
    "CommittedNeuromorphic",
    "CommittedSpatial",
    "ComputeOnly",
    "Countable",
    "EventDriven",
    "Hierarchy",
    "Instructions",
    "Itemised",
    "Messaging",
    "Neuromorphic",
    "Sata",
    "Sized",
    "Skipping",
    "Spatial",
    "SpikeSim",
    "Stepwise",
    "Timed",
]
