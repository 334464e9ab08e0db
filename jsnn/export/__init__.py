"""Export of trained networks: as integers, and with normalisations folded into weights."""

from jsnn.export import folding, integer

__all__ = ["folding", "integer"]
