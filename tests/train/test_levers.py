"""Levers act on the network, on its outputs and on its energy; without any, nothing changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsnn
from jsnn.energy import estimate_energy
from jsnn.nn.time_plan import Chunked
from jsnn.train.evaluation import make_eval_step
from jsnn.train.levers import Lever, Levered, price, split
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import label_params, make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(jsnn.run, static_argnums=0)

MACHINE = jsnn.hardware.get("neuromorphic-22nm")
FRAMES = (jax.random.uniform(jax.random.key(3), (5, 4, 12)) < 0.4).astype(jnp.float32)
MODEL = jsnn.models.MLP((8,), 3, input_kind="events")


@dataclasses.dataclass(frozen=True)
class Louder(Lever):
    """Weights and outputs times a leaf."""

    name = "louder"
    start: float = 1.0

    def init(self, key, variables, workload):
        return {"weights": jnp.float32(self.start), "outputs": jnp.float32(self.start)}

    def network(self, leaves, variables):
        params = jax.tree.map(lambda leaf: leaf * leaves["weights"], variables["params"])
        return {**variables, "params": params}

    def outputs(self, leaves, outputs):
        return outputs * leaves["outputs"]


@dataclasses.dataclass(frozen=True)
class Narrow(Lever):
    """Every layer at a number of weight bits that is a leaf."""

    name = "narrow"
    start: float = 4.0

    def init(self, key, variables, workload):
        return jnp.full(len(workload), self.start)

    def price(self, leaves, params, pairs):
        return [
            (layer, hardware.with_design(weight_bits=bits))
            for (layer, hardware), bits in zip(pairs, leaves, strict=True)
        ]


def levered(*levers):
    model = Levered(MODEL, levers)
    return model, jax.jit(model.init)(jax.random.key(0), FRAMES)


def unlevered(workload):
    """As a network that runs without levers."""
    return dataclasses.replace(workload, levers=())


def test_a_lever_acts_on_parameters_and_outputs():
    model, variables = levered(Louder(2.0))
    network, leaves = split(variables["params"])
    doubled = jax.tree.map(lambda leaf: 2 * leaf, network)
    expected, expected_work = ran(MODEL, {**variables, "params": doubled}, FRAMES)
    outputs, workload = ran(model, variables, FRAMES)
    np.testing.assert_array_equal(outputs, 2 * expected)
    assert workload.levers == ("louder",)
    jax.tree.map(np.testing.assert_array_equal, unlevered(workload), expected_work)
    assert set(leaves) == {"louder"}


def test_levers_act_in_turn():
    @dataclasses.dataclass(frozen=True)
    class Plus(Lever):
        name = "plus"

        def init(self, key, variables, workload):
            return jnp.float32(1)

        def outputs(self, leaves, outputs):
            return outputs + leaves

    for levers, expected in (((Louder(2.0), Plus()), (0, 1)), ((Plus(), Louder(2.0)), (1, 0))):
        model, variables = levered(*levers)
        network, _ = split(variables["params"])
        doubled = jax.tree.map(lambda leaf: 2 * leaf, network)
        plain = MODEL.apply({**variables, "params": doubled}, FRAMES)
        first, last = expected
        np.testing.assert_allclose(model.apply(variables, FRAMES), 2 * (plain + first) + last)


def test_the_energy_is_that_of_the_hardware_a_lever_gives():
    model, variables = levered(Narrow(4.0))
    _, workload = ran(model, variables, FRAMES)
    objective = Objective(CrossEntropy(), MACHINE, levers=model.levers)
    result = objective.estimate_energy(workload, variables["params"]).total_pj()
    plain = unlevered(workload)
    narrow = estimate_energy(plain, MACHINE.with_design(weight_bits=4)).total_pj()
    np.testing.assert_allclose(result, narrow, rtol=1e-6)
    assert (result < estimate_energy(plain, MACHINE).total_pj()).all()


def test_without_levers_every_layer_runs_on_the_machine():
    workload = ran(MODEL, jax.jit(MODEL.init)(jax.random.key(0), FRAMES), FRAMES)[1]
    assert price((), None, workload, MACHINE) == [(layer, MACHINE) for layer in workload]


def test_leaves_are_trained_with_their_own_rate():
    model = Levered(MODEL, (Louder(1.0), Narrow(6.0)))
    objective = Objective(CrossEntropy(), MACHINE, energy_terms(1.0), levers=model.levers)
    optimiser = make_optimiser(1e-2, 10, schedule="constant", levers={"narrow": 10.0, "louder": 0})

    def encoder(key, samples):
        return jnp.swapaxes(samples, 0, 1)

    samples, labels = jnp.swapaxes(FRAMES, 0, 1), jnp.array([0, 1, 2, 0])
    state = init_state(model, optimiser, FRAMES, seed=0)
    state, _ = start_terms(state, model, objective, encoder, samples)
    before = jax.device_get(state.params)
    step = make_train_step(model, objective, optimiser, encoder)
    for _ in range(3):
        state, terms = step(state, (samples, labels), jnp.arange(4))
    assert bool(terms["finite"])
    (_, old), (_, new) = split(before), split(jax.device_get(state.params))
    assert old["louder"] == new["louder"]
    # Adam moves by about the rate: a tenth a step.
    assert (new["narrow"] < old["narrow"] - 0.2).all()

    sums = make_eval_step(model, objective, encoder)(
        state.variables, samples, labels, jnp.ones(4), jax.random.key(0)
    )
    _, workload = ran(model, state.variables, FRAMES)
    expected = objective.estimate_energy(workload, state.params).total_pj().sum()
    np.testing.assert_allclose(sums["parts_pj"].sum(), expected, rtol=1e-5)
    silent = objective.estimate_energy(workload.silenced(), state.params).total_pj().sum()
    np.testing.assert_allclose(sums["spike_independent_pj"], silent, rtol=1e-5)


def test_labels_name_the_lever_and_know_the_network_behind_it():
    _, variables = levered(Narrow())
    labels = label_params(variables["params"])
    assert labels["levers"] == {"narrow": "lever.narrow"}
    assert labels["network"] == label_params(split(variables["params"])[0])


def test_outputs_of_a_window_in_chunks_are_seen_whole():
    @dataclasses.dataclass(frozen=True)
    class First(Lever):
        name = "first"

        def init(self, key, variables, workload):
            return ()

        def outputs(self, leaves, outputs):
            assert len(outputs) == len(FRAMES)
            return outputs[0]

    per_step = jsnn.models.MLP((8,), 3, input_kind="events", readout=jsnn.readouts.PerStep())
    model = Levered(per_step, (First(),))
    variables = jax.jit(model.init)(jax.random.key(0), FRAMES)
    whole, _ = ran(model, variables, FRAMES)
    chunked, _ = jsnn.run(model, variables, FRAMES, plan=Chunked(2))
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


@pytest.mark.parametrize("levers", [(), (Narrow(4.0), Narrow(5.0))])
def test_levers_need_names_of_their_own(levers):
    with pytest.raises(ValueError, match="different names"):
        Levered(MODEL, levers)


def test_parameters_without_leaves_are_refused():
    with pytest.raises(ValueError, match=r"jsnn\.train\.levers\.Levered"):
        split({"kernel": 1})


def test_a_rate_for_a_lever_that_is_not_there_changes_nothing_and_a_missing_one_is_asked_for():
    _, variables = levered(Narrow())
    make_optimiser(1e-2, 10, levers={"narrow": 1.0, "louder": 1.0}).init(variables["params"])
    with pytest.raises(ValueError, match=r"\['narrow'\]; .*levers=\{'narrow': 1\.0\}"):
        make_optimiser(1e-2, 10).init(variables["params"])
