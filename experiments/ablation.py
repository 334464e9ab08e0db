"""Ablation of the levers: the energy at one percentage point lost, one lever added at a time.

    python -m experiments.ablation
    python -m experiments.ablation --dataset digits --seeds 0,1 --epochs 40

Stages: no term and float weights (priced with weights and states of 32, of 8 and of the machine's
own bits), the energy term, weights and states of few bits, pruning, a learned time window, early
exit. Each stage has all levers of the stages before it. In each, runs of several energy weights
are trained for the first seed; of those that lose at most `--points` percentage points of
validation accuracy, the one with the lowest energy is trained for every seed and tested. Existing
runs are kept; figures go to `experiments/results/ablation/`.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments import build, sweep
from experiments.compiled import keep_compiled
from experiments.config import check, option, parse
from experiments.energy_report import measured, restored
from experiments.runconfig import Config, configured
from experiments.setting import Setting
from experiments.summary import spread, versions
from experiments.sweep import Run
from jsnn.energy import estimate_energy
from jsnn.train.json_files import keep
from jsnn.train.run_folder import RunFolder
from jsnn.units import energy_text

# Widths of weights and states of the networks that the stages are compared with.
FLOAT_BITS, INT_BITS = 32, 8


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the ablation."""

    dataset: str = option("fashion-mnist", "name of the data set")
    hardware: str = option("event-45nm", "machine that the energy is priced on")
    seeds: tuple[int, ...] = option((0, 1, 2, 3, 4), "seeds of every stage; the first one chooses")
    weights: tuple[float, ...] = option((1.0, 3.0), "energy weights that are tried")
    points: float = option(1.0, "points of validation accuracy that may be lost", least=0)
    weight_bits: str = option("4", "bits of weights on the stage of bits: a number, or learned")
    state_bits: str = option("8", "bits of states there")
    prune: str = option("weights", "what goes on the stage of pruning: weights or units")
    steps: int | None = option(None, "time steps; none: of the recipe")
    epochs: int | None = option(None, "passes over the training samples; none: of the recipe")
    limit: int | None = option(None, "use at most this many samples of each split", least=1)
    workers: int = option(2, "processes, each on a core of its own; 1: this one", least=1)
    runs: str = option("runs/ablation", "folder of the runs")
    out: str = option("experiments/results/ablation", "folder of the results")

    def __post_init__(self):
        check(self)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds must be different numbers, got {self.seeds}")
        if not self.weights or min(self.weights) <= 0:
            raise ValueError(f"--weights must be positive, got {self.weights}")


class Stage(NamedTuple):
    """One stage after the first.

    Attributes:
        runs: name of its runs.
        options: of its runs, including those of the stages before.
        exits: whether it uses early exit.
    """

    runs: str
    options: dict[str, Any]
    exits: bool = False


def stages(flags: Flags) -> dict[str, Stage]:
    """The stages after the first, by name; early exit evaluates the runs of the stage before."""
    bits = {"weight_bits": flags.weight_bits, "state_bits": flags.state_bits}
    less = bits | {"prune": flags.prune}
    shorter = less | {"window": "learned", "early_exit": "gap", "exit_loss": 0.001}
    return {
        "energy term": Stage("term", {}),
        f"{flags.weight_bits}-bit weights": Stage("bits", bits),
        f"pruned {flags.prune}": Stage("pruned", less),
        "learned window": Stage("window", shorter),
        "early exit": Stage("window", shorter, exits=True),
    }


def main(flags: Flags, command: str = "") -> dict[str, Any]:
    """Run all stages; writes and returns the result."""
    started = time.perf_counter()
    folder = Path(flags.runs) / f"{flags.dataset}-{flags.hardware}"
    # Batch norm cannot be quantised, so no stage has one.
    shared = {"dataset": flags.dataset, "hardware": flags.hardware, "norm": False}
    shared |= {n: v for n in ("steps", "epochs", "limit") if (v := getattr(flags, n)) is not None}

    def planned(runs: str, seed: int, **options: Any) -> Run:
        config: Config = configured({**shared, **options, "seed": seed})
        name = f"{runs}-w{config.energy_weight}-s{seed}"
        return Run(name, runs, config, folder / name)

    def train(
        runs: Sequence[Run], settings: dict[Any, Setting], exits: bool = False
    ) -> list[dict[str, Any]]:
        sweep.train(runs, "turns", flags.workers, lambda line: print(line, flush=True), settings)
        return [_read(run, exits) for run in runs]

    first, *rest = flags.seeds
    free_runs = [planned("free", seed, energy_weight=0.0) for seed in flags.seeds]
    free = train(free_runs, {})
    # The choice is by the first seed, so the loss is relative to the accuracy of that seed.
    least = free[0]["validation_accuracy"] - flags.points / 100
    rows = {"free": _mean(free), "tried": {}}
    for name, (runs, options, exits) in stages(flags).items():
        settings = {}
        tried = [planned(runs, first, energy_weight=w, **options) for w in flags.weights]
        tried = rows["tried"][name] = train(tried, settings, exits)
        weight = choose(tried, least)
        same = [planned(runs, seed, energy_weight=weight, **options) for seed in rest]
        chosen = [row for row in tried if row["energy_weight"] == weight]
        rows[name] = {"energy_weight": weight, **_mean(chosen + train(same, settings, exits))}
    priced = {bits: spread(_priced(free_runs, bits)) for bits in (FLOAT_BITS, INT_BITS)}
    result = {
        "command": command,
        "flags": dataclasses.asdict(flags),
        "fp32_pj": priced[FLOAT_BITS],
        "int8_pj": priced[INT_BITS],
        "stages": rows,
        "times": times(rows, priced[FLOAT_BITS][0], priced[INT_BITS][0], list(stages(flags))),
        "seconds": round(time.perf_counter() - started, 3),
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }
    keep(Path(flags.out) / f"{flags.dataset}-{flags.hardware}.json", result)
    for line in describe(result):
        print(line, flush=True)
    return result


def choose(tried: Sequence[Mapping[str, Any]], least: float) -> float:
    """The energy weight with the lowest energy among those accurate enough on validation.

    If none is, that of the most accurate one.

    >>> row = dict(energy_weight=0.1, validation_accuracy=0.90, validation_pj=9.0)
    >>> less = dict(energy_weight=0.4, validation_accuracy=0.88, validation_pj=2.0)
    >>> choose([row, less], 0.89), choose([row, less], 0.85), choose([row, less], 0.99)
    (0.1, 0.4, 0.1)
    """
    enough = [row for row in tried if row["validation_accuracy"] >= least]
    if not enough:
        return max(tried, key=lambda row: row["validation_accuracy"])["energy_weight"]
    return min(enough, key=lambda row: row["validation_pj"])["energy_weight"]


def times(
    rows: Mapping[str, Any], fp32_pj: float, int8_pj: float, names: Sequence[str]
) -> dict[str, Any]:
    """Factors by which each stage uses less than 32 bits, than 8 bits and than the stage before.

    Before the first one comes the network without a term at the widths of the machine.

    >>> rows = {"free": {"test_pj": [40.0, 0.0]}, "a": {"test_pj": [10.0, 0.0]}}
    >>> times(rows, 160.0, 30.0, ["a"])
    {'a': {'of_fp32': 16.0, 'of_int8': 3.0, 'of_the_stage_below': 4.0}}
    """
    factors, below = {}, rows["free"]["test_pj"][0]
    for name in names:
        pj = rows[name]["test_pj"][0]
        factors[name] = {
            "of_fp32": fp32_pj / pj,
            "of_int8": int8_pj / pj,
            "of_the_stage_below": below / pj,
        }
        below = pj
    return factors


def describe(result: Mapping[str, Any]) -> list[str]:
    """One line per stage."""
    rows, free = result["stages"], result["stages"]["free"]
    base, _ = free["test_accuracy"]
    rounded, _ = free["test_accuracy_rounded"]
    lines = [
        f"{'no term, 32 bits':>18}  {base:.2%}  {energy_text(result['fp32_pj'][0]):>9}",
        f"{'no term, 8 bits':>18}  {rounded:.2%}  {energy_text(result['int8_pj'][0]):>9}",
        f"{'no term, as it is':>18}  {rounded:.2%}  {energy_text(free['test_pj'][0]):>9}",
    ]
    for name, factors in result["times"].items():
        accuracy, deviation = rows[name]["test_accuracy"]
        lines.append(
            f"{name:>18}  {accuracy:.2%} ± {100 * deviation:.2f} ({100 * (accuracy - base):+.2f})  "
            f"{energy_text(rows[name]['test_pj'][0]):>9}  {factors['of_fp32']:.1f}x of 32 bits, "
            f"{factors['of_int8']:.1f}x of 8 bits, "
            f"{factors['of_the_stage_below']:.2f}x of one below"
        )
    return lines


def _read(run: Run, exits: bool) -> dict[str, Any]:
    """What a stage reports of one run; its energy is that of the network that is finally run.

    Of pruned weights the exported network counts. It may cost less than the energy in training,
    since weights that few bits round to zero are gone too. Early exit is scaled by the same factor.
    """
    folder = RunFolder(run.path)
    result = folder.read(folder.result)
    row = folder.row(result["chosen_epoch"])
    figures = {
        "energy_weight": run.config.energy_weight,
        "seed": run.config.seed,
        "validation_accuracy": result["validation_accuracy"],
        "validation_pj": row["validation_pj"],
        "test_accuracy": result["test_accuracy"],
        "test_accuracy_rounded": result["test_accuracy_at_weight_bits"]["accuracy"],
        "test_pj": result["total_pj"],
        "steps": result["steps"],
        "units": result.get("pruned", {}).get("units"),
    }
    lists = 1.0
    if result["config"]["prune"] == "weights":
        lists = result["pruned"]["skipping_pj"] / result["total_pj"]
        figures["test_pj"] = result["pruned"]["skipping_pj"]
    if "window" in result:
        (whole,) = (
            answer
            for answer in result["window"]["tried_on_validation"]
            if answer["steps"] == result["window"]["whole"]["steps"]
        )
        figures |= {"validation_accuracy": whole["accuracy"], "validation_pj": whole["total_pj"]}
    if exits:
        stop = result["early_exit"]
        figures |= {
            "validation_accuracy": stop["validation"]["accuracy"],
            "validation_pj": stop["validation"]["pj"],
            "test_accuracy": stop["test"]["accuracy"],
            "test_pj": stop["test"]["pj"] * lists,
            "steps": stop["test"]["steps"],
        }
    return figures


def _priced(runs: Sequence[Run], bits: int) -> list[float]:
    """Mean test energies of runs of one data set, with weights and states of `bits` bits."""
    config = runs[0].config
    data = build.dataset(config)
    machine = build.hardware(config, data).with_design(weight_bits=bits, state_bits=bits)
    energies = []
    for run in runs:
        variables, _ = restored(RunFolder(run.path), run.config, data)
        work = measured(run.config, data, variables, data.test.frames)
        energies.append(float(estimate_energy(work, machine).total_pj().mean()))
    return energies


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and standard deviations over seeds, and the runs."""
    names = ("validation_accuracy", "test_accuracy", "test_accuracy_rounded", "test_pj", "steps")
    return {n: spread([row[n] for row in rows]) for n in names} | {"runs": list(rows)}


if __name__ == "__main__":
    try:
        words = shlex.join(["python", "-m", "experiments.ablation", *sys.argv[1:]])
        chosen = Flags(**parse(Flags, description=__doc__))
        keep_compiled()
        main(chosen, words)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        sys.exit(f"error: {error}")
