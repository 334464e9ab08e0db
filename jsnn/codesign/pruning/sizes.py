"""A layer with fewer units or fewer weights, as the energy estimate takes it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jsnn.hardware.architectures.parts import address_bits
from jsnn.nn.event_counts import each_sample
from jsnn.workload import ByStep, Geometry, LayerWorkload, newly_active

__all__ = ["fan_out", "index_bits", "listed", "narrowed"]


def narrowed(
    geometry: Geometry,
    inputs: Any = None,
    outputs: Any = None,
    *,
    input_channels: int | None = None,
) -> Geometry:
    """The same layer with fewer input channels and output channels.

    Args:
        geometry: of a dense, recurrent or convolutional layer with whole sizes.
        inputs: number of `input_channels` that are left; None: all. A number or an array.
        outputs: number of neurons (channels of a convolution) that are left; None: all.
        input_channels: channels of the input; needed with `inputs`.

    Raises:
        ValueError: a product of spikes, or sizes that do not split into those channels (groups).

    >>> from jsnn.workload.analytic import dense
    >>> less = narrowed(dense(6, 4, steps=1, rate=0.5).geometry, 3, 2, input_channels=6)
    >>> less.weights, less.fan_outs, less.inputs
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
        counts = tuple(_split(g, n, input_channels) * inputs for n in g.inputs_by_fan_out)
        g = dataclasses.replace(
            g,
            inputs_by_fan_out=counts,
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
            fan_outs=tuple(_split(geometry, fan_out, channels) * outputs for fan_out in g.fan_outs),
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

    A target is a neuron, in a convolution a kernel position and an output channel; the width is
    that of the layer before any of its neurons was pruned.

    >>> from jsnn.workload.analytic import dense
    >>> index_bits(dense(6, 100, steps=1, rate=0.5))
    7
    """
    return address_bits(layer.geometry.fan_out_area * layer.spikes.shape[-1])


def listed(
    layer: LayerWorkload, kept: Any, recurrent_kept: Any = None, brought: Any = None
) -> LayerWorkload:
    """The workload of a layer on a machine that stores and reads only non-zero weights.

    `Σ_i arrivals_i · fan-out_i`, each input with the connections that it keeps (`fan_out`): exact,
    and differentiable in arrivals and masks. Spikes that are fed back count with the mean fan-out
    of the layer, as a workload has their sum only.

    Args:
        layer: workload of the network with its zeros. Without arrivals by input (`by_input`), every
            input counts with the mean fan-out of the layer.
        kept: which forward weights are not zero, shaped as the kernel; in a trace gates of 0 and 1
            (`jsnn.codesign.pruning.pruning.gated`), whose slopes then enter the energy's gradient.
        recurrent_kept: the same for the recurrent weights; None: all.
        brought: `[T, B, *input_shape]` events from each input in each step (one frame if the input
            is constant; `jsnn.nn.event_counts.brought`). Without it, a machine that chooses its
            dataflow in every step is taken to choose once per window, which costs no less.

    Raises:
        ValueError: a mask of another shape.

    >>> from jsnn.workload.analytic import dense
    >>> less = listed(dense(10, 4, steps=2, rate=0.5), jnp.ones((10, 4)).at[:, 1:].set(0))
    >>> float(less.synops[0]), float(less.geometry.weights), less.geometry.index_bits
    (10.0, 10.0, 2)
    """
    g, some = layer.geometry, jnp.sum(kept)
    geometry = dataclasses.replace(
        g,
        weights=some,
        recurrent_weights=(
            g.recurrent_weights if recurrent_kept is None else jnp.sum(recurrent_kept)
        ),
        index_bits=index_bits(layer),
    )
    if layer.by_input is None:
        share = some / g.weights
        fan_outs = tuple(fan_out * share for fan_out in g.fan_outs)
        return dataclasses.replace(layer, geometry=dataclasses.replace(geometry, fan_outs=fan_outs))
    each = fan_out(g, layer.by_input.shape[1:], kept).ravel()
    arrived = layer.by_input.reshape(len(layer.by_input), -1)
    by_step = None
    if brought is not None and layer.by_step is not None:
        came, steps_before = brought.reshape(*brought.shape[:2], -1), layer.by_step
        by_step = ByStep(
            each_sample(came, layer.steps), steps_before.recurrent_events, steps_before.stored
        )
    return dataclasses.replace(
        layer,
        events_by_fan_out=arrived,
        active=newly_active(jnp.zeros_like(arrived), arrived),
        geometry=dataclasses.replace(geometry, fan_outs=each, inputs_by_fan_out=(1,) * each.size),
        by_step=by_step,
    )


def fan_out(geometry: Geometry, input_shape: tuple[int, ...], kept: Any) -> jax.Array:
    """`[*input_shape]` number of connections that each input keeps.

    The transposed convolution of ones with the mask as its kernel.

    Args:
        geometry: of a dense, recurrent or convolutional layer.
        input_shape: of one frame.
        kept: which of its forward weights are kept, shaped as the kernel.

    Raises:
        ValueError: a mask of another shape.

    >>> from jsnn.workload.analytic import dense
    >>> kept = jnp.array([[1, 0], [0, 0], [1, 1]])
    >>> fan_out(dense(3, 2, steps=1, rate=0.5).geometry, (3,), kept)
    Array([1., 0., 2.], dtype=float32)
    """
    g, kept = geometry, jnp.asarray(kept, float)
    expected = (*g.kernel, input_shape[-1] // g.groups, g.output_shape[-1])
    if kept.shape != expected:
        raise ValueError(
            f"{g.name}: expected a mask of its weights {list(expected)}, got {list(kept.shape)}"
        )
    if not g.kernel:
        return kept.sum(-1)
    axes = "DHW"[-len(g.kernel) :]
    layouts = (f"N{axes}C", f"{axes}IO", f"N{axes}C")

    def convolve(image):
        return jax.lax.conv_general_dilated(
            image,
            kept,
            g.strides,
            g.padding,
            rhs_dilation=g.dilation,
            dimension_numbers=layouts,
            feature_group_count=g.groups,
            precision=jax.lax.Precision.HIGHEST,
        )

    image = jax.ShapeDtypeStruct((1, *input_shape), kept.dtype)
    ones = jnp.ones((1, *g.output_shape), kept.dtype)
    (connections,) = jax.linear_transpose(convolve, image)(ones)
    return connections[0]
