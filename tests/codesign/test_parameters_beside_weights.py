"""Design parameters as leaves: bounds, starts, what is built, limits, a network beside them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import jsnn
from jsnn.codesign.hardware.design_parameters import (
    DesignParameter,
    DesignParameters,
    Supply,
    committed,
    round_weights,
)
from jsnn.codesign.hardware.rules import RULES, nearest_feasible, refusal
from jsnn.codesign.hardware.trade import Trade
from jsnn.energy import estimate_energy, estimate_layers
from jsnn.energy.area import memory_area_layers_mm2, memory_area_mm2
from jsnn.energy.latency import latency, latency_layers
from jsnn.hardware import get
from jsnn.hardware.toml import dump, load
from jsnn.nn.time_plan import Chunked
from jsnn.quantise import fake_quantise
from jsnn.train.levers import Levered, split
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Energy, Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

SUPPLY = Supply(45, 0.9)
SPATIAL, EVENT = get("spatial-45nm"), get("event-45nm")
WORK = Workload((dense(64, 32, steps=4, rate=0.25), dense(32, 10, steps=4, rate=0.1)))
SIZES = (DesignParameter("local_bytes", 512, 65536), DesignParameter("pes", 16, 4096))
SPANS = {
    "local_bytes": (256.0, 2.0**22),
    "pe_state_bytes": (8.0, 4096.0),
    "pes": (1.0, 65536.0),
    "targets_per_message": (1.0, 4096.0),
    "clock_hz": (1e6, 4e9),
    "voltage_v": (0.5, 1.0),
    "dense_share": (0.0, 1.0),
    "weight_bits": (2.0, 32.0),
}


def on(machine, work=WORK):
    return [(layer, machine) for layer in work]


def in_units(name, value):
    """A value as a multiple of the step in which it is built, or as a power of two."""
    step = RULES[name].step
    return value / step if step else np.log2(value)


def of_units(name, units):
    step = RULES[name].step
    return units * step if step else 2.0**units


# Numbers that float32 does not flush to zero.
SHARES = st.floats(0, 1, width=32, allow_subnormal=False)
INSIDE_A_STEP = st.floats(0.01, 0.99)
BUILDS = settings(max_examples=40, derandomize=True, deadline=None)


@st.composite
def roundings(draw):
    """A parameter, a value of it, and bounds between which something can be built."""
    name = draw(st.sampled_from(sorted(SPANS)))
    least, most = SPANS[name]
    low, high = sorted(least + (most - least) * draw(SHARES) for _ in range(2))
    assume(np.floor(in_units(name, high) + 1e-9) >= np.ceil(in_units(name, low) - 1e-9))
    return name, np.float32(low + (high - low) * draw(SHARES)), low, high


@BUILDS
@given(st.sampled_from(sorted(SPANS)), SHARES, INSIDE_A_STEP, INSIDE_A_STEP)
def test_bounds_with_nothing_to_build_between_them_are_refused(name, share, a, b):
    first, last = (in_units(name, end) for end in SPANS[name])
    below = np.floor(first + (last - first) * share)
    low, high = (of_units(name, below + part) for part in sorted((a, b)))
    with pytest.raises(ValueError, match="there is none from"):
        nearest_feasible(name, low, low, high)


@BUILDS
@given(roundings())
def test_feasible_values_stay_feasible_and_within_bounds(rounding):
    name, value, low, high = rounding
    feasible = nearest_feasible(name, value, low, high)
    assert float(feasible) == float(nearest_feasible(name, feasible, low, high))
    assert np.float32(low) <= float(feasible) <= np.float32(high)


@BUILDS
@given(roundings())
def test_what_is_built_is_a_whole_number_of_units_less_than_one_away(rounding):
    name, value, low, high = rounding
    units = in_units(name, float(nearest_feasible(name, value, low, high)))
    assert units == pytest.approx(round(units), rel=1e-6, abs=1e-4)
    assert abs(units - in_units(name, value)) < 1.02


@BUILDS
@given(roundings())
def test_rounding_goes_the_way_of_the_rule_where_the_bounds_let_it(rounding):
    name, value, low, high = rounding
    units = in_units(name, float(nearest_feasible(name, value, low, high)))
    asked = in_units(name, value)
    # Rounding of float32 must not add a step.
    if RULES[name].way == "down":
        assert units <= asked + 0.02 or of_units(name, units - 1) < low
    if RULES[name].way == "up":
        assert units >= asked - 0.02 or of_units(name, units + 1) > high


@pytest.mark.parametrize("machine", [SPATIAL, EVENT], ids=lambda m: m.name)
def test_leaves_start_at_the_machine_itself(machine):
    spans = {**SPANS, "core_weight_bytes": (256, 2**20), "cores": (1, 4096)}
    names = [n for n in spans if n != "voltage_v" and refusal(machine, n) is None]
    names.remove("weight_bits")
    parameters = [DesignParameter(n, *spans[n]) for n in names] + [
        DesignParameter("voltage_v", 0.55, 1.0)
    ]
    for feasible in (False, True):
        lever = DesignParameters(machine, tuple(parameters), SUPPLY, feasible=feasible)
        leaves = lever.init(jax.random.key(0), None, WORK)
        values, excess = lever.settled(leaves, on(machine))
        for name in names:
            assert float(values[name]) == pytest.approx(getattr(machine.design, name), rel=1e-4)
        assert all(float(over) < 1e-4 for over in excess.values())
        np.testing.assert_allclose(
            estimate_layers(lever.price(leaves, None, on(machine))).parts_pj,
            estimate_energy(WORK, machine).parts_pj,
            rtol=1e-4,
        )


def test_errors_say_what_is_wrong():
    for parameter, match in (
        (("local_bytes", 4096, 512), "low < high"),
        (("weight_bits", 0.5, 8), "1 <= low"),
        (("pes", 1, float("inf")), "finite"),
        (("local_bytes", 0, 512), "above 0"),
        (("local_bytes", 5000, 6000), "power of two"),
    ):
        with pytest.raises(ValueError, match=match):
            DesignParameter(*parameter)
    with pytest.raises(ValueError, match="one pes for all layers"):
        DesignParameter("pes", 1, 64, per_layer=True)
    for parameters, match in (
        ((), "at least one"),
        ((SIZES[0], SIZES[0]), "different names"),
        ((DesignParameter("cores", 1, 64),), "no such design parameter"),
        ((DesignParameter("hops", 1, 64),), "cannot be trained"),
        ((DesignParameter("locl_bytes", 1, 64),), "no such design parameter"),
        ((DesignParameter("local_bytes", 512, 4096),), "starts with local_bytes = 8192"),
        ((DesignParameter("voltage_v", 0.6, 1.0),), "give Supply"),
        ((DesignParameter("state_bits", 4, 32),), "opposed"),
        ((DesignParameter("weight_bits", 1, 8),), "2 bits or more"),
    ):
        with pytest.raises(ValueError, match=match):
            DesignParameters(SPATIAL, parameters)
    with pytest.raises(ValueError, match="does not reach"):
        DesignParameters(SPATIAL, (DesignParameter("voltage_v", 0.3, 1.0),), SUPPLY)
    with pytest.raises(ValueError, match="no dataflows"):
        committed(get("classical-45nm"))
    assert DesignParameters(
        SPATIAL, (DesignParameter("state_bits", 4, 32),), opposed=("state_bits",)
    ).names
    for bad in ({"latency_weight": -1}, {"excess_weight": 0}, {"area_weight": 1.0}):
        with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
            Trade(**bad)


def test_limits_of_the_machine_are_kept_and_felt():
    lever = DesignParameters(
        EVENT.with_design(cores=8, core_state_bytes=128),
        (
            *(DesignParameter("cores", 1, 64), DesignParameter("core_state_bytes", 16, 1024)),
            *(
                DesignParameter("targets_per_message", 1, 256),
                DesignParameter("clock_hz", 1e6, 1e9),
            ),
            DesignParameter("voltage_v", 0.55, 1.0),
        ),
        SUPPLY,
    )
    before = on(lever.hardware)
    asked = {
        **{"cores": 2.0, "core_state_bytes": 32.0, "targets_per_message": 200.0},
        **{"clock_hz": 200e6, "voltage_v": 0.7},
    }
    values, excess = lever.settled(lever.leaves(asked), before)
    # 32 and 10 neurons of 16 bits, 16 of them in 32 bytes.
    assert float(values["cores"]) == 3 and float(values["targets_per_message"]) == 16
    assert float(excess["cores"]) == pytest.approx(np.log(3 / 2), rel=1e-3)
    assert float(excess["targets"]) == pytest.approx(np.log(200 / 16), rel=1e-3)
    slow = float(SUPPLY.slowdown(0.7))
    assert float(values["clock_hz"]) == pytest.approx(200e6 / slow, rel=1e-3)
    assert float(excess["clock"]) == pytest.approx(np.log(slow), rel=1e-3)
    whole, left = lever.construct(asked, before)
    again, _ = lever.construct(whole, before)
    assert all(float(again[n]) == float(whole[n]) for n in whole)
    assert all(float(over) == 0 for over in left.values())
    result = lever.machine(whole)
    result.check([(result.design, layer.geometry) for layer in WORK])


def test_only_the_logic_follows_the_supply():
    lever = DesignParameters(SPATIAL, (DesignParameter("voltage_v", 0.55, 1.0),), SUPPLY)
    low = lever.machine({"voltage_v": 0.6}).technology
    moved = {n for n in low.constants if low[n] != SPATIAL.technology[n]}
    assert moved == {
        *("add_int8_pj", "add_int32_pj", "mul_int8_pj", "mul_int32_pj", "register_pj_per_bit")
    }
    assert all(low[n] < SPATIAL.technology[n] for n in moved)


def test_slopes_are_true_between_the_hard_choices():
    with jax.enable_x64(True):
        work = Workload((dense(64, 32, steps=4, rate=0.25), dense(32, 10, steps=4, rate=0.1)))
        lever = DesignParameters(
            SPATIAL,
            (
                *SIZES,
                DesignParameter("pe_state_bytes", 8, 512),
                DesignParameter("voltage_v", 0.55, 1.0),
            ),
            SUPPLY,
        )
        before = on(SPATIAL, work)
        leaves = lever.leaves(
            {
                "local_bytes": jnp.float64(3000.0),
                "pes": jnp.float64(300.7),
                "pe_state_bytes": jnp.float64(61.3),
                "voltage_v": jnp.float64(0.713),
            }
        )
        trade = Trade(0.5, 0.5, 45)

        def cost(leaves):
            return trade.cost(lever.price(leaves, None, before), before, 0.0, 0.0)

        check_grads(jax.jit(cost), (leaves,), order=1, modes=("rev",), rtol=1e-4)


def test_layers_may_have_a_dataflow_each():
    machine = committed(SPATIAL)
    lever = DesignParameters(machine, (DesignParameter("dense_share", 0, 1, per_layer=True),))
    assert lever.init(jax.random.key(0), None, WORK)["dense_share"].shape == (2,)
    work = Workload(
        (dense(64, 32, steps=4, rate=0.01, name="a"), dense(32, 10, steps=4, rate=0.9, name="b"))
    )
    either = [
        estimate_layers(lever.on({"dense_share": jnp.array(s)}, on(machine, work))).layers_pj()[0]
        for s in ([0.0, 0.0], [1.0, 1.0], [0.5, 0.5])
    ]
    np.testing.assert_allclose(either[2], (either[0] + either[1]) / 2, rtol=1e-6)
    # Committed to the better one of each layer is what the machine that chooses pays.
    chosen = estimate_energy(work, SPATIAL).layers_pj()[0]
    np.testing.assert_allclose(np.minimum(either[0], either[1]), chosen, rtol=1e-6)
    assert either[0][0] < either[1][0] and either[1][1] < either[0][1]


def test_latency_and_area_of_layers_are_those_of_the_machine():
    np.testing.assert_array_equal(latency_layers(on(EVENT)).seconds, latency(WORK, EVENT).seconds)
    assert float(memory_area_layers_mm2(on(EVENT), 45)) == float(memory_area_mm2(EVENT, 45))
    for empty in (latency_layers, functools.partial(memory_area_layers_mm2, node_nm=45)):
        with pytest.raises(ValueError, match="at least one layer"):
            empty([])


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_weights_are_rounded_as_ever_at_whole_bits(bits):
    weights = jax.random.normal(jax.random.key(0), (40,))
    np.testing.assert_allclose(
        round_weights(weights, float(bits)), fake_quantise(weights, bits), atol=1e-6
    )
    assert (jax.grad(lambda w: round_weights(w, 4.5).sum())(weights) == 1).all()


def test_parameters_are_trained_beside_a_network_and_scored_at_feasible_values():
    parameters = (
        *SIZES,
        DesignParameter("weight_bits", 2, 8),
        DesignParameter("voltage_v", 0.55, 1.0),
    )
    lever = DesignParameters(SPATIAL, parameters, SUPPLY)
    model = Levered(jsnn.models.MLP((8,), 3, input_kind="events"), (lever,))
    frames = (jax.random.uniform(jax.random.key(3), (4, 4, 12)) < 0.4).astype(jnp.float32)
    with pytest.raises(ValueError, match="nothing pushes local_bytes down"):
        Objective(CrossEntropy(), SPATIAL, (Energy(), Trade(1.0)), levers=(lever,))
    terms = (*energy_terms(1.0, ramp_steps=4), Trade(1.0, 1.0, 45, ramp_steps=4))
    objective = Objective(CrossEntropy(), SPATIAL, terms, levers=(lever,))
    optimiser = make_optimiser(1e-2, 10, schedule="constant", levers={"design": 10.0})

    def encoder(key, samples):
        return jnp.swapaxes(samples, 0, 1)

    samples, labels = jnp.swapaxes(frames, 0, 1), jnp.array([0, 1, 2, 0])
    state = init_state(model, optimiser, frames, seed=0)
    state, _ = start_terms(state, model, objective, encoder, samples)
    before = jax.device_get(state.params)
    step = make_train_step(model, objective, optimiser, encoder)
    for _ in range(3):
        state, terms = step(state, (samples, labels), jnp.arange(4))
    assert bool(terms["finite"]) and {"latency_s", "area_mm2", "excess"} <= set(terms)
    (_, old), (_, new) = split(before), split(jax.device_get(state.params))
    assert all(old["design"][n] != new["design"][n] for n in lever.names)

    # As it is built: the same whether rounded on the way or beforehand.
    whole = dataclasses.replace(lever, feasible=True)
    narrow = Levered(model.model, (whole,))
    outputs, work = jsnn.run(narrow, state.variables, frames)
    pairs = whole.price(new["design"], None, on(SPATIAL, work))
    values, _ = lever.construct(lever.values(new["design"]), on(SPATIAL, work))
    np.testing.assert_allclose(
        estimate_layers(pairs).parts_pj,
        estimate_layers(on(lever.machine(values), work)).parts_pj,
        rtol=1e-5,
    )
    in_pieces, _ = jsnn.run(narrow, state.variables, frames, plan=Chunked(2))
    np.testing.assert_allclose(in_pieces, outputs, rtol=1e-5, atol=1e-6)


def test_the_design_that_comes_out_is_a_file(tmp_path):
    lever = DesignParameters(SPATIAL, (*SIZES, DesignParameter("voltage_v", 0.55, 1.0)), SUPPLY)
    values, _ = lever.construct(
        {"local_bytes": 3000.0, "pes": 100.2, "voltage_v": 0.713}, on(SPATIAL)
    )
    machine = lever.machine(jax.device_get(values))
    (tmp_path / "mine.toml").write_text(dump(machine), encoding="utf-8")
    result = get(str(tmp_path / "mine.toml"))
    assert result.design == machine.design == load(tmp_path / "mine.toml").design
    assert (result.design.local_bytes, result.design.pes) == (4096, 101)
    np.testing.assert_allclose(
        estimate_energy(WORK, result).parts_pj, estimate_energy(WORK, machine).parts_pj
    )
    assert "DERIVED" in result.technology.constants["add_int8_pj"].provenance
    assert "0.72 V" in result.technology.constants["add_int8_pj"].source
