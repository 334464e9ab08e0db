"""Integers do what the network trained on grids does: every spike, every output."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn._ops.precision import PRECISIONS
from jsnn.codesign.bit_widths import Bits, Width
from jsnn.export.integer import IntegerNetwork, export, input_step
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import IF, LI, LIF, Fixed
from jsnn.nn.layers import Network
from jsnn.readouts import LastMembrane, MaxMembrane, PerStep, SpikeCount, SumSoftmax
from jsnn.train.levers import Lever, Levered, split

BITS = Bits(Width(8, 2, 8), Width(10, 2, 12))
SPIKES = Fixed(LIF(tau_mem=4e-3))
RESET = Fixed(LIF(tau_mem=2e-3, reset="zero", v_reset=-0.3, strict=True, scale_input=True, r=3.0))
OUT = Fixed(LI(tau_mem=2e-3, r=3.0))
NETWORKS = {
    "mlp of constant levels": (
        MLP((7,), 3, neuron=SPIKES, readout_neuron=OUT),
        (5, 3, 9),
        1 / 16,
    ),
    "mlp of events, without leak": (
        MLP((7,), 3, neuron=Fixed(IF(start=0.5)), readout_neuron=Fixed(IF()), input_kind="events",
            readout=SpikeCount()),
        (5, 3, 9),
        1.0,
    ),
    "recurrent": (
        SRNN((6,), 3, neuron=RESET, readout_neuron=OUT, readout=PerStep()),
        (6, 3, 8),
        1.0,
    ),
    "convolution of levels in time": (
        ConvNet((3,), 3, neuron=SPIKES, readout_neuron=OUT, normalise=False, hidden=5,
                input_kind="analog", readout=MaxMembrane()),
        (4, 2, 6, 5, 2),
        1 / 8,
    ),
}  # fmt: skip


def frames_of(shape, step, seed):
    """Counts of events, or levels in [-1, 1]; sixteenths stay the same over time."""
    rng = np.random.default_rng(seed)
    if step == 1:
        return rng.poisson(0.7, shape).astype(np.float32)
    most = round(1 / step)
    levels = (rng.integers(-most, most + 1, shape) * step).astype(np.float32)
    return np.broadcast_to(levels[:1], shape) if most == 16 else levels


def scrambled(variables, seed):
    """Weights of other sizes, biases, and ranges and bits drawn anew, layer by layer."""
    rng = np.random.default_rng(seed)
    drawn = {
        "weight_bits": lambda leaf: rng.integers(2, 9),
        "state_bits": lambda leaf: rng.integers(2, 13),
        "state": lambda leaf: leaf + rng.normal(0, 0.5),
        "kernel": lambda leaf: leaf + rng.normal(0, 0.3),
        "recurrent": lambda leaf: leaf + rng.normal(0, 0.3),
    }
    network, leaves = split(variables["params"])
    leaves = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.float32(drawn[path[-1].key](leaf)), leaves
    )

    def weights(path, leaf):
        spread = 0.3 if path[-1].key == "bias" else float(leaf.std()) * rng.uniform(1, 2.5)
        return jnp.asarray(rng.normal(0.03, spread, leaf.shape), leaf.dtype)

    network = jax.tree_util.tree_map_with_path(weights, network)
    return {**variables, "params": {"network": network, "levers": leaves}}


@pytest.mark.parametrize("name", NETWORKS)
def test_spike_for_spike(name, tmp_path):
    model, shape, step = NETWORKS[name]
    levered = Levered(model, (BITS,))
    start = jax.jit(levered.init)(jax.random.key(0), jnp.zeros(shape))
    names = sorted(start["params"]["network"])
    assert names[-1] == "readout"

    @jax.jit
    def floats_of(variables, frames):
        outputs, caught = levered.apply(
            variables, frames, capture_intermediates=True, mutable=["intermediates"]
        )
        layers = {name: caught["intermediates"][name]["__call__"][0] for name in names}
        return outputs, layers

    seen, exported = dict.fromkeys(names[:-1], 0), itertools.count()

    @settings(max_examples=8)
    @given(st.integers(0, 2**16))
    def agree(seed):
        variables, frames = scrambled(start, seed), frames_of(shape, step, seed)
        network = export(levered, variables, input_step=step, largest_input=abs(frames).max())
        file = tmp_path / f"{next(exported)}.npz"
        network.save(file)
        network = IntegerNetwork.load(file)
        for layer in network.layers:
            arrays = [a for a in vars(layer).values() if isinstance(a, np.ndarray)]
            assert all(np.issubdtype(a.dtype, np.integer) for a in arrays)
            assert layer.weights.dtype == np.int8
            assert abs(layer.weights).max() <= 2 ** (layer.weight_bits - 1)
        done = network.run(frames)
        outputs, layers = floats_of(variables, frames)
        assert done.equals(outputs).all()
        # Only a division by T is ever off, by a rounding.
        rtol = 2.0**-23 if network.readout == "MeanMembrane" else 0
        np.testing.assert_allclose(done.outputs, outputs, rtol=rtol)
        for layer in names[:-1]:
            np.testing.assert_array_equal(done.spikes[layer], layers[layer])
            seen[layer] += int(done.spikes[layer].sum())

    agree()
    # Nothing would be shown by silence.
    assert all(count > 0 for count in seen.values())


MODEL = MLP((4,), 3, neuron=SPIKES, readout_neuron=OUT, input_kind="events")
FRAMES = np.ones((3, 2, 5), np.float32)


@functools.cache
def ready(model=MODEL, lever=BITS):
    levered = Levered(model, (lever,))
    return levered, jax.jit(levered.init)(jax.random.key(0), FRAMES)


def exported(model=MODEL, lever=BITS, **options):
    return export(*ready(model, lever), **options)


class Doubled(Lever):
    name = "doubled"

    def init(self, key, variables, workload):
        return jnp.float32(2)

    def outputs(self, leaves, outputs):
        return leaves * outputs


def other(**fields):
    return MODEL.clone(**fields)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: exported(Network((MODEL.clone(parent=None),))), "Network has no integer form"),
        (lambda: exported(other(), Doubled()), "'doubled' changes outputs"),
        (lambda: exported(other(readout=SumSoftmax(skip=0))), "'SumSoftmax' is no sum"),
        (lambda: exported(other(precision=PRECISIONS["bf16"])), "float32 alone"),
        (
            lambda: exported(other(neuron=LIF(), readout_neuron=LI()), Bits(8)),
            "computes in floating point",
        ),
        (lambda: exported(input_step=1 / 255), "must be a power of two"),
        (lambda: exported(largest_input=2.0**20), "leave the 24 bits"),
        (lambda: exported().run(FRAMES * 0.7), "multiples of 1.0, the input step"),
        (lambda: input_step(np.float64([0.1])), "round.* to a grid"),
    ],
)
def test_what_has_no_integers_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_off_their_grid_are_refused():
    class Late(Lever):
        """Scales what was on a grid."""

        name = "late"

        def init(self, key, variables, workload):
            return jnp.float32(1.01)

        def network(self, leaves, variables):
            layer = variables["params"]["readout"]
            synapse = {**layer["synapse"], "kernel": leaves * layer["synapse"]["kernel"]}
            readout = {**layer, "synapse": synapse}
            return {**variables, "params": {**variables["params"], "readout": readout}}

    levered = Levered(MODEL, (BITS, Late()))
    variables = jax.jit(levered.init)(jax.random.key(0), FRAMES)
    with pytest.raises(ValueError, match="readout: weights do not fit 8 bits"):
        export(levered, variables)
    with pytest.raises(ValueError, match=r"train it with jsnn\.codesign\.bit_widths\.Bits"):
        export(Levered(MODEL, (Late(),)), variables)


def test_the_last_membrane_is_that_of_the_last_step():
    last, steps = (other(readout=readout) for readout in (LastMembrane(), PerStep()))
    variables = ready(last)[1]
    every = export(Levered(steps, (BITS,)), variables).run(FRAMES).outputs
    np.testing.assert_array_equal(exported(last).run(FRAMES).outputs, every[-1])


def test_steps_of_inputs():
    assert input_step([0.0, 3 / 16, 1.0]) == 1 / 16
    assert input_step([4.0, 12.0]) == 4.0
