"""One population over time: any cut of time gives the same, and gradients are true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.neurons import ALIF, BRF, LI, LIF, AdLIF, CuBaLIF
from jsnn.readouts import (
    LastMembrane,
    MaxMembrane,
    MeanMembrane,
    PerStep,
    Several,
    SpikeCount,
    SumSoftmax,
)
from jsnn.unroll import fold, start_fold, unroll

T, B, N = 15, 2, 4
RNG = np.random.default_rng(0)
CURRENTS = jnp.asarray(RNG.normal(0.4, 1.0, (T, B, N)).astype(np.float32))
WEIGHTS = jnp.asarray(RNG.normal(0, 0.6, (N, N)).astype(np.float32))
NEURONS = [LIF(), CuBaLIF(), ALIF(), AdLIF(), BRF(), LI(scale_input=False)]
SCALE = {AdLIF: 20.0, BRF: 60.0}


def feed_back(spikes):
    return spikes @ WEIGHTS


def setup(neuron, recurrent):
    params = neuron.init_params(jax.random.key(0), (N,))
    currents = CURRENTS * SCALE.get(type(neuron), 1.0)
    return params, currents, feed_back if recurrent else None


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: type(n).__name__)
class TestUnroll:
    def test_equals_a_python_loop(self, neuron, recurrent):
        params, currents, back = setup(neuron, recurrent)
        state, spikes = jax.jit(lambda p, c: unroll(neuron, p, c, recurrent=back))(params, currents)
        loop_state, before, expected = (
            neuron.init_state(params, (B, N)),
            jnp.zeros((B, N), jnp.float32),
            [],
        )
        for current in currents:
            if recurrent:
                current = current + np.asarray(before) @ np.asarray(WEIGHTS)
            loop_state, before = neuron.step(params, loop_state, current)
            expected.append(before)
        np.testing.assert_allclose(spikes, jnp.stack(expected), rtol=1e-5, atol=1e-5)
        if neuron.spiking:
            assert 3 < spikes.sum() < spikes.size
        for got, want in zip(state, loop_state, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

    def test_one_step_at_a_time_equals_all_at_once(self, neuron, recurrent):
        params, currents, back = setup(neuron, recurrent)
        whole_state, whole = unroll(neuron, params, currents, recurrent=back)

        @jax.jit
        def frame(state, before, current):
            known = {"recurrent": back, "spikes_before": before} if recurrent else {}
            return unroll(neuron, params, current[None], state, **known)

        state, before, seen = neuron.init_state(params, (B, N)), jnp.zeros((B, N), jnp.float32), []
        for current in currents:
            state, spikes = frame(state, before, current)
            before = spikes[-1]
            seen.append(before)
        np.testing.assert_allclose(jnp.stack(seen), whole, rtol=1e-5, atol=1e-5)
        for got, want in zip(state, whole_state, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

    def test_two_halves_equal_one_run(self, neuron, recurrent):
        params, currents, back = setup(neuron, recurrent)
        _, whole = unroll(neuron, params, currents, recurrent=back)
        state, first = unroll(neuron, params, currents[:7], recurrent=back)
        known = {"recurrent": back, "spikes_before": first[-1]} if recurrent else {}
        _, second = unroll(neuron, params, currents[7:], state, **known)
        joined = jnp.concatenate([first, second])
        np.testing.assert_allclose(joined, whole, rtol=1e-6, atol=1e-6)


def test_feedback_comes_one_step_late():
    """Neuron 0 is driven at step 0 only; neuron 1 hears of it at step 1."""
    neuron = LIF()
    params = neuron.init_params(jax.random.key(0), (2,))
    currents = jnp.zeros((3, 1, 2), jnp.float32).at[0, 0, 0].set(1.5)
    weights = jnp.array([[0.0, 2.0], [0.0, 0.0]], jnp.float32)
    _, spikes = unroll(neuron, params, currents, recurrent=lambda s: s @ weights)
    np.testing.assert_array_equal(spikes[:, 0], [[1, 0], [0, 1], [0, 0]])


READOUTS = [
    LastMembrane(),
    MeanMembrane(),
    MaxMembrane(),
    SpikeCount(),
    PerStep(),
    SumSoftmax(skip=4),
    Several((SpikeCount(), PerStep())),
]


def by_hand(neuron, params, currents, readout, back):
    """Unroll keeping every membrane, then reduce step by step in Python."""
    state, before = neuron.init_state(params, currents.shape[1:]), jnp.zeros_like(currents[0])
    carry, emitted = readout.init(currents.shape[1:], currents.dtype), []
    for t, current in enumerate(currents):
        state, before = neuron.step(params, state, current + (back(before) if back else 0))
        carry, emission = readout.update(carry, neuron.potential(state), before, t)
        emitted.append(emission)
    emissions = jax.tree.map(lambda *x: jnp.stack(x), *emitted)
    return readout.finish(carry, emissions, len(currents))


def assert_trees_close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("readout", READOUTS, ids=lambda r: type(r).__name__)
class TestFold:
    def test_equals_unroll_then_reduce(self, readout, recurrent):
        params, currents, back = setup(ALIF(), recurrent)
        state, result = fold(ALIF(), params, currents, readout, recurrent=back)
        assert_trees_close(result, by_hand(ALIF(), params, currents, readout, back))
        _, spikes = unroll(ALIF(), params, currents, recurrent=back)
        np.testing.assert_array_equal(state.spikes, spikes[-1])
        assert int(state.steps) == T and state.steps.dtype == jnp.int32

    def test_two_halves_equal_one_run(self, readout, recurrent):
        params, currents, back = setup(ALIF(), recurrent)
        _, whole = fold(ALIF(), params, currents, readout, recurrent=back)
        state = start_fold(ALIF(), params, readout, (B, N))
        state, first = fold(ALIF(), params, currents[:3], readout, state, recurrent=back)
        state, second = fold(ALIF(), params, currents[3:], readout, state, recurrent=back)
        assert int(state.steps) == T
        if isinstance(readout, PerStep):
            second = jnp.concatenate([first, second])
        if isinstance(readout, Several):
            second = (second[0], jnp.concatenate([first[1], second[1]]))
        assert_trees_close(second, whole)


def test_fold_states_compile_once():
    """The state that comes back has the type of the one that went in."""
    neuron, readout = ALIF(), SumSoftmax(skip=2)
    params, currents, _ = setup(neuron, False)
    traced = []

    @jax.jit
    def piece(state, currents):
        traced.append(None)
        return fold(neuron, params, currents, readout, state)

    state = start_fold(neuron, params, readout, (B, N))
    for _ in range(3):
        state, _ = piece(state, currents)
    assert len(traced) == 1


@jax.jit
def _go_on(params, currents, state):
    return fold(LIF(), params, currents, CUT_READOUT, state, recurrent=feed_back)


CUT_READOUT = Several((MeanMembrane(), SpikeCount()))


@settings(max_examples=32)
@given(st.sets(st.integers(1, 5)))
def test_any_chunks_of_time_gives_the_same_result(cuts):
    params, currents, _ = setup(LIF(), True)
    currents = currents[:6]
    start = start_fold(LIF(), params, CUT_READOUT, (B, N))
    _, whole = _go_on(params, currents, start)
    state = start
    for piece in np.split(np.asarray(currents), sorted(cuts)):
        state, result = _go_on(params, jnp.asarray(piece), state)
    assert_trees_close(result, whole)


def test_gradients_agree_between_unroll_and_fold():
    neuron = ALIF(v_threshold=0.5)
    params, currents, _ = setup(neuron, True)
    currents = 10 * currents

    def by_unroll(params, currents, weights):
        _, spikes = unroll(neuron, params, currents, recurrent=lambda s: s @ weights)
        return (spikes.sum(0) ** 2).sum()

    def by_fold(params, currents, weights):
        _, count = fold(neuron, params, currents, SpikeCount(), recurrent=lambda s: s @ weights)
        return (count**2).sum()

    one = jax.jit(jax.grad(by_unroll, (0, 1, 2)))(params, currents, WEIGHTS)
    two = jax.jit(jax.grad(by_fold, (0, 1, 2)))(params, currents, WEIGHTS)
    assert_trees_close(two, one)
    assert all(np.abs(leaf).sum() > 0 for leaf in jax.tree.leaves(one))


def test_key_draws_the_first_state():
    neuron = LI()
    params, currents, _ = setup(neuron, False)
    _, rest = unroll(neuron, params, currents)
    _, drawn = unroll(neuron, params, currents, key=jax.random.key(1))
    _, again = unroll(neuron, params, currents, key=jax.random.key(1))
    folded, _ = fold(neuron, params, currents, LastMembrane(), key=jax.random.key(1))
    assert not np.allclose(rest, drawn)
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_allclose(folded.neuron.v, drawn[-1], rtol=1e-6)


def test_float64_and_images():
    with jax.enable_x64(True):
        neuron = LIF()
        params = neuron.init_params(jax.random.key(0), (3,), jnp.float64)
        currents = jnp.ones((2, 1, 4, 4, 3), jnp.float64)
        state, spikes = unroll(neuron, params, currents)
        assert spikes.dtype == state.v.dtype == jnp.float64 and spikes.shape == currents.shape


LIF_PARAMS = LIF().init_params(jax.random.key(0), (N,))
LI_PARAMS = LI().init_params(jax.random.key(0), (N,))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: unroll(LIF(), LIF_PARAMS, CURRENTS[:0]), "at least one step"),
        (lambda: unroll(LIF(), LIF_PARAMS, CURRENTS[0, 0]), r"\[T, B, ...\]"),
        (lambda: unroll(LIF(), LIF_PARAMS, CURRENTS.astype(jnp.bfloat16)), "one dtype"),
        (lambda: unroll(LIF(), LIF_PARAMS, CURRENTS[..., :3]), "does not broadcast"),
        (
            lambda: unroll(LIF(), LIF_PARAMS, CURRENTS, LIF().init_state(LIF_PARAMS, (3, N))),
            r"float32\[3, 4\]",
        ),
        (
            lambda: unroll(
                LIF(),
                LIF_PARAMS,
                CURRENTS,
                LIF().init_state(LIF_PARAMS, (B, N)),
                key=jax.random.key(0),
            ),
            "state was given",
        ),
        (
            lambda: unroll(LIF(), LIF_PARAMS, CURRENTS, spikes_before=CURRENTS[0]),
            "only used by recurrent",
        ),
        (
            lambda: unroll(
                LIF(), LIF_PARAMS, CURRENTS, recurrent=feed_back, spikes_before=CURRENTS[0, :1]
            ),
            r"spikes_before must be float32\[2, 4\]",
        ),
        (lambda: fold(LI(), LI_PARAMS, CURRENTS, SpikeCount()), "LI sends none"),
        (lambda: fold(LI(), LI_PARAMS, CURRENTS, SumSoftmax(skip=14)), "at least 16 steps"),
        (lambda: fold(LI(), LI_PARAMS, CURRENTS[:0], LastMembrane()), "at least one step"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, word):
    with pytest.raises(ValueError, match=word):
        call()
