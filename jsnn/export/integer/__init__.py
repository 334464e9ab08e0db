"""Export of a network trained on grids as integers, and a NumPy runtime without floats.

A network trained with `jsnn.codesign.bit_widths.Bits` computes in float32 exactly what this
computes in integers: the same spikes, the same readout.
"""

from jsnn.export.integer import archive, conversion, layer, network
from jsnn.export.integer.conversion import export, input_step
from jsnn.export.integer.layer import IntegerLayer
from jsnn.export.integer.network import READOUTS, IntegerNetwork, IntegerRun

__all__ = [
    "READOUTS",
    "IntegerLayer",
    "IntegerNetwork",
    "IntegerRun",
    "archive",
    "conversion",
    "export",
    "input_step",
    "layer",
    "network",
]
