"""Ablation of the levers: the choice on validation, the factors, and a run from end to end."""

import itertools
import json

import pytest

from experiments import ablation
from experiments.ablation import Flags, describe, stages
from experiments.runconfig import configured


def test_a_stage_has_the_levers_of_those_below_it():
    result = list(stages(Flags(weight_bits="learned")).items())
    assert [name for name, _ in result] == [
        "energy term",
        "learned-bit weights",
        "pruned weights",
        "learned window",
        "early exit",
    ]
    for (_, less), (_, more) in itertools.pairwise(result):
        assert less.options.items() <= more.options.items()
    (*_, (_, below), (_, last)) = result
    assert last.options["weight_bits"] == "learned" and last.options["prune"] == "weights"
    # Of one training run two stages are read.
    assert below.runs == last.runs and (below.exits, last.exits) == (False, True)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"seeds": (1, 1)}, "must be different"),
        ({"seeds": ()}, "must be different"),
        ({"weights": (0.0, 0.1)}, "must be positive"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, complaint):
    with pytest.raises(ValueError, match=complaint):
        Flags(**flags)


def test_the_first_seed_chooses_and_every_seed_is_trained(tmp_path, monkeypatch):
    """Runs that are made up: of the larger weight the energy is lower, and it loses too much."""
    given = {"seeds": (3, 4), "weights": (0.3, 1.0), "out": str(tmp_path)}
    monkeypatch.setattr(ablation, "stages", lambda flags: {"term": stages(flags)["energy term"]})
    trained = []

    def read(run, exits):
        weight, seed = run.config.energy_weight, run.config.seed
        accuracy = 0.5 if weight == 1 else 0.9
        names = "validation_accuracy", "test_accuracy", "test_accuracy_rounded", "steps"
        estimates = {"test_pj": 10 + seed - 5 * weight, "validation_pj": 10 - 5 * weight}
        return {
            "energy_weight": weight,
            "seed": seed,
            **dict.fromkeys(names, accuracy),
            **estimates,
        }

    monkeypatch.setattr(ablation, "_read", read)
    monkeypatch.setattr(ablation, "_priced", lambda runs, bits: [float(bits)] * len(runs))
    monkeypatch.setattr(ablation.sweep, "train", lambda actual, *rest: trained.extend(actual))
    result = ablation.main(Flags(**given), "command")
    assert [(one.config.energy_weight, one.config.seed) for one in trained] == [
        (0.0, 3),
        (0.0, 4),
        (0.3, 3),
        (1.0, 3),
        (0.3, 4),
    ]
    row = result["stages"]["term"]
    assert row["energy_weight"] == 0.3 and [run["seed"] for run in row["runs"]] == [3, 4]
    assert row["test_pj"][0] == pytest.approx(12.0) and len(result["stages"]["tried"]["term"]) == 2


def test_a_climb_keeps_its_runs_and_says_what_each_stage_gave(tmp_path, monkeypatch, capsys):
    given = {"dataset": "digits", "seeds": (0,), "weights": (0.3,), "steps": 3, "epochs": 2}
    flags = Flags(
        **given, points=100, limit=48, workers=1, runs=str(tmp_path / "a"), out=str(tmp_path / "b")
    )
    few = {name: stages(flags)[name] for name in ("pruned weights", "early exit")}
    monkeypatch.setattr(ablation, "stages", lambda flags: few)
    # Every run compiles a dozen programs, whose size goes with the layers.
    narrow = {"widths": (32,)}
    monkeypatch.setattr(ablation, "configured", lambda options: configured(narrow | options))
    train, trained = ablation.sweep.train, []
    monkeypatch.setattr(
        ablation.sweep, "train", lambda runs, *rest: trained.extend(runs) or train(runs, *rest)
    )
    result = ablation.main(flags, "command")
    stored = json.loads((tmp_path / "b" / "digits-event-45nm.json").read_text())
    assert stored == json.loads(json.dumps(result))
    rows = result["stages"]
    # States of the machine have 16 bits.
    assert result["fp32_pj"][0] > rows["free"]["test_pj"][0] > result["int8_pj"][0]
    for name in few:
        seeds = [run["seed"] for run in rows[name]["runs"]]
        assert seeds == [0] and rows[name]["energy_weight"] == 0.3
        factor = result["int8_pj"][0] / rows[name]["test_pj"][0]
        assert result["times"][name]["of_int8"] == pytest.approx(factor)
    assert rows["early exit"]["steps"][0] <= 3
    assert rows["pruned weights"]["test_pj"][0] < rows["free"]["test_pj"][0]
    # For pruned weights the exported network counts.
    for run in rows["pruned weights"]["runs"]:
        (kept,) = (tmp_path / "a").glob(f"*/pruned-w0.3-s{run['seed']}/result.json")
        assert run["test_pj"] == json.loads(kept.read_text())["pruned"]["skipping_pj"]
    assert rows["early exit"]["test_pj"][0] < rows["pruned weights"]["test_pj"][0]
    assert len(describe(result)) == 5
    assert len(trained) == 3 and capsys.readouterr().out.count("[1/") == 3
    # Nothing is trained twice.
    assert train(trained, "turns", 1, print) == {}
    assert "[1/" not in capsys.readouterr().out
