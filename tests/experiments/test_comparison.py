"""Comparison of regularisers: what is run, kept and made of it; no network is trained."""

import functools
import json
import sys

import numpy as np
import pytest

from experiments import build, comparison_pool, comparison_table, regularisers
from experiments.comparison_analysis import ratio
from experiments.comparison_plan import (
    REPORT,
    SEARCH,
    chosen,
    gathered,
    on_blocks,
    reports,
    searches,
    two_best,
)
from experiments.comparison_pool import Pool
from experiments.comparison_tasks import OTHERS, OURS, PAIRS, SHORT, TASKS, TRANSFERRED, Grid
from experiments.kept_runs import Job, Store
from experiments.regularisers import Flags, describe, estimate, summarise
from experiments.reproduce import ROOT
from experiments.swept import NONE, task_config
from experiments.table import place
from jsnn.train import json_files
from jsnn.train.regularisers import REGULARISERS

GRID = Grid()
# What a regulariser costs at equal accuracy, as a factor.
COST = {OURS: 0.7} | {name: 1.0 + 0.1 * n for n, name in enumerate(OTHERS)}
STUB = """
import json, sys
job = json.load(sys.stdin)
for run in job["runs"]:
    if run["strength"] == 7: sys.exit("out of luck")
    print(json.dumps({"accuracy": 0.9, "pj": 1e3, "seconds": 1.0,
        "samples": {"accuracy": [1.0, 0.0], "pj": [1.4, 2.0]}}), flush=True)
"""


def planted(regulariser, run, units=40):
    """More strength, less accuracy and energy; slope 2 at half the rate is cheapest."""
    strength = run["strength"]
    shift = 1.0 + 0.2 * ((run["slope"] != 2) + (run["rate"] != 0.5))
    pj = 1e5 * shift * COST.get(regulariser, 1.0) / (1 + 30 * strength) if strength else 4e5
    accuracy = 0.98 - (0.01 * strength**0.5 if strength else 0)
    return {
        "accuracy": accuracy,
        "pj": pj,
        "spike_independent_pj": 500.0,
        "seconds": 2.0,
        "samples": {"accuracy": [accuracy] * units, "pj": [pj] * units},
    }


def fill(store, jobs):
    for job in jobs:
        for run in job.runs:
            if store.find(job, run) is None:
                store.keep(job, run, planted(job.regulariser, run))


def search(store, name, fill=fill):
    """All of a search: the second round is known once the first is there."""
    for _ in range(1 + bool(TASKS[name].again)):
        fill(store, searches(name, TASKS[name], GRID, store))


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """The draws of an interval are most of what these tests take."""
    monkeypatch.setattr(regularisers, "ratio", functools.partial(ratio, draws=50))


@pytest.fixture(autouse=True)
def no_wait_for_the_disk(monkeypatch):
    """The thousands of results that are kept here need not outlast a power cut."""
    monkeypatch.setattr(json_files.os, "fsync", lambda handle: None)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, "python -m experiments.regularisers")


def test_every_regulariser_has_the_same_budget_and_grid(store):
    assert {OURS, *OTHERS} == set(REGULARISERS) - {"energy-ratio"}
    budgets = {}
    for job in searches("digits", TASKS["digits"], GRID, store):
        runs = [tuple(sorted(run.items())) for run in job.runs]
        budgets.setdefault(job.regulariser, []).extend(runs)
    free = budgets.pop(NONE)
    assert len({tuple(sorted(runs)) for runs in budgets.values()}) == 1
    assert {len(set(runs)) for runs in budgets.values()} == {45}
    assert len(free) == 9 and all(("strength", 0.0) in run for run in free)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_a_config(name):
    task = TASKS[name]
    for block in (*task.blocks, task.search or {}):
        config = task_config({"dataset": name, **task.flags, **block})
        build.check_names(config)
        assert config.select == "last" and config.energy_weight == 0
    assert task.search is not None or TASKS[task.like].searched
    if task.pooled:
        folds = [block["fold"] for block in task.blocks]
        assert folds == [0, 1, 2, 3, 4] * task.repeats


def compare(store, *names):
    """All of these tasks, in order: later ones report only what the earlier ones let through."""
    for name in names:
        search(store, name)
        fill(store, reports(name, TASKS[name], GRID, store))


LATER = "fashion-mnist"


@pytest.mark.parametrize("name", ["digits", "ev-objects"])
def test_the_planted_slope_and_rate_are_chosen(name, store):
    search(store, name)
    assert chosen(name, TASKS[name], GRID, store)[OURS][:2] == (2.0, 0.5)


def test_a_later_task_is_of_the_two_best_and_counts_once_they_are_over(store):
    compare(store, "digits")
    jobs = reports(LATER, TASKS[LATER], GRID, store)
    assert {job.regulariser for job in jobs} == {NONE, OURS, *OTHERS[:2]}
    fill(store, [job for job in jobs if job.regulariser != OTHERS[0]])
    assert LATER not in summarise(store, GRID)["tasks"]
    fill(store, [job for job in jobs if job.regulariser == OTHERS[0]])
    assert LATER in summarise(store, GRID)["tasks"]


def test_what_was_run_of_another_stays_in_sight_and_counts_once_it_is_over(store):
    compare(store, "digits")
    fill(store, reports(LATER, TASKS[LATER], GRID, store))
    another = OTHERS[4]
    seeds = on_blocks(LATER, TASKS[LATER], another, 2.0, 0.5, TRANSFERRED)
    fill(store, seeds[:-1])
    assert another not in summarise(store, GRID)["tasks"][LATER]["regularisers"]
    fill(store, seeds[-1:])
    assert another in summarise(store, GRID)["tasks"][LATER]["regularisers"]


def test_the_planted_winner_comes_out(store):
    compare(store, "digits", "ev-objects", LATER)
    assert two_best(GRID, store) == list(OTHERS[:2])
    summary = json.loads(json.dumps(summarise(store, GRID)))
    assert set(summary["tasks"]) == {"digits", "ev-objects", LATER}
    for task in summary["tasks"].values():
        assert task["best_other"] == OTHERS[0]
        ratio_to_best = task["ours_over_best_other"]
        # Between two points the planted curves are read off straight lines.
        assert abs(ratio_to_best["value"] - 0.7) < 0.05
        assert ratio_to_best["low"] - 1e-9 <= ratio_to_best["value"] <= ratio_to_best["high"] + 1e-9
    assert 0.65 < summary["geometric_mean"] < 0.75
    assert summary["tasks"]["ev-objects"]["units"] == "200 pooled samples, 3 runs of each"
    text = "\n".join(describe(summary))
    assert "Cut: one seed in the first round" in text and "hoyer" in text


SMALL = "ev-objects"


def second_round(store):
    """What a small search runs again once its first round is over."""
    fill(store, searches(SMALL, TASKS[SMALL], GRID, store))
    return [
        job
        for job in searches(SMALL, TASKS[SMALL], GRID, store)
        if job.flags["fold"] > 0 or job.runs[0]["seed"] > 0
    ]


def test_the_cheapest_pairs_of_a_small_search_run_again_the_same_for_each(store):
    jobs = second_round(store)
    counts = dict.fromkeys(GRID.names, 0)
    for job in jobs:
        counts[job.regulariser] += len(job.runs)
    # Three folds with two seeds, the first run of all is there.
    assert counts == {name: 5 * PAIRS * 5 for name in GRID.names} | {NONE: 5 * PAIRS}
    pairs = {(run["slope"], run["rate"]) for j in jobs if j.regulariser == OURS for run in j.runs}
    # Of those that are planted to cost as much, the first.
    assert pairs == {(2.0, 0.5), (0.5, 0.5), (1.0, 0.5)}


def test_a_small_search_chooses_nothing_before_its_second_round_is_over(store):
    jobs = second_round(store)
    assert chosen(SMALL, TASKS[SMALL], GRID, store) == {}
    fill(store, jobs[:-1])
    assert chosen(SMALL, TASKS[SMALL], GRID, store) == {}
    fill(store, jobs[-1:])
    assert set(chosen(SMALL, TASKS[SMALL], GRID, store)) == {NONE, OURS, *OTHERS}


def test_a_pair_that_was_lucky_on_the_first_samples_is_found_out_on_the_others(store):
    for job in second_round(store):
        for run in job.runs:
            row = planted(job.regulariser, run)
            if job.regulariser == OURS and run["slope"] == 2:
                row["pj"] *= 3
            store.keep(job, run, row)
    pairs = chosen(SMALL, TASKS[SMALL], GRID, store)
    assert pairs[OURS][:2] == (0.5, 0.5) and pairs[OTHERS[0]][:2] == (2.0, 0.5)


def test_repeats_of_a_fold_count_with_their_mean(store):
    """Of each sample the mean of three runs; a strength that one of them lacks is left out."""
    task, jobs = TASKS["ev-objects"], []
    search(store, "ev-objects")
    for job in reports("ev-objects", task, GRID, store):
        for run in job.runs:
            row = planted(job.regulariser, run, units=4)
            row["samples"]["pj"] = [1e3 * run["seed"] + sample for sample in range(4)]
            store.keep(job, run, row)
        jobs.append(job)
    free = gathered([job for job in jobs if job.regulariser == NONE], task, store)
    assert free.pj.shape == (1, 20)
    # Seeds of a fold are five apart.
    np.testing.assert_allclose(free.pj[0, 4:8], [6000, 6001, 6002, 6003])
    np.testing.assert_allclose(free.pj.mean(), 7001.5)
    strengths = chosen("ev-objects", task, GRID, store)[OURS][2]
    more = on_blocks("ev-objects", task, OURS, 2.0, 0.5, (*strengths, 9.0))
    fill(store, more[:-1])
    assert gathered(more, task, store).strengths == strengths


def test_a_short_search_is_of_the_finalists_at_one_strength(store):
    """Every pair of slope and rate; who joins them later is left out until it is searched."""
    task = TASKS["qtdb"]
    assert task.short and searches("qtdb", task, GRID, store) == []
    with pytest.raises(ValueError, match="--tasks digits,ev-objects first"):
        regularisers.main(Flags(tasks="qtdb", out=str(store.folder)))
    search(store, "digits")
    fill(store, reports("digits", TASKS["digits"], GRID, store))
    jobs = searches("qtdb", task, GRID, store)
    assert {job.regulariser for job in jobs} == {NONE, OURS, *OTHERS[:2]}
    assert {(run["slope"], run["rate"], run["strength"]) for run in jobs[-1].runs} == {
        (2.0, rate, *SHORT) for rate in GRID.rates
    }
    assert sum(len(job.runs) for job in jobs) == 36
    fill(store, jobs[:-1])
    assert OTHERS[1] not in chosen("qtdb", task, GRID, store)
    fill(store, jobs[-1:])
    result = chosen("qtdb", task, GRID, store)
    assert set(result) == {NONE, OURS, *OTHERS[:2]}
    assert result[OURS] == (2.0, 0.5, TRANSFERRED)
    fill(store, reports("qtdb", task, GRID, store))
    assert set(summarise(store, GRID)["tasks"]) == {"digits", "qtdb"}


def test_a_task_beside_the_others_neither_ranks_nor_counts(store):
    task = TASKS["digits-conv"]
    search(store, "digits-conv")
    fill(store, reports("digits-conv", task, GRID, store))
    assert two_best(GRID, store) == []
    alone = summarise(store, GRID)
    assert alone["tasks"]["digits-conv"]["beside"] and alone["geometric_mean"] is None
    assert "geometric mean" not in comparison_table.render(alone)
    search(store, "digits")
    fill(store, reports("digits", TASKS["digits"], GRID, store))
    both = summarise(store, GRID)
    assert both["geometric_mean"] == both["tasks"]["digits"]["ours_over_best_other"]["value"]
    assert "geometric mean without digits-conv 0.7" in comparison_table.render(both)


def test_what_loses_no_point_is_run_stronger_five_times_at_most(store):
    task = TASKS["digits"]

    def run(store, jobs):
        for job in jobs:
            for numbers in job.runs:
                row = planted(job.regulariser, numbers)
                if job.regulariser == OTHERS[0]:
                    row["accuracy"] = 0.975
                if store.find(job, numbers) is None:
                    store.keep(job, numbers, row)

    def strengths(name):
        jobs = reports("digits", task, GRID, store)
        assert len({job.runs[0]["seed"] for job in jobs}) == 5
        (result,) = {
            tuple(run["strength"] for run in job.runs) for job in jobs if job.regulariser == name
        }
        return result

    search(store, "digits", run)
    every = (0.3, 1, 3, 9, 27, 81, 243, 729)
    for expected in (*(every[:n] for n in range(3, 9)), every):
        assert strengths(OTHERS[0]) == expected
        run(store, reports("digits", task, GRID, store))
        assert max(strengths(OURS)) <= 3
        # What is there stands, whatever else is still to run.
        row = summarise(store, GRID)["tasks"]["digits"]["regularisers"][OTHERS[0]]
        assert row["strengths"] == expected and row["reached"] is False
    assert describe(summarise(store, GRID))


def test_what_loses_a_point_at_every_strength_is_run_weaker_five_times_at_most(store):
    task = TASKS["digits"]

    def run(store, jobs, accuracy=None):
        for job in jobs:
            for numbers in job.runs:
                if store.find(job, numbers) is None:
                    row = planted(job.regulariser, numbers)
                    if job.stage == REPORT and job.regulariser == OTHERS[0]:
                        row["accuracy"] = accuracy
                    store.keep(job, numbers, row)

    def strengths():
        jobs = reports("digits", task, GRID, store)
        (result,) = {
            tuple(run["strength"] for run in job.runs)
            for job in jobs
            if job.regulariser == OTHERS[0]
        }
        return result

    search(store, "digits", run)
    expected = (0.3, 1, 3)
    for weaker in (0.1, 0.033333333, 0.011111111, 0.003703704, 0.001234568, None):
        assert strengths() == expected
        run(store, reports("digits", task, GRID, store), 0.5)
        expected = expected if weaker is None else (weaker, *expected)
    assert strengths() == expected
    row = summarise(store, GRID)["tasks"]["digits"]["regularisers"][OTHERS[0]]
    assert row["reached"] is True and row["feasible"] is False and len(row["strengths"]) == 8
    assert f"{OTHERS[0]:20} ≈" in "\n".join(describe(summarise(store, GRID)))


def test_a_point_that_a_stronger_run_beats_has_not_brought_the_energy_down(store):
    """Accuracy is noisy: what lost a point and costs more than what did not says nothing."""
    task, accuracy = TASKS["digits"], {0.3: 0.98, 1: 0.96, 3: 0.975}
    search(store, "digits")
    for job in reports("digits", task, GRID, store):
        for numbers in job.runs:
            row = planted(job.regulariser, numbers)
            if job.regulariser == OTHERS[0]:
                row["accuracy"] = accuracy[numbers["strength"]]
            store.keep(job, numbers, row)
    result = [job for job in reports("digits", task, GRID, store) if job.regulariser == OTHERS[0]]
    assert {tuple(run["strength"] for run in job.runs) for job in result} == {(0.3, 1, 3, 9)}
    row = summarise(store, GRID)["tasks"]["digits"]["regularisers"][OTHERS[0]]
    assert row["reached"] is False and row["feasible"] is True


def test_nothing_is_said_of_what_is_not_over(store):
    jobs = searches("digits", TASKS["digits"], GRID, store)
    fill(store, jobs[:-1])
    assert reports("digits", TASKS["digits"], GRID, store) == []
    assert summarise(store, GRID)["tasks"] == {}
    assert "nmnist-small: 50 runs of 70 s" in estimate(TASKS, GRID, store, 2)
    assert "digits: 140 runs of 2 s" in estimate(TASKS, GRID, store, 2)


def job(*strengths, stage=REPORT):
    runs = tuple({"seed": 0, "slope": 1.0, "rate": 1.0, "strength": s} for s in strengths)
    return Job("ev-objects", stage, "hoyer", {"dataset": "ev-objects", "widths": (4,)}, runs)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(comparison_pool, "WORKER", (sys.executable, "-c", STUB))


def test_runs_are_kept_one_by_one_and_not_run_again(store, stub, capsys):
    pool = Pool(store, workers=1)
    pool.work([job(0.1, 0.3)], samples=True)
    # A store of another process sees them; another number is another run.
    again = Store(store.folder, store.line)
    assert all(again.find(job(0.1, 0.3), run) for run in job(0.1, 0.3).runs)
    assert again.find(job(0.4), job(0.4).runs[0]) is None
    capsys.readouterr()
    Pool(again, workers=1).work([job(0.1, 0.3, 0.4)], samples=True)
    assert capsys.readouterr().out.count("90.00%") == 1
    (row, *_) = again.runs("ev-objects", REPORT, "hoyer")
    assert row["samples"]["pj"] == [1, 2]
    content = json.loads(again.file("ev-objects", REPORT, "hoyer").read_text())
    assert {"command", "versions", "device", "regulariser", "runs"} == set(content)
    pool.work([job(0.1, stage=SEARCH)])
    assert "samples" not in store.runs("ev-objects", SEARCH, "hoyer")[0]


def test_time_that_is_up_leaves_runs(store, stub):
    pool = Pool(store, workers=1, max_hours=1e-9)
    pool.work([job(0.1, 0.3)])
    assert pool.left == 2 and not store.runs("ev-objects", REPORT, "hoyer")


def test_a_worker_that_fails_says_why(store, stub):
    with pytest.raises(RuntimeError, match="out of luck"):
        Pool(store, workers=1).work([job(0.1, 7)])
    assert len(store.runs("ev-objects", REPORT, "hoyer")) == 1


def test_bad_flags_are_refused(store):
    with pytest.raises(ValueError, match="no task"):
        Flags(tasks="digit")
    with pytest.raises(ValueError, match="names no task"):
        Flags(tasks="")
    with pytest.raises(ValueError, match="greater than 0"):
        Flags(max_hours=0.0)
    with pytest.raises(ValueError, match="at most"):
        Pool(store, workers=10**6)
    assert Flags(tasks="qtdb,digits").names == ["digits", "qtdb"]
    assert np.isfinite(TASKS["digits"].seconds)


def test_readme_holds_the_table_of_the_comparison():
    readme = (ROOT / "experiments/README.md").read_text()
    flags = comparison_table.Flags(json=str(ROOT / comparison_table.Flags().json))
    now = comparison_table.main(flags)
    assert readme == place(readme, now, comparison_table.BEGIN, comparison_table.END), (
        "this comparison is not the stored one: run `python -m experiments.comparison_table "
        "--write`"
    )


def test_a_table_of_the_comparison_says_who_is_cheaper_and_what_was_not_reached(tmp_path):
    def row(pj, reached, value):
        ours = {"value": value, "low": value - 0.1, "high": value + 0.1}
        return {
            "pj_at_one_point": pj,
            "reached": reached,
            "feasible": pj < 6e4,
            "ours_over_it": ours,
        }

    task = {
        "units": "5 seeds",
        "beside": False,
        "unconstrained": {"accuracy": 0.9, "pj": 8e4, "spike_independent_pj": 1e4},
        "best_other": "l1-rate",
        "ours_over_best_other": row(0, True, 1.5)["ours_over_it"],
        "regularisers": {
            "energy": row(3e4, True, 1.0),
            "l1-rate": row(2e4, True, 1.5),
            "hoyer": row(4e4, False, 0.75),
            "rate-bounds": row(6e4, True, 0.5),
        },
    }
    summary = {"points_lost": 1, "geometric_mean": 1.5, "notes": "Cut: much.", "tasks": {"t": task}}
    summary["versions"] = {"jsnn": "0.0.1"}
    file, readme = tmp_path / "summary.json", tmp_path / "README.md"
    file.write_text(json.dumps(summary))
    readme.write_text(f"a\n{comparison_table.BEGIN}\n{comparison_table.END}\nb\n")
    said = comparison_table.main(
        comparison_table.Flags(json=str(file), readme=str(readme), write=True)
    )
    for line in (
        "| nothing | 80 nJ at 90.00% |",
        "| energy (ours) | 30 nJ |",
        "| l1-rate | 20 nJ: 1.50 (1.40 to 1.60) |",
        "| hoyer | ≤ 40 nJ: ≥ 0.75 |",
        "| rate-bounds | ≈ 60 nJ: 0.50 (0.40 to 0.60) |",
        "| squared-rate | – |",
        "| nothing, silent | 10 nJ |",
        "1.50 on t (l1-rate); geometric mean 1.50; a silent network would have 0.50. Cut: much.",
    ):
        assert line in said
    assert said in readme.read_text()
    task["regularisers"]["energy"]["reached"] = False
    said = comparison_table.render(summary)
    assert "| hoyer | ≤ 40 nJ |" in said and "| l1-rate | 20 nJ: ≤ 1.50 |" in said
    assert (
        comparison_table.render({"tasks": {}, "geometric_mean": None}) == comparison_table.NONE_YET
    )
