"""Recording of the frames and spikes of every layer of a network, for the audit."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jsnn.energy.audit import Conv, Dense, RecordedLayer
from jsnn.energy.audit import Product as ProductWires
from jsnn.events.event_value import sent
from jsnn.nn.layers import STATE, WORKLOAD, Spiking
from jsnn.nn.spike_products import Attention, Product


@functools.singledispatch
def wiring(synapse: nn.Module, input_shape: tuple[int, ...]) -> Dense | Conv:
    """Wiring of `synapse` for frames of `input_shape` (no time, no batch).

    Args:
        synapse: a `flax.linen` Dense or Conv, or a registered module (with `use_bias`).
        input_shape: shape of one input frame, images `[H, W, C]`.

    Raises:
        TypeError: the synapse is of an unknown kind.
        ValueError: a convolution with a mask, input dilation or padding that has no wiring.

    >>> wiring(nn.Conv(2, (3, 3), strides=2), (4, 4, 1)).padding
    ((0, 1), (0, 1))
    """
    kinds = sorted(cls.__name__ for cls in wiring.registry if cls is not object)
    raise TypeError(
        f"no wires are known for {type(synapse).__name__}; known are {kinds}. "
        "Register them with @jsnn.nn.recording.wiring.register."
    )


@wiring.register
def _dense(synapse: nn.Dense, input_shape: tuple[int, ...]) -> Dense:
    (inputs,) = input_shape
    return Dense(inputs, synapse.features)


@wiring.register
def _conv(synapse: nn.Conv, input_shape: tuple[int, ...]) -> Conv:
    kernel = synapse.kernel_size
    kernel = (kernel,) if isinstance(kernel, int) else tuple(kernel)
    axes = len(kernel)
    # Axes that flax treats as batch: a kernel of one along them gives the same wiring.
    rows = input_shape[: len(input_shape) - 1 - axes]

    def each(value: Any) -> tuple[int, ...]:
        return (value,) * axes if isinstance(value, int) else tuple(value or (1,) * axes)

    if synapse.mask is not None or set(each(synapse.input_dilation)) != {1}:
        raise ValueError("masked and input-dilated convolutions are not recorded")
    strides, dilation, padding = (
        each(synapse.strides),
        each(synapse.kernel_dilation),
        synapse.padding,
    )
    if padding in ("SAME", "VALID"):
        window = tuple((taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True))
        pairs = jax.lax.padtype_to_pads(input_shape[len(rows) : -1], window, strides, padding)
    elif isinstance(padding, str):
        raise ValueError(
            f"padding {padding!r} is not recorded; use 'SAME', 'VALID' or (low, high) pairs"
        )
    else:
        pairs = [(pad, pad) if isinstance(pad, int) else pad for pad in each(padding)]
    pairs = ((0, 0),) * len(rows) + tuple((int(low), int(high)) for low, high in pairs)
    kernel, strides, dilation = ((1,) * len(rows) + each for each in (kernel, strides, dilation))
    return Conv(kernel, strides, pairs, dilation, synapse.feature_group_count, synapse.features)


def record(
    model: nn.Module, variables: Mapping[str, Any], frames: jax.Array
) -> tuple[RecordedLayer, ...]:
    """Run `model` in evaluation mode and keep the input and spikes of every spiking layer.

    `jsnn.energy.audit.audit(record(...), hardware)` then counts, event by event, what
    `jsnn.energy.estimate_energy(jsnn.run(...)[1], hardware)` computes from totals.

    Compiled, so that a membrane within rounding of its threshold may spike differently than in an
    uncompiled run.

    Args:
        model: a linen module of `Spiking` layers, called as `model(frames, train)`.
        variables: those that `model.init` returned, or trained.
        frames: `[T, B, ...]`.

    Returns:
        One entry per layer, in execution order, named as in `jsnn.run`.

    Raises:
        ValueError: the model ran no spiking layer, or a layer received events that are not whole
            multiples of its `input_unit`.

    >>> import jax, jax.numpy as jnp, jsnn
    >>> model = jsnn.models.MLP((16,), 3)
    >>> frames = jnp.ones((5, 2, 8))
    >>> layers = record(model, model.init(jax.random.key(0), frames), frames)
    >>> [(layer.name, layer.spikes.shape) for layer in layers]
    [('hidden_0', (5, 2, 16)), ('readout', (5, 2, 3))]
    """
    clean = {name: tree for name, tree in variables.items() if name not in (WORKLOAD, STATE)}
    facts: list[tuple[str, str, Spiking]] = []

    @jax.jit
    def watch(variables, frames):
        caught = []

        def catch(call, args, kwargs, context):
            out = call(*args, **kwargs)
            if isinstance(context.module, Spiking) and context.method_name == "__call__":
                name = "/".join(context.module.path) or "layer"
                synapse = "/".join(context.module.synapse.path)
                facts = sent(args[0])
                layer, variables = context.module.unbind()
                counted, unit = facts.events, 1.0
                if facts.events is None:
                    unit, _ = facts.resolve(layer.input_unit)
                    counted = facts.magnitude if layer.input_kind == "events" else None
                layer = layer.clone(input_unit=unit)
                caught.append((name, synapse, layer, variables, args[0], counted, out))
            return out

        with nn.intercept_methods(catch):
            model.apply(variables, frames, False)
        # Names and modules are not arrays: they are collected as a side effect while jit traces.
        facts.extend(each[:3] for each in caught)
        return [_arrays(*layer_and_arrays) for _, _, *layer_and_arrays in caught]

    arrays = watch(clean, frames)
    if not facts:
        raise ValueError(
            f"{type(model).__name__} ran no spiking layer: build it from jsnn.nn.layers.Spiking"
        )
    uses, synapses = collections.Counter(), set()
    layers = []
    for (name, synapse, layer), (shown, spikes) in zip(facts, arrays, strict=True):
        uses[name] += 1
        shared = synapse in synapses
        synapses.add(synapse)
        name = f"{name}#{uses[name]}" if uses[name] > 1 else name
        keep = _recorded_products if isinstance(layer.synapse, Product) else _recorded
        records = keep(name, layer, shown, spikes)
        layers.extend(dataclasses.replace(each, shared=shared) for each in records)
    return tuple(layers)


def _arrays(
    layer: Spiking,
    variables: Mapping[str, Any],
    frames: jax.Array,
    counted: jax.Array | None,
    out: jax.Array,
) -> tuple[jax.Array, jax.Array | None]:
    """Frames (the counted events, if these are known separately) and spikes."""
    shown = frames if counted is None else counted
    if not layer.neuron.spiking:
        return shown, None
    if layer.readout is not None:
        # The readout reduced the spikes: the layer runs once more without it.
        out = layer.clone(readout=None).apply(variables, frames, False)
    return shown, out


def _recorded(
    name: str,
    layer: Spiking,
    frames: jax.Array,
    spikes: jax.Array | None,
) -> tuple[RecordedLayer]:
    wires = wiring(layer.synapse, frames.shape[2:])
    frames, unit = np.asarray(frames), layer.input_unit
    if not np.isscalar(unit):
        frames, unit = frames / np.asarray(unit), 1.0
    if spikes is None:
        spikes = np.zeros((*frames.shape[:2], *wires.output_shape(frames.shape[2:])))
    recorded = RecordedLayer(
        name=name,
        frames=frames,
        spikes=np.asarray(spikes),
        wiring=wires,
        input_kind=layer.input_kind,
        # A folded normalisation leaves a bias.
        bias=layer.synapse.use_bias or layer.norm is not None,
        spiking=layer.neuron.spiking,
        recurrent=layer.recurrent,
        input_unit=unit,
        **layer.neuron.ops._asdict(),
    )
    return (recorded,)


def _recorded_products(
    name: str,
    layer: Spiking,
    frames: jax.Array,
    spikes: jax.Array | None,
) -> tuple[RecordedLayer, RecordedLayer]:
    synapse = layer.synapse
    if not isinstance(synapse, Attention):
        raise TypeError(f"no wires are known for {type(synapse).__name__}, a product of spikes")
    queries, keys, values = np.moveaxis(np.asarray(frames), 2, 0)
    sizes = (*frames.shape[3:], synapse.heads)
    first, second = {
        "rows": (("rows", queries, keys), ("mix", values)),
        "columns": (("columns", keys, values), ("ask", queries)),
    }[synapse.first(frames.shape[2:])]
    stage, stream, operand = first
    wires = ProductWires(*sizes, stage)
    results = wires.output_shape(stream.shape[2:])
    nothing = np.zeros((*frames.shape[:2], *results))
    sums = RecordedLayer(
        f"{name}/{stage}", stream, nothing, wires, "spikes", 0, 0, 0, 0, 0,
        spiking=False, operand=operand,
    )  # fmt: skip
    stage, stream = second
    currents = RecordedLayer(
        name=f"{name}/{stage}",
        frames=stream,
        spikes=np.zeros_like(stream) if spikes is None else np.asarray(spikes),
        wiring=ProductWires(*sizes, stage),
        input_kind="spikes",
        bias=layer.norm is not None,
        spiking=layer.neuron.spiking,
        **layer.neuron.ops._asdict(),
    )
    return sums, currents
