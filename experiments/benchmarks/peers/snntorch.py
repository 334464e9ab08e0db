"""snnTorch: a loop over time of Linear or Conv2d and `snn.Leaky`; mode `compile`: torch.compile.

Equations: v = beta v + x - threshold s[t-1], reset detached; the reset comes after the decay, where
jsnn's LIF subtracts before it. No adaptive neuron: `shdrec` is `RLeaky`, which works less.
"""

import snntorch as snn
import torch
from snntorch import surrogate
from torch import nn

from experiments.benchmarks import workloads
from experiments.benchmarks.peers.torching import finish, streaming, synapse


def neurons(stage):
    """Neurons of a stage, None for none."""
    if stage.neurons == "none":
        return None
    spike = surrogate.fast_sigmoid(slope=workloads.SLOPE)
    options = {"beta": workloads.BETA, "threshold": workloads.THRESHOLD, "spike_grad": spike}
    if stage.neurons == "adaptive":
        return snn.RLeaky(**options, linear_features=stage.outputs, all_to_all=True)
    reset = "none" if stage.neurons == "integrator" else "subtract"
    return snn.Leaky(**options, reset_mechanism=reset)


class Net(nn.Module):
    """The stages one after another, step by step."""

    def __init__(self, workload):
        super().__init__()
        arrays = iter(workloads.weights(workload))
        self.stages, self.synapses, self.neurons = workload.stages, nn.ModuleList(), nn.ModuleList()
        for stage in workload.stages:
            if stage.kind in ("dense", "conv"):
                self.synapses.append(synapse(stage, next(arrays)))
                population = neurons(stage)
                self.neurons.append(population or nn.Identity())
                if stage.neurons == "adaptive":
                    with torch.no_grad():
                        population.recurrent.weight.copy_(torch.from_numpy(next(arrays).T.copy()))
        self.names = [stage.neurons for stage in workload.synapses]

    def start(self):
        """State at rest: (spikes, membrane) of every population."""
        state = []
        for name, population in zip(self.names, self.neurons, strict=True):
            if name == "adaptive":
                state.append(population.init_rleaky())
            else:
                state.append((None, population.init_leaky() if name != "none" else None))
        return state

    def advance(self, frame, state):
        """One frame: outputs and the new state."""
        state, number, out = list(self.start() if state is None else state), 0, frame
        for stage in self.stages:
            if stage.kind == "pool":
                out = nn.functional.avg_pool2d(out, 2)
            elif stage.kind == "flatten":
                out = out.flatten(1)
            else:
                out, population = self.synapses[number](out), self.neurons[number]
                spikes, membrane = state[number]
                if stage.neurons == "adaptive":
                    out, membrane = population(out, spikes, membrane)
                    state[number] = (out, membrane)
                elif stage.neurons != "none":
                    out, membrane = population(out, membrane)
                    state[number] = (None, membrane)
                if stage.neurons == "integrator":
                    out = membrane
                number += 1
        return out, state

    def forward(self, frames):
        """Mean of the last stage over time."""
        state, total = None, 0.0
        for frame in frames:
            out, state = self.advance(frame, state)
            total = total + out
        return total / len(frames)


def make(workload, mode, device):
    """See the package."""
    net = Net(workload)
    if workload.name == "stream":
        if mode:
            raise ValueError("the stream is measured without torch.compile")
        return streaming("snntorch", net, workload, device, net.advance)
    return finish("snntorch", net, workload, device, compiled=mode == "compile")
