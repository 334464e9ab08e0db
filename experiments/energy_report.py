"""The energy estimate of a trained network, on one machine or on all of them.

    python -m experiments.energy_report RUN_FOLDER
    python -m experiments.energy_report RUN_FOLDER --hardware all
    python -m experiments.energy_report RUN_FOLDER --hardware hierarchy-45nm,my-chip.toml
    python -m experiments.energy_report RUN_FOLDER --battery-j 1000 --rate-hz 10 --sensor-w 1e-3

RUN_FOLDER is one of `experiments.train`. The network that was tested there is restored, run on the
test samples once more and priced: operation count, energy estimate and energy ratio to the QNN
side by side, with the interval and the verdict over the ranges of the constants. JSON and
pictures go to RUN_FOLDER/energy unless --out says otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import jsnn
from experiments import build, windows
from experiments import restored as trained
from experiments.config import check, option, parse, stored_config
from experiments.machines import DESIGN
from experiments.machines import NONE as NO_PARAMETERS
from experiments.runconfig import Config
from jsnn.codesign.time_window import Window
from jsnn.energy.attribution import Attribution, attribute
from jsnn.energy.report import Comparison, Report, battery_life_s, compare
from jsnn.hardware import Hardware
from jsnn.hardware.power import PJ_PER_J
from jsnn.train.levers import without
from jsnn.train.run_folder import RunFolder
from jsnn.train.state import init_state
from jsnn.viz import plots
from jsnn.workload import LayerWorkload, Workload

ALL = "all"
DAY_S = 86400


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the report."""

    hardware: str | None = option(None, "names or .toml files, a,b,c, or all; none: the run's own")
    split: str = option("test", "samples that the network runs over: test or validation")
    limit: int | None = option(None, "use at most this many of them", least=1)
    density: str = option("measured", "non-zero activations of the QNN: measured or average")
    draws: int = option(1000, "draws of the constants over their ranges", least=1)
    seed: int = option(0, "seed of these draws", least=0)
    battery_j: float | None = option(None, "say how long such a battery lasts, J", above=0)
    rate_hz: float = option(1.0, "battery: inferences a second", least=0)
    sensor_w: float = option(0.0, "battery: power of the sensor, W", least=0)
    idle_w: float = option(0.0, "battery: power of all else that is always on, W", least=0)
    data_dir: str | None = option(None, "folder that holds the data; none: that of the run")
    dataset: str | None = option(None, "that of the run, repeated to import code that it names")
    model: str | None = option(None, "that of the run, repeated to import code that it names")
    out: str | None = option(None, "folder for JSON and pictures; none: energy/ in the run folder")

    def __post_init__(self):
        check(self)
        for name, valid in (("split", ("test", "validation")), ("density", _DENSITIES)):
            if getattr(self, name) not in valid:
                raise ValueError(
                    f"--{name} must be {' or '.join(valid)}, got {getattr(self, name)!r}"
                )


_DENSITIES = ("measured", "average")
# Machines of the same constants: shared memory, then memory beside the arithmetic.
FAR_AND_NEAR = (
    ("classical-45nm", ("event-45nm", "spatial-45nm")),
    ("yan-v1-classical", ("yan-v1-event", "yan-v1-spatial")),
)


def main(run: str, flags: Flags) -> Comparison:
    """Restore, run, price, print; writes JSON and pictures."""
    console = Console(highlight=False, soft_wrap=True)

    # ---- the run -------------------------------------------------------------------------------
    folder, config = stored(run, flags)
    if flags.data_dir is not None:
        config = dataclasses.replace(config, data_dir=flags.data_dir)
    wanted = machine_names(flags.hardware, config, folder)
    data = build.dataset(config)
    machines = [_machine(config, data, name) for name in wanted]
    samples = getattr(data, flags.split)[: flags.limit]
    if not len(samples):
        raise ValueError(
            f"{config.dataset} has no {flags.split} samples in this run: choose another --split"
        )

    # ---- the network and its workload ----------------------------------------------------------
    variables, epoch = restored(folder, config, data)
    config = windows.settled(config, folder)
    workload = measured(config, data, variables, samples.frames)
    title = (
        f"{folder.path}: {config.dataset}, {config.model}, epoch {epoch}; "
        f"{len(samples)} {flags.split} samples, T = {max(layer.steps for layer in workload)}; "
        "energy per inference, mean over the samples"
    )

    # ---- its energy ----------------------------------------------------------------------------
    comparison = compare(
        workload, machines, draws=flags.draws, seed=flags.seed, density=flags.density
    )
    lives = {report.hardware: _life(report, flags) for report in comparison.reports}
    console.print(f"{title}\n", markup=False)
    if len(comparison.reports) + len(comparison.refused) > 1:
        console.print(f"{comparison.table()}\n", markup=False)
    for report in comparison.reports:
        text = "\n".join([str(report), *_life_lines(report, lives[report.hardware], flags)])
        console.print(f"{text}\n", markup=False)
    gains = _gains(workload, machines)
    for gain in gains:
        console.print(str(gain), markup=False)
    if gains:
        console.print()
    _warn_if_other(folder, config, flags, comparison, console)

    # ---- keep ----------------------------------------------------------------------------------
    out = Path(flags.out) if flags.out is not None else folder.path / "energy"
    content = {
        "run": {"folder": str(folder.path), "epoch": epoch, "config": dataclasses.asdict(config)},
        "flags": dataclasses.asdict(flags),
        **comparison.to_json(),
        "battery_life_s": lives if flags.battery_j is not None else None,
        "gains": [
            {
                "far": gain.far,
                "near": gain.near,
                "by_memory": float(gain.by_memory.mean()),
                "by_events": float(gain.by_events.mean()),
            }
            for gain in gains
        ],
    }
    write(out, content, comparison)
    console.print(f"everything is in {out}", markup=False)
    return comparison


def stored(run: str, flags: Any = None) -> tuple[RunFolder, Config]:
    """The folder of a run and its config.

    Args:
        run: path of the folder.
        flags: options, of which `dataset` and `model` allow code of the run to be imported; None:
            none is.

    Raises:
        FileNotFoundError: it is no such folder.
        ValueError: its config is damaged, or that of another version of jsnn.
    """
    if not (Path(run) / "config.json").is_file():
        raise FileNotFoundError(
            f"{run} holds no config.json: expected the run folder of experiments.train"
        )
    folder = RunFolder.existing(run)
    named = {name: getattr(flags, name, None) for name in ("dataset", "model")}
    given = {name: value for name, value in named.items() if value is not None}
    config = stored_config(folder, Config, given)
    if config.prune != "none":
        raise ValueError(
            f"{run} was pruned (--prune {config.prune}): its energies, with and without skipping "
            "of zero weights, stand in its result.json, what is left of its network in pruned/"
        )
    if config.weight_bits is not None:
        raise ValueError(
            f"{run} runs layers at bits of their own (--weight-bits {config.weight_bits}): the "
            "energy at these stands in its result.json; a machine here would have one width for all"
        )
    return folder, config


def machine_names(hardware: str | None, config: Config, folder: RunFolder | None) -> list[str]:
    """The machines of `--hardware`, every name looked up; ValueError for an unknown one."""
    if hardware is None and config.design_parameters != NO_PARAMETERS:
        names = [str(folder.path / DESIGN)]
    elif hardware is None:
        names = [config.hardware]
    elif hardware == ALL:
        names = list(jsnn.hardware.machines())
    else:
        names = [name.strip() for name in hardware.split(",")]
    for name in names:
        jsnn.hardware.get(name)
    return names


def _machine(config: Config, data, name: str) -> Hardware:
    return build.hardware(dataclasses.replace(config, hardware=name), data)


def restored(folder: RunFolder, config: Config, data) -> tuple[dict[str, Any], int]:
    """Variables of the network that the run chose, and its epoch.

    Raises:
        FileNotFoundError: the run stopped before its first checkpoint.
        ValueError: the checkpoint does not fit the network of its config.
    """
    encoder = build.encoder(config, data)
    model = build.trained(config, data, build.hardware(config, data))
    frames = encoder(jax.random.key(0), jnp.asarray(data.train.frames[:1]))
    like = init_state(model, build.optimiser(config, data), frames, config.seed)
    chosen, epoch = trained.network(folder, like)
    variables = chosen.variables
    if windows.learned(config):
        variables["params"] = without(variables["params"], Window.name)
    return variables, epoch


def measured(config: Config, data, variables: dict[str, Any], frames: np.ndarray) -> Workload:
    """Workload of the network on these samples, encoded as the run encoded them for its test.

    Spikes are kept as one sum per sample, which is all that the energy estimate needs.
    """
    network = build.as_run(config, data, build.hardware(config, data), variables)
    model, variables, encoder = network.model, network.variables, network.encoder
    key, batch = jax.random.key(config.seed + 1), config.batch

    @jax.jit
    def run(variables, frames, key):
        _, workload = jsnn.run(model, variables, encoder(key, frames))
        # Design parameters are part of the machine that the run ended with; other levers were
        # refused before.
        return dataclasses.replace(workload, layers=tuple(map(_summed, workload)), levers=())

    parts = []
    for number, start in enumerate(range(0, len(frames), batch)):
        # Batches of one size compile once and give random encoders the numbers of the run.
        index = np.minimum(np.arange(start, start + batch), len(frames) - 1)
        workload = run(variables, frames[index], jax.random.fold_in(key, number))
        real = min(batch, len(frames) - start)
        parts.append(jax.tree.map(lambda counts, n=real: np.asarray(counts)[:n], workload))
    return jax.tree.map(lambda *counts: np.concatenate(counts), *parts)


def _summed(layer: LayerWorkload) -> LayerWorkload:
    return dataclasses.replace(layer, spikes=layer.output_events[:, None], by_input=None)


def _gains(workload: Workload, machines: Sequence[Hardware]) -> list[Attribution]:
    """Savings by local memory and by events, where machines of one technology are compared."""
    by_name = {machine.name: machine for machine in machines}
    return [
        attribute(workload, by_name[far], by_name[near])
        for far, others in FAR_AND_NEAR
        for near in others
        if far in by_name and near in by_name
    ]


def _life(report: Report, flags: Flags) -> dict[str, float] | None:
    if flags.battery_j is None:
        return None
    drains = {"snn": report.snn_pj, "qnn": report.qnn_pj}
    return {
        name: float(
            battery_life_s(
                flags.battery_j, pj / PJ_PER_J, flags.rate_hz, flags.sensor_w, flags.idle_w
            )
        )
        for name, pj in drains.items()
    }


def _life_lines(report: Report, lives: dict[str, float] | None, flags: Flags) -> list[str]:
    if lives is None:
        return []
    bound = "at most " if "static" in dict(report.snn.unpriced) else ""
    days = {name: f"{bound}{life / DAY_S:,.4g} days" for name, life in lives.items()}
    return [
        f"A battery of {flags.battery_j:g} J at {flags.rate_hz:g} inferences a second, sensor "
        f"{flags.sensor_w:g} W, idle {flags.idle_w:g} W: spiking {days['snn']}, QNN "
        f"{days['qnn']}."
    ]


def _warn_if_other(
    folder: RunFolder, config: Config, flags: Flags, comparison: Comparison, console: Console
) -> None:
    """Warn if the run's own figure differs: other data, or another version of the model."""
    own = next(
        (report for report in comparison.reports if report.hardware == config.hardware), None
    )
    whole = flags.split == "test" and flags.limit is None and folder.result.exists()
    # A network trained with its machine was priced on the resulting machine.
    if own is None or not whole or config.design_parameters != NO_PARAMETERS:
        return
    before = folder.read(folder.result)["total_pj"]
    if abs(own.snn_pj - before) > 1e-3 * before:
        console.print(
            f"WARNING: the run itself found {before:.6g} pJ on {own.hardware}, this report "
            f"{own.snn_pj:.6g} pJ: the data or jsnn have changed since.\n",
            markup=False,
        )


def write(out: Path, content: dict[str, Any], comparison: Comparison) -> None:
    """JSON and pictures; OSError that names the folder if it cannot be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "energy.json").write_text(json.dumps(content, indent=2) + "\n")
        drawable = [report for report in comparison.reports if 0 < report.ratio < float("inf")]
        if drawable:
            plots.ratios(drawable, out / "ratios.png")
        for report in comparison.reports:
            names = ("spiking", "QNN")
            plots.breakdown(
                report.snn, report.qnn, out / f"breakdown-{report.hardware}.png", names=names
            )
            plots.tornado(
                report.sensitivities,
                out / f"tornado-{report.hardware}.png",
                title=f"{report.hardware}: first-order change over each range",
            )
    except OSError as error:
        raise OSError(
            error.errno, f"{out} could not be written to ({error.strerror}): choose another --out"
        ) from error


def run(argv: Sequence[str] | None = None) -> Comparison:
    """Call `main` with a command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    folder = words.pop(0) if words and not words[0].startswith("-") else None
    flags = Flags(**parse(Flags, words, __doc__))
    if folder is None:
        raise ValueError(
            "expected a run folder first: python -m experiments.energy_report RUN_FOLDER"
        )
    return main(folder, flags)


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
