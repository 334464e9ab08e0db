"""Pareto front of accuracy and energy: many weights or budgets x seeds, one program for all.

    python -m experiments.pareto --weights 0,0.05,0.15,0.5 --seeds 0,1
    python -m experiments.pareto --budgets 45nJ,70nJ,120nJ --warm neighbour --out runs/pareto
    python -m experiments.pareto --resume runs/pareto

Takes every flag of `experiments.train` too. Runs differ in seed and in one number, which is an
array of the compiled step, so that each process compiles once. On a CPU runs go to processes,
each on a core of its own; on an accelerator they are vmapped. Points are chosen on validation and
reported on test. Every run is a run folder below `runs/`, which `experiments.energy_report`
and `--warm-start` take like any other.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments import sweep
from experiments.compiled import keep_compiled
from experiments.config import flag, from_json, option, parse, refuse_foreign
from experiments.runconfig import Config, configured
from experiments.summary import spread, versions
from experiments.sweep import Run
from jsnn.codesign.pareto import hypervolume, pareto
from jsnn.train.run_folder import RunFolder
from jsnn.units import energy_text
from jsnn.units import parse as parse_quantity
from jsnn.viz import plots

WARM = ("none", "first", "neighbour")


@dataclasses.dataclass(frozen=True)
class ParetoOptions:
    """Options of a Pareto front: the differences between its runs, and how they are trained."""

    weights: tuple[float, ...] | None = option(None, "energy weights of the runs, a,b,c")
    budgets: tuple[str, ...] | None = option(None, "or their energy budgets, as 45nJ,70nJ")
    seeds: tuple[int, ...] = option((0,), "seeds of each")
    warm: str = option("none", "start each run from: none, the first of its seed, its neighbour")
    together: str = option("auto", "auto, turns (one after another, in processes) or vmap")
    workers: int = option(2, "turns: processes, each on a core of its own; 1: this one", least=1)

    def __post_init__(self):
        if (self.weights is None) == (self.budgets is None):
            raise ValueError(
                "a Pareto front is made of --weights or of --budgets: give one of them"
            )
        if self.warm not in WARM:
            raise ValueError(f"--warm must be one of {', '.join(WARM)}, got {self.warm!r}")
        if self.together not in sweep.WAYS:
            raise ValueError(
                f"--together must be one of {', '.join(sweep.WAYS)}, got {self.together!r}"
            )
        for name in ("values", "seeds"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"expected different {name}, got {', '.join(map(str, given))}")
        if len(self.values) < 2:
            raise ValueError(
                "a Pareto front needs at least two weights or budgets, got "
                f"{len(self.values)}; for one use experiments.train"
            )

    @property
    def values(self) -> list[float | str]:
        """Values of the runs, from the highest permitted usage to the lowest."""
        if self.weights is not None:
            return sorted(self.weights)
        return sorted(self.budgets, key=lambda word: -parse_quantity(word, "energy"))


def main(
    options: ParetoOptions, config: Config, folder: RunFolder, command: str = ""
) -> dict[str, Any]:
    """Train what is missing, summarise; writes and returns the summary.

    Args:
        options: those of the Pareto front.
        config: of all runs, except seed, weight and budget.
        folder: of the front.
        command: the command line that started it.
    """
    console = Console(highlight=False, soft_wrap=True)
    if config.refit:
        raise ValueError("points are chosen on validation samples: a Pareto front needs --no-refit")
    phases = plan(options, config, folder.path / "runs")
    every = [run for phase in phases for run in phase]
    done = sum(run.done for run in every)
    console.print(f"{len(every)} runs, {done} of them done before")
    started, failed = time.perf_counter(), {}
    for phase in phases:
        failed |= sweep.train(phase, options.together, options.workers, console.print)
    seconds = round(time.perf_counter() - started, 3)
    results = [run.read(failed.get(run.name)) for run in every]
    summary = {
        "command": command,
        "options": dataclasses.asdict(options),
        "config": dataclasses.asdict(config),
        **summarise(results),
        "seconds": seconds,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }
    folder.write(folder.path / "pareto.json", summary)
    if summary["points"]:
        plots.pareto_front(
            [{**p, "pj": p["test_pj"], "accuracy": p["test_accuracy"]} for p in summary["points"]],
            path=folder.path / "pareto.png",
        )
    for line in describe(summary):
        console.print(line, markup=False)
    console.print(f"\n{seconds:.0f} s; everything is in {folder.path}")
    return summary


def plan(options: ParetoOptions, config: Config, folder: Path) -> list[list[Run]]:
    """The runs, in phases: one that starts from another network comes after it."""

    def planned(value: float | str, seed: int, after: Path | None) -> Run:
        kind = {"energy_weight": value} if options.weights is not None else {"energy_budget": value}
        name = f"{'w' if options.weights is not None else ''}{value}-s{seed}"
        warm = {} if after is None else {"warm_start": str(after)}
        chosen = dataclasses.replace(config, seed=seed, **kind, **warm)
        return Run(name, str(value), chosen, folder / name)

    ranks, before = [], [None] * len(options.seeds)
    for rank, value in enumerate(options.values):
        row = [planned(value, s, b) for s, b in zip(options.seeds, before, strict=True)]
        ranks.append(row)
        if options.warm == "neighbour" or (options.warm == "first" and rank == 0):
            before = [run.path for run in row]
    if options.warm == "neighbour":
        return ranks
    rest = [run for rank in ranks[1:] for run in rank]
    return [ranks[0], rest] if options.warm == "first" else [ranks[0] + rest]


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Points by value, means and deviations over seeds; the Pareto front and its hypervolume.

    A point is a value whose runs all ended within their budgets. Which points form the front is
    decided on validation. The hypervolume is that of the chosen points on test, seed by seed, in
    decades of energy below the energy at initialisation x accuracy above that of the majority
    class.

    Args:
        results: one entry per run, from `Run.read`.
    """
    by_value = (
        _group(results, "value", value) for value in dict.fromkeys(_column(results, "value"))
    )
    points = [_point(runs) for runs in by_value if all(_column(runs, "within"))]
    if points:
        validation = ([p[f"validation_{n}"][0] for p in points] for n in ("pj", "accuracy"))
        chosen = pareto(*validation)
        points = [p | {"chosen": bool(c)} for p, c in zip(points, chosen, strict=True)]
    labels = {point["label"] for point in points if point["chosen"]}
    chosen_runs = [run for run in results if run["value"] in labels]
    volumes = [
        _volume(_group(chosen_runs, "seed", seed))
        for seed in dict.fromkeys(_column(chosen_runs, "seed"))
    ]
    return {
        "points": points,
        "hypervolume": spread(volumes) if volumes else None,
        "runs": list(results),
    }


def _column(runs: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [run[name] for run in runs]


def _group(runs: Sequence[Mapping[str, Any]], name: str, value: Any) -> Sequence[Mapping[str, Any]]:
    return [run for run in runs if run[name] == value]


def _point(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and deviations of runs of one value."""
    columns = ("validation_accuracy", "validation_pj", "test_accuracy", "test_pj")
    measured = {name: spread(_column(runs, name)) for name in columns}
    dead = sum(map(bool, _column(runs, "dead_layers")))
    return {"label": runs[0]["value"], "runs": len(runs), "dead": dead, **measured}


def _volume(runs: Sequence[Mapping[str, Any]]) -> float:
    """Hypervolume of runs of one seed."""
    energies = [np.log10(pj) for pj in _column(runs, "test_pj")]
    worst = np.log10(runs[0]["initial_pj"]), runs[0]["test_majority"]
    return hypervolume(energies, _column(runs, "test_accuracy"), worst)


def describe(summary: Mapping[str, Any]) -> list[str]:
    """One line per point, best first, and what went wrong."""
    lines = ["", f"{'point':>10}  {'test accuracy':>16}  {'test energy':>18}  runs"]
    for point in summary["points"]:
        (accuracy, a), (pj, p) = point["test_accuracy"], point["test_pj"]
        said = "" if point["chosen"] else "  beaten on validation"
        said += f"  {point['dead']} DEAD" if point["dead"] else ""
        lines.append(
            f"{point['label']:>10}  {accuracy:8.2%} ± {100 * a:4.2f}  "
            f"{energy_text(pj):>9} ± {energy_text(p):>6}  {point['runs']}{said}"
        )
    if summary["hypervolume"]:
        volume, spread = summary["hypervolume"]
        lines.append(f"Hypervolume {volume:.4f} ± {spread:.4f} decades x share, on test.")
    lines += [
        f"{run['name']}: {run['error']}" for run in summary["runs"] if run["error"] is not None
    ]
    return lines


@dataclasses.dataclass(frozen=True)
class Flags(Config, ParetoOptions):
    """Options of a Pareto front, those of its runs, and where it is written."""

    out: str | None = option(None, "folder of the Pareto front; none: a new one below runs/")
    resume: str | None = option(None, "continue the Pareto front in this folder")
    smoke: bool = option(False, "two epochs on 256 samples: does it run at all?")
    compile_cache: bool = option(True, "keep compiled programs for the next run")


@dataclasses.dataclass(frozen=True)
class Kept:
    """The stored options that a Pareto front is resumed from."""

    command: str
    options: ParetoOptions
    config: Config


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Call `main` with a command line."""
    flags = parse(Flags, argv, __doc__)
    words = [] if argv is None else list(argv)
    command = shlex.join(["python", "-m", "experiments.pareto", *(words or sys.argv[1:])])
    out, resume, smoke = (flags.pop(name, None) for name in ("out", "resume", "smoke"))
    if flags.pop("compile_cache", True):
        keep_compiled()
    if resume is not None:
        repeated = {name: flags.pop(name) for name in ("dataset", "model") if name in flags}
        if out is not None or flags or smoke:
            raise ValueError(
                "--resume takes everything from the Pareto front: leave other flags away, but for "
                "--dataset and --model that name code, repeated"
            )
        folder = RunFolder.existing(resume)
        stored = folder.content()
        if "command" not in stored or "config" not in stored:
            raise ValueError(
                f"{resume} holds a run, not a Pareto front; use experiments.train --resume"
            )
        folder.refuse_edited()
        options = from_json(ParetoOptions, stored["options"], folder.config)
        config = from_json(Config, stored["config"], folder.config)
        if other := [name for name, value in repeated.items() if getattr(config, name) != value]:
            raise ValueError(f"{resume} has another {' and '.join(other)}: leave the flag away")
        refuse_foreign(folder, stored["config"], repeated)
        folder.lock()
        with folder:
            return main(options, config, folder, stored["command"])
    for name in ("seed", "energy_weight", "energy_budget", "warm_start"):
        if name in flags:
            raise ValueError(
                f"{flag(name)} is of one run: a Pareto front takes --seeds, --weights, "
                "--budgets and --warm"
            )
    names = [field.name for field in dataclasses.fields(ParetoOptions)]
    options = ParetoOptions(**{name: flags.pop(name) for name in names if name in flags})
    budget = {"energy_budget": options.values[0]} if options.budgets is not None else {}
    config = configured(flags | budget, bool(smoke))
    kept = Kept(command, options, config)
    name = Path(config.dataset.rpartition(":")[2]).stem
    with RunFolder.create(out, f"{name}-pareto", kept) as folder:
        return main(options, config, folder, command)


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        sys.exit(f"error: {error}")
