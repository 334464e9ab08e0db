"""One contract over all regularisers, and each by hand in NumPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsnn
from jsnn.energy import estimate_energy
from jsnn.energy.qnn import estimate_qnn_energy
from jsnn.neurons import LIF
from jsnn.nn import run
from jsnn.surrogate import Sigmoid
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Activity, DeadNeurons, Energy, Objective
from jsnn.train.regularisers import (
    REGULARISERS,
    EnergyRatio,
    Hoyer,
    RateBounds,
    SquaredRate,
    SynopsTarget,
    WeightsAndActivations,
    make,
)
from jsnn.train.state import init_state, start_terms

MACHINE = jsnn.hardware.get("neuromorphic-22nm")
FRAMES = (jax.random.uniform(jax.random.key(3), (5, 4, 12)) < 0.4).astype(jnp.float32)
NEURON = LIF(tau_mem=10e-3, surrogate=Sigmoid())
MODELS = {
    "mlp": jsnn.models.MLP((9, 7), 3, neuron=NEURON, input_kind="events"),
    "srnn": jsnn.models.SRNN((6,), 3, neuron=NEURON, input_kind="events"),
}
NAMES = sorted(REGULARISERS)


@functools.cache
def network(kind="mlp"):
    model = MODELS[kind]

    @jax.jit
    def begin(key):
        variables = jax.jit(model.init)(key, FRAMES)
        return variables["params"], run(model, variables, FRAMES)[1], variables["constants"]

    return begin(jax.random.key(1))


def squares(counts):
    """Of each sample; one where it is silent, whose numerator is zero."""
    sums = (counts**2).sum(1)
    return np.where(sums > 0, sums, 1)


def by_hand(name, params, workload):
    """The same numbers from the events alone, in NumPy."""
    layers = list(workload)
    hidden = [layer for layer in layers if layer.geometry.spiking]
    counts = [np.asarray(layer.spikes, np.float64).reshape(4, -1) for layer in hidden]
    steps = layers[0].steps
    rate = sum(c.sum(1) for c in counts) / (steps * sum(c.shape[1] for c in counts))
    done, wired = np.zeros(4), 0
    for layer in layers:
        g = layer.geometry
        if g.input_kind == "spikes":
            done += np.asarray(layer.events_by_fan_out)[:, 0] * g.neurons
            wired += g.inputs * g.neurons
        if g.recurrent_weights:
            done += np.asarray(layer.recurrent_events) * g.neurons
            wired += g.neurons**2
    synops = done / (wired * steps)
    sizes = [np.abs(x).sum() for x in jax.tree.leaves(params) if x.ndim == 2]
    pj = np.asarray(estimate_energy(workload, MACHINE).parts_pj).sum((1, 2))
    qnn_pj = np.asarray(estimate_qnn_energy(workload, MACHINE, "average").parts_pj).sum((1, 2))
    bounds = [
        (np.maximum(c.mean(1) / steps - 0.01, 0) ** 2).mean()
        + (np.maximum(0.001 - c / steps, 0) ** 2).mean()
        for c in counts
    ]
    return {
        "energy": pj.mean(),
        "energy-ratio": pj.mean() / qnn_pj.mean(),
        "l1-rate": rate.mean(),
        "squared-rate": ((rate - 0.01) ** 2).mean(),
        "hoyer": np.mean([(c.sum(1) ** 2 / squares(c)).mean() / c.shape[1] for c in counts]),
        "rate-bounds": np.mean(bounds),
        "synops-target": ((synops - 0.01) ** 2).mean(),
        "synaptic-penalty": synops.mean(),
        "weights-activations": sum(c.mean() / steps for c in counts) + 4e-6 * sum(sizes),
    }[name]


@jax.jit
def values(workload, params):
    """All of them in one program."""
    return {name: make(name, MACHINE)(workload, params) for name in NAMES}


@functools.cache
def slopes_of_parameters():
    params, _, constants = network()

    def value(params, name):
        _, workload = run(MODELS["mlp"], {"params": params, "constants": constants}, FRAMES)
        return make(name, MACHINE)(workload, params)

    grads = jax.jit(lambda p: {name: jax.grad(value)(p, name) for name in NAMES})
    return grads(params)


@functools.cache
def slopes_in_silence():
    params, workload, _ = network()

    def grads(workload):
        return {n: jax.grad(lambda w, n=n: make(n, MACHINE)(w, params))(workload) for n in NAMES}

    return jax.jit(grads)(workload.silenced())


def finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def at(workload, samples):
    return jax.tree.map(lambda x: x[jnp.array(samples)], workload)


@functools.cache
def value_of_sample(b):
    params, workload, _ = network()
    return values(at(workload, [b]), params)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_equals_its_formula(name, kind):
    params, workload, _ = network(kind)
    value = values(workload, params)[name]
    assert value.shape == ()
    np.testing.assert_allclose(value, by_hand(name, params, workload), rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_is_a_mean_over_samples(name):
    """Samples may come twice or in another order, and a batch is the mean of its samples."""
    params, workload, _ = network()
    each = np.array([float(value_of_sample(b)[name]) for b in range(4)])
    # A ratio is of means: each sample counts by what its QNN costs.
    weights = np.ones(4)
    if name == "energy-ratio":
        weights = np.asarray(estimate_qnn_energy(workload, MACHINE, "average").total_pj())
    for samples in ([0, 1, 2, 3], [2, 0, 2, 0], [3, 3, 3, 3]):
        whole = values(at(workload, samples), params)[name]
        mean = np.average(each[samples], weights=weights[samples])
        np.testing.assert_allclose(whole, mean, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_finite_and_reaches_the_first_layer(name):
    grads = slopes_of_parameters()[name]
    assert finite(grads)
    assert float(jnp.abs(grads["hidden_0"]["synapse"]["kernel"]).max()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_silence_is_finite_and_least_where_it_should_be(name):
    """Silence costs less than the network at start; zero where nothing but spikes is counted."""
    params, workload, _ = network()
    value = float(values(workload.silenced(), params)[name])
    assert np.isfinite(value)
    assert finite(slopes_in_silence()[name])
    if name in ("l1-rate", "hoyer", "synaptic-penalty"):
        assert value == 0
    if name not in ("energy-ratio",):
        # The QNN falls silent too: of two small energies the ratio may be anything.
        assert value < float(values(workload, params)[name])


def test_targets_are_where_the_terms_are_least():
    """Zero at the target, more on both sides of it."""
    from jsnn.workload import Workload
    from jsnn.workload.analytic import dense

    def at(term, rate):
        layers = (
            dense(8, 40, steps=50, rate=0.2, rate_out=rate, input_kind="events", name="a"),
            dense(40, 4, steps=50, rate=rate, spiking=False, name="b"),
        )
        return float(term(Workload(layers)))

    for term in (SquaredRate(0.1), SynopsTarget(0.1), RateBounds(0.1, 0.1)):
        assert at(term, 0.1) < 1e-12 < min(at(term, 0.05), at(term, 0.2))


def test_hoyer_is_the_share_of_firing_neurons():
    _, workload, _ = network()
    layer = workload["hidden_0"]
    few = jnp.zeros_like(layer.spikes).at[:, :3].set(2.0)
    alone = dataclasses.replace(workload, layers=(dataclasses.replace(layer, spikes=few),))
    np.testing.assert_allclose(Hoyer()(alone), 3 / 9, rtol=1e-6)


LABELS = jnp.array([0, 1, 2, 0])


@functools.cache
def losses():
    """Loss and its gradient under the energy, under our energy by name, and under two others."""
    params, _, constants = network()
    weighed = {"weight": 0.4, "ramp_steps": 3}
    objectives = {
        name: Objective(CrossEntropy(), MACHINE, (term, DeadNeurons(**weighed)))
        for name, term in {
            "default": Energy(**weighed),
            **{
                name: Activity(make(name, MACHINE), **weighed)
                for name in ("energy", "squared-rate", "weights-activations")
            },
        }.items()
    }

    def loss(params, numbers, objective):
        outputs, workload = run(MODELS["mlp"], {"params": params, "constants": constants}, FRAMES)
        return objective(outputs, LABELS, workload, params, numbers, 2)

    state = init_state(MODELS["mlp"], optax.identity(), FRAMES, 0)
    state = dataclasses.replace(state, params=params)
    numbers = {
        name: start_terms(state, MODELS["mlp"], objective, keep, FRAMES)[0].terms
        for name, objective in objectives.items()
    }
    # A program each: of several in one XLA may fuse, and so round, equal sums in different ways.
    result = {}
    for name, objective in objectives.items():
        slope = jax.value_and_grad(functools.partial(loss, objective=objective), has_aux=True)
        result[name] = jax.jit(slope)(params, numbers[name])
    return result


def keep(key, frames):
    return frames


def test_the_energy_as_a_regulariser_is_the_default_bit_for_bit():
    (loss, terms), grads = losses()["default"]
    (same, named), others = losses()["energy"]
    terms["activity"] = terms.pop("energy")
    jax.tree.map(np.testing.assert_array_equal, (loss, terms, grads), (same, named, others))


@pytest.mark.parametrize("name", ["squared-rate", "weights-activations"])
def test_the_objective_weighs_it_relative_to_its_start(name):
    (loss, terms), grads = losses()[name]
    np.testing.assert_allclose(terms["activity"], 1, rtol=1e-5)
    cost = 0.4 * 2 / 3 * (terms["activity"] + terms["dead_neurons"])
    np.testing.assert_allclose(loss, terms["task"] + cost, rtol=1e-6)
    _, workload, _ = network()
    np.testing.assert_allclose(
        terms["total_pj"], estimate_energy(workload, MACHINE).total_pj().mean(), 1e-5
    )
    assert finite(grads)


def test_a_term_that_starts_at_zero_has_no_unit():
    state = init_state(MODELS["mlp"], optax.identity(), FRAMES, 0)
    objective = Objective(CrossEntropy(), MACHINE, (Activity(RateBounds(0.0, 1.0)),))
    message = "the term 'activity' of the untrained network is 0, which"
    with pytest.raises(ValueError, match=message):
        start_terms(state, MODELS["mlp"], objective, keep, FRAMES)


def test_the_qnn_ratio_falls_where_spikes_are_dearer():
    _, workload, _ = network()
    dear = MACHINE.with_design(hops=4.0)
    assert float(EnergyRatio(dear)(workload)) != float(EnergyRatio(MACHINE)(workload))
    measured = EnergyRatio(MACHINE, "measured")(workload)
    np.testing.assert_allclose(measured, jsnn.mean_energy_ratio(workload, MACHINE), rtol=1e-5)


def test_bad_input_is_refused():
    _, workload, _ = network()
    with pytest.raises(ValueError, match="unknown regulariser 'l2'; there are: energy"):
        make("l2", MACHINE)
    with pytest.raises(ValueError, match="target must not be negative"):
        SquaredRate(-0.1)
    with pytest.raises(ValueError, match="bounds must not cross"):
        RateBounds(0.2, 0.1)
    with pytest.raises(ValueError, match="needs the parameters"):
        WeightsAndActivations()(workload)
    readout = dataclasses.replace(workload, layers=workload.layers[-1:])
    with pytest.raises(ValueError, match="nothing to regularise"):
        make("l1-rate", MACHINE)(readout)
    first = dataclasses.replace(workload, layers=workload.layers[:1])
    with pytest.raises(ValueError, match="reaches a synapse"):
        make("synaptic-penalty", MACHINE)(first)
