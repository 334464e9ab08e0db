"""Break-even tables of spiking networks against their QNN, and maps of which one wins.

    python -m experiments.breakeven
    python -m experiments.breakeven --hardware neuromorphic-22nm --design weight_bits=4
    python -m experiments.breakeven --hardware yan-v1-spatial --network vgg16 --out maps
    python -m experiments.breakeven --hardware classical-45nm --node-from-nm 45

All inputs fire at one mean rate. The tables vary one number at a time; each states how many targets
a message serves, since that affects the verdict. A second table takes the density of the QNN as
known instead of the mid-point `2·T·s / (T + 1)`, and gives the spikes per synapse `x* = T·s*` at
which both need the same energy, beside the figure published in arXiv 2409.08290 v1. Writes
MACHINE.png and MACHINE.json.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from experiments.config import check, option, parse
from jsnn.energy.breakeven import sweep
from jsnn.hardware import Hardware, get
from jsnn.hardware.scaling import by_node
from jsnn.nn.synapses import connectivity
from jsnn.workload import Geometry
from jsnn.workload.analytic import dense

# The thresholds published for VGG16 in arXiv 2409.08290 v1 all are one number of spikes per
# synapse: s > 92 % (classical) and > 93 % (spatial) at T = 6, s > 97 % at T > 16 (SECONDARY).
PUBLISHED_X, PUBLISHED_STEPS = (0.45, 0.48), (6, 16)
SILENT, BUSY = 1e-6, 1.0
# A map shows ratios up to this and down to its inverse; beyond, the colour does not change.
DARKEST = 8.0
LABELS = {
    "rate": "spikes per input and step",
    "steps": "time steps T",
    "weight_bits": "bits of a weight",
    "hops": "hops of a message",
    "targets_per_message": "targets of a message",
    "fan_in": "inputs of a neuron",
    "node_nm": "technology, feature size in nm",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the search."""

    hardware: str = option("neuromorphic-22nm", "machine of both, by name or .toml file")
    design: str = option(
        "", "design parameters of the machine that differ, as weight_bits=4,hops=2"
    )
    network: str = option("dense", "what runs: dense (one layer) or vgg16 (on 32 x 32 x 3 images)")
    fan_in: int = option(4096, "dense: inputs", least=1)
    neurons: int = option(4096, "dense: neurons", least=1)
    at_steps: int = option(5, "T where T is not what varies", least=1)
    steps: tuple[int, ...] = option((1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 32), "T of the tables")
    weight_bits: tuple[int, ...] = option((2, 4, 8, 16), "weight bits of the tables")
    hops: tuple[int, ...] = option((1, 2, 4, 8), "hops of the tables")
    targets: tuple[int, ...] = option((1, 4, 16, 64, 256), "targets per message of the tables")
    densities: tuple[int, ...] = option(
        (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100), "densities of the QNN, in percent"
    )
    qnn_bits: int | None = option(
        None, "bits of the QNN's activations; none: those of the window", least=1
    )
    node_from_nm: float | None = option(
        None, "node of the machine's constants; given, logic is scaled to --nodes (DERIVED)"
    )
    nodes: tuple[int, ...] = option(
        (7, 10, 14, 20, 32, 45, 65, 90, 130, 180), "nodes of the map, nm"
    )
    resolution: int = option(64, "rates in a map", least=2)
    out: str = option("runs/breakeven", "folder for the maps and figures")

    def __post_init__(self):
        check(self)
        for name in ("steps", "weight_bits", "hops", "targets", "densities"):
            values = getattr(self, name)
            if min(values, default=0) < 1:
                raise ValueError(
                    f"--{name.replace('_', '-')} takes numbers from one up, got {values}"
                )
        if max(self.densities) > 100:
            raise ValueError(f"--densities are percentages up to 100, got {self.densities}")


def vgg16(image: tuple[int, int, int] = (32, 32, 3), classes: int = 10) -> tuple[Geometry, ...]:
    """VGG16 of integrate-and-fire neurons: 13 convolutions, one dense layer, pools between.

    Source: Simonyan & Zisserman, ICLR 2015, configuration D, with the small head used on 32 x 32.

    >>> sum(geometry.weights for geometry in vgg16())
    14715584
    """
    height, width, channels = image
    layers: list[Geometry] = []
    for block, (features, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        for number in range(count):
            shape = (height, width, channels)
            wiring = connectivity(nn.Conv(features, (3, 3), use_bias=False), shape)
            outside = not layers
            neurons = height * width * features
            layers.append(
                dataclasses.replace(
                    dense(1, 1, steps=1, rate=0.0, name=f"conv{block + 1}_{number + 1}").geometry,
                    kind="conv",
                    input_kind="constant" if outside else "spikes",
                    fan_outs=wiring.fan_outs,
                    inputs_by_fan_out=wiring.inputs_by_fan_out,
                    neurons=neurons,
                    fan_in=wiring.fan_in,
                    fan_out_area=wiring.fan_out_area,
                    weights=wiring.weights,
                    output_shape=(height, width, features),
                )
            )
            channels = features
        height, width = height // 2, width // 2
    head = dense(height * width * channels, classes, steps=1, rate=0.0, spiking=False, name="head")
    return (*layers, head.geometry)


def machine(config: Config) -> Hardware:
    """The machine of a config, with the design parameters that it changes."""
    hardware, parameters = get(config.hardware), {}
    for pair in filter(None, config.design.split(",")):
        name, _, word = pair.partition("=")
        try:
            parameters[name.strip()] = float(word)
        except ValueError:
            raise ValueError(
                f"--design takes design parameter=number pairs separated by commas, got {pair!r}"
            ) from None
    return hardware.with_design(**parameters) if parameters else hardware


def work(config: Config) -> dict[str, Any]:
    """The network and its activity, as keywords of `regime_map`."""
    if config.network == "dense":
        return {"fan_in": config.fan_in, "neurons": config.neurons}
    if config.network == "vgg16":
        return {"layers": vgg16()}
    raise ValueError(f"unknown --network {config.network!r}; valid: dense, vgg16")


def axes(config: Config, hardware: Hardware) -> dict[str, tuple[int, ...]]:
    """Axes of the tables: T, and those of the others that this machine and network have."""
    parameters = {
        "weight_bits": config.weight_bits,
        "hops": config.hops,
        "targets_per_message": config.targets,
    }
    values = {"steps": config.steps}
    return values | {n: v for n, v in parameters.items() if n in hardware.architecture.parameters}


def joined(
    grids: Sequence[Mapping[str, Sequence[float]]], options: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any], list[tuple[int, ...]]]:
    """One list of design points for many grids, what they share, and the shape of each grid.

    A number that another grid varies has its value from `options` in a grid that does not. One list
    compiles once, many would compile many times.
    """
    names = list(dict.fromkeys(name for grid in grids for name in grid))
    columns, shapes = {name: [] for name in names}, []
    for grid in grids:
        meshed = np.meshgrid(*grid.values(), indexing="ij")
        shapes.append(meshed[0].shape)
        own = dict(zip(grid, meshed, strict=True))
        for name in names:
            values = own[name] if name in own else np.full(meshed[0].shape, options[name])
            columns[name].append(values.ravel())
    points = {name: np.concatenate(column) for name, column in columns.items()}
    return points, {n: v for n, v in options.items() if n not in names}, shapes


def swept(
    hardware: Hardware,
    grids: Sequence[Mapping[str, Sequence[float]]],
    options: Mapping[str, Any],
    along: str | None = None,
) -> list[np.ndarray]:
    """`regime_map` of many grids in one call."""
    points, same, shapes = joined(grids, options)
    rates = np.asarray(sweep(hardware, points, along=along, **same), float)
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return [part.reshape(s) for part, s in zip(np.split(rates, cuts), shapes, strict=True)]


def tables_of(
    along: Mapping[str, Sequence[float]],
    rates: Sequence[np.ndarray],
    ends: Sequence[np.ndarray],
    at_steps: int,
) -> dict[str, dict[str, Any]]:
    """Break-even rates along each axis, and which side wins where there is none."""
    tables = {}
    for (name, values), row, between in zip(along.items(), rates, ends, strict=True):
        windows = np.asarray(values if name == "steps" else at_steps, float)
        tables[name] = {
            "values": list(values),
            "rate": row.tolist(),
            "sparsity": (1 - row).tolist(),
            "spikes_per_synapse": (windows * row).tolist(),
            "winner": [winner(r, *end) for r, end in zip(row, between, strict=True)],
        }
    return tables


def winner(rate: float, silent: float, busy: float) -> str:
    """The winner, in words, by the break-even and the ratios at both ends of the rates.

    >>> winner(0.05, 0.2, 2.0), winner(math.nan, 1.2, 2.0), winner(math.nan, 3.0, 0.9)
    ('spikes below', 'the QNN at both ends', 'spikes near rate 1 only')
    """
    if not math.isnan(rate):
        return "spikes below"
    if silent > 1:
        return "the QNN at both ends" if busy > 1 else "spikes near rate 1 only"
    return "spikes at every rate"


def by_density(hardware: Hardware, config: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    """Break-even spikes per synapse for known densities, and densities of the published ones."""
    shares = [percent / 100 for percent in config.densities]
    windows = list(PUBLISHED_STEPS)
    rest = {name: value for name, value in options.items() if name != "steps"}
    (rates,) = swept(hardware, [{"steps": windows, "active": shares}], rest, along="rate")
    by_window = [{"steps": [w], "rate": [x / w for x in PUBLISHED_X]} for w in windows]
    wanted = swept(hardware, by_window, rest, along="active")
    return {
        "density": shares,
        "spikes_per_synapse_by_steps": {
            str(w): (w * row).tolist() for w, row in zip(windows, rates, strict=True)
        },
        "published_spikes_per_synapse": list(PUBLISHED_X),
        "published_source": "arXiv 2409.08290 v1, VGG16 thresholds, SECONDARY",
        "density_of_the_published_by_steps": {
            str(w): window_rates[0].tolist()
            for w, window_rates in zip(windows, wanted, strict=True)
        },
    }


def map_axes(config: Config, swept_axes: Sequence[str]) -> list[dict[str, list[float]]]:
    """Grids of the maps: the rate and one other number each."""
    finer = {
        "steps": list(range(1, max(config.steps) + 1)),
        "weight_bits": list(range(1, 17)),
        "hops": np.geomspace(0.25, 16, config.resolution).tolist(),
        "targets_per_message": np.geomspace(1, 256, config.resolution).tolist(),
        "fan_in": np.geomspace(8, 8192, config.resolution).tolist(),
    }
    rates = np.geomspace(1e-3, 1, config.resolution).tolist()
    return [{name: finer[name], "rate": rates} for name in swept_axes]


def by_technology(
    config: Config, hardware: Hardware, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Table and map over nodes: scaled constants change together, DRAM and ratios stay."""
    columns = by_node(hardware.technology, config.node_from_nm, config.nodes)
    rest = {name: value for name, value in options.items() if name not in columns}
    rates = np.geomspace(1e-3, 1, config.resolution)

    def at(each: Sequence[float]) -> np.ndarray:
        repeated = {n: np.repeat(column, len(each)) for n, column in columns.items()}
        points = repeated | {"rate": np.tile(each, len(config.nodes))}
        return np.asarray(sweep(hardware, points, **rest), float).reshape(-1, len(each))

    parity = np.asarray(sweep(hardware, columns, along="rate", **rest), float)
    table = tables_of({"node_nm": config.nodes}, [parity], [at((SILENT, BUSY))], config.at_steps)
    drawn = {"node_nm": list(config.nodes), "rate": rates.tolist(), "ratio": at(rates).tolist()}
    return table, {"node_nm": drawn}


def picture(maps: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> Figure:
    """A panel per map: violet where spikes win, orange where the QNN does, a line between."""
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(4.6 * columns + 1, 3.7 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes_ in panels.flat[len(maps) :]:
        axes_.set_axis_off()
    for axes_, (name, panel) in zip(panels.flat, maps.items(), strict=False):
        ratios = np.clip(np.asarray(panel["ratio"]).T, 1 / DARKEST, DARKEST)
        # The colours of PuOr are distinguishable with every common colour blindness.
        shades = axes_.pcolormesh(
            panel[name], panel["rate"], ratios, cmap="PuOr_r", shading="nearest", rasterized=True,
            norm=LogNorm(1 / DARKEST, DARKEST),
        )  # fmt: skip
        if ratios.min() < 1 < ratios.max():
            axes_.contour(panel[name], panel["rate"], ratios, levels=[1.0], colors="black")
        axes_.set_yscale("log")
        if name not in ("steps", "weight_bits"):
            axes_.set_xscale("log", base=2)
        axes_.set_xlabel(LABELS[name])
        axes_.set_ylabel(LABELS["rate"])
    bar = figure.colorbar(shades, ax=panels, label="energy of the spikes / of their QNN")
    ticks = [1 / DARKEST, 1 / 4, 1 / 2, 1, 2, 4, DARKEST]
    bar.set_ticks(ticks, labels=["≤ 1/8", "1/4", "1/2", "1", "2", "4", "≥ 8"])
    bar.minorticks_off()
    bar.ax.axhline(1.0, color="black")
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    figure.savefig(path, dpi=150)
    return figure


def text(result: Mapping[str, Any]) -> str:
    """The tables of a result, for the terminal."""
    lines = [result["machine"], result["qnn"], ""]
    for name, table in result["break_even"].items():
        lines.append(f"break-even by {LABELS[name]}  (spikes win below the rate)")
        lines.append(f"  {name:>20}  {'rate':>8}  {'sparsity':>8}  {'spikes/synapse':>14}")
        for value, rate, sparse, x, who in zip(*table.values(), strict=True):
            if math.isnan(rate):
                lines.append(f"  {value:>20g}  no break-even: {who}")
            else:
                lines.append(f"  {value:>20g}  {rate:>8.3%}  {sparse:>8.2%}  {x:>14.4f}")
        lines.append("")
    densities = result["by_density"]
    windows = densities["spikes_per_synapse_by_steps"]
    lines.append("spikes per synapse at break-even, density of the QNN known")
    lines.append("  ".join([f"  {'density':>8}", *(f"T = {window:<4}" for window in windows)]))
    for number, share in enumerate(densities["density"]):
        cells = (_cell(column[number]) for column in windows.values())
        lines.append("  ".join([f"  {share:>8.0%}", *cells]))
    for window, shares in densities["density_of_the_published_by_steps"].items():
        for x, share in zip(densities["published_spikes_per_synapse"], shares, strict=True):
            lines.append(
                f"published {x} spikes/synapse (SECONDARY; VGG16) at T = {window}: "
                + ("no density" if math.isnan(share) else f"density {share:.1%}")
            )
    return "\n".join(lines)


def _cell(value: float) -> str:
    return f"{'none':<8}" if math.isnan(value) else f"{value:<8.4f}"


def main(config: Config) -> dict[str, Any]:
    """Search and print; writes the picture and the figures."""
    hardware, runs = machine(config), work(config)
    options = {**runs, "steps": config.at_steps}
    if config.qnn_bits is not None:
        options["bits"] = config.qnn_bits
    targets = hardware.design.targets_per_message
    message = "no messages" if targets is None else f"targets_per_message = {targets:g}"
    what = config.network
    if what == "dense":
        what = f"{config.fan_in} x {config.neurons}"
    bits = "ceil(log2(T + 1))" if config.qnn_bits is None else str(config.qnn_bits)
    # Beside a load from memory that both sides share, float32 can lose the difference.
    with jax.enable_x64(True):
        # What one table varies, all other tables take from here.
        options = hardware.design.parameters | options
        by_axis = axes(config, hardware)
        alone = [{name: values} for name, values in by_axis.items()]
        between = [{**axis, "rate": (SILENT, BUSY)} for axis in alone]
        grids = map_axes(config, [*by_axis, *(["fan_in"] if "fan_in" in runs else [])])
        rates = swept(hardware, alone, options, along="rate")
        ratios = swept(hardware, [*between, *grids], options)
        densities = by_density(hardware, config, options)
        nodes = ({}, {})
        if config.node_from_nm is not None:
            nodes = by_technology(config, hardware, options)
    ends, drawn = ratios[: len(between)], ratios[len(between) :]
    tables = tables_of(by_axis, rates, ends, config.at_steps) | nodes[0]
    drawn = nodes[1] | {
        next(iter(grid)): {**grid, "ratio": ratios.tolist()}
        for grid, ratios in zip(grids, drawn, strict=True)
    }
    provenances = ", ".join(hardware.technology.provenances)
    result = {
        "command": "python -m experiments.breakeven",
        "machine": f"{hardware.name}, {what}, {message}; {provenances} constants",
        "qnn": f"QNN: {bits} bits, density 2·T·s / (T + 1) unless known; T = {config.at_steps} "
        "unless it varies",
        "config": dataclasses.asdict(config),
        "design": {name: float(value) for name, value in hardware.design.parameters.items()},
        "targets_per_message": None if targets is None else float(targets),
        "unpriced": dict(hardware.unpriced),
        "break_even": tables,
        "by_density": densities,
        "maps": drawn,
    }
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    picture(drawn, result["machine"], folder / f"{hardware.name}.png")
    written = json.dumps(_without_nan(result), indent=1)
    (folder / f"{hardware.name}.json").write_text(written + "\n")
    print(text(result))
    print(f"\nwritten: {folder / hardware.name}.png and .json")
    return result


def _without_nan(value: Any) -> Any:
    """The value with None in place of NaN, which JSON lacks: no break-even."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    try:
        main(Config(**parse(Config, None, __doc__)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
