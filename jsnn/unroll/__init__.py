"""One neuron population over time."""

from jsnn.unroll.contract import (
    Carry,
    DenseRecurrence,
    FoldState,
    Plan,
    Readout,
    Recurrent,
)
from jsnn.unroll.fused import Fused
from jsnn.unroll.population import fold, start_fold, unroll
from jsnn.unroll.rule import PLANS
from jsnn.unroll.scan import Scan
