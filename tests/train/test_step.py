"""Steps that learn, compile once, keep their state good, and an evaluation that cuts nothing."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jsnn.data import Direct
from jsnn.energy import estimate_energy
from jsnn.hardware import get
from jsnn.models import MLP, ConvNet
from jsnn.neurons import LIF
from jsnn.nn import run
from jsnn.nn.time_plan import WHOLE, Chunked
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import label_params, make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_epoch, make_train_step

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(run, static_argnums=0)
MACHINE = get("neuromorphic-22nm")
ENCODER = Direct(4)
MODEL = MLP((16, 12), 3, neuron=LIF(tau_mem=2e-3))
# A network whose leaks and thresholds are trained.
ASKED = dataclasses.replace(
    MODEL, neuron=LIF(tau_mem=2e-3, trainable=("tau_mem", "v_threshold")), parent=None
)


@dataclasses.dataclass
class Counting:
    """An encoder that counts how often it is traced, which is once a compilation."""

    traces: int = 0
    input_kind = ENCODER.input_kind

    def __call__(self, key, batch):
        self.traces += 1
        return ENCODER(key, batch)


def data(count=8):
    draw = np.random.default_rng(0)
    frames = draw.uniform(size=(count, 6)).astype(np.float32)
    return jnp.asarray(frames), jnp.asarray(np.arange(count) % 3, jnp.int32)


def start(model=MODEL, weight=0.0, rate=5e-2, set_=None, dead_neuron_weight=1.0, seed=0, **options):
    set_ = set_ or data()
    objective = Objective(
        CrossEntropy(), MACHINE, energy_terms(weight, dead_neuron_weight=dead_neuron_weight)
    )
    optimiser = make_optimiser(rate, 200, schedule="constant", **options)
    state = init_state(model, optimiser, ENCODER(jax.random.key(0), set_[0][:1]), seed=seed)
    state, _ = start_terms(state, model, objective, ENCODER, set_[0])
    return state, make_train_step(model, objective, optimiser, ENCODER), objective


@pytest.mark.quick
def test_it_overfits_a_handful_of_samples_and_compiles_once(compilations):
    set_ = data(6)
    state, _, objective = start(set_=set_)
    encoder = Counting()
    optimiser = make_optimiser(5e-2, 200, schedule="constant")
    step = make_train_step(MODEL, objective, optimiser, encoder)
    with compilations() as compiled:
        for _ in range(300):
            state, terms = step(state, set_, np.arange(6))
    assert float(terms["accuracy"]) == 1.0
    assert float(terms["task"]) < 0.05
    assert encoder.traces == 1
    assert compiled.count("step") == 1
    assert int(state.step) == 300


def test_the_energy_term_lowers_the_energy_and_the_relative_energy_starts_at_one():
    set_, totals = data(), {}
    for weight in (0.0, 5.0):
        state, step, _ = start(weight=weight)
        state, first = step(state, set_, np.arange(8))
        np.testing.assert_allclose(first["energy"], 1.0, rtol=1e-5)
        for _ in range(60):
            state, terms = step(state, set_, np.arange(8))
        totals[weight] = float(terms["total_pj"])
    assert totals[5.0] < 0.8 * totals[0.0]


def test_a_heavy_energy_weight_kills_layers_and_the_living_term_keeps_them():
    set_, order = data(), np.tile(np.arange(8), (150, 1))
    optimiser = make_optimiser(5e-2, 200, schedule="constant")

    def fewest(dead_neuron_weight):
        """Spikes of the stiller hidden layer, of three networks."""
        _, _, objective = start(weight=5.0, dead_neuron_weight=dead_neuron_weight)
        epoch = make_epoch(MODEL, objective, optimiser, ENCODER)
        for seed in range(3):
            state, _, _ = start(weight=5.0, dead_neuron_weight=dead_neuron_weight, seed=seed)
            state, _ = epoch(state, set_, order)
            _, workload = ran(MODEL, state.variables, ENCODER(jax.random.key(0), set_[0]))
            yield min(float(layer.output_events.sum()) for layer in workload.layers[:2])

    assert max(fewest(0.0)) == 0
    assert min(fewest(1.0)) > 0


def test_a_step_that_is_not_finite_changes_nothing_and_says_so():
    frames, labels = data()
    state, step, _ = start()
    before = jax.tree.map(np.asarray, (state.params, state.opt_state))
    state, terms = step(state, (frames.at[0, 0].set(jnp.nan), labels), np.arange(8))
    assert not bool(terms["finite"])
    jax.tree.map(np.testing.assert_array_equal, before, (state.params, state.opt_state))
    state, terms = step(state, (frames, labels), np.arange(8))
    assert bool(terms["finite"])


def test_frozen_labels_stay_and_trained_ones_move():
    set_ = data()
    for scales, moved in (({}, True), ({"thresholds": 0.0, "time_constants": 0.0}, False)):
        state, step, _ = start(ASKED, scales=scales)
        before = jax.tree.map(np.asarray, state.params)
        state, _ = step(state, set_, np.arange(8))
        neuron = state.params["hidden_0"]["neuron"]
        assert set(neuron) == {"tau_mem", "v_threshold"}
        assert bool((neuron["v_threshold"] != 0).any()) == moved
        assert bool((neuron["tau_mem"] != 0).any()) == moved
        # Adam's first step is the learning rate: 5 % of the initial value.
        assert float(jnp.abs(neuron["tau_mem"]).max()) == pytest.approx(5e-2 * moved, rel=1e-3)
        kernels = [tree["hidden_0"]["synapse"]["kernel"] for tree in (state.params, before)]
        assert bool((kernels[0] != kernels[1]).any())


def test_weight_decay_touches_weights_only():
    params = {"layer": {"synapse": {"kernel": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}}
    optimiser = make_optimiser(0.1, 10, schedule="constant", weight_decay=0.5)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimiser.update(zero, optimiser.init(params), params)
    new = optax.apply_updates(params, updates)["layer"]
    np.testing.assert_allclose(new["synapse"]["kernel"], 0.95)
    np.testing.assert_allclose(new["norm"]["scale"], 1.0)


def test_labels_of_every_kind():
    neuron = LIF(trainable=("r", "tau_mem", "v_threshold"))
    model, frames = ConvNet((4,), 3, neuron=neuron), jnp.ones((2, 1, 4, 4, 1))
    params = init_state(model, optax.sgd(0.1), frames, seed=0).params
    labels = label_params(params)["conv_0"]
    assert labels["synapse"] == {"kernel": "weights"}
    assert labels["norm"] == {"bias": "norm", "scale": "norm"}
    assert labels["neuron"] == {
        "r": "neuron",
        "tau_mem": "time_constants",
        "v_threshold": "thresholds",
    }


def test_schedule_warms_up_and_decays_to_zero():
    optimiser = make_optimiser(1.0, 10, warmup=4)
    params = {"synapse": {"kernel": jnp.ones(1)}}
    state, sizes = optimiser.init(params), []
    for _ in range(11):
        updates, state = optimiser.update({"synapse": {"kernel": jnp.ones(1)}}, state, params)
        sizes.append(-float(updates["synapse"]["kernel"][0]))
    np.testing.assert_allclose(sizes[:5], [0, 0.25, 0.5, 0.75, 1], atol=1e-5)
    assert all(a > b for a, b in itertools.pairwise(sizes[4:]))
    np.testing.assert_allclose(sizes[10], 0, atol=1e-6)


def test_evaluation_pads_the_last_batch_and_loses_no_sample(compilations):
    frames, labels = data(7)
    state, _, objective = start(set_=(frames, labels))
    encoder = Counting()
    step = make_eval_step(MODEL, objective, encoder)
    with compilations() as compiled:
        sums = evaluate(step, state.variables, (frames, labels), 3, jax.random.key(0))
    _, workload = ran(MODEL, state.variables, ENCODER(jax.random.key(0), frames))
    priced = estimate_energy(workload, MACHINE)
    assert sums["samples"] == 7
    np.testing.assert_allclose(sums["parts_pj"], priced.parts_pj.sum(0), rtol=1e-5)
    np.testing.assert_allclose(sums["ever"][0], workload.layers[0].spikes.sum(0))
    assert encoder.traces == 1
    assert compiled.count("step") == 1
    with pytest.raises(ValueError, match="empty"):
        evaluate(step, state.variables, (frames[:0], labels[:0]), 3, jax.random.key(0))


def test_every_batch_of_an_evaluation_has_a_key_of_its_own():
    frames, labels = data(7)
    drawn = []

    def draw(variables, samples, labels, weight, key):
        drawn.append(jax.random.key_data(key).tolist())
        return {"draws": weight @ jax.random.uniform(key, weight.shape)}

    first, again, other = (
        evaluate(draw, {}, (frames, labels), 2, jax.random.key(seed))["draws"] for seed in (0, 0, 1)
    )
    # Four batches: the same keys for the same seed, no key twice otherwise.
    assert drawn[:4] == drawn[4:8] and first == again != other
    assert len({tuple(key) for key in drawn}) == 8


def test_batch_statistics_are_kept_in_the_state():
    model = MLP((8,), 3, norm=True)
    state, step, _ = start(model=model)
    before = jax.tree.map(np.asarray, state.collections["batch_stats"])
    after, _ = step(state, data(), np.arange(8))
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), before, dict(after.collections["batch_stats"])
    )
    assert all(jax.tree.leaves(changed))


def test_every_step_draws_anew_and_the_same_seed_draws_the_same():
    model = dataclasses.replace(MODEL, dropout=0.5)
    runs = []
    for _ in range(2):
        state, step, _ = start(model=model, rate=1e-9)
        tasks = []
        for _ in range(3):
            state, terms = step(state, data(), np.arange(8))
            tasks.append(float(terms["task"]))
        runs.append(tasks)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_an_epoch_in_one_call_is_its_steps_one_by_one():
    set_, model = data(), dataclasses.replace(MODEL, dropout=0.3)
    order = np.random.default_rng(1).permutation(8).reshape(4, 2)
    state, step, objective = start(model=model, weight=0.5)
    every = []
    for index in order:
        state, terms = step(state, set_, index)
        every.append(terms)
    encoder = Counting()
    optimiser = make_optimiser(5e-2, 200, schedule="constant")
    epoch = make_epoch(model, objective, optimiser, encoder)
    again, _, _ = start(model=model, weight=0.5)
    before = again
    again, result = epoch(again, set_, order)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    jax.tree.map(
        np.testing.assert_array_equal, result, jax.tree.map(lambda *x: np.stack(x), *every)
    )
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
    again, _ = epoch(again, set_, order[::-1])
    assert encoder.traces == 1
    assert int(again.step) == 8


def test_a_step_in_chunks_learns_as_the_whole_one_does():
    trained = []
    for plan in (WHOLE, Chunked(2)):
        state, _, objective = start(weight=0.5)
        optimiser = make_optimiser(5e-2, 200, schedule="constant")
        step = make_train_step(MODEL, objective, optimiser, Direct(5), plan=plan)
        trained.append(step(state, data(), np.arange(8)))
    (one, terms), (other, same) = trained
    assert float(terms["total_pj"]) == pytest.approx(float(same["total_pj"]), rel=1e-6)
    for a, b in zip(*(jax.tree.leaves(state.params) for state in (one, other)), strict=True):
        # Adam's first step is the sign of the gradient.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bad_schedules_and_labels_are_refused():
    for arguments, message in (
        ({"warmup": 10}, "warm-up"),
        ({"schedule": "step"}, "schedule must be one of"),
        ({"scales": {"delays": 1.0}}, "unknown parameter labels"),
    ):
        with pytest.raises(ValueError, match=message):
            make_optimiser(1e-3, 10, **arguments)


# --- what would train nothing without a word ------------------------------------------------------


@pytest.mark.parametrize("number", [-1e-3, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "clip", "scales", "levers"])
def test_numbers_of_an_optimiser_are_finite_and_not_negative(name, number):
    given = {"scales": {"thresholds": number}, "levers": {"units": number}}.get(name, number)
    with pytest.raises(ValueError, match="thresholds" if name == "scales" else name.rstrip("s")):
        make_optimiser(**({"learning_rate": 1e-3, "steps": 10} | {name: given}))


def test_a_clip_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing would be trained"):
        make_optimiser(1e-3, 10, clip=0.0)


@pytest.mark.parametrize("number", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize(
    "name",
    ["temperature", "event_temperature"],
)
def test_numbers_of_an_objective_are_finite_and_not_negative(name, number):
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        Objective(CrossEntropy(), MACHINE, **{name: number})


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["weight", "reference"])
def test_a_state_without_finite_numbers_is_refused_at_the_first_step(name, number):
    state, step, _ = start()
    energy = state.terms["energy"] | {name: jnp.float32(number)}
    state = dataclasses.replace(state, terms={**state.terms, "energy": energy})
    with pytest.raises(ValueError, match=r"numbers of the term 'energy' .*start_terms"):
        step(state, data(), np.arange(8))


def test_a_state_as_initialised_is_refused_by_an_epoch_too():
    optimiser = make_optimiser(1e-2, 10)
    set_ = data()
    state = init_state(MODEL, optimiser, ENCODER(jax.random.key(0), set_[0][:1]), seed=0)
    objective = Objective(CrossEntropy(), MACHINE, energy_terms(0.1))
    epoch = make_epoch(MODEL, objective, optimiser, ENCODER)
    with pytest.raises(ValueError, match=r"measure them first: state, first = start_terms"):
        epoch(state, set_, np.arange(8).reshape(2, 4))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda labels: labels.at[3].set(3), "3 classes, 0 to 2, and a label is 3"),
        (lambda labels: labels.at[0].set(-1), "number the classes from 0|from 0 up, got -1"),
        (lambda labels: jax.nn.one_hot(labels, 3), r"one-hot array take labels\.argmax"),
        (lambda labels: labels.astype(jnp.float32), "integers from 0 up, got float32"),
        (lambda labels: labels[:-1], "8 samples and 7 labels"),
        (lambda labels: labels[:0], "the set is empty"),
    ],
)
def test_labels_that_are_no_classes_are_refused_at_the_first_step(change, words):
    state, step, objective = start()
    frames, labels = data()
    before = jax.tree.map(np.asarray, state.params)
    with pytest.raises(ValueError, match=words):
        step(state, (frames, change(labels)), np.arange(4))
    # Nothing was computed and nothing donated.
    jax.tree.map(np.testing.assert_array_equal, state.params, before)
    if "3 classes" not in words:
        with pytest.raises(ValueError, match=words):
            evaluate(
                make_eval_step(MODEL, objective, ENCODER),
                state.variables, (frames, change(labels)), 4, jax.random.key(0),
            )  # fmt: skip


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (np.array([0, 8]), "lie in 0 to 7, .* got 0 to 8"),
        (np.array([-1, 2]), "got -1 to 2"),
        (np.array([], int), "the batch is empty"),
    ],
)
def test_an_index_outside_the_set_is_refused(index, words):
    state, step, _ = start()
    with pytest.raises(ValueError, match=words):
        step(state, data(), index)


def test_a_donated_state_is_refused_with_what_to_do():
    state, step, _ = start()
    step(state, data(), np.arange(8))
    with pytest.raises(ValueError, match=r"donated .*the state that the step returned"):
        step(state, data(), np.arange(8))


def test_optimiser_states_of_others_are_refused():
    state, step, _ = start()
    for other in (optax.sgd(0.1), make_optimiser(1e-2, 10)):
        memory = other.init({"one": jnp.ones(2)})
        with pytest.raises(ValueError, match=r"other parameters or another optimiser"):
            step(dataclasses.replace(state, opt_state=memory), data(), np.arange(8))


def test_a_step_can_be_lowered_and_batches_from_the_host_are_looked_at():
    state, step, _ = start()
    frames, labels = (np.asarray(array) for array in data())
    assert "stablehlo" in step.lower(state, (frames, labels), None).as_text()
    state, terms = step(state, (frames, labels), None)
    assert bool(terms["finite"])
    with pytest.raises(ValueError, match="a label is 4"):
        step(state, (frames, labels + 2), None)
