"""Accuracy, energy and time of digits with bf16 operands of products against f32, by seed.

    python -m experiments.benchmarks.precision

The default training of `experiments.train`, once with each precision for each seed, in turns.
Writes `experiments/results/benchmarks/precision.json`.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from pathlib import Path

from experiments import train
from experiments.benchmarks.measuring import FOLDER, report
from experiments.config import check, option, parse
from jsnn._ops.precision import PRECISIONS

FIGURES = (
    "test_accuracy",
    "total_pj",
    "spike_independent_pj",
    "energy_ratio",
    "chosen_epoch",
    "seconds",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    seeds: tuple[int, ...] = option((0, 1, 2), "seeds of the runs")
    epochs: int = option(train.Config.epochs, "epochs of a run", least=1)
    out: str = option(f"{FOLDER}/precision.json", "where the figures go")

    def __post_init__(self):
        check(self)


def main(config: Config) -> dict:
    """Train and write the figures, and their differences with bf16, paired by seed."""
    runs = {name: [] for name in PRECISIONS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in config.seeds:
            for name, rows in runs.items():
                words = f"--seed {seed} --epochs {config.epochs} --precision {name}"
                out = str(Path(folder) / f"{name}-{seed}")
                trained = train.run([*words.split(), "--out", out])
                command = f"python -m experiments.train {words}"
                rows.append(
                    {"command": command, "spikes": sum(trained["spikes"])}
                    | {figure: trained[figure] for figure in FIGURES}
                )
    added = {
        figure: [
            new[figure] - old[figure] for new, old in zip(runs["bf16"], runs["f32"], strict=True)
        ]
        for figure in ("test_accuracy", "total_pj", "spikes")
    }
    result = {
        "command": "python -m experiments.benchmarks.precision",
        "what": "accuracy, energy and time of digits with bf16 operands of products, and with f32",
        "seeds": list(config.seeds),
        "runs": runs,
        "medians": {
            name: {figure: statistics.median(row[figure] for row in rows) for figure in FIGURES}
            for name, rows in runs.items()
        },
        "bf16_less_f32": added,
    }
    report(result, config.out)
    return result


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))
