"""Readouts: folds over time against sums by hand."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jsnn
from jsnn.neurons import LIF
from jsnn.nn.layers import Spiking
from jsnn.readouts import (
    READOUTS,
    LastMembrane,
    MaxMembrane,
    MeanMembrane,
    PerStep,
    Several,
    SpikeCount,
    SumSoftmax,
    decides_per_step,
)
from jsnn.unroll import Readout


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# What each makes of membranes v and spikes s, [T, B, C], once more in NumPy.
ORACLES = {
    LastMembrane(): lambda v, s: v[-1],
    MeanMembrane(): lambda v, s: v.mean(0),
    MaxMembrane(): lambda v, s: v.max(0),
    SpikeCount(): lambda v, s: s.sum(0),
    PerStep(): lambda v, s: v,
    SumSoftmax(): lambda v, s: softmax(v[11:]).sum(0),
    SumSoftmax(skip=0): lambda v, s: softmax(v[1:]).sum(0),
}


def feed(readout, membranes, spikes, carry=None, start=0, total=None):
    """Push a stretch of time through; gives carry and result."""
    carry = readout.init(membranes.shape[1:], membranes.dtype) if carry is None else carry
    times = start + jnp.arange(len(membranes), dtype=jnp.int32)

    def step(carry, x):
        return readout.update(carry, *x)

    carry, emissions = jax.lax.scan(step, carry, (membranes, spikes, times))
    return carry, readout.finish(carry, emissions, total or start + len(membranes))


@pytest.fixture
def record():
    rng = np.random.default_rng(0)
    membranes = rng.normal(-0.5, 1, (14, 2, 3)).astype(np.float32)
    return membranes, (membranes > 0.2).astype(np.float32)


@pytest.mark.parametrize("readout", ORACLES, ids=repr)
class TestContract:
    def test_equals_numpy(self, readout, record):
        _, result = feed(readout, *map(jnp.asarray, record))
        np.testing.assert_allclose(result, ORACLES[readout](*record), rtol=1e-5, atol=1e-6)

    def test_has_the_axes_it_promises(self, readout, record):
        assert isinstance(readout, Readout)
        _, result = feed(readout, *map(jnp.asarray, record))
        assert result.shape == ((14, 2, 3) if readout.per_step else (2, 3))

    def test_time_can_be_divided_anywhere(self, readout, record):
        membranes, spikes = map(jnp.asarray, record)
        _, whole = feed(readout, membranes, spikes)
        for cut in (1, 5, 13):
            carry, first = feed(readout, membranes[:cut], spikes[:cut])
            _, second = feed(readout, membranes[cut:], spikes[cut:], carry, cut)
            if readout.per_step:
                second = jnp.concatenate([first, second])
            np.testing.assert_allclose(second, whole, rtol=1e-6, atol=1e-7)

    def test_hash_equality_and_dtype(self, readout, record):
        same = dataclasses.replace(readout)
        assert same == readout and hash(same) == hash(readout)
        with jax.enable_x64(True):
            carry, result = feed(readout, *(jnp.asarray(x, jnp.float64) for x in record))
            assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((carry, result)))

    def test_reads_only_what_it_says(self, readout, record):
        membranes, spikes = map(jnp.asarray, record)
        _, result = feed(readout, membranes, spikes)
        _, other_spikes = feed(readout, membranes, 1 - spikes)
        _, other_membranes = feed(readout, membranes + 1.5 * membranes**2, spikes)
        assert np.array_equal(result, other_spikes) != readout.needs_spikes
        assert np.array_equal(result, other_membranes) == readout.needs_spikes

    def test_gradient_is_a_true_derivative(self, readout, record):
        with jax.enable_x64(True):
            membranes, spikes = (jnp.asarray(x, jnp.float64) for x in record)
            check_grads(lambda v, s: feed(readout, v, s)[1], (membranes, spikes), 1, ("rev",))


def test_registry_is_covered():
    assert set(READOUTS.values()) == {type(r) for r in ORACLES}


def test_max_starts_below_every_membrane():
    low = jnp.full((3, 1, 2), -1e30, jnp.float32)
    _, result = feed(MaxMembrane(), low, jnp.zeros_like(low))
    np.testing.assert_array_equal(result, low[0])


def test_several_equal_each_alone(record):
    membranes, spikes = map(jnp.asarray, record)
    parts = (LastMembrane(), SpikeCount(), PerStep())
    several = Several(parts)
    _, results = feed(several, membranes, spikes)
    for part, result in zip(parts, results, strict=True):
        np.testing.assert_array_equal(result, feed(part, membranes, spikes)[1])
    assert several.per_step and several.needs_spikes and several.min_steps == 1
    assert Several((SumSoftmax(skip=3), LastMembrane())).min_steps == 5
    assert not Several((LastMembrane(),)).needs_spikes


@pytest.mark.parametrize("bad", [(), [LastMembrane()]])
def test_several_takes_a_tuple(bad):
    with pytest.raises(ValueError, match="tuple of readouts"):
        Several(bad)


def test_negative_skip_is_refused():
    with pytest.raises(ValueError, match="skip"):
        SumSoftmax(skip=-1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("readout", ORACLES, ids=repr)
def test_sums_over_long_windows_are_those_of_float64(readout, dtype):
    """2,000 steps in two bytes: a sum kept in two bytes stops growing after a few hundred."""
    rng = np.random.default_rng(1)
    membranes = jnp.asarray(rng.uniform(-1, 0, (2000, 2, 3)), dtype)
    spikes = jnp.asarray(rng.random((2000, 2, 3)) < 0.9, dtype)
    _, result = feed(readout, membranes, spikes)
    exact = ORACLES[readout](*(np.asarray(x, np.float64) for x in (membranes, spikes)))
    np.testing.assert_allclose(np.asarray(result, np.float64), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("readout", "decides"),
    [
        (MeanMembrane(), False),
        (PerStep(), True),
        (PerStep(decides=False), False),
        (Several((MeanMembrane(), PerStep())), True),
        (Several((MeanMembrane(), PerStep(decides=False))), False),
        (Several((Several((PerStep(decides=False),)), SpikeCount())), False),
        (Several((Several((PerStep(),)), SpikeCount())), True),
    ],
    ids=repr,
)
def test_a_decision_in_each_step_is_that_of_any_of_several(readout, decides):
    assert decides_per_step(readout) == decides
    layer = Spiking(nn.Dense(2), LIF(), input_kind="events", readout=readout)
    frames = jnp.ones((3, 1, 4))
    _, workload = jsnn.run(layer, layer.init(jax.random.key(0), frames), frames)
    assert workload.per_step == decides
