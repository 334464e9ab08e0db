"""Report of an energy estimate: three numbers side by side, and how certain they are.

Every report shows the operation count that papers quote, the energy estimate and the ratio to the
QNN; the spike-independent energy; which layers win; the share of drawn constants under which the
spiking network wins; the provenances of the constants, what has no price, and how many neurons one
message serves, on which the verdict depends.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsnn._checks import check_number, whole_number
from jsnn._pytree import is_concrete
from jsnn.energy.estimate import (
    Dataflow,
    EnergyBreakdown,
    dataflow,
    dataflow_text,
    estimate_energy,
    left_out_lines,
    op_count_proxy,
)
from jsnn.energy.latency import latency
from jsnn.energy.qnn import Density, estimate_qnn_energy, qnn_workload
from jsnn.energy.uncertainty import Sensitivity, monte_carlo, sensitivities
from jsnn.hardware import Hardware, check_hardware
from jsnn.hardware.architectures import Timed
from jsnn.hardware.power import PJ_PER_J
from jsnn.units import energy_text
from jsnn.workload import Workload, require_finite

__all__ = ["Comparison", "Report", "battery_life_s", "compare", "report"]

SHARE = 0.95
# Constants and design parameters named in the text of a report; the JSON holds all.
_NAMED = 4
_TARGETS = "targets_per_message"
_DEAD = (
    "DEAD: none of the hidden neurons fired on any sample, so the network tells nothing apart; the "
    "figures below are those of silence."
)


@dataclasses.dataclass(frozen=True)
class Report:
    """One workload on one machine, per inference, means over the samples; all plain numbers.

    Attributes:
        hardware: name of the machine.
        samples, steps: how many samples were run, and the longest time window among the layers.
        density: of the QNN.
        per_step: whether each step is a decision of its own, so that the QNN runs in every step.
        op_count_pj: 0.9 pJ a synaptic addition and 4.6 pJ a multiply-accumulate, nothing else.
        snn, qnn: energies of the mean sample.
        spike_independent_pj: what is left when no hidden neuron fires.
        source_unknown: names of the layers whose input the spike-independent energy only takes to
            be hidden spikes.
        spike_rates: spikes per neuron and step of each layer.
        spiking: numbers of the layers whose neurons can fire.
        dataflows: of each layer `dense`, `rate` and `switch_rate` (`jsnn.energy.Dataflow`); None on
            a machine with one dataflow.
        draws: how many draws of the constants the next two are based on.
        intervals: central 95 % of `snn_pj`, `qnn_pj` and `ratio` over the draws.
        wins: share of the draws in which the spiking network costs less.
        parameters: of the design.
        sensitivities: of joules and ratio, largest first.
        latency_s: of an inference of `snn` and `qnn`; None where the machine counts no cycles.
    """

    hardware: str
    samples: int
    steps: int
    density: str
    per_step: bool
    op_count_pj: float
    snn: EnergyBreakdown
    qnn: EnergyBreakdown
    spike_independent_pj: float
    source_unknown: tuple[str, ...]
    spike_rates: tuple[float, ...]
    spiking: tuple[int, ...]
    dataflows: tuple[Mapping[str, float] | None, ...]
    draws: int
    intervals: Mapping[str, tuple[float, float]]
    wins: float
    parameters: Mapping[str, float]
    sensitivities: tuple[Sensitivity, ...]
    latency_s: Mapping[str, float] | None = None

    @property
    def snn_pj(self) -> float:
        """Energy estimate of the spiking network."""
        return float(self.snn.total_pj()[0])

    @property
    def qnn_pj(self) -> float:
        """Energy estimate of its QNN."""
        return float(self.qnn.total_pj()[0])

    @property
    def dead(self) -> bool:
        """Whether there are hidden neurons and none of them fired."""
        return bool(self.spiking) and not any(self.spike_rates[l] for l in self.spiking)

    @property
    def ratio(self) -> float:
        """Energy estimate over that of the QNN; below one, spikes win."""
        return _over(self.snn_pj, self.qnn_pj)

    @property
    def spike_dependent_pj(self) -> float:
        """What silent hidden neurons would save."""
        return self.snn_pj - self.spike_independent_pj

    @property
    def energy_delay_js(self) -> dict[str, float] | None:
        """Energy x latency of both, J·s; None where the latency is unknown."""
        if self.latency_s is None:
            return None
        pj = {"snn": self.snn_pj, "qnn": self.qnn_pj}
        return {name: pj[name] / PJ_PER_J * time for name, time in self.latency_s.items()}

    @property
    def layer_ratios(self) -> tuple[float, ...]:
        """E_SNN / E_QNN of each layer."""
        pairs = zip(self.snn.layers_pj()[0], self.qnn.layers_pj()[0], strict=True)
        return tuple(_over(float(a), float(b)) for a, b in pairs)

    @property
    def targets_per_message(self) -> float | None:
        """Neurons that one message serves; None where the machine has no such design parameter."""
        return self.parameters.get(_TARGETS)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON; what is infinite or undefined is null."""
        content = {
            "hardware": self.hardware,
            "samples": self.samples,
            "dead": self.dead,
            "steps": self.steps,
            "density": self.density,
            "per_step": self.per_step,
            "op_count_pj": self.op_count_pj,
            "energy_pj": self.snn_pj,
            "qnn_pj": self.qnn_pj,
            "energy_ratio": self.ratio,
            "spike_independent_pj": self.spike_independent_pj,
            "source_unknown": list(self.source_unknown),
            "spike_dependent_pj": self.spike_dependent_pj,
            _TARGETS: self.targets_per_message,
            "draws": self.draws,
            "interval_share": SHARE,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "probability_snn_wins": self.wins,
            "layers": self._layers(),
            "provenances": list(self.snn.provenances),
            "unpriced": dict(self.snn.unpriced),
            "left_out": list(self.snn.left_out),
            "parameters": dict(self.parameters),
            "latency_s": None if self.latency_s is None else dict(self.latency_s),
            "energy_delay_js": self.energy_delay_js,
            "sensitivities": [
                dataclasses.asdict(s) | {"ratio": s.ratio} for s in self.sensitivities
            ],
        }
        return _finite(content)

    def _layers(self) -> list[dict[str, Any]]:
        snn, other = (np.asarray(b.parts_pj)[0] for b in (self.snn, self.qnn))
        return [
            {
                "layer": name,
                "spike_rate": self.spike_rates[l],
                "dataflow": None if self.dataflows[l] is None else dict(self.dataflows[l]),
                "energy_pj": float(snn[l].sum()),
                "qnn_pj": float(other[l].sum()),
                "energy_ratio": self.layer_ratios[l],
                "parts_pj": dict(zip(self.snn.components, snn[l].tolist(), strict=True)),
                "qnn_parts_pj": dict(zip(self.snn.components, other[l].tolist(), strict=True)),
            }
            for l, name in enumerate(self.snn.layers)
        ]

    def __str__(self) -> str:
        """Three numbers, their interval, layer by layer, what moves them, what is not known."""
        ends = {name: _span(*self.intervals[name]) for name in ("snn_pj", "qnn_pj")}
        low, high = self.intervals["ratio"]
        lines = [
            f"{self.hardware} ({', '.join(self.snn.provenances)} constants; {_targets(self)}; "
            f"{self.density} density of the QNN, which runs "
            f"{'in every step' if self.per_step else 'once'}); {self.samples:,} samples, up to "
            f"{self.steps:,} steps",
            *([_DEAD] if self.dead else []),
            f"Operation count (in fp32, as papers do) {energy_text(self.op_count_pj)} | "
            f"energy estimate {energy_text(self.snn_pj)} | energy ratio to the QNN "
            f"{_ratio(self.ratio)} ({energy_text(self.qnn_pj)}): {_verdict(self.ratio)}.",
            f"{SHARE:.0%} of {self.draws:,} draws of the constants: energy {ends['snn_pj']}, "
            f"QNN {ends['qnn_pj']}, ratio {_ratio(low)} to {_ratio(high)}; the spiking network "
            f"costs less in {self.wins:.1%}.",
            f"Spike-independent energy, with no hidden spike at all: "
            f"{energy_text(self.spike_independent_pj)}; spike-dependent: "
            f"{energy_text(self.spike_dependent_pj)}.",
        ]
        if self.source_unknown:
            lines.append(
                "The spike-independent energy takes what comes into "
                f"{', '.join(self.source_unknown)} to be hidden spikes: nobody handed on "
                "where it comes from (input_kind 'events' says outside)."
            )
        table = [["layer", "spikes/neuron/step", "energy estimate", "QNN", "ratio"]]
        table += [
            [
                row["layer"],
                f"{row['spike_rate']:.3g}",
                energy_text(row["energy_pj"]),
                energy_text(row["qnn_pj"]),
                _ratio(row["energy_ratio"]),
            ]
            for row in self._layers()
        ]
        lines += _aligned(table)
        lines += [
            f"{name}: {dataflow_text(**flow)}."
            for name, flow in zip(self.snn.layers, self.dataflows, strict=True)
            if flow is not None
        ]
        if self.latency_s is not None:
            time, product = self.latency_s, self.energy_delay_js
            lines.append(
                f"Latency {time['snn'] * 1e6:.4g} µs, QNN {time['qnn'] * 1e6:.4g} µs; energy x "
                f"delay {product['snn']:.3g} Js, QNN {product['qnn']:.3g} Js."
            )
        moved = [s for s in self.sensitivities if abs(s.energy) >= 0.005][:_NAMED]
        named = ", ".join(f"{s.name} {s.energy:+.2f} (ratio {s.ratio:+.2f})" for s in moved)
        lines.append(f"One per cent more of each moves the energy by so many per cent: {named}.")
        lines += [f"— {component}: unpriced, {reason}" for component, reason in self.snn.unpriced]
        return "\n".join([*lines, *left_out_lines(self.snn.left_out)])


def report(
    workload: Workload,
    hardware: Hardware,
    *,
    draws: int = 1000,
    seed: int = 0,
    spread: Mapping[str, float] | None = None,
    density: Density = "measured",
) -> Report:
    """The full report of a workload on a machine, computed in float64.

    Args:
        workload: what the spiking network did, one or more samples.
        hardware: the machine.
        draws: of the constants, see `jsnn.energy.uncertainty.monte_carlo`.
        seed: of these draws.
        spread: see `jsnn.energy.uncertainty.ranges`.
        density: of the QNN, see `jsnn.energy.qnn.qnn_workload`.

    Raises:
        ValueError: no layer, sample or step, counts that are negative or not finite, draws or a
            seed that are no whole numbers, and what the machine refuses.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    >>> found = report(workload, get("neuromorphic-22nm").with_design(weight_bits=4), draws=100)
    >>> round(found.ratio, 3), found.targets_per_message
    (0.877, 1.0)
    """
    check_hardware(hardware)
    _check(workload)
    draws, seed = whole_number("draws", draws, 1, 10**9), whole_number("seed", seed, 0, 2**32 - 1)
    with jax.enable_x64(True):
        # Counts are exact in float32 sample by sample, their products with fan-outs are not.
        workload = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), workload)
        spiking, other = (
            estimate_energy(workload, hardware),
            estimate_qnn_energy(workload, hardware, density),
        )
        key = jax.random.key(seed)
        drawn = monte_carlo(key, workload, hardware, draws, spread=spread, density=density)
        return Report(
            hardware=hardware.name,
            samples=len(spiking.parts_pj),
            steps=max(layer.steps for layer in workload),
            density=density,
            per_step=workload.per_step,
            op_count_pj=float(op_count_proxy(workload).mean()),
            snn=_plain(spiking),
            qnn=_plain(other),
            spike_independent_pj=float(
                estimate_energy(workload.silenced(), hardware).total_pj().mean()
            ),
            source_unknown=workload.source_unknown,
            spike_rates=tuple(float(layer.spike_rate.mean()) for layer in workload),
            spiking=tuple(l for l, layer in enumerate(workload) if layer.geometry.spiking),
            dataflows=tuple(_means(dataflow(layer, hardware)) for layer in workload),
            draws=draws,
            intervals={what: drawn.interval(what, SHARE) for what in ("snn_pj", "qnn_pj", "ratio")},
            wins=float(drawn.wins),
            parameters={name: float(value) for name, value in hardware.design.parameters.items()},
            sensitivities=sensitivities(workload, hardware, spread=spread, density=density),
            latency_s=_latency_s(workload, hardware, density),
        )


def _means(flow: Dataflow | None) -> dict[str, float] | None:
    return None if flow is None else {k: float(v.mean()) for k, v in flow._asdict().items()}


def _latency_s(workload: Workload, hardware: Hardware, density: Density) -> dict[str, float] | None:
    if not isinstance(hardware.architecture, Timed):
        return None
    passes = {"snn": workload, "qnn": qnn_workload(workload, density)}
    return {name: float(latency(w, hardware).seconds.mean()) for name, w in passes.items()}


def _check(workload: Workload) -> None:
    if not len(workload):
        raise ValueError("expected a workload of at least one layer, found none")
    for layer in workload:
        name = layer.geometry.name
        if not layer.events_by_fan_out.shape[0]:
            raise ValueError(f"layer {name!r}: expected at least one sample, found none")
        check_number(f"steps of layer {name!r}", layer.steps, 1)
        for field in ("events_by_fan_out", "active", "recurrent_events", "spikes"):
            if np.any(np.asarray(getattr(layer, field)) < 0):
                raise ValueError(f"layer {name!r}: expected {field} of at least 0, found less")
    require_finite(workload)


def _plain(whole: EnergyBreakdown) -> EnergyBreakdown:
    mean = whole.mean()
    return dataclasses.replace(mean, parts_pj=np.asarray(mean.parts_pj))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One workload on several machines.

    Attributes:
        reports: of the machines that can run it, in the order asked for.
        refused: `(name, reason)` of those that cannot.
    """

    reports: tuple[Report, ...]
    refused: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All reports, by machine, and who refused."""
        return {
            "machines": {report.hardware: report.to_json() for report in self.reports},
            "refused": dict(self.refused),
        }

    def table(self) -> str:
        """A line a machine: the three numbers, their interval, what the verdict depends on."""
        head = [
            "machine",
            "operation count",
            "energy estimate",
            "energy ratio",
            f"{SHARE:.0%} of draws",
        ]
        rows = [[*head, "P(SNN wins)", "spike-independent", "targets/message", "provenance"]]
        for report in self.reports:
            targets = report.targets_per_message
            rows.append(
                [
                    report.hardware,
                    energy_text(report.op_count_pj),
                    energy_text(report.snn_pj),
                    _ratio(report.ratio),
                    " to ".join(map(_ratio, report.intervals["ratio"])),
                    f"{report.wins:.0%}",
                    energy_text(report.spike_independent_pj),
                    "–" if targets is None else f"{targets:g}",
                    ", ".join(report.snn.provenances),
                ]
            )
        lines = _aligned(rows, left=(0, len(rows[0]) - 1))
        return "\n".join([*lines, *(f"{name}: refused, {why}" for name, why in self.refused)])

    def __str__(self) -> str:
        """The table, then each report."""
        return "\n\n".join([self.table(), *map(str, self.reports)])


def compare(workload: Workload, machines: Iterable[Hardware], **options: Any) -> Comparison:
    """`report` on several machines; those that cannot run the workload are listed with the reason.

    Args:
        workload: what the spiking network did.
        machines: at least one, each with a name of its own.
        **options: of `report`.

    Raises:
        ValueError: no machine, two of one name, or not one that can run it.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(64, 32, steps=4, rate=0.1),))
    >>> both = compare(workload, map(get, ("compute-only-45nm", "hierarchy-45nm")), draws=10)
    >>> [one.ratio < 1 for one in both.reports]
    [True, False]
    """
    _check(workload)
    machines = list(machines)
    for machine in machines:
        check_hardware(machine)
    names = [machine.name for machine in machines]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected machines of different names, at least one, found {names}")
    reports, refused = [], []
    for machine in machines:
        try:
            reports.append(report(workload, machine, **options))
        except ValueError as error:
            refused.append((machine.name, str(error)))
    if not reports:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused)
        raise ValueError(f"no machine can run this workload ({reasons})")
    return Comparison(tuple(reports), tuple(refused))


def battery_life_s(
    battery_j: Any, energy_j: Any, rate_hz: Any, sensor_w: Any = 0.0, idle_w: Any = 0.0
) -> Any:
    """How long a battery lasts: `battery / (energy · rate + sensor + idle)`, s.

    Args:
        battery_j: usable energy of the battery, J.
        energy_j: of an inference, J. Where static power is unpriced the life is an upper bound.
        rate_hz: inferences a second.
        sensor_w: of the sensor, always on, W.
        idle_w: of everything else that is always on, W.

    Raises:
        ValueError: no battery, anything negative or not finite, or nothing that drains it.

    >>> battery_life_s(1000.0, energy_j=1e-6, rate_hz=100.0, sensor_w=9e-4) / 86400
    11.574
    """
    given = {
        "battery_j": battery_j,
        "energy_j": energy_j,
        "rate_hz": rate_hz,
        "sensor_w": sensor_w,
        "idle_w": idle_w,
    }
    for name, value in given.items():
        check_number(name, value)
        least = "above" if name == "battery_j" else "of at least"
        if is_concrete(value):
            value = np.asarray(value)
            if not np.all(value > 0 if name == "battery_j" else value >= 0):
                raise ValueError(f"expected a finite {name} {least} 0, found {given[name]}")
    drain_w = energy_j * rate_hz + sensor_w + idle_w
    if is_concrete(drain_w) and not np.all(np.asarray(drain_w) > 0):
        raise ValueError(
            "nothing drains this battery: energy_j · rate_hz, sensor_w and idle_w are all zero"
        )
    return battery_j / drain_w


def _over(a: float, b: float) -> float:
    return a / b if b else math.inf if a else math.nan


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(part) for name, part in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(part) for part in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _verdict(ratio: float) -> str:
    if math.isnan(ratio):
        return "neither costs anything"
    if math.isclose(ratio, 1, rel_tol=1e-6):
        return "it is a draw"
    return "it loses" if ratio > 1 else "it wins"


def _targets(report: Report) -> str:
    targets = report.targets_per_message
    return "no targets_per_message" if targets is None else f"{_TARGETS} = {targets:g}"


def _ratio(value: float) -> str:
    # Beside one, three digits would hide who wins.
    close = 0.9 < value < 1.1 and not math.isclose(value, 1, rel_tol=1e-6)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4f}" if close else f"{value:.3g}"


def _span(low: float, high: float) -> str:
    return f"{energy_text(low)} to {energy_text(high)}"


def _aligned(table: Sequence[Sequence[str]], left: tuple[int, ...] = (0,)) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
