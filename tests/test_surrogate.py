"""Surrogate derivatives: values against their formulas, shapes, and what they refuse."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn import surrogate as sg


def name(surrogate):
    """The same in every process: that of a function holds its address."""
    return repr(surrogate).split(" at 0x")[0]


def _mine(x):
    return jnp.exp(-jnp.abs(x))


def _make(name):
    return sg.Custom(_mine) if name == "custom" else sg.SURROGATES[name]()


EVERY = [_make(name) for name in sg.SURROGATES] + [sg.Scaled(sg.Triangle(), 0.3)]

# Read off published code and printed to six digits; columns are |x| = 0, .1, .5, 1, 2.
GOLDEN = {
    sg.MultiGaussian(): (0.439112, 0.430038, 0.258858, 0.043452, -0.015696),
    sg.Gaussian(): (0.398942, 0.391043, 0.241971, 0.053991, 0.000134),
    sg.SuperSpike(10): (1, 0.25, 0.027778, 0.008264, 0.002268),
    sg.SuperSpike(100): (1, 0.008264, 0.000384, 0.000098, 0.000025),
    sg.Sigmoid(4): (1, 0.961043, 0.419974, 0.070651, 0.001341),
    sg.ATan(2): (1, 0.910170, 0.288400, 0.092000, 0.024705),
    sg.Triangle(1): (1, 0.9, 0.5, 0, 0),
    sg.PiecewiseQuadratic(1): (1, 0.9, 0.5, 0, 0),
    sg.Slayer(5, 0.4): (1, 0.606531, 0.082085, 0.006738, 0.000045),
}


@pytest.mark.parametrize("surrogate", GOLDEN, ids=name)
def test_gradient_through_the_spike_matches_the_printed_table(surrogate):
    x = jnp.array([0.0, 0.1, 0.5, 1.0, 2.0], jnp.float32)
    for side in (x, -x):
        slope = jax.vmap(jax.grad(surrogate))(side)
        np.testing.assert_allclose(slope, GOLDEN[surrogate], rtol=0, atol=1e-6)


def _gauss(x, mean, sigma):
    return math.exp(-((x - mean) ** 2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)


# The rows without printed values, written out in plain Python at other than default settings.
FORMULAS = {
    sg.PiecewiseExponential(3): lambda x: 1.5 * math.exp(-3 * abs(x)),
    sg.SoftSign(3): lambda x: 3 / (2 * (1 + 3 * abs(x)) ** 2),
    sg.ScaledSuperSpike(3): lambda x: 3 / (1 + abs(x)) ** 2,
    sg.Erf(3): lambda x: 3 / math.sqrt(math.pi) * math.exp(-9 * x * x),
    sg.Boxcar(): lambda x: float(-0.5 < x <= 0.5),
    sg.Triangle(0.5): lambda x: max(0.5 - abs(x), 0) / 0.25,
    sg.PiecewiseQuadratic(2): lambda x: 2 - 4 * abs(x) if abs(x) <= 0.5 else 0,
    sg.DoubleGaussian(): lambda x: 0.5 * (1.15 * _gauss(x, 0, 0.5) - 0.3 * _gauss(x, 0, 3)),
    sg.LeakyKReLU(0.1, 2.0): lambda x: 2.0 if x >= 0 else 0.1,
    sg.PiecewiseLeakyReLU(0.25, 0.1): lambda x: 2.0 if abs(x) < 0.25 else 0.1,
    sg.NonzeroSignLogAbs(3): lambda x: 3 / (1 + 3 * abs(x)),
    sg.QPseudoSpike(3): lambda x: (1 + abs(x)) ** -3,
    sg.S2NN(4, 2): lambda x: (
        2 / (x + 1) if x >= 0 else 4 * math.exp(4 * x) / (1 + math.exp(4 * x)) ** 2
    ),
    sg.FakeNumericalGradient(3): lambda x: min(1 / abs(x), 3) if x else 3,
    sg.Scaled(sg.Boxcar(), 0.3): lambda x: 0.3 * float(-0.5 < x <= 0.5),
    sg.Custom(_mine): lambda x: math.exp(-abs(x)),
}


@pytest.mark.parametrize("surrogate", FORMULAS, ids=name)
def test_gradient_matches_the_formula_in_plain_python(surrogate):
    x = [-2.0, -0.7, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.7, 2.0]
    slope = jax.vmap(jax.grad(surrogate))(jnp.array(x, jnp.float32))
    expected = [FORMULAS[surrogate](v) for v in x]
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-7)


def test_every_surrogate_has_an_oracle():
    covered = {type(s) for s in (*GOLDEN, *FORMULAS)}
    assert set(sg.SURROGATES.values()) <= covered


@pytest.mark.parametrize(
    ("surrogate", "area"),
    [
        (sg.Sigmoid(), 1.0),
        (sg.ATan(), 1.0),
        (sg.Triangle(), 1.0),
        (sg.PiecewiseQuadratic(2.0), 1.0),
        (sg.PiecewiseExponential(), 1.0),
        (sg.Erf(), 1.0),
        (sg.SoftSign(), 1.0),
        (sg.Boxcar(), 1.0),
        (sg.MultiGaussian(gamma=1.0), 0.85),
        (sg.DoubleGaussian(gamma=1.0), 0.85),
    ],
    ids=name,
)
def test_area(surrogate, area):
    with jax.enable_x64(True):
        half = 2000.0  # the tail of ATan beyond it is 1/(2 π² · 2000) of the area a side
        x = jnp.sinh(jnp.linspace(-math.asinh(half), math.asinh(half), 400_001))
        result = jnp.trapezoid(surrogate.derivative(x), x)
    assert float(result) == pytest.approx(area, abs=3e-4)


def test_multi_gaussian_is_negative_beyond_its_zero_crossing():
    psi = sg.MultiGaussian().derivative
    assert psi(jnp.float32(1.271)) > 0 > psi(jnp.float32(1.273))
    assert float(psi(jnp.float32(1.864))) == pytest.approx(-0.01587, abs=1e-5)


@pytest.mark.parametrize("surrogate", EVERY, ids=name)
class TestContract:
    x = jnp.array([-30.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 30.0], jnp.float32)

    def test_forward_is_a_step(self, surrogate):
        np.testing.assert_array_equal(surrogate(self.x), [0, 0, 0, 1, 1, 1, 1])
        np.testing.assert_array_equal(surrogate(self.x, strict=True), [0, 0, 0, 0, 1, 1, 1])

    def test_derivative_is_finite_and_keeps_the_dtype(self, surrogate):
        slope = surrogate.derivative(self.x)
        assert slope.dtype == self.x.dtype and slope.shape == self.x.shape
        assert np.isfinite(slope).all()
        with jax.enable_x64(True):
            x = jnp.asarray(np.linspace(-1, 1, 5), jnp.float64)
            assert surrogate(x).dtype == surrogate.derivative(x).dtype == jnp.float64

    def test_backward_scales_the_cotangent_both_ways_of_comparing(self, surrogate):
        for strict in (False, True):
            _, pull = jax.vjp(lambda x: surrogate(x, strict), self.x)  # noqa: B023
            (got,) = pull(jnp.full_like(self.x, 3.0))
            np.testing.assert_allclose(got, 3 * surrogate.derivative(self.x), rtol=1e-6)

    def test_jit_vmap_and_scan_change_nothing(self, surrogate):
        plain = jax.grad(lambda x: surrogate(x).sum())(self.x)
        jitted = jax.jit(jax.grad(lambda x: surrogate(x).sum()))(self.x)
        mapped = jax.vmap(jax.grad(surrogate))(self.x)
        scanned = jax.grad(lambda x: jax.lax.scan(lambda c, v: (c + surrogate(v), None), 0.0, x)[0])
        for other in (jitted, mapped, scanned(self.x)):
            np.testing.assert_allclose(other, plain, rtol=1e-6, atol=1e-7)

    def test_equal_settings_are_one_static_argument(self, surrogate):
        same = dataclasses.replace(surrogate)
        assert same == surrogate and hash(same) == hash(surrogate) and same is not surrogate
        traced = []

        def f(s, x):
            traced.append(s)
            return s(x)

        f = jax.jit(f, static_argnums=0)
        f(surrogate, self.x)
        f(same, self.x)
        assert len(traced) == 1


def test_fast_sigmoid_is_super_spike():
    assert sg.FastSigmoid is sg.SuperSpike
    assert sg.FastSigmoid(10) == sg.SuperSpike(10) != sg.SuperSpike(11)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: sg.ATan(0), "alpha"),
        (lambda: sg.SuperSpike(-1), "beta"),
        (lambda: sg.MultiGaussian(h=-0.1), "h must"),
        (lambda: sg.QPseudoSpike(1.0), "above 1"),
        (lambda: sg.Sigmoid(float("nan")), "alpha"),
        (lambda: sg.Custom(3), "function"),
        (lambda: sg.ATan()(jnp.arange(3)), "floating membrane, got int"),
    ],
)
def test_bad_settings_are_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


def test_a_surrogate_without_derivative_says_so():
    class Empty(sg.Surrogate):
        pass

    with pytest.raises(TypeError, match="Empty defines no derivative"):
        jax.grad(Empty())(1.0)
