"""Run a model over frames: outputs, and what happened on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jsnn.causal import causal
from jsnn.chunked import apply_chunked
from jsnn.layers import STATE, WORKLOAD
from jsnn.timeplan import WHOLE, Chunked, TimePlan
from jsnn.workload import LayerWorkload, Workload


class Forward(NamedTuple):
    """All that a forward pass yields.

    Attributes:
        outputs: what the readout returned, `[B, classes]` or `[T, B, classes]`.
        workload: events of every layer.
        updates: changed collections (`batch_stats` in training), without workload and state.
    """

    outputs: jax.Array
    workload: Workload
    updates: dict[str, Any]


def run(
    model: nn.Module, variables: Mapping[str, Any], frames: jax.Array, *, plan: TimePlan = WHOLE
) -> tuple[jax.Array, Workload]:
    """Run `model` in evaluation mode: outputs and the workload of every spiking layer.

    Args:
        model: a linen module of `Spiking` layers, called as `model(frames, train)`.
        variables: what `model.init` returned (or trained since).
        frames: `[T, B, ...]`.
        plan: `jsnn.timeplan.WHOLE`, or `Chunked(steps)` for memory that does not grow with T.

    Raises:
        ValueError: the model recorded no layer, or cannot be cut into chunks.

    >>> import jax, jax.numpy as jnp, jsnn
    >>> model = jsnn.models.MLP((16,), 3)
    >>> frames = jnp.ones((5, 2, 8))
    >>> outputs, workload = jsnn.run(model, model.init(jax.random.key(0), frames), frames)
    >>> outputs.shape, workload.names
    ((2, 3), ('hidden_0', 'readout'))
    >>> workload["hidden_0"].macs.tolist()
    [128.0, 128.0]
    """
    passed = forward(model, variables, frames, plan=plan)
    return passed.outputs, passed.workload


def forward(
    model: nn.Module,
    variables: Mapping[str, Any],
    frames: jax.Array,
    *,
    train: bool = False,
    rngs: Mapping[str, jax.Array] | None = None,
    plan: TimePlan = WHOLE,
) -> Forward:
    """`run`, with training mode (batch statistics, dropout, random initial states) and updates.

    Args:
        model: as for `run`.
        variables: as for `run`.
        frames: `[T, B, ...]`.
        train: training mode.
        rngs: keys of the streams `dropout` and `state` (random initial neuron states).
        plan: as for `run`.
    """
    # A record left over from an earlier pass would be counted a second time.
    clean = {name: tree for name, tree in variables.items() if name != WORKLOAD}
    mutable = [WORKLOAD, "batch_stats"] if train else [WORKLOAD]
    if isinstance(plan, Chunked):
        # Levers look at the outputs of the whole window (`jsnn.levers.Levered`).
        pieces = getattr(model, "in_pieces", model)
        outputs, record = apply_chunked(pieces, clean, frames, train, rngs, plan)
        if pieces is not model:
            outputs = model.finish(clean, outputs)
        changed = {WORKLOAD: record}
    else:
        outputs, changed = model.apply(clean, frames, train, mutable=mutable, rngs=rngs)
    updates = {name: tree for name, tree in changed.items() if name not in (WORKLOAD, STATE)}
    layers = records(changed.get(WORKLOAD, {}))
    if not layers:
        raise ValueError(
            f"{type(model).__name__} recorded no spiking layer: build it from jsnn.layers.Spiking"
        )
    return Forward(outputs, as_workload(layers), updates)


def step(
    model: nn.Module, variables: Mapping[str, Any], frame: jax.Array
) -> tuple[dict[str, Any], jax.Array]:
    """One frame of a stream: `(variables, [B, ...]) -> (variables with new state, outputs)`.

    The state of every population rides in `variables["state"]`; drop it to start afresh. Readouts
    see one frame at a time, so a network that classifies a stream should end in `PerStep`.
    `jsnn.stream` has the compiled form.

    Raises:
        ValueError: a layer that is not causal, or in training mode (see `jsnn.causal`).
    """
    with causal(streaming=True):
        outputs, changed = model.apply(variables, frame[None], False, mutable=[STATE])
    return {**variables, STATE: changed[STATE]}, outputs


def as_workload(layers: Sequence[LayerWorkload]) -> Workload:
    """What these layers did together; one that is fed back or read at every step decides in each.

    >>> from jsnn.hypothetical import dense
    >>> as_workload([dense(4, 3, steps=2, rate=0.1)]).per_step
    False
    """
    per_step = any(l.geometry.recurrent_weights or l.geometry.per_step for l in layers)
    return Workload(tuple(layers), per_step=per_step)


def records(tree: Mapping[str, Any]) -> tuple[LayerWorkload, ...]:
    """Of a collection `workload`, in the order in which the layers ran; one of each use."""
    return tuple(_records(tree))


def _records(tree: Mapping[str, Any]) -> Iterator[LayerWorkload]:
    for branch in tree.values():
        if isinstance(branch, Mapping):
            yield from _records(branch)
            continue
        for use, record in enumerate(branch):
            if use:
                name = f"{record.geometry.name}#{use + 1}"
                geometry = dataclasses.replace(record.geometry, name=name)
                record = dataclasses.replace(record, geometry=geometry)
            yield record
