"""Parts shared by the peers in PyTorch: synapses with given weights, step, forward, stream."""

import importlib.metadata
import os

import torch
from torch import nn

from experiments.benchmarks import workloads
from experiments.benchmarks.contestant import Contestant

torch.set_num_threads(len(os.sched_getaffinity(0)))


def synapse(stage, array):
    """`nn.Linear` or `nn.Conv2d` without bias."""
    if stage.kind == "dense":
        layer = nn.Linear(stage.inputs, stage.outputs, bias=False)
        weight = torch.from_numpy(array.T.copy())
    else:
        layer = nn.Conv2d(stage.inputs, stage.outputs, 3, padding=1, bias=False)
        weight = torch.from_numpy(array.transpose(3, 2, 0, 1).copy())
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def tensors(workload, device):
    """Frames, images channels first, and labels."""
    frames, labels = workloads.inputs(workload)
    frames = torch.from_numpy(frames)
    if workload.still:
        frames = frames.expand(workload.steps, *frames.shape)
    if frames.ndim == 5:
        frames = frames.permute(0, 1, 4, 2, 3)
    return frames.contiguous().to(device), torch.from_numpy(labels).to(device)


def finish(package, network, workload, device, reset=lambda: None, compiled=False, frames=None):
    """Cross entropy and Adam around `network(frames) -> [B, classes]`."""
    network = network.to(device)
    shown, labels = tensors(workload, device)
    shown = shown if frames is None else frames
    optimiser = torch.optim.Adam(network.parameters(), lr=workloads.LEARNING_RATE)
    run = torch.compile(network) if compiled else network

    def step():
        reset()
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(run(shown), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    def forward():
        reset()
        with torch.no_grad():
            return nn.functional.cross_entropy(run(shown), labels).item()

    return Contestant({"step": step, "forward": forward}, info(package, device))


def streaming(package, network, workload, device, advance):
    """`advance(frame, state) -> (outputs, state)` on one frame again and again."""
    network.to(device)
    frame = tensors(workload, device)[0][0]
    state = None

    def one():
        nonlocal state
        with torch.inference_mode():
            outputs, state = advance(frame, state)
            return outputs[0, 0].item()

    return Contestant({"stream": one}, info(package, device))


def info(package, device):
    """Versions and threads."""
    versions = {name: importlib.metadata.version(name) for name in (package, "torch")}
    return {"versions": versions, "threads": torch.get_num_threads(), "device": device}


class Integrator(nn.Module):
    """Mean over time of a leaky integrator, `[T, B, C]` to `[B, C]`."""

    def forward(self, currents):  # noqa: D102
        membrane, total = 0.0, 0.0
        for current in currents:
            membrane = workloads.BETA * membrane + current
            total = total + membrane
        return total / len(currents)


class MeanOverTime(nn.Module):
    """`[T, B, C]` to `[B, C]`."""

    def forward(self, spikes):  # noqa: D102
        return spikes.mean(0)
