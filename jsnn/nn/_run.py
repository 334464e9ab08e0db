"""Forward passes of a model over frames: outputs and workload."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jsnn.events import EventFrames
from jsnn.events.event_value import outside
from jsnn.nn.chunked import apply_chunked
from jsnn.nn.layers import CONSTANTS, PASSING, STATE, WORKLOAD, check_callable
from jsnn.nn.time_plan import WHOLE, Chunked, TimePlan
from jsnn.workload import LayerWorkload, Workload, require_events


class Forward(NamedTuple):
    """The results of a forward pass.

    Attributes:
        outputs: result of the readout, `[B, classes]` or `[T, B, classes]`.
        workload: events of every layer.
        updates: changed collections (`batch_stats` in training), without workload and state.
    """

    outputs: jax.Array
    workload: Workload
    updates: dict[str, Any]


def run(
    model: nn.Module,
    variables: Mapping[str, Any],
    frames: jax.Array,
    *,
    plan: TimePlan = WHOLE,
    unpriced: Sequence[str] = (),
) -> tuple[jax.Array, Workload]:
    """Run `model` in evaluation mode: outputs and the workload of every spiking layer.

    A run starts at rest: a `state` among the variables, as `jsnn.step` stores it, is ignored.

    Args:
        model: a linen module of `Spiking` layers, called as `model(frames, train)`.
        variables: those that `model.init` returned, or trained.
        frames: `[T, B, ...]`.
        plan: `jsnn.nn.time_plan.WHOLE`, or `Chunked(steps)` for memory that does not grow with T.
        unpriced: paths (`head`, or `head/kernel`) of parameters that no spiking layer accounts for
            and that stay out of the energy; everything printed then says so.

    Raises:
        ValueError: the model recorded no layer, or cannot be run in chunks; an empty batch or
            window; outside of `jit`, frames that are not what a layer declares (inside, counts are
            NaN); parameters that no layer accounts for, by name.

    >>> import jax, jax.numpy as jnp, jsnn
    >>> model = jsnn.models.MLP((16,), 3)
    >>> frames = jnp.ones((5, 2, 8))
    >>> outputs, workload = jsnn.run(model, model.init(jax.random.key(0), frames), frames)
    >>> outputs.shape, workload.names
    ((2, 3), ('hidden_0', 'readout'))
    >>> workload["hidden_0"].macs.tolist()
    [128.0, 128.0]
    """
    passed = forward(model, variables, frames, plan=plan, unpriced=unpriced)
    return passed.outputs, passed.workload


def forward(
    model: nn.Module,
    variables: Mapping[str, Any],
    frames: jax.Array,
    *,
    train: bool = False,
    rngs: Mapping[str, jax.Array] | None = None,
    plan: TimePlan = WHOLE,
    unpriced: Sequence[str] = (),
) -> Forward:
    """As `run`, with training mode (batch statistics, dropout, random initial states) and updates.

    Args:
        model: as for `run`.
        variables: as for `run`.
        frames: `[T, B, ...]`.
        train: training mode.
        rngs: keys of the streams `dropout` and `state` (random initial neuron states).
        plan: as for `run`.
        unpriced: as for `run`.
    """
    _check(model, variables, frames)
    if frames.ndim < 2 or 0 in frames.shape[:2]:
        raise ValueError(
            "expected frames [T, B, ...] of at least one step and one sample, got shape "
            f"{list(frames.shape)}"
        )
    # A record left from an earlier pass would be counted twice, and a stream's state belongs to
    # other frames.
    clean = {name: tree for name, tree in variables.items() if name not in (WORKLOAD, STATE)}
    mutable = [WORKLOAD, "batch_stats"] if train else [WORKLOAD]
    if isinstance(plan, Chunked):
        # Levers act on the outputs of the whole window (`jsnn.train.levers.Levered`).
        pieces = getattr(model, "in_pieces", model)
        outputs, record = apply_chunked(pieces, clean, frames, train, rngs, plan)
        if pieces is not model:
            outputs = model.finish(clean, outputs)
        changed = {WORKLOAD: record}
    else:
        outputs, changed = model.apply(clean, outside(frames), train, mutable=mutable, rngs=rngs)
    updates = {name: tree for name, tree in changed.items() if name not in (WORKLOAD, STATE)}
    layers = records(changed.get(WORKLOAD, {}))
    if not layers:
        raise ValueError(
            f"{type(model).__name__} recorded no spiking layer: build it from "
            "jsnn.nn.layers.Spiking"
        )
    params = variables.get("params", {})
    # Weights that are not trained may be in a separate collection.
    fixed = {n: tree for n, tree in clean.items() if n not in ("params", *PASSING)}
    levers = getattr(model, "lever_names", ())
    network = model.network_params(params) if levers else params
    left = _left_out((network, *fixed.values()), layers, tuple(unpriced))
    workload = dataclasses.replace(as_workload(layers), unpriced=left, levers=levers)
    # Layers that ran under their own trace could not report frames that are not events.
    if isinstance(plan, Chunked):
        require_events(workload)
    return Forward(outputs, workload, updates)


def _check(model: Any, variables: Any, frames: Any) -> None:
    if isinstance(model, nn.Module | type):
        check_callable(model)
    if not isinstance(variables, Mapping) or (
        variables and not {"params", CONSTANTS} & set(variables)
    ):
        given = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
        raise ValueError(
            f"expected all variables that model.init returned, {{'params': ..., {CONSTANTS!r}: "
            f"...}}, found {given}: {{**variables, 'params': params}}"
        )
    if not isinstance(frames, jax.Array | np.ndarray | EventFrames):
        raise ValueError(
            f"expected frames as an array [T, B, ...], found {type(frames).__name__}: "
            "jnp.asarray(frames)"
        )
    if frames.ndim < 3:
        raise ValueError(
            f"frames must be [T, B, ...], got shape {list(frames.shape)}: of one sample "
            "frames[:, None]"
        )


def _left_out(
    trees: Iterable[Any], layers: Sequence[LayerWorkload], listed: tuple[str, ...]
) -> tuple[str, ...]:
    """Paths of the parameters that no record accounts for, all of which must be listed."""
    missing = _unaccounted(trees, layers)
    if empty := [name for name in listed if not any(_below(path, (name,)) for path in missing)]:
        raise ValueError(
            f"unpriced parameters {empty} are none that stay out of the energy; there are "
            f"{sorted(missing) or 'none'}"
        )
    forgotten = {path: leaf for path, leaf in missing.items() if not _below(path, listed)}
    if forgotten:
        count = sum(map(np.size, forgotten.values()))
        raise ValueError(
            f"no spiking layer accounts for the {count} parameters of {', '.join(forgotten)}: what "
            "they cost is not in the energy. Put their operation into a jsnn.nn.layers.Spiking "
            "layer, or list them as unpriced: jsnn.run(..., unpriced=[...]), "
            "Objective(unpriced=(...))"
        )
    return tuple(path for path in missing if _below(path, listed))


def _unaccounted(trees: Iterable[Any], layers: Sequence[LayerWorkload]) -> dict[str, Any]:
    accounted = {path for layer in layers for path in layer.geometry.parameters}
    leaves = dict(item for tree in trees for item in _leaves_by_path(tree))
    return {path: leaf for path, leaf in leaves.items() if not _below(path, accounted)}


def _leaves_by_path(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield "/".join(str(getattr(entry, "key", entry)) for entry in path), leaf


def _below(path: str, prefixes: Iterable[str]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def as_workload(layers: Sequence[LayerWorkload]) -> Workload:
    """The workload of these layers; `per_step` if one is recurrent or read out at every step.

    >>> from jsnn.workload.analytic import dense
    >>> as_workload([dense(4, 3, steps=2, rate=0.1)]).per_step
    False
    """
    per_step = any(l.geometry.recurrent_weights or l.geometry.per_step for l in layers)
    return Workload(tuple(layers), per_step=per_step)


def records(tree: Mapping[str, Any]) -> tuple[LayerWorkload, ...]:
    """Records in a collection `workload`, in execution order; one for each use of a layer.

    The input of the first of them comes from outside the network. If several layers share a
    synapse, its weights count for the first.

    Raises:
        ValueError: a recurrent layer that shares its synapse with another layer.
    """
    layers, synapses = [], set()
    for number, layer in enumerate(_records(tree)):
        geometry = layer.geometry
        # The first of these paths is that of the synapse; a spike product has no weights.
        synapse = geometry.parameters[0] if geometry.operand is None else None
        again = synapse in synapses and not geometry.shared
        if again and geometry.feeds_back:
            raise ValueError(
                f"layer {geometry.name!r} is recurrent and shares its synapse {synapse!r} with an "
                "earlier layer; its recurrent weights are its own, which is not priced: give it a "
                "synapse of its own"
            )
        geometry = dataclasses.replace(
            geometry,
            from_outside=True if number == 0 else geometry.from_outside,
            shared=geometry.shared or again,
        )
        synapses |= {synapse} - {None}
        layers.append(dataclasses.replace(layer, geometry=geometry))
    return tuple(layers)


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
