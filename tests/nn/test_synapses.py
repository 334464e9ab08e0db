"""Fan-out in closed form against the transposed convolution of ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.nn.synapses import connectivity


def shapes(synapse, x):
    """Parameters without values."""
    return jax.eval_shape(synapse.init, jax.random.key(0), x)["params"]


def transposed_ones(synapse, shape):
    """Fan-out by linear transposition of the real layer with every weight set to one."""
    x = jnp.zeros((1, *shape))
    ones = {"kernel": jnp.ones(shapes(synapse, x)["kernel"].shape)}
    linear = synapse.clone(use_bias=False)

    @jax.jit
    def transposed(x):
        out, transpose = jax.vjp(lambda x: linear.apply({"params": ones}, x), x)
        return transpose(jnp.ones_like(out))[0][0]

    return np.asarray(transposed(x))


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["SAME", "VALID", 1, ((0, 1), (2, 0))]),
    groups=st.sampled_from([1, 2]),
)
def test_conv_fan_out_is_the_transposed_convolution_of_ones(
    size, kernel, stride, dilation, padding, groups
):
    synapse = nn.Conv(
        4,
        kernel,
        strides=stride,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
    )
    result = connectivity(synapse, (*size, 2))
    np.testing.assert_array_equal(result.fan_out, transposed_ones(synapse, (*size, 2)))
    params = shapes(synapse, jnp.zeros((1, *size, 2)))
    assert result.weights == params["kernel"].size
    assert result.biases == params["bias"].size
    assert result.fan_in == kernel[0] * kernel[1] * 2 // groups


def test_depthwise_and_one_dimensional_convolutions():
    depthwise = nn.Conv(6, (3, 3), feature_group_count=3)
    np.testing.assert_array_equal(
        connectivity(depthwise, (5, 5, 3)).fan_out, transposed_ones(depthwise, (5, 5, 3))
    )
    line = nn.Conv(2, (5,), strides=(2,))
    np.testing.assert_array_equal(connectivity(line, (9, 1)).fan_out, transposed_ones(line, (9, 1)))


def test_dense_fan_out_is_its_width():
    result = connectivity(nn.Dense(7, use_bias=False), (5,))
    assert result.fan_out.tolist() == [7] * 5
    assert (result.synapses, result.weights, result.biases) == (35, 35, 0)


def test_unknown_synapse_and_wrong_shapes_are_refused():
    with pytest.raises(TypeError, match=r"no connectivity is known for LayerNorm.*register"):
        connectivity(nn.LayerNorm(), (4,))
    with pytest.raises(ValueError, match="Flatten"):
        connectivity(nn.Dense(3), (4, 4, 1))
    with pytest.raises(ValueError, match="does not fit"):
        connectivity(nn.Conv(1, (5, 5), padding="VALID"), (3, 3, 1))
    with pytest.raises(ValueError, match="CIRCULAR"):
        connectivity(nn.Conv(1, (3, 3), padding="CIRCULAR"), (3, 3, 1))
