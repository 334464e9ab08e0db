"""Counts of what happens: events of a layer, and actions of a machine for them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jsnn._checks import check_number
from jsnn.hardware import Hardware
from jsnn.hardware.actions import weighted
from jsnn.hardware.architectures import Countable
from jsnn.workload import LayerWorkload, within

__all__ = ["count", "count_by_step", "tally"]


def count(layer: LayerWorkload) -> dict[str, Any]:
    """Events of a layer under the names of `jsnn.hardware.actions.EVENTS`, a number or `[B]` each.

    With T steps, F frames of real-valued input (T if `analog`, 1 if `constant`, else 0), N
    neurons, S connections that carry spikes: `synapse_steps = S·T`, `connections = synapses·F`,
    `neuron_steps = N·T`. Biases are added in every step, except where the input is constant: there
    they are part of the current that is stored once and read in every step. A layer without a
    state writes its outputs as words; one that keeps a state without spiking leaves them in it.
    The operand of a product is written in every step (or frame): spikes as they arrive, sums
    cleared (or, of words, when they are complete).

    Raises:
        ValueError: no sample, or no time step.

    >>> from jsnn.workload.analytic import dense
    >>> counts = count(dense(100, 10, steps=5, rate=0.1))
    >>> counts["spikes_in"], counts["neuron_steps"]
    (Array([50.], dtype=float32), 50)
    """
    g, steps = layer.geometry, layer.steps
    if not layer.events_by_fan_out.shape[0]:
        raise ValueError(f"layer {g.name!r}: expected at least one sample, found an empty batch")
    check_number(f"steps of layer {g.name!r}", steps, 1)
    frames = {"spikes": 0, "events": 0, "analog": steps, "constant": 1}[g.input_kind]
    constant = g.input_kind == "constant"
    stored = g.neurons if constant else 0
    synapses = g.recurrent_weights + (0 if g.real else g.synapses)
    synops = layer.synops + layer.recurrent_synops
    operand_words = g.operand.words if g.operand else 0
    arrived = layer.stored.spikes if layer.stored else jnp.zeros_like(synops)
    return {
        "spikes_in": layer.recurrent_events + (0 if g.real else layer.input_events + arrived),
        "events_by_fan_out": layer.events_by_fan_out,
        "recurrent_events": layer.recurrent_events,
        "synops": synops,
        "mean_synops": synops / steps,
        "synapses": synapses,
        "synapse_steps": synapses * steps,
        "active_synapses": g.recurrent_weights + layer.active_synapses,
        "frames": frames,
        "words_in": (g.inputs + g.operand_inputs) * frames,
        "connections": g.synapses * frames,
        "macs": layer.macs,
        "bias_adds": g.neurons * (1 if constant else steps) if g.biased else 0,
        "current_writes": stored,
        "current_reads": stored * steps,
        "operand_events": arrived,
        "operand_writes": operand_words * (frames if g.real else steps),
        "operand_reads": layer.operand_reads,
        "neuron_steps": g.neurons * steps,
        "spikes_out": layer.output_events,
        "words_out": g.neurons * steps if g.writes_words else 0,
        "steps": steps,
        "inferences": 1,
        "loads": 0 if g.shared else 1,
    }


def count_by_step(layer: LayerWorkload) -> dict[str, Any]:
    """Events that travel, and steps and frames, `[B, T]` each (`[B, T, K]` by fan-out).

    Where a layer does not say when they came, all of them stand as one step: `[B, 1]`. Of a window
    that ends within a step, that step counts in part.

    >>> from jsnn.workload.analytic import dense
    >>> count_by_step(dense(100, 10, steps=5, rate=0.1))["steps"]
    Array([[5.]], dtype=float32)
    """
    totals, by_step = count(layer), layer.by_step
    if by_step is None:
        shape = (*totals["synops"].shape, 1)
        return {
            "events_by_fan_out": totals["events_by_fan_out"][:, None],
            "recurrent_events": totals["recurrent_events"][:, None],
            "operand_events": totals["operand_events"][:, None],
            "steps": jnp.full(shape, totals["steps"], totals["synops"].dtype),
            "frames": jnp.full(shape, totals["frames"], totals["synops"].dtype),
        }
    ones = jnp.ones_like(by_step.recurrent_events)
    length = ones.shape[1]
    return {
        "events_by_fan_out": by_step.events_by_fan_out,
        "recurrent_events": by_step.recurrent_events,
        "operand_events": by_step.stored,
        "steps": ones * within(length, layer.steps),
        # A constant frame is shown in the first step.
        "frames": ones * within(length, totals["frames"]),
    }


def tally(layer: LayerWorkload, hardware: Hardware) -> tuple[dict[tuple, jax.Array], ...]:
    """How often a machine does what: `{(unit, verb, bits): [B]}`, for each of its dataflows.

    `Σ_e count[b, e] · times[e, action]`, exact integers but for loads shared by a batch and reads
    shared by zero skipping. `jsnn.energy.audit` counts the same, event by event.

    Raises:
        ValueError: the architecture has prices only, no actions.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> (counts,) = tally(dense(100, 10, steps=5, rate=0.1), get("classical-45nm"))
    >>> float(counts["adder", "add", 16.0][0])
    505.0
    """
    if not isinstance(hardware.architecture, Countable):
        raise ValueError(
            f"{hardware.name}: architecture {hardware.architecture.name!r} publishes prices, not "
            "actions; there is nothing to count"
        )
    counts = count(layer)
    tables = []
    for table in hardware.architecture.actions(
        hardware.technology, hardware.design, layer.geometry
    ):
        totals: dict[tuple, jax.Array] = {}
        for event, actions in table.items():
            for action in actions:
                times = weighted(event, counts[event], action.times)
                key = action.unit, action.verb, float(action.bits)
                totals[key] = totals.get(key, jnp.zeros_like(counts["synops"])) + times
        tables.append(totals)
    return tuple(tables)
