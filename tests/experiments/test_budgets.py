"""Reliability of budgets: what is counted, against which front, and the command as a whole."""

import json

import pytest

from experiments import budgets, sweep
from experiments.budgets import Flags, describe, on_front, summarise, together


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"weights": (0.1,)}, "--weights must hold 0"),
        ({"seeds": (1, 1)}, "--seeds must be different"),
        ({"seeds": ()}, "--seeds must be different"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, complaint):
    with pytest.raises(ValueError, match=complaint):
        Flags(**flags)


def point(value, pj, accuracy):
    shown = {f"{part}_{name}": n for part in ("validation", "test") for name, n in
             (("pj", pj), ("accuracy", accuracy))}  # fmt: skip
    return {"value": value, "dead_layers": [], **shown}


def held(limit, train, test, accuracy, dead=()):
    energy = {"limit": limit, "train": train, "validation": train, "test": test, "multiplier": 1.0}
    energy["feasible"] = {"validation": train <= limit, "test": test <= limit}
    entry = {"limits": {"energy_pj": energy}, "threshold_factor": 1.1, "dead_layers": list(dead)}
    return {
        "value": "", "error": None, "budget": entry, "dead_layers": [], "test_accuracy": accuracy,
    }  # fmt: skip


POINTS = [point("0", 1000.0, 0.9), point("1", 100.0, 0.8), point("beaten", 500.0, 0.7)]


def test_a_front_is_what_validation_leaves_of_it():
    assert on_front(POINTS, 1e3) == on_front(POINTS, 1e4) == 0.9
    assert on_front(POINTS, 10**2.5) == pytest.approx(0.85)
    assert on_front(POINTS, 10.0) == 0.8


def test_every_budget_counts_once_and_what_has_no_network_as_not_held():
    result = summarise(
        POINTS,
        [
            held(100.0, 98.0, 99.0, 0.81),
            held(100.0, 96.0, 101.0, 0.79, dead=["hidden_0"]),
            {"value": "1pJ", "error": "below the spike-independent energy", "dead_layers": []},
        ],
    )
    assert [result[name] for name in budgets.COUNTS] == [3, 1, 2, 1, 1]
    assert result["points_below_front_mean"] == pytest.approx(0.0)
    assert result["points_below_front_worst"] == pytest.approx(1.0)
    none = summarise(
        POINTS, [{"value": "1pJ", "error": "below the spike-independent energy", "dead_layers": []}]
    )
    both = together([result, none, result])
    assert [both[name] for name in budgets.COUNTS] == [7, 2, 4, 2, 2]
    assert both["points_below_front"] == pytest.approx((0.0, 0.0))
    assert both["points_below_front_worst"] == pytest.approx(1.0)
    lines = describe({**both, "by_seed": {"0": result, "1": none}})
    assert lines[0].startswith("2 of 7 within 3 % on training, 2 hold on test, 2 dead; ")
    assert len(lines) == 1 + 3 + 1
    assert "DEAD ['hidden_0']" in lines[2] and lines[4] == "1pJ: below the spike-independent energy"
    alone = describe({**together([none]), "by_seed": {"0": none}})
    assert alone[0] == "0 of 1 within 3 % on training, 0 hold on test, 0 dead"


def test_budgets_are_drawn_between_spike_independent_energy_and_energy_of_each_seed(
    tmp_path, monkeypatch, capsys
):
    trained = {}

    def train(wanted, way, workers, say):
        say(f"{len(wanted)} runs")
        trained.update({one.path: one for one in wanted})
        return {}

    def read(one, error):
        config = one.config
        if config.energy_budget is None:
            pj = 4000.0 + config.seed - 3000 * (config.energy_weight > 0)
            return {**point(one.value, pj, 0.9), "test_spike_independent_pj": 1000.0}
        limit = float(config.energy_budget.removesuffix("pJ"))
        return held(limit, 0.98 * limit, limit, 0.9)

    monkeypatch.setattr(sweep, "train", train)
    monkeypatch.setattr(sweep.Run, "read", read)
    flags = Flags(datasets=("digits",), count=4, seeds=(0, 3), weights=(0.0, 1.0), epochs=2,
                  runs=str(tmp_path / "runs"), out=str(tmp_path / "out"))  # fmt: skip
    result = budgets.main(flags, "command")["digits"]
    assert json.loads((tmp_path / "out" / "digits.json").read_text()) == json.loads(
        json.dumps(result)
    )
    assert len(trained) == 2 * (2 + 4)
    assert [result[name] for name in budgets.COUNTS] == [8, 8, 8, 8, 0]
    for seed, one in result["by_seed"].items():
        low, high = one["range_pj"]
        assert (low, high) == (1150.0, 4000.0 + int(seed))
        edges = [low * (high / low) ** (n / 4) for n in range(5)]
        limits = [row["budget_pj"] for row in one["rows"]]
        for below, limit, above in zip(edges, limits, edges[1:], strict=False):
            assert below - 0.1 <= limit <= above + 0.1
    assert "digits, seed 3 4 runs" in capsys.readouterr().out


def test_nothing_to_save_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "train", lambda *given: {})
    monkeypatch.setattr(
        sweep.Run,
        "read",
        lambda *given: {**point("0", 1100.0, 0.9), "test_spike_independent_pj": 1000.0},
    )
    flags = Flags(datasets=("digits",), weights=(0.0,), runs=str(tmp_path), out=str(tmp_path))
    with pytest.raises(ValueError, match="there is nothing to save"):
        budgets.main(flags)
