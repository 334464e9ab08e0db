"""Every plan against the reference: same spikes, same gradients, clear refusals."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.neurons import ALIF, BRF, LI, LIF, PLIF, RF, LIFState
from jsnn.readouts import (
    LastMembrane,
    MaxMembrane,
    MeanMembrane,
    PerStep,
    Several,
    SpikeCount,
    SumSoftmax,
)
from jsnn.surrogate import ATan
from jsnn.unroll import (
    PLANS,
    DenseRecurrence,
    Fused,
    Pallas,
    Parallel,
    Scan,
    choose,
    fold,
    plan,
    start_fold,
    unroll,
)
from tests.plan_cases import AFFINE, EVERY, B, N, T, assert_close, drawn, everything, name_of


@EVERY
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16), alone=st.booleans())
def test_fused_equals_scan(neuron, seed, alone):
    *case, weights, seen = drawn(neuron, seed)
    case = *case, weights * (not alone), seen
    want, (spikes, last) = everything(neuron, Scan(), True, *case)
    got, (same, end) = everything(neuron, Fused(), True, *case)
    np.testing.assert_array_equal(same, spikes)
    assert_close(end, last)
    assert_close(got, want)
    assert all(float(jnp.abs(leaf).sum()) > 0 for leaf in want[2:])
    if neuron.spiking:
        assert 0 < spikes.sum() < spikes.size


@pytest.mark.parametrize(
    ("neuron", "dtype"),
    [(n, np.float32) for n in AFFINE if type(n) is not PLIF] + [(RF(), np.float64)],
    ids=lambda x: x.__name__ if isinstance(x, type) else name_of(x),
)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16))
def test_parallel_equals_scan(neuron, dtype, seed):
    """Spikes may differ only where the membrane is within rounding of its threshold."""
    with jax.enable_x64(dtype is np.float64):
        near, rtol = (1e-5, 1e-5) if dtype is np.float32 else (1e-12, 1e-12)
        case = drawn(neuron, seed, dtype)
        want, (spikes, last) = everything(neuron, Scan(), False, *case)
        got, (same, end) = everything(neuron, Parallel(), False, *case)
        assert spikes.dtype == dtype
        assert_close(end, last, rtol)
        if neuron.spiking:
            params, state, currents, *_ = case
            membrane = []
            step = jax.jit(neuron.step)
            for current in currents:
                state, _ = step(params, state, current)
                membrane.append(neuron.potential(state))
            threshold = params.get("v_threshold", getattr(neuron, "v_threshold", None))
            far = np.abs(np.asarray(jnp.stack(membrane) - threshold)) > near
            assert far.mean() > 0.9
            np.testing.assert_array_equal(np.asarray(same)[far], np.asarray(spikes)[far])
        else:
            assert_close(same, spikes, rtol)
        if not neuron.spiking or (same == spikes).all():
            assert_close(got, want, rtol)


READOUT = Several(
    (LastMembrane(), MeanMembrane(), MaxMembrane(), PerStep(), SumSoftmax(skip=4), SpikeCount())
)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def folded(neuron, way, recurrent, params, state, currents, weights, seen):
    def loss(params, state, currents, weights):
        start = start_fold(neuron, params, READOUT, (B, N))._replace(neuron=state, spikes=seen[0])
        feedback = DenseRecurrence(weights) if recurrent else None
        end, out = fold(neuron, params, currents, READOUT, start, plan=way, recurrent=feedback)
        weighed = [(x * seen[: len(x), :, :] if x.ndim == 3 else x * seen[1]).sum() for x in out]
        return sum(weighed) + (end.spikes * seen[2]).sum() + end.neuron[0].sum(), (end, out)

    return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(params, state, currents, weights)


@pytest.mark.parametrize(
    ("neuron", "way", "recurrent"),
    [
        (ALIF(v_threshold=0.3), Fused(), True),
        (LIF(), Fused(), False),
        (LIF(), Pallas(block=4), False),
        (LIF(reset="none"), Parallel(), False),
    ],
    ids=lambda x: type(x).__name__,
)
def test_fold_equals_the_reference(neuron, way, recurrent):
    case = drawn(neuron, 3)
    want, (end, out) = folded(neuron, Scan(), recurrent, *case)
    got, (last, same) = folded(neuron, way, recurrent, *case)
    assert_close(same, out)
    assert_close(last, end)
    assert_close(got, want)
    assert (out[-1] > 0).any()


def test_images_and_shared_parameters():
    """A parameter of one channel for all places, one for all channels; 4 x 4 images."""
    neuron = LIF(reset="none")
    params = {"tau_mem": jnp.full(3, 9e-3), "v_threshold": jnp.ones(1), "r": jnp.ones((4, 1, 3))}
    currents = jax.random.normal(jax.random.key(0), (4, 2, 4, 4, 3))

    @functools.partial(jax.jit, static_argnums=2)
    @functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
    def run(params, currents, plan):
        state, spikes = unroll(neuron, params, currents, plan=plan)
        return (spikes * jnp.sin(currents)).sum() + state.v.sum(), spikes

    want = run(params, currents, "scan")
    for way in PLANS:
        assert_close(run(params, currents, way), want)


@pytest.mark.quick
class TestRecurrentWeights:
    def test_function_and_matrix_give_the_same(self):
        neuron = ALIF(v_threshold=0.3)
        params, _, currents, weights, seen = drawn(neuron, 0)

        def loss(weights, feedback, way):
            back = feedback(weights)
            return (unroll(neuron, params, currents, recurrent=back, plan=way)[1] * seen).sum()

        grad = jax.jit(jax.grad(loss), static_argnums=(1, 2))
        by_function = grad(weights, lambda w: lambda s: s @ w, None)
        assert_close(grad(weights, DenseRecurrence, "fused"), by_function)

    def test_gradient_is_one_product_outside_the_loop(self):
        """The reverse loop holds one product, the spikes' gradient, and hands on no [N, N]."""
        neuron = LIF()
        params, _, currents, weights, _ = drawn(neuron, 0)

        def loss(weights):
            back = DenseRecurrence(weights)
            return unroll(neuron, params, currents, recurrent=back, plan="fused")[1].sum()

        loops = [e for e in equations(jax.make_jaxpr(jax.grad(loss))(weights)) if is_loop(e)]
        assert len(loops) == 2
        backward = loops[-1].params["jaxpr"].jaxpr
        assert (N, N) not in {v.aval.shape for v in backward.outvars}
        assert sum(e.primitive.name == "dot_general" for e in equations(backward)) == 1


def equations(jaxpr):
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        if equation.primitive.name in ("jit", "pjit"):
            yield from equations(equation.params["jaxpr"])


def is_loop(equation):
    return equation.primitive.name == "scan"


@pytest.mark.parametrize("readout", [None, MeanMembrane()], ids=str)
def test_fused_keeps_less(readout):
    """Temporaries of value and gradient, in arrays of [T, B, N]."""
    steps, batch, width = 200, 8, 64
    params = LIF().init_params(jax.random.key(0), (width,))
    currents = jnp.ones((steps, batch, width))

    def temporaries(way):
        def loss(params, currents):
            if readout is None:
                return unroll(LIF(), params, currents, plan=way)[1].sum()
            return fold(LIF(), params, currents, readout, plan=way)[1].sum()

        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(params, currents).compile()
        return compiled.memory_analysis().temp_size_in_bytes / currents.nbytes

    assert temporaries("fused") < 1.3 < temporaries("scan")


@dataclasses.dataclass(frozen=True)
class Counting:
    """A membrane with a counter that has no gradient: fires every third step where driven."""

    spiking: ClassVar[bool] = True

    def init_params(self, key, shape, dtype=jnp.float32):
        return {"gain": jnp.ones(shape, dtype)}

    def init_state(self, params, shape, key=None):
        return jnp.zeros(shape), jnp.zeros((), jnp.int32)

    def step(self, params, state, current):
        v, n = state
        v = 0.9 * v + params["gain"] * current * (n % 3 == 0)
        spikes = ATan()(v - 1.0)
        return (v - spikes, n + 1), spikes

    def potential(self, state):
        return state[0]


@dataclasses.dataclass(frozen=True)
class FirstSpike:
    """Step of the first spike, and the sum of the membrane; the step has no gradient."""

    per_step: ClassVar[bool] = False
    needs_spikes: ClassVar[bool] = True
    min_steps: ClassVar[int] = 1

    def init(self, shape, dtype=jnp.float32):
        return jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, dtype)

    def update(self, carry, potential, spikes, t):
        first, total = carry
        first = jnp.where((first < 0) & (spikes > 0), t, first)
        return (first, total + potential * (first < 0)), (spikes > 0, potential)

    def finish(self, carry, emissions, steps):
        return *carry, *emissions


def test_integers_pass_through_fused():
    currents = jax.random.normal(jax.random.key(0), (T, B, N)) + 1
    params = Counting().init_params(None, (N,))

    def loss(params, currents, way):
        state, (first, total, _, v) = fold(Counting(), params, currents, FirstSpike(), plan=way)
        return (total**2).sum() + (v**3).sum() + state.neuron[0].sum(), first

    grad = jax.jit(jax.grad(loss, (0, 1), has_aux=True), static_argnums=2)
    want, first = grad(params, currents, "scan")
    got, same = grad(params, currents, "fused")
    np.testing.assert_array_equal(same, first)
    assert (first > 0).any()
    assert_close(got, want)


def test_fused_maps_and_differentiates_twice():
    """vmap over populations and a Hessian-vector product by reverse over reverse."""
    neuron = LIF()
    params, _, currents, _, seen = drawn(neuron, 1)

    def loss(currents, way):
        return (unroll(neuron, params, currents, plan=way)[1] * seen).sum()

    def curvature(currents, way):
        return (jax.grad(loss)(currents, way) * seen).sum()

    @functools.partial(jax.jit, static_argnums=1)
    def both(currents, way):
        return [jax.vmap(jax.grad(f), (0, None))(currents, way) for f in (loss, curvature)]

    pair = jnp.stack([currents, 2 * currents])
    assert_close(both(pair, Fused()), both(pair, Scan()))


@dataclasses.dataclass(frozen=True)
class Shouting(LIF):
    """Every neuron hears the mean of the population's membranes."""

    def step(self, params, state, current):
        return super().step(params, LIFState(state.v.mean(-1, keepdims=True) + state.v), current)


@pytest.mark.parametrize(
    ("neuron", "way", "recurrent", "word"),
    [
        (LIF(), "parallel", None, "not affine in its state"),
        (BRF(), "parallel", None, "not affine in its state"),
        (ALIF(), Parallel(), None, "not affine in its state"),
        (Shouting(reset="none"), "parallel", None, "not affine in its state"),
        (RF(), "parallel", DenseRecurrence(jnp.eye(N)), "recurrence each step waits"),
        (LIF(), "pallas", DenseRecurrence(jnp.eye(N)), "recurrence mixes neurons"),
        (Shouting(), "pallas", None, "not elementwise"),
        (LIF(), "fused", lambda s: s, "pass DenseRecurrence"),
        (LIF(), "fast", None, "no plan is called 'fast'; there are: scan, fused"),
        (LIF(), 3, None, "plan must be one of scan, fused"),
    ],
)
def test_refusals_say_why(neuron, way, recurrent, word):
    params, _, currents, *_ = drawn(LIF(), 0)
    if not isinstance(neuron, LIF):
        params = neuron.init_params(jax.random.key(0), (N,))
    with pytest.raises(ValueError, match=word):
        unroll(neuron, params, currents, plan=way, recurrent=recurrent)
    readout = LastMembrane()
    with pytest.raises(ValueError, match=word):
        fold(neuron, params, currents, readout, plan=way, recurrent=recurrent)


@pytest.mark.parametrize(
    ("arguments", "chosen", "reason"),
    [
        ((LIF(), None, 100, "cpu"), Fused(), "less to keep"),
        ((ALIF(), DenseRecurrence(jnp.eye(2)), 100, "cpu"), Fused(), "less to keep"),
        ((ALIF(), lambda s: s, 100, "cpu"), Scan(), "pass DenseRecurrence"),
        ((LI(), None, 100, "cpu"), Scan(), "without spikes"),
        ((LIF(), None, 1, "cpu"), Scan(), "one step"),
        ((LIF(), None, 100, "gpu"), Scan(), "no other plan was measured on a gpu"),
    ],
)
def test_the_rule(arguments, chosen, reason):
    choice = choose(*arguments)
    assert choice.plan == chosen and reason in str(choice) and str(chosen) in str(choice)


def test_plans_by_name():
    assert [plan(name) for name in PLANS] == [Scan(), Fused(), Parallel(), Pallas()]
    assert len({plan(name) for name in PLANS}) == len(PLANS)
