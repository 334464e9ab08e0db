"""Spiking self-attention, a layer made of layers."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsnn.events.event_value import note, sent
from jsnn.neurons import Neuron
from jsnn.nn.layers import Spiking, batch_norm
from jsnn.nn.spike_products import Attention, Order


class SelfAttention(nn.Module):
    """Spiking self-attention: spikes of queries, keys and values, multiplied without softmax.

    `q, k, v = neuron(norm(x W))`, `s = attend(scale · (q kᵀ) v)`, `out = neuron(norm(s W))`. All
    four weights apply to each token separately. All spikes are 0/1, so that both products are
    additions.

    Attributes:
        neuron: neuron model of queries, keys, values and of the output.
        attend: neuron model of the neurons after the products.
        heads: number of heads, between which the features are split.
        scale: factor of the currents after the products.
        order: which product comes first (`jsnn.nn.spike_products.Attention`).

    Raises:
        ValueError: frames that are not `[T, B, N, D]`, D that does not split into the heads.

    Source: Zhou et al. 2022, Spikformer (2209.15425), eq. 5-8; there the neurons after the
    products have v_threshold = 0.5 and the scale is 0.125.

    >>> import jax, jax.numpy as jnp
    >>> from jsnn.neurons import LIF
    >>> layer = SelfAttention(LIF(tau_mem=2e-3), LIF(tau_mem=2e-3, v_threshold=0.5), heads=2)
    >>> tokens = jnp.ones((4, 1, 5, 8))
    >>> layer.apply(layer.init(jax.random.key(0), tokens), tokens).shape
    (4, 1, 5, 8)
    """

    neuron: Neuron
    attend: Neuron
    heads: int
    scale: float = 0.125
    order: Order = "auto"
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, N, D]`, tokens and features, to spikes of the same shape."""
        if frames.ndim != 4:
            raise ValueError(f"attention takes tokens [T, B, N, D], got {list(frames.shape)}")
        sides = [_tokenwise(frames.shape[-1], self.neuron, n)(frames, train) for n in "qkv"]
        products = Attention(self.heads, self.scale, self.order, parent=None)
        stacked = note(jnp.stack(sides, axis=2), sent(sides[0]))
        mixed = Spiking(products, self.attend, name="products")(stacked, train)
        return _tokenwise(frames.shape[-1], self.neuron, "out")(mixed, train)


class Mixer(nn.Module):
    """Two token-wise layers, wider in between: `x -> hidden -> features`.

    Attributes:
        neuron: neuron model of both layers.
        hidden: features in between.

    Source: Zhou et al. 2022, Spikformer (2209.15425), eq. 4 (its MLP).

    >>> import jax, jax.numpy as jnp
    >>> from jsnn.neurons import LIF
    >>> tokens = jnp.ones((4, 1, 5, 8))
    >>> layer = Mixer(LIF(), hidden=16)
    >>> layer.apply(layer.init(jax.random.key(0), tokens), tokens).shape
    (4, 1, 5, 8)
    """

    neuron: Neuron
    hidden: int
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, N, D]` to spikes of the same shape."""
        wide = _tokenwise(self.hidden, self.neuron, "wide")(frames, train)
        return _tokenwise(frames.shape[-1], self.neuron, "narrow")(wide, train)


def _tokenwise(features: int, neuron: Neuron, name: str) -> Spiking:
    """A layer with the same weights for every token: a convolution with a kernel of one."""
    synapse = nn.Conv(features, (1,), use_bias=False, parent=None)
    return Spiking(synapse, neuron, norm=batch_norm(), name=name)
