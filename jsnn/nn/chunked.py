"""All layers over a chunk of time, then over the next: memory is flat in T."""

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

    Neurons, what readouts gathered, the current of a constant input and which inputs were active
    ride in the state. Random streams give every chunk the same numbers: one dropout mask a window.
    An output whose first axis is as long as the piece it comes from is one of every step, and is
    joined; of others the last counts.

    Args:
        model: of layers that `jsnn.nn.causal.causal` lets pass.
        variables: of the model; a collection `state` in it is gone on from.
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

    # Of this call only what starts a window is used; under jit the rest is never computed. Its
    # length differs from a chunk's, to tell outputs of every step.
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
    """What adds up over the pieces of a window."""
    return [dataclasses.replace(record, by_step=None, steps=0) for record in _records(changed)]


def _by_step(changed: Mapping[str, Any]) -> list[ByStep | None]:
    """What lines up."""
    return [record.by_step for record in _records(changed)]


def _rebuilt(
    begun: Mapping[str, Any], sums: list[LayerWorkload], by_step: list[ByStep | None], steps: int
) -> Mapping[str, Any]:
    """The records of a probe with the counts and length of the window, in the order they ran."""
    tree = begun.get(WORKLOAD, {})
    records = [
        dataclasses.replace(record, by_step=each, steps=steps)
        for record, each in zip(sums, by_step, strict=True)
    ]
    # Unflattening sorts the names of layers.
    return _like(tree, jax.tree.unflatten(jax.tree.structure(tree, is_leaf=_is_record), records))


def _like(tree: Any, found: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _like(branch, found[name]) for name, branch in tree.items()}
    return found


def _join_steps(*pieces: jax.Array) -> jax.Array:
    """Join `[chunks, B, steps, ...]` to `[B, T, ...]`."""
    rows = [jnp.moveaxis(piece, 0, 1) for piece in pieces]
    return jnp.concatenate([row.reshape(row.shape[0], -1, *row.shape[3:]) for row in rows], axis=1)


def _join(probed: jax.Array, *pieces: jax.Array) -> jax.Array:
    """Join `[chunks, ...]` results: of every step, or the newest."""
    if pieces[0].shape[1:] == probed.shape:
        return pieces[-1][-1]
    return jnp.concatenate([piece.reshape(-1, *piece.shape[2:]) for piece in pieces])
