"""Spiking neural networks in JAX, trained against an estimate of their energy on hardware.

Packages, each importing only from those before it: `neurons`, `unroll`, `readouts`, `events`,
`workload`, `hardware`, `energy` and `data` are independent of flax; `nn`, `models`, `train`,
`codesign` and `export` are built on flax.linen.
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
from jsnn.energy import (
    EnergyBreakdown,
    estimate_energy,
    op_count_proxy,
    spike_dependent_pj,
    spike_independent_energy,
)
from jsnn.energy.qnn import energy_ratio, estimate_qnn_energy, mean_energy_ratio
from jsnn.nn import run
from jsnn.nn.stream import step
from jsnn.workload import Workload

__version__ = "0.2.0.dev0"

__all__ = [
    "EnergyBreakdown",
    "Workload",
    "codesign",
    "data",
    "energy",
    "energy_ratio",
    "estimate_energy",
    "estimate_qnn_energy",
    "events",
    "export",
    "hardware",
    "mean_energy_ratio",
    "models",
    "neurons",
    "nn",
    "op_count_proxy",
    "quantise",
    "readouts",
    "run",
    "spike_dependent_pj",
    "spike_independent_energy",
    "step",
    "surrogate",
    "train",
    "units",
    "unroll",
    "viz",
    "workload",
]
