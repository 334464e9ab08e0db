"""Workload x hardware: the one place where counted events meet their prices."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jsnn.hardware import Hardware, get
from jsnn.hardware.ledger import BY_REACH, COMPONENTS, EVENTS, PriceTable
from jsnn.units import unit_of
from jsnn.workload import LayerWorkload, Workload

__all__ = [
    "COMPONENTS",
    "Bill",
    "avoidable",
    "bill",
    "bill_layers",
    "count",
    "floor",
    "op_count_proxy",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bill:
    """Energy of an inference, sample by sample, in its parts.

    Attributes:
        parts_pj: `[B, L, C]` pJ of each sample, layer and component.
        layers: names of the layers.
        hardware: name of the machine.
        unpriced: components the machine has no price for, each with the reason; their parts are
            zero because nothing is known, not because nothing is burnt.
        marks: marks of the constants behind the prices.
    """

    parts_pj: jax.Array
    layers: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    hardware: str = dataclasses.field(metadata={"static": True})
    unpriced: tuple[tuple[str, str], ...] = dataclasses.field(metadata={"static": True})
    marks: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, the last axis of `parts_pj`."""
        return COMPONENTS

    def total_pj(self) -> jax.Array:
        """`[B]` energy of each sample."""
        return self.parts_pj.sum((-2, -1))

    def layers_pj(self) -> jax.Array:
        """`[B, L]` energy of each layer."""
        return self.parts_pj.sum(-1)

    def components_pj(self) -> jax.Array:
        """`[B, C]` energy of each component."""
        return self.parts_pj.sum(-2)

    def mean(self) -> Bill:
        """The bill of the mean sample, as a batch of one."""
        return dataclasses.replace(self, parts_pj=self.parts_pj.mean(0, keepdims=True))

    def __str__(self) -> str:
        """Layers x components of the mean sample, with totals, units and provenance."""
        rows = self.parts_pj.mean(0).tolist()
        total = sum(map(sum, rows))
        scale, unit = unit_of(total)
        without = dict(self.unpriced)

        def cells(name: str, values: list[float]) -> list[str]:
            parts = zip(COMPONENTS, values, strict=True)
            shown = ["—" if c in without else f"{v / scale:.2f}" for c, v in parts]
            return [name, *shown, f"{sum(values) / scale:.2f}"]

        table = [[unit, *(c.replace("_", " ") for c in COMPONENTS), "total"]]
        table += [cells(name, row) for name, row in zip(self.layers, rows, strict=True)]
        table.append(cells("total", [sum(column) for column in zip(*rows, strict=True)]))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [f"{self.hardware}: energy per inference ({', '.join(self.marks)} constants)"]
        for name, *numbers in table:
            aligned = (n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *aligned]))
        lines += [f"— {component}: unpriced, {reason}" for component, reason in self.unpriced]
        return "\n".join(lines)


def count(layer: LayerWorkload) -> dict[str, Any]:
    """Events of a layer under the names of `jsnn.hardware.ledger.EVENTS`, a number or `[B]` each.

    With T steps, F frames of real-valued input (T if `analog`, 1 if `constant`, else 0), N
    neurons, S connections that carry spikes: `synapse_steps = S·T`, `connections = synapses·F`,
    `neuron_steps = N·T`. Biases are added in every step, except where the input is constant: there
    they are part of the current that is stored once and read in every step. A layer without a
    state writes its outputs as words; one that keeps a state without spiking leaves them in it.

    >>> from jsnn.hypothetical import dense
    >>> counts = count(dense(100, 10, steps=5, rate=0.1))
    >>> counts["spikes_in"], counts["neuron_steps"]
    (Array([50.], dtype=float32), 50)
    """
    g, steps = layer.geometry, layer.steps
    frames = {"spikes": 0, "events": 0, "analog": steps, "constant": 1}[g.input_kind]
    stored = g.neurons if g.input_kind == "constant" else 0
    synapses = g.recurrent_weights + (0 if frames else g.synapses)
    synops = layer.synops + layer.recurrent_synops
    nothing = jnp.zeros_like(layer.arrivals)
    fed_back = [layer.recurrent_events[:, None]] if g.recurrent_weights else []
    return {
        "spikes_in": layer.recurrent_events + (0 if frames else layer.input_events),
        "spikes_by_reach": jnp.concatenate([nothing if frames else layer.arrivals, *fed_back], -1),
        "synops": synops,
        "mean_synops": synops / steps,
        "synapses": synapses,
        "synapse_steps": synapses * steps,
        "active_synapses": g.recurrent_weights + (0 if frames else layer.active_synapses),
        "frames": frames,
        "words_in": g.inputs * frames,
        "words_by_reach": layer.arrivals if frames else nothing,
        "connections": g.synapses * frames,
        "macs": layer.macs,
        "bias_adds": g.neurons * (1 if stored else steps) if g.biases else 0,
        "current_writes": stored,
        "current_reads": stored * steps,
        "neuron_steps": g.neurons * steps,
        "spikes_out": layer.output_events,
        "words_out": 0 if g.spiking or g.state_words else g.neurons * steps,
        "steps": steps,
        "inferences": 1,
    }


def _charge(counts: dict[str, Any], table: PriceTable) -> jax.Array:
    """`[B, C]` of one dataflow: the sum over events of count x price."""
    columns = {component: jnp.zeros_like(counts["synops"]) for component in COMPONENTS}
    for event, row in table.items():
        if event not in counts or not columns.keys() >= row.keys():
            raise ValueError(
                f"no such entry in a price table: {event!r} -> {list(row)}; "
                f"events {list(EVENTS)}, components {list(COMPONENTS)}"
            )
        for component, price_pj in row.items():
            cost_pj = counts[event] * price_pj
            # Events kept apart by reach bring an axis of their own.
            summed = cost_pj.sum(-1) if event in BY_REACH else cost_pj
            columns[component] = columns[component] + summed
    return jnp.stack(list(columns.values()), axis=-1)


def _cheapest(plans: list[jax.Array], temperature: float) -> jax.Array:
    """`[B, C]` of the dataflow with the smallest sum, chosen for each sample.

    With a temperature the value is the same, and the gradient that of a mixture with the weights
    `softmax(-sum / (temperature · smallest sum))`. The weights carry none themselves, so it is
    that of a log-sum-exp: no event is ever worth having.
    """
    stacked = jnp.stack(plans)
    sums = jax.lax.stop_gradient(stacked.sum(-1))
    best = jnp.take_along_axis(stacked, sums.argmin(0)[None, :, None], axis=0)[0]
    if not temperature:
        return best
    smallest = sums.min(0)
    # A layer that costs nothing in some dataflow has no scale: any mixture of zeros is zero.
    scale = temperature * jnp.where(smallest > 0, smallest, 1)
    shares = jax.nn.softmax(-(sums - smallest) / scale, axis=0)
    mixture = (shares[..., None] * stacked).sum(0)
    return mixture + jax.lax.stop_gradient(best - mixture)


def bill_layers(pairs: list[tuple[LayerWorkload, Hardware]], temperature: float = 0.0) -> Bill:
    """The bill of layers that each bring their own hardware (such as bit widths by layer).

    All of it must be one machine up to its constants and knobs; ValueError otherwise.

    >>> from jsnn.hypothetical import dense
    >>> wide = get("neuromorphic-22nm")
    >>> a, b = (dense(64, 32, steps=5, rate=0.05, name=n) for n in "ab")
    >>> bill = bill_layers([(a, wide), (b, wide.with_design(weight_bits=4))])
    >>> bool(bill.layers_pj()[0, 0] > bill.layers_pj()[0, 1])
    True
    """
    if not pairs:
        raise ValueError("expected a workload of at least one layer, found none")
    if len(names := {hardware.name for _, hardware in pairs}) > 1:
        raise ValueError(f"expected the layers of one machine, found {sorted(names)}")
    parts = []
    for layer, hardware in pairs:
        counts = count(layer)
        parts.append(
            _cheapest(
                [_charge(counts, t) for t in hardware.prices(layer.geometry, temperature)],
                temperature,
            )
        )
    machine = pairs[0][1]
    return Bill(
        parts_pj=jnp.stack(parts, axis=1),
        layers=tuple(layer.geometry.name for layer, _ in pairs),
        hardware=machine.name,
        unpriced=machine.unpriced,
        marks=machine.technology.marks,
    )


def bill(workload: Workload, hardware: Hardware, temperature: float = 0.0) -> Bill:
    """Energy of a workload on a machine: `parts[b, l, c] = Σ_e count[b, l, e] · price[l, e, c]`.

    Differentiable with respect to every array of the workload, every constant and every knob;
    where a machine offers several dataflows, each sample runs each layer in the cheapest, and the
    gradient is that of the cheapest, or with a temperature that of a mixture in which the others
    are felt too (`temperature`: as a share of the cheapest sum). A sample's bill does not depend
    on its batch.

    >>> from jsnn.hypothetical import dense
    >>> workload = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    >>> float(bill(workload, machine).total_pj()[0]) / 4096**2
    0.80294
    """
    return bill_layers([(layer, hardware) for layer in workload], temperature)


def floor(workload: Workload, hardware: Hardware) -> Bill:
    """What the same network burns when none of its own neurons fires: `bill(silenced)`.

    >>> from jsnn.hypothetical import dense
    >>> workload = Workload((dense(64, 32, steps=4, rate=0.2), dense(32, 10, steps=4, rate=0.2)))
    >>> machine = get("hierarchy-45nm")
    >>> bool(floor(workload, machine).total_pj()[0] < bill(workload, machine).total_pj()[0])
    True
    """
    return bill(workload.silenced(), hardware)


def avoidable(workload: Workload, hardware: Hardware) -> jax.Array:
    """`[B]` pJ that silence would save: `total - floor`.

    >>> from jsnn.hypothetical import dense
    >>> workload = Workload((dense(64, 32, steps=4, rate=0.2, rate_out=0, input_kind="events"),))
    >>> float(avoidable(workload, get("hierarchy-45nm"))[0])
    0.0
    """
    return bill(workload, hardware).total_pj() - floor(workload, hardware).total_pj()


def op_count_proxy(workload: Workload, hardware: Hardware | None = None) -> jax.Array:
    """`[B]` pJ by the operation-count convention: `0.9 · synops + 4.6 · macs`.

    Synapses only: no neuron, no memory, no movement. With another `hardware`, that machine's adds
    and multiply-accumulates take the place of 0.9 and 4.6 pJ (fp32, 45 nm).

    >>> from jsnn.hypothetical import dense
    >>> float(op_count_proxy(Workload((dense(100, 10, steps=5, rate=0.1),)))[0])
    450.0
    """
    machine = get("compute-only-45nm") if hardware is None else hardware
    return bill(workload, machine).components_pj()[:, COMPONENTS.index("synapse")]
