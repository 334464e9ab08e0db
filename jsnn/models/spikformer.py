"""Spikformer: a convolutional stem, blocks of spiking self-attention, a readout."""

from __future__ import annotations

import math
from typing import ClassVar

import flax.linen as nn
import jax

from jsnn.events.event_value import note, sent
from jsnn.models.mlp import check_widths
from jsnn.neurons import LI, LIF, Neuron
from jsnn.nn.attention import Mixer, SelfAttention
from jsnn.nn.layers import Pool, Residual, Spiking, batch_norm
from jsnn.nn.synapses import Conv
from jsnn.readouts import MeanMembrane, Readout
from jsnn.workload import InputKind

# Channels of the stem as shares of the features, and whether a pool follows.
_STEM = ((8, False), (4, False), (2, True), (1, True))
_CELLS = 4


class Spikformer(nn.Module):
    """Images to tokens of 4 x 4 pixels, blocks `x + attention(x)`, `x + mixer(x)`, readout.

    The stem has four convolutions of D/8, D/4, D/2 and D channels, the last two with an OR pool,
    and a fifth whose output is added to its input (the position embedding). Residual sums are
    events with values; their mean over the tokens goes to the readout.

    Attributes:
        widths: features D of each block, the same in all.
        classes: outputs.
        neuron: neuron model of all populations but those after the spike products.
        attend: neuron model of those.
        readout: reduction of the output population over time.
        readout_neuron: neuron model of the output population.
        input_kind: kind of the frames `[T, B, H, W, C]`.
        heads: heads of every attention.
        mlp_ratio: width of a mixer relative to D.

    Raises:
        ValueError: no block, blocks of different widths, D that is no multiple of 8 and of the
            heads, images whose sides are no multiples of 4 pixels.

    Source: Zhou et al. 2022, Spikformer (2209.15425), fig. 2 and section 3.

    >>> import jax, jax.numpy as jnp
    >>> model, frames = Spikformer((16,), 10, heads=2), jnp.ones((2, 1, 8, 8, 3))
    >>> sorted(jax.eval_shape(model.init, jax.random.key(0), frames)["params"])
    ['block_0', 'position', 'readout', 'stem_0', 'stem_1', 'stem_2', 'stem_3']
    """

    widths: tuple[int, ...]
    classes: int
    neuron: Neuron = LIF(tau_mem=2e-3, reset="zero", detach_reset=True, scale_input=True)
    attend: Neuron = LIF(
        tau_mem=2e-3, v_threshold=0.5, reset="zero", detach_reset=True, scale_input=True
    )
    readout: Readout = MeanMembrane()
    readout_neuron: Neuron = LI()
    input_kind: InputKind = "constant"
    heads: int = 4
    mlp_ratio: int = 4
    causal: ClassVar[bool] = True
    images: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, H, W, C]` to the result of the readout."""
        features = self._features(frames)
        x, kind = frames, self.input_kind
        for depth, (share, pooled) in enumerate(_STEM):
            x = self._conv(features // share, kind, f"stem_{depth}")(x, train)
            x, kind = Pool("max", 2)(x) if pooled else x, "spikes"
        x = Residual(self._conv(features, "spikes", "position"))(x, train)
        tokens = math.prod(x.shape[2:4])
        x = note(x.reshape(*x.shape[:2], tokens, features), sent(x))
        for depth in range(len(self.widths)):
            x = Block(
                self.neuron, self.attend, self.heads, self.mlp_ratio * features,
                name=f"block_{depth}",
            )(x, train)  # fmt: skip
        return Spiking(
            nn.Dense(self.classes, parent=None),
            self.readout_neuron,
            readout=self.readout,
            name="readout",
        )(note(x.mean(2), sent(x).pool(1 / tokens)), train)

    def _conv(self, channels, kind, name):
        synapse = Conv(channels, (3, 3), use_bias=False, parent=None)
        return Spiking(synapse, self.neuron, input_kind=kind, norm=batch_norm(), name=name)

    def _features(self, frames) -> int:
        check_widths(self.widths)
        if len(set(self.widths)) > 1 or self.widths[0] % 8 or self.widths[0] % self.heads:
            raise ValueError(
                "blocks share one width, a multiple of 8 and of the number of heads "
                f"({self.heads}), got widths {self.widths}"
            )
        if frames.ndim != 5 or frames.shape[2] % _CELLS or frames.shape[3] % _CELLS:
            raise ValueError(
                f"images are [T, B, H, W, C] with H and W multiples of {_CELLS}, got shape "
                f"{list(frames.shape)}"
            )
        return self.widths[0]


class Block(nn.Module):
    """`x + attention(x)`, then `x + mixer(x)`; the sums are events with values.

    Attributes:
        neuron, attend, heads: see `jsnn.nn.attention.SelfAttention`.
        hidden: width of the mixer.
    """

    neuron: Neuron
    attend: Neuron
    heads: int
    hidden: int
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """`[T, B, N, D]` to the same shape."""
        attention = SelfAttention(self.neuron, self.attend, self.heads, name="attention")
        frames = Residual(attention)(frames, train)
        return Residual(Mixer(self.neuron, self.hidden, name="mixer"))(frames, train)
