"""Architectures: each turns technology, design and the geometry of a layer into prices."""

from jsnn.hardware.architectures.compute_only import ComputeOnly
from jsnn.hardware.architectures.hierarchy import Hierarchy
from jsnn.hardware.architectures.neuromorphic import Neuromorphic
from jsnn.hardware.architectures.protocol import Architecture

__all__ = ["Architecture", "ComputeOnly", "Hierarchy", "Neuromorphic"]
