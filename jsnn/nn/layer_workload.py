"""Workload of one layer, counted from what came in and from what its neurons sent."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jsnn.events import EventFrames
from jsnn.events.event_value import NOTHING, Sent, Unit, wide
from jsnn.nn import event_counts
from jsnn.workload import ByStep, Connectivity, Geometry, LayerWorkload, newly_active

__all__ = ["SentSpikes", "check_spikes", "finite_counts", "layer_workload"]


class SentSpikes(NamedTuple):
    """Spikes that the neurons of a layer sent in a window or a piece of one, float32 or wider.

    Attributes:
        counts: `[B, *out]` of each neuron.
        fed_back: `[B, *out]` those that came back to the layer, one step after they were sent.
        by_step: `[B, T]` in each step; None where a readout has reduced them.
        fed_back_by_step: `[B, T]` that came back in each step; None as above, 0 without recurrence.
    """

    counts: jax.Array
    fed_back: jax.Array
    by_step: jax.Array | None
    fed_back_by_step: jax.Array | None

    @classmethod
    def of(
        cls,
        counts: jax.Array,
        spikes: jax.Array | None,
        before: jax.Array,
        after: jax.Array,
        *,
        steps: int,
        spiking: bool,
        recurrent: bool,
    ) -> SentSpikes:
        """Those of a window of `steps` steps.

        Args:
            counts: `[B, *out]` spikes of each neuron.
            spikes: `[T, B, *out]`; None where a readout has reduced them.
            before, after: `[B, *out]` spikes of the step before the first one, and of the last.
            spiking: whether its neurons fire at all.
            recurrent: whether spikes come back.
        """
        none = jnp.zeros((len(counts), steps), wide(before).dtype)
        by_step = None if spikes is None else event_counts.flat_sum(spikes, 2).T
        back = none
        if recurrent:
            earlier = None if spikes is None else jnp.concatenate([before[None], spikes[:-1]])
            back = None if earlier is None else wide(earlier).sum(-1).T
        if not spiking:
            by_step = none.astype(jnp.float32)
        return cls(counts, counts - after + before, by_step, back)


def layer_workload(
    frames: jax.Array | EventFrames,
    sent_spikes: SentSpikes,
    connectivity: Connectivity,
    geometry: Geometry,
    *,
    unit: Unit | None = None,
    facts: Sent = NOTHING,
    before: jax.Array | None = None,
    changed: jax.Array | None = None,
) -> tuple[LayerWorkload, jax.Array]:
    """The workload of a layer over a window or a piece of one.

    The pieces of a window add up: an input becomes active, and a constant one is shown, once.

    Args:
        frames: `[T, B, *input_shape]` that came in.
        sent_spikes: what its neurons sent.
        connectivity: of its synapse.
        geometry: of the layer; its `input_kind` is that of the frames.
        unit: declared value of one event; None: as it was sent, else 1.
        facts: what is known of the values (`jsnn.events.event_value`).
        before: `[B, *input_shape]` events that arrived in earlier pieces.
        changed: `[B]` for a constant input: 0, or NaN where it has changed.

    Returns:
        The workload, and `[B, *input_shape]` events that have arrived by the end of the piece.

    >>> import flax.linen as nn
    >>> from jsnn.neurons import LIF
    >>> from jsnn.nn.synapses import connectivity
    >>> wires, ones = connectivity(nn.Dense(2), (3,)), jnp.ones((4, 1, 2))
    >>> facts = {"name": "hidden", "input_kind": "spikes", "spiking": True}
    >>> sizes = Geometry.of(wires, LIF().ops, (2,), **facts)
    >>> sent = SentSpikes.of(
    ...     ones.sum(0), ones, 0 * ones[0], ones[-1], steps=4, spiking=True, recurrent=False
    ... )
    >>> workload, arrived = layer_workload(jnp.ones((4, 1, 3)), sent, wires, sizes)
    >>> float(workload.synops[0]), arrived.tolist()
    (24.0, [[4.0, 4.0, 4.0]])
    """
    kind, constant = geometry.input_kind, geometry.input_kind == "constant"
    shown = frames[:1] if constant else frames
    arrived, each, now = event_counts.came(shown, kind, unit, connectivity, facts)
    if changed is not None:
        arrived = arrived + changed.reshape(-1, *(1,) * (arrived.ndim - 1))
        now = now + changed[:, None]
    before = jnp.zeros_like(arrived) if before is None else before
    if constant:
        shown_before = event_counts.by_fan_out(before, connectivity)
        arrived, each, now = arrived - before, each - shown_before, now - shown_before
    by_step, after = None, before + arrived
    if sent_spikes.fed_back_by_step is not None:
        values = event_counts.brought(shown, kind, unit, facts)
        new = event_counts.new_each_step(values, before, connectivity, once=constant)
        by_step = ByStep(
            event_counts.each_sample(each, frames.shape[0]),
            sent_spikes.fed_back_by_step,
            jnp.zeros_like(sent_spikes.fed_back_by_step),
            active=event_counts.each_sample(new, frames.shape[0]),
            spikes=sent_spikes.by_step,
        )
    counts = sent_spikes.counts
    zero = jnp.zeros(frames.shape[1], counts.dtype)
    workload = LayerWorkload(
        events_by_fan_out=now,
        active=event_counts.by_fan_out(newly_active(before, after), connectivity),
        recurrent_events=(
            event_counts.flat_sum(sent_spikes.fed_back) if geometry.feeds_back else zero
        ),
        spikes=counts,
        steps=frames.shape[0],
        geometry=geometry,
        by_step=by_step,
        by_input=arrived,
    )
    return workload, after


def finite_counts(counts: jax.Array, potential: jax.Array, legal: Any) -> jax.Array:
    """Spikes of each neuron; NaN where its membrane is not finite or a constant is illegal.

    A membrane that was NaN once stays so, so that checking the last one is enough.
    """
    finite = jnp.isfinite(potential)
    for leaf in jax.tree.leaves(legal):
        finite &= leaf
    return jnp.where(finite, wide(counts), jnp.nan)


def check_spikes(counts: jax.Array, potential: jax.Array, neuron: Any, layer: str) -> None:
    """Raise ValueError if a user's neuron model sends values that are not whole numbers of spikes.

    Args:
        counts: `[B, *out]`, NaN where they are not.
        potential: `[B, *out]` membranes at the end.
        neuron: the model.
        layer: its name, for the message.
    """
    if isinstance(counts, jax.core.Tracer):
        return
    if bool((jnp.isnan(counts) & jnp.isfinite(potential)).any()):
        raise ValueError(
            f"layer {layer!r}: {type(neuron).__name__} sends "
            "values that are no whole numbers of spikes (0, 1, ...), or has constants that are "
            "not finite: let it send 0 or 1, or say the value of a spike by an attribute "
            "spike_value"
        )
