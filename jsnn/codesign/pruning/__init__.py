"""Learned pruning of weights and units, and the smaller network that is left."""

from jsnn.codesign.pruning import apply, compact, masks, pruning, sizes

__all__ = ["apply", "compact", "masks", "pruning", "sizes"]
