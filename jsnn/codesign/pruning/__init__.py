"""Learned pruning of weights and units, and the smaller network that is left."""

from jsnn.codesign.pruning import carry, compact, gates, pruning, sizes

__all__ = ["carry", "compact", "gates", "pruning", "sizes"]
