"""sinabs: Linear or Conv2d on all steps flattened into the batch, `LIFSqueeze` over time.

Equations: v = beta v + x, threshold subtracted before the decay as in jsnn's LIF; at most one spike
a step. No recurrent adaptive layer, and its readers of streams are chips: `shdrec` and `stream` are
not measured.
"""

import math

import sinabs
import sinabs.activation
import sinabs.layers
import torch
from torch import nn

from experiments.benchmarks import workloads
from experiments.benchmarks.peers.torching import (
    Integrator,
    MeanOverTime,
    finish,
    synapse,
    tensors,
)


class ByTime(nn.Module):
    """Apply a module of `[T, B, C]` to flattened `[B T, C]`."""

    def __init__(self, inner, batch):
        super().__init__()
        self.inner, self.batch = inner, batch

    def forward(self, flat):  # noqa: D102
        return self.inner(flat.view(self.batch, -1, flat.shape[-1]).swapaxes(0, 1))


def make(workload, mode, device):
    """See the package."""
    if workload.name == "stream" or any(s.neurons == "adaptive" for s in workload.stages):
        raise ValueError(f"sinabs has no form of {workload.name}")
    arrays, layers = iter(workloads.weights(workload)), []
    for stage in workload.stages:
        if stage.kind == "pool":
            layers.append(nn.AvgPool2d(2))
        elif stage.kind == "flatten":
            layers.append(nn.Flatten())
        else:
            layers.append(synapse(stage, next(arrays)))
        if stage.neurons == "lif":
            layers.append(
                sinabs.layers.LIFSqueeze(
                    tau_mem=-1 / math.log(workloads.BETA),
                    spike_threshold=torch.tensor(workloads.THRESHOLD),
                    spike_fn=sinabs.activation.SingleSpike,
                    reset_fn=sinabs.activation.MembraneSubtract(),
                    surrogate_grad_fn=sinabs.activation.PeriodicExponential(),
                    norm_input=False,
                    batch_size=workload.batch,
                )
            )
    integrates = workload.stages[-1].neurons == "integrator"
    layers.append(ByTime(Integrator() if integrates else MeanOverTime(), workload.batch))
    net = nn.Sequential(*layers)
    frames = tensors(workload, device)[0].swapaxes(0, 1).flatten(0, 1).contiguous()
    reset = lambda: sinabs.reset_states(net)  # noqa: E731
    return finish("sinabs", net, workload, device, reset=reset, frames=frames)
