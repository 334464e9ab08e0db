"""0/1 frames at one bit per input: a 32nd of the memory of float32, unpacked batch by batch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class BitFrames:
    """0/1 frames `[T, B, *inputs]` or recordings `[N, T, *inputs]`, eight inputs to a byte.

    Equation: `frame[i] = (bits[i div 8] >> (i mod 8)) & 1`.

    Attributes:
        bits: `[..., ceil(n / 8)]` uint8, the inputs row by row, the lowest bit first.
        inputs: shape of one frame, of n values in all.

    Indexing and `len` are those of the leading axes.

    >>> pack_bits(np.ones((4, 5, 9), np.uint8))[:2].bits.shape
    (2, 5, 2)
    """

    bits: jax.Array | np.ndarray
    inputs: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frames."""
        return (*self.bits.shape[:-1], *self.inputs)

    @property
    def ndim(self) -> int:
        """Axes of the frames."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, index: Any) -> BitFrames:
        return dataclasses.replace(self, bits=self.bits[index])

    def time_first(self) -> BitFrames:
        """Recordings `[B, T, ...]` as frames `[T, B, ...]`."""
        return dataclasses.replace(self, bits=jnp.moveaxis(self.bits, 1, 0))

    def __jax_array__(self):
        raise ValueError("packed bits are no frames; jsnn.events.unpack_bits(bits) makes them")


def pack_bits(frames: np.ndarray) -> BitFrames:
    """Pack 0/1 frames `[T, B, ...]` or `[N, T, ...]`; NumPy, for loaders.

    Raises:
        ValueError: frames without `[T, B, features]`, values other than 0 and 1.

    >>> pack_bits(np.array([[[1, 0, 1]]])).bits.tolist()
    [[[5]]]
    """
    frames = np.asarray(frames)
    if frames.ndim < 3:
        raise ValueError(f"expected frames [T, B, ...], found shape {frames.shape}")
    ones = frames == 1
    if not (ones | (frames == 0)).all():
        raise ValueError(
            f"expected 0 and 1 only, found {frames[~(ones | (frames == 0))][0]}; counts and real "
            "values do not fit a bit"
        )
    flat = ones.reshape(*frames.shape[:2], -1)
    return BitFrames(np.packbits(flat, axis=-1, bitorder="little"), frames.shape[2:])


def unpack_bits(packed: BitFrames) -> jax.Array:
    """The float32 frames `[..., *inputs]`; inside `jit`, after a batch was picked.

    >>> unpack_bits(pack_bits(np.array([[[1, 0, 1]]]))).tolist()
    [[[1.0, 0.0, 1.0]]]
    """
    each = (jnp.asarray(packed.bits)[..., None] >> jnp.arange(8, dtype=jnp.uint8)) & 1
    flat = each.reshape(*packed.bits.shape[:-1], -1)[..., : math.prod(packed.inputs)]
    return flat.reshape(packed.shape).astype(jnp.float32)
