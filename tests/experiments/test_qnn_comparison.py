"""Spikes against a trained QNN: what is compared, on planted runs; nothing is trained."""

import json

import numpy as np
import pytest

from experiments.kept_runs import Store
from experiments.qnn_comparison import (
    QNN,
    ROWS,
    SPIKES,
    Flags,
    at_one_accuracy,
    compare,
    describe,
    interval,
    jobs,
    make,
)
from experiments.swept import Numbers
from jsnn.models.rate_form import QuantisedReLU


def planted(side, strength, row):
    """Half the energy for each strength on both sides; spikes win on messages for many."""
    factor = (0.6 if row.targets > 1 else 1.4) if side == SPIKES else 1.0
    return factor * 1e5 * 0.5**strength


def fill(store, flags, accuracy):
    for side in (SPIKES, QNN):
        for job in jobs(flags, "digits", 4, side):
            for run in job.runs:
                prices = {row.name: planted(side, run["strength"], row) for row in ROWS}
                right = accuracy[side] - 0.01 * run["strength"] + 0.001 * (run["seed"] - 1)
                store.keep(job, run, {"accuracy": right, "prices": prices})


def test_energies_are_compared_at_one_accuracy(tmp_path):
    flags = Flags(strengths="0,1,2,3", seeds=(0, 1, 2))
    store = Store(tmp_path, "python -m experiments.qnn_comparison")
    # Of equal initial energy, the QNN is a percentage point more accurate, or at equal accuracy
    # takes half the energy.
    fill(store, flags, {SPIKES: 0.98, QNN: 0.99})
    lines = list(compare(flags, store, "digits", 4))
    assert len(lines) == len(ROWS) == len({line["machine"] for line in lines})
    for row, line in zip(ROWS, lines, strict=True):
        np.testing.assert_allclose(line["accuracy"], 0.975)
        np.testing.assert_allclose(line["ratio"], 2 * (0.6 if row.targets > 1 else 1.4))
        # A seed that is harder is so for both sides.
        np.testing.assert_allclose([line["low"], line["high"]], line["ratio"])
        assert line["winner"] == QNN
        assert "QNN wins" in describe(line)
    json.dumps(lines)


def test_the_winner_is_said_by_machine(tmp_path):
    flags = Flags(strengths="0,1", seeds=(0,))
    store = Store(tmp_path, "python -m experiments.qnn_comparison")
    fill(store, flags, {SPIKES: 0.98, QNN: 0.98})
    lines = list(compare(flags, store, "digits", 4))
    winners = {row.targets: line["winner"] for row, line in zip(ROWS, lines, strict=True)}
    assert winners == {1: QNN, 16: SPIKES}


def test_a_front_that_does_not_come_down_to_the_accuracy_is_an_upper_end(tmp_path):
    flags = Flags(strengths="0,1", seeds=(0,))
    store = Store(tmp_path, "python -m experiments.qnn_comparison")
    fill(store, flags, {SPIKES: 0.98, QNN: 0.998})
    line = next(compare(flags, store, "digits", 4))
    assert line["comes_down"] == {SPIKES: True, QNN: False}
    assert " / ≤ 50.00 nJ" in describe(line) and "≤" not in describe(line).split(" / ")[0]


def test_an_interval_is_as_wide_as_seeds_disagree():
    accuracy = {side: np.tile([0.97, 0.98], (4, 1)) for side in (SPIKES, QNN)}
    pj = {SPIKES: np.outer([1.0, 1.0, 3.0, 3.0], [1.0, 2.0]), QNN: np.tile([1.0, 2.0], (4, 1))}
    low, high = interval(accuracy, pj)
    _, estimates = at_one_accuracy(accuracy, pj)
    assert estimates[SPIKES] / estimates[QNN] == pytest.approx(2)
    assert 0.999 < low < 1.6 and 2.4 < high < 3.001


def test_both_sides_have_the_same_folds_weights_and_schedule():
    flags = Flags()
    ours, other = (list(jobs(flags, "digits", 6, side)) for side in (SPIKES, QNN))
    assert [job.runs for job in ours] == [job.runs for job in other]
    for one, two in zip(ours, other, strict=True):
        differ = {k for k in one.flags | two.flags if one.flags.get(k) != two.flags.get(k)}
        assert differ == {"steps", "threshold_scale"}
    assert len(ours) == 5 and len({job.flags["fold"] for job in ours}) == 5


def test_machines_differ_in_movement_and_skipping():
    machines = [row.hardware(input_bits=5) for row in ROWS]
    # One of the three has no option for skipping: there it is a saving of the QNN.
    assert len(set(map(repr, machines))) == len(ROWS) * 5 // 6
    assert {machine.design.input_bits for machine in machines} == {5}
    assert {(row.preset[:3], row.skipping) for row in ROWS} == {
        (preset, skipping) for preset in ("neu", "spa", "yan") for skipping in (0, 1)
    }
    assert {row.hops for row in ROWS} == {0, 1, 4}


def test_the_program_of_the_qnn_is_its_network():
    flags = Flags(smoke=True)
    (job, *_) = jobs(flags, "digits", 6, QNN)
    swept = make(job, 6, QNN)
    assert swept.model.neuron == QuantisedReLU(3)
    assert swept.model.widths == (8,) and len(swept.shapes) == 1
    assert swept.regulariser.steps == 6
    result = swept.run(Numbers(seed=0, slope=1.0, rate=1.0, strength=0.1))
    assert result["finite"]
    assert result["prices"].keys() == {row.name for row in ROWS}


def test_bad_flags_are_refused():
    for options, words in (
        ({"tasks": "digit"}, "no task"),
        ({"windows": (0,)}, "--windows"),
        ({"seeds": (5,)}, "--seeds"),
        ({"strengths": "1"}, "two weights"),
    ):
        with pytest.raises(ValueError, match=words):
            Flags(**options)
