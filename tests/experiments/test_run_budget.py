"""Runs that are given a budget: what they write, what they refuse, what they say."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from experiments import run_budget, train
from experiments.energy_report import restored, stored
from experiments.run_budget import BudgetOfRun
from experiments.runconfig import configured
from jsnn.train import diagnosis
from jsnn.train.budget import Budget, Infeasible

FLAGS = "--epochs 3 --limit 64 --widths 8 --steps 2 --batch 16 --gain 8".split()
# Between the spike-independent energy of this network, 992 pJ, and its 1,034 pJ when untrained.
BUDGET, LIMIT = "1010pJ", 1010


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held") / "run"
    train.run([*FLAGS, "--energy-budget", BUDGET, "--out", str(folder)])
    return folder


def test_a_run_ends_under_its_budget_and_says_by_how_much(held):
    result = json.loads((held / "result.json").read_text())
    assert result["config"]["energy_weight"] == 0
    budget = result["budget"]
    one = budget["limits"]["energy_pj"]
    assert one["limit"] == LIMIT and one["spike_independent"] < LIMIT < one["start"]
    assert one["train"] <= LIMIT and one["feasible"]["train"]
    assert budget["training_samples"] == 64
    for split in ("train", "validation", "test"):
        assert one["margin"][split] == pytest.approx(1 - one[split] / LIMIT)
        assert one["feasible"][split] == (one[split] <= LIMIT)
    assert one["test"] == pytest.approx(result["total_pj"], rel=1e-6)
    assert one["multiplier"] >= 0
    assert result["validation_accuracy"] == budget["accuracy"]["validation"]
    assert set(budget["accuracy_as_trained"]) == {"train", "validation"}
    rows = [json.loads(line) for line in (held / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_multiplier_energy_pj"] == one["multiplier"]


def test_what_is_pulled_out_spends_what_the_run_says(held):
    folder, config = stored(str(held))
    made = train.prepare(config, train.HERE.take(config.batch))
    variables, _ = restored(folder, config, made.data)
    result = json.loads((held / "result.json").read_text())["budget"]
    sums = run_budget.on_training(made, variables, config)
    assert Budget(energy_pj=1.0).mean_usage(sums)["energy_pj"] == pytest.approx(
        result["limits"]["energy_pj"]["train"], rel=1e-6
    )


def test_resume_of_a_finished_run_changes_nothing(held):
    before = json.loads((held / "result.json").read_text())
    train.run(["--resume", str(held)])
    after = json.loads((held / "result.json").read_text())
    # The digest is over the clock too.
    timeless = {"seconds": 0, "sha256": ""}
    assert before | timeless == after | timeless


def test_a_warm_start_begins_with_the_network_of_the_other_run(held):
    folder, config = stored(str(held))
    warm = dataclasses.replace(config, warm_start=str(held))
    made = train.prepare(config, train.HERE.take(config.batch))
    begun = train.begin(warm, made, train.HERE.take(config.batch))
    params = restored(folder, config, made.data)[0]["params"]
    jax.tree.map(np.testing.assert_array_equal, begun.state.params, params)
    assert int(begun.state.step) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--energy-budget 900pJ",
            r"infeasible budget: energy_pj is limited to 900 \(900 pJ\), its spike-indep.* is 9",
        ),
        (
            "--memory-budget 100B",
            r"memory_bytes is limited to 100 \(100 B\), its spike-independent usage is",
        ),
        ("--latency-budget 1ms", "publishes no times"),
        ("--area-budget 2mm2", "does not say what memories it has"),
        ("--area-budget 2mm2 --hardware yan-v1-spatial", "a machine whose name says its node"),
        ("--energy-budget 40", "--energy-budget: expected a positive energy with a unit of"),
        ("--energy-budget 40nJ --energy-weight 0.1", "takes the place of --energy-weight"),
        ("--warm-start /nowhere", "holds no config.json"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(flags, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train.run([*FLAGS, *flags.split(), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_budget_sets_the_weight_of_a_recipe_aside_but_not_a_flag():
    config = configured({"energy_budget": "40nJ"})
    assert (config.energy_weight, config.dead_neuron_weight, config.select) == (0.0, 0.1, "last")
    assert configured({"energy_budget": "40nJ", "dead_neuron_weight": 1.0}).dead_neuron_weight == 1
    assert configured({}).energy_weight == 0.15


def record(train_pj: float, dead: list[str]) -> dict:
    shares = {split: 1 - train_pj / 100 for split in ("train", "validation", "test")}
    one = {
        "limit": 100.0,
        "spike_independent": 50.0,
        "start": 400.0,
        "multiplier": 0.25,
        "margin": shares,
    }
    one |= {split: train_pj for split in shares}
    one |= {"feasible": {split: share >= 0 for split, share in shares.items()}}
    return {
        "threshold_factor": 2.0,
        "accuracy": {"train": 0.8, "validation": 0.75},
        "accuracy_as_trained": {"train": 0.95, "validation": 0.9},
        "dead_layers": dead,
        "limits": {"energy_pj": one},
    }


def test_a_network_that_stays_over_its_budget_is_never_passed_over_in_silence(tmp_path):
    budget_of_run = BudgetOfRun(Budget(energy_pj=100.0), {"energy_pj": 400.0}, {"energy_pj": 50.0})
    budget_of_run.check(record(99.0, []), tmp_path)
    said = r"energy_pj is 120 pJ against 100 pJ\. Thresholds 2 times .*90.0% before and 75.0% after"
    with pytest.raises(Infeasible, match=said):
        budget_of_run.check(record(120.0, []), tmp_path)
    assert str(budget_of_run) == "budget 100 pJ"


def test_the_lines_at_the_end_tell_of_budget_and_death(held):
    result = json.loads((held / "result.json").read_text())
    text = "\n".join(diagnosis.describe(result | {"budget": record(120.0, ["hidden_0"])}))
    assert "Budget of energy 100 pJ: train 120 pJ (20.0% OVER)" in text
    assert "multiplier 0.25" in text and re.search("DEAD on the training samples: hidden_0", text)
    text = "\n".join(diagnosis.describe(result | {"budget": record(97.0, [])}))
    assert "train 97 pJ (3.0% below)" in text and "DEAD" not in text
    assert "accuracy 95.0% before and 80.0% after on train" in text
    assert "So large a factor costs accuracy" in text
    little = record(97.0, []) | {"threshold_factor": 1.05}
    assert "So large" not in "\n".join(diagnosis.describe(result | {"budget": little}))
