"""Latency of an inference, on the same counts as its energy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jsnn.energy.counting import count
from jsnn.hardware import Hardware, check_hardware
from jsnn.hardware.actions import weighted
from jsnn.hardware.architectures import Timed
from jsnn.workload import LayerWorkload, Workload, refuse_levers

__all__ = ["Latency", "latency", "latency_layers", "layer_cycles", "total_cycles"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of an inference, sample by sample.

    Attributes:
        cycles: `[B, L]` clock cycles of each layer.
        seconds: `[B]` of the whole network: the sum of its layers, or the slowest where all work at
            once.
        layers: names of the layers.
    """

    cycles: jax.Array
    seconds: jax.Array
    layers: tuple[str, ...] = dataclasses.field(metadata={"static": True})


def layer_cycles(layer: LayerWorkload, hardware: Hardware, temperature: float = 0.0) -> jax.Array:
    """`[B]` clock cycles of a layer: `Σ_e count[b, e] · cycles[e]`.

    Args:
        layer: what it did.
        hardware: what it runs on.
        temperature: of hard choices such as whole cores, for their gradient only
            (`jsnn.hardware.relaxation`).

    Raises:
        ValueError: the architecture publishes no times.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> layer_cycles(dense(64, 32, steps=4, rate=0.25), get("spatial-45nm"))
    Array([12.5], dtype=float32)
    """
    architecture = hardware.architecture
    if not isinstance(architecture, Timed):
        raise ValueError(
            f"{hardware.name}: architecture {architecture.name!r} publishes no times; "
            "its latency is unknown"
        )
    counts = count(layer)
    table = architecture.cycles(hardware.design, layer.geometry, temperature)
    cycles = jnp.zeros_like(layer.recurrent_events)
    for event, each in table.items():
        cycles = cycles + weighted(event, counts[event], each)
    return cycles


def total_cycles(cycles: jax.Array, concurrent: bool) -> jax.Array:
    """`[B]` of a network whose layers take `[B, L]`: their sum, or the slowest."""
    return cycles.max(-1) if concurrent else cycles.sum(-1)


def latency_layers(
    pairs: Sequence[tuple[LayerWorkload, Hardware]], temperature: float = 0.0
) -> Latency:
    """Time of layers that each bring their own hardware, as for `jsnn.energy.estimate_layers`.

    All of it is one machine with one clock, that of the first layer.

    Raises:
        ValueError: no layer, or an architecture that publishes no times.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> layer, machine = dense(64, 32, steps=4, rate=0.25), get("spatial-45nm")
    >>> pairs = [(layer, machine), (layer, machine.with_design(pes=128))]
    >>> latency_layers(pairs).cycles.tolist()
    [[12.5, 21.]]
    """
    if not pairs:
        raise ValueError("expected a workload of at least one layer, found none")
    for _, hardware in pairs:
        check_hardware(hardware)
    machine = pairs[0][1]
    cycles = jnp.stack([layer_cycles(*pair, temperature) for pair in pairs], axis=-1)
    total = total_cycles(cycles, machine.architecture.concurrent)
    return Latency(
        cycles=cycles,
        seconds=total / machine.design.clock_hz,
        layers=tuple(layer.geometry.name for layer, _ in pairs),
    )


def latency(workload: Workload, hardware: Hardware) -> Latency:
    """Time of an inference: cycles of its layers / clock.

    Differentiable in every count and design parameter. Where all layers work at once
    (`Timed.concurrent`), the time is that of the slowest, and the time a step takes to run through
    the layers is not counted.

    Raises:
        ValueError: a network that ran under levers; no layer; an architecture that publishes no
            times.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(64, 32, steps=4, rate=0.25), dense(32, 10, steps=4, rate=0.1)))
    >>> float(latency(workload, get("spatial-45nm")).seconds[0])
    8.578e-08
    """
    refuse_levers(workload)
    return latency_layers([(layer, hardware) for layer in workload])
