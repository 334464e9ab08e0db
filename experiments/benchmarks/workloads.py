"""Workloads of the benchmark, the same for every library: shapes, inputs, weights, FLOPs.

NumPy only, so that a peer's interpreter needs nothing of this project. Frames are `[T, B, ...]`,
images channels last; weights `[inputs, outputs]` or `[height, width, inputs, outputs]`.

| name | network | T | B |
|---|---|---|---|
| `shd`, `shd250` | 700-128-128-20, 2 % input spikes, leaky readout | 100, 250 | 128 |
| `shdrec` | one recurrent adaptive layer of 256, leaky readout | 100 | 128 |
| `conv` | two 3x3 convolutions of 12 and 32 on 34x34x2 (N-MNIST), dense 10 | 16 | 16 |
| `onm<n>` | one n-to-n layer, analog input (the Open Neuromorphic benchmark) | 500 | 16 |
| `vgg` | eight 3x3 convolutions of VGG-11 on a still 32x32 image, dense 10 | 6 | 8 |
| `stream` | 700-128-128-20, one frame at a time, forward only | - | 1 |
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal

import numpy as np

BETA, THRESHOLD, SLOPE = 0.95, 1.0, 25.0  # decay per step, threshold, surrogate slope
ADAPTATION_DECAY, ADAPTATION = 0.97, 0.2
LEARNING_RATE = 1e-3
DT_S = 1e-3

Kind = Literal["dense", "conv", "pool", "flatten"]
Population = Literal["lif", "adaptive", "integrator", "none"]
VGG11 = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A synapse (3x3 convolutions keep the size; pools average 2x2) and the neurons behind it.

    `adaptive` neurons feed back to their whole layer; `integrator` is a leaky readout whose mean is
    the result; the last stage's spikes (`lif`) or currents (`none`) are averaged over time.
    `gain` scales the random weights; `size` is height and width of the image that comes in.
    """

    kind: Kind
    inputs: int = 0
    outputs: int = 0
    neurons: Population = "none"
    gain: float = 1.0
    size: int = 1


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network and the size of its input; `still` shows one image at every step."""

    name: str
    steps: int
    batch: int
    frame: tuple[int, ...]
    stages: tuple[Stage, ...]
    density: float | None = None  # share of input spikes; None for analog values
    still: bool = False

    @property
    def classes(self) -> int:
        """Outputs of the last stage."""
        return self.stages[-1].outputs

    @property
    def synapses(self) -> tuple[Stage, ...]:
        """Stages with weights."""
        return tuple(stage for stage in self.stages if stage.kind in ("dense", "conv"))


def get(name: str, **sizes: int) -> Workload:
    """A workload by name, with other `steps`, `batch`, `width` or `layers` where given.

    `width` and `layers` are those of the hidden layers of `shd` and `stream`.

    Raises:
        ValueError: an unknown name, or a size that this workload does not have.

    >>> get("shd", steps=10, layers=3).steps
    10
    """
    base = "onm" if name.startswith("onm") and name[3:].isdigit() else name
    if base not in _MAKERS:
        raise ValueError(f"unknown workload {name!r}; known are {sorted(NAMES)} and onm<n>")
    changed = {key: sizes.pop(key) for key in ("steps", "batch") if key in sizes}
    if sizes and base not in ("shd", "shd250", "stream"):
        raise ValueError(f"{name} has no {sorted(sizes)} to choose; shd and stream have")
    if base == "onm":
        sizes = {"neurons": int(name[3:])}
    return dataclasses.replace(_MAKERS[base](name, **sizes), **changed)


def inputs(workload: Workload, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[T, B, ...]` float32 (`[B, ...]` if `still`) and labels `[B]`."""
    draw = np.random.default_rng(seed)
    shape = (workload.batch, *workload.frame)
    shape = shape if workload.still else (workload.steps, *shape)
    if workload.density is not None:
        frames = draw.random(shape) < workload.density
    else:
        frames = draw.random(shape) if workload.still else draw.standard_normal(shape)
    return frames.astype(np.float32), draw.integers(0, workload.classes, workload.batch)


def weights(workload: Workload, seed: int = 1) -> list[np.ndarray]:
    """Weights of each stage, in order; for `adaptive` the recurrent ones follow."""
    draw = np.random.default_rng(seed)

    def normal(shape, gain):
        deviation = gain / math.sqrt(math.prod(shape[:-1]))
        return (deviation * draw.standard_normal(shape)).astype(np.float32)

    arrays = []
    for stage in workload.synapses:
        window = (3, 3) if stage.kind == "conv" else ()
        arrays.append(normal((*window, stage.inputs, stage.outputs), stage.gain))
        if stage.neurons == "adaptive":
            arrays.append(normal((stage.outputs, stage.outputs), 0.5))
    return arrays


def flops(workload: Workload) -> dict[str, float]:
    """Dense FLOPs, 2 per multiply-add, of a forward pass and of a training step.

    Backward is one product for the weights of every synapse, and one for the inputs of all but the
    first. A still image is counted at every step, as for a library that does not exploit it.
    """
    frames = workload.steps * workload.batch
    each = []
    for stage in workload.synapses:
        area = 9 * stage.size**2 if stage.kind == "conv" else 1
        feedback = stage.outputs**2 if stage.neurons == "adaptive" else 0
        each.append((2.0 * frames * area * stage.inputs * stage.outputs, 2.0 * frames * feedback))
    forward = sum(ahead + back for ahead, back in each)
    return {"forward": forward, "step": 3 * forward - each[0][0]}


def traffic(workload: Workload) -> dict[str, float]:
    """Bytes that must move if nothing but arrays over time leaves the caches.

    Forward: every input frame is read, every membrane written. A step reads the inputs again for
    the weights' gradient and the membranes for the surrogate, and writes and reads the gradient of
    the membranes; Adam reads and writes weight, gradient and two moments.
    """
    frames = workload.steps * workload.batch
    shown = (workload.batch if workload.still else frames) * math.prod(workload.frame)
    sent = frames * sum(stage.size**2 * stage.outputs for stage in workload.synapses)
    parameters = sum(array.size for array in weights(workload))
    forward = 4.0 * (shown + sent + parameters)
    return {"forward": forward, "step": 4.0 * (2 * shown + 4 * sent + 8 * parameters)}


def _shd(name: str, width: int = 128, layers: int = 2) -> Workload:
    sizes = (700,) + (width,) * layers
    hidden = tuple(
        Stage("dense", before, after, "lif", 1.0 if depth else 2.5)
        for depth, (before, after) in enumerate(itertools.pairwise(sizes))
    )
    readout = Stage("dense", width, 20, "integrator")
    steps, batch = (1, 1) if name == "stream" else (250 if name == "shd250" else 100, 128)
    return Workload(name, steps, batch, (700,), (*hidden, readout), density=0.02)


def _shdrec(name: str) -> Workload:
    stages = (Stage("dense", 700, 256, "adaptive", 2.5), Stage("dense", 256, 20, "integrator"))
    return Workload(name, 100, 128, (700,), stages, density=0.02)


def _conv(name: str) -> Workload:
    stages = (
        Stage("conv", 2, 12, "lif", 3.0, 34),
        Stage("pool"),
        Stage("conv", 12, 32, "lif", 2.5, 17),
        Stage("pool"),
        Stage("flatten"),
        Stage("dense", 32 * 8 * 8, 10, "lif", 3.0),
    )
    return Workload(name, 16, 16, (34, 34, 2), stages, density=0.05)


def _onm(name: str, neurons: int) -> Workload:
    return Workload(name, 500, 16, (neurons,), (Stage("dense", neurons, neurons, "lif"),))


def _vgg(name: str) -> Workload:
    stages, channels, size = [], 3, 32
    for item in VGG11:
        if item == "pool":
            stages.append(Stage("pool"))
            size //= 2
        else:
            stages.append(Stage("conv", channels, item, "lif", 3.5, size))
            channels = item
    stages += [Stage("flatten"), Stage("dense", channels, 10)]
    return Workload(name, 6, 8, (32, 32, 3), tuple(stages), still=True)


_MAKERS = {
    "shd": _shd,
    "shd250": _shd,
    "shdrec": _shdrec,
    "conv": _conv,
    "onm": _onm,
    "vgg": _vgg,
    "stream": _shd,
}
NAMES = ("shd", "shd250", "shdrec", "conv", "onm512", "onm2048", "vgg", "stream")
