"""Chunked forward pass: all layers over one chunk of time, then the next; memory is flat in T."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsnn.events.event_value import outside
from jsnn.nn.causal import causal
from jsnn.nn.layers import START, STATE, WORKLOAD
from jsnn.nn.time_plan import Chunked
from jsnn.workload import ByStep, LayerWorkload


def apply_chunked(
    model: nn.Module,
    variables: Mapping[str, Any],
    frames: jax.Array,
    train: bool,
    rngs: Mapping[str, jax.Array] | None,
    plan: Chunked,
) -> tuple[Any, Mapping[str, Any]]:
    """`model.apply` in chunks: outputs, and the collection `workload` of the whole window.

    state_(k+1), out_k, work_k = model(state_k, frames[k·steps : (k+1)·steps]), work = Σ_k work_k

    The state holds that of neurons and readouts, the current of a constant input, and which inputs
    were active. Random streams give every chunk the same numbers: one dropout mask per window. An
    output whose first axis is as long as its chunk has a row for every step, and rows are joined;
    of other outputs the last is returned.

    Args:
        model: of causal layers (`jsnn.nn.causal.causal`).
        variables: of the model; a collection `state` in it is continued.
        frames: `[T, B, ...]`.
        train: training mode.
        rngs: keys of random streams.
        plan: the length of a chunk.

    Raises:
        ValueError: a module that cannot be fed in pieces (see `jsnn.nn.causal`).
    """
    total, steps = frames.shape[0], min(plan.steps, frames.shape[0])
    chunks, rest = divmod(total, steps)

    def piece(given, cut, *mutable):
        with causal(total):
            shown = outside(cut)
            return model.apply({**variables, **given}, shown, train, mutable=mutable, rngs=rngs)

    # Only the initial states of this call are used; under jit the rest is never computed. Its
    # length differs from that of a chunk, to recognise outputs of every step.
    probe = 2 if steps == 1 else 1
    probed, begun = piece({}, frames[:probe], START, WORKLOAD)
    first = begun.get(START, {}), jax.tree.map(jnp.zeros_like, _sums(begun))

    def advance(carry, cut):
        state, sums = carry
        out, changed = piece({STATE: state}, cut, STATE, WORKLOAD)
        sums = jax.tree.map(jnp.add, sums, _sums(changed))
        return (changed[STATE], sums), (out, _by_step(changed))

    def chunk(carry, number):
        # Leaf by leaf: frames may be lists of events.
        cut = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number * steps, steps), frames
        )
        return advance(carry, cut)

    again = jax.checkpoint(chunk, prevent_cse=False)
    carry, stacked = jax.lax.scan(again, first, jnp.arange(chunks))
    pieces = [stacked]
    if rest:
        carry, last = jax.checkpoint(advance, prevent_cse=False)(carry, frames[total - rest :])
        pieces.append(jax.tree.map(lambda leaf: leaf[None], last))
    outputs, steps_apart = zip(*pieces, strict=True)
    by_step = jax.tree.map(_join_steps, *steps_apart)
    return jax.tree.map(_join, probed, *outputs), _rebuilt(begun, carry[1], by_step, total)


def _records(changed: Mapping[str, Any]) -> list[LayerWorkload]:
    return jax.tree.leaves(changed.get(WORKLOAD, {}), is_leaf=_is_record)


def _is_record(node: Any) -> bool:
    return isinstance(node, LayerWorkload)


def _sums(changed: Mapping[str, Any]) -> list[LayerWorkload]:
    """Records with the counts that are summed over chunks."""
    return [dataclasses.replace(record, by_step=None, steps=0) for record in _records(changed)]


def _by_step(changed: Mapping[str, Any]) -> list[ByStep | None]:
    """Counts by step, which are joined over chunks."""
    return [record.by_step for record in _records(changed)]


def _rebuilt(
    begun: Mapping[str, Any], sums: list[LayerWorkload], by_step: list[ByStep | None], steps: int
) -> Mapping[str, Any]:
    """The records of a probe with the counts and length of the window, in execution order."""
    tree = begun.get(WORKLOAD, {})
    records = [
        dataclasses.replace(record, by_step=each, steps=steps)
        for record, each in zip(sums, by_step, strict=True)
    ]
    # Unflattening sorts the names of layers.
    return _like(tree, jax.tree.unflatten(jax.tree.structure(tree, is_leaf=_is_record), records))


def _like(tree: Any, values: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _like(branch, values[name]) for name, branch in tree.items()}
    return values


def _join_steps(*pieces: jax.Array) -> jax.Array:
    """Join `[chunks, B, steps, ...]` to `[B, T, ...]`."""
    rows = [jnp.moveaxis(piece, 0, 1) for piece in pieces]
    return jnp.concatenate([row.reshape(row.shape[0], -1, *row.shape[3:]) for row in rows], axis=1)


def _join(probed: jax.Array, *pieces: jax.Array) -> jax.Array:
    """Join `[chunks, ...]` results of every step; of other results take the last."""
    if pieces[0].shape[1:] == probed.shape:
        return pieces[-1][-1]
    return jnp.concatenate([piece.reshape(-1, *piece.shape[2:]) for piece in pieces])
