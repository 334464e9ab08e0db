"""Encoders from samples `[B, ...]` to frames `[T, B, ...]`: frozen, hashable, usable in `jit`.

uint8 samples of still data are pixel levels and are divided by 255; float samples are taken as they
are. Every encoder names the `input_kind` its frames are (see `jsnn.workload`).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jsnn.events import BitFrames, EventFrames, unpack_bits
from jsnn.workload import InputKind


class Encoder(Protocol):
    """Protocol of an encoder; one of your own needs nothing else."""

    @property
    def input_kind(self) -> InputKind:
        """`events`, `analog` or `constant`."""

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Turn samples `[B, ...]` into float32 frames `[T, B, ...]`."""


@dataclasses.dataclass(frozen=True)
class Direct:
    """Show the sample itself at every step as a constant current.

    Equation: `x_t = x` for t = 0 … T-1.

    Args:
        steps: time steps T.

    Raises:
        ValueError: if `steps` is below 1.

    Source: analog input of Rueckauer et al. (2017), Front. Neurosci. 11:682 (RECALLED).

    Example:
        >>> Direct(steps=3)(jax.random.key(0), jnp.array([[0.0, 0.5]]))[:, 0, 1]
        Array([0.5, 0.5, 0.5], dtype=float32)
    """

    steps: int
    input_kind: ClassVar[InputKind] = "constant"

    def __post_init__(self):
        _check_steps(self.steps)

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Samples `[B, ...]` to `[T, B, ...]`; the key is not used."""
        levels = _levels(batch)
        return jnp.broadcast_to(levels, (self.steps, *levels.shape))


@dataclasses.dataclass(frozen=True)
class Rate:
    """Independent spikes whose probability per step is the intensity.

    Equation: `x_t ~ Bernoulli(gain · x)` with `0 <= gain · x <= 1`.

    Args:
        steps: time steps T.
        gain: probability of a spike per step at intensity 1.

    Raises:
        ValueError: if `steps` is below 1 or `gain` outside (0, 1]; on call, for NumPy samples
            outside [0, 1] (inside `jit` values cannot be looked at).

    Example:
        >>> Rate(steps=4)(jax.random.key(0), jnp.array([[0.0, 1.0]]))[:, 0, 1]
        Array([1., 1., 1., 1.], dtype=float32)
    """

    steps: int
    gain: float = 1.0
    input_kind: ClassVar[InputKind] = "events"

    def __post_init__(self):
        _check_steps(self.steps)
        if not 0 < self.gain <= 1:
            raise ValueError(f"expected a gain in (0, 1], found {self.gain}")

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Samples `[B, ...]` in [0, 1] to 0/1 frames `[T, B, ...]`."""
        _check_unit(batch)
        levels = _levels(batch)
        spikes = jax.random.bernoulli(key, self.gain * levels, (self.steps, *levels.shape))
        return spikes.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Latency:
    """One spike per input at most, the earlier the stronger the input.

    Equation: with `tau=None`, `t = round((T - 1)(1 - x))` for `x >= threshold`; otherwise the
    time at which a membrane charged by x reaches the threshold, `t = floor(tau ln(x / (x -
    threshold)))`. Inputs below the threshold, or later than the window, stay silent.

    Args:
        steps: time steps T.
        tau: membrane time constant in steps, or None for linear times.
        threshold: smallest intensity that spikes, in (0, 1).

    Raises:
        ValueError: if `steps` is below 1, `tau` not positive or `threshold` outside (0, 1); on
            call, for NumPy samples outside [0, 1].

    Example:
        >>> Latency(steps=3)(jax.random.key(0), jnp.array([[1.0, 0.5, 0.0]]))[:, 0]
        Array([[1., 0., 0.],
               [0., 1., 0.],
               [0., 0., 0.]], dtype=float32)
    """

    steps: int
    tau: float | None = None
    threshold: float = 0.01
    input_kind: ClassVar[InputKind] = "events"

    def __post_init__(self):
        _check_steps(self.steps)
        if self.tau is not None and not self.tau > 0:
            raise ValueError(f"expected a positive time constant (steps), found tau={self.tau}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"expected a threshold in (0, 1), found {self.threshold}")

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Samples `[B, ...]` in [0, 1] to 0/1 frames `[T, B, ...]`; the key is not used."""
        _check_unit(batch)
        levels = _levels(batch)
        if self.tau is None:
            fires = levels >= self.threshold
            time = jnp.round((self.steps - 1) * (1 - levels))
        else:
            fires = levels > self.threshold
            reached = jnp.where(fires, levels, 1.0)
            time = jnp.floor(self.tau * jnp.log(reached / (reached - self.threshold)))
        clock = jnp.arange(self.steps, dtype=jnp.float32).reshape(-1, *(1,) * levels.ndim)
        return ((clock == time) & fires).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Delta:
    """Send-on-delta: recorded analog signals to on and off events.

    Equation: a reference r starts at the first frame; at each step `n = floor(|x - r| /
    threshold)` levels are crossed, `r += sign(x - r) · n · threshold`. On events fill the first
    half of the last axis, off events the second: `min(n, 1)`, or n itself with `counts=True`.

    Args:
        threshold: distance of two levels, in units of the signal.
        counts: emit the number of levels crossed instead of one event.

    Raises:
        ValueError: if `threshold` is not positive; on call, for samples without time steps.

    Source: Miskowicz (2006), "Send-on-delta concept", Sensors 6 (RECALLED).

    Example:
        >>> signal = jnp.array([[[0.0], [1.0], [1.4], [-0.1]]])
        >>> Delta(threshold=0.5)(jax.random.key(0), signal)[:, 0]
        Array([[0., 0.],
               [1., 0.],
               [0., 0.],
               [0., 1.]], dtype=float32)
    """

    threshold: float
    counts: bool = False
    input_kind: ClassVar[InputKind] = "events"

    def __post_init__(self):
        if not self.threshold > 0:
            raise ValueError(f"expected a positive threshold, found {self.threshold}")

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Signals `[B, T, ..., C]` to event frames `[T, B, ..., 2C]`; the key is not used."""
        signal = _time_first(batch)

        def step(reference: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
            crossed = jnp.trunc((value - reference) / self.threshold)
            sent = crossed if self.counts else jnp.sign(crossed)
            events = jnp.concatenate([jnp.maximum(sent, 0.0), jnp.maximum(-sent, 0.0)], -1)
            return reference + crossed * self.threshold, events

        return jax.lax.scan(step, signal[0], signal)[1]


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Recorded frames as they are, time axis first.

    A set may lie on the device as lists of events (`jsnn.events.pack`), which stay lists, or at
    one bit per input (`jsnn.events.pack_bits`), of which this unpacks a batch.

    Args:
        analog: True if the frames are real values rather than events.

    Raises:
        ValueError: on call, for samples without time steps.

    Example:
        >>> Recorded()(jax.random.key(0), jnp.zeros((2, 5, 3), jnp.uint8)).shape
        (5, 2, 3)
    """

    analog: bool = False

    @property
    def input_kind(self) -> InputKind:
        """`analog` for real-valued frames, else `events`."""
        return "analog" if self.analog else "events"

    def __call__(
        self, key: jax.Array, batch: jax.Array | EventFrames | BitFrames
    ) -> jax.Array | EventFrames:
        """Recordings `[B, T, ...]` to float32 frames `[T, B, ...]`; the key is not used."""
        if isinstance(batch, EventFrames):
            return batch.time_first()
        if isinstance(batch, BitFrames):
            return unpack_bits(batch.time_first())
        return _time_first(batch)


@dataclasses.dataclass(frozen=True)
class Shifted:
    """Augmentation: another encoder's frames, each sample moved by a few pixels, zeros moved in.

    Equation: `y[t, b, i, j] = x[t, b, i - di_b, j - dj_b]`, `di, dj ~ U{-pixels … pixels}`.

    Args:
        encoder: makes frames `[T, B, H, W, C]`.
        pixels: largest displacement along each axis.

    Raises:
        ValueError: if `pixels` is below 1; on call, for frames that are no images.

    Example:
        >>> frames = Shifted(Direct(steps=2), 1)(jax.random.key(0), jnp.ones((1, 3, 3, 1)))
        >>> frames.shape, float(frames[0].sum()) in (4.0, 6.0, 9.0)
        ((2, 1, 3, 3, 1), True)
    """

    encoder: Encoder
    pixels: int

    def __post_init__(self):
        if self.pixels < 1:
            raise ValueError(f"expected a displacement of at least 1 pixel, found {self.pixels}")

    @property
    def input_kind(self) -> InputKind:
        """The kind of the encoder."""
        return self.encoder.input_kind

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Samples to frames `[T, B, H, W, C]`, all steps of a sample moved alike."""
        inner, drawn = jax.random.split(key)
        frames = self.encoder(inner, batch)
        if frames.ndim != 5:
            raise ValueError(
                f"expected images [T, B, H, W, C] to shift, found frames of shape {frames.shape}"
            )
        pad = self.pixels
        edges = ((0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0))
        padded = jnp.pad(frames, edges)
        corners = jax.random.randint(drawn, (frames.shape[1], 2), 0, 2 * pad + 1)

        def cut(sample: jax.Array, corner: jax.Array) -> jax.Array:
            start = (0, corner[0], corner[1], 0)
            return jax.lax.dynamic_slice(sample, start, (len(frames), *frames.shape[2:]))

        return jax.vmap(cut, in_axes=(1, 0), out_axes=1)(padded, corners)


ENCODERS: dict[str, type] = {
    "direct": Direct,
    "rate": Rate,
    "latency": Latency,
    "delta": Delta,
    "recorded": Recorded,
}


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"expected at least one time step, found steps={steps}")


def _check_unit(batch: jax.Array | np.ndarray) -> None:
    if isinstance(batch, np.ndarray) and np.issubdtype(batch.dtype, np.floating):
        low, high = batch.min(), batch.max()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"expected intensities in [0, 1], found [{low}, {high}]; rescale them")


def _levels(batch: jax.Array) -> jax.Array:
    if batch.dtype == jnp.uint8:
        return jnp.asarray(batch, jnp.float32) / 255
    if not jnp.issubdtype(batch.dtype, jnp.floating):
        raise ValueError(
            f"expected uint8 pixels or floats, found {batch.dtype}; recorded events need Recorded"
        )
    return jnp.asarray(batch, jnp.float32)


def _time_first(batch: jax.Array) -> jax.Array:
    if batch.ndim < 3 or batch.shape[1] == 0:
        raise ValueError(
            f"expected recordings [B, T, ...] with T >= 1, found shape {batch.shape}; "
            "still data needs Direct, Rate or Latency"
        )
    return jnp.moveaxis(jnp.asarray(batch, jnp.float32), 1, 0)
