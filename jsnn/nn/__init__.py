"""flax.linen layers around the flax-free core, and functions that run networks of them."""

from jsnn.nn import (
    attention,
    causal,
    chunked,
    event_counts,
    layer_workload,
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
    "layer_workload",
    "layers",
    "recording",
    "records",
    "run",
    "spike_products",
    "stream",
    "synapses",
    "time_plan",
]
