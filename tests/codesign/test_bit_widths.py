"""Bits as a lever: what runs is on the grids, what is priced is what runs, and both are trained."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsnn
from jsnn.codesign.bit_widths import Bits, Width
from jsnn.energy import estimate_layers
from jsnn.export.folding import fold_norm
from jsnn.models import MLP, SRNN, Spikformer
from jsnn.neurons import IF, LI, LIF, Fixed
from jsnn.nn.layers import Residual, Spiking
from jsnn.nn.time_plan import Chunked
from jsnn.readouts import MeanMembrane
from jsnn.train.levers import Levered, price, split
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step

MACHINE = jsnn.hardware.get("neuromorphic-22nm")
FRAMES = (jax.random.uniform(jax.random.key(3), (5, 4, 12)) < 0.4).astype(jnp.float32)
LEARNED = Bits(Width(8, 2, 8), Width(8, 3, 8))
MODEL = MLP((8,), 3, neuron=Fixed(LIF()), readout_neuron=Fixed(LI(r=3.0)), input_kind="events")


class Nested(nn.Module):
    """A layer, a residual block of a layer without leak, a readout."""

    @nn.compact
    def __call__(self, frames, train=False):
        def dense(width):
            return nn.Dense(width, parent=None)

        x = Spiking(dense(6), Fixed(LIF()), input_kind="events", name="first")(frames, train)
        x = Residual(Spiking(dense(6), Fixed(IF()), recurrent=True, name="inner"))(x, train)
        readout = MeanMembrane()
        return Spiking(dense(3), Fixed(LI()), readout=readout, name="last")(x, train)


@functools.cache
def levered(model=MODEL, lever=LEARNED, seed=0):
    whole = Levered(model, (lever,))
    return whole, jax.jit(whole.init)(jax.random.key(seed), FRAMES)


@functools.cache
def recorded():
    """What the default network did."""
    model, variables = levered()
    return jax.jit(functools.partial(jsnn.run, model))(variables, FRAMES)


def with_leaves(variables, **new):
    """The same leaves in every layer."""
    network, leaves = split(variables["params"])
    bits = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.float32(new.get(path[-1].key, leaf)), leaves["bits"]
    )
    return {**variables, "params": {"network": network, "levers": {"bits": bits}}}


def units(values, bits):
    """Integers of the coarsest power of two, which must hold them in so many bits."""
    values = np.asarray(values, np.float64)
    for exponent in range(8, -33, -1):
        whole = values / 2.0**exponent
        if (whole == np.rint(whole)).all():
            assert -(2 ** (bits - 1)) <= whole.min() and whole.max() < 2 ** (bits - 1)
            return whole
    raise AssertionError("on no grid")


@functools.cache
def recurrent():
    """A recurrent network, and its compiled lever."""
    model = SRNN((8,), 3, Fixed(LIF()), readout_neuron=Fixed(LI(r=3.0)))
    return levered(model)[1], jax.jit(LEARNED.network)


@pytest.mark.parametrize("bits", [2.0, 5.3, 8.0])
def test_weights_and_states_are_on_grids_of_their_bits(bits):
    variables, run_of = recurrent()
    variables = with_leaves(variables, weight_bits=bits, state_bits=bits)
    network, leaves = split(variables["params"])
    run = run_of(leaves["bits"], {**variables, "params": network})
    wide = LEARNED.widths(leaves["bits"])
    assert wide == {
        name: {"weight_bits": max(round(bits), 2), "state_bits": max(round(bits), 3)}
        for name in ("hidden_0", "readout")
    }
    for name, layer in run["params"].items():
        units(layer["synapse"]["kernel"], wide[name]["weight_bits"])
        units(layer["synapse"]["bias"], wide[name]["state_bits"])
        constants = run["constants"][name]["neuron"]
        assert (constants["gain"] == 1).all()
        assert (constants["decay_bits"] == wide[name]["weight_bits"]).all()
    units(run["params"]["hidden_0"]["recurrent"], wide["hidden_0"]["weight_bits"])


def test_at_many_bits_it_is_the_float_network_with_its_gains():
    plain = MLP((8,), 3, neuron=LIF(), readout_neuron=LI(r=3.0), input_kind="events")
    _, variables = levered(MODEL, Bits(10, 14))
    network, leaves = split(variables["params"])
    run = Bits(10, 14).network(leaves["bits"], {**variables, "params": network})["params"]
    gains = variables["constants"]["readout"]["neuron"]["gain"]
    np.testing.assert_allclose(gains, 3 * (1 - np.exp(-1 / 20)), rtol=1e-5)
    kernel = network["readout"]["synapse"]["kernel"]
    np.testing.assert_allclose(run["readout"]["synapse"]["kernel"], kernel * gains, atol=1e-3)
    unquantised = {**jax.jit(plain.init)(jax.random.key(0), FRAMES), "params": network}
    expected = plain.apply(unquantised, FRAMES)
    result = Levered(MODEL, (Bits(10, 14),)).apply(variables, FRAMES)
    np.testing.assert_allclose(result, expected, atol=0.02)


def test_each_layer_is_priced_at_its_bits():
    model, variables = levered(Nested())
    network, leaves = split(variables["params"])
    own = {"first": (3, 5), "Residual_0/inner": (4, 6), "last": (7, 8)}
    own = {next(n for n in LEARNED.widths(leaves["bits"]) if n.endswith(k.split("/")[-1])): v
           for k, v in own.items()}  # fmt: skip
    for name, (weights, states) in own.items():
        node = leaves["bits"]
        for part in name.split("/"):
            node = node[part]
        node |= {"weight_bits": jnp.float32(weights + 0.2), "state_bits": jnp.float32(states - 0.2)}
    variables = {**variables, "params": {"network": network, "levers": leaves}}
    _, workload = jax.jit(jsnn.run, static_argnums=0)(model, variables, FRAMES)
    assert set(workload.names) == set(own)
    expected = estimate_layers(
        [
            (layer, MACHINE.with_design(weight_bits=w, state_bits=s))
            for layer in workload
            for w, s in [own[layer.geometry.name]]
        ]
    )
    result = Objective(CrossEntropy(), MACHINE, levers=model.levers).estimate_energy(
        workload, variables["params"]
    )
    np.testing.assert_allclose(result.parts_pj, expected.parts_pj, rtol=1e-6)
    whole = estimate_layers([(layer, MACHINE) for layer in workload])
    assert (result.total_pj() < whole.total_pj()).all()


def test_the_task_wants_bits_and_the_energy_does_not():
    model, variables = levered()
    variables = with_leaves(variables, weight_bits=3.0, state_bits=5.0)
    network, leaves = split(variables["params"])
    _, workload = recorded()

    @jax.jit
    def slopes(leaves):
        def error(leaves):
            run = LEARNED.network(leaves, {**variables, "params": network})["params"]
            return sum(
                jnp.square(
                    run[n]["synapse"]["kernel"]
                    - layer["synapse"]["kernel"] * variables["constants"][n]["neuron"]["gain"]
                ).sum()
                for n, layer in network.items()
            )

        def energy(leaves):
            params = {"network": network, "levers": {"bits": leaves}}
            pairs = price(model.levers, params, workload, MACHINE)
            return estimate_layers(pairs).total_pj().mean()

        return jax.grad(error)(leaves), jax.grad(energy)(leaves)

    by_error, by_energy = slopes(leaves["bits"])
    for name in network:
        assert by_error[name]["weight_bits"] < 0 < by_energy[name]["weight_bits"]
        assert by_energy[name]["state_bits"] > 0
        assert by_energy[name]["kernel"] == 0 == by_energy[name]["state"]

    def task(leaves):
        params = {"network": network, "levers": {"bits": leaves}}
        return jnp.square(model.apply({**variables, "params": params}, FRAMES) - 1.0).sum()

    by_task = jax.jit(jax.grad(task))(leaves["bits"])
    assert all(np.isfinite(leaf) and leaf != 0 for leaf in jax.tree.leaves(by_task))


def test_a_heavy_energy_takes_bits_and_none_leave_their_bounds():
    model, _ = levered()
    objective = Objective(CrossEntropy(), MACHINE, energy_terms(30.0), levers=model.levers)
    optimiser = make_optimiser(0.05, 20, schedule="constant", levers={"bits": 10.0})

    def encoder(key, samples):
        return jnp.swapaxes(samples, 0, 1)

    samples, labels = jnp.swapaxes(FRAMES, 0, 1), jnp.array([0, 1, 2, 0])
    state = init_state(model, optimiser, FRAMES, seed=0)
    state, first = start_terms(state, model, objective, encoder, samples)
    step = make_train_step(model, objective, optimiser, encoder)
    for _ in range(20):
        state, terms = step(state, (samples, labels), jnp.arange(4))
    assert bool(terms["finite"])
    assert float(terms["total_pj"]) < 0.6 * float(first.total_pj().mean())
    for widths in LEARNED.widths(split(state.params)[1]["bits"]).values():
        assert 2 <= widths["weight_bits"] <= 4 and 3 <= widths["state_bits"] <= 5


def test_a_window_in_chunks_is_the_same():
    model, variables = levered()
    whole, work = recorded()
    pieces, same = jax.jit(functools.partial(jsnn.run, model, plan=Chunked(2)))(variables, FRAMES)
    np.testing.assert_array_equal(whole, pieces)
    jax.tree.map(np.testing.assert_array_equal, work, same)


def test_given_bits_have_no_leaf_and_floating_states_are_left_alone():
    plain = MLP((8,), 3, input_kind="events")
    model, variables = levered(plain, Bits(4, power_of_two=False))
    network, leaves = split(variables["params"])
    assert leaves["bits"]["readout"].keys() == {"kernel"}
    run = model.levers[0].network(leaves["bits"], {**variables, "params": network})
    assert len(np.unique(run["params"]["hidden_0"]["synapse"]["kernel"])) <= 16
    assert run["constants"] is variables["constants"]
    pairs = price(model.levers, variables["params"], jsnn.run(model, variables, FRAMES)[1], MACHINE)
    assert {float(h.design.weight_bits) for _, h in pairs} == {4}
    assert {float(h.design.state_bits) for _, h in pairs} == {MACHINE.design.state_bits}


def test_a_folded_norm_can_be_quantised():
    normed = dataclasses.replace(MODEL, norm=True, parent=None)
    with pytest.raises(ValueError, match=r"hidden_0: a normalisation .*fold_norm"):
        Levered(normed, (LEARNED,)).init(jax.random.key(0), FRAMES)
    variables = jax.jit(normed.init)(jax.random.key(0), FRAMES)
    stats = {"mean": jnp.linspace(-1, 1, 8), "var": jnp.linspace(0.5, 2, 8)}
    variables = {**variables, "batch_stats": {"hidden_0": {"norm": stats}}}
    folded = fold_norm(variables)
    np.testing.assert_allclose(
        MODEL.apply(folded, FRAMES), normed.apply(variables, FRAMES), atol=1e-2
    )
    lever = Bits(8, 12)
    work = jsnn.run(MODEL, folded, FRAMES)[1]
    leaves = lever.init(jax.random.key(0), folded, work)
    assert np.isfinite(MODEL.apply(lever.network(leaves, folded), FRAMES)).all()
    with pytest.raises(ValueError, match="found none"):
        fold_norm(folded)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Width(4, 1, 8), "bounds 1 and 8"),
        (lambda: Bits(0), "bounds 0 and 0"),
        (lambda: Bits(1, 8), "bounds 1 and 1"),
        (lambda: Width(4, 2, 30), "bounds 2 and 30"),
        (lambda: Width(4, 8, 2), "bounds of bits cross: least 8, most 2"),
        (lambda: Width(9, 2, 8), "within their bounds 2 to 8, got 9"),
        (lambda: Bits(8, 8, power_of_two=False), "steps are powers of two"),
        (lambda: Bits(12, 16), "not exact in float32"),
        (lambda: levered(MLP((4,), 3)), r"hidden_0: .*wrap them: jsnn\.neurons\.Fixed"),
        (lambda: levered(MODEL, Bits(8)), "hidden_0: .*give Bits its states"),
        (
            lambda: jax.eval_shape(
                Levered(Spikformer((8,), 3, heads=2), (Bits(8),)).init,
                jax.random.key(0),
                jnp.ones((2, 1, 8, 8, 1)),
            ),
            "a normalisation has scales",
        ),
    ],
)
def test_what_makes_no_grid_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bits_that_nothing_prices_are_refused():
    model, variables = levered()
    _, workload = recorded()
    machine = jsnn.hardware.get("compute-only-45nm")
    with pytest.raises(ValueError, match="learned bits would be free"):
        price(model.levers, variables["params"], workload, machine)
    given = Levered(MODEL, (Bits(8, 8),))
    pairs = price(given.levers, variables["params"], workload, machine)
    assert [hardware for _, hardware in pairs] == [machine, machine]


def test_a_layer_without_bits_is_named():
    model, variables = levered()
    _, workload = recorded()
    network, leaves = split(variables["params"])
    fewer = {"bits": {"hidden_0": leaves["bits"]["hidden_0"]}}
    with pytest.raises(ValueError, match="'readout' of the workload has no bits"):
        price(model.levers, {"network": network, "levers": fewer}, workload, MACHINE)
