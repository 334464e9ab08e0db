"""What a forward pass did: static geometry of every layer and the events measured in it.

A workload knows no joule. `jsnn.energy` multiplies it with the prices of a hardware.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp

InputKind = Literal["spikes", "events", "analog", "constant"]
INPUT_KINDS: tuple[InputKind, ...] = ("spikes", "events", "analog", "constant")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Static facts of one layer; hashable, so that it can ride through `jit` as metadata.

    Attributes:
        name: path of the layer in its network.
        kind: `dense`, `conv` or `recurrent` (dense input plus dense recurrence).
        input_kind: `spikes` of another layer, or what comes from outside: `events` (both counted by
            value), `analog` (a new real frame each step) or `constant` (one real frame shown at
            every step; its synapses are computed once).
        spiking: False for a layer whose neurons never fire (a leaky-integrator readout).
        inputs: size of one input frame.
        neurons: size of one output frame.
        synapses: connections of one frame, borders of a convolution counted as they are.
        fan_in: inputs of one interior neuron (kernel height x width x channels for a convolution).
        fan_out_area: kernel height x width (1 for dense layers).
        weights: stored weights.
        biases: stored biases.
        recurrent_weights: stored recurrent weights (one connection each).
        state_words: membrane and other state variables a neuron keeps between steps.
        multiplies, adds, compares: operations of one neuron in one step.
        adds_per_spike: operations of one neuron for each spike it sends (the reset).
        output_shape: shape of one output frame.
        per_step: True for a readout that decides at every step (see `Workload.per_step`).
    """

    name: str
    kind: Literal["dense", "conv", "recurrent"]
    input_kind: InputKind
    spiking: bool
    inputs: int
    neurons: int
    synapses: int
    fan_in: int
    fan_out_area: int
    weights: int
    biases: int
    recurrent_weights: int
    state_words: int
    multiplies: int
    adds: int
    compares: int
    adds_per_spike: int
    output_shape: tuple[int, ...]
    per_step: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerWorkload:
    """Events of one layer, per sample and over the whole time window.

    Every array starts with the batch axis `[B]` and depends on its own sample only. Values are
    floats so that gradients flow; on 0/1 spikes they are exact counts (float32: up to 2^24).

    Attributes:
        input_events: `[B]` events that arrived; a value of 2 (a residual sum) counts twice.
        synops: `[B]` accumulations those events caused: each event times its true fan-out.
            Zero for `analog` and `constant` inputs.
        macs: `[B]` multiply-accumulates of real-valued inputs that are not zero (once for
            `constant`, every step for `analog`). Zero for spikes and events.
        recurrent_events: `[B]` spikes fed back (all but those of the last step).
        recurrent_synops: `[B]` accumulations of the recurrent weights.
        active_inputs: `[B]` inputs that were non-zero at least once in the window.
        active_synapses: `[B]` connections behind those inputs: non-zero MACs of the twin.
        spikes: `[B, *output_shape]` output spikes of each neuron over the window.
        steps: time steps of the window, T.
        geometry: static facts of the layer.
    """

    input_events: jax.Array
    synops: jax.Array
    macs: jax.Array
    recurrent_events: jax.Array
    recurrent_synops: jax.Array
    active_inputs: jax.Array
    active_synapses: jax.Array
    spikes: jax.Array
    steps: int = dataclasses.field(metadata={"static": True})
    geometry: Geometry = dataclasses.field(metadata={"static": True})

    @property
    def output_events(self) -> jax.Array:
        """`[B]` output spikes of the whole layer."""
        return self.spikes.reshape(self.spikes.shape[0], -1).sum(-1)

    @property
    def spike_rate(self) -> jax.Array:
        """`[B]` spikes per neuron and step."""
        return self.output_events / (self.geometry.neurons * self.steps)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Workload:
    """Layers in the order in which they ran.

    `per_step` marks a network that is read out at every step or feeds back: each of its steps is
    a decision of its own, which the twin must make too (see `jsnn.twin`).
    """

    layers: tuple[LayerWorkload, ...]
    per_step: bool = dataclasses.field(default=False, metadata={"static": True})

    def __iter__(self) -> Iterator[LayerWorkload]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> LayerWorkload:
        for layer in self.layers:
            if layer.geometry.name == name:
                return layer
        raise KeyError(f"no layer {name!r}; the workload has {[l.geometry.name for l in self]}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(layer.geometry.name for layer in self.layers)

    def silenced(self) -> Workload:
        """The same network with every spike of its own removed: what the floor is the bill of.

        What comes from outside (every `input_kind` but `spikes`) stays.
        """
        return dataclasses.replace(self, layers=tuple(_mute(layer) for layer in self.layers))


def _mute(layer: LayerWorkload) -> LayerWorkload:
    zero = jnp.zeros_like(layer.synops)
    gone = {
        "recurrent_events": zero,
        "recurrent_synops": zero,
        "spikes": jnp.zeros_like(layer.spikes),
    }
    if layer.geometry.input_kind == "spikes":
        names = ("input_events", "synops", "macs", "active_inputs", "active_synapses")
        gone |= {name: zero for name in names}
    return dataclasses.replace(layer, **gone)
