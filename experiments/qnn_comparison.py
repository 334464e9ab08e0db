"""Spiking network against its QNN, both trained against their own energy estimate.

    python -m experiments.qnn_comparison
    python -m experiments.qnn_comparison --tasks digits --windows 4 --seeds 0 --epochs 20

For each window T the energy weight is swept on both sides: in the loss of the spiking network, and
in that of the QNN with its measured energy, whose activations have ceil(log2(T + 1)) bits. Both are
trained against `--hardware` and priced on every machine below. Energies are read off both Pareto
Pareto fronts at the same accuracy, half a percentage point below what both reach; below 1 the
spikes win. Accuracies are means over folds of the training samples. An energy whose runs are all
more accurate than that is an upper bound, marked ≤. Existing runs with the same numbers are not
repeated.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import build
from experiments.comparison_analysis import DRAWS, Reported, energy_at
from experiments.comparison_tasks import FIVE_FOLDS
from experiments.compiled import keep_compiled
from experiments.config import check, option, parse
from experiments.kept_runs import Job, Store
from experiments.summary import versions
from experiments.swept import Numbers, Swept, task_config
from jsnn.energy import estimate_energy
from jsnn.energy.qnn import activation_bits
from jsnn.hardware import Hardware
from jsnn.hardware import get as get_hardware
from jsnn.models.rate_form import QNNEnergy, qnn_mlp, unread_pj
from jsnn.train.json_files import keep
from jsnn.workload import Workload

RESULTS = "experiments/results/qnn_comparison"
SPIKES, QNN = "spikes", "qnn"
TASKS = ("digits", "fashion-mnist")
STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
# The comparison is at this much accuracy below what both sides reach.
BELOW = 0.005


@dataclasses.dataclass(frozen=True)
class Row:
    """A machine that both sides are priced on.

    Attributes:
        preset: its name.
        hops, targets: hops of a message, and neurons that it serves; 0 hops: inside a core.
        skipping: whether weights whose activation is zero are skipped: by the machine's design
            parameter, or for the QNN alone if the machine has none (there spikes fetch weights one
            by one).
    """

    preset: str
    hops: float
    targets: float
    skipping: int

    def hardware(self, input_bits: int | None) -> Hardware:
        """The machine, its real-valued inputs as wide as the data's."""
        machine = get_hardware(self.preset)
        parameters = {"hops": self.hops, "targets_per_message": self.targets}
        if "zero_skipping" in machine.architecture.parameters:
            parameters["zero_skipping"] = self.skipping
        if input_bits is not None:
            parameters["input_bits"] = input_bits
        return machine.with_design(**parameters)

    def qnn_pj(self, workload: Workload, machine: Hardware, steps: int) -> jax.Array:
        """Energy of a QNN on the machine, `[B]` in pJ."""
        read = QNNEnergy(machine, steps).per_sample(workload)
        if self.skipping and "zero_skipping" not in machine.architecture.parameters:
            return read - unread_pj(workload, machine, steps)
        return read

    @property
    def name(self) -> str:
        """Name as printed.

        >>> Row("spatial-45nm", 1, 16, 0).name
        'spatial-45nm, 1 hops, 16 targets, every weight read'
        """
        words = ("every weight read", "weights of zeros skipped")[self.skipping]
        return f"{self.preset}, {self.hops:g} hops, {self.targets:g} targets, {words}"


ROWS = tuple(
    Row(preset, hops, targets, skipping)
    for preset in ("neuromorphic-22nm", "spatial-45nm", "yan-v1-spatial")
    for skipping in (0, 1)
    for hops, targets in ((0, 1), (1, 16), (1, 1), (4, 1))
)


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the comparison."""

    tasks: str = option("digits", f"of {', '.join(TASKS)}, comma-separated")
    windows: tuple[int, ...] = option((2, 4, 6), "time windows T")
    strengths: str = option(",".join(map(str, STRENGTHS)), "weights of the energy on both sides")
    seeds: tuple[int, ...] = option((0, 1, 2, 3, 4), "seeds, each with a fold of its own (0 to 4)")
    epochs: int | None = option(
        None, "passes over the training samples; none: the recipe's", least=1
    )
    hardware: str = option("neuromorphic-22nm", "machine that both are trained against")
    out: str = option(RESULTS, "folder of the results")
    smoke: bool = option(False, "an epoch of a tiny network: does it run at all?")

    def __post_init__(self):
        check(self)
        if not self.names:
            raise ValueError(f"--tasks names no task; there are {sorted(TASKS)}")
        if strangers := set(self.names) - set(TASKS):
            raise ValueError(f"no task {sorted(strangers)}; there are {list(TASKS)}")
        if not self.windows or min(self.windows) < 1:
            raise ValueError(f"--windows must be at least 1, got {self.windows}")
        if not set(self.seeds) <= set(range(len(FIVE_FOLDS))):
            raise ValueError(f"--seeds must lie in 0 to 4, the folds, got {self.seeds}")
        if len(self.weights) < 2:
            raise ValueError("--strengths needs two weights at least: a Pareto front has two ends")

    @property
    def names(self) -> list[str]:
        """Names of the tasks."""
        return [word for word in self.tasks.split(",") if word]

    @property
    def weights(self) -> list[float]:
        """Energy weights."""
        return [float(word) for word in self.strengths.split(",")]

    def task_flags(self, name: str) -> dict[str, Any]:
        """Flags of `experiments.train` for a task, the same for both sides."""
        flags: dict[str, Any] = {"dataset": name, "hardware": self.hardware, "norm": False}
        if self.epochs is not None:
            flags["epochs"] = self.epochs
        if self.smoke:
            flags |= {"epochs": 1, "limit": 96, "widths": (8,), "warmup_epochs": 0.0}
        return flags


def main(flags: Flags) -> dict[str, Any]:
    """Run what is missing; writes, prints and returns which side wins."""
    folder = Path(
        "runs/qnn-comparison-smoke" if flags.smoke and flags.out == RESULTS else flags.out
    )
    store = Store(folder, f"python -m experiments.qnn_comparison --tasks {flags.tasks}")
    tasks = []
    for name in flags.names:
        for steps in flags.windows:
            for side in (SPIKES, QNN):
                train(flags, store, name, steps, side)
            for line in compare(flags, store, name, steps):
                tasks.append(line)
                print(describe(line), flush=True)
    summary = {"command": store.line, "versions": versions(), "comparisons": tasks}
    keep(folder / "summary.json", summary)
    return summary


def jobs(flags: Flags, name: str, steps: int, side: str) -> Iterator[Job]:
    """Runs of one side, fold by fold."""
    for seed in flags.seeds:
        runs = tuple(
            {"seed": seed, "slope": 1.0, "rate": 1.0, "strength": strength}
            for strength in flags.weights
        )
        # Clip levels of the QNN are trained, as in the work that proposed them.
        shown = {"steps": steps} if side == SPIKES else {"steps": 1, "threshold_scale": 1.0}
        given = {**flags.task_flags(name), **shown, **FIVE_FOLDS[seed]}
        yield Job(name, f"T{steps}", side, given, runs)


def train(flags: Flags, store: Store, name: str, steps: int, side: str) -> None:
    """Run the missing runs of one side."""
    for job in jobs(flags, name, steps, side):
        missing = [run for run in job.runs if store.find(job, run) is None]
        if not missing:
            continue
        swept = make(job, steps, side)
        for run in missing:
            result = swept.run(Numbers(**run))
            # For the QNN it would be the energy of a spiking network of one step.
            for field in ("samples", "pj", "spike_independent_pj", "initial_pj", "spike_rates"):
                result.pop(field)
            store.keep(job, run, result)
            print(f"{name} T={steps} {side} {dict(run)}: {result['accuracy']:.2%}", flush=True)


def make(job: Job, steps: int, side: str) -> Swept:
    """The program of one side on one fold."""
    config = task_config(job.flags)
    if config.model != "mlp":
        raise ValueError(f"only an mlp has a trained QNN here, got {config.model}")
    data = build.dataset(config)
    machines = [(row, row.hardware(data.input_bits)) for row in ROWS]

    def of_spikes(workload: Workload) -> dict[str, jax.Array]:
        return {
            row.name: estimate_energy(workload, machine).total_pj() for row, machine in machines
        }

    def of_qnn(workload: Workload) -> dict[str, jax.Array]:
        return {row.name: row.qnn_pj(workload, machine, steps) for row, machine in machines}

    if side == SPIKES:
        return Swept(config, "energy", price=of_spikes)
    plain = build.network(config, data, "constant")
    model = qnn_mlp(plain, activation_bits(steps))
    regulariser = QNNEnergy(build.hardware(config, data), steps)
    return Swept(config, regulariser, model=model, price=of_qnn)


def compare(flags: Flags, store: Store, name: str, steps: int) -> Iterator[dict[str, Any]]:
    """Energy ratio on each machine at equal accuracy."""
    accuracy, rows = {}, {}
    for side in (SPIKES, QNN):
        pairs = [
            [store.find(job, run) for run in job.runs] for job in jobs(flags, name, steps, side)
        ]
        accuracy[side] = np.array([[row["accuracy"] for row in fold] for fold in pairs])
        rows[side] = pairs
    for machine in ROWS:
        pj = {
            side: np.array([[r["prices"][machine.name] for r in fold] for fold in pairs])
            for side, pairs in rows.items()
        }
        wanted, estimates = at_one_accuracy(accuracy, pj)
        value = estimates[SPIKES] / estimates[QNN]
        low, high = interval(accuracy, pj)
        yield {
            "task": name,
            "steps": steps,
            **dataclasses.asdict(machine),
            "machine": machine.name,
            "accuracy": wanted,
            "spikes_pj": estimates[SPIKES],
            "qnn_pj": estimates[QNN],
            "comes_down": {
                side: bool(Reported(accuracy[side].T, pj[side].T).comes_down(wanted)) for side in pj
            },
            "ratio": value,
            "low": low,
            "high": high,
            "winner": SPIKES if value < 1 else QNN,
            "seeds": list(flags.seeds),
        }


def at_one_accuracy(
    accuracy: Mapping[str, np.ndarray], pj: Mapping[str, np.ndarray], draw: Any = slice(None)
) -> tuple[float, dict[str, float]]:
    """An accuracy that both sides reach, and the energy of each there, by side.

    Args:
        accuracy, pj: `[seeds, strengths]` of each side.
        draw: indices of the seeds to use.
    """
    means = {side: accuracies[draw].mean(0) for side, accuracies in accuracy.items()}
    wanted = float(min(accuracies.max() for accuracies in means.values()) - BELOW)
    return wanted, {side: energy_at(means[side], pj[side][draw].mean(0), wanted) for side in means}


def interval(
    accuracy: Mapping[str, np.ndarray], pj: Mapping[str, np.ndarray]
) -> tuple[float, float]:
    """Ends of the 95 % interval of the energy ratio, by paired draws of seeds."""
    seeds, random, drawn = len(accuracy[SPIKES]), np.random.default_rng(0), []
    for draw in random.integers(0, seeds, (DRAWS, seeds)):
        _, estimates = at_one_accuracy(accuracy, pj, draw)
        drawn.append(estimates[SPIKES] / estimates[QNN])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def describe(line: dict[str, Any]) -> str:
    """One comparison as a line of text."""
    wins = "QNN wins" if line["winner"] == QNN else "spikes win"
    sign = {side: "" if down else "≤ " for side, down in line["comes_down"].items()}
    return (
        f"{line['task']} T={line['steps']} {line['machine']}: at {line['accuracy']:.2%} "
        f"{sign[SPIKES]}{line['spikes_pj'] / 1e3:,.2f} / "
        f"{sign[QNN]}{line['qnn_pj'] / 1e3:,.2f} nJ = {line['ratio']:.3f} "
        f"[{line['low']:.3f}, {line['high']:.3f}], {wins}"
    )


if __name__ == "__main__":
    try:
        keep_compiled()
        main(Flags(**parse(Flags, description=__doc__)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
