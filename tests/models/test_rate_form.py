"""The QNN as a trained network: its quantiser, its record, its energy and its gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsnn
from jsnn.energy.qnn import activation_bits, estimate_qnn_energy, qnn_workload
from jsnn.models import MLP
from jsnn.models.rate_form import QNNEnergy, QuantisedReLU, as_window, qnn_mlp, unread_pj
from jsnn.neurons import LIF
from jsnn.nn import run
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Activity, Objective

MACHINE = jsnn.hardware.get("neuromorphic-22nm")
SPATIAL = jsnn.hardware.get("spatial-45nm")
STEPS = 6
MODEL = qnn_mlp(MLP((9, 7), 3), activation_bits(STEPS))
FRAMES = jax.random.uniform(jax.random.key(3), (1, 5, 12)) * (jnp.arange(12) > 2)


@functools.cache
def recorded():
    variables = jax.jit(MODEL.init)(jax.random.key(1), FRAMES)
    outputs, workload = jax.jit(lambda given: run(MODEL, given, FRAMES))(variables)
    return variables["params"], np.asarray(outputs), workload


def by_hand(params):
    """Levels of each hidden layer, and the outputs up to the factor of the readout."""
    x, levels = np.asarray(FRAMES[0], np.float64), []
    for name in ("hidden_0", "hidden_1"):
        synapse = params[name]["synapse"]
        z = x @ np.asarray(synapse["kernel"]) + np.asarray(synapse["bias"])
        levels.append(np.clip(np.floor(7 * z + 0.5), 0, 7))
        x = levels[-1] / 7
    synapse = params["readout"]["synapse"]
    return levels, x @ np.asarray(synapse["kernel"]) + np.asarray(synapse["bias"])


def test_levels_are_those_of_numpy_and_events_are_counted_in_levels():
    params, outputs, workload = recorded()
    levels, logits = by_hand(params)
    for name, expected in zip(("hidden_1", "readout"), levels, strict=True):
        layer = workload[name]
        np.testing.assert_allclose(layer.events_by_fan_out[:, 0], expected.sum(1), rtol=1e-5)
        np.testing.assert_allclose(layer.active[:, 0], (expected > 0).sum(1), rtol=1e-5)
    # A leaky integrator of one step is a factor.
    factor = outputs / logits
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-3)


def test_gradient_is_straight_through_inside_the_clip():
    neuron = QuantisedReLU(2)
    params = neuron.init_params(jax.random.key(0), (1,))
    for z, expected in ((-0.5, 0.0), (0.1, 1.0), (0.9, 1.0), (1.5, 0.0)):
        slope = jax.grad(lambda z: neuron.step(params, None, z[None, None])[1].sum())(
            jnp.float32(z)
        )
        assert float(slope) == expected


@pytest.mark.parametrize("machine", [MACHINE, SPATIAL], ids=lambda machine: machine.name)
def test_its_energy_is_that_of_what_it_does(machine):
    """The energy of a workload written out word by word: one frame, non-zeros as they are."""
    params, _, workload = recorded()
    levels, _ = by_hand(params)
    shown = [np.asarray(FRAMES[0]) != 0, *(x > 0 for x in levels)]
    passes = qnn_workload(as_window(workload, STEPS))
    for layer, words in zip(passes, shown, strict=True):
        np.testing.assert_allclose(layer.macs, words.sum(1) * layer.geometry.neurons, rtol=1e-5)
        assert layer.steps == 1 and layer.geometry.ops.state_words == 0
    measured = QNNEnergy(machine, STEPS).per_sample(workload)
    expected = estimate_qnn_energy(as_window(workload, STEPS), machine).total_pj()
    np.testing.assert_allclose(measured, expected, rtol=1e-6)


def test_measured_and_formula_agree_where_levels_are_uniform():
    """Theorem 2's mid-point: non-zeros uniform over levels 1 to T; energies, densities equal."""
    _, _, workload = recorded()
    layer = workload["readout"]
    # Six of seven inputs send, one each of the levels 1 to 6.
    even = dataclasses.replace(
        layer,
        active=jnp.full_like(layer.active, 6.0),
        events_by_fan_out=jnp.full_like(layer.events_by_fan_out, 1.0 + 2 + 3 + 4 + 5 + 6),
    )
    window = as_window(dataclasses.replace(workload, layers=(even,)), STEPS)
    for machine in (MACHINE, SPATIAL):
        measured, formula = (
            estimate_qnn_energy(window, machine, d).total_pj() for d in ("measured", "average")
        )
        np.testing.assert_allclose(measured, formula, rtol=1e-6)
    # All at the highest level the formula expects 12 / 7 times as many words, at most all.
    top = dataclasses.replace(even, events_by_fan_out=jnp.full_like(layer.events_by_fan_out, 36.0))
    window = as_window(dataclasses.replace(workload, layers=(top,)), STEPS)
    formula = qnn_workload(window, "average").layers[0].active
    np.testing.assert_allclose(formula, 7.0)


def test_weights_of_zeros_are_those_of_idle_connections():
    params, _, workload = recorded()
    levels, _ = by_hand(params)
    shown = [np.asarray(FRAMES[0]) != 0, *(x > 0 for x in levels)]
    idle = sum((~w).sum(1) * n for w, n in zip(shown, (9, 7, 3), strict=True))
    np.testing.assert_allclose(
        unread_pj(workload, MACHINE, STEPS), idle * 0.0385 * 8, rtol=1e-4, atol=1e-3
    )
    with pytest.raises(ValueError, match="has the design parameter"):
        unread_pj(workload, SPATIAL, STEPS)
    with pytest.raises(ValueError, match="charges no weight read"):
        unread_pj(workload, jsnn.hardware.get("compute-only-45nm"), STEPS)


def test_training_against_the_energy_lowers_it():
    params, _, _ = recorded()
    term = QNNEnergy(MACHINE, STEPS)
    constants = jax.jit(MODEL.init)(jax.random.key(1), FRAMES)["constants"]

    def value(params):
        variables = {"params": params, "constants": constants}
        return term(run(MODEL, variables, FRAMES)[1], params)

    slope = jax.jit(jax.value_and_grad(value))
    before, grads = slope(params)
    for name in ("hidden_0", "hidden_1"):
        assert float(jnp.abs(grads[name]["synapse"]["kernel"]).max()) > 0
    for _ in range(5):
        size = sum(float((g**2).sum()) for g in jax.tree.leaves(grads)) ** 0.5
        params = jax.tree.map(lambda p, g, size=size: p - 0.3 * g / size, params, grads)
        after, grads = slope(params)
    assert float(after) < 0.9 * float(before)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))


def test_it_goes_where_the_spiking_network_goes():
    """Same parameters except those of the neuron, and an objective takes its energy."""
    plain = jsnn.models.MLP((9, 7), 3, neuron=LIF())
    shapes = jax.eval_shape(plain.init, jax.random.key(0), FRAMES)["params"]
    params, outputs, workload = recorded()
    for name in shapes:
        same = jax.tree.map(
            lambda a, b: a.shape == b.shape, shapes[name]["synapse"], params[name]["synapse"]
        )
        assert all(jax.tree.leaves(same))
    term = Activity(QNNEnergy(MACHINE, STEPS))
    objective = Objective(CrossEntropy(), MACHINE, (term,))
    labels = jnp.array([0, 1, 2, 0, 1])
    unit = QNNEnergy(MACHINE, STEPS)(workload)
    numbers = {"activity": {"weight": 1.0, "reference": unit}}
    _, terms = objective(jnp.asarray(outputs), labels, workload, params, numbers)
    np.testing.assert_allclose(terms["activity"], 1, rtol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one bit"):
        QuantisedReLU(0)
    with pytest.raises(ValueError, match="expected 1 <= steps, found 0"):
        QNNEnergy(MACHINE, 0)
    with pytest.raises(ValueError, match="at least one bit"):
        qnn_mlp(MLP((4,), 3), 0)
    with pytest.raises(ValueError, match="layer widths"):
        qnn_mlp(MLP((), 3), 2).init(jax.random.key(0), FRAMES)
