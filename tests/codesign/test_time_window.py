"""T as a lever: it feels the step that comes next and what that step costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsnn
from jsnn.codesign.time_window import Window
from jsnn.energy import estimate_energy
from jsnn.neurons import LIF
from jsnn.nn.time_plan import Chunked
from jsnn.readouts import LastMembrane, MeanMembrane, PerStep
from jsnn.train.levers import Levered, price
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_epoch

MACHINE = jsnn.hardware.get("neuromorphic-22nm")
STEPS, SAMPLES = 6, 32
LABELS = jnp.arange(SAMPLES) % 2
LATE = 3


def network(readout):
    neuron = LIF(v_threshold=0.5, trainable=("tau_mem", "v_threshold"))
    return jsnn.models.MLP((8,), 2, neuron=neuron, readout=readout, input_kind="events")


MODEL = network(PerStep(decides=False))


def shown(labels=LABELS):
    """Noise that says nothing on four inputs; the label comes once, in step LATE (from 0)."""
    noise = jax.random.bernoulli(jax.random.key(0), 0.3, (STEPS, len(labels), 4))
    told = jnp.zeros((STEPS, len(labels), 2)).at[LATE].set(2 * jax.nn.one_hot(labels, 2))
    return jnp.concatenate([1.0 * noise, told], -1)


def leaf_at(lever, steps):
    share = (steps - lever.low) / (lever.high - lever.low)
    return jnp.log(share / (1 - share))


@pytest.mark.parametrize(("reads", "readout"), [("mean", MeanMembrane()), ("last", LastMembrane())])
def test_at_a_whole_window_answer_and_energy_are_those_of_truncated_frames(reads, readout):
    lever, frames = Window(1, STEPS, reads=reads), shown()[:, :3]
    model = Levered(MODEL, (lever,))

    @jax.jit
    def both():
        variables = jax.jit(model.init)(jax.random.key(1), frames)
        network_of = {**variables, "params": variables["params"]["network"]}
        result = []
        for steps in (2, 4):
            params = {**variables["params"], "levers": {"window": leaf_at(lever, float(steps))}}
            for plan in (jsnn.nn.time_plan.WHOLE, Chunked(3)):
                out, work = jsnn.run(model, {**variables, "params": params}, frames, plan=plan)
                pairs = price((lever,), params, work, MACHINE)
                got = out, jsnn.energy.estimate_layers(pairs).parts_pj
                out, work = jsnn.run(network(readout), network_of, frames[:steps])
                result.append((got, (out, estimate_energy(work, MACHINE).parts_pj)))
        return result

    for got, expected in both():
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)


def test_energy_pulls_the_window_down_and_late_evidence_pulls_it_up():
    lever, frames = Window(1, STEPS), shown()[:, :4]
    leaf = leaf_at(lever, LATE + 0.5)
    outputs = jnp.zeros((STEPS, 2, 2)).at[LATE, 0, 1].set(5.0).at[LATE, 1, 0].set(5.0)

    def loss(leaf):
        return CrossEntropy()(lever.outputs(leaf, outputs), jnp.array([1, 0])).mean()

    assert jax.grad(loss)(leaf) < 0

    @jax.jit
    @jax.grad
    def slope(leaf):
        _, work = jsnn.run(MODEL, jax.jit(MODEL.init)(jax.random.key(0), frames), frames)
        pairs = lever.price(leaf, None, [(layer, MACHINE) for layer in work])
        return jsnn.energy.estimate_layers(pairs).total_pj().mean()

    assert slope(leaf) > 0


def trained(start, energy_weight):
    """T, leaf by leaf, after training with time constants and thresholds beside it."""
    lever = Window(1, STEPS, start=start, reads="last")
    model = Levered(MODEL, (lever,))
    terms = energy_terms(energy_weight, ramp_steps=100)
    objective = Objective(CrossEntropy(), MACHINE, terms, levers=(lever,))
    optimiser = make_optimiser(
        4e-2, 300, schedule="constant", scales={"time_constants": 0.05, "thresholds": 2.0},
        levers={"window": 1.0},
    )  # fmt: skip

    def encoder(key, labels):
        return shown(labels)

    state = init_state(model, optimiser, shown(), seed=0)
    state, _ = start_terms(state, model, objective, encoder, LABELS)
    before = jax.device_get(state.params)
    epoch = make_epoch(model, objective, optimiser, encoder)
    state, terms = epoch(state, (LABELS, LABELS), jnp.tile(jnp.arange(SAMPLES), (200, 1)))
    assert bool(terms["finite"].all())
    return lever, before, jax.device_get(state.params), jax.device_get(terms)


def test_the_window_that_the_task_needs_is_found_with_leak_and_threshold():
    """Planted: nothing is known before the fourth step, and nothing is learned after it."""
    lever, before, after, terms = trained(start=5.5, energy_weight=0.55)
    # From 5.5 down into the step that tells, and no further.
    assert lever.whole(after["levers"]["window"]) == (LATE, LATE + 1)
    assert terms["accuracy"][-1] == 1
    neuron = [params["network"]["hidden_0"]["neuron"] for params in (before, after)]
    for name in ("tau_mem", "v_threshold"):
        assert (neuron[0][name] != neuron[1][name]).any(), name


def test_the_energy_has_a_gradient_in_leak_and_threshold():
    """Higher thresholds send fewer spikes; what a leak does depends on the signs of the inputs."""
    frames = shown()

    variables = jax.jit(MODEL.init)(jax.random.key(0), frames)

    @jax.jit
    @jax.grad
    def slope(params):
        work = jsnn.run(MODEL, {**variables, "params": params}, frames)[1]
        return estimate_energy(work, MACHINE).total_pj().mean()

    neuron = slope(variables["params"])["hidden_0"]["neuron"]
    assert neuron["v_threshold"].sum() < 0
    assert np.isfinite(neuron["tau_mem"]).all() and (neuron["tau_mem"] != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 4, "high": 4}, "1 <= low < high"),
        ({"low": 0.5, "high": 4}, "1 <= low < high"),
        ({"low": 1.2, "high": 1.8}, "a whole number of steps between 1.2 and 1.8"),
        ({"low": 1, "high": 4, "start": 4}, "first window between"),
        ({"low": 1, "high": 4, "reads": "max"}, "mean or last"),
    ],
)
def test_bounds_that_cross_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Window(**options)


def test_a_window_longer_than_the_frames_and_single_answers_are_refused():
    lever = Window(1, 7)
    leaves = jnp.float32(0)
    with pytest.raises(ValueError, match="up to 7 steps does not fit frames of 6"):
        lever.outputs(leaves, jnp.ones((6, 2, 3)))
    with pytest.raises(ValueError, match="does not fit"):
        Levered(MODEL, (lever,)).init(jax.random.key(0), shown())
    with pytest.raises(ValueError, match=r"found \[2, 3\].*PerStep"):
        lever.outputs(leaves, jnp.ones((2, 3)))
