"""What reaches the weights of a layer, counted: from each input, in each step, by fan-out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jsnn.events import EventFrames
from jsnn.events import dense as event_frames
from jsnn.synapses import Connectivity
from jsnn.timeaxis import total
from jsnn.workload import InputKind, newly_active

__all__ = ["brought", "by_reach", "came", "each_sample", "flat_sum", "new_each_step"]


def brought(frames: jax.Array | EventFrames, kind: InputKind, unit: float = 1.0) -> jax.Array:
    """What each input brings in each frame, `[T, B, *input_shape]`.

    Spikes and events count by value, in units of one event; words that are not zero count once.

    >>> brought(jnp.array([[[0.0, -2.0]]]), "events", 0.5).tolist()
    [[[0.0, 4.0]]]
    >>> brought(jnp.array([[[0.0, -2.0]]]), "analog").tolist()
    [[[0.0, 1.0]]]
    """
    if isinstance(frames, EventFrames):
        frames = event_frames(frames)
    if kind == "spikes":
        # Never negative; abs would be one more pass over them.
        return frames if unit == 1 else frames / unit
    if kind == "events":
        return jnp.abs(frames) / unit
    return (frames != 0).astype(frames.dtype)


def came(
    frames: jax.Array | EventFrames, kind: InputKind, unit: float, wiring: Connectivity
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What came from each input, in each step, and in all.

    Returns:
        `[B, *input_shape]` over time; `[T, B, K]` by fan-out; `[B, K]`, their sum over time.
    """
    if isinstance(frames, EventFrames):
        # A dense synapse has one fan-out.
        each = frames.each_step()[..., None]
        return frames.each_input(), each, each.sum(0)
    values = brought(frames, kind, unit)
    # As a product: of two sums over different axes XLA makes a loop on the CPU that takes twenty
    # times as long as either.
    over_time, each = total(values), by_reach(values, wiring, lead=2)
    # The layer that sent spikes has summed them over time already, and XLA computes it once; of
    # what comes from outside a sum takes the absolute value on its way, a product would not.
    return over_time, each, by_reach(over_time, wiring) if kind == "spikes" else each.sum(0)


def new_each_step(
    values: jax.Array, before: jax.Array, wiring: Connectivity, once: bool
) -> jax.Array:
    """`[T, B, K]` inputs that were silent until then.

    Args:
        values: as `brought` has them.
        before: `[B, *input_shape]` what had arrived earlier.
        wiring: of the synapse.
        once: whether the frame is shown again and again and counts once.
    """
    after = values if once else before + jnp.cumsum(values, 0)
    until = jnp.concatenate([before[None], after[:-1]])
    return by_reach(newly_active(until, after), wiring, lead=2)


def by_reach(values: jax.Array, wiring: Connectivity, lead: int = 1) -> jax.Array:
    """`[..., *input_shape]` summed over the inputs of each fan-out: `[..., K]`.

    As one product in full precision, exact for counts: a sum for each fan-out would read the values
    K times, and backward XLA would work out each input's share where it is read, step by step.
    """
    if len(wiring.reaches) == 1:
        return flat_sum(values, lead)[..., None]
    belongs = wiring.fan_out.reshape(-1, 1) == np.asarray(wiring.reaches)
    flat = values.reshape(*values.shape[:lead], -1)
    return jnp.matmul(flat, belongs.astype(values.dtype), precision=jax.lax.Precision.HIGHEST)


def each_sample(values: jax.Array, steps: int) -> jax.Array:
    """`[shown, B, K]` to `[B, T, K]`; nothing comes in the steps in which no frame is shown.

    >>> each_sample(jnp.ones((1, 1, 1)), 3).tolist()
    [[[1.0], [0.0], [0.0]]]
    """
    values = jnp.moveaxis(values, 0, 1)
    return jnp.pad(values, ((0, 0), (0, steps - values.shape[1]), (0, 0)))


def flat_sum(values: jax.Array, lead: int = 1) -> jax.Array:
    """Sum over all but the leading axes.

    >>> flat_sum(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return values.reshape(*values.shape[:lead], -1).sum(-1)
