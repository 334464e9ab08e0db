"""The workload of a forward pass: static geometry of every layer and the events measured in it.

A workload holds no energies: `jsnn.energy` multiplies it by the prices of a machine.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

InputKind = Literal["spikes", "events", "analog", "constant"]
INPUT_KINDS: tuple[InputKind, ...] = ("spikes", "events", "analog", "constant")


@dataclasses.dataclass(frozen=True)
class Operand:
    """What a product layer, as attention has, multiplies its input with instead of weights.

    Attributes:
        words: words of one frame of it.
        sums: False: spikes of the same step, one bit each; the results stay in the accumulators
            in which they were summed up. True: such sums; the results are currents of neurons.
    """

    words: int
    sums: bool


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Static facts of one layer; hashable, so that it can pass through `jit` as metadata.

    A lever that prunes (`jsnn.codesign`) puts sizes that are learned in place of whole numbers:
    arrays of at least 1, for an energy inside one trace. Where weights are pruned, each input is a
    class of its own, and `fan_outs` an array of all of them.

    Attributes:
        name: path of the layer in its network.
        kind: `dense`, `conv`, `recurrent` (dense input plus dense recurrence) or `product`.
        input_kind: `spikes` of another layer, or what comes from outside: `events` (both counted by
            value), `analog` (a new real frame each step) or `constant` (one real frame shown at
            every step; its synapses are computed once).
        spiking: False for a layer whose neurons never fire (a leaky-integrator readout).
        fan_outs: fan-outs that occur among the inputs, ascending: one for a dense layer, several
            where a convolution has borders or strides. Together they are the true edges.
        inputs_by_fan_out: inputs of each of these fan-outs.
        neurons: size of one output frame.
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
        kernel, strides, padding, dilation: of a convolution, an entry for each spatial axis; empty
            for others.
        groups: groups of channels of a convolution that do not see each other.
        operand: what takes the place of weights in a product layer.
        index_bits: width of the address stored beside each weight where only weights that are not
            zero are stored; 0 where all are.
        shared: the weights are those of an earlier layer, or an earlier use of the same: stored and
            loaded there.
        from_outside: the input comes from outside of the network, although declared as `spikes`;
            None where that is not known, because a function that does not pass it on has made it.
        parameters: paths of the parameters that this layer accounts for, as prefixes.
    """

    name: str
    kind: Literal["dense", "conv", "recurrent", "product"]
    input_kind: InputKind
    spiking: bool
    fan_outs: tuple[int, ...]
    inputs_by_fan_out: tuple[int, ...]
    neurons: int
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
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    operand: Operand | None = None
    index_bits: int = 0
    shared: bool = False
    from_outside: bool | None = False
    parameters: tuple[str, ...] = ()

    @property
    def real(self) -> bool:
        """Whether the input consists of real-valued words."""
        return self.input_kind in ("analog", "constant")

    @property
    def from_neurons(self) -> bool:
        """Whether the input are spikes of the network's own neurons, or taken to be."""
        return self.input_kind == "spikes" and not self.from_outside

    @property
    def source_unknown(self) -> bool:
        """Whether the input is only taken to be spikes of the network's own neurons."""
        return self.input_kind == "spikes" and self.from_outside is None

    @property
    def writes_words(self) -> bool:
        """Whether real-valued words leave: states and sums of products stay where they are."""
        return not (self.spiking or self.state_words or self.keeps_sums)

    @property
    def keeps_sums(self) -> bool:
        """Whether the results are sums of a product of spikes."""
        return self.operand is not None and not self.operand.sums

    @property
    def operand_inputs(self) -> int:
        """Words of an operand that arrive in a frame; sums are there already."""
        return self.operand.words if self.keeps_sums else 0

    @property
    def inputs(self) -> int:
        """Size of one input frame."""
        return sum(self.inputs_by_fan_out)

    @property
    def feeds_back(self) -> bool:
        """Whether spikes return to the neurons of the layer."""
        return _some(self.recurrent_weights)

    @property
    def biased(self) -> bool:
        """Whether neurons have a bias."""
        return _some(self.biases)

    @property
    def recurrent_fan_out(self) -> Any:
        """Connections of a spike that is fed back (their mean, where some are pruned)."""
        return self.recurrent_weights / self.neurons if self.feeds_back else self.neurons

    @property
    def synapses(self) -> Any:
        """Connections of one frame, without the recurrent ones."""
        if not isinstance(self.fan_outs, tuple):
            return (jnp.asarray(self.inputs_by_fan_out) * self.fan_outs).sum()
        return sum(
            n * fan_out for n, fan_out in zip(self.inputs_by_fan_out, self.fan_outs, strict=True)
        )


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


def _some(size: Any) -> bool:
    # Whether a learned size is zero is not known while it is traced; none ever is.
    return not isinstance(size, numbers.Integral) or size > 0


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
