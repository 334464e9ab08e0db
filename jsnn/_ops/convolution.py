"""Convolution on the CPU by rule; on accelerators XLA's own.

    y[n, p, o] = sum_(t, c) x[n, s p + d t - low, c] w[t, c, o],   t the taps of the kernel

with strides s, dilation d and padding (low, high). XLA's CPU convolution is fast forward where the
image is at least as large as the kernel and there are enough channels. On smaller images (2x2
pixels under 3x3 taps), and in gradients inside a scan, it takes ten to a hundred times as long as
the matrix products below; with few channels, two to ten times as long as when neighbouring
pixels are treated as channels; and the gradient of a kernel over many images takes three times as
long as in pieces that stay in the caches.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jsnn._time_axis import spread

# Columns of an input gradient up to here stay in the caches; beyond, XLA's form is as fast.
_COLUMN_BYTES = 16 * 2**20

# XLA has a fast form for more channels than this, in or out; with fewer out than the second number,
# neighbours taken together would be multiplied with too many zeros.
_FEW, _VERY_FEW = 16, 4

# Number of images for which the gradient of a kernel is computed at a time.
_IMAGES = 8


@dataclasses.dataclass(frozen=True)
class _Shape:
    """Static facts of one convolution over any number of axes of space, features last."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    precision: Any


def convolve(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    **options: Any,
) -> Array:
    """`jax.lax.conv_general_dilated`, in the form that is fast where it is lowered.

    Takes the place of flax's own: `flax.linen.Conv(..., conv_general_dilated=convolve)`. On the CPU
    sums run in another order than XLA's: equal within rounding. Convolutions that are not
    `[N, ..., C]` by `[..., C / groups, O]`, dilate their input or group their batch are left to
    XLA, as are those with other options. No forward-mode derivative.

    >>> import jax.numpy as jnp
    >>> dims = ("NHWC", "HWIO", "NHWC")
    >>> image, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
    >>> convolve(image, kernel, (1, 1), "SAME", dimension_numbers=dims)[0, :, :, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    axes = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = not options and batch_group_count == 1 and set(lhs_dilation or (1,)) == {1}
    if not plain or numbers != _numbers(axes):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            **options,
        )
    strides, dilation = tuple(window_strides), tuple(rhs_dilation or (1,) * axes)
    if isinstance(padding, str):
        window = [(taps - 1) * d + 1 for taps, d in zip(rhs.shape, dilation, strict=False)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], window, strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    return _convolve(_Shape(strides, pads, dilation, feature_group_count, precision), lhs, rhs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(shape: _Shape, x: Array, w: Array) -> Array:
    if _covers(x, w):
        if not _narrow(shape, x, w):
            return _xla(shape, x, w)
        ours = functools.partial(_by_neighbours, shape)
    else:
        ours = functools.partial(_by_columns, shape)
    return lax.platform_dependent(x, w, cpu=ours, default=functools.partial(_xla, shape))


def _forward(shape: _Shape, x: Array, w: Array):
    return _convolve(shape, x, w), (x, w)


def _backward(shape: _Shape, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def xla_x(x, w, g):
        return jax.linear_transpose(lambda x: _xla(shape, x, w), x)(g)[0]

    def xla_w(x, w, g):
        return jax.linear_transpose(lambda w: _xla(shape, x, w), w)(g)[0]

    own_x = functools.partial(_input_gradient, shape)
    own_w = functools.partial(_weight_gradient, shape)
    # Two choices, so that the input gradient of a first layer, which nobody reads, is not computed.
    return (
        lax.platform_dependent(*kept, g, cpu=own_x, default=xla_x),
        lax.platform_dependent(*kept, g, cpu=own_w, default=xla_w),
    )


_convolve.defvjp(_forward, _backward)


def _covers(x: Array, w: Array) -> bool:
    """Whether the image is at least as large as the kernel, which XLA's fast form asks for."""
    return all(size >= taps for size, taps in zip(x.shape[1:-1], w.shape[:-2], strict=True))


def _xla(shape: _Shape, x: Array, w: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        w,
        shape.strides,
        shape.pads,
        rhs_dilation=shape.dilation,
        dimension_numbers=_numbers(x.ndim - 2),
        feature_group_count=shape.groups,
        precision=shape.precision,
    )


def _narrow(shape: _Shape, x: Array, w: Array) -> bool:
    """Whether neighbours along the last axis of space must be taken together to be fast."""
    few = x.shape[-1] <= _FEW and _VERY_FEW <= w.shape[-1] <= _FEW
    return few and shape.groups == 1 and shape.dilation[-1:] == (1,)


def _by_neighbours(shape: _Shape, x: Array, w: Array) -> Array:
    """Outputs that lie side by side as channels of one, from one wide kernel.

    y[n, m q + j, o] = sum_(t, c) x[n, s m q + t - low, c] w'[t, c, j, o],
    w'[t, c, j, o] = w[t - s j, c, o],   j < m, the smallest number with more than 16 outputs
    """
    together, stride = _FEW // w.shape[-1] + 1, shape.strides[-1]
    low, high = shape.pads[-1]
    width = (x.shape[-2] + low + high - w.shape[-3]) // stride + 1
    groups = -(-width // together)
    reach = (together - 1) * stride
    kernels = [
        jnp.pad(w, [(0, 0)] * (w.ndim - 3) + [(at, reach - at), (0, 0), (0, 0)])
        for at in range(0, reach + 1, stride)
    ]
    high += (groups * together - width) * stride
    wide = dataclasses.replace(
        shape,
        strides=(*shape.strides[:-1], together * stride),
        pads=(*shape.pads[:-1], (low, high)),
    )
    y = _xla(wide, x, jnp.concatenate(kernels, -1))
    return y.reshape(*y.shape[:-2], groups * together, w.shape[-1])[..., :width, :]


def _by_columns(shape: _Shape, x: Array, w: Array) -> Array:
    """One matrix product of the patches that the outputs see with the kernel."""
    seen = jnp.stack([x_t for _, x_t in _taps(shape, x, w)], axis=-3)
    kernel = w.reshape(-1, w.shape[-2], shape.groups, w.shape[-1] // shape.groups)
    y = jnp.einsum("...tgc,tcgo->...go", seen, kernel, precision=shape.precision)
    return y.reshape(*y.shape[:-2], -1)


def _weight_gradient(shape: _Shape, x: Array, w: Array, g: Array) -> Array:
    """A few images at a time where these are larger than the kernel, which is read each time."""
    pieces, rest = divmod(len(x), _IMAGES)
    # A piece of images spread over many devices would be gathered on each of them.
    if pieces < 2 or x.size + g.size < w.size or spread():
        return _weight_gradient_at_once(shape, x, w, g)

    def piece(number, total):
        x_i, g_i = (lax.dynamic_slice_in_dim(a, _IMAGES * number, _IMAGES) for a in (x, g))
        return total + _weight_gradient_at_once(shape, x_i, w, g_i)

    last = (x[-rest:], w, g[-rest:])
    total = _weight_gradient_at_once(shape, *last) if rest else jnp.zeros_like(w)
    return lax.fori_loop(0, pieces, piece, total)


def _weight_gradient_at_once(shape: _Shape, x: Array, w: Array, g: Array) -> Array:
    """Convolution of images with the incoming gradient, channels and images exchanged.

    XLA does the same outside a scan; spelled out here, it stays fast inside. With strides, dilation
    or groups: one matrix product per tap, of what it saw and the incoming gradient.
    """
    if {*shape.strides, *shape.dilation, shape.groups} == {1}:
        last = x.ndim - 1
        exchanged = _xla(shape, jnp.swapaxes(x, 0, last), jnp.moveaxis(g, 0, last - 1))
        return jnp.moveaxis(exchanged, 0, last - 1)
    g = _grouped(g, shape.groups)
    each = [
        jnp.einsum("...gc,...go->cgo", x_t, g, precision=shape.precision)
        for _, x_t in _taps(shape, x, w)
    ]
    return jnp.stack(each).reshape(w.shape)


def _input_gradient(shape: _Shape, x: Array, w: Array, g: Array) -> Array:
    """As the convolution of `g` with the kernel reversed, or tap by tap through columns."""
    columns = g[..., 0].size * math.prod(w.shape[:-2]) * x.shape[-1] * x.dtype.itemsize
    if set(shape.strides) == {1} and _covers(g, w) and columns > _COLUMN_BYTES:
        return _xla(_turned_shape(shape, w), g, _turned(w, shape.groups))
    kernel = w.reshape(-1, w.shape[-2], shape.groups, w.shape[-1] // shape.groups)
    back = jnp.einsum(
        "...go,tcgo->...tgc", _grouped(g, shape.groups), kernel, precision=shape.precision
    )
    back = back.reshape(*back.shape[:-2], -1)
    total = None
    for number, (start, _) in enumerate(_taps(shape, x, w)):
        here = back[..., number, :]
        # The positions that the tap read in the padded image, with zeros between its strides.
        space = [
            (begin - low, size + low - begin - stride * (count - 1) - 1, stride - 1)
            for begin, (low, _), size, count, stride in zip(
                start, shape.pads, x.shape[1:-1], here.shape[1:-1], shape.strides, strict=True
            )
        ]
        placed = lax.pad(here, jnp.zeros((), here.dtype), [(0, 0, 0), *space, (0, 0, 0)])
        total = placed if total is None else total + placed
    return total


def _taps(shape: _Shape, x: Array, w: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Start of each tap in the padded image, and what it sees, `[N, ..., groups, C / groups]`."""
    padded = jnp.pad(x, ((0, 0), *shape.pads, (0, 0)))
    kernel, axes = w.shape[:-2], range(x.ndim - 2)
    outputs = [
        (padded.shape[1 + a] - (kernel[a] - 1) * shape.dilation[a] - 1) // shape.strides[a] + 1
        for a in axes
    ]
    for tap in itertools.product(*map(range, kernel)):
        start = tuple(tap[a] * shape.dilation[a] for a in axes)
        stop = [start[a] + shape.strides[a] * (outputs[a] - 1) + 1 for a in axes]
        cut = lax.slice(
            padded,
            (0, *start, 0),
            (padded.shape[0], *stop, padded.shape[-1]),
            (1, *shape.strides, 1),
        )
        yield start, _grouped(cut, shape.groups)


def _grouped(values: Array, groups: int) -> Array:
    return values.reshape(*values.shape[:-1], groups, values.shape[-1] // groups)


def _turned(w: Array, groups: int) -> Array:
    """Kernel of the transposed convolution: taps reversed, inputs and outputs exchanged."""
    space = tuple(range(w.ndim - 2))
    by_group = jnp.flip(_grouped(w, groups), space)
    return jnp.swapaxes(by_group, -1, -3).reshape(*w.shape[:-2], w.shape[-1] // groups, -1)


def _turned_shape(shape: _Shape, w: Array) -> _Shape:
    reach = [(taps - 1) * d for taps, d in zip(w.shape[:-2], shape.dilation, strict=True)]
    pads = tuple((r - low, r - high) for r, (low, high) in zip(reach, shape.pads, strict=True))
    return dataclasses.replace(shape, pads=pads)


def _numbers(axes: int) -> lax.ConvDimensionNumbers:
    """Features last, as flax has them."""
    images = (0, axes + 1, *range(1, axes + 1))
    return lax.ConvDimensionNumbers(images, (axes + 1, axes, *range(axes)), images)
