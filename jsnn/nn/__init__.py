"""flax.linen layers round the flax-free core, and the ways of running a network of them."""

from jsnn.nn import (
    attention,
    causal,
    chunked,
    event_counts,
    layers,
    recording,
    spike_products,
    stream,
    synapses,
    time_plan,
)
from jsnn.nn._run import Forward, as_workload, forward, records, run

__all__ = [
    "Forward",
    "as_workload",
    "attention",
    "causal",
    "chunked",
    "event_counts",
    "forward",
    "layers",
    "recording",
    "records",
    "run",
    "spike_products",
    "stream",
    "synapses",
    "time_plan",
]
