"""Pareto fronts, choices and intervals on data whose answer is planted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.comparison_analysis import (
    Reported,
    Trial,
    best,
    choose,
    difference,
    energy_at,
    geometric_mean,
    on_front,
    ranked,
    ratio,
)

points = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=12).map(
    lambda pairs: np.array(pairs, float).T
)


@given(points)
def test_a_front_holds_what_no_point_beats(cloud):
    accuracy, pj = cloud
    stands = on_front(accuracy, pj).tolist()
    for n in range(len(pj)):
        no_worse = (accuracy >= accuracy[n]) & (pj <= pj[n])
        better = no_worse & ((accuracy > accuracy[n]) | (pj < pj[n]))
        same = {(accuracy[k], pj[k]) for k in stands}
        assert ((accuracy[n], pj[n]) in same) == (not better.any())
    assert (np.diff(accuracy[stands]) > 0).all() and (np.diff(pj[stands]) > 0).all()


def test_a_energy_is_read_off_the_planted_curve():
    accuracy = np.array([0.90, 0.94, 0.98])
    pj = 10 ** (accuracy * 50)
    # A dominated point and the order change nothing.
    cloud = np.append(accuracy, 0.91)[::-1], np.append(pj, 1e50)[::-1]
    np.testing.assert_allclose(np.log10(energy_at(*cloud, 0.955)), 0.955 * 50)
    np.testing.assert_allclose(energy_at(*cloud, 0.5), pj[0])
    assert np.isnan(energy_at(*cloud, 0.99))


def planted(cost):
    """Accuracy falls with strength, at an energy that is least for one pair of slope and rate."""
    return [
        Trial(slope, rate, strength, 0.99 - 0.004 * n, cost(slope, rate) / 2**n)
        for slope in (0.5, 1.0, 2.0)
        for rate in (0.5, 1.0, 2.0)
        for n, strength in enumerate((0.1, 0.3, 1.0, 3.0, 9.0), 1)
    ]


def test_the_planted_pair_is_chosen_with_strengths_on_both_sides():
    trials = planted(lambda slope, rate: 100 * (1 + (slope != 2) + (rate != 0.5)))
    free = [Trial(1, 1, 0, 0.99, 400.0), Trial(2, 1, 0, 0.98, 100.0)]
    choice = choose(trials, free)
    assert (choice.slope, choice.rate) == (2.0, 0.5)
    # One point is lost between the second (0.8 points) and the third strength (1.2).
    assert choice.strengths == (0.1, 0.3, 1.0)
    np.testing.assert_allclose(choice.pj, 100 / 2**2.5)
    assert best(free).accuracy == 0.99


@pytest.mark.parametrize(("loss", "strengths"), [(0.0, (1.0, 3.0, 9.0)), (0.5, (0.1, 0.3, 1.0))])
def test_curves_that_never_cross_report_the_end_nearest_to_it(loss, strengths):
    trials = [Trial(1, 1, s, 0.99 - loss, 10 / s) for s in (0.1, 0.3, 1.0, 3.0, 9.0)]
    assert choose(trials, [Trial(1, 1, 0, 0.99, 400.0)]).strengths == strengths


def samples(hard, easy_share, estimates, units=600):
    """Points on the same units: one is right where a unit is easier than the point is bold."""
    ease = np.random.default_rng(1).uniform(size=units)
    accuracy = np.array([(ease < share).astype(float) for share in easy_share])
    pj = np.outer(estimates, np.random.default_rng(2).uniform(0.5, 1.5, units) * hard)
    return Reported(accuracy, pj)


def test_a_planted_ratio_is_found_and_its_interval_holds_it():
    free = samples(1.0, [0.99], [1000.0])
    shares = [0.985, 0.97, 0.90]
    ours = samples(1.0, shares, [70.0, 35.0, 7.0])
    other = samples(1.0, shares, [100.0, 50.0, 10.0])
    result = ratio(ours, other, free, draws=200)
    np.testing.assert_allclose(result.value, 0.7)
    # Interpolation with the unconstrained end is all that can move it.
    assert 0.65 < result.low <= 0.7 <= result.high < 0.9
    same = ratio(ours, ours, free, draws=50)
    assert same == (1.0, 1.0, 1.0)


def test_the_unconstrained_network_is_the_end_of_every_front():
    free = samples(1.0, [0.99], [1000.0])
    bad = samples(1.0, [0.5], [1.0])
    end, cheap = free.pj.mean(), bad.pj.mean()
    assert cheap < bad.at(free) < end
    assert np.isclose(bad.at(free, lost=0.0), end)


def test_paired_differences_have_a_narrow_interval():
    random = np.random.default_rng(0)
    base = random.normal(0, 5, 400)
    mean, low, high = difference(base + random.normal(0.5, 0.5, 400), base)
    assert low < 0.5 < high and low < mean < high and high - low < 0.15


def test_ranks_are_by_the_geometric_mean_over_the_best_of_each_task():
    estimates = {"a": {"x": 10.0, "y": 30.0, "z": 20.0}, "b": {"x": 9e6, "y": 1e6, "z": 2e6}}
    assert ranked(estimates) == ["y", "z", "x"]
    np.testing.assert_allclose(geometric_mean([2, 8]), 4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="needs runs"):
        choose([], [Trial(1, 1, 0, 0.9, 1.0)])
    free, ours = samples(1.0, [0.99], [1.0]), samples(1.0, [0.9], [1.0], units=5)
    with pytest.raises(ValueError, match="expected 600 units"):
        ratio(ours, ours, free)
