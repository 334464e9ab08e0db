"""Norse: `SequentialState` of Linear or Conv2d and `LIFBoxCell`, stepped in a loop over time.

Equations: dv = (1 - beta)(x - v), so the threshold is scaled by 1 - beta for the same spikes; reset
before the decay as in jsnn's LIF; its gradient is not detached. `shdrec` is `LSNNRecurrentCell`,
which has a synaptic current besides.
"""

import norse.torch as nt
import torch
from norse.torch.functional.leaky_integrator_box import LIBoxParameters
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.lsnn import LSNNParameters
from norse.torch.functional.reset import reset_subtract
from torch import nn

from experiments.benchmarks import workloads
from experiments.benchmarks.peers.torching import finish, streaming, synapse

RATE = torch.tensor((1 - workloads.BETA) / workloads.DT_S)


def lif():
    """Their LIF without a synaptic current."""
    parameters = LIFBoxParameters(
        tau_mem_inv=RATE,
        alpha=torch.tensor(workloads.SLOPE),
        v_th=torch.tensor(workloads.THRESHOLD * (1 - workloads.BETA)),
        reset_method=reset_subtract,
    )
    return nt.LIFBoxCell(p=parameters, dt=workloads.DT_S)


def build(workload):
    """The network, to be called as `net(frame, state)`."""
    arrays, layers = iter(workloads.weights(workload)), []
    for stage in workload.stages:
        if stage.kind == "pool":
            layers.append(nn.AvgPool2d(2))
        elif stage.kind == "flatten":
            layers.append(nn.Flatten())
        elif stage.neurons == "adaptive":
            parameters = LSNNParameters(alpha=workloads.SLOPE)
            cell = nt.LSNNRecurrentCell(stage.inputs, stage.outputs, p=parameters)
            with torch.no_grad():
                # Its input passes a filter first: three times the weights fire about as often.
                cell.input_weights.copy_(torch.from_numpy(3 * next(arrays).T))
                cell.recurrent_weights.copy_(torch.from_numpy(next(arrays).T.copy()))
            layers.append(cell)
        else:
            layers.append(synapse(stage, next(arrays)))
            if stage.neurons == "lif":
                layers.append(lif())
            elif stage.neurons == "integrator":
                layers.append(nt.LIBoxCell(p=LIBoxParameters(tau_mem_inv=RATE), dt=workloads.DT_S))
    return nt.SequentialState(*layers)


class OverTime(nn.Module):
    """Mean of the network's outputs over time."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, frames):  # noqa: D102
        state, total = None, 0.0
        for frame in frames:
            out, state = self.net(frame, state)
            total = total + out
        return total / len(frames)


def make(workload, mode, device):
    """See the package."""
    net = build(workload)
    if workload.name == "stream":
        return streaming("norse", net, workload, device, net)
    return finish("norse", OverTime(net), workload, device)
