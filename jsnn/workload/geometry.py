"""Geometry of a layer: its static facts, as far as energy, latency and area depend on them."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any, Literal

import jax.numpy as jnp

from jsnn.neurons import NeuronOps
from jsnn.workload.connectivity import Connectivity

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
        ops: state and operations of one neuron (`jsnn.neurons.NeuronOps`).
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
    ops: NeuronOps
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

    @classmethod
    def of(
        cls,
        connectivity: Connectivity,
        ops: NeuronOps,
        output_shape: tuple[int, ...],
        *,
        recurrent: bool = False,
        folded_bias: bool = False,
        **facts: Any,
    ) -> Geometry:
        """The geometry of neurons behind a synapse.

        Args:
            connectivity: of the synapse.
            ops: state and operations of a neuron.
            output_shape: shape of one output frame.
            recurrent: whether each neuron is also connected to all of them.
            folded_bias: whether a normalisation was folded into the weights, which leaves a bias
                for each channel.
            facts: the other attributes: `name`, `input_kind`, `spiking`, ….

        >>> connectivity = Connectivity.uniform("dense", 3, 2, weights=6)
        >>> neuron = NeuronOps(state_words=1, multiplies=1, adds=1, compares=1, adds_per_spike=1)
        >>> facts = {"name": "hidden", "input_kind": "spikes", "spiking": True}
        >>> Geometry.of(connectivity, neuron, (2,), recurrent=True, **facts).recurrent_weights
        4
        """
        channels = output_shape[-1]
        return cls(
            kind="recurrent" if recurrent else connectivity.kind,
            fan_outs=connectivity.fan_outs,
            inputs_by_fan_out=connectivity.inputs_by_fan_out,
            neurons=math.prod(output_shape),
            fan_in=connectivity.fan_in,
            fan_out_area=connectivity.fan_out_area,
            weights=connectivity.weights,
            biases=connectivity.biases or channels * folded_bias,
            recurrent_weights=channels**2 * recurrent,
            ops=ops,
            output_shape=tuple(output_shape),
            kernel=connectivity.kernel,
            strides=connectivity.strides,
            padding=connectivity.padding,
            dilation=connectivity.dilation,
            groups=connectivity.groups,
            **facts,
        )

    def feed_forward(self) -> Geometry:
        """The same connections as one matrix over the input and the output that is fed back."""
        if self.kind != "recurrent":
            return self
        return dataclasses.replace(
            self,
            kind="dense",
            fan_outs=(*self.fan_outs, self.neurons),
            inputs_by_fan_out=(*self.inputs_by_fan_out, self.neurons),
            weights=self.weights + self.recurrent_weights,
            recurrent_weights=0,
        )

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
        return not (self.spiking or self.ops.state_words or self.keeps_sums)

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


def _some(size: Any) -> bool:
    # Whether a learned size is zero is not known while it is traced; none ever is.
    return not isinstance(size, numbers.Integral) or size > 0
