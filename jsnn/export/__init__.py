"""Networks that leave the library: integers, and normalisations folded into weights."""

from jsnn.export import folding, integer

__all__ = ["folding", "integer"]
