"""bf16 operands against NumPy that rounds them itself; everything else stays float32."""

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jsnn._ops.precision import F32, PRECISIONS, Precision
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import LIF
from jsnn.nn import forward
from jsnn.nn.layers import Spiking

BF16 = PRECISIONS["bf16"]


def rounded(x):
    """The nearest bfloat16, in float64."""
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


def test_a_product_and_its_gradients_round_operands_and_nothing_else(key):
    a, b, g = (
        jax.random.normal(k, shape)
        for k, shape in zip(jax.random.split(key, 3), [(2, 5, 7), (7, 3), (2, 5, 3)], strict=True)
    )
    out, pull = jax.vjp(BF16.matmul, a, b)
    left, right = pull(g)
    a, b, g = rounded(a), rounded(b), rounded(g)
    for result, expected in (
        (out, a @ b),
        (left, g @ b.T),
        (right, np.einsum("xyk,xyn->kn", a, g)),
    ):
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    assert float(np.abs(F32.matmul(a, b) - out).max()) == pytest.approx(0, abs=1e-5)


def test_a_dense_layer_and_a_convolution_compute_so(key):
    frames = jax.random.normal(key, (3, 7))
    layer = nn.Dense(4, **BF16.dense)
    variables = jax.jit(layer.init)(key, frames)
    kernel = variables["params"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(
        layer.apply(variables, frames), rounded(frames) @ rounded(kernel), rtol=1e-5, atol=1e-5
    )
    images = jax.random.normal(key, (2, 4, 4, 2))
    conv = nn.Conv(3, (3, 3), **BF16.conv)
    variables = jax.jit(conv.init)(key, images)
    exact = {"params": jax.tree.map(lambda x: rounded(x).astype(np.float32), variables["params"])}

    def weighed(layer, images, variables):
        out = layer.apply(variables, images)
        # A gradient of ones and twos is exact in bf16.
        return (out * (1 + jnp.arange(out.size).reshape(out.shape) % 2)).sum(), out

    loss = jax.value_and_grad(weighed, argnums=(1, 2), has_aux=True)
    (_, result), grads = loss(conv, images, variables)
    plain = rounded(images).astype(np.float32)
    (_, expected), true = loss(nn.Conv(3, (3, 3)), plain, exact)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(true), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda p: MLP((8,), 3, precision=p), (3, 2, 6)),
        (lambda p: ConvNet((4,), 3, hidden=5, precision=p), (3, 2, 4, 4, 1)),
        (lambda p: SRNN((8,), 3, precision=p), (3, 2, 5)),
    ],
)
def test_models_multiply_in_bf16_and_keep_their_state_in_float32(make, shape, key):
    frames = jnp.broadcast_to(jax.random.bernoulli(key, 0.5, shape[1:]), shape).astype(float)
    model = make(BF16)
    variables = jax.jit(model.init)(key, frames)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    def operands(model):
        def step(params):
            given = {**variables, "params": params}
            return forward(model, given, frames, train=True).outputs.sum()

        result = set()
        walk(jax.make_jaxpr(jax.grad(step))(variables["params"]).jaxpr, result)
        return result

    assert operands(model) == {"bfloat16"}
    assert operands(make(F32)) == {"float32"}
    state = jax.eval_shape(lambda v: model.apply(v, frames, mutable=["state"])[1], variables)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} <= {"float32", "int32"}


def walk(jaxpr, result):
    """Collect the types of all operands of products."""
    for equation in jaxpr.eqns:
        # Events are counted by products with ones and zeros in full precision: no synapses.
        highest = (jax.lax.Precision.HIGHEST,) * 2
        counting = equation.params.get("precision") == highest
        if equation.primitive.name in ("dot_general", "conv_general_dilated") and not counting:
            result |= {var.aval.dtype.name for var in equation.invars}
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            walk(inner, result)


def test_the_product_of_recurrence_too(key):
    frames = jax.random.normal(key, (4, 2, 5))
    layer = Spiking(nn.Dense(6), LIF(), recurrent=True, precision=BF16)
    traced = jax.make_jaxpr(lambda v: layer.apply(v, frames))(layer.init(key, frames))
    assert "bf16" in str(traced)


def test_other_operands_and_other_products_are_refused():
    with pytest.raises(ValueError, match="operands must be f32 or bf16, got 'f16'"):
        Precision("f16")
    with pytest.raises(ValueError, match="multiplies"):
        BF16.dense["dot_general"](jnp.ones((2, 3)), jnp.ones((2, 3)), (((1,), (1,)), ((), ())))
    assert F32.dense == F32.conv == {}
    assert hash(BF16) == hash(Precision("bf16"))
