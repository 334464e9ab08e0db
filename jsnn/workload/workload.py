"""The workload of a forward pass: the events measured in every layer beside its geometry.

A workload holds no energies: `jsnn.energy` multiplies it by the prices of a machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsnn.workload.geometry import Geometry


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stored:
    """Events of the operand of a product layer, `[B]` each.

    Attributes:
        spikes: spikes of the operand over the window (of a QNN: words that are not zero).
        active: its words that were non-zero at least once.
        coincidences: input spikes that met a spike of the operand.
    """

    spikes: jax.Array
    active: jax.Array
    coincidences: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ByStep:
    """The events of a layer step by step, for machines that choose a dataflow in every step.

    Over T they sum to those of `LayerWorkload`. The last four are read by
    `jsnn.workload.truncation.truncate` only, and None where a pass does not keep them.

    Attributes:
        events_by_fan_out: `[B, T, K]`.
        recurrent_events: `[B, T]` spikes fed back.
        stored: `[B, T]` spikes of the operand of a product.
        active: `[B, T, K]` inputs that were non-zero for the first time.
        spikes: `[B, T]` output spikes of the whole layer.
        coincidences: `[B, T]` input spikes that met a spike of the operand of a product.
        by_input: `[B, T, *input_shape]` from where they came: as much as the input itself, so only
            a pass that goes frame after frame keeps it
            (`jsnn.codesign.early_exit.answers_by_step`).
    """

    events_by_fan_out: jax.Array
    recurrent_events: jax.Array
    stored: jax.Array
    active: jax.Array | None = None
    spikes: jax.Array | None = None
    coincidences: jax.Array | None = None
    by_input: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerWorkload:
    """Events of one layer, per sample and over the whole time window.

    Every array starts with the batch axis `[B]` and depends on its own sample only. Values are
    floats so that gradients flow; on 0/1 spikes they are exact counts (float32: up to 2^24).
    Counts of a sample whose input was not what it was declared to be, or whose membranes are not
    finite, are NaN (`finite`), and so is its energy.

    Events are kept apart by the fan-out of their input: class k holds the inputs that are wired to
    `geometry.fan_outs[k]` outputs, so that any function of a fan-out can be summed exactly.

    Attributes:
        events_by_fan_out: `[B, K]` what came in. Spikes and events count by value (a residual sum
            of 2 counts twice); of real-valued inputs, words that are not zero (once for `constant`,
            every step for `analog`).
        active: `[B, K]` inputs that were non-zero at least once in the window.
        recurrent_events: `[B]` spikes fed back to all neurons (all but those of the last step).
        spikes: `[B, *output_shape]` output spikes of each neuron over the window.
        steps: time steps of the window, T.
        geometry: static facts of the layer.
        stored: of a product whose operand are spikes, what these did.
        by_step: when it came in; None where only sums are known, and a machine that chooses in
            every step then chooses once, as if all steps were alike.
        by_input: `[B, *input_shape]` from where it came, summing up to `events_by_fan_out`; None
            where that is not known. Read where weights are pruned and inputs differ in fan-out.
    """

    events_by_fan_out: jax.Array
    active: jax.Array
    recurrent_events: jax.Array
    spikes: jax.Array
    steps: int = dataclasses.field(metadata={"static": True})
    geometry: Geometry = dataclasses.field(metadata={"static": True})
    stored: Stored | None = None
    by_step: ByStep | None = None
    by_input: jax.Array | None = None

    @property
    def finite(self) -> jax.Array:
        """`[B]` whether all that was counted of a sample is finite; not so of invalid events."""
        # Without `active`, counted of the same values as `events_by_fan_out`: many machines do not
        # need it, and XLA leaves out what is not needed.
        counts = (self.events_by_fan_out, self.recurrent_events, self.spikes, self.stored)
        leaves = jax.tree.leaves(counts)
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            # NumPy has nothing to compile.
            leaves = [np.asarray(leaf) for leaf in leaves]
        with np.errstate(invalid="ignore", over="ignore"):
            total = sum(leaf.sum(tuple(range(1, leaf.ndim))) for leaf in leaves)
        return jnp.isfinite(total)

    @property
    def input_events(self) -> jax.Array:
        """`[B]` spikes, events or non-zero words that arrived."""
        return self.events_by_fan_out.sum(-1)

    @property
    def synops(self) -> jax.Array:
        """`[B]` accumulations of the forward weights: each event times its true fan-out.

        In a product, those where the operand is not zero: a sum counts whatever it is.
        """
        if self.geometry.real:
            return jnp.zeros_like(self.recurrent_events)
        return self._wired() if self.stored is None else self.stored.coincidences

    @property
    def operand_reads(self) -> jax.Array:
        """`[B]` reads of the operand of a product: each event times its fan-out."""
        reads = self.geometry.operand is not None and not self.geometry.real
        return self._wired() if reads else jnp.zeros_like(self.recurrent_events)

    @property
    def macs(self) -> jax.Array:
        """`[B]` multiply-accumulates of real-valued inputs that are not zero."""
        return self._wired() if self.geometry.real else jnp.zeros_like(self.recurrent_events)

    @property
    def recurrent_synops(self) -> jax.Array:
        """`[B]` accumulations of the recurrent weights."""
        geometry = self.geometry
        return self.recurrent_events * (geometry.recurrent_weights / geometry.neurons)

    @property
    def active_inputs(self) -> jax.Array:
        """`[B]` inputs that were non-zero at least once in the window."""
        return self.active.sum(-1)

    @property
    def active_synapses(self) -> jax.Array:
        """`[B]` connections behind those inputs: non-zero MACs of the QNN."""
        return _along(self.active, self.geometry.fan_outs)

    def _wired(self) -> jax.Array:
        return _along(self.events_by_fan_out, self.geometry.fan_outs)

    @property
    def output_events(self) -> jax.Array:
        """`[B]` output spikes of the whole layer."""
        return self.spikes.reshape(self.spikes.shape[0], -1).sum(-1)

    @property
    def text(self) -> str:
        """A line: what it is, of how many samples and steps, and how often it fires."""
        g = self.geometry
        line = (
            f"{g.name}: {g.kind}, {g.inputs} inputs ({g.input_kind}) to {g.neurons} neurons, "
            f"{len(self.events_by_fan_out)} samples, {self.steps} steps"
        )
        if not g.spiking or isinstance(self.spikes, jax.core.Tracer):
            return line
        return f"{line}, {float(np.mean(self.spike_rate)):.3g} spikes/neuron/step"

    @property
    def spike_rate(self) -> jax.Array:
        """`[B]` spikes per neuron and step."""
        return self.output_events / (self.geometry.neurons * self.steps)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Workload:
    """Layers in the order in which they ran.

    Attributes:
        layers: what each did.
        per_step: the network is read out at every step or feeds back: each of its steps is a
            decision of its own, which the QNN must make too (see `jsnn.estimate_qnn_energy`).
        unpriced: paths of parameters that no layer accounts for, listed by hand (`jsnn.run`).
        levers: names of the levers under which the network ran (`jsnn.train.levers`): they
            determine what its layers cost.
    """

    layers: tuple[LayerWorkload, ...]
    per_step: bool = dataclasses.field(default=False, metadata={"static": True})
    unpriced: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})
    levers: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        """A line for each layer: its arrays would fill pages."""
        lines = [f"Workload of {len(self)} layers{', each step a decision' * self.per_step}"]
        lines += [f"  {layer.text}" for layer in self]
        named = {"unpriced": self.unpriced, "under the levers": self.levers}
        lines += [f"  {title}: {', '.join(names)}" for title, names in named.items() if names]
        return "\n".join(lines)

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

    @property
    def source_unknown(self) -> tuple[str, ...]:
        """Names of the layers whose input is only taken to be spikes of the network's neurons."""
        return tuple(l.geometry.name for l in self.layers if l.geometry.source_unknown)

    def silenced(self) -> Workload:
        """The same network without a spike of its own, as for the spike-independent energy.

        What comes from outside stays: every `input_kind` but `spikes`, and spikes that are known to
        come into the network (`Geometry.from_outside`). A sum of both stays, too. Input of a
        later layer that comes from a function of the user's is removed (`source_unknown`); declare
        frames from outside as `events` there.
        """
        return dataclasses.replace(self, layers=tuple(_mute(layer) for layer in self.layers))


def refuse_levers(workload: Workload) -> None:
    """Raise ValueError for a network that ran under levers, which change what its layers cost."""
    if workload.levers:
        raise ValueError(
            f"the network ran under levers ({', '.join(workload.levers)}), which change what its "
            "layers cost: estimate_layers(jsnn.train.levers.price(levers, params, workload, "
            "hardware)), or Objective.estimate_energy(workload, params); latency_layers takes the "
            "same pairs"
        )


def require_events(workload: Workload) -> None:
    """Raise ValueError where what came into a layer is not what it declares; not under a trace."""
    for layer in workload:
        if not _finite(layer.events_by_fan_out, layer.active):
            raise ValueError(
                f"layer {layer.geometry.name!r}: what came in is not what it declares "
                f"(input_kind {layer.geometry.input_kind!r}, input_unit): negative spikes, "
                "fractions of an event, frames of a constant input that change, or values that are "
                "not finite. jsnn.run outside of jit, in one piece, names the first of them"
            )


def require_finite(workload: Workload) -> None:
    """Raise ValueError, naming the layer, where counts are not finite; not under a trace."""
    for layer in workload:
        require_events(dataclasses.replace(workload, layers=(layer,)))
        if not _finite(layer.spikes, layer.recurrent_events):
            raise ValueError(
                f"layer {layer.geometry.name!r}: membranes, constants or weights are not finite "
                "(NaN or inf), so its spikes mean nothing: did the network diverge? Lower the "
                "learning rate, or look at its parameters. A neuron of your own must send whole "
                "numbers of spikes (0, 1, ...), or multiples of its spike_value"
            )


def _finite(*counts: Any) -> bool:
    return all(
        isinstance(each, jax.core.Tracer) or bool(np.isfinite(np.asarray(each)).all())
        for each in counts
    )


def newly_active(before: jax.Array, after: jax.Array) -> jax.Array:
    """Inputs that are active by what arrived until now, less those that were so before.

    `min(after, 1) - min(before, 1)`: over the pieces of a window it adds up to `min(arrived, 1)`.
    """
    return jnp.minimum(after, 1) - jnp.minimum(before, 1)


def within(length: int, steps: Any) -> jax.Array:
    """`[length]` share of each step that lies within a window of `steps` steps, whole or not.

    `min(max(steps - t, 0), 1)`, t from 0: they sum to `steps`. The gradient in a whole number of
    steps is the mean of those on both sides.

    >>> within(4, 2.25)
    Array([1.  , 1.  , 0.25, 0.  ], dtype=float32)
    """
    return jnp.clip(jnp.asarray(steps, float) - jnp.arange(length), 0, 1)


def _along(by_fan_out: jax.Array, fan_outs: Any) -> jax.Array:
    # A product summed in full precision: matmuls may round counts on accelerators.
    return (by_fan_out * jnp.asarray(fan_outs, by_fan_out.dtype)).sum(-1)


def _mute(layer: LayerWorkload) -> LayerWorkload:
    gone = {
        "recurrent_events": jnp.zeros_like(layer.recurrent_events),
        "spikes": jnp.zeros_like(layer.spikes),
    }
    by_step, own = layer.by_step, layer.geometry.from_neurons
    if by_step is not None:
        silent = jax.tree.map(jnp.zeros_like, by_step)
        kept = silent if own else by_step
        came = {name: getattr(kept, name) for name in ("events_by_fan_out", "active", "by_input")}
        gone["by_step"] = dataclasses.replace(silent, **came)
    if own:
        nothing = jnp.zeros_like(layer.events_by_fan_out)
        gone |= {"events_by_fan_out": nothing, "active": nothing}
        gone["by_input"] = jax.tree.map(jnp.zeros_like, layer.by_input)
        gone["stored"] = jax.tree.map(jnp.zeros_like, layer.stored)
    return dataclasses.replace(layer, **gone)
