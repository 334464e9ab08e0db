"""A layer with fewer units or fewer weights, as the bill sees it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsnn.audit import Conv, Dense, RecordedLayer
from jsnn.hardware.architectures.parts import address_bits
from jsnn.workload import ByStep, Geometry, LayerWorkload, newly_active

__all__ = ["fan_out", "index_bits", "listed", "listed_exactly", "narrowed"]


def narrowed(
    geometry: Geometry,
    inputs: Any = None,
    outputs: Any = None,
    *,
    input_channels: int | None = None,
) -> Geometry:
    """The same layer with so many of its input channels and of its output channels.

    Args:
        geometry: of a dense, recurrent or convolutional layer with whole sizes.
        inputs: channels that are left of `input_channels`; None: all. A number or an array.
        outputs: neurons (channels of a convolution) that are left; None: all.
        input_channels: channels of the input; needed with `inputs`.

    Raises:
        ValueError: a product, or sizes that do not split into those channels (groups).

    >>> from jsnn.hypothetical import dense
    >>> less = narrowed(dense(6, 4, steps=1, rate=0.5).geometry, 3, 2, input_channels=6)
    >>> less.weights, less.reaches, less.inputs
    (6, (2,), 3)
    """
    g = geometry
    if g.operand:
        raise ValueError(
            f"layer {g.name!r} multiplies spikes with spikes: it has no units to prune"
        )
    if (inputs is None) != (input_channels is None):
        raise ValueError("expected inputs and input_channels together")
    if inputs is not None:
        counts = tuple(_split(g, n, input_channels) * inputs for n in g.inputs_by_reach)
        g = dataclasses.replace(
            g,
            inputs_by_reach=counts,
            fan_in=_split(geometry, g.fan_in, input_channels) * inputs,
            weights=_split(geometry, g.weights, input_channels) * inputs,
        )
    if outputs is not None:
        channels = geometry.output_shape[-1]
        pixels, weights = geometry.neurons // channels, geometry.weights // channels
        if inputs is not None:
            weights = _split(geometry, weights, input_channels) * inputs
        g = dataclasses.replace(
            g,
            reaches=tuple(_split(geometry, reach, channels) * outputs for reach in g.reaches),
            neurons=pixels * outputs,
            weights=weights * outputs,
            biases=outputs if geometry.biases else 0,
            recurrent_weights=outputs * outputs if geometry.recurrent_weights else 0,
            output_shape=(*geometry.output_shape[:-1], outputs),
        )
    return g


def _split(geometry: Geometry, size: int, channels: int) -> int:
    whole, left = divmod(size, channels)
    if left:
        raise ValueError(
            f"layer {geometry.name!r}: {size} does not split into {channels} channels; units can "
            "be pruned in a row of dense, recurrent and ungrouped convolutional layers only"
        )
    return whole


def index_bits(layer: LayerWorkload) -> int:
    """Width of the address of a weight in the list of its input: `log2(targets)`, at least 1.

    A target is a neuron, in a convolution a place of the kernel and an output channel; the width
    is that of the layer before any of its neurons was pruned.

    >>> from jsnn.hypothetical import dense
    >>> index_bits(dense(6, 100, steps=1, rate=0.5))
    7
    """
    return address_bits(layer.geometry.fan_out_area * layer.spikes.shape[-1])


def listed(layer: LayerWorkload, kept: Any, recurrent_kept: Any = None) -> LayerWorkload:
    """What a machine does that stores and walks only weights that are not zero.

    Every input keeps `kept / weights` of its connections, the mean of the layer: a sum over inputs
    `Σ_i arrivals_i · fan-out_i` becomes `Σ_i arrivals_i · mean fan-out`. Exact where inputs that
    fire often keep as many as others; `listed_exactly` knows each.

    Args:
        layer: what the network with its zeros did.
        kept: number of forward weights that are not zero; a number or an array.
        recurrent_kept: the same of the recurrent weights; None: all.

    >>> from jsnn.hypothetical import dense
    >>> less = listed(dense(10, 4, steps=2, rate=0.5), 10)
    >>> float(less.synops[0]), less.geometry.weights, less.geometry.index_bits
    (10.0, 10, 2)
    """
    g = layer.geometry
    share = kept / g.weights
    geometry = dataclasses.replace(
        g,
        reaches=tuple(reach * share for reach in g.reaches),
        weights=kept,
        recurrent_weights=g.recurrent_weights if recurrent_kept is None else recurrent_kept,
        index_bits=index_bits(layer),
    )
    return dataclasses.replace(layer, geometry=geometry)


def listed_exactly(
    layer: LayerWorkload,
    recorded: RecordedLayer,
    kept: np.ndarray,
    recurrent_kept: np.ndarray | None = None,
) -> LayerWorkload:
    """As `listed`, each input with the connections that it keeps.

    Spikes that are fed back count with the mean of the layer: a workload holds their sum only.

    Args:
        layer: as for `listed`.
        recorded: frames and spikes of the same run (`jsnn.recording.record`).
        kept: which forward weights are not zero, as the kernel.
        recurrent_kept: the same of the recurrent weights.

    Raises:
        ValueError: a record of another layer, or a mask of another shape.
    """
    if recorded.name != layer.geometry.name:
        raise ValueError(f"expected the record of {layer.geometry.name!r}, got {recorded.name!r}")
    reach_of = fan_out(recorded, kept).ravel()
    reaches, inverse, counts = np.unique(reach_of, return_inverse=True, return_counts=True)
    classes = np.eye(len(reaches), dtype=np.float32)[inverse]
    shown = recorded.frames[:1] if recorded.input_kind == "constant" else recorded.frames
    shown = shown.reshape(*shown.shape[:2], -1)
    came = (shown != 0) if recorded.real else np.rint(np.abs(shown) / recorded.input_unit)
    came = came.astype(np.float32)
    arrived = came.sum(0)
    by_step = None
    if layer.by_step is not None:
        each = np.moveaxis(came @ classes, 0, 1)
        each = np.pad(each, ((0, 0), (0, layer.steps - each.shape[1]), (0, 0)))
        silent = layer.by_step
        by_step = ByStep(jnp.asarray(each), silent.recurrent_events, silent.stored)
    some = int(np.sum(kept))
    geometry = dataclasses.replace(
        listed(
            layer, some, None if recurrent_kept is None else int(np.sum(recurrent_kept))
        ).geometry,
        reaches=tuple(reaches.tolist()),
        inputs_by_reach=tuple(counts.tolist()),
    )
    active = newly_active(np.zeros_like(arrived), arrived)
    return dataclasses.replace(
        layer,
        arrivals=jnp.asarray(arrived @ classes),
        active=jnp.asarray(active @ classes),
        geometry=geometry,
        by_step=by_step,
    )


def fan_out(recorded: RecordedLayer, kept: np.ndarray) -> np.ndarray:
    """`[*input_shape]` connections that each input keeps, an int array.

    The transposed convolution of ones with the mask as its kernel.

    >>> ones = np.ones((2, 1, 3))
    >>> layer = RecordedLayer("a", ones, ones[..., :2], Dense(3, 2), "spikes", 1, 0, 0, 1, 1)
    >>> fan_out(layer, np.array([[1, 0], [0, 0], [1, 1]]))
    array([1, 0, 2])
    """
    wiring, shape = recorded.wiring, recorded.input_shape
    kept = np.asarray(kept, bool)
    if not isinstance(wiring, Dense | Conv) or kept.shape != wiring.kernel_shape(shape):
        found = list(kept.shape)
        raise ValueError(
            f"{recorded.name}: expected a mask of the weights of {wiring}, got {found}"
        )
    if isinstance(wiring, Dense):
        return kept.sum(1)
    axes = "DHW"[-len(wiring.kernel) :]
    layouts = (f"N{axes}C", f"{axes}IO", f"N{axes}C")

    def convolve(image):
        return jax.lax.conv_general_dilated(
            image,
            jnp.asarray(kept, jnp.float32),
            wiring.strides,
            wiring.padding,
            rhs_dilation=wiring.dilation,
            dimension_numbers=layouts,
            feature_group_count=wiring.groups,
            precision=jax.lax.Precision.HIGHEST,
        )

    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    ones = jnp.ones(jax.eval_shape(convolve, image).shape)
    (found,) = jax.linear_transpose(convolve, image)(ones)
    return np.rint(np.asarray(found[0])).astype(int)
