"""Levers beside the weights: bit widths, pruning, the time window, the hardware."""

from jsnn.codesign import bit_widths, early_exit, hardware, pareto, pruning, time_window

__all__ = ["bit_widths", "early_exit", "hardware", "pareto", "pruning", "time_window"]
