"""Figures of training, energy with its uncertainty, spike trains and Pareto fronts.

Each function returns a new `matplotlib.figure.Figure`, without pyplot's global state, and writes it
to `path` if one is given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jsnn.energy import COMPONENTS, EnergyBreakdown
from jsnn.energy.report import Report
from jsnn.energy.uncertainty import Sensitivity
from jsnn.units import unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["breakdown", "curves", "pareto_front", "raster", "ratios", "tornado"]

# Source: Okabe & Ito, Color Universal Design (2008), without its yellow; distinguishable with all
# common forms of colour blindness.
_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILION, _PURPLE = "#0072B2", "#D55E00", "#CC79A7"
_GREY = "#7F7F7F"
_LINES = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK)
_DASHES = ("-", "--", "-.", ":")
_COMPONENT_COLOURS = dict(
    zip(COMPONENTS, (_BLUE, _SKY, _VERMILION, _ORANGE, _GREEN, _PURPLE, _GREY), strict=True)
)
_DPI = 150
# Most neurons in one panel whose spikes are drawn one by one.
_DASHES_UP_TO = 256


def curves(
    rows: Sequence[Mapping[str, Any]], layers: Sequence[str], path: str | os.PathLike | None = None
) -> Figure:
    """Training curves by epoch: loss and its terms, accuracy, energy, spikes by layer.

    Args:
        rows: of `metrics.jsonl`, as `experiments.train` writes them.
        layers: names of the layers, in the order of `row["spikes"]`.
        path: file to write the figure to; None: none.

    Raises:
        ValueError: no rows, or rows with another number of layers.
    """
    if not rows:
        raise ValueError("expected the metrics of at least one epoch, got none")
    spikes = np.asarray([row["spikes"] for row in rows], float)
    if spikes.shape != (len(rows), len(layers)):
        raise ValueError(f"expected spikes of {len(layers)} layers, got shape {spikes.shape}")
    epochs = [row["epoch"] for row in rows]
    figure = _figure(12, 6.5)
    loss, accuracy, energy, activity = figure.subplots(2, 2).flat

    def column(name: str) -> np.ndarray:
        return np.asarray([row[name] for row in rows], float)

    def draw(axes: Axes, values: np.ndarray, label: str, colour: str, dash: str = "-") -> None:
        # A single epoch is a point, as there is no line to draw.
        mark = {"marker": "o", "fillstyle": "full" if dash == "-" else "none"}
        single = mark if len(rows) == 1 else {}
        axes.plot(epochs, values, dash, color=colour, label=label, **single)

    for name, label, colour, dash in (
        ("train_loss", "loss, weighted sum", _BLACK, "-"),
        ("train_task", "task", _BLUE, "-"),
        ("validation_task", "task, validation", _BLUE, "--"),
        ("train_energy", "energy (energy / initial energy)", _VERMILION, "-"),
        ("train_dead_neurons", "dead_neurons", _GREEN, "-"),
    ):
        draw(loss, column(name), label, colour, dash)
    _finish(loss, "Loss, and its terms before weighting", "loss")
    loss.set_ylim(bottom=min(0.0, loss.get_ylim()[0]))

    for name, label, dash in (("train", "training", "-"), ("validation", "validation", "--")):
        draw(accuracy, 100 * column(f"{name}_accuracy"), label, _BLUE, dash)
    _finish(accuracy, "Accuracy", "accuracy (%)")

    total, independent = column("validation_pj"), column("validation_spike_independent_pj")
    pj, unit = unit_of(float(np.nanmax(total)))
    draw(energy, total / pj, "energy, validation", _VERMILION)
    draw(energy, independent / pj, "spike-independent energy: no hidden spike", _GREY, "--")
    _finish(energy, "Energy", f"energy per inference ({unit})")
    if (total > 0).all() and (independent > 0).all():
        _log_axis(energy)

    for number, (layer, values) in enumerate(zip(layers, spikes.T, strict=True)):
        if values.any():
            draw(activity, values, layer, *_style(number))
        else:
            activity.plot([], [], " ", label=f"{layer}: none")
    _finish(activity, "Spikes by layer, validation", "spikes per inference")
    _activity_axis(activity, spikes[:, spikes.any(0)])
    for axes in figure.axes:
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    return _written(figure, path)


def breakdown(
    before: EnergyBreakdown,
    after: EnergyBreakdown,
    path: str | os.PathLike | None = None,
    *,
    names: tuple[str, str] = ("before", "after"),
) -> Figure:
    """Energy of the mean sample by layer and component, before and after training.

    Components for which the machine has no price are listed in the legend as unpriced.

    Args:
        before: energy estimate at initialisation; a batch is averaged.
        after: energy estimate of the trained network.
        path: file to write the figure to; None: none.
        names: labels of the two, such as a spiking network and its QNN.

    Raises:
        ValueError: estimates for different machines or layers.
    """
    from matplotlib.patches import Patch

    if (before.hardware, before.layers) != (after.hardware, after.layers):
        raise ValueError(
            "expected two energies of the same network on the same machine, got "
            f"{before.hardware} {list(before.layers)} and {after.hardware} {list(after.layers)}"
        )
    # [layers and their sum, before and after, components]
    parts = np.stack([np.asarray(b.parts_pj, float).mean(0) for b in (before, after)], axis=1)
    parts = np.concatenate([parts.sum(0, keepdims=True), parts])
    pj, unit = unit_of(parts.sum(-1).max())
    groups = ["whole network", *before.layers]
    figure = _figure(10, 1.8 + 0.62 * len(groups))
    axes = figure.subplots()
    rows = np.arange(len(groups))[:, None] + np.array([-0.2, 0.2])
    start, handles = np.zeros_like(rows), []
    without = dict(before.unpriced)
    for number, component in enumerate(COMPONENTS):
        label, width = component.replace("_", " "), parts[..., number] / pj
        if component in without:
            handles.append(Patch(facecolor="none", edgecolor=_GREY, label=f"{label}: unpriced"))
        elif width.any():
            colour = _COMPONENT_COLOURS[component]
            handles.append(Patch(color=colour, label=label))
            axes.barh(rows.ravel(), width.ravel(), 0.36, start.ravel(), color=colour)
        start = start + width
    for row, end, energy in zip(rows.flat, start.flat, (parts.sum(-1) / pj).flat, strict=True):
        axes.annotate(
            f"{energy:,.0f}" if energy >= 1000 else f"{energy:.3g}",
            (end, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    labels = [f"{group}  {name}" for group in groups for name in names]
    axes.set_yticks(rows.ravel(), labels)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"energy per inference ({unit})")
    axes.xaxis.set_major_formatter(_plain)
    axes.set_title(f"{before.hardware} ({', '.join(before.provenances)} constants)", loc="left")
    _bare(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    return _written(figure, path)


def raster(
    trains: Mapping[str, Any], path: str | os.PathLike | None = None, *, sample: int = 0
) -> Figure:
    """Spikes of one sample: a dash for each spike by neuron and step, one panel per layer.

    Layers of more than 256 neurons are shaded instead, by the share of neighbouring neurons that
    fire.

    Args:
        trains: `{name of the layer: [T, B, N]}`, from `jsnn.train.diagnosis.spike_trains`.
        path: file to write the figure to; None: none.
        sample: index in the batch.

    Raises:
        ValueError: no layer, arrays that are not `[T, B, N]`, or no such sample.

    >>> len(raster({"hidden": np.eye(8)[:, None], "readout": np.eye(8, 3)[:, None]}).axes)
    2
    """
    if not trains:
        raise ValueError("expected the spikes of at least one layer, got none")
    figure = _figure(9, 0.8 + 2.1 * len(trains))
    panels = figure.subplots(len(trains), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, spikes) in zip(panels, trains.items(), strict=True):
        spikes = np.asarray(spikes)
        if spikes.ndim != 3 or not 0 <= sample < spikes.shape[1]:
            raise ValueError(
                f"layer {name!r}: expected spikes [T, B, N] with a sample {sample}, "
                f"got shape {list(spikes.shape)}"
            )
        _panel(axes, name, spikes[:, sample])
    panels[-1].set_xlabel("time step")
    panels[-1].xaxis.set_major_locator(_ticker().MaxNLocator(integer=True))
    return _written(figure, path)


def tornado(
    sensitivities: Sequence[Sensitivity],
    path: str | os.PathLike | None = None,
    *,
    title: str = "",
    most: int = 12,
) -> Figure:
    """Sensitivity of energy and energy ratio: a bar per constant and design parameter.

    A bar extends from the first-order change at the low end of the range to that at the high end;
    the range of a design parameter is half to double its value. Bars are sorted by length in the
    energy panel; those shorter than a hundredth of the longest in both panels are left out.

    Args:
        sensitivities: from `jsnn.energy.uncertainty.sensitivities`.
        path: file to write the figure to; None: none.
        title: above the figure.
        most: largest number of bars.

    Raises:
        ValueError: nothing to draw.
    """
    longest = {
        what: np.asarray([max(map(abs, np.nan_to_num(s.swing(what)))) for s in sensitivities])
        for what in ("energy", "ratio")
    }
    shown = sum(reach > 0.01 * reach.max(initial=0) for reach in longest.values())
    order = [n for n in np.argsort(-longest["energy"], kind="stable") if shown[n]][: max(0, most)]
    if not order:
        raise ValueError(
            "expected at least one constant or design parameter that moves the energy, found none"
        )
    moving = [sensitivities[n] for n in order]
    rows = np.arange(len(moving))
    figure = _figure(11, 1.8 + 0.36 * len(moving))
    panels = figure.subplots(1, 2, sharey=True)
    whats = (("energy", "energy estimate"), ("ratio", "energy ratio"))
    for axes, (what, label) in zip(panels, whats, strict=True):
        swings = 100 * np.asarray([s.swing(what) for s in moving])
        axes.barh(rows, swings[:, 0], 0.7, color=_SKY, label="at the low end")
        axes.barh(rows, swings[:, 1], 0.7, color=_VERMILION, label="at the high end")
        axes.axvline(0, color=_BLACK, linewidth=0.8)
        axes.set_xlabel(f"change of the {label} (%)")
        axes.xaxis.set_major_formatter(_plain)
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        _bare(axes)
    labels = [f"{s.name} ({s.provenance}: {_short(s.low)} to {_short(s.high)})" for s in moving]
    panels[0].set_yticks(rows, labels)
    panels[0].invert_yaxis()
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return _written(figure, path)


def ratios(reports: Sequence[Report], path: str | os.PathLike | None = None) -> Figure:
    """E_SNN / E_QNN on each machine with the interval of its draws, and how often spikes win.

    Args:
        reports: of one workload, from `jsnn.energy.report.compare`.
        path: file to write the figure to; None: none.

    Raises:
        ValueError: no reports, or ratios that are not finite and positive.
    """

    values = np.asarray([report.ratio for report in reports], float)
    if not values.size or not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError(f"expected finite ratios above 0 of at least one machine, found {values}")
    ends = np.asarray([report.intervals["ratio"] for report in reports], float)
    rows = np.arange(len(reports))
    figure = _figure(9, 1.4 + 0.34 * len(reports))
    axes = figure.subplots()
    for row, value, (low, high), report in zip(rows, values, ends, reports, strict=True):
        draw = np.isclose(value, 1, rtol=1e-6, atol=0)
        colour, marker = (_GREY, "D") if draw else (_BLUE, "o") if value < 1 else (_VERMILION, "s")
        axes.plot([low, high], [row, row], color=colour, linewidth=2, alpha=0.6)
        axes.plot(value, row, marker, color=colour)
        axes.annotate(
            f"{report.wins:.0%}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize="small",
        )
    axes.axvline(1, color=_BLACK, linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_ticker().LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(_plain)
    axes.xaxis.set_minor_formatter(_ticker().NullFormatter())
    axes.set_yticks(rows, [_with_targets(report) for report in reports])
    axes.invert_yaxis()
    axes.set_xlabel("energy of the spiking network / of its QNN (left of 1, spikes win)")
    axes.set_title("Ratio to the QNN; at the right: share of draws that spikes win", loc="left")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    _bare(axes)
    return _written(figure, path)


def pareto_front(
    points: Sequence[Mapping[str, Any]],
    spike_independent_pj: float | None = None,
    path: str | os.PathLike | None = None,
) -> Figure:
    """Accuracy over energy: each point with the spread of its runs, and the Pareto front as a line.

    Args:
        points: each with `label`, `pj` and `accuracy` (mean, standard deviation) and `chosen`,
            whether it lies on the Pareto front.
        spike_independent_pj: spike-independent energy, drawn as a line.
        path: file to write the figure to; None: none.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("expected at least one point, got none")
    figure = _figure(7, 4.5)
    axes = figure.subplots()
    means = [point["pj"][0] for point in points]
    scale, unit = unit_of(max(means))
    for chosen, colour, label in ((True, _BLUE, "front"), (False, _GREY, "beaten")):
        of = sorted((p for p in points if p["chosen"] == chosen), key=lambda p: p["pj"][0])
        if not of:
            continue
        pj, accuracy = (np.asarray([p[name] for p in of], float) for name in ("pj", "accuracy"))
        axes.errorbar(
            pj[:, 0] / scale,
            100 * accuracy[:, 0],
            xerr=pj[:, 1] / scale,
            yerr=100 * accuracy[:, 1],
            fmt="o-" if chosen else "o",
            fillstyle="full" if chosen else "none",
            color=colour,
            label=label,
            capsize=2,
        )
        for point in of:
            at = (point["pj"][0] / scale, 100 * point["accuracy"][0])
            axes.annotate(
                point["label"], at, (4, -9), textcoords="offset points", fontsize=7, color=colour
            )
    if spike_independent_pj is not None:
        axes.axvline(
            spike_independent_pj / scale, linestyle=":", color=_BLACK, label="spike_independent"
        )
    _finish(axes, "Chosen on validation, measured on test", "test accuracy (%)")
    _log_axis(axes, "x")
    axes.set_xlabel(f"energy estimate of an inference ({unit})")
    return _written(figure, path)


def _with_targets(report: Report) -> str:
    targets = report.targets_per_message
    plural = "" if targets == 1 else "s"
    named = "" if targets is None else f" ({targets:g} target{plural}/message)"
    return report.hardware + named


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; loads matplotlib, which takes a second, only when needed."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _ticker() -> Any:
    from matplotlib import ticker

    return ticker


def _panel(axes: Axes, name: str, spikes: np.ndarray) -> None:

    steps, neurons = spikes.shape
    note = _dashes(axes, spikes) if neurons <= _DASHES_UP_TO else _shades(axes, spikes)
    axes.set_xlim(-0.5, steps - 0.5)
    axes.set_ylim(-0.5, neurons - 0.5)
    axes.yaxis.set_major_locator(_ticker().MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(_plain)
    axes.set_ylabel("neuron")
    fired = int(spikes.any(0).sum())
    axes.set_title(
        f"{name}: {spikes.sum():,g} spikes, {fired:,} of {neurons:,} neurons fired{note}",
        loc="left",
        fontsize="medium",
    )
    _bare(axes)


def _dashes(axes: Axes, spikes: np.ndarray) -> str:
    steps, neurons = spikes.shape
    time, neuron = np.nonzero(spikes)
    # In long recordings a step is narrower than a pixel.
    half = max(0.4, steps / 800)
    width = float(np.clip(100 / neurons, 0.5, 4.0))
    axes.hlines(neuron, time - half, time + half, color=_BLUE, linewidth=width, rasterized=True)
    return ""


def _shades(axes: Axes, spikes: np.ndarray) -> str:
    steps, neurons = spikes.shape
    size = -(-neurons // _DASHES_UP_TO)
    starts = np.arange(0, neurons, size)
    fired = np.add.reduceat(spikes != 0, starts, axis=1, dtype=int)
    edges = np.append(starts, neurons) - 0.5
    top = max(1, int(fired.max()))
    axes.pcolormesh(
        np.arange(steps + 1) - 0.5, edges, fired.T, cmap="Blues", vmin=0, vmax=top, rasterized=True
    )
    return f"; darkest: {top} of {size} neighbours at once"


def _finish(axes: Axes, title: str, ylabel: str) -> None:

    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(
        _ticker().MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    )
    axes.grid(color="0.9", linewidth=0.8)
    _bare(axes)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize="small",
        handlelength=1.6,
    )


def _bare(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _log_axis(axes: Axes, name: str = "y") -> None:
    """A logarithmic axis with enough tick labels, however few decades it spans."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    axes.set(**{f"{name}scale": "log"})
    low, high = axis.get_view_interval()
    steps = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0) if high / low > 5 else range(1, 10)
    axis.set_major_locator(_ticker().LogLocator(subs=steps))
    axis.set_major_formatter(_plain)
    axis.set_minor_formatter(_ticker().NullFormatter())


def _activity_axis(axes: Axes, spikes: np.ndarray) -> None:
    """A logarithmic axis; linear below one spike if a layer falls silent, to show zero."""

    if spikes.size and (spikes > 0).all():
        _log_axis(axes)
        return
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, max(2.0, 1.5 * spikes.max(initial=0.0)))
    axes.yaxis.set_major_formatter(_plain)
    for line in axes.lines:
        line.set_clip_on(False)


def _plain(value: float, _: int | None = None) -> str:
    return f"{value:,g}"


def _style(number: int) -> tuple[str, str]:
    return _LINES[number % len(_LINES)], _DASHES[number // len(_LINES) % len(_DASHES)]


def _written(figure: Figure, path: str | os.PathLike | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=_DPI)
    return figure
