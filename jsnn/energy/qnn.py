"""QNN: the quantised ANN of equal capacity on the same machine, compared with the spikes.

A window of T steps carries `ceil(log2(T + 1))` bits (arXiv 2409.08290, theorem 1: same
architecture, same weights, exact for non-leaky neurons that reset by subtraction). The QNN is
itself a workload: one frame of real-valued inputs in every layer, no state.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jsnn._checks import check_number, shown, whole_number
from jsnn._pytree import is_concrete
from jsnn.energy.estimate import EnergyBreakdown, estimate_energy, estimate_layers
from jsnn.hardware import Hardware, check_hardware
from jsnn.hardware.actions import PriceTable
from jsnn.hardware.architectures import Neuromorphic
from jsnn.hardware.design import BOUNDS
from jsnn.neurons import NO_OPS
from jsnn.workload import ByStep, Geometry, LayerWorkload, Stored, Workload, require_finite
from jsnn.workload.analytic import dense

Density = Literal["measured", "average"]


def activation_bits(steps: float) -> int:
    """Bits of the QNN's activations, `ceil(log2(T + 1))` of T rounded up.

    Raises:
        ValueError: T below 1, or no finite number.

    >>> [activation_bits(steps) for steps in (1, 2, 3, 3.5, 4, 7, 8)]
    [1, 2, 2, 3, 3, 3, 4]
    """
    check_number("steps", steps, 1)
    # An integer T has as many binary digits.
    return math.ceil(steps).bit_length()


def qnn_workload(workload: Workload, density: Density = "measured") -> Workload:
    """What the QNN does in an inference.

    Each layer becomes one frame of real-valued input: its non-zero MACs are the connections behind
    inputs that spiked at least once (`measured`), or `2·x / (T + 1)` of all, at most all, with `x`
    spikes per connection (`average`: the mid-point of theorem 2). Layers with real-valued input
    keep their measured MACs. A network read out at every step, or fed back, makes a decision in
    each step: its QNN runs T times with 1-bit activations, recurrent connections included, with
    the MACs that the spikes caused. Rounding and rectifying are free, which favours the QNN.

    Raises:
        ValueError: unknown density.

    >>> (layer,) = qnn_workload(Workload((dense(100, 10, steps=5, rate=0.1, active=0.3),)))
    >>> float(layer.macs[0]), layer.steps
    (300.0, 1)
    """
    if density not in ("measured", "average"):
        raise ValueError(f"expected density 'measured' or 'average', found {shown(density)}")
    layers = (_qnn_layer(layer, workload.per_step, density) for layer in workload)
    # The machine as it is before any lever.
    return dataclasses.replace(workload, layers=tuple(layers), levers=())


def _qnn_layer(layer: LayerWorkload, per_step: bool, density: Density) -> LayerWorkload:
    g, recurrent = layer.geometry, bool(layer.geometry.recurrent_weights)
    if per_step and g.real:
        words = layer.events_by_fan_out
    elif per_step:
        # A value above one is one multiplication, but counts by value among the events.
        words = jnp.minimum(layer.events_by_fan_out, layer.steps * layer.active)
    elif density == "measured" or g.real:
        words = layer.active
    else:
        inputs = jnp.asarray(g.inputs_by_fan_out, layer.events_by_fan_out.dtype)
        words = jnp.minimum(2 * layer.events_by_fan_out / (layer.steps + 1), inputs)
    stored = layer.stored
    if stored is not None:
        # Real words have no coincidences: each product is a multiply-accumulate.
        if per_step:
            kept = stored.spikes
        elif density == "measured":
            kept = stored.active
        else:
            kept = jnp.minimum(2 * stored.spikes / (layer.steps + 1), g.operand.words)
        stored = Stored(kept, kept, jnp.zeros_like(kept))
    by_step = _words_by_step(layer, words) if per_step else None
    if recurrent:
        words = jnp.concatenate([words, layer.recurrent_events[:, None]], axis=-1)
    geometry = dataclasses.replace(
        g.feed_forward(),
        input_kind="constant" if per_step and g.input_kind == "constant" else "analog",
        spiking=False,
        ops=NO_OPS,
    )
    return dataclasses.replace(
        layer,
        events_by_fan_out=words,
        active=words,
        recurrent_events=jnp.zeros_like(layer.recurrent_events),
        spikes=jnp.zeros_like(layer.spikes),
        steps=layer.steps if per_step else 1,
        geometry=geometry,
        stored=stored,
        by_step=by_step,
        by_input=None,
    )


def _words_by_step(layer: LayerWorkload, words: jax.Array) -> ByStep | None:
    """Words by step of a QNN that runs once a step, fed-back ones included."""
    if layer.by_step is None:
        return None
    share = words / jnp.where(layer.events_by_fan_out > 0, layer.events_by_fan_out, 1)
    events_by_fan_out, back = (
        layer.by_step.events_by_fan_out * share[:, None],
        layer.by_step.recurrent_events,
    )
    if layer.geometry.recurrent_weights:
        events_by_fan_out = jnp.concatenate([events_by_fan_out, back[..., None]], axis=-1)
    return ByStep(events_by_fan_out, jnp.zeros_like(back), layer.by_step.stored)


def estimate_qnn_energy(
    workload: Workload, hardware: Hardware, density: Density = "measured", bits: Any = None
) -> EnergyBreakdown:
    """The energy of the QNN: `qnn_workload`, its activations `activation_bits(T)` wide.

    Inputs of the first layer, where they are real-valued, keep the machine's `input_bits`. Behind
    a real-valued input, fed-back words travel at its width.

    Args:
        workload: what the spiking network did.
        hardware: the machine of both.
        density: `measured` or `average`, see `qnn_workload`.
        bits: width of its activations in every layer, 1 to 64; `activation_bits(T)` unless given.

    Raises:
        ValueError: no layer, sample or step, an unknown density, bits out of range, and what the
            machine refuses.

    >>> from jsnn.hardware import get
    >>> workload = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    >>> float(estimate_qnn_energy(workload, machine).total_pj()[0]) / 4096**2
    0.91600
    """
    check_hardware(hardware)
    if bits is not None:
        check_number("bits", bits, *BOUNDS["output_bits"])
    passes = qnn_workload(workload, density)
    pairs = []
    for spiking, layer in zip(workload, passes, strict=True):
        matched = 1 if workload.per_step else spiking.steps
        width = activation_bits(matched) if bits is None else bits
        widths = {"output_bits": width}
        if spiking.geometry.input_kind in ("spikes", "events"):
            widths["input_bits"] = width
        pairs.append((layer, _with_widths(hardware, widths)))
    return estimate_layers(pairs)


def _with_widths(hardware: Hardware, widths: dict[str, int]) -> Hardware:
    """The machine at these widths, as far as it has a design parameter for them."""
    taken = {
        name: bits for name, bits in widths.items() if name in hardware.architecture.parameters
    }
    return hardware.with_design(**taken)


def energy_ratio(
    workload: Workload, hardware: Hardware, density: Density = "measured"
) -> jax.Array:
    """`[B]` energy of the spiking network over that of its QNN; below one, spikes win.

    A batch as a whole is compared by `mean_energy_ratio`: a mean of ratios counts a sample more
    the less it costs.

    Raises:
        ValueError: an energy that is not finite, or a sample whose QNN costs nothing (on some
            machines one without any event), unless traced; what `estimate_energy` refuses.

    >>> from jsnn.hardware import get
    >>> workload = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    >>> float(energy_ratio(workload, get("neuromorphic-22nm").with_design(weight_bits=4))[0])
    0.8766
    """
    energies_pj = _both_pj(workload, hardware, density)
    if (
        is_concrete(energies_pj[1])
        and (free := np.flatnonzero(np.asarray(energies_pj[1]) == 0)).size
    ):
        raise ValueError(
            f"the quantised network of samples {shown(free.tolist())} costs nothing on "
            f"{hardware.name}, so that they have no ratio; compare the means of the batch, "
            "jsnn.mean_energy_ratio"
        )
    return energies_pj[0] / energies_pj[1]


def mean_energy_ratio(
    workload: Workload, hardware: Hardware, density: Density = "measured"
) -> jax.Array:
    """Mean energy of the spiking network over the mean energy of its QNN, a scalar.

    `Σ_b E_SNN[b] / Σ_b E_QNN[b]`: what a battery would see, and what `jsnn.energy.report` prints.

    Raises:
        ValueError: an energy that is not finite, or a QNN that costs nothing for the whole batch,
            unless traced; what `estimate_energy` refuses.

    >>> from jsnn.hardware import get
    >>> workload = Workload((dense(100, 10, steps=5, rate=jnp.array([0.0, 0.1])),))
    >>> round(float(mean_energy_ratio(workload, get("compute-only-45nm"))), 3)
    0.71
    """
    snn_pj, qnn_pj = (energy_pj.mean() for energy_pj in _both_pj(workload, hardware, density))
    if is_concrete(qnn_pj) and not qnn_pj:
        raise ValueError(
            f"the quantised network costs nothing on {hardware.name} for the whole batch, so that "
            "there is no ratio: did any event reach it?"
        )
    return snn_pj / qnn_pj


def _both_pj(
    workload: Workload, hardware: Hardware, density: Density
) -> tuple[jax.Array, jax.Array]:
    """`[B]` energies of the spiking network and of its QNN."""
    require_finite(workload)
    estimates = {
        "network": estimate_energy(workload, hardware),
        "qnn": estimate_qnn_energy(workload, hardware, density),
    }
    for of, priced in estimates.items():
        layers_pj = priced.layers_pj()
        if is_concrete(layers_pj) and not (finite := np.isfinite(layers_pj).all(0)).all():
            wrong = [name for name, fine in zip(priced.layers, finite, strict=True) if not fine]
            raise ValueError(
                f"the energy of the {of} on {hardware.name} is not finite in the layers {wrong}: "
                "did the network diverge?"
            )
    return tuple(priced.total_pj() for priced in estimates.values())


def break_even_rate(steps: int, hardware: Hardware, fan_in: int | None = None) -> Any:
    """Spike rate at which a layer of event-driven spikes costs as much as its dense QNN.

    With b = activation_bits(T), H = hops / targets_per_message, W = weight_fetch_share ·
    weight_bits · sram, M = mac · weight_bits · b, S and D the sparse and dense energy of a bit
    and hop, A the accumulate:

        s* = (b·D·H + W) / (T · (S·H + A + W - 2·M / (T + 1)))

    for the average density `2·T·s / (T + 1)` of the QNN. `fan_in` adds what each neuron costs
    (compare and state in every step, reset at every spike, shared by its inputs); left out, the
    layer is wide.

    It assumes a dense QNN, whose words are all sent, and sparse spikes, sent one by one. It fails
    where another dataflow is cheaper: in long windows the QNN has so few non-zeros that it sends
    events too, and above a rate of about one in ten the spikes are cheaper sent as dense frames.
    With 4-bit weights it holds at T = 5, but at T = 16 it says 2.75 % where
    `jsnn.energy.breakeven.rate`, which prices what either side would really do, finds 0.67 %.
    Source: the reconstruction in `jsnn.hardware.architectures.neuromorphic`.

    Args:
        steps: T.
        hardware: a machine of that architecture.
        fan_in: inputs of a neuron.

    Raises:
        ValueError: another architecture, T or fan_in that is no finite number from one on, or no
            break-even below one spike a step.

    >>> from jsnn.hardware import get
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    >>> round(break_even_rate(5, machine, fan_in=4096), 4)
    0.0572
    >>> round(break_even_rate(16, machine, fan_in=4096), 4)
    0.0275
    """
    check_hardware(hardware)
    if not isinstance(hardware.architecture, Neuromorphic):
        raise ValueError(
            f"the closed form is that of {Neuromorphic.name!r}, found a machine of "
            f"{hardware.architecture.name!r}: search the zero of log(energy_ratio) there"
        )
    check_number("steps", steps, 1)
    if fan_in is not None:
        fan_in = whole_number("fan_in", fan_in, 1, 10**9)
    bits = activation_bits(steps)
    geometry = _integrate_and_fire(1 if fan_in is None else fan_in)
    events, _ = hardware.prices(geometry)
    _, words = hardware.with_design(input_bits=bits).prices(geometry)

    spike = _row(events, "synops") + _row(events, "mean_synops") / steps
    fixed = _row(words, "connections")
    if fan_in is not None:
        spike = spike + _row(events, "spikes_out") / fan_in
        fixed = fixed - steps * _row(events, "neuron_steps") / fan_in
    rate = fixed / (steps * (spike - 2 * _row(words, "macs") / (steps + 1)))
    if is_concrete(rate) and not np.all((np.asarray(rate) > 0) & (np.asarray(rate) <= 1)):
        raise ValueError(
            f"T = {steps} never breaks even on {hardware.name} (rate {rate}): one side always wins"
        )
    return rate


def _row(table: PriceTable, event: str) -> Any:
    """PJ of one event, all components together."""
    return sum(table[event].values())


def _integrate_and_fire(fan_in: int) -> Geometry:
    """One non-leaky neuron: a compare in every step, a subtraction at every spike."""
    return dense(fan_in, 1, steps=1, rate=0.0).geometry
