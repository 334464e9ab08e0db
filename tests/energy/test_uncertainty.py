"""Ranges, draws over them and first-order sensitivities, against closed forms and differences."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.energy import estimate_energy
from jsnn.energy.qnn import estimate_qnn_energy
from jsnn.energy.uncertainty import SPREAD, Draws, Sensitivity, monte_carlo, ranges, sensitivities
from jsnn.hardware import Constant, Design, Hardware, Technology, get
from jsnn.hardware.architectures import ComputeOnly
from jsnn.hardware.constant import PROVENANCES
from jsnn.viz import plots
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

NEUROMORPHIC = get("neuromorphic-22nm")


def constants(**fields):
    """Constants of which each has its own provenance or range."""
    return Technology(
        {
            name: Constant(**({"unit": "pJ", "source": "a paper", "provenance": "EXACT"} | given))
            for name, given in fields.items()
        }
    )


def chip(**fields):
    """Adders and multipliers alone, whose two constants are given."""
    return Hardware("two-constants", ComputeOnly(), constants(**fields), Design())


def network():
    """Two layers of two samples; the second is read out."""
    hidden = dense(40, 30, steps=4, rate=[0.1, 0.3], name="hidden", multiplies=1)
    out = dense(30, 5, steps=4, rate=[0.2, 0.05], spiking=False, name="out")
    return Workload((hidden, out))


def lone(**options):
    """One layer of accumulations and nothing else: a·n pJ against (a + m)·k pJ."""
    return Workload((dense(100, 10, steps=5, spiking=False, **({"rate": 0.1} | options)),))


def test_a_range_comes_from_the_constant_or_from_its_mark():
    technology = constants(
        own={"value": 3.0, "low": 1.0, "high": 4.0, "provenance": "RECALLED"},
        **{
            provenance.lower(): {"value": 6.0, "provenance": provenance}
            for provenance in PROVENANCES
        },
    )
    result = ranges(technology)
    assert result.pop("own") == (1.0, 4.0)
    assert result == {
        provenance.lower(): (6 / SPREAD[provenance], 6 * SPREAD[provenance])
        for provenance in PROVENANCES
    }
    doubled = ranges(technology, {"EXACT": 3.0})
    assert doubled["exact"] == (2.0, 18.0) and doubled["derived"] == result["derived"]


def test_less_is_assumed_of_what_is_less_known():
    factors = [SPREAD[provenance] for provenance in ("EXACT", "SECONDARY", "DERIVED", "RECALLED")]
    assert set(SPREAD) == set(PROVENANCES) and factors == sorted(set(factors)) and factors[0] > 1


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        ({"GUESSED": 2.0}, "GUESSED"),
        ({"EXACT": 0.9}, "EXACT"),
        ({"DERIVED": math.nan}, "DERIVED"),
        ({"DERIVED": math.inf}, "DERIVED"),
    ],
)
def test_a_spread_that_makes_no_sense_is_refused(spread, message):
    with pytest.raises(ValueError, match=message):
        ranges(NEUROMORPHIC.technology, spread)


def test_a_value_outside_its_own_range_is_refused():
    machine = chip(add_fp32_pj={"value": 0.9, "low": 0.5, "high": 1.0}, mul_fp32_pj={"value": 3.7})
    moved = machine.with_constants(add_fp32_pj=2.0)
    for refused in (ranges, lambda t: monte_carlo(jax.random.key(0), lone(), moved, 5)):
        with pytest.raises(ValueError, match=r"add_fp32_pj = 2.0 pJ .*0.5 to 1.0"):
            refused(moved.technology)


@pytest.mark.parametrize("distribution", ["log-uniform", "triangular"])
def test_draws_price_the_network_and_its_qnn_with_the_same_constants(distribution):
    """One constant moves: each draw tells it, and everything else must follow from it."""
    machine = chip(
        add_fp32_pj={"value": 2.0, "low": 1.0, "high": 8.0},
        mul_fp32_pj={"value": 3.0, "low": 3.0, "high": 3.0},
    )
    drawn = monte_carlo(
        jax.random.key(1), lone(active=0.3), machine, 4000, distribution=distribution
    )
    add = np.asarray(drawn.snn_pj, float) / 500
    np.testing.assert_allclose(drawn.qnn_pj, 300 * (add + 3.0), rtol=1e-5)
    assert add.min() >= 1 - 1e-5 and add.max() <= 8 + 1e-5
    shares = np.linspace(0.05, 0.95, 19)
    wide, left = 7.0, 1.0
    rising = 1 + np.sqrt(shares * wide * left)
    falling = 8 - np.sqrt((1 - shares) * wide * (8 - 2))
    expected = {
        "log-uniform": 8**shares,
        "triangular": np.where(shares < left / wide, rising, falling),
    }
    np.testing.assert_allclose(np.quantile(add, shares), expected[distribution], rtol=0.06)


def test_a_range_from_zero_is_uniform_and_a_point_stays_a_point():
    machine = chip(
        add_fp32_pj={"value": 1.0, "low": 0.0, "high": 4.0},
        mul_fp32_pj={"value": 0.0},
    )
    for distribution in ("log-uniform", "triangular"):
        drawn = monte_carlo(
            jax.random.key(2), lone(active=0.3), machine, 2000, distribution=distribution
        )
        assert bool(jnp.isfinite(drawn.ratio).all())
        np.testing.assert_allclose(drawn.ratio, 500 / 300, rtol=1e-5)
    uniform = monte_carlo(jax.random.key(2), lone(), machine, 2000).snn_pj / 500
    np.testing.assert_allclose(np.quantile(uniform, [0.1, 0.5, 0.9]), [0.4, 2.0, 3.6], rtol=0.08)


def test_the_probability_of_winning_is_that_of_the_closed_form():
    """n·a < k·(a + m) where a / m < k / (n - k); log(a / m) is triangular about its centre."""
    machine = chip(add_fp32_pj={"value": 1.0}, mul_fp32_pj={"value": 1.0})
    spread, n, k = 2.0, 500, 300
    drawn = monte_carlo(
        jax.random.key(3), lone(active=0.3), machine, 20_000, spread={"EXACT": spread}
    )
    reach = math.log(k / (n - k)) / (2 * math.log(spread))
    assert 0 < reach < 1
    assert float(drawn.wins) == pytest.approx(1 - (1 - reach) ** 2 / 2, abs=0.012)


def test_a_tie_is_no_win():
    assert float(Draws(jnp.full(4, 3.0), jnp.full(4, 3.0)).wins) == 0
    assert float(Draws(jnp.array([1.0, 3.0]), jnp.full(2, 2.0)).wins) == 0.5


@pytest.mark.parametrize("name", ["neuromorphic-22nm", "hierarchy-45nm"])
@pytest.mark.parametrize("density", ["measured", "average"])
def test_a_draw_is_the_energy_of_a_machine_with_these_constants(name, density):
    """No spread: every draw is the plain energy, whichever way the batch is summed."""
    machine, certain = get(name), dict.fromkeys(PROVENANCES, 1.0)
    for per_step in (False, True):
        workload = dataclasses.replace(network(), per_step=per_step)
        drawn = monte_carlo(
            jax.random.key(0), workload, machine, 3, spread=certain, density=density
        )
        spiking = estimate_energy(workload, machine).total_pj().mean()
        other = estimate_qnn_energy(workload, machine, density).total_pj().mean()
        np.testing.assert_allclose(drawn.snn_pj, float(spiking), rtol=1e-5)
        np.testing.assert_allclose(drawn.qnn_pj, float(other), rtol=1e-5)


def test_static_power_burns_as_long_as_the_slowest_layer_of_each_sample():
    """Either layer is the slow one of half the samples: the mean sample would use less."""
    power = Constant(2.0, "W", "a data sheet", "EXACT")
    machine = get("event-45nm")
    constants = machine.technology.constants | {"static_power_w": power}
    known = {n: dataclasses.replace(c, low=None, high=None) for n, c in constants.items()}
    machine = dataclasses.replace(machine, technology=Technology(known))
    rates = np.array([0.02, 0.5])
    work = Workload(
        tuple(dense(64, 64, steps=4, rate=r, name=n) for n, r in (("a", rates), ("b", rates[::-1])))
    )
    certain = dict.fromkeys(PROVENANCES, 1.0)
    whole = float(estimate_energy(work, machine).total_pj().mean())
    of_mean = jax.tree.map(lambda counts: counts.mean(0, keepdims=True), work)
    assert float(estimate_energy(of_mean, machine).total_pj()[0]) < 0.7 * whole
    drawn = monte_carlo(jax.random.key(0), work, machine, 2, spread=certain)
    np.testing.assert_allclose(drawn.snn_pj, whole, rtol=1e-5)
    other = float(estimate_qnn_energy(work, machine).total_pj().mean())
    np.testing.assert_allclose(drawn.qnn_pj, other, rtol=1e-5)


def test_chunks_do_not_change_the_draws(monkeypatch):
    once = monte_carlo(jax.random.key(4), network(), NEUROMORPHIC, 7)
    monkeypatch.setattr("jsnn.energy.uncertainty._CHUNK_ENTRIES", 12)
    chunked = monte_carlo(jax.random.key(4), network(), NEUROMORPHIC, 7)
    np.testing.assert_allclose(once.snn_pj, chunked.snn_pj, rtol=1e-6)
    np.testing.assert_allclose(once.qnn_pj, chunked.qnn_pj, rtol=1e-6)
    other = monte_carlo(jax.random.key(5), network(), NEUROMORPHIC, 7)
    assert not np.allclose(once.snn_pj, other.snn_pj)


def test_a_few_samples_stand_for_many():
    """Scaled to the mean of all; without a spread the draws are the plain energy."""
    rates = np.random.default_rng(0).uniform(0.01, 0.5, 40)
    many = Workload((dense(40, 30, steps=4, rate=rates, name="a"),))
    certain = dict.fromkeys(PROVENANCES, 1.0)
    drawn = monte_carlo(jax.random.key(0), many, NEUROMORPHIC, 3, spread=certain, most=5)
    means = (
        b(many, NEUROMORPHIC).total_pj().mean() for b in (estimate_energy, estimate_qnn_energy)
    )
    for pj, mean in zip((drawn.snn_pj, drawn.qnn_pj), means, strict=True):
        np.testing.assert_allclose(pj, float(mean), rtol=1e-5)
    few, all_ = (monte_carlo(jax.random.key(0), many, NEUROMORPHIC, 3, most=m) for m in (5, 40))
    np.testing.assert_allclose(few.ratio, all_.ratio, rtol=0.1)
    assert not np.allclose(few.ratio, all_.ratio, rtol=1e-6)


def test_parameters_are_drawn_where_asked():
    certain = dict.fromkeys(PROVENANCES, 1.0)
    drawn = monte_carlo(
        jax.random.key(0),
        network(),
        NEUROMORPHIC,
        400,
        spread=certain,
        parameters={"hops": (0.5, 5.0)},
    )
    ends = [
        float(estimate_energy(network(), NEUROMORPHIC.with_design(hops=hops)).total_pj().mean())
        for hops in (0.5, 5.0)
    ]
    assert ends[0] <= drawn.snn_pj.min() < drawn.snn_pj.max() <= ends[1] * (1 + 1e-5)
    assert float(jnp.std(drawn.snn_pj)) > 0.1 * (ends[1] - ends[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples to be a whole number of 1"),
        ({"most": 0}, "most to be a whole number of 1"),
        ({"distribution": "normal"}, "log-uniform"),
        ({"parameters": {"voltage_v": (1, 2)}}, "no design parameter 'voltage_v'"),
        ({"parameters": {"hops": (5.0, 1.0)}}, "hops"),
        ({"parameters": {"temporal_reuse": (0.5, 2.0)}}, "temporal_reuse"),
    ],
)
def test_draws_that_cannot_be_made_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        monte_carlo(jax.random.key(0), network(), NEUROMORPHIC, **options)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_an_interval_holds_a_share_between_none_and_all(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Draws(jnp.ones(3), jnp.ones(3)).interval("ratio", share)


@pytest.mark.parametrize("name", ["neuromorphic-22nm", "hierarchy-45nm"])
def test_elasticities_are_relative_differences(name):
    machine = get(name)
    if "targets_per_message" in machine.design.parameters:
        # Off the bound, so that there is a difference to both sides.
        machine = machine.with_design(targets_per_message=2)
    with jax.enable_x64(True):
        workload = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), network())

        def logs(**changed):
            own = {k: v for k, v in changed.items() if k in machine.technology}
            parameters = {k: v for k, v in changed.items() if k not in own}
            moved = machine.with_constants(**own).with_design(**parameters)
            both = (estimate_energy(workload, moved), estimate_qnn_energy(workload, moved))
            return np.log([float(b.total_pj().mean()) for b in both])

        result = sensitivities(workload, machine)
        assert {s.name for s in result} == {
            *machine.technology.constants,
            *machine.design.parameters,
        }
        for s in result:
            # Inside the bounds, shares among them included.
            steps = (-1e-6, 0) if s.name == "weight_fetch_share" else (-1e-6, 1e-6)
            low, high = (logs(**{s.name: s.value * math.exp(step)}) for step in steps)
            slopes = (high - low) / (steps[1] - steps[0])
            np.testing.assert_allclose([s.energy, s.qnn], slopes, atol=2e-5, err_msg=s.name)
            assert s.ratio == pytest.approx(s.energy - s.qnn)


@settings(max_examples=5)
@given(st.floats(0.01, 0.9), st.integers(1, 8))
def test_elasticities_of_the_constants_sum_to_one(rate, steps):
    workload = Workload((dense(20, 10, steps=steps, rate=rate, multiplies=1),))
    result = sensitivities(workload, get("compute-only-45nm"))
    assert sum(s.energy for s in result) == pytest.approx(1, rel=1e-4)
    assert sum(s.ratio for s in result) == pytest.approx(0, abs=1e-4)
    assert [abs(s.energy) for s in result] == sorted((abs(s.energy) for s in result), reverse=True)


def test_a_swing_is_exact_where_the_energy_is_linear():
    machine = get("hierarchy-45nm")
    s = next(s for s in sensitivities(network(), machine) if s.name == "ram_base_pj")
    before = float(estimate_energy(network(), machine).total_pj().mean())
    for end, change in zip((s.low, s.high), s.swing(), strict=True):
        moved = float(
            estimate_energy(network(), machine.with_constants(ram_base_pj=end)).total_pj().mean()
        )
        assert moved / before - 1 == pytest.approx(change, rel=1e-3)


def test_parameters_swing_within_their_bounds_and_zero_has_no_swing():
    result = {s.name: s for s in sensitivities(network(), NEUROMORPHIC)}
    assert (result["weight_bits"].low, result["weight_bits"].high) == (4, 16)
    assert result["weight_fetch_share"].high == 1
    assert result["targets_per_message"].low == 1
    assert result["temporal_reuse"].swing() == (0.0, 0.0)
    assert result["hops"].provenance == "parameter"


def test_nothing_paid_has_no_elasticity():
    silent = Workload((dense(10, 5, steps=3, rate=0.0, spiking=False),))
    assert all(math.isnan(s.energy) for s in sensitivities(silent, get("compute-only-45nm")))


def bars(axes):
    return [[bar.get_width() for bar in container] for container in axes.containers]


def test_a_tornado_shows_the_swings_longest_first():
    result = sensitivities(network(), NEUROMORPHIC)
    figure = plots.tornado(result, title="a machine", most=3)
    figure.draw_without_rendering()
    energy, ratio = figure.axes
    low, high = (np.asarray(side) for side in bars(energy))
    reach = np.maximum(abs(low), abs(high))
    assert list(reach) == sorted(reach, reverse=True) and len(reach) == 3
    labels = [label.get_text() for label in energy.get_yticklabels()]
    drawn = [next(s for s in result if s.name == label.split()[0]) for label in labels]
    np.testing.assert_allclose(high, [100 * s.swing()[1] for s in drawn])
    np.testing.assert_allclose(bars(ratio)[0], [100 * s.swing("ratio")[0] for s in drawn])
    assert all(s.provenance in label for s, label in zip(drawn, labels, strict=True))


def test_a_tornado_of_nothing_is_refused():
    still = Sensitivity("add_pj", "EXACT", 1.0, 0.9, 1.1, energy=0.0, qnn=0.0)
    for nothing in ([], [still], [dataclasses.replace(still, energy=math.nan)]):
        with pytest.raises(ValueError, match="at least one"):
            plots.tornado(nothing)
