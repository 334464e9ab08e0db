"""The grid, its ends, and the straight-through gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jsnn.quantise import fake_quantise


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-4, 4, width=32)),
    st.integers(2, 12),
)
def test_few_levels_small_errors_and_fixed_ends(values, bits):
    found = np.asarray(fake_quantise(jnp.asarray(values), bits))
    top = np.abs(values).max()
    step = (top if top else 1) / (2 ** (bits - 1) - 1)
    assert np.abs(found - values).max() <= step / 2 * (1 + 1e-4) + 1e-7
    np.testing.assert_allclose(found / step, np.round(found / step), atol=2e-3)
    np.testing.assert_allclose(np.abs(found).max(), top, rtol=1e-6)


def test_gradient_passes_straight_through():
    grad = jax.grad(lambda x: (fake_quantise(x, 4) * jnp.arange(5.0)).sum())(jnp.linspace(-1, 1, 5))
    np.testing.assert_array_equal(grad, np.arange(5.0))


def test_thirty_two_bits_are_floating_point_and_others_are_refused():
    values = jnp.array([0.1, 0.2])
    assert fake_quantise(values, 32) is values
    for bits in (1, 33):
        with pytest.raises(ValueError, match="2 to 32"):
            fake_quantise(values, bits)
