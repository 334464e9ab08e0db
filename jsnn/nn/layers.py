"""Layers of a network, flax.linen modules around the flax-free core.

Every layer takes and returns `[T, B, ...]`. A `Spiking` layer records its workload in the
collection `workload` when that collection is mutable (`jsnn.run` makes it so), and keeps the state
of its neurons between calls in the collection `state` when that is mutable. The collection `start`,
if mutable, receives the state before the first step. The initial constants of neurons are in the
collection `constants`, their trained leaves in `params`.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsnn._ops.pooling import pool
from jsnn.events import EventFrames
from jsnn.events.event_value import (
    NOTHING,
    SPIKES,
    Sent,
    either_outside,
    magnitude,
    note,
    real,
    reshaped,
    sent,
    summed,
)
from jsnn.nn._spiking import (
    CONSTANTS,
    PASSING,
    START,
    STATE,
    WORKLOAD,
    Spiking,
    constants_of,
    per_frame,
)

__all__ = [
    "CONSTANTS",
    "PASSING",
    "START",
    "STATE",
    "WORKLOAD",
    "Dropout",
    "Flatten",
    "Network",
    "Pool",
    "Residual",
    "Spiking",
    "batch_norm",
    "check_callable",
    "constants_of",
    "td_batch_norm",
]


class Flatten(nn.Module):
    """Images to flat frames: `[T, B, H, W, C]` to `[T, B, H W C]`."""

    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Flatten all axes after time and batch."""
        if isinstance(frames, EventFrames):
            return frames.flat()
        return reshaped(frames.reshape(*frames.shape[:2], -1), frames)


class Pool(nn.Module):
    """Pooling of spikes over space, window = stride; free in the energy (an OR gate or a wire).

    `max` of 0/1 spikes is their OR and stays binary. `average` sends 1/window^2 for each spike and
    passes this value on to the next layer, which counts each spike as one event.

    >>> import jax.numpy as jnp
    >>> Pool("max", 2).apply({}, jnp.ones((1, 1, 4, 4, 3))).shape
    (1, 1, 2, 2, 3)
    """

    kind: Literal["max", "average"]
    window: int
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, H, W, C]` to `[T, B, H / window, W / window, C]`."""

        if frames.ndim != 5:
            raise ValueError(f"Pool takes images [T, B, H, W, C], got {list(frames.shape)}")

        def pooled(values):
            return per_frame(lambda x: pool(real(x), self.kind, self.window), values)

        facts = sent(frames)
        if self.kind == "max":
            # The branch of a sum that it came from is unknown, and the result is one event.
            facts = Sent(outside=facts.outside) if facts.events is not None else facts
            return note(pooled(frames), dataclasses.replace(facts, magnitude=None))
        means = pooled(frames)
        if not facts.spikes:
            facts = dataclasses.replace(facts, magnitude=magnitude(frames))
        facts = facts.pool(1 / self.window**2).each(pooled)
        if facts.events is not None:
            facts = dataclasses.replace(facts, events=self.window**2 * facts.events)
        return note(means, facts)


class Dropout(nn.Module):
    """Dropout with one mask for the whole time window, so that a silenced input stays silent.

    Kept values are scaled by 1 / (1 - rate) in training (flax's convention), so the events that
    the workload counts by value keep their expectation.

    Attributes:
        rate: share of inputs dropped, in [0, 1).

    Raises:
        ValueError: a rate outside this range; `EventFrames` in training.
    """

    rate: float
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, ...]`; needs the rng stream `dropout` in training."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"a dropout rate lies in [0, 1), got {self.rate}")
        if not (self.rate and train):
            return frames
        if isinstance(frames, EventFrames):
            raise ValueError(
                "dropout scales what it keeps, and EventFrames have no values: leave inputs whole "
                "or give it jsnn.events.dense(events)"
            )
        dropout = nn.Dropout(self.rate, broadcast_dims=(0,))
        facts = sent(frames).drop(1 / (1 - self.rate))
        if facts.magnitude is not None:
            # A value of zero may be events that cancelled.
            factor = dropout(jnp.ones_like(real(frames[:1])), deterministic=False)
            return note(factor * frames, facts.each(lambda array: factor * array))
        kept = dropout(real(frames), deterministic=False)
        dropped = kept == 0
        return note(kept, facts.each(lambda array: jnp.where(dropped, 0, array) / (1 - self.rate)))


class Residual(nn.Module):
    """Spike-element-wise residual: `add` A + x, `and` A x, `iand` (1 - A) x, with A = block(x).

    `add` sends values up to 2 and more, which the energy counts by value.
    Source: Fang et al. 2021, SEW-ResNet (2102.04159), Table 1.
    """

    block: nn.Module
    mode: Literal["add", "and", "iand"] = "add"
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, ...]` to the same shape."""
        joins = {
            "add": lambda a, x: a + x,
            "and": lambda a, x: a * x,
            "iand": lambda a, x: (1 - a) * x,
        }
        if self.mode not in joins:
            raise ValueError(f"residual mode must be one of {sorted(joins)}, got {self.mode!r}")
        inner = self.block(frames, train)
        if inner.shape != frames.shape:
            raise ValueError(
                f"a residual block must keep the shape: {list(frames.shape)} came in, "
                f"{list(inner.shape)} came out"
            )
        joined = joins[self.mode](real(inner), real(frames))
        if self.mode == "add":
            return summed(joined, inner, frames)
        inner_facts, input_facts = sent(inner), sent(frames)
        facts = SPIKES if inner_facts.binary and input_facts.binary else NOTHING
        return note(
            joined, dataclasses.replace(facts, outside=either_outside(inner_facts, input_facts))
        )


class Network(nn.Module):
    """Layers in sequence; each is called with `(frames, train)`."""

    layers: tuple[nn.Module, ...]
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, ...]` through every layer in turn."""
        for layer in self.layers:
            check_callable(layer)
            frames = layer(frames, train)
        return frames


def check_callable(module: Any) -> None:
    """Raise ValueError unless it is a module that is called with `(frames, train)`.

    >>> check_callable(Flatten())
    """
    if isinstance(module, type) or not isinstance(module, nn.Module):
        hint = (
            f"make one, {module.__name__}()"
            if isinstance(module, type)
            else (
                "put a function into the __call__ of one, with `causal = True` on its class where "
                "step t depends on steps up to t alone"
            )
        )
        raise ValueError(f"expected a flax.linen module, found {module!r}: {hint}")
    try:
        inspect.signature(module.__call__).bind(None, False)
    except TypeError:
        raise ValueError(
            f"{type(module).__name__}.__call__ must take (frames, train=False); a module without "
            "time goes into a jsnn.nn.layers.Spiking layer as its synapse"
        ) from None


def batch_norm() -> nn.Module:
    """flax's BatchNorm; over `[T, B, ...]` its statistics run over time, batch and space.

    Its variance is E[(x - E[x])^2]: the faster E[x^2] - E[x]^2 loses precision for a large mean.
    """
    return nn.BatchNorm(momentum=0.9, use_fast_variance=False, parent=None)


def td_batch_norm(v_threshold: float = 1.0, alpha: float = 1.0) -> nn.Module:
    """Threshold-dependent batch norm: currents of variance (alpha v_threshold)^2.

    y = gamma alpha v_threshold (x - E[x]) / sqrt(Var[x] + eps) + beta, moments over [T, B, H, W].
    Source: Zheng et al. 2021 (2011.05280), eq. 5-6.

    >>> td_batch_norm(v_threshold=0.5).momentum
    0.9
    """
    scale = nn.initializers.constant(alpha * v_threshold)
    return nn.BatchNorm(momentum=0.9, scale_init=scale, use_fast_variance=False, parent=None)
