"""Figures of training runs, energy estimates and comparisons."""

from jsnn.viz import plots

__all__ = ["plots"]
