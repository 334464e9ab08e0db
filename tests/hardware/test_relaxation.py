"""Softened choices: exact values, derivatives that converge to the choice."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jsnn.hardware.relaxation import ceil, place, soft_ceil, soft_fits


@given(st.floats(0, 50))
def test_soft_ceil_lies_between_the_line_and_the_step(x):
    with jax.enable_x64(True):
        assert float(soft_ceil(x, 1.0)) == pytest.approx(x)
        values = [float(soft_ceil(x, t)) for t in (1.0, 0.5, 0.1, 1e-3)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    assert values[-1] <= np.ceil(x) + 1e-12
    if x % 1 > 0.02:
        assert values[-1] == pytest.approx(np.ceil(x), abs=1e-6)


def test_ceil_is_exact_at_every_temperature_and_its_slope_is_the_soft_one():
    x = jnp.asarray([0.0, 0.3, 1.0, 2.7])
    for temperature in (0.0, 0.1, 1.0):
        np.testing.assert_array_equal(ceil(x, temperature), np.ceil(x))
    assert jax.grad(ceil)(0.3) == 0
    assert jax.grad(ceil)(0.3, 1.0) == pytest.approx(1)


@pytest.mark.parametrize("x", [0.3, 1.6, 7.2])
def test_soft_forms_have_true_derivatives(x):
    with jax.enable_x64(True):
        check_grads(lambda v: soft_ceil(v, 0.4), (x,), order=1)
        check_grads(lambda v: soft_fits(v, 5.0, 0.3), (x,), order=1)
        check_grads(lambda v: soft_fits(5.0, v, 0.3), (x,), order=1)


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 1000))
def test_a_tensor_lies_whole_in_the_first_level_that_holds_it(need, near, far):
    shares = [float(share) for share in place(need, (near, far, 1e9))]
    expected = 0 if np.float32(need) <= np.float32(near) else 1
    if expected and np.float32(need) > np.float32(far):
        expected = 2
    assert shares == [float(level == expected) for level in range(3)]


def test_a_temperature_keeps_the_place_and_feels_the_border():
    def far_share(capacity, temperature):
        return place(100.0, (capacity, 1000.0), temperature)[1]

    assert far_share(90.0, 0.0) == 1 and jax.grad(far_share)(90.0, 0.0) == 0
    value, slope = jax.value_and_grad(far_share)(90.0, 0.2)
    # A larger memory keeps more of it near.
    assert value == 1 and slope < 0
    cold = [abs(float(jax.grad(far_share)(60.0, t))) for t in (0.3, 0.1, 0.03)]
    assert cold[0] > cold[1] > cold[2]
