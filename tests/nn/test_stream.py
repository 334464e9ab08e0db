"""One frame at a time equals the window, for every model; what needs the window is refused."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn.models import MLP, MODELS, SRNN, ConvNet, Spikformer
from jsnn.neurons import ALIF, LIF
from jsnn.neurons.lif import LIFState
from jsnn.nn import run
from jsnn.nn.layers import Dropout, Network, Spiking
from jsnn.nn.recording import record
from jsnn.nn.stream import make_stream, step
from jsnn.readouts import MeanMembrane, PerStep, SpikeCount, SumSoftmax

NEURON = LIF(tau_mem=2e-3)
CASES = {
    "mlp": (MLP((9, 5), 3, NEURON, input_kind="events"), (6,)),
    "conv": (ConvNet((3,), 3, NEURON, PerStep(), hidden=4, input_kind="analog"), (4, 4, 1)),
    "srnn": (SRNN((8,), 3, ALIF(), readout=PerStep()), (5,)),
    "spikformer": (
        Spikformer(
            (8,), 3, LIF(v_threshold=0.2), LIF(v_threshold=0.05), input_kind="analog", heads=2
        ),
        (4, 4, 1),
    ),
    "constant": (MLP((9,), 3, NEURON, norm=True), (6,)),
    "counts": (
        MLP((9,), 3, NEURON, SpikeCount(), readout_neuron=NEURON, input_kind="events"),
        (6,),
    ),
    "late": (SRNN((8,), 3, NEURON, readout=SumSoftmax(skip=2)), (5,)),
}
STEPS = 6


def case(name):
    model, shape = CASES[name]
    frames = 3.0 * jax.random.bernoulli(jax.random.key(3), 0.5, (STEPS, 2, *shape))
    if name == "constant":
        frames = jnp.broadcast_to(frames[:1], frames.shape)
    return model, jax.jit(model.init)(jax.random.key(1), frames), frames


def test_every_model_is_tested():
    assert {type(model) for model, _ in CASES.values()} == set(MODELS.values())


@pytest.mark.parametrize("name", CASES)
def test_a_stream_ends_where_the_window_does(name):
    model, variables, frames = case(name)
    whole, workload = jax.jit(lambda v, x: run(model, v, x))(variables, frames)
    assert float(workload.layers[0].output_events.sum()) > 0
    stream = make_stream(model, variables, frames[0])
    state = stream.start(frames[0])
    for t, frame in enumerate(frames):
        state, outputs = stream.step(state, frame)
        if model.readout.per_step:
            np.testing.assert_allclose(outputs[0], whole[t], rtol=1e-5, atol=1e-6)
    if not model.readout.per_step:
        np.testing.assert_allclose(outputs, whole, rtol=1e-5, atol=1e-6)


def streamed(model, variables, frames, stream=None):
    """Outputs after each frame."""
    stream = stream or make_stream(model, variables, frames[0])
    state, results = stream.start(frames[0]), []
    for frame in frames:
        state, outputs = stream.step(state, frame)
        results.append(outputs[0] if model.readout.per_step else outputs)
    return np.stack(results)


@pytest.mark.parametrize("name", CASES)
def test_a_frame_that_is_not_finite_marks_its_sample_from_then_on(name):
    model, variables, frames = case(name)
    when = 0 if name == "constant" else 2
    stream = make_stream(model, variables, frames[0])
    fine = streamed(model, variables, frames, stream)
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = frames.at[when, 1].set(bad)
        result = streamed(model, variables, spoilt, stream)
        np.testing.assert_array_equal(result[:, 0], fine[:, 0])
        np.testing.assert_array_equal(result[:when], fine[:when])
        assert np.isnan(result[when:, 1]).all()
    for frame in frames[:when]:
        variables, _ = step(model, variables, frame)
    with pytest.raises(ValueError, match=r"sample 1: the frame is not finite"):
        step(model, variables, spoilt[when])


def test_membranes_that_are_not_finite_are_named():
    model, variables, frames = case("mlp")
    broken = variables["params"] | {
        "hidden_1": jax.tree.map(lambda leaf: jnp.nan * leaf, variables["params"]["hidden_1"])
    }
    variables = variables | {"params": broken}
    assert np.isnan(streamed(model, variables, frames)).all()
    with pytest.raises(ValueError, match="the membranes of layer 'hidden_1' are not finite"):
        step(model, variables, frames[0])


class TimeState(NamedTuple):
    v: jax.Array
    last: jax.Array
    steps: jax.Array


@dataclasses.dataclass(frozen=True)
class Timed(LIF):
    """A neuron that keeps when it last fired, never at first, and a count without a batch."""

    def init_state(self, params, shape, key=None):
        v = super().init_state(params, shape, key).v
        return TimeState(v, jnp.full(shape, -jnp.inf), jnp.zeros(()))

    def step(self, params, state, current):
        after, spikes = super().step(params, LIFState(state.v), current)
        last = jnp.where(spikes > 0, state.steps, state.last)
        return (TimeState(after.v, last, state.steps + 1), spikes)


def test_a_state_may_be_infinite_or_without_a_batch_and_a_membrane_may_not():
    model, variables, frames = case("mlp")
    timed = model.clone(neuron=Timed(tau_mem=2e-3))
    fine = streamed(timed, variables, frames)
    np.testing.assert_allclose(fine, streamed(model, variables, frames), rtol=1e-6)
    step(timed, variables, frames[0])
    # A membrane that overflows, and a reset that would put it back to zero.
    loud = jax.tree.map(lambda leaf: 1e38 * jnp.sign(leaf), variables["params"]["hidden_1"])
    variables = variables | {"params": variables["params"] | {"hidden_1": loud}}
    back = model.clone(neuron=LIF(tau_mem=2e-3, reset="zero", v_threshold=0.1))
    assert np.isnan(streamed(back, variables, 100 * frames)[-1]).any()


def test_a_constant_input_that_changes_is_not_ignored():
    model, variables, frames = case("constant")
    changed = frames.at[2, 1].add(1.0)
    fine, result = streamed(model, variables, frames), streamed(model, variables, changed)
    np.testing.assert_array_equal(result[:, 0], fine[:, 0])
    assert np.isnan(result[2:, 1]).all() and not np.isnan(result[:2]).any()
    variables, _ = step(model, variables, frames[0])
    with pytest.raises(ValueError, match=r"sample 1: .* or a constant input is not the frame"):
        step(model, variables, changed[2])


@pytest.mark.parametrize("name", CASES)
def test_a_run_begins_at_rest_whatever_was_streamed_before(name):
    model, variables, frames = case(name)
    others = jnp.roll(frames, 1, axis=1)
    later, _ = step(model, variables, others[0])
    assert set(later) == {*variables, "state"}
    go = jax.jit(lambda v, x: run(model, v, x))
    jax.tree.map(np.testing.assert_array_equal, go(later, frames), go(variables, frames))
    for got, want in zip(
        record(model, later, frames), record(model, variables, frames), strict=True
    ):
        np.testing.assert_array_equal(got.spikes, want.spikes)


def test_a_step_compiles_once_takes_few_arrays_and_gives_them_back(compilations):
    model, variables, frames = case("mlp")
    stream = make_stream(model, variables, frames[0])
    state = stream.start(frames[0])
    assert set(state) == {"float32", "int32"}
    before = state
    with compilations() as names:
        for frame in frames:
            state, _ = stream.step(state, frame)
    assert names == ["step"]
    assert all(leaf.is_deleted() for leaf in before.values())
    np.testing.assert_array_equal(state["int32"], [STEPS] * 3)


class Reversed(nn.Module):
    def __call__(self, frames, train=False):
        return frames[::-1]


class Always(nn.Module):
    """Calls its layer in training mode."""

    layer: nn.Module
    causal = True

    def __call__(self, frames, train=False):
        return self.layer(frames, True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Network((Reversed(), Spiking(nn.Dense(3), NEURON))), "does not say that it is causal"),
        (Always(Spiking(nn.Dense(3), NEURON)), "is in training mode"),
        (Always(Dropout(0.5)), "is in training mode"),
    ],
)
def test_what_cannot_stream_is_refused(model, message, key):
    frames = jnp.ones((2, 1, 5))
    variables = model.init({"params": key, "dropout": key}, frames)
    with pytest.raises(ValueError, match=message):
        make_stream(model, variables, frames[0])
    with pytest.raises(ValueError, match=message):
        step(model, variables, frames[0])


def test_a_stream_of_means_is_the_mean_so_far(key):
    model = MLP((9,), 3, NEURON, MeanMembrane(), input_kind="events")
    frames = 3.0 * jax.random.bernoulli(key, 0.5, (3, 1, 6))
    variables = jax.jit(model.init)(key, frames)
    stream = make_stream(model, variables, frames[0])
    state = stream.start(frames[0])
    for t, frame in enumerate(frames, 1):
        state, outputs = stream.step(state, frame)
        np.testing.assert_allclose(outputs, run(model, variables, frames[:t])[0], rtol=1e-5)
