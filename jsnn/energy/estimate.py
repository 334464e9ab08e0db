"""Workload x hardware: the one place where counted events meet their prices."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jsnn._checks import check_number
from jsnn._straight_through import straight_through
from jsnn.energy.counting import count, count_by_step, tally
from jsnn.energy.latency import layer_cycles, total_cycles
from jsnn.hardware import Hardware, check_hardware, get
from jsnn.hardware.actions import COMPONENTS, EVENTS, PriceTable, weighted
from jsnn.hardware.architectures import Stepwise
from jsnn.hardware.power import PJ_PER_J
from jsnn.hardware.relaxation import softens
from jsnn.units import unit_of
from jsnn.workload import LayerWorkload, Workload, refuse_levers

__all__ = [
    "COMPONENTS",
    "Dataflow",
    "EnergyBreakdown",
    "count",
    "dataflow",
    "dataflow_text",
    "estimate_energy",
    "estimate_layers",
    "op_count_proxy",
    "spike_dependent_pj",
    "spike_independent_energy",
    "tally",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnergyBreakdown:
    """Energy of an inference, sample by sample, in its parts.

    Attributes:
        parts_pj: `[B, L, C]` pJ of each sample, layer and component.
        layers: names of the layers.
        hardware: name of the machine.
        unpriced: components the machine has no price for, each with the reason; their parts are
            zero because nothing is known, not because nothing is used.
        provenances: provenances of the constants behind the prices.
        left_out: parameters that no layer accounts for, listed by hand (`Workload.unpriced`): what
            they cost is not in the parts.
    """

    parts_pj: jax.Array
    layers: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    hardware: str = dataclasses.field(metadata={"static": True})
    unpriced: tuple[tuple[str, str], ...] = dataclasses.field(metadata={"static": True})
    provenances: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    left_out: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})

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

    def mean(self) -> EnergyBreakdown:
        """The energy of the mean sample, as a batch of one."""
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
        lines = [f"{self.hardware}: energy per inference ({', '.join(self.provenances)} constants)"]
        for name, *numbers in table:
            aligned = (n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *aligned]))
        lines += [f"— {component}: unpriced, {reason}" for component, reason in self.unpriced]
        if not math.isfinite(total):
            lines.append(
                "— nan: what was counted is not finite (membranes, or frames that are not what a "
                "layer declares); jsnn.run outside of jit names the layer"
            )
        return "\n".join([*lines, *left_out_lines(self.left_out)])


def left_out_lines(left_out: tuple[str, ...]) -> list[str]:
    """What every print says of parameters that are not in the figures.

    >>> left_out_lines(("head/kernel",))
    ['— head/kernel: left out by hand, what these parameters cost is not in these figures']
    """
    if not left_out:
        return []
    names = ", ".join(left_out)
    return [f"— {names}: left out by hand, what these parameters cost is not in these figures"]


def dataflow_text(dense: float, rate: float, switch_rate: float) -> str:
    """A layer's dataflow in words, from the means of a `Dataflow`.

    >>> dataflow_text(0.0, 0.05, 0.169)
    'sparse at 0.05 events an input and step, dense above 0.169'
    >>> dataflow_text(0.25, 0.3, 0.169)
    'dense in 25% of samples and steps at 0.3 events an input and step, sparse below 0.169'
    """
    other = f"sparse below {switch_rate:.3g}"
    if not dense:
        which = "sparse"
        never = not math.isfinite(switch_rate)
        other = "dense at no rate" if never else f"dense above {switch_rate:.3g}"
    else:
        which = "dense" if dense == 1 else f"dense in {dense:.0%} of samples and steps"
    return f"{which} at {rate:.3g} events an input and step, {other}"


def _charge(counts: dict[str, Any], table: PriceTable, like: jax.Array) -> jax.Array:
    """`[..., C]` of one dataflow: the sum over events of count x price, counts shaped as `like`."""
    columns = {component: jnp.zeros_like(like) for component in COMPONENTS}
    for event, row in table.items():
        if event not in counts or not columns.keys() >= row.keys():
            raise ValueError(
                f"no such entry in a price table: {event!r} -> {list(row)}; "
                f"events {list(EVENTS)}, components {list(COMPONENTS)}"
            )
        for component, price_pj in row.items():
            columns[component] = columns[component] + weighted(event, counts[event], price_pj)
    return jnp.stack(list(columns.values()), axis=-1)


def _layer_pj(
    layer: LayerWorkload, hardware: Hardware, temperature: float, event_temperature: float | None
) -> jax.Array:
    """`[B, C]` of a layer in its cheapest dataflow."""
    tables = hardware.prices(layer.geometry, temperature)
    mixed = functools.partial(_cheapest, temperature=temperature)
    if event_temperature is None:
        return _in_cheapest(layer, hardware, tables, mixed)
    near = functools.partial(_near_sparse, temperature=event_temperature)
    by_events = _in_cheapest(layer, hardware, _still(tables), near)
    by_prices = _in_cheapest(_still(layer), hardware, tables, mixed)
    return by_events + (by_prices - jax.lax.stop_gradient(by_prices))


def _still(tree: Any) -> Any:
    """Without a gradient; what is no array stays what it is."""
    # Plain numbers made arrays by stop_gradient would be rounded elsewhere.
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if isinstance(leaf, jax.Array) else leaf, tree
    )


def _in_cheapest(
    layer: LayerWorkload,
    hardware: Hardware,
    tables: tuple[PriceTable, ...],
    cheapest: Callable[[list[jax.Array]], jax.Array],
) -> jax.Array:
    """`[B, C]` under these prices, the dataflow chosen once or in every step."""
    plans = _plans(layer, hardware, tables)
    if not isinstance(hardware.architecture, Stepwise):
        return cheapest(plans)
    moving = hardware.architecture.chosen_by_step
    same = {event: row for event, row in tables[0].items() if event not in moving}
    counts = count(layer)
    return _charge(counts, same, counts["synops"]) + cheapest(plans).sum(-2)


def _plans(
    layer: LayerWorkload, hardware: Hardware, tables: tuple[PriceTable, ...]
) -> list[jax.Array]:
    """What each dataflow costs: all of it `[B, C]`, or what differs in each step `[B, T, C]`."""
    if not isinstance(hardware.architecture, Stepwise):
        counts = count(layer)
        return [_charge(counts, table, counts["synops"]) for table in tables]
    moving, steps = hardware.architecture.chosen_by_step, count_by_step(layer)
    return [
        _charge(steps, {e: row for e, row in table.items() if e in moving}, steps["steps"])
        for table in tables
    ]


class Dataflow(NamedTuple):
    """In which dataflow a layer is priced, `[B]` each.

    Attributes:
        dense: share of the window that is priced in the dense dataflow (a message for every
            connection, or input, whether it fired or not), not in the sparse one.
        rate: events that came for each input and step, those fed back included.
        switch_rate: the rate at which both cost the same, events spread as they are; the dense one
            is cheaper above it. Infinite where it never is, NaN where nothing came.
    """

    dense: jax.Array
    rate: jax.Array
    switch_rate: jax.Array


def dataflow(layer: LayerWorkload, hardware: Hardware) -> Dataflow | None:
    """How a layer is priced on a machine with a sparse and a dense dataflow; None on any other.

    Both costs are straight lines in the events: with a factor s on them, `sparse(s) = a + b s` and
    `dense(s) = c + d s` meet at `s = (c - a) / (b - d)`.

    Above the switch the estimate is nearly flat in the spikes. Training therefore uses a gradient
    that still includes the sparse dataflow, there many times the slope of the estimate.

    >>> from jsnn.workload.analytic import dense
    >>> found = dataflow(dense(4096, 4096, steps=5, rate=0.05), get("neuromorphic-22nm"))
    >>> float(found.dense[0]), round(float(found.switch_rate[0]), 3)
    (0.0, 0.2)
    """
    check_hardware(hardware)
    tables = hardware.prices(layer.geometry)
    if len(tables) != 2:
        return None
    now = jnp.stack(_plans(layer, hardware, tables)).sum(-1)
    none = jnp.stack(_plans(jax.tree.map(jnp.zeros_like, layer), hardware, tables)).sum(-1)
    share = (now[1] < now[0]).astype(now.dtype)
    if isinstance(hardware.architecture, Stepwise):
        share, now, none = share.mean(-1), now.sum(-1), none.sum(-1)
    slopes = now - none
    steeper = slopes[0] - slopes[1]
    factor = jnp.where(
        steeper > 0, (none[1] - none[0]) / jnp.where(steeper > 0, steeper, 1), jnp.inf
    )
    g = layer.geometry
    frames = 1 if g.input_kind == "constant" else layer.steps
    places = g.inputs * frames + (g.neurons * layer.steps if g.feeds_back else 0)
    rate = (layer.input_events + layer.recurrent_events) / places
    return Dataflow(share, rate, jnp.where(rate > 0, rate * factor, jnp.nan))


def _cheapest(plans: list[jax.Array], temperature: float) -> jax.Array:
    """`[..., C]` of the dataflow with the smallest sum, chosen for each sample (and step).

    With a temperature the value is the same, and the gradient that of a mixture with the weights
    `softmax(-log(sum) / temperature)`, the form of `jsnn.hardware.relaxation.soft_fits`: in what
    costs k times the cheapest, `k^(-1/temperature)` of its share. The weights themselves carry no
    gradient.
    """
    if len(plans) == 1:
        return plans[0]
    sums, best = _best(plans)
    if not softens(temperature):
        return best
    stacked, smallest = jnp.stack(plans), sums.min(0)
    # Where one costs nothing, so does the mixture: only those that cost nothing are in it.
    nearness = jnp.where(sums > smallest, smallest / jnp.where(sums > 0, sums, 1), 1)
    shares = nearness ** (1 / temperature)
    mixture = ((shares / shares.sum(0))[..., None] * stacked).sum(0)
    return straight_through(best, mixture)


def _near_sparse(plans: list[jax.Array], temperature: float) -> jax.Array:
    """`[..., C]` of the cheapest dataflow; its gradient by events includes the sparse one.

    share · sparse + (1 - share) · cheapest,   share = (E_cheapest / E_sparse)^(1/temperature)

    Where the sparse one, the first, is the cheapest, that is the slope of the estimate itself; from
    the switch on the share falls from 1 without a jump. The share itself carries no gradient, so
    that an added event never lowers the energy.
    """
    if len(plans) == 1:
        return plans[0]
    sums, best = _best(plans)
    if not softens(temperature):
        return best
    near = jnp.where(sums[0] > 0, sums.min(0) / jnp.where(sums[0] > 0, sums[0], 1), 1)
    share = (near ** (1 / temperature))[..., None]
    return straight_through(best, share * plans[0] + (1 - share) * best)


def _best(plans: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Sums `[P, ...]` of the dataflows, without a gradient, and the cheapest of them `[..., C]`."""
    sums = jax.lax.stop_gradient(jnp.stack([plan.sum(-1) for plan in plans]))
    number = sums.argmin(0)[..., None]
    best = plans[0]
    for other, plan in enumerate(plans[1:], 1):
        best = jnp.where(number == other, plan, best)
    return sums, best


def _static(pairs: list[tuple[LayerWorkload, Hardware]], temperature: float) -> jax.Array:
    """`[B, L]` static power x the time the work takes, shared by the time of each layer."""
    machine = pairs[0][1]
    cycles = jnp.stack([layer_cycles(*pair, temperature) for pair in pairs], axis=-1)
    seconds = total_cycles(cycles, machine.architecture.concurrent) / machine.design.clock_hz
    static_pj = machine.technology["static_power_w"] * seconds * PJ_PER_J
    busy = cycles.sum(-1, keepdims=True)
    return static_pj[:, None] * cycles / jnp.where(busy > 0, busy, 1)


def estimate_layers(
    pairs: list[tuple[LayerWorkload, Hardware]],
    temperature: float = 0.0,
    event_temperature: float | None = None,
) -> EnergyBreakdown:
    """The energy of layers that each bring their own hardware (such as bit widths by layer).

    All of it must be one machine up to its constants and design parameters; ValueError otherwise,
    as for no layer, sample or step, and for temperatures that are no finite numbers from 0 on. The
    parts of a sample that was not counted in whole (`LayerWorkload.finite`) are NaN.

    >>> from jsnn.workload.analytic import dense
    >>> wide = get("neuromorphic-22nm")
    >>> a, b = (dense(64, 32, steps=5, rate=0.05, name=n) for n in "ab")
    >>> energy = estimate_layers([(a, wide), (b, wide.with_design(weight_bits=4))])
    >>> bool(energy.layers_pj()[0, 0] > energy.layers_pj()[0, 1])
    True
    """
    for _, hardware in pairs:
        check_hardware(hardware)
        for name, value in hardware.design.parameters.items():
            if jnp.ndim(value):
                raise ValueError(
                    f"{hardware.name}: the design parameter {name} is an array "
                    f"{list(jnp.shape(value))}; price "
                    "several designs at once with jax.vmap over the machine"
                )
    if not pairs:
        raise ValueError("expected a workload of at least one layer, found none")
    check_number("temperature", temperature, 0)
    if event_temperature is not None:
        check_number("event_temperature", event_temperature, 0)
    if len(names := {hardware.name for _, hardware in pairs}) > 1:
        raise ValueError(f"expected the layers of one machine, found {sorted(names)}")
    pairs[0][1].check([(hardware.design, layer.geometry) for layer, hardware in pairs])
    # Even where the machine has no price: what was counted wrongly must not look cheap.
    parts = [
        jnp.where(
            layer.finite[:, None],
            _layer_pj(layer, hardware, temperature, event_temperature),
            jnp.nan,
        )
        for layer, hardware in pairs
    ]
    machine = pairs[0][1]
    parts_pj = jnp.stack(parts, axis=1)
    if machine.burns_while_it_works:
        column = COMPONENTS.index("static")
        parts_pj = parts_pj.at[..., column].add(_static(pairs, temperature))
    return EnergyBreakdown(
        parts_pj=parts_pj,
        layers=tuple(layer.geometry.name for layer, _ in pairs),
        hardware=machine.name,
        unpriced=machine.unpriced,
        provenances=machine.technology.provenances,
    )


def estimate_energy(
    workload: Workload,
    hardware: Hardware,
    temperature: float = 0.0,
    event_temperature: float | None = None,
) -> EnergyBreakdown:
    """Energy of a workload on a machine: `parts[b, l, c] = Σ_e count[b, l, e] · price[l, e, c]`.

    Differentiable with respect to every array of the workload, every constant and every design
    parameter. Where a machine offers several dataflows, each sample runs each layer in the
    cheapest, chosen anew in every step where the architecture is `Stepwise`. A sample's energy does
    not depend on its batch. It is NaN where a sample was not counted in whole
    (`LayerWorkload.finite`).

    Args:
        workload: what the network did.
        hardware: the machine.
        temperature: of hard choices, for their gradient only (`jsnn.hardware.relaxation`). Above
            0, a dataflow that costs k times the cheapest enters the gradient with a share that
            falls as `k^(-1/temperature)`; 0 is the cheapest alone.
        event_temperature: of the choice between dataflows, for the gradient by events: a layer in
            the dense one, whose sparse one costs k times as much, takes `k^(-1/t)` of its gradient
            from the sparse one and the rest from the dense; below the switch the gradient is the
            slope of the estimate. 0 is the cheapest alone; None: the mixture of `temperature`.

    Raises:
        ValueError: a network that ran under levers; no layer; what the machine refuses.

    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    >>> float(estimate_energy(workload, machine).total_pj()[0]) / 4096**2
    0.80294
    """
    refuse_levers(workload)
    whole = estimate_layers(_on(workload, hardware), temperature, event_temperature)
    return dataclasses.replace(whole, left_out=workload.unpriced)


def _on(workload: Workload, hardware: Hardware) -> list[tuple[LayerWorkload, Hardware]]:
    return [(layer, hardware) for layer in workload]


def spike_independent_energy(workload: Workload, hardware: Hardware) -> EnergyBreakdown:
    """The energy when none of the network's own neurons fires: `estimate_energy(silenced)`.

    Warns:
        UserWarning: a layer whose input comes from a function of the user's, so that it is unknown
            whether it comes from outside (`Workload.source_unknown`).

    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(64, 32, steps=4, rate=0.2), dense(32, 10, steps=4, rate=0.2)))
    >>> machine = get("hierarchy-45nm")
    >>> silent = spike_independent_energy(workload, machine).total_pj()
    >>> bool(silent[0] < estimate_energy(workload, machine).total_pj()[0])
    True
    """
    if unknown := workload.source_unknown:
        warnings.warn(
            f"what comes into {', '.join(map(repr, unknown))} passed through a function of your "
            "own, so it is taken to be spikes of the network's neurons, which the "
            "spike-independent energy lacks. Declare input_kind='events' where it comes from "
            "outside of the network",
            stacklevel=2,
        )
    return estimate_energy(workload.silenced(), hardware)


def spike_dependent_pj(workload: Workload, hardware: Hardware) -> jax.Array:
    """`[B]` pJ that silent neurons would save: `total - spike_independent_energy`.

    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(64, 32, steps=4, rate=0.2, rate_out=0, input_kind="events"),))
    >>> float(spike_dependent_pj(workload, get("hierarchy-45nm"))[0])
    0.0
    """
    return (
        estimate_energy(workload, hardware).total_pj()
        - spike_independent_energy(workload, hardware).total_pj()
    )


def op_count_proxy(workload: Workload, hardware: Hardware | None = None) -> jax.Array:
    """`[B]` pJ by the operation-count convention: `0.9 · synops + 4.6 · macs`.

    Synapses only: no neuron, no memory, no movement. With another `hardware`, that machine's adds
    and multiply-accumulates take the place of 0.9 and 4.6 pJ (fp32, 45 nm).

    >>> from jsnn.workload.analytic import dense
    >>> float(op_count_proxy(Workload((dense(100, 10, steps=5, rate=0.1),)))[0])
    450.0
    """
    machine = get("compute-only-45nm") if hardware is None else hardware
    # Papers count the network as it runs, whatever a lever says of its cost.
    operations = estimate_layers(_on(workload, machine))
    return operations.components_pj()[:, COMPONENTS.index("synapse")]
