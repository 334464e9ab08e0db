"""Numbers nobody can have: refused by name, or what comes out is finite and not negative."""

import dataclasses
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jsnn
from jsnn.energy import breakeven, estimate_energy, op_count_proxy, spike_independent_energy
from jsnn.energy.attribution import attribute
from jsnn.energy.latency import latency
from jsnn.energy.qnn import (
    activation_bits,
    break_even_rate,
    energy_ratio,
    estimate_qnn_energy,
    mean_energy_ratio,
)
from jsnn.energy.report import battery_life_s, compare, report
from jsnn.energy.uncertainty import monte_carlo
from jsnn.hardware import Design, get, machines
from jsnn.hardware.design import BOUNDS
from jsnn.train.regularisers import EnergyRatio
from jsnn.workload import Workload, truncation
from jsnn.workload.analytic import dense
from tests.fuzzing import examples

MESH = get("neuromorphic-22nm")
RUN = Workload((dense(12, 6, steps=4, rate=0.2), dense(6, 3, steps=4, rate=0.1)))
POINT = {"steps": 4, "rate": 0.1, "fan_in": 64, "neurons": 32}


def energy(*args, **kwargs):
    return estimate_energy(Workload((dense(*args, **kwargs),)), MESH).parts_pj


def outcome(call):
    """The words of a refusal, or None and what came out."""
    try:
        return None, call()
    except ValueError as error:
        return str(error), None


# Every call that takes numbers written by hand: itself, legal numbers by name, what else it needs.
CALLS = {
    "dense": (
        energy,
        {"inputs": 8, "neurons": 4, "steps": 3, "rate": 0.1, "rate_out": 0.2, "active": 0.15,
         "multiplies": 1},
        {},
    ),
    "energy": (
        lambda **numbers: estimate_energy(RUN, MESH, **numbers).parts_pj,
        {"temperature": 0.5, "event_temperature": 2.0},
        {},
    ),
    "activation_bits": (activation_bits, {"steps": 4}, {}),
    "qnn": (
        lambda bits: estimate_qnn_energy(RUN, MESH, bits=bits).parts_pj, {"bits": 3}, {}
    ),
    "break_even_rate": (break_even_rate, {"steps": 5, "fan_in": 64}, {"hardware": MESH}),
    "over": (
        lambda steps: estimate_energy(truncation.rescale(RUN, steps), MESH).parts_pj,
        {"steps": 3},
        {},
    ),
    "cut": (
        lambda steps: estimate_energy(truncation.truncate(RUN, steps), MESH).parts_pj,
        {"steps": 3},
        {},
    ),
    "ratio_at": (
        breakeven.ratio_at,
        POINT | {"active": 0.2, "bits": 3, "hops": 2.0, "accumulate_pj": 0.1},
        {"hardware": MESH},
    ),
    "break_even": (
        breakeven.break_even,
        {"low": 0.01, "high": 10.0, "steps": 4, "rate": 0.1, "fan_in": 4096, "neurons": 4096},
        {"hardware": MESH, "along": "hops"},
    ),
    "rate": (breakeven.rate, {"steps": 5, "fan_in": 4096, "neurons": 4096}, {"hardware": MESH}),
    "sparsity": (
        breakeven.sparsity, {"steps": 5, "fan_in": 4096, "neurons": 4096}, {"hardware": MESH}
    ),
    "steps": (
        breakeven.steps,
        {"rate": 0.05, "fan_in": 4096, "neurons": 4096},
        {"hardware": MESH.with_design(weight_bits=4)},
    ),
    "sweep": (
        lambda rate, steps: breakeven.sweep(
            MESH, {"rate": [rate]}, steps=steps, fan_in=8, neurons=8
        ),
        {"rate": 0.1, "steps": 4},
        {},
    ),
    "regime_map": (
        lambda rate, steps: breakeven.regime_map(
            MESH, {"rate": [0.1, rate], "steps": [steps]}, fan_in=8, neurons=8
        ),
        {"rate": 0.2, "steps": 4},
        {},
    ),
    "report": (
        lambda draws, seed: report(RUN, MESH, draws=draws, seed=seed).snn_pj,
        {"draws": 2, "seed": 1},
        {},
    ),
    "monte_carlo": (
        lambda samples, most: monte_carlo(
            jax.random.key(0), RUN, MESH, samples, most=most
        ).ratio,
        {"samples": 2, "most": 4},
        {},
    ),
    "battery_life_s": (
        battery_life_s,
        {"battery_j": 10.0, "energy_j": 1e-6, "rate_hz": 5.0, "sensor_w": 1e-3, "idle_w": 1e-3},
        {},
    ),
}  # fmt: skip
# These take what a call that is tried takes, or compile for every number.
SLOW = {"break_even", "rate", "sparsity", "steps", "sweep", "regime_map", "report", "monte_carlo"}
BAD = st.one_of(
    st.sampled_from(
        [math.nan, math.inf, -math.inf, -3, -0.1, 0, 0.5, 1.5, 2.5, 1e38, 1e300, 10**400]
    ),
    st.sampled_from(["8", "", b"8", True, None, [1], (), {}, 1 + 2j, object(), np.bool_(True)]),
    st.sampled_from([np.array([]), np.array(["8"]), jnp.array(True), np.array([1.0, math.nan])]),
    st.floats(),
    st.integers(),
)


@pytest.mark.parametrize("name", CALLS)
def test_every_number_is_refused_by_name_or_gives_something_finite(name):
    call, legal, rest = CALLS[name]
    assert np.isfinite(np.asarray(call(**legal, **rest))).all()

    @settings(max_examples=examples(12 if name in SLOW else 60))
    @given(st.sampled_from(sorted(legal)), BAD)
    def check(argument, value):
        refusal, result = outcome(lambda: call(**legal | {argument: value}, **rest))
        if refusal is None:
            assert np.isfinite(np.asarray(result, float)).all()
            assert (np.asarray(result, float) >= 0).all()
        else:
            # No break-even is an answer, and so is that nothing drains a battery.
            assert argument in refusal or any(
                word in refusal for word in ("break", "drains", "costs nothing")
            )

    check()


@pytest.mark.parametrize("name", CALLS)
def test_numbers_below_zero_are_refused_however_small(name):
    call, legal, rest = CALLS[name]
    for argument in legal:
        refusal, result = outcome(lambda a=argument: call(**legal | {a: -1e-9}, **rest))
        assert refusal is not None and argument in refusal, (argument, result)


def test_no_number_of_these_calls_is_left_out():
    """A new argument of one of them has to be added above."""
    no_numbers = {"hardware", "layers", "relaxed", "rising", "along", "point", "more", "options"}
    no_numbers |= {"input_kind", "bias", "spiking", "name"}
    for function, name in (
        (dense, "dense"),
        (activation_bits, "activation_bits"),
        (break_even_rate, "break_even_rate"),
        (breakeven.ratio_at, "ratio_at"),
        (breakeven.break_even, "break_even"),
        (breakeven.rate, "rate"),
        (breakeven.sparsity, "sparsity"),
        (breakeven.steps, "steps"),
        (battery_life_s, "battery_life_s"),
    ):
        assert set(inspect.signature(function).parameters) - no_numbers <= set(CALLS[name][1])
    tried = {"ratio_at", "break_even", "rate", "sparsity", "steps", "sweep", "regime_map"}
    # Of two energies, not of numbers.
    assert set(breakeven.__all__) - tried == {"ratio_by_layer"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": -0.1}, "0 <= rate"),
        ({"rate": math.nan}, "finite rate"),
        ({"inputs": -3}, "inputs to be a whole number of 1"),
        ({"neurons": 2.5}, "neurons to be a whole number"),
        ({"active": 1.5}, "0 <= active <= 1"),
        ({"steps": 2.5}, "steps to be a whole number of 1 to .*, found 2.5"),
        ({"steps": 0}, "steps to be a whole number of 1"),
        ({"rate": 1.5}, "rate_out <= 1"),
        ({"rate": ["0.1"]}, "number for rate"),
        ({"rate": [[0.1]]}, "number for rate"),
        ({"rate": []}, "rate of at least one sample, found an empty batch"),
        ({"rate": [0.1, -1]}, "0 <= rate"),
        ({"rate": np.zeros((2, 2))}, "rate to be a number or"),
        ({"rate": np.zeros(0)}, "rate of at least one sample, found an empty batch"),
        ({"rate": np.zeros(3), "rate_out": np.zeros(2)}, "rate_out to be .* 3 samples"),
        ({"input_kind": "spike"}, "input_kind"),
        ({"spiking": 3}, "spiking to be True or False"),
        ({"bias": "no"}, "bias to be True or False"),
        ({"name": 3}, "name to be a text"),
    ],
)
def test_a_layer_nobody_can_have(change, message):
    with pytest.raises(ValueError, match=message):
        dense(**{"inputs": 8, "neurons": 4, "steps": 3, "rate": 0.1} | change)


def test_rates_of_samples_are_a_list_of_numbers_traced_or_not():
    layers = [dense(8, 4, steps=3, rate=rate) for rate in ([0.1, 0.2], np.array([0.1, 0.2]))]
    assert layers[0].events_by_fan_out.tolist() == layers[1].events_by_fan_out.tolist()
    traced = jax.jit(lambda r: dense(8, 4, steps=3, rate=[r, 2 * r]).events_by_fan_out)(0.1)
    np.testing.assert_allclose(traced, layers[1].events_by_fan_out, rtol=1e-6)


def test_a_layer_somebody_can_have():
    layer = dense(np.int64(8), 4.0, steps=3, rate=1.5, rate_out=1.0, input_kind="events")
    assert layer.geometry.weights == 32 and float(layer.input_events[0]) == 36.0
    slope = jax.grad(
        lambda r: estimate_energy(Workload((dense(8, 4, steps=3, rate=r),)), MESH).total_pj()[0]
    )
    assert slope(0.1) > 0


@pytest.mark.parametrize("parameter", BOUNDS)
def test_every_parameter_is_refused_by_name(parameter):
    low, high = BOUNDS[parameter]
    assert math.isfinite(high)
    able = [m for m in map(get, machines()) if parameter in m.architecture.parameters]
    machine = able[0] if able else None
    if machine is not None:
        assert machine.with_design(**{parameter: float(high)}).design.parameters[parameter] == high

    @settings(max_examples=examples(40))
    @given(BAD)
    def check(value):
        refusal, design = outcome(lambda: Design(**{parameter: value}))
        if refusal is not None:
            assert parameter in refusal
            if machine is not None:
                with pytest.raises(ValueError, match=parameter):
                    machine.with_design(**{parameter: value})
            return
        assert value is None or low <= np.min(value) <= np.max(value) <= high
        assert design.parameters.keys() <= {parameter}

    check()


def test_parameters_that_are_traced_or_one_for_each_layer_still_pass():
    for value in (jnp.float32(4), jnp.bfloat16(4), np.int8(4), jnp.array([4.0, 8.0])):
        assert MESH.with_design(weight_bits=value).design.weight_bits is not None
    slope = jax.grad(lambda b: estimate_energy(RUN, MESH.with_design(weight_bits=b)).total_pj()[0])
    assert slope(4.0) > 0
    with pytest.raises(ValueError, match="expected a number for weight_bits, found '8'"):
        MESH.with_design(weight_bits="8")
    with pytest.raises(ValueError, match="accumulate_pj: expected a number"):
        MESH.with_constants(accumulate_pj="8")
    with pytest.raises(ValueError, match="number for weight_bits"):
        jax.jit(lambda b: estimate_energy(RUN, MESH.with_design(weight_bits=b)).total_pj())(True)


# ---- ratios, and batches without a sample --------------------------------------------------------

QUIET = Workload((dense(100, 10, steps=5, rate=np.array([0.0, 0.2]), rate_out=0.1),))
FREE = [n for n in machines() if not estimate_qnn_energy(QUIET, get(n)).total_pj()[0]]


def test_some_machines_charge_the_qnn_of_a_silent_sample_nothing():
    assert len(FREE) >= 5


@pytest.mark.parametrize("name", FREE)
def test_a_silent_sample_has_no_ratio_but_the_batch_has(name):
    machine = get(name)
    with pytest.raises(
        ValueError, match=rf"samples \[0\] costs nothing on {name}.*mean_energy_ratio"
    ):
        energy_ratio(QUIET, machine)
    pj = (
        estimate_energy(QUIET, machine).total_pj().mean(),
        estimate_qnn_energy(QUIET, machine).total_pj().mean(),
    )
    assert mean_energy_ratio(QUIET, machine) == pytest.approx(float(pj[0] / pj[1]))
    assert jsnn.mean_energy_ratio(QUIET, machine) == pytest.approx(
        report(QUIET, machine, draws=2).ratio, rel=1e-5
    )
    assert jnp.isfinite(EnergyRatio(machine, "measured")(QUIET))
    silent = Workload((dense(100, 10, steps=5, rate=0.0),))
    with pytest.raises(ValueError, match="whole batch"):
        mean_energy_ratio(silent, machine)


def test_a_silent_sample_inside_jit_and_in_the_words_about_a_gain():
    machine = get(FREE[0])
    values = jax.jit(lambda w: energy_ratio(w, machine))(QUIET)
    assert not jnp.isfinite(values[0]) and jnp.isfinite(values[1])
    assert jnp.isfinite(jax.jit(lambda w: mean_energy_ratio(w, machine))(QUIET))
    text = str(attribute(QUIET, get("classical-45nm"), machine))
    assert "nan" not in text and "inf" not in text


def test_energies_that_are_not_finite_have_no_ratio():
    wild = jax.tree.map(lambda x: x * jnp.nan, RUN)
    for compared in (energy_ratio, mean_energy_ratio):
        with pytest.raises(ValueError, match=r"layer 'dense'.*not finite"):
            compared(wild, MESH)


def test_points_at_which_the_qnn_costs_nothing():
    machine = get(FREE[0])
    point = {"steps": 4, "fan_in": 8, "neurons": 8}
    with pytest.raises(ValueError, match=r"costs nothing on .*'rate': 0\.0"):
        breakeven.ratio_at(machine, rate=0.0, **point)
    with pytest.raises(ValueError, match=r"costs nothing on .*'rate': 0\.0"):
        breakeven.sweep(machine, {"rate": [0.1, 0.0]}, **point)


EMPTY = jax.tree.map(lambda x: x[:0], RUN)


@pytest.mark.parametrize(
    "use",
    [
        lambda w: estimate_energy(w, MESH),
        lambda w: spike_independent_energy(w, MESH),
        op_count_proxy,
        lambda w: estimate_qnn_energy(w, MESH),
        lambda w: energy_ratio(w, MESH),
        lambda w: mean_energy_ratio(w, MESH),
        lambda w: latency(w, get("spatial-45nm")),
        lambda w: report(w, MESH, draws=2),
        lambda w: compare(w, [MESH], draws=2),
        lambda w: monte_carlo(jax.random.key(0), w, MESH, 2),
        lambda w: breakeven.ratio_by_layer(w, MESH),
        lambda w: estimate_energy(truncation.rescale(w, 3), MESH),
        lambda w: jax.jit(lambda w: estimate_energy(w, MESH).total_pj())(w),
    ],
)
def test_no_sample_and_no_step_are_refused(use):
    with pytest.raises(ValueError, match="at least one sample"):
        use(EMPTY)
    still = [dataclasses.replace(layer, steps=0) for layer in RUN]
    with pytest.raises(ValueError, match="steps"):
        use(dataclasses.replace(RUN, layers=tuple(still)))
