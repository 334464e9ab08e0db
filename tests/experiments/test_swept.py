"""One compiled program for runs that differ in numbers only."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build
from experiments.swept import Numbers, Steeper, Swept, task_config
from jsnn.nn import forward
from jsnn.surrogate import Sigmoid
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.losses import LOSSES
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step

TINY = {
    "dataset": "digits",
    "limit": 64,
    "widths": (8,),
    "steps": 2,
    "epochs": 2,
    "batch": 16,
    "warmup_epochs": 0.0,
}


@pytest.fixture(scope="module")
def swept():
    return Swept(task_config(TINY), "energy")


def by_steps(seed, slope, rate, strength):
    """The same run with its numbers written into config, neuron and objective."""
    config = task_config(TINY)
    config = dataclasses.replace(config, learning_rate=config.learning_rate * rate)
    data = build.dataset(config)
    hardware, encoder = build.hardware(config, data), build.encoder(config, data)
    model = build.network(config, data, encoder.input_kind)
    model = model.clone(neuron=dataclasses.replace(model.neuron, surrogate=Sigmoid(4.0 * slope)))
    steps = len(data.train) // config.batch
    terms = energy_terms(strength, ramp_steps=int(0.5 * 2 * steps))
    objective = Objective(LOSSES[config.task], hardware, terms)
    optimiser = build.optimiser(config, data)
    frames = jnp.asarray(data.train.frames)
    state = init_state(model, optimiser, encoder(jax.random.key(0), frames[:1]), seed)
    sample = jax.random.permutation(jax.random.key(seed), len(frames))[:256]
    state, _ = start_terms(state, model, objective, encoder, frames[sample])
    step = make_train_step(model, objective, optimiser, encoder)
    for epoch in (1, 2):
        order = np.random.default_rng((seed, epoch)).permutation(len(frames))
        for index in order[: steps * config.batch].reshape(steps, config.batch):
            state, _ = step(state, (frames, jnp.asarray(data.train.labels)), index)
    test = (data.test.frames, data.test.labels)
    measure = make_eval_step(model, objective, encoder)
    return evaluate(measure, state.variables, test, config.batch, jax.random.key(seed + 1))


def test_traced_numbers_do_what_written_ones_do(swept):
    numbers = {"seed": 3, "slope": 2.0, "rate": 0.5, "strength": 0.7}
    result, sums = swept.run(Numbers(**numbers)), by_steps(**numbers)
    np.testing.assert_allclose(result["pj"], sums["parts_pj"].sum() / sums["samples"], rtol=1e-4)
    np.testing.assert_allclose(
        result["spike_independent_pj"], sums["spike_independent_pj"] / sums["samples"], rtol=1e-5
    )
    assert result["accuracy"] == sums["accuracy"] / sums["samples"]
    assert result["finite"] and result["initial_pj"] > result["spike_independent_pj"]
    assert len(result["samples"]["pj"]) == len(swept.data.test)
    np.testing.assert_allclose(np.mean(result["samples"]["pj"]), result["pj"])


def test_what_is_zero_at_first_is_measured_on_the_network_without_it(monkeypatch):
    """The term does the same under both units, if the strength makes up for it."""
    swept = Swept(task_config(TINY), "l1-rate")
    begun, _ = swept._start(3, swept._first_samples(3))
    free, _, _ = swept.trained(Numbers(3, 1.0, 1.0, 0.0))
    workload = forward(swept.model, free.variables, swept._first_samples(3)[None].repeat(2, 0))
    unit = float(swept.regulariser(workload.workload, free.params))
    ratio = unit / float(swept._unit_of(begun))
    usual, _, _ = swept.trained(Numbers(3, 2.0, 1.0, 0.5))
    start = swept._start

    def silent(*arguments):
        state, pj = start(*arguments)
        return swept._with_unit(state, jnp.nan), pj

    monkeypatch.setattr(swept, "_start", silent)
    result, _, finite = swept.trained(Numbers(3, 2.0, 1.0, 0.5 * ratio))
    assert finite and 0 < ratio != 1
    for a, b in zip(jax.tree.leaves(result.params), jax.tree.leaves(usual.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(swept, "_units", {3: float("nan")})
    with pytest.raises(ValueError, match="zero at initialisation and after training"):
        swept.trained(Numbers(3, 1.0, 1.0, 0.1))


@pytest.mark.parametrize("regulariser", ["energy", "squared-rate", "weights-activations"])
def test_a_silent_start_gives_no_unit(regulariser):
    """Not even to terms that something is left of without a spike."""
    swept = Swept(task_config(TINY), regulariser)
    frames = swept._first_samples(0)
    for samples, has_unit in ((frames, True), (jnp.zeros_like(frames), False)):
        state, initial_pj = swept._start(0, samples)
        assert bool(jnp.isfinite(swept._unit_of(state))) is has_unit
        assert jnp.isfinite(initial_pj)


def test_an_event_temperature_reaches_the_terms_that_have_one():
    config = task_config({**TINY, "event_temperature": 0.7})
    for regulariser, result in (("energy", 0.7), ("l1-rate", None)):
        swept = Swept(config, regulariser)
        assert getattr(swept.regulariser, "event_temperature", None) == result
        assert swept.objective.event_temperature == 0.7


def test_all_runs_share_one_program(swept, compilations):
    swept.run(Numbers(0, 1.0, 1.0, 0.1))
    with compilations() as names:
        again = swept.run(Numbers(1, 0.5, 2.0, 9.0))
    assert names == []
    assert again["pj"] != swept.run(Numbers(1, 0.5, 2.0, 0.0))["pj"]


def test_a_slope_keeps_the_area():
    x = jnp.linspace(-20, 20, 4001)
    for slope in (0.5, 2.0):
        curve = Steeper(Sigmoid(), slope).derivative(x)
        np.testing.assert_allclose(jnp.trapezoid(curve, x), 1.0, rtol=1e-3)
        np.testing.assert_allclose(curve, Sigmoid(4.0 * slope).derivative(x), atol=1e-6)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="slope must be positive"):
        Numbers(0, 0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="strength must not be negative"):
        Numbers(0, 1.0, 1.0, float("nan"))
    with pytest.raises(ValueError, match="unknown regulariser"):
        Swept(task_config(TINY), "l2")
    with pytest.raises(ValueError, match="fewer than a batch"):
        Swept(task_config({**TINY, "limit": 8}), "energy")
