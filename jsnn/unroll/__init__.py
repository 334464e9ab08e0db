"""One neuron population over time, by one of several plans of the same contract.

State in, state out: T steps at once equal T calls of one step, so a stream can be split anywhere.
"""

from jsnn.unroll.contract import Carry, DenseRecurrence, FoldState, Plan, Readout, Recurrent
from jsnn.unroll.fused import Fused
from jsnn.unroll.pallas import Pallas
from jsnn.unroll.parallel import Parallel
from jsnn.unroll.population import fold, start_fold, unroll
from jsnn.unroll.rule import PLANS, Choice, choose, plan
from jsnn.unroll.scan import Scan

__all__ = [
    "PLANS",
    "Carry",
    "Choice",
    "DenseRecurrence",
    "FoldState",
    "Fused",
    "Pallas",
    "Parallel",
    "Plan",
    "Readout",
    "Recurrent",
    "Scan",
    "choose",
    "fold",
    "plan",
    "start_fold",
    "unroll",
]
