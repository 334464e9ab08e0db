"""Networks: the sizes the papers print, a gradient in every leaf, and clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn.models import MLP, MODELS, SRNN, ConvNet, Spikformer
from jsnn.neurons import ALIF, BRF, LI, LIF
from jsnn.nn import run
from jsnn.readouts import MeanMembrane

FRAMES = {
    "mlp": (MLP((12, 8), 3), (4, 2, 6)),
    "conv": (ConvNet((4, 6), 3, hidden=5), (3, 2, 8, 8, 1)),
    "srnn": (SRNN((12, 8), 3, readout=MeanMembrane()), (6, 2, 5)),
    "spikformer": (
        Spikformer((16,), 3, neuron=LIF(v_threshold=0.2), attend=LIF(v_threshold=0.05), heads=2),
        (2, 2, 4, 4, 1),
    ),
}


def leaves(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_every_model_is_tested():
    assert set(FRAMES) == set(MODELS)


@pytest.mark.parametrize("name", FRAMES)
def test_outputs_and_gradients(name, key):
    model, shape = FRAMES[name]
    # Strong enough for every layer to fire before its norm has seen any statistics.
    frames = 6 * jnp.broadcast_to(jax.random.uniform(key, shape[1:]), shape)
    if name == "srnn":
        frames = 6.0 * jax.random.bernoulli(key, 0.5, shape)
    variables = jax.jit(model.init)(key, frames)

    def loss(params):
        outputs, workload = run(model, {**variables, "params": params}, frames)
        return (outputs * jnp.arange(6.0).reshape(2, 3)).sum(), (outputs, workload)

    grads, (outputs, workload) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert outputs.shape == (2, 3)
    assert workload.names[-1] == "readout"
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
    kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if path[-1].key in ("kernel", "recurrent")
    ]
    assert all(np.abs(kernel).max() > 0 for kernel in kernels)


def test_parameter_counts_of_the_papers(key):
    """BRF-36 on QTDB: 1,734; the weights of the 700-128-128-20 ALIF network on SHD: 141,312."""
    frames = jnp.zeros((2, 1, 4))
    readout = LI(trainable=("tau_mem",))
    brf = SRNN((36,), 6, neuron=BRF(), readout_neuron=readout, use_bias=False)
    assert leaves(jax.eval_shape(brf.init, key, frames)) == 1_734
    alif = SRNN((128, 128), 20, neuron=ALIF(), use_bias=False)
    params = jax.eval_shape(alif.init, key, jnp.zeros((1, 1, 700)))["params"]
    weights = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key in ("kernel", "recurrent")
    ]
    assert sum(leaf.size for leaf in weights) == 141_312


def test_parameters_are_filed_under_their_layers(key):
    model = MLP((4,), 2, norm=True)
    variables = jax.eval_shape(model.init, key, jnp.ones((2, 1, 3)))
    params, constants = variables["params"], variables["constants"]
    assert set(params) == set(constants) == {"hidden_0", "readout"}
    assert set(params["hidden_0"]) == {"synapse", "norm"}
    assert set(constants["hidden_0"]["neuron"]) == {"tau_mem", "v_threshold", "r"}


def test_dropout_acts_in_training_only(key):
    model = MLP((64,), 3, neuron=LIF(tau_mem=2e-3), dropout=0.5, input_dropout=0.5)
    frames = jax.random.uniform(key, (4, 2, 6))
    variables = jax.jit(model.init)(key, frames)
    passes = [
        model.apply(variables, frames, train, rngs={"dropout": jax.random.key(seed)})
        for train, seed in ((False, 0), (False, 1), (True, 0), (True, 1))
    ]
    np.testing.assert_array_equal(passes[0], passes[1])
    assert (passes[2] != passes[3]).any()


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (MLP((), 3), (2, 1, 4), "layer widths"),
        (SRNN((0,), 3), (2, 1, 4), "layer widths"),
        (SRNN((4,), 3, recurrent_init="zeros"), (2, 1, 4), "recurrent_init must be one of"),
        (ConvNet((4, 4, 4), 3), (2, 1, 4, 4, 1), "at least 8 x 8 pixels"),
        (ConvNet((4,), 3), (2, 1, 16), r"images \[T, B, H, W, C\]"),
    ],
)
def test_bad_sizes_are_refused(model, shape, message, key):
    with pytest.raises(ValueError, match=message):
        model.init(key, jnp.ones(shape))
