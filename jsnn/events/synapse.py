"""A dense synapse that reads events: sums of rows of weights instead of a matrix product."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jsnn.events.frames import EventFrames

# Rows added in one pass over the currents: fewer passes, and still a kernel that compiles quickly.
_ROWS = 64
# Events of a frame that one turn of the backward loop takes.
_TURN = 4


def currents(events: EventFrames, kernel: jax.Array) -> jax.Array:
    """Currents of a dense synapse, `[T, B, m]`.

    Equation: `current[t, b] = Σ_e kernel[indices[t, b, e]]`, which is `frames @ kernel`; the
    gradient of the weights is the scatter-add `grad[indices[t, b, e]] += g[t, b]`. Rows are added
    up in float32 at least. No array of the size of the dense frames is built in either direction.

    Args:
        events: frames `[T, B, n]`.
        kernel: weights `[n, m]`.

    Raises:
        ValueError: frames that are not flat, or a kernel for another number of inputs.

    >>> import numpy as np
    >>> events = EventFrames(np.array([[[0, 2], [1, 3]]]), inputs=(3,))
    >>> currents(events, jnp.array([[1.0], [10.0], [100.0]])).tolist()
    [[[101.0], [10.0]]]
    """
    if len(events.inputs) != 1:
        raise ValueError(
            f"a dense synapse takes flat events [features], got frames {list(events.inputs)}; "
            "put jsnn.nn.layers.Flatten() before it"
        )
    if kernel.shape[0] != events.size:
        raise ValueError(
            f"weights are for {kernel.shape[0]} inputs, the events come from {events.size}"
        )
    return _sum_rows(kernel, events.numbered())


@jax.custom_vjp
def _sum_rows(kernel, numbers):
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    # The padding's row of zeros.
    rows = jnp.concatenate([kernel, jnp.zeros_like(kernel[:1])])

    def add(total, block):
        # Unrolled: XLA fuses the sum of these into one pass, but not one over a gather's axis.
        for place in range(block.shape[-1]):
            picked = rows.at[block[..., place]].get(mode="promise_in_bounds")
            total = total + picked.astype(wide)
        return total, None

    total = jnp.zeros((*numbers.shape[:-1], kernel.shape[1]), wide)
    whole = numbers.shape[-1] // _ROWS * _ROWS
    if whole:
        blocks = numbers[..., :whole].reshape(*numbers.shape[:-1], -1, _ROWS)
        total, _ = jax.lax.scan(add, total, jnp.moveaxis(blocks, -2, 0))
    return add(total, numbers[..., whole:])[0].astype(kernel.dtype)


def _keep(kernel, numbers):
    # The kernel is kept for its shape and dtype only.
    return _sum_rows(kernel, numbers), (kernel, numbers)


def _scatter(kept, grad):
    kernel, numbers = kept
    inputs, width = kernel.shape
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    flat = numbers.reshape(-1, numbers.shape[-1]), grad.reshape(-1, width).astype(wide)
    options = {"cpu": _scatter_in_turn, "default": _scatter_at_once}
    total = jax.lax.platform_dependent(*flat, jnp.zeros((inputs + 1, width), wide), **options)
    return total[:-1].astype(kernel.dtype), None


_sum_rows.defvjp(_keep, _scatter)


def _scatter_at_once(numbers, grad, total):
    each = jnp.broadcast_to(grad[:, None], (*numbers.shape, grad.shape[-1]))
    return total.at[numbers].add(each, mode="promise_in_bounds")


def _scatter_in_turn(numbers, grad, total):
    """Event by event up to the last of a frame: XLA's scatter on a CPU takes longer."""
    padding = total.shape[0] - 1
    short = -numbers.shape[1] % _TURN
    numbers = jnp.pad(numbers, ((0, 0), (0, short)), constant_values=padding)
    places = jnp.arange(1, numbers.shape[1] + 1)
    last = jnp.where(numbers < padding, places, 0).max(1)
    turns = (last + _TURN - 1) // _TURN

    def frame(row, total):
        here = jax.lax.dynamic_slice_in_dim(grad, row, 1)

        def turn(number, total):
            for place in range(_TURN):
                index = numbers[row, number * _TURN + place]
                there = jax.lax.dynamic_slice_in_dim(total, index, 1)
                total = jax.lax.dynamic_update_slice_in_dim(total, there + here, index, 0)
            return total

        return jax.lax.fori_loop(0, turns[row], turn, total)

    return jax.lax.fori_loop(0, len(numbers), frame, total)
