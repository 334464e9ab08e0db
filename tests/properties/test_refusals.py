"""Refusals by name: what enters a network, a training step or an evaluation and is none."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jsnn
from jsnn.data import Recorded
from jsnn.energy import (
    area,
    attribution,
    audit,
    breakeven,
    dataflow,
    estimate_layers,
    latency,
    report,
)
from jsnn.energy.qnn import break_even_rate
from jsnn.energy.uncertainty import monte_carlo, sensitivities
from jsnn.hardware import get
from jsnn.models import MLP
from jsnn.neurons import LI, LIF
from jsnn.nn.layers import Flatten, Network, Pool, Spiking
from jsnn.readouts import MeanMembrane
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.losses import CrossEntropy, accuracy
from jsnn.train.objective import Batch, Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step
from jsnn.workload import Workload, require_finite
from jsnn.workload.analytic import dense

MACHINE = get("neuromorphic-22nm")
MODEL = MLP((6,), 3, input_kind="events")
FRAMES = jnp.ones((4, 2, 8))
READOUT = Spiking(nn.Dense(3), LI(), readout=MeanMembrane())


def variables_of(model=MODEL, frames=FRAMES):
    return jax.jit(model.init)(jax.random.key(0), frames)


# ---- networks ----------------------------------------------------------------------------------


class WithoutTrain(nn.Module):
    """A module whose call takes frames alone."""

    @nn.compact
    def __call__(self, frames):
        return frames


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Spiking(nn.Dense(3), LIF), r"expected a neuron .*make one, LIF\(\)"),
        (Spiking(nn.Dense(3), "lif"), "'layer': expected a neuron .*found 'lif'"),
        (
            Spiking(nn.Dense(3), LI(), readout=MeanMembrane),
            r"expected a readout .*make one, MeanMembrane\(\)",
        ),
        (Spiking(nn.Dense(3), LI(), readout="mean"), "expected a readout .*found 'mean'"),
        (Network((jnp.sign, READOUT)), "flax.linen module, found .*put a function into"),
        (Network((Flatten, READOUT)), r"flax.linen module, found .*make one, Flatten\(\)"),
        (Network((nn.Dense(3),)), r"Dense.__call__ must take \(frames, train=False\)"),
        (WithoutTrain(), r"WithoutTrain.__call__ must take \(frames, train=False\)"),
        (MLP, r"flax.linen module, found .*make one, MLP\(\)"),
    ],
)
def test_what_is_no_network_is_refused_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        jsnn.run(model, {}, FRAMES)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (lambda v: v["params"], r"all variables that model.init returned.*'hidden_0'"),
        (lambda v: list(v), r"all variables that model.init returned.*found list"),
        (lambda v: {"params": v["params"]}, "expected the collection 'constants'|no constants"),
    ],
)
def test_variables_are_those_of_the_model(variables, message):
    with pytest.raises(ValueError, match=message):
        jsnn.run(MODEL, variables(variables_of()), FRAMES)


@pytest.mark.parametrize("frames", [[[[1.0] * 8] * 2] * 4, 3.0, None, "frames"])
def test_frames_are_an_array(frames):
    with pytest.raises(ValueError, match=r"expected frames as an array \[T, B, ...\], found"):
        jsnn.run(MODEL, variables_of(), frames)


UNITS = st.one_of(
    st.floats(-4, 4),
    st.sampled_from([np.nan, np.inf, np.float32(0.5), np.int64(1), np.float64(-1)]),
    st.integers(-3, 3),
    st.sampled_from(["1", True, None]),
    st.lists(st.floats(-1, 3), min_size=6, max_size=9).map(tuple),
)
UNIT_VARIABLES = variables_of(Spiking(nn.Dense(3), LIF(), input_kind="events"))


@given(unit=UNITS)
def test_a_unit_is_a_positive_number_or_one_for_each_channel(unit):
    layer = Spiking(nn.Dense(3), LIF(), input_kind="events", input_unit=unit)
    numbers = unit if isinstance(unit, tuple) else (unit,)
    legal = unit is None or (
        all(
            isinstance(n, int | float | np.number) and type(n) is not bool and 0 < n < np.inf
            for n in numbers
        )
        and (not isinstance(unit, tuple) or len(unit) == 8)
    )
    if legal:
        jax.eval_shape(lambda *given: jsnn.run(layer, *given), UNIT_VARIABLES, FRAMES)
        return
    with pytest.raises(ValueError, match=r"layer 'layer': input_unit, the value of one event"):
        jax.eval_shape(lambda *given: jsnn.run(layer, *given), UNIT_VARIABLES, FRAMES)


@pytest.mark.parametrize("kind", ["max", "average"])
@given(
    window=st.one_of(st.integers(-2, 6), st.sampled_from([1.5, 2.0, np.nan, "2", None, True])),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_a_window_of_a_pool_fits_its_images(kind, window, sides):
    images = jnp.ones((1, 1, *sides, 1))
    whole = type(window) in (int, float) and window == int(window) if window == window else False
    if whole and 1 <= window <= min(sides):
        shape = Pool(kind, window).apply({}, images).shape
        assert shape == (1, 1, *(int(side // window) for side in sides), 1)
        return
    with pytest.raises(ValueError, match="expected the window of a pool to be a whole number"):
        Pool(kind, window).apply({}, images)


def test_a_pool_takes_images():
    with pytest.raises(ValueError, match=r"Pool takes images \[T, B, H, W, C\], got \[4, 2, 8\]"):
        Pool("max", 2).apply({}, FRAMES)


def test_several_designs_are_no_energy():
    _, workload = jsnn.run(MODEL, variables_of(), FRAMES)
    several = MACHINE.with_design(weight_bits=jnp.array([4.0, 8.0]))
    with pytest.raises(
        ValueError, match=r"design parameter weight_bits is an array \[2\].*jax.vmap"
    ):
        jsnn.estimate_energy(workload, several)
    each_pj = jax.vmap(lambda machine: jsnn.estimate_energy(workload, machine).total_pj())(
        dataclasses.replace(
            several,
            design=jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (2,)) if jnp.ndim(leaf) == 0 else leaf,
                several.design,
            ),
            technology=jax.tree.map(
                lambda leaf: jnp.repeat(jnp.asarray(leaf), 2), several.technology
            ),
        )
    )
    assert each_pj.shape == (2, 2)


def test_a_workload_prints_a_line_a_layer():
    _, workload = jsnn.run(MODEL, variables_of(), FRAMES)
    lines = str(workload).splitlines()
    assert lines[0] == "Workload of 2 layers" and len(lines) == 3
    assert lines[1].strip().startswith("hidden_0: dense, 8 inputs (events) to 6 neurons, 2 samples")
    assert "array" not in str(workload) and "Array" not in repr(workload)


# ---- constants -----------------------------------------------------------------------------------


def test_constants_that_an_optimiser_of_all_variables_spoilt_are_named():
    """What a newcomer types first: gradients of everything that `init` returned."""
    model = Network((Spiking(nn.Dense(6), LIF(), "events", name="first"), READOUT.clone()))
    variables, optimiser = variables_of(model), optax.adam(0.1)
    opt_state = optimiser.init(variables)

    @jax.jit
    def step(variables, opt_state):
        def loss(variables):
            return CrossEntropy()(model.apply(variables, FRAMES), jnp.array([0, 2])).mean()

        changes, opt_state = optimiser.update(jax.grad(loss)(variables), opt_state)
        return optax.apply_updates(variables, changes), opt_state

    for _ in range(3):
        variables, opt_state = step(variables, opt_state)
    with pytest.raises(ValueError, match=r"its constant '\w+' is .*variables\['params'\]"):
        jsnn.run(model, variables, FRAMES)


@pytest.mark.parametrize("value", [0.0, -0.02, np.nan, np.inf])
@pytest.mark.parametrize("leaf", ["tau_mem", "v_threshold", "r"])
def test_constants_that_are_not_legal_are_named(leaf, value):
    variables = variables_of()
    constants = variables["constants"]["hidden_0"]["neuron"]
    spoilt = {**constants, leaf: constants[leaf].at[1].set(value)}
    broken = {
        **variables,
        "constants": {**variables["constants"], "hidden_0": {"neuron": spoilt}},
    }
    with pytest.raises(ValueError, match=f"layer 'hidden_0': its constant '{leaf}' is {value:g}"):
        jsnn.run(MODEL, broken, FRAMES)
    _, workload = jax.jit(lambda v: jsnn.run(MODEL, v, FRAMES))(broken)
    with pytest.raises(ValueError, match="layer 'hidden_0': membranes, constants or weights"):
        require_finite(workload)


# ---- training and evaluation ------------------------------------------------------------------


SAMPLES = np.ones((6, 4, 8), np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])
OBJECTIVE = Objective(CrossEntropy(), MACHINE, energy_terms(0.1))
OPTIMISER = make_optimiser(1e-3, 10)


def state_of(model=MODEL):
    return init_state(model, OPTIMISER, FRAMES, 0)


@pytest.mark.parametrize(
    ("kind", "samples", "message"),
    [
        ("spikes", 0.1 * SAMPLES, "expected spikes, found 0.1 .*no whole multiple"),
        ("spikes", -SAMPLES, "spikes are not negative"),
        ("events", np.nan * SAMPLES, "inputs must be finite"),
        ("constant", SAMPLES * np.arange(1, 5)[:, None], "frame 1 differs from frame 0"),
    ],
)
def test_a_first_energy_of_what_is_no_event_says_which_value(kind, samples, message):
    model = MLP((6,), 3, input_kind=kind)
    with pytest.raises(ValueError, match=message):
        start_terms(state_of(model), model, OBJECTIVE, Recorded(), samples)


def test_the_unit_of_a_term_is_positive_and_finite():
    state, first = start_terms(state_of(), MODEL, OBJECTIVE, Recorded(), SAMPLES)
    assert float(state.terms["energy"]["reference"]) == float(first.total_pj().mean())
    for factor in (0.0, np.nan, np.inf, -1.0):
        spoilt = dataclasses.replace(first, parts_pj=first.parts_pj * factor)
        batch = Batch(OBJECTIVE, None, None, None, known_estimate=spoilt)
        with pytest.raises(ValueError, match=r"term 'energy' .* which cannot be its unit"):
            OBJECTIVE.start(batch)


@pytest.mark.parametrize("index", [[0, 1], (0,), 3, np.array([0.0, 1.0]), np.array([True])])
def test_an_index_is_an_array_of_integers(index):
    state = state_of()
    state, _ = start_terms(state, MODEL, OBJECTIVE, Recorded(), SAMPLES)
    step = make_train_step(MODEL, OBJECTIVE, OPTIMISER, Recorded())
    with pytest.raises(ValueError, match="index of a batch must be an array of integers"):
        step(state, (jnp.asarray(SAMPLES), jnp.asarray(LABELS)), index)


def test_an_evaluation_takes_classes_a_batch_and_finite_outputs():
    variables, key = variables_of(), jax.random.key(0)
    step = make_eval_step(MODEL, OBJECTIVE, Recorded())
    sums = evaluate(step, variables, (SAMPLES, LABELS), 4, key)
    assert sums["samples"] == 6 and sums["labels_beyond"] == 0
    for label in (3, 7):
        beyond = np.where(np.arange(6) == 4, label, LABELS)
        with pytest.raises(ValueError, match="labels of 1 samples of a batch are no classes"):
            evaluate(step, variables, (SAMPLES, beyond), 4, key)
    for batch in (0, -1, 2.5, "4", None):
        with pytest.raises(ValueError, match="expected batch to be a whole number"):
            evaluate(step, variables, (SAMPLES, LABELS), batch, key)
    # A readout that is NaN sends no spike that could tell.
    params = variables["params"]
    broken = {**params, "readout": jax.tree.map(lambda leaf: jnp.nan * leaf, params["readout"])}
    with pytest.raises(FloatingPointError, match=r"readout \(4 samples\)|not finite"):
        evaluate(step, {**variables, "params": broken}, (SAMPLES, LABELS), 4, key)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ((2, 3), (2, 1)),
        ((2, 3), (3,)),
        ((2, 3), ()),
        ((4, 2, 3), (4, 2)),
        ((4, 2, 3), (4,)),
        ((4, 2, 3), (2, 4, 1)),
        ((3,), (3,)),
    ],
)
def test_labels_fit_outputs(outputs, labels):
    with pytest.raises(ValueError, match="expected outputs and labels of shapes"):
        accuracy(jnp.zeros(outputs), jnp.zeros(labels, int))


@pytest.mark.parametrize("labels", [(2,), (2, 4)])
def test_an_answer_that_is_no_number_is_not_class_zero(labels):
    outputs = jnp.zeros((4, 2, 3)).at[:, 1, 0].set(jnp.nan)
    result = np.asarray(accuracy(outputs, jnp.zeros(labels, int)))
    assert result[0] == 1 and np.isnan(result[1])
    result = accuracy(outputs[0], jnp.zeros(2, int))
    assert result[0] == 1 and np.isnan(result[1])


CALLS = {
    "energy": lambda work, name: jsnn.estimate_energy(work, name),
    "spike_independent": lambda work, name: jsnn.spike_independent_energy(work, name),
    "spike_dependent_pj": lambda work, name: jsnn.spike_dependent_pj(work, name),
    "estimate_layers": lambda work, name: estimate_layers([(work.layers[0], name)]),
    "dataflow": lambda work, name: dataflow(work.layers[0], name),
    "qnn": lambda work, name: jsnn.estimate_qnn_energy(work, name),
    "ratio": lambda work, name: jsnn.energy_ratio(work, name),
    "mean_energy_ratio": lambda work, name: jsnn.mean_energy_ratio(work, name),
    "latency": lambda work, name: latency.latency(work, name),
    "memory_area_mm2": lambda work, name: area.memory_area_mm2(name, 45),
    "attribute": lambda work, name: attribution.attribute(work, name, MACHINE),
    "ratio_by_layer": lambda work, name: breakeven.ratio_by_layer(work, name),
    "rate": lambda work, name: breakeven.rate(name, 4, 64, 32),
    "break_even_rate": lambda work, name: break_even_rate(4, name),
    "monte_carlo": lambda work, name: monte_carlo(jax.random.key(0), work, name, 2),
    "sensitivities": lambda work, name: sensitivities(work, name),
    "report": lambda work, name: report.report(work, name, draws=2),
    "compare": lambda work, name: report.compare(work, [name], draws=2),
    "audit": lambda work, name: audit.audit([], name),
    "Objective": lambda work, name: Objective(CrossEntropy(), name),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("machine", ["event-45nm", None, {"name": "event-45nm"}], ids=str)
def test_a_machine_is_no_name(call, machine):
    """Whoever passes a name is told where the machine of that name is."""
    work = Workload((dense(8, 4, steps=2, rate=0.5),))
    with pytest.raises(ValueError, match=r"expected a Hardware, found .*jsnn\.hardware\.get\("):
        CALLS[call](work, machine)


def test_an_energy_that_is_no_number_says_why_where_it_is_printed():
    work = Workload((dense(8, 4, steps=2, rate=0.5),))
    spoilt = jax.tree.map(lambda leaf: leaf * jnp.nan, work)
    assert "— nan: what was counted is not finite" in str(jsnn.estimate_energy(spoilt, MACHINE))
    assert "nan" not in str(jsnn.estimate_energy(work, MACHINE))


def test_frames_of_one_sample_are_told_how_to_get_a_batch():
    with pytest.raises(ValueError, match=r"frames must be \[T, B, ...\].*frames\[:, None\]"):
        jsnn.run(MODEL, variables_of(), FRAMES[:, 0])
