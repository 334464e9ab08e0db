"""Counts of the events that arrive at a layer: by input, by step, by fan-out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsnn._time_axis import total
from jsnn.events import EventFrames
from jsnn.events import dense as event_frames
from jsnn.events.event_value import NOTHING, Sent, Unit, near_multiple, whole, wide
from jsnn.workload import Connectivity, InputKind, newly_active

__all__ = [
    "brought",
    "by_fan_out",
    "came",
    "check_frames",
    "each_sample",
    "flat_sum",
    "new_each_step",
]


def brought(
    frames: jax.Array | EventFrames,
    kind: InputKind,
    unit: Unit | None = None,
    sent: Sent = NOTHING,
) -> jax.Array:
    """Events from each input in each frame, `[T, B, *input_shape]`, float32 or wider.

    Spikes and events count by value, in units of one event; words that are not zero count once.
    Values that are not events (a fraction of the unit, a negative spike) or not finite give NaN.

    Args:
        frames: `[T, B, *input_shape]`, of any type.
        kind: their declared kind.
        unit: declared value of one event; None: as it was sent, else 1.
        sent: known facts of the values (`jsnn.events.event_value`).

    >>> brought(jnp.array([[[0.0, -2.0]]]), "events", 0.5).tolist()
    [[[0.0, 4.0]]]
    >>> brought(jnp.array([[[0.0, -2.0]]]), "analog").tolist()
    [[[0.0, 1.0]]]
    >>> brought(jnp.array([[[1.0, -2.0, 0.1]]]), "spikes").tolist()
    [[[1.0, nan, nan]]]
    """
    if isinstance(frames, EventFrames):
        return event_frames(frames)
    if kind in ("analog", "constant"):
        words = (frames != 0).astype(wide(frames[:0]).dtype)
        if not jnp.issubdtype(frames.dtype, jnp.floating):
            return words
        return jnp.where(jnp.isfinite(frames), words, jnp.nan)
    if sent.events is not None:
        return sent.events
    value, kept = sent.resolve(unit)
    if sent.spikes:
        values = wide(frames)
        return values if np.all(np.equal(value, 1)) else values / jnp.asarray(value, values.dtype)
    if kept is None:
        raise ValueError(
            "branches with different dropout were added before this layer, and what came into them "
            "was not spikes of a layer: put dropout behind the sum"
        )
    if kind == "events":
        return whole(_magnitude(frames, sent), value, kept)
    if sent.magnitude is not None:
        # A value less than the sum of its magnitudes: some parts were negative.
        frames = jnp.where(_cancelled(frames, sent, jnp), jnp.nan, wide(frames))
    return whole(frames, value, kept)


def _magnitude(frames: jax.Array, sent: Sent) -> jax.Array:
    if sent.magnitude is not None:
        return sent.magnitude
    # The magnitude of the least integer of a type exceeds that type.
    return jnp.abs(frames if jnp.issubdtype(frames.dtype, jnp.floating) else wide(frames))


def _cancelled(frames: Any, sent: Sent, numpy: Any) -> Any:
    """Whether each value is less than the sum of the magnitudes of its parts."""
    parts = numpy.asarray(sent.magnitude)
    return parts - frames > 1e-2 * parts


def check_frames(
    frames: jax.Array, kind: InputKind, unit: Unit | None, sent: Sent, layer: str
) -> None:
    """Raise ValueError if frames of a layer are not what they are declared to be.

    Args:
        frames: `[T, B, *input_shape]`, not traced.
        kind, unit, sent: as in `brought`.
        layer: its name, for the message.
    """
    # In NumPy: these frames are not part of any current trace.
    frames = np.asarray(frames)
    values = frames.astype(np.float64)
    finite = np.isfinite(values)
    if kind == "constant" and finite.all():
        changed = np.flatnonzero((values != values[:1]).reshape(len(values), -1).any(1))
        if changed.size:
            raise ValueError(
                f"layer {layer!r}: input_kind 'constant' is one frame shown at every step, but "
                f"frame {changed[0]} differs from frame 0: declare 'analog' (a new real frame each "
                "step), or 'events' or 'spikes' for whole numbers of events"
            )
    fits, event = finite, 1.0
    if kind in ("spikes", "events") and not sent.spikes:
        event, kept = sent.resolve(unit)
        if sent.magnitude is not None:
            parts = np.asarray(sent.magnitude, np.float64)
            if kind == "events":
                values = parts
            else:
                values = np.where(_cancelled(values, sent, np), -parts, values)
        number = values / (np.asarray(event) * (kept or 1.0))
        number = np.abs(number) if kind == "events" else number
        with np.errstate(invalid="ignore"):
            fits = near_multiple(number, np.round(number), frames.dtype)
    if fits.all():
        return
    place = tuple(int(axis) for axis in np.argwhere(~fits)[0])
    value = float(values[place])
    where = f"layer {layer!r}: expected {kind}, found {value:g} at [T, B, ...] = {list(place)}"
    if not np.isfinite(value):
        raise ValueError(f"{where}: inputs must be finite")
    if kind == "spikes" and value < 0:
        raise ValueError(
            f"{where}: spikes are not negative; declare input_kind 'events' for signed events "
            "(counted by magnitude) or 'analog' for real values"
        )
    raise ValueError(
        f"{where}, no whole multiple of {event}, the value of one event: give the layer the right "
        "input_unit, or declare input_kind 'analog' (a new real frame each step) or 'constant' "
        "(one real frame)"
    )


def came(
    frames: jax.Array | EventFrames,
    kind: InputKind,
    unit: Unit | None,
    wiring: Connectivity,
    sent: Sent = NOTHING,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Events from each input, in each step, and in total.

    Returns:
        `[B, *input_shape]` over time; `[T, B, K]` by fan-out; `[B, K]`, their sum over time.
    """
    if isinstance(frames, EventFrames):
        # A dense synapse has one fan-out.
        each = frames.each_step()[..., None]
        return frames.each_input(), each, each.sum(0)
    values = brought(frames, kind, unit, sent)
    # As a matrix product: on the CPU, XLA makes two sums over different axes one loop that takes
    # twenty times as long as either.
    over_time, each = total(values), by_fan_out(values, wiring, lead=2)
    # The layer that sent spikes has already summed them over time, and XLA computes that once. For
    # input from outside, a sum fuses with taking the absolute value, a product does not.
    return over_time, each, by_fan_out(over_time, wiring) if kind == "spikes" else each.sum(0)


def new_each_step(
    values: jax.Array, before: jax.Array, wiring: Connectivity, once: bool
) -> jax.Array:
    """`[T, B, K]` inputs that are active for the first time.

    Args:
        values: from `brought`.
        before: `[B, *input_shape]` events that arrived earlier.
        wiring: of the synapse.
        once: whether the same frame is shown at every step and counts once.
    """
    after = values if once else before + jnp.cumsum(values, 0)
    until = jnp.concatenate([before[None], after[:-1]])
    return by_fan_out(newly_active(until, after), wiring, lead=2)


def by_fan_out(values: jax.Array, wiring: Connectivity, lead: int = 1) -> jax.Array:
    """`[..., *input_shape]` summed over the inputs of each fan-out: `[..., K]`.

    As one matrix product in full precision, exact for counts: a sum for each fan-out would read the
    values K times, and its backward pass would recompute each input's share step by step.
    """
    values = wide(values)
    if len(wiring.fan_outs) == 1:
        return flat_sum(values, lead)[..., None]
    belongs = wiring.fan_out.reshape(-1, 1) == np.asarray(wiring.fan_outs)
    flat = values.reshape(*values.shape[:lead], -1)
    return jnp.matmul(flat, belongs.astype(values.dtype), precision=jax.lax.Precision.HIGHEST)


def each_sample(values: jax.Array, steps: int) -> jax.Array:
    """`[shown, B, K]` to `[B, T, K]`, zero in the steps without a frame.

    >>> each_sample(jnp.ones((1, 1, 1)), 3).tolist()
    [[[1.0], [0.0], [0.0]]]
    """
    values = jnp.moveaxis(values, 0, 1)
    return jnp.pad(values, ((0, 0), (0, steps - values.shape[1]), (0, 0)))


def flat_sum(values: jax.Array, lead: int = 1) -> jax.Array:
    """Sum over all but the leading axes, in float32 or wider.

    >>> flat_sum(jnp.ones((2, 3, 100), jnp.int8)).tolist()
    [300.0, 300.0]
    """
    return wide(values).reshape(*values.shape[:lead], -1).sum(-1)
