"""Names of what is counted and of where its energy goes: the rows and columns of every bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COMPONENTS = (
    "synapse",
    "neuron",
    "weight_memory",
    "state_memory",
    "activation_movement",
    "routing",
    "static",
)

EVENTS = {
    "spikes_in": "spikes that arrive, fed-back ones included",
    "synops": "accumulations that those spikes cause",
    "mean_synops": "accumulations of a mean step (synops / T)",
    "synapses": "connections that carry spikes",
    "synapse_steps": "connections that carry spikes x T",
    "frames": "real-valued input frames (1 where the input is constant)",
    "words_in": "real-valued input words, zeros included",
    "connections": "connections of those words, zeros included",
    "macs": "multiply-accumulates of input words that are not zero",
    "bias_adds": "biases added",
    "current_writes": "currents of a constant input stored for the window",
    "current_reads": "stored currents read, one a neuron-step",
    "neuron_steps": "neurons x T",
    "spikes_out": "spikes that leave",
    "words_out": "real-valued words that leave a layer without a state",
    "steps": "T",
}

# pJ of one event in each component; what is not named costs nothing.
PriceTable = Mapping[str, Mapping[str, Any]]
