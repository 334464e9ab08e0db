"""Pooling by slices against flax's, gradients of ties included."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn._ops.pooling import pool

FLAX = {"max": nn.max_pool, "average": nn.avg_pool}


@pytest.mark.parametrize("kind", FLAX)
@pytest.mark.parametrize(("shape", "window"), [((2, 4, 6, 3), 2), ((1, 7, 5, 2), 3)])
def test_values_and_gradients_are_those_of_flax(kind, shape, window):
    draw = np.random.default_rng(0)
    spikes = jnp.asarray(draw.random(shape) < 0.4, jnp.float32)
    for images in (spikes, jnp.asarray(draw.standard_normal(shape), jnp.float32)):
        ours = lambda x: pool(x, kind, window)  # noqa: E731
        theirs = lambda x: FLAX[kind](x, (window, window), strides=(window, window))  # noqa: E731
        result, back = jax.vjp(ours, images)
        wanted, expected = jax.vjp(theirs, images)
        np.testing.assert_allclose(result, wanted, rtol=1e-6)
        g = jnp.cos(jnp.arange(result.size, dtype=jnp.float32)).reshape(result.shape)
        np.testing.assert_allclose(back(g)[0], expected(g)[0], rtol=1e-6)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="pool kind must be one of"):
        pool(jnp.ones((1, 2, 2, 1)), "median", 2)
