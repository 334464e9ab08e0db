"""Neuron models: the contract of all of them, and each against its equations in NumPy."""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jsnn import neurons as nn
from jsnn.neurons import (
    ALIF,
    BRF,
    IF,
    LI,
    LIF,
    NEURONS,
    PLIF,
    RF,
    AdLIF,
    CuBaLIF,
    Fixed,
    Normal,
    Uniform,
)
from jsnn.neurons.brf import divergence_boundary
from jsnn.surrogate import ATan, Boxcar, Custom, DoubleGaussian, MultiGaussian, Surrogate


class EchoState(NamedTuple):
    v: jax.Array


@dataclasses.dataclass(frozen=True)
class Echo:
    """A user's neuron in its few lines: fires wherever the current alone is above a threshold."""

    v_threshold: float = 1.0
    surrogate: Surrogate = ATan()  # noqa: RUF009
    spiking = True
    ops = nn.NeuronOps(0, 0, 0, 1, 0)

    def init_params(self, key, shape, dtype=jnp.float32):
        return {"v_threshold": jnp.full(shape, self.v_threshold, dtype)}

    def init_state(self, params, shape, key=None):
        return EchoState(jnp.zeros(shape, params["v_threshold"].dtype))

    def step(self, params, state, current):
        return EchoState(current), self.surrogate(current - params["v_threshold"])

    def potential(self, state):
        return state.v


EVERY = [make() for make in NEURONS.values()] + [
    Echo(),
    LIF(tau_mem=Normal(20e-3, 5e-3), scale_input=True, reset="zero", v_reset=-0.2, v_leak=-0.1),
    LIF(reset="none", strict=True, detach_reset=True),
    CuBaLIF(reset="zero", v_leak=0.1),
    ALIF(beta=0.0, detach_reset=True),
    AdLIF(detach_reset=True),
    PLIF(tau_mem=Uniform(2e-3, 9e-3), reset="subtract", v_leak=0.1),
    LI(v_leak=0.3, scale_input=False),
    IF(start=0.5),
    Fixed(LIF(reset="zero", v_reset=-0.2, scale_input=True, r=30.0), 18, 2.0**-15, 7),
    Fixed(IF(start=0.5), 18, 2.0**-15, 7),
    Fixed(LI(r=30.0), 18, 2.0**-15, 7),
]


def run(neuron, params, state, currents):
    """Plain Python loop over time."""
    trace = []
    for current in currents:
        state, spikes = neuron.step(params, state, current)
        trace.append(spikes)
    return state, jnp.stack(trace)


def drive(shape, dtype=np.float32, seed=0, scale=1.5):
    """Currents that make every neuron of the table fire now and then."""
    return np.random.default_rng(seed).normal(0.3, scale, shape).astype(dtype)


@pytest.mark.parametrize("neuron", EVERY, ids=repr)
class TestContract:
    shape = (2, 3)

    def start(self, neuron, dtype=jnp.float32, key=None):
        params = neuron.init_params(jax.random.key(0), self.shape[1:], dtype)
        return params, neuron.init_state(params, self.shape, key)

    def test_fits_the_protocol(self, neuron):
        assert isinstance(neuron, nn.Neuron)
        assert isinstance(neuron.ops, nn.NeuronOps) and all(n >= 0 for n in neuron.ops)
        assert neuron.ops.compares == int(neuron.spiking)

    def test_hash_and_equality(self, neuron):
        same = dataclasses.replace(neuron)
        assert same == neuron and hash(same) == hash(neuron)

    def test_one_compile_for_equal_neurons(self, neuron):
        params, state = self.start(neuron)
        traced = []

        def step(neuron, params, state, current):
            traced.append(None)
            return neuron.step(params, state, current)

        step = jax.jit(step, static_argnums=0)
        state, _ = step(neuron, params, state, jnp.ones(self.shape, jnp.float32))
        step(dataclasses.replace(neuron), params, state, jnp.ones(self.shape, jnp.float32))
        assert len(traced) == 1  # a weak type in params or state would compile again

    def test_shapes_and_state_words(self, neuron):
        params, state = self.start(neuron)
        assert all(leaf.shape == self.shape[1:] for leaf in params.values())
        assert all(leaf.shape == self.shape for leaf in state)
        state, spikes = neuron.step(params, state, jnp.asarray(drive(self.shape)))
        assert spikes.shape == neuron.potential(state).shape == self.shape
        remembered = {n for n in state._fields if n != "spikes"}
        if isinstance(neuron, ALIF) and neuron.beta == 0:
            remembered -= {"adaptation"}  # nothing reads it, so hardware need not keep it
        if not isinstance(neuron, Echo):
            assert len(remembered) == neuron.ops.state_words

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
    def test_dtype_follows(self, neuron, dtype):
        with jax.enable_x64(True):
            params, state = self.start(neuron, dtype, jax.random.key(1))
            current = jnp.asarray(drive(self.shape), dtype)
            after, spikes = neuron.step(params, state, current)
            for leaf in jax.tree.leaves((params, state, after, spikes)):
                assert leaf.dtype == dtype

    def test_loop_scan_jit_and_vmap_agree(self, neuron):
        params, state = self.start(neuron)
        currents = jnp.asarray(drive((6, *self.shape)))
        loop_state, loop = run(neuron, params, state, currents)

        def scan(params, state, currents):
            return jax.lax.scan(lambda s, c: neuron.step(params, s, c), state, currents)

        scan_state, scanned = jax.jit(scan)(params, state, currents)
        assert jax.tree.structure(scan_state) == jax.tree.structure(state)
        np.testing.assert_allclose(scanned, loop, rtol=1e-5, atol=1e-6)
        for got, want in zip(scan_state, loop_state, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        mapped = jax.vmap(scan, in_axes=(None, 0, 1), out_axes=(0, 1))(params, state, currents)
        np.testing.assert_allclose(mapped[1], loop, rtol=1e-5, atol=1e-6)

    def test_samples_do_not_see_each_other(self, neuron):
        params, state = self.start(neuron)
        currents = jnp.asarray(drive((5, *self.shape)))
        _, both = run(neuron, params, state, currents)
        alone = neuron.init_state(params, (1, self.shape[1]))
        _, first = run(neuron, params, alone, currents[:, :1])
        np.testing.assert_allclose(first, both[:, :1], rtol=1e-6, atol=1e-7)

    def test_params_broadcast_over_images(self, neuron):
        params = neuron.init_params(jax.random.key(0), (3,))
        state = neuron.init_state(params, (2, 4, 5, 3))
        current = jnp.asarray(drive((2, 4, 5, 3)))
        image, spikes = neuron.step(params, state, current)
        flat = neuron.init_state(params, (40, 3))
        _, flat_spikes = neuron.step(params, flat, current.reshape(40, 3))
        np.testing.assert_array_equal(spikes.reshape(40, 3), flat_spikes)
        assert neuron.potential(image).shape == (2, 4, 5, 3)

    def test_spikes_are_zero_or_one_and_occur(self, neuron):
        params, state = self.start(neuron)
        _, spikes = run(neuron, params, state, jnp.asarray(drive((60, *self.shape), scale=40.0)))
        if neuron.spiking:
            assert set(np.unique(spikes)) == {0.0, 1.0}

    def test_gradients_are_finite_and_reach_the_leaves(self, neuron):
        params, state = self.start(neuron)
        currents = jnp.asarray(drive((12, *self.shape), scale=5.0))

        def loss(params, currents):
            _, spikes = jax.lax.scan(lambda s, c: neuron.step(params, s, c), state, currents)
            return (spikes * jnp.arange(1.0, 13.0)[:, None, None]).sum()

        by_params, by_currents = jax.jit(jax.grad(loss, (0, 1)))(params, currents)
        for leaf in jax.tree.leaves((by_params, by_currents)):
            assert np.isfinite(leaf).all()
        assert np.abs(by_currents).sum() > 0
        # Without adaptation its time constant has nothing to act on.
        idle = {"tau_adp"} if isinstance(neuron, ALIF) and neuron.beta == 0 else set()
        for name, leaf in by_params.items():
            assert (np.abs(leaf).sum() > 0) == (name not in idle), name

    def test_leaves_of_a_billion_and_a_billionth_have_finite_gradients(self, neuron):
        params, state = self.start(neuron)
        currents = jnp.asarray(drive((5, *self.shape)))
        for value in (1e-9, 1e9):
            pushed = {n: jnp.full_like(v, value) for n, v in params.items()}
            if isinstance(neuron, BRF | RF | AdLIF) and value == 1e9:
                continue  # a growing oscillation or adaptation overflows, as it must

            def loss(params):
                return run(neuron, params, state, currents)[1].sum()

            leaves = jax.tree.leaves(jax.grad(loss)(pushed))
            assert all(np.isfinite(leaf).all() for leaf in leaves)

    def test_a_key_draws_a_membrane(self, neuron):
        if isinstance(neuron, Echo):
            pytest.skip("the example neuron starts at rest")
        params, rest = self.start(neuron)
        _, drawn = self.start(neuron, key=jax.random.key(1))
        _, again = self.start(neuron, key=jax.random.key(1))
        v = neuron.potential(drawn)
        assert len(np.unique(v)) == v.size
        np.testing.assert_array_equal(v, neuron.potential(again))
        assert not np.array_equal(v, neuron.potential(rest))
        inner = getattr(neuron, "neuron", neuron)
        if not isinstance(inner, IF):  # IF may start above 0 by its own setting
            assert (v >= neuron.potential(rest)).all()
        low = jnp.inf if not neuron.spiking else params.get("v_threshold", 1.0)
        assert (v < low).all()


# --- the neuron models, once more, as NumPy loops in float64 ---------------------------------


def fire_and_reset(n, p, v):
    theta = p["v_threshold"]
    s = v > theta if n.strict else v >= theta
    match n.reset:
        case "subtract":
            v = v - s * theta
        case "zero":
            v = np.where(s, n.v_reset, v)
    return s, v


def numpy_lif(n, p, I):
    a = np.exp(-n.dt / p["tau_mem"])
    g = (1 - a) * p["r"] if n.scale_input else p["r"]
    v, out = np.full(I.shape[1:], n.v_leak), []
    for x in I:
        s, v = fire_and_reset(n, p, n.v_leak + a * (v - n.v_leak) + g * x)
        out.append((s, v))
    return out


def numpy_if(n, p, I):
    v, out = n.start * p["v_threshold"] * np.ones(I.shape[1:]), []
    for x in I:
        s, v = fire_and_reset(n, p, v + p["r"] * x)
        out.append((s, v))
    return out


def numpy_cubalif(n, p, I):
    a, c = np.exp(-n.dt / p["tau_mem"]), np.exp(-n.dt / p["tau_syn"])
    g = (1 - a) * p["r"] if n.scale_input else p["r"]
    v, i, out = np.full(I.shape[1:], n.v_leak), np.zeros(I.shape[1:]), []
    for x in I:
        i = c * i + x
        s, v = fire_and_reset(n, p, n.v_leak + a * (v - n.v_leak) + g * i)
        out.append((s, v))
    return out


def numpy_li(n, p, I):
    a, v, out = np.exp(-n.dt / p["tau_mem"]), np.full(I.shape[1:], n.v_leak), []
    g = (1 - a) * p["r"] if n.scale_input else p["r"]
    for x in I:
        v = n.v_leak + a * (v - n.v_leak) + g * x
        out.append((v, v))
    return out


def numpy_alif(n, p, I):
    al, rho = np.exp(-n.dt / p["tau_mem"]), np.exp(-n.dt / p["tau_adp"])
    u, s, b = np.zeros(I.shape[1:]), np.zeros(I.shape[1:]), p["v_threshold"]
    out = []
    for x in I:
        b = rho * b + (1 - rho) * s
        B = p["v_threshold"] + n.beta * b
        u = al * u + (1 - al) * x - B * s
        s = 1.0 * (u > B)
        out.append((s, u))
    return out


def numpy_adlif(n, p, I):
    al, be = np.exp(-n.dt / p["tau_mem"]), np.exp(-n.dt / p["tau_adp"])
    u, w, s, out = *np.zeros((3, *I.shape[1:])), []
    for x in I:
        w = be * w + p["a"] * u + p["b"] * s
        u = al * (u - s * p["v_threshold"]) + (1 - al) * (x - w)
        s = 1.0 * (u > p["v_threshold"])
        out.append((s, u))
    return out


def numpy_plif(n, p, I):
    v, out = np.full(I.shape[1:], n.v_leak), []
    for x in I:
        s, v = fire_and_reset(n, p, v + (x - (v - n.v_leak)) / (1 + np.exp(-p["w"])))
        out.append((s, v))
    return out


def numpy_brf(n, p, I):
    u, v, q, out = *np.zeros((3, *I.shape[1:])), []
    w, dt = p["omega"], n.dt
    for x in I:
        b = -p["b_offset"]
        if isinstance(n, BRF):
            b = (-1 + np.sqrt(1 - (dt * w) ** 2)) / dt - p["b_offset"] - q
        u, v = u + dt * (b * u - w * v + x), v + dt * (w * u + b * v)
        z = 1.0 * (u - n.v_threshold - q > 0)
        q = n.gamma * q + z if isinstance(n, BRF) else q
        out.append((z, u))
    return out


ODD = {"v_leak": -0.1, "v_reset": -0.2, "reset": "zero", "strict": True}
ORACLES = [
    (LIF(), numpy_lif, 0.5),
    (LIF(scale_input=True, tau_mem=Uniform(2e-3, 9e-3), r=2.5), numpy_lif, 2.0),
    (LIF(**ODD), numpy_lif, 0.5),
    (LIF(reset="none"), numpy_lif, 0.5),
    (IF(start=0.5, r=2.0), numpy_if, 0.5),
    (IF(reset="zero", v_reset=0.25, v_threshold=Uniform(0.5, 1.0)), numpy_if, 0.5),
    (CuBaLIF(), numpy_cubalif, 0.5),
    (CuBaLIF(scale_input=True, tau_syn=Uniform(2e-3, 9e-3), r=0.5, **ODD), numpy_cubalif, 5.0),
    (LI(r=3.0), numpy_li, 1.0),
    (LI(v_leak=0.3, scale_input=False), numpy_li, 1.0),
    (ALIF(tau_mem=Normal(20e-3, 5e-3), tau_adp=Normal(150e-3, 10e-3)), numpy_alif, 1.0),
    (ALIF(v_threshold=Uniform(1.0, 1.6), beta=0.184), numpy_alif, 30.0),
    (AdLIF(), numpy_adlif, 20.0),
    (AdLIF(v_threshold=0.5), numpy_adlif, 20.0),
    (PLIF(tau_mem=Uniform(2e-3, 4e-3)), numpy_plif, 2.0),
    (PLIF(**ODD), numpy_plif, 2.0),
    (PLIF(reset="subtract"), numpy_plif, 2.0),
    (BRF(), numpy_brf, 60.0),
    (BRF(v_threshold=0.5, gamma=0.7), numpy_brf, 60.0),
    (RF(), numpy_brf, 60.0),
]


def short(value):
    return getattr(value, "__name__", str(value)[:40])


@pytest.mark.quick
@pytest.mark.parametrize(("neuron", "oracle", "scale"), ORACLES, ids=short)
def test_dynamics_equal_a_numpy_loop(neuron, oracle, scale):
    with jax.enable_x64(True):
        params = neuron.init_params(jax.random.key(3), (4,), jnp.float64)
        state = neuron.init_state(params, (2, 4))
        currents = drive((40, 2, 4), np.float64, seed=4, scale=scale)
        expected = oracle(neuron, {k: np.asarray(v) for k, v in params.items()}, currents)
        fired = 0
        for current, (spikes, membrane) in zip(currents, expected, strict=True):
            state, got = neuron.step(params, state, jnp.asarray(current))
            np.testing.assert_allclose(got, spikes, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(neuron.potential(state), membrane, rtol=1e-10, atol=1e-12)
            fired += float(np.sum(spikes))
    assert 0 < fired if not neuron.spiking else 5 < fired < 0.9 * currents.size


def test_every_neuron_has_an_oracle():
    assert {type(n) for n, _, _ in ORACLES} == set(NEURONS.values())


def test_golden_trace_of_the_adaptive_neuron():
    """Seven steps of the published code at I = 0.5 (methods of 2103.12593), as (u, s, B)."""
    golden = [
        (0.024385, 0, 0.027880),
        (0.047581, 1, 0.027762),
        (0.030042, 0, 0.039604),
        (0.052962, 1, 0.039407),
        (0.023593, 0, 0.051172),
        (0.046828, 0, 0.050898),
        (0.068929, 1, 0.050626),
    ]
    # Two ways to say the same: milliseconds in seconds, and steps of 1.
    for neuron in (ALIF(), ALIF(tau_mem=20.0, tau_adp=150.0, dt=1.0)):
        params = neuron.init_params(jax.random.key(0), (1,))
        state = neuron.init_state(params, (1, 1))
        for u, s, threshold in golden:
            state, spikes = neuron.step(params, state, jnp.full((1, 1), 0.5, jnp.float32))
            assert float(state.v[0, 0]) == pytest.approx(u, abs=1e-6)
            assert float(spikes[0, 0]) == s
            assert float(0.01 + 1.8 * state.adaptation[0, 0]) == pytest.approx(threshold, abs=1e-6)


def test_leak_is_exact():
    neuron = LIF(tau_mem=10e-3, v_leak=0.2)
    params = neuron.init_params(jax.random.key(0), (1,))
    state = nn.LIFState(jnp.full((1, 1), 0.9, jnp.float32))
    for _ in range(10):
        state, _ = neuron.step(params, state, jnp.zeros((1, 1), jnp.float32))
    assert float(state.v[0, 0]) == pytest.approx(0.2 + 0.7 * math.exp(-1), rel=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def _spikes_of(neuron, params, currents):
    state = neuron.init_state(params, (1, 1))
    return jax.lax.scan(lambda s, c: neuron.step(params, s, c), state, currents)[1]


def constant_drive(neuron, current, tau=None):
    """0/1 of one neuron over 400 steps of the same current."""
    params = neuron.init_params(jax.random.key(0), (1,))
    if tau is not None:
        params["tau_mem"] = jnp.full((1,), tau, jnp.float32)
    currents = jnp.full((400, 1, 1), current, jnp.float32)
    return np.asarray(_spikes_of(neuron, params, currents))[:, 0, 0]


@settings(max_examples=25, deadline=None)
@given(st.floats(1.05, 6.0), st.floats(5e-3, 50e-3))
def test_lif_interspike_interval_has_its_closed_form(current, tau):
    """From reset to zero, `v_n = I (1 − aⁿ)`, so the interval is `⌈ln(1 − 1/I)/ln a⌉` steps."""
    exact = math.log(1 - 1 / current) / (-1e-3 / tau)
    if abs(exact - round(exact)) < 1e-2:
        return  # on the border float32 may go either way
    when = np.flatnonzero(constant_drive(LIF(scale_input=True, reset="zero"), current, tau))
    if math.ceil(exact) <= 400:
        assert set(np.diff(when, prepend=-1)) == {math.ceil(exact)}
    else:
        assert when.size == 0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(1, 64))
def test_if_counts_like_a_quantiser(current, steps):
    """From half a threshold, `floor(T·I + 1/2)` spikes: the activation of a quantised network."""
    if abs((steps * current + 0.5) % 1) < 1e-3 or abs((steps * current + 0.5) % 1) > 1 - 1e-3:
        return
    spikes = constant_drive(IF(start=0.5), current)[:steps]
    assert int(spikes.sum()) == min(math.floor(steps * current + 0.5), steps)


def test_a_spike_answers_the_current_of_its_own_step():
    for neuron in (LIF(), IF(), CuBaLIF(), PLIF(), ALIF(), AdLIF(), BRF(), RF()):
        params = neuron.init_params(jax.random.key(0), (1,))
        state = neuron.init_state(params, (1, 1))
        _, spikes = neuron.step(params, state, jnp.full((1, 1), 1e3, jnp.float32))
        assert float(spikes[0, 0]) == 1.0, neuron


def test_strict_decides_at_the_threshold_itself():
    for strict, expected in ((False, 1.0), (True, 0.0)):
        neuron = IF(strict=strict)
        params = neuron.init_params(jax.random.key(0), (1,))
        _, spikes = neuron.step(params, neuron.init_state(params, (1, 1)), jnp.ones((1, 1)))
        assert float(spikes[0, 0]) == expected


@pytest.mark.parametrize("make", [LIF, ALIF, AdLIF, CuBaLIF, PLIF, IF])
def test_detached_reset_changes_the_gradient_and_nothing_else(make):
    currents = jnp.asarray(drive((10, 2, 3), scale=30.0 if make is AdLIF else 3.0))

    def grad_and_value(detach):
        neuron = make(detach_reset=detach, surrogate=ATan())
        params = neuron.init_params(jax.random.key(0), (3,))
        state = neuron.init_state(params, (2, 3))

        def loss(currents):
            _, spikes = jax.lax.scan(lambda s, c: neuron.step(params, s, c), state, currents)
            return spikes.sum(), spikes

        return jax.grad(loss, has_aux=True)(currents)

    (attached, spikes), (detached, same) = grad_and_value(False), grad_and_value(True)
    np.testing.assert_array_equal(spikes, same)
    assert spikes.sum() > 2
    assert not np.allclose(attached, detached)
    np.testing.assert_allclose(attached[-1], detached[-1], rtol=1e-6)  # no reset after the last


def test_true_derivatives_below_the_threshold():
    """Without a spike and its surrogate the membrane is smooth in leaves and currents."""
    # Time in steps: finite differences need leaves that are not tiny beside their increment.
    steps = {"tau_mem": 20.0, "dt": 1.0}
    still = {"surrogate": Custom(jnp.zeros_like)}
    smooth = (
        LI(**steps),
        IF(**still),
        LIF(scale_input=True, v_leak=0.1, **steps, **still),
        CuBaLIF(tau_syn=5.0, **steps, **still),
        PLIF(**still),
        ALIF(tau_adp=100.0, v_threshold=9.0, **steps, **still),
        AdLIF(tau_adp=100.0, **steps, **still),
        RF(**still),
        BRF(**still),
    )
    with jax.enable_x64(True):
        for neuron in smooth:
            params = neuron.init_params(jax.random.key(0), (2,), jnp.float64)
            state = neuron.init_state(params, (1, 2))
            currents = jnp.asarray(drive((4, 1, 2), np.float64, scale=0.1))

            def membrane(params, currents):
                scan = jax.lax.scan(lambda s, c: neuron.step(params, s, c), state, currents)  # noqa: B023
                return neuron.potential(scan[0])  # noqa: B023

            check_grads(jax.jit(membrane), (params, currents), 1, ("rev",), rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: LIF(tau_mem=0.0), "LIF.tau_mem must be positive"),
        (lambda: LIF(tau_mem=-1e-3), "positive"),
        (lambda: LIF(tau_mem=Uniform(-1e-3, 1e-3)), "positive"),
        (lambda: LIF(tau_mem=Normal(0.0, 1e-3)), "positive"),
        (lambda: LIF(tau_mem=float("nan")), "finite"),
        (lambda: LIF(tau_mem=np.ones(3)), "arrays belong in params"),
        (lambda: LIF(v_threshold=-1.0), "v_threshold"),
        (lambda: LIF(dt=0.0), "dt"),
        (lambda: LIF(reset="hard"), "subtract, zero, none"),
        (lambda: IF(reset="hard"), "subtract, zero, none"),
        (lambda: IF(start=float("inf")), "start"),
        (lambda: CuBaLIF(tau_syn=0.0), "tau_syn"),
        (lambda: LI(dt=-1.0), "dt"),
        (lambda: ALIF(beta=-1.0), "beta"),
        (lambda: ALIF(tau_adp=0.0), "tau_adp"),
        (lambda: AdLIF(tau_adp=0.0), "tau_adp"),
        (lambda: PLIF(tau_mem=1e-3), "above dt"),
        (lambda: BRF(omega=-1.0), "omega"),
        (lambda: BRF(omega=200.0), "dt \\* omega"),
        (lambda: BRF(gamma=1.0), "gamma"),
        (lambda: RF(v_threshold=0.0), "v_threshold"),
        (lambda: Normal(0.0, -1.0), "std"),
        (lambda: Uniform(2.0, 1.0), "low <= high"),
        (lambda: nn.reset_membrane(jnp.ones(1), jnp.ones(1), 1.0, reset="soft"), "unknown reset"),
    ],
)
def test_bad_settings_are_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


def test_published_defaults():
    assert ALIF().surrogate == MultiGaussian() and ALIF().strict
    assert BRF().surrogate == RF().surrogate == DoubleGaussian() and BRF().dt == 0.01
    assert AdLIF().surrogate == Boxcar()
    params = ALIF(v_threshold=0.25).init_params(jax.random.key(0), (2,))
    state = ALIF(v_threshold=0.25).init_state(params, (1, 2))
    np.testing.assert_array_equal(state.adaptation, [[0.25, 0.25]])


def test_plif_starts_at_its_time_constant():
    params = PLIF(tau_mem=5e-3).init_params(jax.random.key(0), (1,))
    assert 1e-3 / float(jax.nn.sigmoid(params["w"][0])) == pytest.approx(5e-3, rel=1e-5)


def test_distributions_have_their_moments():
    """4 standard errors at 20 000 draws."""
    n = 20_000
    params = ALIF(tau_mem=Normal(20e-3, 5e-3), tau_adp=Uniform(0.1, 0.2)).init_params(
        jax.random.key(0), (n,)
    )
    assert float(params["tau_mem"].mean()) == pytest.approx(20e-3, abs=4 * 5e-3 / n**0.5)
    assert float(params["tau_mem"].std()) == pytest.approx(5e-3, abs=4 * 5e-3 / (2 * n) ** 0.5)
    assert 0.1 <= params["tau_adp"].min() and params["tau_adp"].max() < 0.2
    assert abs(np.corrcoef(params["tau_mem"], params["tau_adp"])[0, 1]) < 4 / n**0.5


def test_wide_normal_never_starts_below_zero():
    params = LIF(tau_mem=Normal(1e-3, 1e-2)).init_params(jax.random.key(0), (1000,))
    assert (params["tau_mem"] > 0).all()


def test_guards_change_no_legal_value():
    with jax.enable_x64(True):
        tau = jnp.asarray([1e-9, 1e-6, 2e-6, 1e-4, 1e-3, 1.0, 1e6], jnp.float64)
        np.testing.assert_allclose(nn.decay(tau, 1e-3), np.exp(-1e-3 / np.asarray(tau)), 1e-14)
        omega = jnp.asarray([0.0, 1.0, 50.0, 99.0, 99.9999], jnp.float64)
        exact = (-1 + np.sqrt(1 - (0.01 * np.asarray(omega)) ** 2)) / 0.01
        np.testing.assert_allclose(divergence_boundary(omega, 0.01), exact, rtol=1e-9, atol=1e-12)


def test_balanced_oscillation_does_not_grow():
    """At the divergence boundary the amplitude is kept; anything below it decays."""
    with jax.enable_x64(True):
        for offset, kept in ((0.0, 1.0), (1.0, None)):
            omega = jnp.asarray([3.0, 10.0, 50.0], jnp.float64)
            b = divergence_boundary(omega, 0.01) - offset
            u, v = jnp.ones(3), jnp.zeros(3)
            for _ in range(100):
                u, v = nn.brf.rotate(u, v, 0.0, b=b, omega=omega, dt=0.01)
            size = np.hypot(u, v)
            if kept:
                np.testing.assert_allclose(size, kept, rtol=1e-9)
            else:
                assert (size < 0.5).all()


TIMED = [name for name, inner in NEURONS.items() if hasattr(inner(), "dt")]


@pytest.mark.parametrize("name", TIMED)
def test_time_constants_in_milliseconds_are_not_taken_without_a_word(name):
    inner = NEURONS[name]
    taus = [field.name for field in dataclasses.fields(inner) if field.name.startswith("tau")]
    for tau in taus:
        for value in (10.0, Normal(20.0, 1.0), Uniform(5.0, 30.0)):
            with pytest.warns(UserWarning, match=rf"{tau} is .* s, .* are milliseconds meant\?"):
                inner(**{tau: value})
        # A step of one is another unit of time, and a slow neuron of seconds may be meant.
        inner(**{tau: 10.0}, dt=1.0)
        inner(**{tau: 0.9})
        inner(**{tau: 2.0}, dt=0.01)
        inner(**{tau: np.float64(0.02)})
