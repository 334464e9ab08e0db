"""Losses by hand, the energy term, and the term against dead layers."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jsnn.energy import estimate_energy
from jsnn.hardware import get
from jsnn.neurons import LIF
from jsnn.nn import run
from jsnn.nn.layers import Spiking
from jsnn.surrogate import ATan
from jsnn.train.losses import accuracy, cross_entropy, every_step, tet
from jsnn.train.objective import Objective, active_share
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

MACHINE = get("neuromorphic-22nm")


def nll(logits, label):
    return np.log(np.exp(logits).sum()) - logits[label]


def test_losses_are_their_sums(key):
    outputs = np.asarray(jax.random.normal(key, (5, 3, 4)))
    labels = np.array([2, 0, 3])
    steps = np.array([[0, 1, 2, 3, 0], [1, 1, 1, 1, 1], [3, 2, 1, 0, 3]])
    np.testing.assert_allclose(
        cross_entropy(outputs[0], labels),
        [nll(outputs[0, b], labels[b]) for b in range(3)],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        every_step(outputs, steps),
        [np.mean([nll(outputs[t, b], steps[b, t]) for t in range(5)]) for b in range(3)],
        rtol=1e-5,
    )
    by_hand = [
        0.9 * np.mean([nll(outputs[t, b], labels[b]) for t in range(5)])
        + 0.1 * np.mean((outputs[:, b] - 1) ** 2)
        for b in range(3)
    ]
    np.testing.assert_allclose(tet(outputs, labels, lamb=0.1), by_hand, rtol=1e-5)


def test_accuracy_of_windows_steps_and_means():
    outputs = jnp.array([[[0.0, 1.0]], [[3.0, 0.0]], [[0.0, 1.0]]])
    assert accuracy(outputs[0], jnp.array([1])).tolist() == [1.0]
    np.testing.assert_allclose(accuracy(outputs, jnp.array([[1, 1, 1]])), [2 / 3])
    assert accuracy(outputs, jnp.array([0])).tolist() == [1.0]


def test_true_derivatives(key):
    with jax.enable_x64(True):
        outputs = jax.random.normal(key, (3, 2, 4), jnp.float64)
        labels = jnp.array([1, 3])
        check_grads(jax.jit(lambda o: cross_entropy(o[0], labels)), (outputs,), order=2)
        check_grads(jax.jit(lambda o: tet(o, labels)), (outputs,), order=2)


def silent_network():
    """A layer whose neurons all sit far below threshold, and its workload as a function."""
    layer = Spiking(
        nn.Dense(6, kernel_init=nn.initializers.constant(-0.3)),
        LIF(tau_mem=2e-3, surrogate=ATan()),
        input_kind="events",
    )
    frames = jnp.ones((4, 2, 5))
    variables = jax.jit(layer.init)(jax.random.key(0), frames)
    return variables, lambda v: run(layer, v, frames)[1]


def test_living_is_half_at_half_and_pulls_a_silent_layer_up():
    workload = Workload((dense(8, 4, steps=5, rate=0.1, rate_out=0.04),))
    np.testing.assert_allclose(active_share(workload), [0.5], rtol=1e-6)
    variables, workload_of = silent_network()
    assert float(active_share(workload_of(variables))[0]) == 0
    grads = jax.grad(lambda v: active_share(workload_of(v)).sum())(variables)
    assert float(grads["params"]["synapse"]["bias"].min()) > 0


def test_objective_adds_its_terms():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.0),))
    objective = Objective("cross-entropy", MACHINE, energy_weight=0.3, dead_neuron_weight=2.0)
    outputs, labels = jnp.zeros((1, 4)), jnp.array([1])
    reference = jnp.float32(1e4)
    loss, terms = objective(outputs, labels, workload, reference)
    relative = float(estimate_energy(workload, MACHINE).total_pj()[0]) / 1e4
    np.testing.assert_allclose(terms["energy"], relative, rtol=1e-6)
    np.testing.assert_allclose(terms["dead_neurons"], 1.0)
    np.testing.assert_allclose(loss, np.log(4) + 0.3 * (relative + 2.0), rtol=1e-6)
    alone, _ = dataclasses.replace(objective, energy_weight=0.0)(
        outputs, labels, workload, reference
    )
    np.testing.assert_allclose(alone, np.log(4), rtol=1e-6)


def test_the_dead_neuron_penalty_is_zero_while_neurons_fire():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    _, terms = Objective("cross-entropy", MACHINE, energy_weight=1.0)(
        jnp.zeros((1, 4)), jnp.array([1]), workload, jnp.float32(1)
    )
    assert float(terms["dead_neurons"]) == 0


def test_the_energy_term_reaches_the_weights_of_every_layer(key):
    from jsnn.models import MLP

    model = MLP((12, 8), 3, neuron=LIF(tau_mem=2e-3))
    frames = jnp.broadcast_to(jax.random.uniform(key, (2, 6)), (4, 2, 6))
    variables = jax.jit(model.init)(key, frames)

    def energy(params):
        _, workload = run(model, {**variables, "params": params}, frames)
        return estimate_energy(workload, MACHINE).total_pj().mean()

    grads = jax.jit(jax.grad(energy))(variables["params"])
    for name in ("hidden_0", "hidden_1"):
        assert float(jnp.abs(grads[name]["synapse"]["kernel"]).max()) > 0
    assert float(jnp.abs(grads["readout"]["synapse"]["kernel"]).max()) == 0


def test_the_weight_ramps_up_linearly():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    objective = Objective("cross-entropy", MACHINE, energy_weight=0.4, ramp_steps=10)
    loss = {
        step: float(
            objective(jnp.zeros((1, 4)), jnp.array([1]), workload, jnp.float32(1e4), step)[0]
        )
        for step in (0, 5, 10, 99, None)
    }
    np.testing.assert_allclose(loss[0], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(loss[5], (loss[0] + loss[10]) / 2, rtol=1e-6)
    assert loss[10] == loss[99] == loss[None]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="task must be one of"):
        Objective("regression", MACHINE)
    with pytest.raises(ValueError, match="energy_weight must not be negative"):
        Objective("tet", MACHINE, energy_weight=-1)
    with pytest.raises(ValueError, match="energy_weight must not be negative"):
        Objective("tet", MACHINE, energy_weight=float("nan"))
    with pytest.raises(ValueError, match="least_active_share"):
        Objective("tet", MACHINE, least_active_share=0)
    for loss, outputs, labels in (
        (cross_entropy, jnp.zeros((2, 3, 4)), jnp.zeros(3, int)),
        (every_step, jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), int)),
        (tet, jnp.zeros((3, 4)), jnp.zeros(3, int)),
    ):
        with pytest.raises(ValueError, match="check the readout"):
            loss(outputs, labels)
