"""SpikingJelly: multi-step layers, the plain PyTorch backend.

Equations: v = beta v + x, threshold subtracted where it spikes, reset detached: those of jsnn's
LIF. Surrogate SoftSign. No adaptive neuron: `shdrec` is `LinearRecurrentContainer(LIF)`, which
works less.
"""

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from experiments.benchmarks import workloads
from experiments.benchmarks.peers.torching import (
    Integrator,
    MeanOverTime,
    finish,
    streaming,
    synapse,
)


def lif(mode):
    """Their LIF without decay of the input."""
    return neuron.LIFNode(
        tau=1 / (1 - workloads.BETA),
        decay_input=False,
        v_threshold=workloads.THRESHOLD,
        v_reset=None,
        surrogate_function=surrogate.SoftSign(alpha=2.0),
        detach_reset=True,
        step_mode=mode,
    )


def build(workload, mode):
    """Layers of the network up to the readout; `mode` `m` for all steps at once, `s` for one."""
    arrays, layers = iter(workloads.weights(workload)), []
    for stage in workload.stages:
        if stage.kind == "pool":
            layers.append(layer.AvgPool2d(2, step_mode=mode))
            continue
        if stage.kind == "flatten":
            layers.append(layer.Flatten(step_mode=mode))
            continue
        plain = synapse(stage, next(arrays))
        sizes = {"bias": False, "step_mode": mode}
        if stage.kind == "dense":
            theirs = layer.Linear(stage.inputs, stage.outputs, **sizes)
        else:
            theirs = layer.Conv2d(stage.inputs, stage.outputs, 3, padding=1, **sizes)
        theirs.load_state_dict(plain.state_dict())
        layers.append(theirs)
        if stage.neurons == "lif":
            layers.append(lif(mode))
        elif stage.neurons == "adaptive":
            # The container steps its neuron itself.
            recurrent = layer.LinearRecurrentContainer(
                lif("s"), stage.outputs, stage.outputs, **sizes
            )
            with torch.no_grad():
                recurrent.rc.weight[:, : stage.outputs].copy_(
                    torch.from_numpy(next(arrays).T.copy())
                )
            layers.append(recurrent)
    return layers


def make(workload, mode, device):
    """See the package."""
    if workload.name == "stream":
        net = nn.Sequential(*build(workload, "s"))

        def advance(frame, membrane):
            current = net(frame)
            out = current if membrane is None else workloads.BETA * membrane + current
            return out, out

        return streaming("spikingjelly", net, workload, device, advance)
    integrates = workload.stages[-1].neurons == "integrator"
    net = nn.Sequential(*build(workload, "m"), Integrator() if integrates else MeanOverTime())
    reset = lambda: functional.reset_net(net)  # noqa: E731
    return finish("spikingjelly", net, workload, device, reset=reset)
