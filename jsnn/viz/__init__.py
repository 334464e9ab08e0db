"""Pictures: data and an axis in, an axis out."""

from jsnn.viz import plots

__all__ = ["plots"]
