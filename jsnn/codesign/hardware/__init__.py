"""Design parameters of the hardware, trained with the network or searched."""

from jsnn.codesign.hardware import design_parameters, rules, search, trade

__all__ = ["design_parameters", "rules", "search", "trade"]
