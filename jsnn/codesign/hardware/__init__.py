"""Design parameters of the hardware, trained with the network or searched."""

from jsnn.codesign.hardware import design_parameters, limits, rules, search, trade

__all__ = ["design_parameters", "limits", "rules", "search", "trade"]
