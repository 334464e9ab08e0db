"""Sparse frames: for each frame the numbers of the inputs that are not zero, padded to one length.

An input that comes k times in a frame is listed k times. No values are stored beside the
numbers: reading a frame only adds up rows of weights, one per event.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Lists are as long as the fullest frame, rounded up to this: sets of similar activity compile once.
_LENGTHS = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class EventFrames:
    """Frames `[T, B, *inputs]` (or recordings `[N, T, *inputs]`) as lists of events.

    Equation: `frame[i] = #{e : indices[e] = i}`.

    Attributes:
        indices: `[..., E]` int32, row-major numbers of the inputs that send; an input that sends
            twice stands twice. Any number outside `[0, n)`, as the padding n, is no event.
        inputs: shape of one dense frame, of n values in all.

    Indexing and `len` are those of the leading axes. `numpy.asarray` builds the dense array; jax
    functions refuse, so that no dense array is built unnoticed: use `dense`.

    >>> events = EventFrames(np.array([[[2, 0, 3], [1, 1, 3]]], np.int32), inputs=(3,))
    >>> events.shape
    (1, 2, 3)
    >>> np.asarray(events)[0]
    array([[1., 0., 1.],
           [0., 2., 0.]], dtype=float32)
    """

    indices: jax.Array | np.ndarray
    inputs: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense frames."""
        return (*self.indices.shape[:-1], *self.inputs)

    @property
    def ndim(self) -> int:
        """Axes of the dense frames."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """Type of the dense frames."""
        return jnp.dtype(jnp.float32)

    @property
    def size(self) -> int:
        """n, inputs of one frame."""
        return math.prod(self.inputs)

    @property
    def places(self) -> int:
        """E, events that one frame has room for."""
        return self.indices.shape[-1]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> EventFrames:
        return dataclasses.replace(self, indices=self.indices[index])

    def flat(self) -> EventFrames:
        """The same events on frames of one axis, `[..., n]`; images are listed row by row."""
        return dataclasses.replace(self, inputs=(self.size,))

    def time_first(self) -> EventFrames:
        """Recordings `[B, T, ...]` as frames `[T, B, ...]`."""
        return dataclasses.replace(self, indices=jnp.moveaxis(self.indices, 1, 0))

    def numbered(self) -> jax.Array:
        """`[..., E]` the indices, n wherever there is no event."""
        outside = (self.indices < 0) | (self.indices > self.size)
        return jnp.where(outside, self.size, self.indices)

    def each_step(self) -> jax.Array:
        """`[T, B]` events of each frame."""
        return (self.numbered() < self.size).sum(-1).astype(self.dtype)

    def each_input(self) -> jax.Array:
        """`[B, *inputs]` events of each input over time, from frames `[T, B, ...]`."""
        batch, width = self.indices.shape[1], self.size + 1
        # One axis to index, a third of the time of three; the padding's column is dropped again.
        places = self.numbered() + width * jnp.arange(batch)[:, None]
        counts = jnp.zeros(batch * width, self.dtype).at[places].add(1, mode="promise_in_bounds")
        return counts.reshape(batch, width)[:, :-1].reshape(batch, *self.inputs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        indices = np.asarray(self.indices)
        came = (indices >= 0) & (indices < self.size)
        frames = np.zeros((*indices.shape[:-1], self.size), dtype or self.dtype)
        np.add.at(frames, (*np.nonzero(came)[:-1], indices[came]), 1)
        return frames.reshape(self.shape)

    def __jax_array__(self):
        raise ValueError(
            "events go into the first layer, a Spiking layer with an nn.Dense synapse, as they "
            "are; jsnn.events.dense(events) makes the dense frames that everything else takes"
        )


def pack(frames: np.ndarray, places: int | None = None) -> EventFrames:
    """List the events of dense frames; NumPy, for loaders.

    Args:
        frames: `[T, B, ...]` or `[N, T, ...]`, how often each input sent.
        places: E, events a frame has room for; if None as many as the fullest frame has, rounded up
            to a multiple of 8.

    Raises:
        ValueError: frames without `[T, B, features]`, values that are negative or not whole, a
            frame of more events than there are places.

    >>> events = pack(np.array([[[0, 1, 0, 0], [2, 0, 0, 1]]]), places=3)
    >>> events.indices.tolist(), events.inputs
    ([[[1, 4, 4], [0, 0, 3]]], (4,))
    """
    frames = np.asarray(frames)
    if frames.ndim < 3:
        raise ValueError(f"expected frames [T, B, ...], found shape {frames.shape}")
    lead, inputs = frames.shape[:2], frames.shape[2:]
    flat = frames.reshape(math.prod(lead), math.prod(inputs))
    rows, numbers = np.nonzero(flat)
    values = flat[rows, numbers]
    times = values.astype(np.int64)
    wrong = ~(times == values) | (times < 0)
    if wrong.any():
        raise ValueError(
            f"expected whole numbers of events, found {values[wrong][0]}; signed or real values "
            "need dense frames"
        )
    rows, numbers = np.repeat(rows, times), np.repeat(numbers, times)
    counts = np.bincount(rows, minlength=len(flat))
    fullest = int(counts.max(initial=0))
    if places is None:
        places = max(-(-fullest // _LENGTHS), 1) * _LENGTHS
    if fullest > places:
        where = tuple(int(axis) for axis in np.unravel_index(counts.argmax(), lead))
        raise ValueError(
            f"frame {where} has {fullest} events, more than the {places} places of a frame; "
            f"give it {fullest} or leave `places` away"
        )
    indices = np.full((len(flat), places), flat.shape[1], np.int32)
    started = np.cumsum(counts) - counts
    indices[rows, np.arange(len(rows)) - started[rows]] = numbers
    return EventFrames(indices.reshape(*lead, places), inputs)


def dense(events: EventFrames) -> jax.Array:
    """The dense float32 frames, `[..., *inputs]`.

    >>> dense(pack(np.array([[[0, 2, 0]]]))).tolist()
    [[[0.0, 2.0, 0.0]]]
    """
    lead = events.indices.shape[:-1]
    numbers = events.numbered().reshape(math.prod(lead), events.places)
    frames = jnp.zeros((len(numbers), events.size + 1), events.dtype)
    rows = jnp.arange(len(numbers))[:, None]
    frames = frames.at[rows, numbers].add(1, mode="promise_in_bounds")
    return frames[:, :-1].reshape(events.shape)
