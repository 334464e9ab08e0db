"""A stream of frames through a trained network: one compiled call a frame, state in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsnn.causal import causal
from jsnn.layers import START, STATE


@dataclasses.dataclass(frozen=True)
class Stream:
    """A network ready for one frame after another.

    Attributes:
        start: `first frame [B, ...] -> state` before that frame, which is read by a constant input
            alone.
        step: `(state, frame [B, ...]) -> (state, outputs)`. The state given is used up (donated).
    """

    start: Callable[[jax.Array], dict[str, jax.Array]]
    step: Callable[[dict[str, jax.Array], jax.Array], tuple[dict[str, jax.Array], Any]]


def make_stream(
    model: nn.Module, variables: Mapping[str, Any], frame: jax.Array | jax.ShapeDtypeStruct
) -> Stream:
    """Compile a network for a stream of frames shaped like `frame`, in evaluation mode.

    state_t, outputs_t = model(state_(t-1), frame_t)

    After T frames the outputs are those of a window of T frames (of a readout of every step, its
    last row). The weights are part of the compiled program. The state is one vector for each dtype:
    at batch 1 a call costs about as much as the arrays that go in and out of it.

    Args:
        model: of causal layers.
        variables: what `model.init` returned, or trained since.
        frame: `[B, ...]`, for shape and dtype.

    Raises:
        ValueError: a layer that is not causal, or in training mode (see `jsnn.causal`).

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
        state = {**given, STATE: _unpack(packed, shapes)}
        outputs, changed = model.apply(state, frame[None], False, mutable=[STATE])
        return _pack(changed.get(STATE, {})), outputs

    return Stream(jax.jit(lambda frame: _pack(begin(frame))), jax.jit(step, donate_argnums=0))


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
