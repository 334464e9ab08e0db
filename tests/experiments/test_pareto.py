"""Pareto fronts: geometry by brute force, runs against solo runs, the command end to end."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import build, sweep, train
from experiments import pareto as pareto_command
from experiments.energy_report import restored, stored
from experiments.pareto import ParetoOptions, plan, summarise
from jsnn.codesign.pareto import hypervolume, pareto
from jsnn.train import draw_order
from jsnn.viz import plots

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8)
FLAGS = "--epochs 2 --limit 64 --widths 8 --steps 2 --batch 16 --gain 8".split()


@given(POINTS)
def test_a_point_is_on_the_front_unless_another_beats_it(points):
    result = pareto(*zip(*points, strict=True))
    for (cost, gain), on in zip(points, result, strict=True):
        beaten = [(c, g) for c, g in points if c <= cost and g >= gain and (c, g) != (cost, gain)]
        assert on == (not beaten)


@given(POINTS, st.integers(0, 7), st.integers(0, 3))
def test_hypervolume_is_the_count_of_unit_squares(points, cost_at, gain_at):
    squares = {
        (c, g) for cost, gain in points for c in range(cost, cost_at) for g in range(gain_at, gain)
    }
    assert hypervolume(*zip(*points, strict=True), (cost_at, gain_at)) == len(squares)


@settings(max_examples=20)
@given(POINTS)
def test_beaten_points_hold_nothing(points):
    costs, gains = map(np.array, zip(*points, strict=True))
    on = pareto(costs, gains)
    assert hypervolume(costs, gains, (7, 0)) == hypervolume(costs[on], gains[on], (7, 0))


@pytest.mark.parametrize(
    ("costs", "gains"), [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([[1.0]], [[1.0]])]
)
def test_bad_points(costs, gains):
    for call in (lambda: pareto(costs, gains), lambda: hypervolume(costs, gains, (1, 0))):
        with pytest.raises(ValueError, match="expected"):
            call()


# ---- runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--weights 0.1", "a Pareto front needs at least two weights or budgets, got 1"),
        ("--budgets 40nJ", "a Pareto front needs at least two"),
        ("", "made of --weights or of --budgets"),
        ("--weights 0,1 --budgets 40nJ,50nJ", "made of --weights or of --budgets"),
        ("--weights 0,0,1", "expected different values"),
        ("--weights 0,1 --seeds 1,1", "expected different seeds"),
        ("--weights 0,1 --warm start", "--warm must be one of none, first, neighbour"),
        ("--weights 0,1 --together always", "--together must be one of auto, turns, vmap"),
        ("--weights 0,1 --seed 3", "--seed is of one run"),
        ("--budgets 40nJ,50ms", "expected a positive energy"),
        ("--weights 0,1 --dataset ev-objects", "a Pareto front needs --no-refit"),
    ],
)
def test_bad_options_of_a_pareto_front(flags, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        pareto_command.run([*flags.split(), "--out", str(tmp_path / "pareto")])


def test_plans_go_from_dear_to_cheap_and_warm_starts_wait(tmp_path):
    config = train.configured({"energy_budget": "1uJ"})
    phases = plan(ParetoOptions(budgets=("40nJ", "1uJ"), seeds=(0, 1)), config, tmp_path)
    assert [one.name for one in phases[0]] == ["1uJ-s0", "1uJ-s1", "40nJ-s0", "40nJ-s1"]
    assert phases[0][3].config.seed == 1 and phases[0][3].config.energy_budget == "40nJ"
    values, config = (0.5, 0.0, 0.1), train.Config()
    for warm, sources in (("first", ["w0.0-s0"] * 2), ("neighbour", ["w0.0-s0", "w0.1-s0"])):
        first, *rest = plan(ParetoOptions(weights=values, warm=warm), config, tmp_path)
        assert [one.config.warm_start for one in first] == [None]
        rest = [one for phase in rest for one in phase]
        assert [one.config.energy_weight for one in rest] == [0.1, 0.5]
        assert [one.config.warm_start for one in rest] == [str(tmp_path / s) for s in sources]


def test_runs_vmapped_take_the_step_of_their_solo_runs():
    # Without a ramp a weight acts in the first step too.
    base = train.configured(
        {
            "energy_ramp": 0.0,
            "warmup_epochs": 0.0,
            "widths": (8,),
            "steps": 2,
            "batch": 16,
            "limit": 64,
            "epochs": 2,
        }
    )
    configs = [
        dataclasses.replace(base, seed=seed, energy_weight=weight)
        for seed, weight in ((0, 0.0), (1, 2.0))
    ]
    devices = train.HERE.take(base.batch)
    made = train.prepare(base, devices)
    begun = [train.begin(config, made, devices) for config in configs]
    orders = [draw_order(config.seed, 1, 64, made.batch) for config in configs]
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *[one.state for one in begun])
    advance = jax.jit(jax.vmap(made.advance, in_axes=(0, None, 0)))
    states, _ = advance(states, made.train, np.stack(orders))
    # The solo run of the second, in a program of its own.
    own = train.prepare(configs[1], devices)
    alone, _ = own.advance(train.begin(configs[1], own, devices).state, own.train, orders[1])
    for a, b in zip(jax.tree.leaves(states.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-6)
    kernels = states.params["hidden_0"]["synapse"]["kernel"]
    assert bool((kernels[0] != kernels[1]).any())


@pytest.fixture(scope="module")
def fronts(tmp_path_factory, compiled):
    """The same two runs: in two processes, vmapped, and vmapped over two devices."""
    folder = tmp_path_factory.mktemp("fronts")
    words = [*FLAGS, "--weights", "0,0.5", "--seeds", "0"]
    kept = os.environ.copy()
    os.environ.update(compiled)
    pareto_command.run([*words, "--together", "turns", "--out", str(folder / "turns")])
    os.environ.clear()
    os.environ.update(kept)
    pareto_command.run([*words, "--together", "vmap", "--out", str(folder / "vmap")])
    spread = ["--together", "vmap", "--out", str(folder / "devices")]
    subprocess.run(
        [sys.executable, "-m", "experiments.pareto", *words, *spread],
        env=os.environ | compiled | {"JAX_NUM_CPU_DEVICES": "2"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def variables(path):
    folder, config = stored(str(path))
    return restored(folder, config, build.dataset(config))


def test_runs_can_be_pulled_out_and_are_the_same_either_way(fronts):
    name = "runs/w0.5-s0"
    one, epoch = variables(fronts / "turns" / name)
    for way in ("vmap", "devices"):
        other, same = variables(fronts / way / name)
        assert epoch == same
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_the_summary_is_that_of_its_runs(fronts):
    for way in ("turns", "vmap"):
        summary = json.loads((fronts / way / "pareto.json").read_text())
        assert [one["name"] for one in summary["runs"]] == ["w0.0-s0", "w0.5-s0"]
        assert (fronts / way / "pareto.png").stat().st_size > 1000
        for one, point in zip(summary["runs"], summary["points"], strict=True):
            result = json.loads((fronts / way / "runs" / one["name"] / "result.json").read_text())
            assert point["test_accuracy"] == [result["test_accuracy"], 0]
            assert point["test_pj"] == [result["total_pj"], 0]
        assert any(point["chosen"] for point in summary["points"])
        assert summary["command"].startswith("python -m experiments.pareto --epochs 2")


def test_resume_trains_only_what_is_missing(fronts, capsys):
    results = sorted((fronts / "vmap" / "runs").glob("*/result.json"))
    results[1].unlink()
    kept = results[0].stat().st_mtime_ns
    before = json.loads((fronts / "vmap" / "pareto.json").read_text())
    pareto_command.run(["--resume", str(fronts / "vmap")])
    assert "2 runs, 1 of them done before" in capsys.readouterr().out
    assert results[0].stat().st_mtime_ns == kept
    after = json.loads((fronts / "vmap" / "pareto.json").read_text())
    assert after["points"][0] == before["points"][0]
    with pytest.raises(ValueError, match="takes everything from the Pareto front"):
        pareto_command.run(["--resume", str(fronts / "vmap"), "--seeds", "3"])
    with pytest.raises(ValueError, match="holds a run, not a Pareto front"):
        pareto_command.run(["--resume", str(fronts / "vmap" / "runs" / "w0.5-s0")])


def test_budgets_run_in_this_process_and_the_infeasible_one_is_named(tmp_path, capsys):
    words = "--budgets 900pJ,1060pJ --warm first --workers 1".split()
    summary = pareto_command.run([*FLAGS, *words, "--out", str(tmp_path / "pareto")])
    assert [point["label"] for point in summary["points"]] == ["1060pJ"]
    (failed,) = [one for one in summary["runs"] if one["error"]]
    assert failed["value"] == "900pJ" and "its spike-independent usage is" in failed["error"]
    assert "its spike-independent usage is" in capsys.readouterr().out


def test_a_folder_of_another_config_is_refused(tmp_path):
    run = sweep.Run("a", "a", train.Config(), tmp_path / "a")
    train.RunFolder.create(str(run.path), "a", train.Config(seed=1))
    with pytest.raises(ValueError, match="is of a run with another config"):
        sweep.train([run], "turns", 1, print)


def test_points_are_chosen_on_validation_and_what_is_over_is_left_out():
    def one(value, seed, validation, test, within=True):
        return {
            "value": value,
            "seed": seed,
            "within": within,
            "dead_layers": ["hidden_0"] if value == "c" else [],
            "validation_pj": validation[0],
            "validation_accuracy": validation[1],
            "test_pj": test[0],
            "test_accuracy": test[1],
            "initial_pj": 1000.0,
            "test_majority": 0.1,
        }

    result = [
        one("a", 0, (100.0, 0.9), (100.0, 0.6)),
        one("a", 1, (100.0, 0.7), (100.0, 0.8)),
        one("b", 0, (200.0, 0.7), (200.0, 0.99)),
        one("b", 1, (200.0, 0.7), (200.0, 0.99)),
        one("c", 0, (10.0, 0.1), (10.0, 0.1)),
        one("d", 0, (1.0, 1.0), (1.0, 1.0), within=False),
    ]
    summary = summarise(result)
    assert [p["label"] for p in summary["points"]] == ["a", "b", "c"]
    assert [p["chosen"] for p in summary["points"]] == [True, False, True]
    assert [p["dead"] for p in summary["points"]] == [0, 0, 1]
    mean, spread = summary["points"][0]["test_accuracy"]
    assert (mean, spread) == (pytest.approx(0.7), pytest.approx(0.1 * np.sqrt(2)))
    # One decade below the initial energy, 0.5 and 0.7 above the majority.
    assert summary["hypervolume"][0] == pytest.approx(0.6)


def test_the_picture_has_a_bar_for_each_point():
    points = [
        {"label": "a", "pj": (4e4, 1e3), "accuracy": (0.9, 0.01), "chosen": True},
        {"label": "b", "pj": (9e4, 0.0), "accuracy": (0.95, 0.0), "chosen": True},
        {"label": "c", "pj": (2e5, 1e3), "accuracy": (0.8, 0.01), "chosen": False},
    ]
    axes = plots.pareto_front(points, spike_independent_pj=3e4).axes[0]
    joined = [c.lines[0].get_xydata() for c in axes.containers]
    np.testing.assert_allclose(joined[0], [[40, 90], [90, 95]])
    np.testing.assert_allclose(joined[1], [[200, 80]])
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="at least one point"):
        plots.pareto_front([])
