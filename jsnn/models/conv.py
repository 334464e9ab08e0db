"""Convolutional network: blocks of convolution, norm, neurons and OR pool; then dense."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from jsnn._ops.precision import F32, Precision
from jsnn.models.mlp import check_widths
from jsnn.neurons import LI, LIF, Neuron
from jsnn.nn.layers import Dropout, Flatten, Pool, Spiking, td_batch_norm
from jsnn.nn.synapses import Conv
from jsnn.readouts import MeanMembrane, Readout
from jsnn.workload import InputKind


class ConvNet(nn.Module):
    """Spiking convolutions of the given channel counts, each with an OR pool, and a readout.

    Attributes:
        widths: channels of each convolution.
        classes: outputs.
        neuron: neuron model of the hidden populations.
        readout: reduction of the output population over time.
        readout_neuron: neuron model of the output population.
        input_kind: kind of the frames `[T, B, H, W, C]`.
        dropout: share of the flattened spikes dropped in training.
        kernel: height and width of every kernel.
        pool: window and stride of every pool.
        hidden: width of a dense spiking layer before the readout; 0 for none.
        precision: of the matrix products of the synapses.
        normalise: batch norm of the hidden currents; without it the synapses have biases.

    Raises:
        ValueError: no width, a width below 1, or an image too small for its pools.

    >>> import jax, jax.numpy as jnp
    >>> model, frames = ConvNet((4, 8), 10), jnp.ones((2, 1, 8, 8, 1))
    >>> sorted(model.init(jax.random.key(0), frames)["params"])
    ['conv_0', 'conv_1', 'readout']
    """

    widths: tuple[int, ...]
    classes: int
    neuron: Neuron = LIF()
    readout: Readout = MeanMembrane()
    readout_neuron: Neuron = LI()
    input_kind: InputKind = "constant"
    dropout: float = 0.0
    kernel: int = 3
    pool: int = 2
    hidden: int = 0
    precision: Precision = F32
    normalise: bool = True
    causal: ClassVar[bool] = True
    images: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, H, W, C]` to the result of the readout."""
        check_widths(self.widths)
        smallest = self.pool ** len(self.widths)
        if frames.ndim != 5 or min(frames.shape[2:4]) < smallest:
            raise ValueError(
                f"{len(self.widths)} pools of {self.pool} take images [T, B, H, W, C] of at least "
                f"{smallest} x {smallest} pixels, got shape {list(frames.shape)}"
            )
        x, kind = frames, self.input_kind
        for depth, channels in enumerate(self.widths):
            synapse = Conv(
                channels,
                (self.kernel, self.kernel),
                use_bias=not self.normalise,
                parent=None,
                **self.precision.conv,
            )
            x = Spiking(
                synapse, self.neuron, input_kind=kind, norm=self._norm(), name=f"conv_{depth}"
            )(x, train)
            x, kind = Pool("max", self.pool)(x), "spikes"
        x = Dropout(self.dropout)(Flatten()(x), train)
        if self.hidden:
            synapse = nn.Dense(
                self.hidden, use_bias=not self.normalise, parent=None, **self.precision.dense
            )
            x = Spiking(synapse, self.neuron, norm=self._norm(), name="hidden")(x, train)
        synapse = nn.Dense(self.classes, parent=None, **self.precision.dense)
        return Spiking(synapse, self.readout_neuron, readout=self.readout, name="readout")(x, train)

    def _norm(self) -> nn.Module | None:
        return td_batch_norm() if self.normalise else None
