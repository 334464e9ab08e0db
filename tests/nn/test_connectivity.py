"""Synapses of a user's own: what they say of themselves is checked against what they do."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jsnn
from jsnn.hardware import get
from jsnn.neurons import LI, LIF
from jsnn.nn.layers import Network, Spiking
from jsnn.nn.synapses import Connectivity, connectivity
from jsnn.readouts import MeanMembrane

INPUTS, OUTPUTS = 6, 4
FRAMES = (np.random.default_rng(0).random((5, 2, INPUTS)) < 0.5).astype(np.float32)
MACHINE = get("event-45nm")


class Own(nn.Module):
    """A dense matrix; what is registered for it is what `say` changes of the truth."""

    say: tuple[tuple[str, Any], ...] = ()
    collection: str = "params"

    @nn.compact
    def __call__(self, frames):
        shape = frames.shape[-1], OUTPUTS
        if self.collection == "params":
            kernel = self.param("kernel", nn.initializers.ones, shape)
        else:
            kernel = self.variable(self.collection, "kernel", jnp.ones, shape).value
        return frames @ kernel


@connectivity.register
def _own(synapse: Own, input_shape):
    (size,) = input_shape
    truth = Connectivity(
        kind="dense",
        fan_out=np.full((size,), OUTPUTS),
        fan_in=size,
        fan_out_area=1,
        weights=size * OUTPUTS,
        biases=0,
        output_shape=(OUTPUTS,),
    )
    said = {n: np.asarray(v) if n == "fan_out" else v for n, v in synapse.say}
    return truth._replace(**said)


def network(synapse) -> Network:
    return Network((Spiking(synapse, LIF()), Spiking(nn.Dense(3), LI(), readout=MeanMembrane())))


def ran(model, **options):
    variables = jax.jit(model.init)(jax.random.key(0), FRAMES)
    return variables, jsnn.run(model, variables, FRAMES, **options)[1]


def test_what_says_the_truth_is_counted():
    for collection in ("params", "frozen", "buffers"):
        workload = ran(network(Own(collection=collection)))[1]
        assert workload.layers[0].synops.tolist() == (FRAMES.sum((0, 2)) * OUTPUTS).tolist()
        assert workload.layers[0].geometry.weights == INPUTS * OUTPUTS and not workload.unpriced


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"fan_out": (4,)}, r"of each input, shape \[6\], found \[1\]"),
        ({"fan_out": 4}, r"of each input, shape \[6\], found \[\]"),
        ({"fan_out": (4.0,) * 6}, "of integers, found float64"),
        ({"fan_out": (6,) * 6}, "of 0 to 4, a connection to each output at most, found 6 to 6"),
        ({"fan_out": (-4,) * 6}, "of 0 to 4"),
        ({"fan_out": (0,) * 6}, "sums up to the 24 weights or more, found 0"),
        ({"fan_out": (2,) * 6}, "sums up to the 24 weights or more, found 12"),
        ({"fan_in": 0}, "expected a fan_in of 1 to 6"),
        ({"fan_in": 7}, "expected a fan_in of 1 to 6"),
        ({"fan_in": 5}, "24 connections to 4 outputs; expected a fan_in"),
        ({"weights": 23}, "has 24 parameters, its connectivity accounts for 23"),
        ({"output_shape": (5,)}, r"is that of frames \[5\], and it sends \[4\]"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(said, message):
    model = network(Own(tuple(said.items())))
    with pytest.raises(ValueError, match=message) as error:
        ran(model)
    assert "layers_0" in str(error.value) and "connectivity.register" in str(error.value)


@given(st.lists(st.integers(-1, 6), min_size=INPUTS, max_size=INPUTS))
def test_of_all_fan_outs_only_possible_ones_give_an_energy(fan_out):
    possible = np.asarray(fan_out)
    wiring = _own(Own(), (INPUTS,))._replace(fan_out=possible)
    if 0 <= possible.min() and possible.max() <= OUTPUTS and possible.sum() >= INPUTS * OUTPUTS:
        wiring.check((INPUTS,), (OUTPUTS,), "own")
    else:
        with pytest.raises(ValueError, match="expected a connectivity with fan_out"):
            wiring.check((INPUTS,), (OUTPUTS,), "own")


class Twice(nn.Dense):
    @nn.compact
    def __call__(self, frames):
        return super().__call__(frames) + super().__call__(jnp.roll(frames, 1, -1))


class Renamed(nn.Dense):
    """Computes what Dense does."""


def test_a_subclass_that_computes_something_else_says_so_itself():
    with pytest.raises(ValueError, match=r"Twice has a __call__ of its own.*registered for Dense"):
        ran(network(Twice(OUTPUTS)))
    layer = ran(network(Renamed(OUTPUTS)))[1].layers[0]
    assert layer.synops.tolist() == (FRAMES.sum((0, 2)) * OUTPUTS).tolist()


class Projection(nn.Module):
    """A product between two layers, with weights outside of `params`."""

    @nn.compact
    def __call__(self, frames, train=False):
        eye = self.variable("buffers", "matrix", lambda: jnp.eye(OUTPUTS))
        return frames @ eye.value


def test_weights_outside_of_params_are_accounted_for_too():
    layers = network(nn.Dense(OUTPUTS)).layers
    model = Network((layers[0], Projection(), layers[1]))
    with pytest.raises(ValueError, match="the 16 parameters of layers_1/matrix"):
        ran(model)
    assert ran(model, unpriced=["layers_1/matrix"])[1].unpriced == ("layers_1/matrix",)


class IntegerSpikes(LIF):
    kind = jnp.int8

    def step(self, params, state, current):
        state, spikes = super().step(params, state, current)
        return state, spikes.astype(self.kind)


class TrueSpikes(IntegerSpikes):
    kind = jnp.bool_


@pytest.mark.parametrize("neuron", [IntegerSpikes(), TrueSpikes()], ids=lambda n: type(n).__name__)
def test_spikes_that_no_gradient_passes_through_are_refused(neuron):
    model = Spiking(nn.Dense(OUTPUTS), neuron, name="hidden")
    with pytest.raises(ValueError, match=r"'hidden'.*through which no gradient passes"):
        ran(model)
