"""Inputs as events against the dense frames they stand for, and against loops over events."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jsnn
from jsnn.data import Delta, Recorded, Shifted
from jsnn.energy import estimate_energy
from jsnn.events import (
    BitFrames,
    EventFrames,
    choose,
    currents,
    dense,
    pack,
    pack_bits,
    synapse,
    unpack_bits,
)
from jsnn.hardware import get
from jsnn.neurons import LI, LIF
from jsnn.nn import forward
from jsnn.nn.layers import Dropout, Flatten, Pool, Residual, Spiking, batch_norm
from jsnn.nn.recording import record
from jsnn.readouts import MeanMembrane
from jsnn.train.evaluation import evaluate
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.state import init_state
from jsnn.train.step import make_train_step

SHAPE = (6, 3, 20)
# One length of lists, so that jax compiles once whatever hypothesis draws.
PLACES = 72
COUNTS = st.integers(0, 2**32 - 1).map(
    lambda seed: drawn(seed, np.random.default_rng(seed).uniform(0, 0.9))
)


def drawn(seed, rate, shape=SHAPE):
    """Counts of 0 to 3, with an empty frame, a full one and an input that never sends."""
    draw = np.random.default_rng(seed)
    frames = draw.integers(1, 4, shape) * (draw.random(shape) < rate)
    frames[0, 0], frames[1, 0] = 0, 3
    frames[..., 0] = 0
    return frames.astype(np.float32)


def near(got, want, most):
    jax.tree.map(
        lambda g, w: np.testing.assert_allclose(g, w, atol=most * max(1, np.abs(w).max()), rtol=0),
        got,
        want,
    )


def same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def scrambled(events, seed):
    """The same events in any order, padding in between, and padding of any number outside."""
    draw = np.random.default_rng(seed)
    indices = draw.permuted(np.asarray(events.indices), axis=-1)
    padding = draw.choice([-1, -7, events.size, events.size + 5], indices.shape)
    return EventFrames(np.where(indices == events.size, padding, indices), events.inputs)


@settings(max_examples=20)
@given(COUNTS)
def test_packing_loses_nothing(frames):
    events = pack(frames)
    assert events.places % 8 == 0
    assert events.places - 8 < frames.sum(-1).max() <= events.places
    for result, row in zip(
        events.indices.reshape(-1, events.places), frames.reshape(-1, 20), strict=True
    ):
        listed = [i for i, count in enumerate(row) for _ in range(int(count))]
        assert result.tolist() == listed + [20] * (events.places - len(listed))
    for way in (events, scrambled(pack(frames, PLACES), 0)):
        np.testing.assert_array_equal(dense(way), frames)
        np.testing.assert_array_equal(np.asarray(way), frames)
    assert (events.shape, events.ndim, len(events)) == (SHAPE, 3, 6)
    np.testing.assert_array_equal(dense(events[2:4]), frames[2:4])


def test_images_are_listed_row_by_row():
    frames = drawn(0, 0.3, (2, 3, 4, 5, 2))
    events = pack(frames)
    assert events.inputs == (4, 5, 2)
    np.testing.assert_array_equal(dense(events), frames)
    flat = Flatten().apply({}, events)
    np.testing.assert_array_equal(dense(flat), frames.reshape(2, 3, -1))
    np.testing.assert_array_equal(events.each_input(), frames.sum(0))


def test_a_set_of_silence_packs():
    events = pack(np.zeros((2, 3, 4), np.uint8))
    assert events.indices.shape == (2, 3, 8)
    np.testing.assert_array_equal(currents(events, jnp.ones((4, 2))), 0)


@jax.jit
def with_gradient(events, kernel, grad):
    got, back = jax.vjp(lambda k: currents(events, k), kernel)
    return got, *back(grad)


@pytest.mark.quick
@settings(max_examples=20)
@given(COUNTS, st.integers(0, 99))
def test_currents_and_weight_gradients_are_those_of_the_matrix_product(frames, seed):
    events = scrambled(pack(frames, PLACES), seed)
    draw = np.random.default_rng(seed)
    kernel, grad = draw.normal(size=(20, 7)), draw.normal(size=(6, 3, 7))
    got, result = with_gradient(events, kernel.astype(np.float32), grad.astype(np.float32))
    near(got, frames.astype(float) @ kernel, 1e-6)
    near(result, np.einsum("tbn,tbm->nm", frames.astype(float), grad), 1e-5)


SCATTERS = [jax.jit(way) for way in (synapse._scatter_in_turn, synapse._scatter_at_once)]


@settings(max_examples=10)
@given(COUNTS, st.integers(0, 99))
def test_both_ways_to_scatter_agree(frames, seed):
    numbers = scrambled(pack(frames, PLACES), seed).numbered().reshape(18, PLACES)
    grad = np.random.default_rng(seed).normal(size=(18, 7)).astype(np.float32)
    want = np.einsum("rn,rm->nm", frames.reshape(18, 20).astype(float), grad)
    for way in SCATTERS:
        near(way(numbers, jnp.asarray(grad), jnp.zeros((21, 7)))[:20], want, 1e-5)


def test_lists_longer_than_a_pass_and_half_precision():
    frames = drawn(3, 0.9, (2, 2, 150))
    events = pack(frames)
    assert events.places > 3 * synapse._ROWS
    kernel = jax.random.normal(jax.random.key(0), (150, 5))
    near(currents(events, kernel), frames @ np.asarray(kernel), 1e-5)
    half = kernel.astype(jnp.bfloat16)
    got, back = jax.vjp(lambda k: currents(events, k), half)
    # Summed in float32 and rounded once.
    want = (frames @ np.asarray(half, np.float32)).astype(jnp.bfloat16)
    near(got.astype(np.float32), want.astype(np.float32), 2**-7)
    assert got.dtype == back(got)[0].dtype == jnp.bfloat16


def test_no_dense_array_is_built():
    frames = drawn(0, 0.1, (16, 8, 500))
    events, kernel = pack(frames), jnp.ones((500, 4))

    def loss(kernel, events):
        return currents(events, kernel).sum() + events.each_input().max() + events.each_step().sum()

    compiled = jax.jit(jax.grad(loss)).lower(kernel, events).compile()
    assert "16,8,500" not in compiled.as_text()
    assert "128,500" not in compiled.as_text()
    assert "128,501" not in compiled.as_text()


LAYERS = {
    "plain": lambda: Spiking(nn.Dense(5), LIF(tau_mem=2e-3), input_kind="events"),
    "spikes": lambda: Spiking(nn.Dense(5, use_bias=False), LIF(), input_kind="spikes"),
    "norm": lambda: Spiking(
        nn.Dense(5, use_bias=False), LIF(), input_kind="events", norm=batch_norm()
    ),
    "recurrent": lambda: Spiking(nn.Dense(5), LIF(), input_kind="events", recurrent=True),
    "readout": lambda: Spiking(nn.Dense(5), LI(), input_kind="events", readout=MeanMembrane()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_does_the_same_with_events(name, key):
    layer, frames = LAYERS[name](), drawn(1, 0.3)
    events = scrambled(pack(frames, PLACES), 1)
    variables = layer.init(key, jnp.asarray(frames))
    same(layer.init(key, events), variables)
    weights = jax.random.normal(key, jax.eval_shape(layer.apply, variables, frames).shape)

    def loss(params, frames):
        passed = forward(layer, {**variables, "params": params}, frames, train=True)
        return (passed.outputs * weights).sum(), passed

    run = jax.jit(jax.grad(loss, has_aux=True))
    (want_grads, want), (got_grads, got) = (
        run(variables["params"], x) for x in (jnp.asarray(frames), events)
    )
    near(got.outputs, want.outputs, 1e-6)
    near(got_grads, want_grads, 1e-5)
    near(got.updates, want.updates, 1e-6)
    # Outputs are equal on these currents, so that all of the record must be.
    same(got.workload, want.workload)


@settings(max_examples=10)
@given(COUNTS, st.integers(0, 99))
def test_the_workload_of_a_network_is_exactly_that_of_dense_frames(frames, seed):
    variables = NETWORK[1]
    events = scrambled(pack(frames, PLACES), seed)
    (want, dense_work), (got, work) = RUN(variables, jnp.asarray(frames)), RUN(variables, events)
    first, wanted = work["hidden_0"], dense_work["hidden_0"]
    same(first.events_by_fan_out, wanted.events_by_fan_out)
    same(first.active, wanted.active)
    same(first.by_step, wanted.by_step)
    assert first.geometry == wanted.geometry
    # By hand.
    same(first.events_by_fan_out[:, 0], frames.sum((0, 2)))
    same(first.active[:, 0], (frames.sum(0) > 0).sum(-1).astype(np.float32))
    same(first.by_step.events_by_fan_out[..., 0], frames.sum(-1).T)
    near(got, want, 1e-6)
    machine = get("hierarchy-45nm")
    near(
        estimate_energy(work, machine).total_pj(),
        estimate_energy(dense_work, machine).total_pj(),
        1e-6,
    )


NETWORK = (lambda model: (model, jax.jit(model.init)(jax.random.key(0), jnp.zeros(SHAPE))))(
    jsnn.models.MLP((16,), 3, input_kind="events")
)
RUN = jax.jit(lambda variables, frames: jsnn.run(NETWORK[0], variables, frames))


def test_a_stream_of_events_is_the_window_frame_by_frame():
    model, variables = NETWORK
    frames = drawn(2, 0.3)
    states = {way: variables for way in ("dense", "events")}
    for frame, listed in zip(frames, pack(frames), strict=True):
        states["dense"], want = jsnn.step(model, states["dense"], jnp.asarray(frame))
        states["events"], got = jsnn.step(model, states["events"], listed)
        near(got, want, 1e-6)


def test_a_recording_of_events_holds_the_dense_frames():
    model, variables = NETWORK
    frames = drawn(2, 0.3)
    np.testing.assert_array_equal(record(model, variables, pack(frames))[0].frames, frames)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from((1, 4, 9)))
def test_bits_keep_every_input(seed, inputs):
    draw = np.random.default_rng(seed)
    frames = draw.random((3, 4, inputs, 2)) < draw.random()
    packed = pack_bits(frames)
    assert packed.bits.dtype == np.uint8
    assert packed.bits.shape == (3, 4, -(-2 * inputs // 8))
    result = unpack_bits(packed)
    assert result.dtype == jnp.float32
    np.testing.assert_array_equal(result, frames)
    np.testing.assert_array_equal(unpack_bits(packed[1:]), frames[1:])
    byte, bit = divmod(2 * inputs - 1, 8)
    np.testing.assert_array_equal(packed.bits[..., byte] >> bit, frames[..., -1, 1])


def test_sets_train_and_are_evaluated_the_same_however_they_are_stored(key):
    draw = np.random.default_rng(0)
    recordings = (draw.random((8, 6, 20)) < 0.2).astype(np.uint8)
    labels = draw.integers(0, 5, 8).astype(np.int32)
    stored = {"dense": recordings, "events": pack(recordings), "bits": pack_bits(recordings)}
    model, encoder = LAYERS["readout"](), Recorded()
    objective = Objective(CrossEntropy(), get("hierarchy-45nm"), energy_terms(0.1))
    optimiser = optax.adam(1e-2)
    train = make_train_step(model, objective, optimiser, encoder)

    def measure(variables, samples, labels, weight, key):
        outputs = forward(
            model, variables, encoder(key, jax.tree.map(jnp.asarray, samples))
        ).outputs
        return {"samples": weight.sum(), "outputs": weight @ outputs}

    measure = jax.jit(measure)
    result = {}
    for name, samples in stored.items():
        data = jax.tree.map(jnp.asarray, samples), jnp.asarray(labels)
        state = init_state(model, optimiser, encoder(key, data[0][:4]), 0)
        terms = {"energy": {"weight": 0.1, "reference": 1e4}, "dead_neurons": {"weight": 0.1}}
        state = dataclasses.replace(state, terms=terms)
        state, terms = train(state, data, jnp.arange(4))
        sums = evaluate(measure, state.variables, (samples, labels), 3, key)
        assert sums["samples"] == 8
        result[name] = terms["task"], state.params, sums["outputs"]
    for name in ("events", "bits"):
        near(result[name], result["dense"], 1e-5)


def test_encoders_that_need_dense_frames_say_so(key):
    recordings = np.ones((2, 3, 4, 4, 1), np.uint8)
    for frames in (pack(recordings), pack_bits(recordings)):
        with pytest.raises(ValueError, match=r"jsnn\.events\."):
            Delta(0.1)(key, frames)
    with pytest.raises(ValueError, match=r"jsnn\.events\.dense"):
        Shifted(Recorded(), 1)(key, pack(recordings))


@pytest.mark.parametrize(
    ("frames", "places", "message"),
    [
        (np.ones((3, 4)), None, r"frames \[T, B, \.\.\.\], found shape \(3, 4\)"),
        (-np.ones((1, 1, 2)), None, "whole numbers of events, found -1"),
        (np.full((1, 1, 2), 0.5), None, "whole numbers of events, found 0.5"),
        (np.array([[[0, 0, 1], [1, 2, 1]]]), 3, r"frame \(0, 1\) has 4 events, more than the 3"),
    ],
)
def test_what_cannot_be_packed_is_refused(frames, places, message):
    with pytest.raises(ValueError, match=message):
        pack(frames, places)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.full((1, 1, 2), 2), "0 and 1 only, found 2"),
        (np.full((1, 1, 2), np.nan), "0 and 1 only, found nan"),
        (np.ones((2, 2)), r"found shape \(2, 2\)"),
    ],
)
def test_what_does_not_fit_a_bit_is_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        pack_bits(frames)


FLAT, IMAGES = pack(np.ones((2, 1, 6))), pack(np.ones((2, 1, 4, 4, 1)))
DENSE = nn.Dense(3, parent=None)

ONLY = "only a Spiking layer with an nn.Dense synapse"


class Own(nn.Dense):
    """A dense layer that might do anything."""


@pytest.mark.parametrize(
    ("layer", "frames", "message"),
    [
        (Spiking(nn.Conv(2, (3, 3)), LIF(), input_kind="events"), IMAGES, ONLY),
        (Spiking(Own(2), LIF(), input_kind="events"), FLAT, ONLY),
        (Spiking(nn.Dense(2, dot_general=jax.lax.dot_general), LIF(), "events"), FLAT, "unused"),
        (Spiking(DENSE, LIF(), input_kind="analog"), FLAT, "input_kind 'events'.*got 'analog'"),
        (Spiking(DENSE, LIF(), input_kind="constant"), FLAT, "got 'constant'"),
        (Spiking(DENSE, LIF(), input_kind="events", input_unit=0.25), FLAT, "and 0.25"),
        (Spiking(DENSE, LIF(), input_kind="events"), IMAGES, "Flatten"),
        (Spiking(DENSE, LIF(), input_kind="events"), FLAT[0], r"\[T, B, \.\.\.\], got"),
        (Pool("max", 2), IMAGES, ONLY),
        (Dropout(0.5), FLAT, "dropout scales"),
        (Residual(LAYERS["plain"]()), FLAT, "keep the shape"),
        (jsnn.models.ConvNet((4,), 3, input_kind="events"), IMAGES, ONLY),
        (jsnn.models.MLP((4,), 3), FLAT, "got 'constant'"),
        (jsnn.models.MLP((4,), 3, input_kind="events", input_dropout=0.1), FLAT, "dropout"),
        (nn.Dense(3), FLAT, r"jsnn\.events\.dense"),
    ],
)
def test_what_cannot_take_events_refuses(layer, frames, message, key):
    train = () if isinstance(layer, nn.Dense) else (True,)
    with pytest.raises(ValueError, match=message):
        layer.init({"params": key, "dropout": key}, frames, *train)


def test_input_dropout_lets_events_pass_when_not_training():
    np.testing.assert_array_equal(Dropout(0.5).apply({}, FLAT).indices, FLAT.indices)


def test_weights_of_another_size_and_jax_functions_are_refused():
    with pytest.raises(ValueError, match="for 5 inputs, the events come from 6"):
        currents(FLAT, jnp.ones((5, 2)))
    with pytest.raises(ValueError, match=r"jsnn\.events\.dense"):
        jnp.abs(FLAT)
    with pytest.raises(ValueError, match=r"jsnn\.events\.unpack_bits"):
        jnp.abs(BitFrames(np.ones((1, 1, 1), np.uint8), (8,)))


def test_the_rule_chooses_events_for_few_of_them_on_a_cpu():
    assert choose(0.01, 24, 700, "cpu").frames == "events"
    assert choose(0.2, 184, 700, "cpu").frames == "dense"
    assert choose(0.02, 208, 700, "cpu").frames == "dense"
    assert "gpu" in str(choose(0.01, 24, 700, "gpu"))
    for wrong in ((-0.1, 8, 10), (float("nan"), 8, 10), (0.1, 0, 10), (0.1, 8, 0)):
        with pytest.raises(ValueError, match="expected"):
            choose(*wrong, "cpu")
