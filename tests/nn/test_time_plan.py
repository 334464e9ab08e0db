"""A window in chunks equals the window at once: outputs, records and gradients."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn.events import pack
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import LI, LIF
from jsnn.nn import forward, run
from jsnn.nn.layers import Flatten, Network, Pool, Residual, Spiking
from jsnn.nn.spike_products import Attention
from jsnn.nn.time_plan import WHOLE, Chunked, choose, kept_bytes, read
from jsnn.readouts import (
    LastMembrane,
    MaxMembrane,
    MeanMembrane,
    PerStep,
    Several,
    SpikeCount,
    SumSoftmax,
)

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(run, static_argnums=0)

NEURON = LIF(tau_mem=2e-3)
STEPS = 7
WIDE = nn.initializers.normal(3.0)

# model, shape of a frame, share of events (none: one real frame, constant), training mode
CASES = {
    "constant input, dropout": (
        MLP((9,), 3, NEURON, dropout=0.3, input_dropout=0.3),
        (6,),
        None,
        1,
    ),
    "events, last membrane": (
        MLP((9, 5), 3, NEURON, LastMembrane(), input_kind="events"),
        (6,),
        0.4,
        0,
    ),
    "spikes counted": (
        MLP((9,), 3, NEURON, SpikeCount(), readout_neuron=NEURON, input_kind="events"),
        (6,),
        0.6,
        1,
    ),
    "recurrent, every step, random start": (
        SRNN((8,), 3, NEURON, dropout=0.3, random_state=True),
        (5,),
        0.5,
        1,
    ),
    "recurrent, sum of softmax": (SRNN((8,), 3, NEURON, SumSoftmax(skip=2)), (5,), 0.5, 0),
    "two readouts": (
        MLP((9,), 3, NEURON, Several((MaxMembrane(), PerStep())), norm=True),
        (6,),
        None,
        0,
    ),
    "convolutions, batch norm": (ConvNet((3,), 3, NEURON, hidden=12), (4, 4, 1), None, 0),
    "products of spikes": (Spiking(Attention(2), LIF(v_threshold=0.05)), (3, 4, 4), 0.5, 0),
    "analog, average pool, residual": (
        Network(
            (
                Spiking(nn.Conv(2, (3, 3)), NEURON, input_kind="analog"),
                Pool("average", 2),
                Spiking(
                    nn.Conv(4, (1, 1), kernel_init=WIDE),
                    NEURON,
                    input_kind="events",
                    input_unit=0.25,
                ),
                Flatten(),
                Residual(Spiking(nn.Dense(16), NEURON)),
                Spiking(nn.Dense(3), LI(tau_mem=3e-3), readout=MeanMembrane()),
            )
        ),
        (4, 4, 1),
        0.5,
        1,
    ),
}


def case(name, steps=STEPS, batch=2):
    model, shape, rate, train = CASES[name]
    key, shape = jax.random.key(3), (batch, *shape)
    # Strong enough for every layer to fire.
    strength = 1.0 if name.startswith("products") else 20.0 if len(shape) > 2 else 3.0
    if rate is None:
        frames = jnp.broadcast_to(jax.random.uniform(key, shape), (steps, *shape))
    else:
        frames = jax.random.bernoulli(key, rate, (steps, *shape))
    frames = strength * frames
    variables = jax.jit(model.init)(jax.random.key(1), frames)
    return model, variables, frames, bool(train)


def result(plan, model, variables, frames, train):
    """Outputs, records, and in training the gradients of a weighted sum of all of them."""
    rngs = {"dropout": jax.random.key(7), "state": jax.random.key(8)}

    @jax.jit
    def both(params):
        def loss(params):
            given = {**variables, "params": params}
            passed = forward(model, given, frames, train=train, rngs=rngs, plan=plan)
            value = sum(
                (leaf * (1 + jnp.arange(leaf.size).reshape(leaf.shape) % 5)).sum()
                for leaf in jax.tree.leaves(passed[:2])
            )
            return value, passed[:2]

        if not train:
            return loss(params)[1], ()
        return jax.grad(loss, has_aux=True)(params)[::-1]

    passed, grads = both(variables.get("params", {}))
    return *passed, grads


def expect_equal(result, expected):
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        scale = max(float(np.abs(other).max()), 1e-30)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("name", CASES)
def test_chunks_equal_the_whole_window(name):
    given = case(name)
    expected = result(WHOLE, *given)
    actual = result(Chunked(3), *given)
    expect_equal(actual, expected)
    # The test would prove nothing on a silent network.
    assert all(float(layer.input_events.min()) > 0 for layer in expected[1])


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_chunks_of_a_step_and_longer_than_the_window(steps):
    given = case("two readouts")
    expect_equal(result(Chunked(steps), *given)[:2], result(WHOLE, *given)[:2])


def test_an_input_active_in_two_chunks_counts_once(key):
    frames = jnp.zeros((4, 1, 3)).at[jnp.array([0, 3]), 0, 0].set(1).at[2, 0, 2].set(1)
    model = Spiking(nn.Dense(2), NEURON, input_kind="events")
    _, (record,) = run(model, model.init(key, frames), frames, plan=Chunked(2))
    assert record.active_inputs.tolist() == [2.0]
    assert record.input_events.tolist() == [3.0]
    assert record.steps == 4


def dots(jaxpr, times=1):
    """`(rows, columns) -> calls` of matrix products, those in a scan as often as they run."""
    result = {}

    def add(more):
        for shape, count in more.items():
            result[shape] = result.get(shape, 0) + count

    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            add({equation.outvars[0].aval.shape: times})
        often = times * equation.params.get("length", 1)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            add(dots(inner, often))
    return result


@pytest.mark.parametrize(("plan", "rows"), [(WHOLE, 8), (Chunked(2), 2)])
def test_a_constant_input_meets_its_weights_once(plan, rows):
    frames = jnp.ones((8, 1, 6))
    model = MLP((9,), 3)
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    traced = jax.jit(lambda v: run(model, v, frames, plan=plan)[0]).trace(variables).jaxpr
    live, _ = jax.interpreters.partial_eval.dce_jaxpr(traced.jaxpr, [True])
    assert dots(live) == {(1, 9): 1, (rows, 3): 8 // rows}


def test_memory_does_not_grow_with_the_window():
    model = MLP((64,), 3, input_kind="events")

    def temporaries(plan, steps):
        frames = jax.ShapeDtypeStruct((steps, 16, 20), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), frames)
        loss = lambda v, x: forward(model, v, x, train=True, plan=plan).outputs.sum()  # noqa: E731
        compiled = jax.jit(jax.grad(loss)).lower(variables, frames).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = (temporaries(Chunked(10), steps) for steps in (100, 400))
    # Of 30 more chunks the states they start from.
    states = 30 * 4 * 16 * (64 + 3)
    assert many - few < 2 * states < temporaries(WHOLE, 400) / 5


class Reversed(nn.Module):
    def __call__(self, frames, train=False):
        return frames[::-1]


class Shared(nn.Module):
    causal: ClassVar[bool] = True

    @nn.compact
    def __call__(self, frames, train=False):
        layer = Spiking(nn.Dense(5), NEURON, name="shared")
        return layer(layer(frames, train), train)


@pytest.mark.parametrize(
    ("model", "train", "message"),
    [
        (
            Network((Reversed(), Spiking(nn.Dense(5), NEURON))),
            False,
            "Reversed 'layers_0' does not say",
        ),
        (Network((nn.Dropout(0.5), Spiking(nn.Dense(5), NEURON))), True, "Dropout 'layers_0'"),
        (MLP((4,), 3, norm=True), True, "'hidden_0' normalises by statistics of the whole window"),
        (Shared(), False, "'shared' is used twice"),
        (MLP((4,), 3, readout=SumSoftmax(skip=10)), False, "needs at least 12 steps, got 4"),
        (Flatten(), False, "recorded no spiking layer"),
    ],
)
def test_what_cannot_run_in_chunks_is_refused(model, train, message, key):
    frames = jnp.ones((4, 2, 5))
    variables = model.init({"params": key, "dropout": key}, jnp.ones((12, 2, 5)))
    with pytest.raises(ValueError, match=message):
        forward(model, variables, frames, train=train, rngs={"dropout": key}, plan=Chunked(2))


def test_a_norm_is_no_hindrance_in_evaluation():
    model, variables, frames, _ = case("two readouts")
    assert forward(model, variables, frames, plan=Chunked(2)).updates == {}


def test_the_rule_runs_in_chunks_what_is_too_large_to_keep():
    model, variables, frames, _ = case("events, last membrane")
    _, workload = ran(model, variables, frames)
    kept = kept_bytes(workload, batch=2)
    assert kept == 4 * 4 * STEPS * 2 * (9 + 5 + 3)
    assert choose(STEPS, kept).plan == WHOLE
    assert choose(1000, 10**9).plan == Chunked()
    for words in ({"steps": 6, "kept": 10**9}, {"steps": 1000, "kept": 10**9, "chunkable": False}):
        assert choose(**words).plan == WHOLE
    reasons = {
        choose(1000, 10**9).reason,
        choose(6, 10**9).reason,
        choose(1000, 10**9, chunkable=False).reason,
        choose(1000, 1).reason,
    }
    assert len(reasons) == 4


def test_plans_are_read_as_they_are_printed():
    for plan in (WHOLE, Chunked(), Chunked(3)):
        assert read(str(plan)) == plan
    assert read("auto") is None and read("chunked") == Chunked()
    for word in ("chunk", "chunked:", "chunked:0", "chunked:-1", "whole:3"):
        with pytest.raises(ValueError, match="a plan is auto, whole"):
            read(word)
    for steps in (0, -1, 2.5, "2", None, True):
        with pytest.raises(ValueError, match="steps of a chunk to be a whole number"):
            Chunked(steps)
    assert Chunked(2.0) == Chunked(2) and str(Chunked(2.0)) == "chunked:2"
    assert hash(dataclasses.replace(Chunked(3))) == hash(Chunked(3))


def test_events_run_in_chunks_too(key):
    """Lists of events in chunks against the whole window of dense frames."""
    model = MLP((5,), 3, input_kind="events")
    frames = np.asarray(jax.random.bernoulli(key, 0.3, (7, 2, 6)), np.float32)
    variables = jax.jit(model.init)(key, frames)
    outputs, workload = ran(model, variables, jnp.asarray(frames))
    result, counted = run(model, variables, pack(frames), plan=Chunked(3))
    np.testing.assert_allclose(result, outputs, rtol=1e-5)
    for whole, cut in zip(jax.tree.leaves(workload), jax.tree.leaves(counted), strict=True):
        np.testing.assert_allclose(cut, whole, rtol=1e-6)
