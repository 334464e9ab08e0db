"""Diagnosis of a run: silent neurons, and the words about accuracy and energy."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsnn
from jsnn.neurons import LI, LIF
from jsnn.nn.layers import Network, Spiking
from jsnn.readouts import MeanMembrane
from jsnn.train import diagnosis

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(jsnn.run, static_argnums=0)


@pytest.fixture(scope="module")
def mlp():
    model = jsnn.models.MLP((12, 9), 3, neuron=LIF(tau_mem=2e-3), gain=6.0)
    frames = jnp.broadcast_to(jax.random.uniform(jax.random.key(1), (4, 8)), (5, 4, 8))
    return model, jax.jit(model.init)(jax.random.key(0), frames), frames


def result(**changed):
    """A run's result as the training script writes it."""
    base = {
        "config": {"hardware": "hierarchy-45nm"},
        "test_accuracy": 0.9722,
        "test_accuracy_at_weight_bits": {"weight_bits": 8, "accuracy": 0.97},
        "test_majority": 0.1028,
        "initial_pj": 900e3,
        "total_pj": 300e3,
        "spike_independent_pj": 200e3,
        "spike_dependent_pj": 100e3,
        "qnn_pj": 150e3,
        "energy_ratio": 2.0,
        "op_count_pj": 12e3,
        "layers": ["hidden_0", "hidden_1", "readout"],
        "spikes": [40.0, 1234.5, 0.0],
        "spike_rates": [0.0125, 0.25, 0.0],
        "silent_layers": {
            "hidden_0": {"neurons": 256, "silent": 20},
            "hidden_1": {"neurons": 256, "silent": 128},
        },
        "constants": ["EXACT", "SECONDARY"],
        "unpriced": {"static": "no power published", "routing": "no power published"},
    }
    return base | changed


def test_silent_neurons_are_counted_and_readouts_left_out():
    ever = [np.array([[2.0, 0.0], [0.0, 1e-9]]), np.zeros(3), np.zeros(10)]
    result = diagnosis.silent_layers(["conv", "hidden", "readout"], ever, [True, True, False])
    assert result == {
        "conv": {"neurons": 4, "silent": 2},
        "hidden": {"neurons": 3, "silent": 3},
    }
    assert json.loads(json.dumps(result)) == result


def test_silent_layers_of_a_run(mlp):
    model, variables, frames = mlp
    _, workload = ran(model, variables, frames)
    ever = [layer.spikes.sum(0) for layer in workload]
    spiking = [layer.geometry.spiking for layer in workload]
    result = diagnosis.silent_layers(workload.names, ever, spiking)
    trains = diagnosis.spike_trains(model, variables, frames)
    assert result == {
        name: {"neurons": spikes.shape[-1], "silent": int((spikes.sum((0, 1)) == 0).sum())}
        for name, spikes in trains.items()
    }


def test_silent_layers_refuse_bad_counts():
    with pytest.raises(ValueError, match="1, 2 and 1"):
        diagnosis.silent_layers(["a"], [[1], [2]], [True])
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="'a'"):
            diagnosis.silent_layers(["a"], [[1.0, bad]], [True])


def test_spike_trains_are_what_the_workload_counted(mlp):
    model, variables, frames = mlp
    trains = diagnosis.spike_trains(model, variables, frames)
    _, workload = ran(model, variables, frames)
    assert list(trains) == ["hidden_0", "hidden_1"]
    for name, spikes in trains.items():
        assert set(np.unique(spikes)) == {0.0, 1.0}
        np.testing.assert_array_equal(spikes.sum(0), workload[name].spikes)


def test_spike_trains_of_images_are_flat():
    model = jsnn.models.ConvNet((2,), 4, hidden=5)
    frames = jnp.ones((3, 2, 8, 8, 1))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    trains = diagnosis.spike_trains(model, variables, frames)
    assert {name: spikes.shape for name, spikes in trains.items()} == {
        "conv_0": (3, 2, 128),
        "hidden": (3, 2, 5),
    }


def test_layers_come_in_running_order_under_the_names_of_the_workload():
    hidden = tuple(Spiking(nn.Dense(4), LIF()) for _ in range(11))
    readout = Spiking(nn.Dense(2), LI(), readout=MeanMembrane())
    model, frames = Network((*hidden, readout)), jnp.ones((2, 1, 3))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    _, workload = ran(model, variables, frames)
    trains = diagnosis.spike_trains(model, variables, frames)
    assert list(trains) == [f"layers_{number}" for number in range(11)]
    assert (*trains, "layers_11") == workload.names


def test_a_layer_used_twice_appears_twice():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, frames, train=False):
            layer = Spiking(nn.Dense(3), LIF(), name="shared")
            return layer(layer(frames, train), train)

    model, frames = Twice(), jnp.ones((2, 1, 3))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    trains = diagnosis.spike_trains(model, variables, frames)
    assert tuple(trains) == ran(model, variables, frames)[1].names == ("shared", "shared#2")


def test_records_of_an_earlier_pass_are_not_counted_again(mlp):
    model, variables, frames = mlp
    _, left_over = model.apply(variables, frames, mutable=["workload", "intermediates"])
    stale = {"hidden_0": {"__call__": (jnp.ones((1, 1, 1)),)}}
    again = diagnosis.spike_trains(
        model, {**variables, **left_over, "intermediates": stale}, frames
    )
    for name, spikes in diagnosis.spike_trains(model, variables, frames).items():
        np.testing.assert_array_equal(again[name], spikes)
    assert list(again) == ["hidden_0", "hidden_1"]


def test_a_model_without_hidden_layers_is_refused():
    model = Spiking(nn.Dense(2), LI(), readout=MeanMembrane())
    frames = jnp.ones((2, 1, 3))
    with pytest.raises(ValueError, match="no hidden spiking layer"):
        diagnosis.spike_trains(model, model.init(jax.random.key(0), frames), frames)


def test_a_lone_layer_goes_by_the_name_of_its_workload():
    model, frames = Spiking(nn.Dense(2), LIF()), jnp.ones((2, 1, 3))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    trains = diagnosis.spike_trains(model, variables, frames)
    assert tuple(trains) == ran(model, variables, frames)[1].names


def test_description_of_a_run():
    assert diagnosis.describe(result()) == [
        "Test accuracy 97.22%; 97.00% with weights rounded to 8 bits; 10.28% by always answering "
        "the commonest class.",
        "Energy estimate on hierarchy-45nm, per inference: 900 nJ before training -> 300 nJ after, "
        "3x less.",
        "Spike-independent energy, with no hidden spike at all: 200 nJ. "
        "Still spike-dependent: 100 nJ, 14.3% of what was spike-dependent before training.",
        "Three numbers: operation count 12 nJ (synapses only) | energy estimate 300 nJ | QNN "
        "150 nJ.",
        "The spiking network costs 2x its QNN: it loses.",
        "Spikes per neuron and step (per inference): hidden_0 0.0125 (40.0), hidden_1 0.25 "
        "(1,234.5)",
        "Constants behind the energy: EXACT, SECONDARY.",
        "Unpriced on this machine: static, routing (no power published).",
    ]


@pytest.mark.parametrize(("ratio", "verdict"), [(1.8, "it loses"), (0.6, "it wins")])
def test_verdict_against_the_qnn(ratio, verdict):
    text = "\n".join(diagnosis.describe(result(energy_ratio=ratio)))
    assert f"costs {ratio}x its QNN: {verdict}." in text


def test_a_energy_that_grew_is_said_to_have_grown():
    text = "\n".join(diagnosis.describe(result(initial_pj=100e3)))
    assert "3x more" in text
    # With a spike-independent energy above the initial energy no share of it can be stated.
    assert "Still spike-dependent: 100 nJ." in text


@pytest.mark.parametrize(
    ("silent", "warnings"),
    [
        (0, []),
        (128, []),
        (129, ["WARNING: layer hidden_0 is mostly silent: 129 of its 256 neurons never fired"]),
        (256, ["WARNING: layer hidden_0 fell silent: none of its 256 neurons fired"]),
    ],
)
def test_warnings_of_silent_layers(silent, warnings):
    counts = {"hidden_0": {"neurons": 256, "silent": silent}}
    lines = diagnosis.describe(result(silent_layers=counts))
    actual = [line for line in lines if line.startswith("WARNING")]
    assert [line[: len(start)] for line, start in zip(actual, warnings, strict=True)] == warnings


def test_a_foreign_result_is_refused():
    partial = result()
    del partial["spike_independent_pj"]
    with pytest.raises(ValueError, match="spike_independent_pj"):
        diagnosis.describe(partial)
