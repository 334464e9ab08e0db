"""A stream of frames through a trained network: one frame a call, state in and out.

A frame or a membrane that is not finite, or a constant input that changes, is an error outside of
`jit`. Inside, the outputs of that sample are NaN and stay so until the stream is started again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsnn._pytree import is_concrete
from jsnn.nn.causal import causal
from jsnn.nn.layers import START, STATE
from jsnn.unroll import FoldState


@dataclasses.dataclass(frozen=True)
class Stream:
    """A network ready for one frame after another.

    Attributes:
        start: `first frame [B, ...] -> state` before that frame; only a constant input reads the
            frame.
        step: `(state, frame [B, ...]) -> (state, outputs)`. The given state is donated.
    """

    start: Callable[[jax.Array], dict[str, jax.Array]]
    step: Callable[[dict[str, jax.Array], jax.Array], tuple[dict[str, jax.Array], Any]]


def make_stream(
    model: nn.Module, variables: Mapping[str, Any], frame: jax.Array | jax.ShapeDtypeStruct
) -> Stream:
    """Compile a network for a stream of frames shaped like `frame`, in evaluation mode.

    state_t, outputs_t = model(state_(t-1), frame_t)

    After T frames the outputs are those of a window of T frames (with a readout of every step, its
    last row). The weights are part of the compiled program. The state is one vector for each dtype:
    at batch 1 the cost of a call is mainly the number of arrays passed in and out.

    Args:
        model: of causal layers.
        variables: those that `model.init` returned, or trained.
        frame: `[B, ...]`, for shape and dtype.

    Raises:
        ValueError: a layer that is not causal, or in training mode (see `jsnn.nn.causal`).

    >>> import jax, jax.numpy as jnp, jsnn
    >>> model = jsnn.models.MLP((16,), 3, input_kind="events")
    >>> frames = jnp.ones((4, 1, 8))
    >>> variables = model.init(jax.random.key(0), frames)
    >>> stream = make_stream(model, variables, frames[0])
    >>> state = stream.start(frames[0])
    >>> for frame in frames:
    ...     state, outputs = stream.step(state, frame)
    >>> bool(jnp.allclose(outputs, jsnn.run(model, variables, frames)[0], atol=1e-6))
    True
    """
    given = {name: tree for name, tree in variables.items() if name != STATE}

    def begin(frame):
        with causal(streaming=True):
            return model.apply(given, frame[None], False, mutable=[START])[1].get(START, {})

    shapes = jax.eval_shape(begin, jax.ShapeDtypeStruct(frame.shape, frame.dtype))

    def step(packed, frame):
        state, outputs, _ = _advance(model, {**given, STATE: _unpack(packed, shapes)}, frame)
        return _pack(state), outputs

    return Stream(jax.jit(lambda frame: _pack(begin(frame))), jax.jit(step, donate_argnums=0))


def step(
    model: nn.Module, variables: Mapping[str, Any], frame: jax.Array
) -> tuple[dict[str, Any], jax.Array]:
    """One frame of a stream: `(variables, [B, ...]) -> (variables with new state, outputs)`.

    The state of every population is in `variables["state"]`; drop it to start again. Readouts get
    one frame at a time, so a network that classifies a stream should end in `PerStep`.
    `make_stream` gives the compiled form.

    Raises:
        ValueError: a layer that is not causal, or in training mode (see `jsnn.nn.causal`); unless
            traced, a frame or a membrane that is not finite, naming the layer, or a constant input
            that changed.

    >>> import jax, jax.numpy as jnp, jsnn
    >>> model = jsnn.models.MLP((16,), 3, input_kind="events")
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 2, 8)))
    >>> variables, outputs = step(model, variables, jnp.ones((2, 8)))
    >>> outputs.shape
    (2, 3)
    """
    with causal(streaming=True):
        state, outputs, fine = _advance(model, variables, frame)
    for what, samples in fine.items():
        if is_concrete(samples) and not samples.all():
            raise ValueError(
                f"sample {int(np.argmin(samples))}: {what} not finite (NaN or inf), or a constant "
                "input is not the frame that was shown first; to start the stream again, drop "
                "variables['state']"
            )
    return {**variables, STATE: state}, outputs


def _advance(
    model: nn.Module, variables: Mapping[str, Any], frame: jax.Array
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """State after a frame, outputs, and whether each sample `[B]` passes each check.

    Samples that fail a check get outputs and membranes of NaN, so that they stay NaN.
    """
    # With START mutable, a readout accepts a window shorter than it needs.
    outputs, changed = model.apply(variables, frame[None], False, mutable=[STATE, START])
    state = changed.get(STATE, {})
    leaves = [jnp.isfinite(leaf) for leaf in jax.tree.leaves(frame)]
    fine = {"the frame is": _all(leaves, frame.shape[0])}
    for path, population in jax.tree_util.tree_leaves_with_path(state, is_leaf=_is_population):
        if _is_population(population):
            name = "/".join(entry.key for entry in path[:-1]) or "layer"
            # Other leaves of a state may be infinite, such as the time of a spike that never came.
            leaves = [~jnp.isnan(leaf) for leaf in jax.tree.leaves(population.neuron)]
            fine[f"the membranes of layer {name!r} are"] = _all(leaves, frame.shape[0])
    good = functools.reduce(jnp.logical_and, fine.values())

    def mark(node):
        if not _is_population(node):
            return node
        return node._replace(neuron=jax.tree.map(functools.partial(_nan_unless, good), node.neuron))

    return (
        jax.tree.map(mark, state, is_leaf=_is_population),
        jax.tree.map(functools.partial(_nan_unless, good), outputs),
        fine,
    )


def _is_population(node: Any) -> bool:
    return isinstance(node, FoldState)


def _all(leaves: list[jax.Array], batch: int) -> jax.Array:
    """`[B]` whether all is true for each sample; leaves without a batch axis count for each."""
    fine = jnp.ones(batch, bool)
    for leaf in leaves:
        fine &= leaf.reshape(batch, -1).all(1) if leaf.shape[:1] == (batch,) else leaf.all()
    return fine


def _nan_unless(fine: jax.Array, values: jax.Array) -> jax.Array:
    """`[B, ...]` or `[1, B, ...]` values, NaN where a sample fails."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    axis = 1 if values.shape[:2] == (1, fine.size) else 0
    if values.shape[axis : axis + 1] != fine.shape:
        return jnp.where(fine.all(), values, jnp.nan)
    rows = fine.reshape(*(1,) * axis, -1, *(1,) * (values.ndim - axis - 1))
    return jnp.where(rows, values, jnp.nan)


def _pack(tree: Any) -> dict[str, jax.Array]:
    """All leaves of a dtype as one vector."""
    leaves = jax.tree.leaves(tree)
    kinds = sorted({leaf.dtype.name for leaf in leaves})
    return {
        kind: jnp.concatenate([leaf.ravel() for leaf in leaves if leaf.dtype.name == kind])
        for kind in kinds
    }


def _unpack(packed: dict[str, jax.Array], shapes: Any) -> Any:
    """The inverse of `_pack` for a tree of these shapes."""
    at = dict.fromkeys(packed, 0)

    def take(shape):
        kind = shape.dtype.name
        start, at[kind] = at[kind], at[kind] + shape.size
        return packed[kind][start : at[kind]].reshape(shape.shape)

    return jax.tree.map(take, shapes)
