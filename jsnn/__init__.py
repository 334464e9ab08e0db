"""Spiking neural networks in JAX, trained against the energy they would burn on real hardware.

Rooms from the top of the house down: `neurons`, `unroll`, `readouts`, `events`, `workload`,
`hardware`, `energy` and `data` know no module system; `nn`, `models`, `train`, `codesign` and
`export` are built on flax.linen.
"""

from jsnn import (
    codesign,
    data,
    energy,
    events,
    export,
    hardware,
    models,
    neurons,
    nn,
    quantise,
    readouts,
    surrogate,
    train,
    units,
    unroll,
    viz,
    workload,
)
from jsnn.energy import Bill, avoidable, bill, floor, op_count_proxy
from jsnn.energy.qnn import mean_ratio, ratio, twin
from jsnn.nn import run
from jsnn.nn.stream import step
from jsnn.workload import Workload

__version__ = "0.2.0.dev0"

__all__ = [
    "Bill",
    "Workload",
    "avoidable",
    "bill",
    "codesign",
    "data",
    "energy",
    "events",
    "export",
    "floor",
    "hardware",
    "mean_ratio",
    "models",
    "neurons",
    "nn",
    "op_count_proxy",
    "quantise",
    "ratio",
    "readouts",
    "run",
    "step",
    "surrogate",
    "train",
    "twin",
    "units",
    "unroll",
    "viz",
    "workload",
]
