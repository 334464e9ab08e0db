"""Design parameters of the hardware as leaves that are trained, or searched."""

from jsnn.codesign.hardware import design_parameters, rules, search, trade

__all__ = ["design_parameters", "rules", "search", "trade"]
