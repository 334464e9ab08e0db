"""Spiking neural networks in JAX, trained against the energy they would burn on real hardware.

The core (`surrogate`, `neurons`, `unroll`, `readouts`, `workload`, `hardware`, `energy`, `twin`)
knows no module system; `layers`, `models` and what follows are built on flax.linen.
"""

import importlib
import importlib.util

from jsnn import hardware, models, neurons, objectives, readouts, surrogate, training
from jsnn.energy import Bill, avoidable, bill, floor, op_count_proxy
from jsnn.run import run
from jsnn.stream import step
from jsnn.twin import mean_ratio, ratio, twin
from jsnn.unroll import unroll
from jsnn.workload import Workload

__version__ = "0.2.0.dev0"

__all__ = [
    "Bill",
    "Workload",
    "avoidable",
    "bill",
    "floor",
    "hardware",
    "mean_ratio",
    "models",
    "neurons",
    "objectives",
    "op_count_proxy",
    "ratio",
    "readouts",
    "run",
    "step",
    "surrogate",
    "training",
    "twin",
    "unroll",
]


def __getattr__(name: str):
    """Modules that are not imported with the package are on first use, `jsnn.stream` say."""
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
