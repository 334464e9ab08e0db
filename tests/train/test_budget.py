"""Budgets as constraints: their units, their limits over time, their penalty, and the last turn."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsnn.data import Direct
from jsnn.energy import estimate_energy
from jsnn.energy.area import memory_area_mm2
from jsnn.energy.latency import latency
from jsnn.hardware import get
from jsnn.models import MLP, SRNN
from jsnn.neurons import BRF, LIF
from jsnn.nn import run
from jsnn.nn.layers import Spiking, batch_norm
from jsnn.train.budget import Budget, Infeasible, memory_bytes
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import DeadNeurons, Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_epoch
from jsnn.train.threshold import search, with_factor
from jsnn.units import parse, text
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

MACHINE = get("neuromorphic-22nm")
SPATIAL = get("spatial-45nm")
WORK = Workload(
    (
        dense(64, 32, steps=5, rate=0.3, rate_out=0.2, name="a"),
        dense(32, 10, steps=5, rate=0.2, name="b"),
    )
)


# ---- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind", "value"),
    [
        ("40nJ", "energy", 4e4),
        ("1.5 µJ", "energy", 1.5e6),
        ("2e-3J", "energy", 2e9),
        ("1ms", "time", 1e-3),
        ("250us", "time", 250e-6),
        ("64KiB", "memory", 65536),
        ("64kB", "memory", 64e3),
        ("2mm2", "area", 2),
        ("2 mm²", "area", 2),
    ],
)
def test_quantities_are_read_in_their_units(word, kind, value):
    assert parse(word, kind) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "word", ["40", "nJ", "-3nJ", "0nJ", "nan nJ", "3ms", "1.2.3nJ", "3 n J", ""]
)
def test_what_is_no_positive_energy_is_refused(word):
    with pytest.raises(ValueError, match=r"expected a positive energy with a unit of \['pJ'"):
        parse(word, "energy")


@given(st.floats(1e-3, 1e12), st.sampled_from(["energy", "memory"]))
def test_what_is_printed_is_read_back_to_its_digits(value, kind):
    assert parse(text(value, kind).replace(" ", ""), kind) == pytest.approx(value, rel=1e-3)


# ---- the constraint ------------------------------------------------------------------------------


@given(
    st.integers(0, 200), st.floats(1.0, 1e6), st.floats(1.0, 1e6), st.sampled_from([0.0, 0.1, 0.3])
)
def test_limits_come_down_geometrically(step, start, limit, begin):
    budget = Budget(energy_pj=limit, steps=100, anneal_from=begin)
    share = min(max((step / 100 - begin) / (0.6 - begin), 0.0), 1.0)
    first = max(start, limit)
    result = budget.limits(budget.numbers({"energy_pj": start}), step)["energy_pj"]
    assert float(result) == pytest.approx(first * (limit / first) ** share, rel=1e-4)


def test_any_strength_above_zero_is_taken():
    assert Budget(energy_pj=100.0, strength=1e-3).strength == 1e-3
    # The one that the budgets of README were run with.
    assert Budget(energy_pj=100.0).strength == 10.0
    for strength in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="strength"):
            Budget(energy_pj=100.0, strength=strength)


def test_penalty_and_multiplier_by_hand():
    budget = Budget(energy_pj=100.0, latency_s=2.0, strength=7.0)
    numbers = budget.numbers({"energy_pj": 500.0, "latency_s": 1.0})
    penalty, reported = budget.penalty(numbers, {"energy_pj": 120.0, "latency_s": 1.0})
    c = math.log(1.2)
    assert float(penalty) == pytest.approx(7 * c**2, rel=1e-4)
    assert float(reported["multiplier_energy_pj"]) == pytest.approx(14 * c, rel=1e-4)
    assert float(reported["multiplier_latency_s"]) == 0

    def slope(log_usage):
        usage = {"energy_pj": jnp.exp(log_usage), "latency_s": jnp.float32(1.0)}
        return budget.penalty(numbers, usage)[0]

    at = jnp.log(jnp.float32(120.0))
    assert float(jax.grad(slope)(at)) == pytest.approx(14 * c, rel=1e-4)


def test_usage_is_what_the_other_modules_say():
    budget = Budget(1.0, 1.0, 1.0, 1.0, node_nm=45)
    machine = SPATIAL.with_design(weight_bits=4, state_bits=16)
    pairs = [(layer, machine) for layer in WORK]
    total_pj = estimate_energy(WORK, machine).total_pj()
    result = budget.usage(pairs, total_pj)
    np.testing.assert_array_equal(result["energy_pj"], total_pj)
    np.testing.assert_allclose(result["latency_s"], latency(WORK, machine).seconds, rtol=1e-6)
    weights = 64 * 32 + 32 * 10
    words = sum(l.geometry.biases + l.geometry.neurons * l.geometry.ops.state_words for l in WORK)
    assert float(memory_bytes(pairs)) == pytest.approx((weights * 4 + words * 16) / 8)
    np.testing.assert_allclose(result["memory_bytes"], [float(memory_bytes(pairs))])
    np.testing.assert_allclose(result["area_mm2"], memory_area_mm2(machine, 45), rtol=1e-6)


def test_memory_holds_each_word_at_its_own_width():
    """Six weights and four fed back of 3 bits; two biases and two states of two words of 12."""
    layer = dense(3, 2, steps=5, rate=0.1, bias=True)
    geometry = dataclasses.replace(
        layer.geometry,
        kind="recurrent",
        recurrent_weights=4,
        ops=layer.geometry.ops._replace(state_words=2),
    )
    layer = dataclasses.replace(layer, geometry=geometry)
    narrow = MACHINE.with_design(weight_bits=3, state_bits=12)
    assert float(memory_bytes([(layer, narrow)])) == (10 * 3 + 2 * 12 + 2 * 2 * 12) / 8
    # A machine without a design parameter for it has words of 32 bits; layers bring their own
    # widths.
    plain = get("compute-only-45nm")
    assert float(memory_bytes([(layer, narrow), (layer, plain)])) == 12.75 + (10 + 2 + 4) * 4


def test_memory_and_area_pull_on_the_parameters_they_are_made_of():
    def usage(bits, kilobytes):
        machine = SPATIAL.with_design(weight_bits=bits, local_bytes=1024 * kilobytes)
        budget = Budget(memory_bytes=1.0, area_mm2=1.0, node_nm=45)
        pairs = [(layer, machine) for layer in WORK]
        result = budget.usage(pairs, jnp.zeros(1))
        return jnp.stack([result["memory_bytes"].sum(), result["area_mm2"].sum()])

    by_bits, by_size = jax.jacrev(usage, (0, 1))(8.0, 4.0)
    assert float(by_bits[0]) > 0
    assert float(by_size[1]) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "at least one limit"),
        ({"energy_pj": 0.0}, "energy_pj must be positive"),
        ({"latency_s": math.inf}, "latency_s must be positive and finite"),
        ({"area_mm2": 1.0}, "give node_nm"),
        ({"energy_pj": 1.0, "anneal_from": 0.6}, "come down between two shares"),
        ({"energy_pj": 1.0, "strength": 0.0}, "strength be positive"),
    ],
)
def test_bad_budgets(options, message):
    with pytest.raises(ValueError, match=message):
        Budget(**options)


def test_a_budget_below_the_spike_independent_energy_is_infeasible_and_says_so():
    budget = Budget(energy_pj=90.0, latency_s=1.0)
    said = r"energy_pj is limited to 90 \(90 pJ\), its spike-independent usage is 100 \(100 pJ\)"
    with pytest.raises(Infeasible, match=said):
        budget.refuse_below({"energy_pj": 100.0, "latency_s": 0.5})
    budget.refuse_below({"energy_pj": 90.0, "latency_s": 0.5})


def test_objectives_refuse_a_budget_without_numbers():
    budget = Budget(energy_pj=100.0)
    objective = Objective(CrossEntropy(), MACHINE, (budget,))
    with pytest.raises(ValueError, match=r"numbers of the terms \['budget'\], found \[\]"):
        objective(jnp.zeros((1, 10)), jnp.array([1]), WORK)


# ---- trained to a budget -------------------------------------------------------------------------

ENCODER = Direct(4)
# Of a narrower one a spike is some percent of the limit.
MODEL = MLP((32, 24), 3, neuron=LIF(tau_mem=2e-3))
STEPS = 160


def data():
    frames = np.random.default_rng(0).uniform(size=(8, 6)).astype(np.float32)
    return jnp.asarray(frames), jnp.asarray(np.arange(8) % 3, jnp.int32)


def started(objective, optimiser, seed=0, **terms):
    set_ = data()
    state = init_state(MODEL, optimiser, ENCODER(jax.random.key(0), set_[0][:1]), seed=seed)
    state, _ = start_terms(state, MODEL, objective, ENCODER, set_[0])
    return dataclasses.replace(state, terms=state.terms | terms)


@pytest.fixture(scope="module")
def trained():
    """By kind of limit: three states of each of two budgets from one compiled epoch, measured."""
    result = {}
    order = np.tile(np.arange(8), (STEPS, 1))
    for name, machine in (("energy_pj", MACHINE), ("latency_s", SPATIAL)):
        budget = Budget(**{name: 1.0}, steps=STEPS)
        objective = Objective(CrossEntropy(), machine, (budget, DeadNeurons(weight=0.1)))
        optimiser = make_optimiser(2e-2, STEPS)
        epoch = make_epoch(MODEL, objective, optimiser, ENCODER)
        evaluated = make_eval_step(MODEL, objective, ENCODER)

        def measure(state, evaluated=evaluated):
            return evaluate(evaluated, state.variables, data(), 8, jax.random.key(0))

        for seed in range(3):
            first = measure(started(objective, optimiser, seed=seed))
            start, independent = (
                float(first[key]["budget"][name]) / 8
                for key in ("figures", "figures_spike_independent")
            )
            for share in (0.3, 0.6):
                limit = independent + share * (start - independent)
                numbers = dataclasses.replace(budget, **{name: limit}).numbers({name: start})
                before = started(objective, optimiser, seed, budget=numbers)
                state, terms = epoch(before, data(), order)
                result.setdefault((name, share), []).append((limit, state, terms, measure(state)))
        result[name, "compiled"] = epoch._cache_size()
    return result


@pytest.mark.parametrize("name", ["energy_pj", "latency_s"])
def test_one_compiled_epoch_serves_every_budget_and_each_is_kept_nearly(name, trained):
    assert trained[name, "compiled"] == 1
    usage = {}
    for share in (0.3, 0.6):
        usage[share] = []
        for limit, _, terms, sums in trained[name, share]:
            usage[share].append(float(sums["figures"]["budget"][name]) / 8)
            assert usage[share][-1] <= 1.1 * limit
            assert float(terms["task"][-1]) < 0.9 * float(terms["task"][0])
            assert all(ever.sum() > 0 for ever in sums["ever"][:2])
            assert float(terms[f"multiplier_{name}"].max()) > 0
    # The time of the slowest layer falls below both limits once it falls.
    for tight, wide in zip(usage[0.3], usage[0.6], strict=True):
        assert tight < wide * (1.01 if name == "latency_s" else 1.0)


def test_numbers_of_another_weight_are_the_objective_of_that_weight():
    optimiser, order = make_optimiser(2e-2, 20), np.tile(np.arange(8), (3, 1))
    heavy = Objective(CrossEntropy(), MACHINE, energy_terms(0.7, ramp_steps=4))
    epoch = make_epoch(MODEL, heavy, optimiser, ENCODER)
    one, terms = epoch(started(heavy, optimiser), data(), order)
    light = dataclasses.replace(heavy, terms=energy_terms(0.0, ramp_steps=4))
    epoch = make_epoch(MODEL, light, optimiser, ENCODER)
    other, same = epoch(started(light, optimiser, **started(heavy, optimiser).terms), data(), order)
    jax.tree.map(np.testing.assert_array_equal, (one.params, terms), (other.params, same))


# ---- the last turn -------------------------------------------------------------------------------


@given(st.floats(0.3, 3.0), st.floats(0.2, 4.0))
def test_the_search_ends_in_its_aim_where_a_factor_is_enough(at_one, power):
    def ratio(factor):
        return at_one * factor**-power

    factor, result = search(ratio, fill=True)
    assert result == ratio(factor) and 0.5 <= factor <= 2
    if ratio(2.0) <= 0.975 <= 0.99 <= ratio(0.5):
        assert 0.975 <= result <= 0.99
    elif ratio(2.0) > 0.99:
        assert factor == 2.0
    else:
        assert result <= 0.99


def test_a_network_below_its_budget_is_left_as_it_is_unless_it_felt_it():
    assert search(lambda factor: 0.4 / factor, fill=False) == (1.0, 0.4)
    assert search(lambda factor: 0.9 / factor, fill=True)[1] > 0.975


def test_a_ratio_that_jumps_ends_below_it():
    factor, result = search(lambda factor: 1.5 if factor < 1.3 else 0.6, fill=True)
    assert result == 0.6 and 1.3 <= factor < 1.31


@functools.partial(jax.jit, static_argnums=0)
def spikes(model, variables, frames):
    return [layer.spikes for layer in run(model, variables, frames)[1]]


def scaled_inputs(variables, factor):
    """Every kernel, bias and recurrent weight of the hidden layers / factor, by hand."""
    params = variables["params"]
    layers = {name: layer for name, layer in params.items() if name != "readout"}
    for name, layer in layers.items():
        inputs = {part: layer[part] for part in ("synapse", "recurrent") if part in layer}
        layers[name] = layer | jax.tree.map(lambda leaf: leaf / factor, inputs)
    return variables | {"params": params | layers}


def test_thresholds_of_lif_are_its_inputs_divided(key):
    frames = jax.random.uniform(key, (6, 4, 5))
    plain, fed_back = (
        MLP((16, 12), 3, input_kind="analog"),
        SRNN((9,), 3, LIF(), input_kind="analog"),
    )
    for model in (plain, fed_back):
        variables = jax.jit(model.init)(key, frames)
        # A power of two: the same bits on both ways.
        turned = with_factor(variables, 2.0, [])
        by_hand = scaled_inputs(variables, 2.0)
        before = spikes(model, variables, frames)
        for a, b in zip(spikes(model, turned, frames), spikes(model, by_hand, frames), strict=True):
            np.testing.assert_array_equal(a, b)
        assert float(spikes(model, turned, frames)[0].sum()) < float(before[0].sum())


def test_neurons_without_the_leaf_have_their_inputs_divided_and_readouts_stay(key):
    frames = 30 * jax.random.uniform(key, (20, 4, 5))
    model = SRNN((9,), 3, neuron=BRF(), input_kind="analog")
    variables = jax.jit(model.init)(key, frames)
    names = [l.geometry.name for l in run(model, variables, frames)[1] if l.geometry.spiking]
    turned = with_factor(variables, 2.0, names)
    jax.tree.map(np.testing.assert_array_equal, turned, scaled_inputs(variables, 2.0))
    few, many = (spikes(model, given, frames)[0].sum() for given in (turned, variables))
    assert float(few) < float(many)


def test_behind_a_norm_it_is_the_norm_that_is_divided(key):
    layer = Spiking(nn.Dense(3), BRF(), input_kind="analog", norm=batch_norm())
    variables = jax.jit(layer.init)(key, jnp.ones((2, 2, 4)))
    before = variables["params"]
    variables = {name: {"one": tree} for name, tree in variables.items()}
    turned = with_factor(variables, 2.0, ["one"])["params"]["one"]
    np.testing.assert_array_equal(turned["norm"]["scale"], before["norm"]["scale"] / 2)
    np.testing.assert_array_equal(turned["synapse"]["kernel"], before["synapse"]["kernel"])


def test_a_network_without_thresholds_is_refused():
    constants = {"readout": {"neuron": {"tau_mem": 1.0}}}
    with pytest.raises(ValueError, match="no neuron with a threshold"):
        with_factor({"params": {}, "constants": constants}, 2.0, [])


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"energy_pj": "60ms"}, "positive energy with a unit .*got '60ms'"),
        ({"energy_pj": None, "latency_s": [1]}, r"latency_s must be a number, in s, got \[1\]"),
        ({"memory_bytes": True}, "must be a number, in bytes, got True"),
        ({"energy_pj": float("nan")}, "positive and finite"),
    ],
)
def test_limits_that_are_no_numbers_are_refused_with_how_to_read_them(limits, words):
    with pytest.raises(ValueError, match=words):
        Budget(**limits)
