"""Budget of one run: feasibility check, final thresholds and usage on each split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jsnn.train import diagnosis
from jsnn.train.budget import RESOURCES, Budget, Infeasible
from jsnn.train.evaluation import evaluate
from jsnn.train.state import TrainState
from jsnn.train.threshold import search, turned
from jsnn.units import text

# Training samples that thresholds are set on; more would not change them.
SAMPLES = 4096


@dataclasses.dataclass(frozen=True)
class BudgetOfRun:
    """A budget and what a run needs to stay within it.

    Attributes:
        budget: the limits.
        start: usage of the network before training, by what is limited.
        independent: usage if none of its own neurons fires, with levers at their start.
    """

    budget: Budget
    start: Mapping[str, float]
    independent: Mapping[str, float]

    def __str__(self) -> str:
        limits = self.budget.limited.items()
        return "budget " + ", ".join(text(limit, RESOURCES[name]) for name, limit in limits)

    def apply(
        self, setting, state: TrainState, config, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[TrainState, dict[str, Any]]:
        """The network with the thresholds that bring it under its budget, and a record.

        Thresholds are lowered only if a limit was active in training: a network that never reached
        its limit is left as it is. The record holds the accuracy before and after.

        Args:
            setting: setting of the run.
            state: the chosen one.
            config: of the run.
            rows: metrics of the run.
        """
        spiking = [layer.geometry.name for layer in setting.traced if layer.geometry.spiking]
        multiplier = {name: rows[-1][f"train_multiplier_{name}"] for name in self.budget.limited}
        sums_by_factor: dict[float, dict] = {}

        def at(factor: float) -> TrainState:
            return state if factor == 1 else turned(state, np.float32(factor), spiking)

        def ratio(factor: float) -> float:
            sums_by_factor[factor] = on_training(setting, at(factor).variables, config)
            return max(
                self.budget.usage_shares(self.budget.mean_usage(sums_by_factor[factor])).values()
            )

        felt = [row[f"train_multiplier_{name}"] > 0 for row in rows for name in multiplier]
        factor, _ = search(ratio, fill=any(felt))
        key = jax.random.key(config.seed)

        def accuracies(factor: float) -> tuple[dict, dict[str, float]]:
            variables = at(factor).variables
            validation = evaluate(
                setting.eval_step, variables, setting.validation, config.batch, key
            )
            splits = {"train": sums_by_factor[factor], "validation": validation}
            return validation, {split: _accuracy(sums) for split, sums in splits.items()}

        validation, after = accuracies(factor)
        before = after if factor == 1 else accuracies(1.0)[1]
        state, train = at(factor), sums_by_factor[factor]
        fires = [layer.geometry.spiking for layer in setting.traced]
        silent = diagnosis.silent_layers(setting.traced.names, train["ever"], fires)
        record = {
            "threshold_factor": factor,
            "spiking_layers": spiking,
            "training_samples": int(train["samples"]),
            "dead_layers": [
                n for n, counts in silent.items() if counts["silent"] == counts["neurons"]
            ],
            "accuracy": after,
            "accuracy_as_trained": before,
            "limits": {
                name: {
                    "limit": limit,
                    "spike_independent": self.independent[name],
                    "start": self.start[name],
                    "multiplier": multiplier[name],
                }
                for name, limit in self.budget.limited.items()
            },
        }
        record = self.measured(record, "train", train)
        return state, self.measured(record, "validation", validation)

    def measured(self, record: dict[str, Any], split: str, sums: dict) -> dict[str, Any]:
        """The record with the usage on a split."""
        values, limits = self.budget.mean_usage(sums), {}
        for name, limit in record["limits"].items():
            share = values[name] / limit["limit"]
            limits[name] = {
                **limit,
                split: values[name],
                "feasible": {**limit.get("feasible", {}), split: share <= 1},
                # Share of the limit that is left; negative: exceeded.
                "margin": {**limit.get("margin", {}), split: 1 - share},
            }
        return {**record, "limits": limits}

    def check(self, record: Mapping[str, Any], folder: Path) -> None:
        """Raise `Infeasible` unless the trained network is within every limit on training."""
        usage_shares = [
            " against ".join(
                [f"{name} is {text(limit['train'], kind)}", text(limit["limit"], kind)]
            )
            for name, limit in record["limits"].items()
            for kind in [RESOURCES[name]]
            if not limit["feasible"]["train"]
        ]
        if usage_shares:
            raise Infeasible(
                f"infeasible budget: on the training samples {'; '.join(usage_shares)}. "
                f"{diagnosis.thresholds(record)} The network and its figures are in {folder}; "
                "raise the budget, train longer or take a smaller network"
            )


def start(budget: Budget, setting, variables: Any, config) -> BudgetOfRun:
    """The budget of a network that starts from these variables.

    Raises:
        Infeasible: a limit below the spike-independent usage, if no lever can lower that.
    """
    sums = on_training(setting, variables, config)
    independent = budget.mean_usage(sums, silent=True)
    if not any(lever.lowers_spike_independent for lever in setting.levers):
        budget.refuse_below(independent)
    return BudgetOfRun(budget, budget.mean_usage(sums), independent)


def on_training(setting, variables: Any, config) -> dict:
    """Sums over training samples, the same in every run of a split."""
    frames, labels = setting.given["train"], setting.data.train.labels
    if len(frames) > SAMPLES:
        chosen = np.sort(np.random.default_rng(0).permutation(len(frames))[:SAMPLES])
        frames, labels = frames[chosen], labels[chosen]
    key = jax.random.key(config.seed)
    return evaluate(setting.eval_step, variables, (frames, labels), config.batch, key)


def _accuracy(sums: dict) -> float:
    return float(sums["accuracy"] / sums["samples"])
