"""Pallas kernels: interpreted against the reference, and lowered for CUDA."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.neurons import ALIF, BRF, LIF, CuBaLIF, Fixed
from jsnn.unroll import Pallas, Scan, unroll
from tests.plan_cases import NEURONS, assert_close, drawn, everything, name_of

ELEMENTWISE = [neuron for neuron in NEURONS if not isinstance(neuron, Fixed)]


@pytest.mark.parametrize("neuron", ELEMENTWISE, ids=name_of)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**16))
def test_pallas_equals_scan(neuron, seed):
    """Ten neurons in blocks of four: the last block is padded."""
    case = drawn(neuron, seed)
    want, (spikes, last) = everything(neuron, Scan(), False, *case)
    got, (same, end) = everything(neuron, Pallas(block=4), False, *case)
    np.testing.assert_array_equal(same, spikes)
    assert_close(end, last)
    assert_close(got, want)


def test_a_grid_that_all_neurons_share_is_refused():
    refused = "a step of Fixed is not elementwise"
    assert Pallas().refuses(Fixed(LIF()), None) == refused
    assert [n for n in NEURONS if Pallas().refuses(n, None)] == [
        n for n in NEURONS if n not in ELEMENTWISE
    ]


def test_a_block_is_a_power_of_two():
    with pytest.raises(ValueError, match="power of two, got 12"):
        Pallas(block=12)


@pytest.mark.parametrize("neuron", [LIF(), ALIF(), BRF(), CuBaLIF(reset="zero")], ids=name_of)
def test_kernels_lower_for_cuda(neuron):
    """Down to Triton's language, forward and backward, without a GPU."""
    params = neuron.init_params(jax.random.key(0), (300,))

    def loss(params, currents):
        return (unroll(neuron, params, currents, plan="pallas")[1] ** 2).sum()

    traced = jax.jit(jax.grad(loss, (0, 1)))
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        lowered = traced.trace(params, jnp.ones((10, 4, 300))).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("custom_call @__gpu$xla.gpu.triton") == 2
