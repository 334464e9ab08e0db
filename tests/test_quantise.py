"""The grid, its ends, and the straight-through gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jsnn.codesign.hardware.design_parameters import round_weights
from jsnn.quantise import (
    bounded,
    fake_quantise,
    grid_step,
    levels,
    lsq,
    lsq_gradient_scale,
    nearest_power_of_two,
    on_grid,
    power_of_two,
    scale_gradient,
)
from tests.fuzzing import examples

TINY = float(np.finfo(np.float32).tiny)
# Every way from weights to a grid of their own: its values, and the step between them.
GRIDS = {
    "fake_quantise": lambda x, bits: (fake_quantise(x, bits), grid_step(_top(x), _high(bits))),
    "round_weights": lambda x, bits: (round_weights(x, bits), grid_step(_top(x), _high(bits))),
    "lsq": lambda x, bits: (lsq(x, step := grid_step(_top(x), _high(bits)), bits), step),
}


def _top(values):
    return jnp.max(jnp.abs(values))


def _high(bits):
    return 2 ** (bits - 1) - 1


@pytest.mark.parametrize("grid", GRIDS)
@settings(max_examples=examples(60))
@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-1, 1, width=32)),
    st.sampled_from([1e-45, 1e-40, 1e-38, 1e-36, 1e-30, 1e-6, 1.0, 1e6, 1e30, 1e38]),
    st.integers(2, 16),
)
def test_weights_of_every_size_are_on_a_grid_near_them(grid, shares, size, bits):
    values = np.float32(shares * size)
    result, step = map(np.asarray, GRIDS[grid](jnp.asarray(values), bits))
    assert np.isfinite(result).all() and step >= TINY
    # What is below the smallest normal number is zero to a processor.
    error = np.abs(result.astype(np.float64) - values)
    assert (error <= step / 2 * (1 + 1e-4) + TINY).all()
    slope = jax.grad(lambda x: GRIDS[grid](x, bits)[0].sum())(jnp.asarray(values))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_stay_so(grid, bad):
    result, _ = GRIDS[grid](jnp.array([0.3, bad, 1.0]), 8)
    assert not np.isfinite(result[1])
    # Nor does the end of a grid hide one.
    assert not np.isfinite(on_grid(jnp.array([bad]), 0.1, -2.0, 1.0)).any()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_the_largest_weight_of_any_type_stays_finite(dtype):
    for top in (jnp.finfo(dtype).max, jnp.finfo(dtype).tiny, 1.0):
        values = jnp.array([top, -top / 3, 0.0], dtype)
        for bits in (2, 8, 31):
            result = fake_quantise(values, bits)
            assert result.dtype == dtype and jnp.isfinite(result).all()
            assert result[0] == values[0]


def test_weights_of_1e_36_at_8_bits():
    """They were NaN: a 127th of them is below the smallest normal number."""
    result = fake_quantise(jnp.array([1e-36, -5e-37]), 8)
    np.testing.assert_allclose(result, [1e-36, -5e-37], atol=TINY)


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-4, 4, width=32)),
    st.integers(2, 12),
)
def test_few_levels_small_errors_and_fixed_ends(values, bits):
    result = np.asarray(fake_quantise(jnp.asarray(values), bits))
    top = np.abs(values).max()
    step = (top if top else 1) / (2 ** (bits - 1) - 1)
    assert np.abs(result - values).max() <= step / 2 * (1 + 1e-4) + 1e-7
    np.testing.assert_allclose(result / step, np.round(result / step), atol=2e-3)
    np.testing.assert_allclose(np.abs(result).max(), top, rtol=1e-6)


def test_gradient_passes_straight_through():
    grad = jax.grad(lambda x: (fake_quantise(x, 4) * jnp.arange(5.0)).sum())(jnp.linspace(-1, 1, 5))
    np.testing.assert_array_equal(grad, np.arange(5.0))


def test_thirty_two_bits_are_floating_point_and_others_are_refused():
    values = jnp.array([0.1, 0.2])
    assert fake_quantise(values, 32) is values
    for bits in (1, 33):
        with pytest.raises(ValueError, match="2 to 32"):
            fake_quantise(values, bits)


def oracle(x, step, bits):
    """LSQ, equations 1 to 3 and 5 of 1902.08153, in float64."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scaled = x / step
    inside = (scaled > low) & (scaled < high)
    rounded = np.rint(np.clip(scaled, low, high))
    ends = np.where(scaled <= low, low, high)
    return rounded * step, inside * 1.0, np.where(inside, rounded - scaled, ends)


@settings(max_examples=20)
@given(
    hnp.arrays(np.float64, 12, elements=st.floats(-4, 4)),
    st.floats(0.01, 2),
    st.integers(2, 10),
)
def test_learned_steps_are_those_of_the_paper(values, step, bits):
    weights = np.linspace(-1, 2, 12)
    with jax.enable_x64(True):
        values = jnp.asarray(values)
        result, pull = jax.vjp(lambda x, s, b: lsq(x, s, b), values, step, float(bits))
        by_value, by_step, _ = pull(jnp.asarray(weights))
    expected, through, slope = oracle(np.asarray(values), step, bits)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_allclose(by_value, weights * through, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_step, (weights * slope).sum(), rtol=1e-9, atol=1e-9)


def test_where_values_are_clipped_the_gradient_is_the_true_one():
    """Nothing is rounded there, so that differences of the function itself agree with it."""
    with jax.enable_x64(True):
        values = jnp.array([-7.3, 5.2, 9.1])
        small = 1e-6

        def by_step(step):
            return (lsq(values, step, 3) * jnp.array([1.0, 2.0, 3.0])).sum()

        def by_end(high):
            return (on_grid(values, 0.5, -4.0, high) * jnp.array([1.0, 2.0, 3.0])).sum()

        for function, at in ((by_step, 0.5), (by_end, 3.0)):
            difference = (function(at + small) - function(at - small)) / (2 * small)
            # An end between two integers is rounded; its slope is not.
            expected = difference if function is by_step else 0.5 * (2 + 3)
            np.testing.assert_allclose(jax.grad(function)(at), expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [2.0, 3.0, 5.0, 8.0])
def test_more_bits_on_a_range_err_less_and_the_gradient_knows(bits):
    values = jax.random.normal(jax.random.key(1), (2000,))

    def error(bits):
        _, high = levels(bits)
        return jnp.square(lsq(values, 4.0 / high, bits) - values).mean()

    slope = jax.grad(error)(bits)
    assert slope < 0
    assert error(bits + 1) < error(bits)
    # A bit quarters the error of rounding.
    if bits > 2:
        assert -2.5 < float(slope / error(bits)) < -0.7


def test_powers_of_two_are_exact_and_their_logarithm_has_slope_one():
    exponents = np.arange(-32.0, 33.0, dtype=np.float32)
    result, by = jax.jit(jax.vmap(jax.value_and_grad(power_of_two)))(exponents)
    np.testing.assert_array_equal(result, 2.0 ** exponents.astype(np.float64))
    np.testing.assert_allclose(by, np.log(2) * result, rtol=1e-6)
    steps = jnp.array([0.3, 0.7, 1.0, 2.9, 1e-20, 1e20])
    near = jax.jit(nearest_power_of_two)(steps)
    np.testing.assert_array_equal(near, [0.25, 0.5, 1, 4, 2.0**-32, 2.0**32])
    slope = jax.vmap(jax.grad(nearest_power_of_two))(steps[:4])
    np.testing.assert_allclose(slope, near[:4] / steps[:4], rtol=1e-6)


def test_bounds_let_nothing_out_and_everything_in():
    for at, slope, kept in ((9, -1, 0), (9, 1, 1), (1, 1, 0), (1, -1, -1), (5, 1, 1), (5, -1, -1)):
        grad = jax.grad(lambda x, slope=slope: slope * bounded(x, 2.0, 8.0))(float(at))
        assert grad == kept
    np.testing.assert_array_equal(bounded(jnp.array([1.0, 5.0, 9.0]), 2.0, 8.0), [2, 5, 8])


def test_a_value_at_its_bound_is_held_there_and_may_come_back():
    """A step of descent from the bound itself, in either direction."""
    for at, slope, after in ((8, -1, 8), (8, 1, 7), (2, 1, 2), (2, -1, 3)):
        grad = jax.grad(lambda x, slope=slope: slope * bounded(x, 2.0, 8.0))(float(at))
        assert at - grad == after


def test_scales_of_gradients():
    assert float(lsq_gradient_scale(7, 4)) == pytest.approx(1 / 7)
    value, slope = jax.value_and_grad(lambda x: scale_gradient(x, 0.25))(3.3)
    assert (value, slope) == (np.float32(3.3), 0.25)


def test_a_signed_grid_needs_two_bits():
    with pytest.raises(ValueError, match="at least 2 bits, got 1"):
        lsq(jnp.ones(2), jnp.array(1.0), 1)
