"""Synapses: a convolution that is fast on every device, and the fan-out of each input.

The fan-out is exact, at the borders of images too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from jsnn._ops.convolution import convolve
from jsnn.workload.connectivity import REGISTER, Connectivity


class Conv(nn.Conv):
    """flax's convolution and parameters, computed by `jsnn._ops.convolution`: fast on the CPU too.

    >>> import jax, jax.numpy as jnp
    >>> image = jnp.ones((1, 4, 4, 1))
    >>> variables = nn.Conv(2, (3, 3)).init(jax.random.key(0), image)
    >>> Conv(2, (3, 3)).apply(variables, image).shape
    (1, 4, 4, 2)
    """

    conv_general_dilated: Any = convolve


def find_connectivity(synapse: nn.Module, input_shape: tuple[int, ...]) -> Connectivity:
    """`connectivity`, refused if the synapse has another `__call__` than the registered class.

    Raises:
        ValueError: a subclass that computes something other than the registered class.

    >>> class Twice(nn.Dense):
    ...     def __call__(self, frames):
    ...         return super().__call__(frames) + super().__call__(frames[..., ::-1])
    >>> find_connectivity(Twice(3), (4,))
    Traceback (most recent call last):
    ...
    ValueError: Twice has a __call__ of its own, and the connectivity registered for Dense may not \
be its own: register one that is its own (@jsnn.nn.synapses.connectivity.register)
    """
    for base in type(synapse).__mro__:
        if base in connectivity.registry:
            break
        if "__call__" in vars(base):
            inherited = next(b for b in base.__mro__ if b in connectivity.registry)
            if inherited is object:
                break
            raise ValueError(
                f"{type(synapse).__name__} has a __call__ of its own, and the connectivity "
                f"registered for {inherited.__name__} may not be its own: {REGISTER}"
            )
    return connectivity(synapse, input_shape)


@functools.singledispatch
def connectivity(synapse: nn.Module, input_shape: tuple[int, ...]) -> Connectivity:
    """Connectivity of `synapse` for frames of `input_shape` (no time, no batch).

    fan_out[i] = number of outputs that input i is connected to. Your own synapse is included in the
    energy once it is registered: `@connectivity.register` on a function of the same signature.

    Args:
        synapse: a `flax.linen` Dense or Conv, or a registered module.
        input_shape: shape of one input frame, images `[H, W, C]`.

    Raises:
        TypeError: the synapse is of an unknown kind.
        ValueError: the shape does not fit the synapse.

    Source: fan-out as the transposed convolution of ones (Sorbaro et al. 2020, Front. Neurosci.
    14:662, SynOps); here in closed form, axis by axis.

    >>> import flax.linen as nn
    >>> connectivity(nn.Conv(2, (3, 3)), (4, 4, 1)).fan_out[..., 0]
    array([[ 8, 12, 12,  8],
           [12, 18, 18, 12],
           [12, 18, 18, 12],
           [ 8, 12, 12,  8]])
    """
    kinds = sorted(cls.__name__ for cls in connectivity.registry if cls is not object)
    raise TypeError(
        f"no connectivity is known for {type(synapse).__name__}; known are {kinds}. "
        "Register one with @jsnn.nn.synapses.connectivity.register to have it priced."
    )


@connectivity.register
def _dense(synapse: nn.Dense, input_shape: tuple[int, ...]) -> Connectivity:
    if len(input_shape) != 1:
        raise ValueError(
            f"a dense synapse takes flat frames [features], got {list(input_shape)}; "
            "put jsnn.nn.layers.Flatten() before it"
        )
    (size,) = input_shape
    return Connectivity(
        kind="dense",
        fan_out=np.full((size,), synapse.features),
        fan_in=size,
        fan_out_area=1,
        weights=size * synapse.features,
        biases=synapse.features if synapse.use_bias else 0,
        output_shape=(synapse.features,),
    )


@connectivity.register
def _conv(synapse: nn.Conv, input_shape: tuple[int, ...]) -> Connectivity:
    kernel = _per_axis(synapse.kernel_size, 1)
    own = len(kernel)
    # flax folds leading axes into the batch: the kernel runs along the last axes only.
    folded = len(input_shape) - 1 - own
    if folded < 0:
        raise ValueError(
            f"a convolution with kernel {kernel} takes frames of at least {own} spatial axes and "
            f"channels, got {list(input_shape)}"
        )
    axes = folded + own
    ones = (1,) * folded
    if synapse.mask is not None or np.any(np.asarray(_per_axis(synapse.input_dilation, own)) != 1):
        raise ValueError("masked and input-dilated convolutions are not priced")
    channels, groups = input_shape[-1], synapse.feature_group_count
    strides = _per_axis(synapse.strides, own)
    dilation = _per_axis(synapse.kernel_dilation, own)
    padding = _padding(synapse.padding, input_shape[folded:-1], kernel, strides, dilation)
    kernel, strides, dilation = ones + kernel, ones + strides, ones + dilation
    padding = [(0, 0)] * folded + padding
    area, places = np.ones((1,) * axes, dtype=np.int64), []
    for axis in range(axes):
        outputs, connections = _connections(
            input_shape[axis], kernel[axis], strides[axis], dilation[axis], padding[axis]
        )
        places.append(outputs)
        area = area * connections.reshape([-1 if other == axis else 1 for other in range(axes)])
    fan_out = np.repeat(area[..., None] * (synapse.features // groups), channels, axis=-1)
    taps = math.prod(kernel)
    return Connectivity(
        kind="conv",
        fan_out=fan_out,
        fan_in=taps * channels // groups,
        fan_out_area=taps,
        weights=taps * (channels // groups) * synapse.features,
        biases=synapse.features if synapse.use_bias else 0,
        kernel=tuple(kernel),
        strides=tuple(strides),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        output_shape=(*places, synapse.features),
    )


def _connections(
    size: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int]
) -> tuple[int, np.ndarray]:
    """Outputs along one axis, and `[size]` to how many of them each position is wired."""
    low, high = padding
    outputs = (size + low + high - dilation * (kernel - 1) - 1) // stride + 1
    if outputs < 1:
        raise ValueError(
            f"a kernel of {kernel} (dilation {dilation}) does not fit an axis of {size} with "
            f"padding {padding}"
        )
    taps = (
        np.arange(outputs)[:, None] * stride + np.arange(kernel)[None, :] * dilation - low
    ).ravel()
    return outputs, np.bincount(taps[(taps >= 0) & (taps < size)], minlength=size)


def _per_axis(value: int | Sequence[int] | None, axes: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * axes
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _padding(padding, sizes, kernel, strides, dilation) -> list[tuple[int, int]]:
    if isinstance(padding, int):
        return [(padding, padding)] * len(sizes)
    if not isinstance(padding, str):
        return [(pad, pad) if isinstance(pad, int) else tuple(pad) for pad in padding]
    if padding == "VALID":
        return [(0, 0)] * len(sizes)
    if padding == "SAME":
        pads = []
        for size, taps, stride, step in zip(sizes, kernel, strides, dilation, strict=True):
            extent = (taps - 1) * step + 1
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            pads.append((total // 2, total - total // 2))
        return pads
    raise ValueError(
        f"padding {padding!r} is not priced; use 'SAME', 'VALID' or explicit (low, high) pairs"
    )
