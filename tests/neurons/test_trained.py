"""Constants of neurons: legal whatever an optimiser does, initial unless training is asked for."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jsnn.data import Direct, load
from jsnn.hardware import get
from jsnn.models import MLP, SRNN
from jsnn.models.rate_form import QuantisedReLU
from jsnn.neurons import (
    ALIF,
    BRF,
    LI,
    LIF,
    NEURONS,
    PLIF,
    RF,
    AdLIF,
    Factor,
    Fixed,
    IFState,
    NeuronOps,
    Normal,
    Shift,
    Uniform,
    in_force,
    trainable,
    untrained_leaves,
)
from jsnn.neurons.trained import MOST
from jsnn.nn.layers import Network, Spiking
from jsnn.readouts import MeanMembrane
from jsnn.surrogate import ATan, Surrogate
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step
from jsnn.train.threshold import with_factor
from jsnn.unroll import start_fold, unroll

FRAMES = jnp.ones((5, 2, 8))
# Every neuron, all of its leaves trained.
EVERY = {
    name: dataclasses.replace(make(), trainable=tuple(make().ranges))
    for name, make in NEURONS.items()
} | {
    "drawn": LIF(tau_mem=Normal(20e-3, 9e-3), trainable=("tau_mem", "v_threshold", "r")),
    # Built outside the ranges of its source.
    "outside": AdLIF(tau_mem=60e-3, a=Uniform(-3.0, 3.0), b=-0.5),
    "fast": BRF(omega=Uniform(90.0, 100.0)),
    "slow": PLIF(tau_mem=0.9),
    "fixed": Fixed(LIF(trainable=("tau_mem", "v_threshold"))),
    "quantised": QuantisedReLU(2),
}
OPTIMISERS = {"adam": optax.adam(0.1), "sgd": optax.sgd(0.1), "adamw": optax.adamw(0.1)}


@functools.cache
def initial(width=6):
    return {
        name: neuron.init_params(jax.random.key(number), (width,))
        for number, (name, neuron) in enumerate(EVERY.items())
    }


def bounds_of(kind, value):
    """What a leaf may be, once more in NumPy: the initial value is always legal."""
    value = np.asarray(value, np.float64)
    if isinstance(kind, Factor):
        low, high = np.maximum(kind.low, value / MOST), np.minimum(kind.high, value * MOST)
    else:
        low, high = np.full_like(value, kind.low), np.full_like(value, kind.high)
    return np.minimum(low, value), np.maximum(high, value)


def check_legal(neuron, constants, low, high):
    """Compare the least and greatest values of trained leaves with their bounds."""
    for leaf in neuron.trainable:
        kind = neuron.ranges[leaf]
        least, most = bounds_of(kind, constants[leaf])
        # Relative for what must be positive: a threshold of 1e-3 is not 0.
        slack = [1e-5 * np.abs(bound) + 1e-6 * isinstance(kind, Shift) for bound in (least, most)]
        assert (low[leaf] >= least - slack[0]).all(), (neuron, leaf)
        assert (high[leaf] <= most + slack[1]).all(), (neuron, leaf)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_neuron_is_legal_for_10_000_steps_of_any_gradient(name):
    optimiser, constants = OPTIMISERS[name], initial()
    start = {n: untrained_leaves(neuron, constants[n]) for n, neuron in EVERY.items()}

    def values(x):
        return {
            n: {k: v for k, v in in_force(neuron, constants[n], x[n]).items() if k in x[n]}
            for n, neuron in EVERY.items()
        }

    leaves, tree = jax.tree.flatten(start)

    def forces(number):
        """Slopes of a loss in the values: two neurons are pushed up, two down, two at random."""
        size, sign = jax.random.split(jax.random.key(number))
        shape = (len(leaves), 6)
        # Up to where the square that Adam takes is still finite.
        sizes = 10.0 ** jax.random.uniform(size, shape, minval=-6.0, maxval=15.0)
        signs = jax.random.rademacher(sign, shape).astype(jnp.float32)
        pushes = sizes * signs.at[:, :4].set(jnp.array([1.0, 1.0, -1.0, -1.0]))
        return jax.tree.unflatten(tree, list(pushes))

    def step(number, carry):
        x, moments, low, high = carry
        _, pull = jax.vjp(values, x)
        changes, moments = optimiser.update(pull(forces(number))[0], moments, x)
        x = optax.apply_updates(x, changes)
        now = values(x)
        return x, moments, jax.tree.map(jnp.minimum, low, now), jax.tree.map(jnp.maximum, high, now)

    first = values(start)
    run = jax.jit(lambda *carry: jax.lax.fori_loop(0, 10_000, step, carry))
    x, _, low, high = jax.device_get(run(start, optimiser.init(start), first, first))
    constants = jax.device_get(constants)
    for name, neuron in EVERY.items():
        # Minima and maxima are NaN where one value was.
        check_legal(neuron, constants[name], low[name], high[name])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(x))
    # Those that were pushed left their initial values.
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (low, high)), strict=True))


def test_a_real_training_keeps_every_neuron_legal():
    """Adam at 0.1 on weights and all constants; the loss stays finite."""
    frames = (jax.random.uniform(jax.random.key(1), (5, 4, 8)) < 0.5).astype(jnp.float32)
    names = [n for n in EVERY if EVERY[n].spiking and n != "quantised"]
    neurons = {n: EVERY[n] for n in names}
    models = {
        n: Network(
            (Spiking(nn.Dense(6), neuron), Spiking(nn.Dense(2), LI(), readout=MeanMembrane()))
        )
        for n, neuron in neurons.items()
    }
    starts = {n: jax.jit(model.init)(jax.random.key(0), frames) for n, model in models.items()}
    optimiser = optax.adam(0.1)

    def loss(params):
        outputs = {
            n: model.apply({**starts[n], "params": params[n]}, frames)
            for n, model in models.items()
        }
        return sum(jnp.square(out - 1).mean() for out in outputs.values())

    def step(_, carry):
        params, moments = carry
        changes, moments = optimiser.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, changes), moments

    params = {n: starts[n]["params"] for n in names}
    run = jax.jit(lambda carry: jax.lax.fori_loop(0, 100, step, carry))
    params, _ = run((params, optimiser.init(params)))
    assert np.isfinite(loss(params))
    for n, neuron in neurons.items():
        constants = starts[n]["constants"]["layers_0"]["neuron"]
        values = in_force(neuron, constants, params[n]["layers_0"]["neuron"])
        check_legal(neuron, constants, values, values)


def test_zero_is_the_initial_value_to_the_bit():
    constants = initial()
    for name, neuron in EVERY.items():
        start = untrained_leaves(neuron, constants[name])
        values = in_force(neuron, constants[name], start)
        jax.tree.map(np.testing.assert_array_equal, values, constants[name])


@pytest.mark.parametrize("kind", [Factor(), Factor(1e-2, 1e2), Shift(-1.0, 1.0, scale=0.5)])
def test_at_a_bound_only_the_way_back_is_open(kind):
    """And at the start a learning rate is a relative change."""
    values = np.geomspace(1e-3, 1e3, 13, dtype=np.float32)
    if isinstance(kind, Shift):
        values = np.linspace(-1, 1, 13, dtype=np.float32)

    @jax.jit
    @jax.vmap
    def slopes(value, x, sign):
        return jax.grad(lambda x: sign * kind.value(value, x))(x)

    inside = values[1:-1] if isinstance(kind, Shift) else values[(0.1 < values) & (values < 10)]
    ones = np.ones_like(inside)
    expected = 0.5 * ones if isinstance(kind, Shift) else inside
    np.testing.assert_allclose(slopes(inside, 0 * ones, ones), expected, rtol=1e-6)
    for far in (100.0, 1e30):
        for side in (np.ones_like(values), -np.ones_like(values)):
            # Descent against a loss that rises with `sign · value`.
            assert (slopes(values, far * side, -side) == 0).all()
            assert (side * slopes(values, far * side, side) > 0).all()


def test_frequencies_stay_where_oscillations_can_decay():
    for make in (BRF, RF):
        neuron = make(omega=50.0)
        pushed = {"omega": jnp.full(1, 99.0), "b_offset": jnp.zeros(1)}
        values = in_force(neuron, neuron.init_params(jax.random.key(0), (1,)), pushed)
        np.testing.assert_allclose(values["omega"], 1 / neuron.dt, rtol=1e-5)


def test_what_is_trained_by_definition():
    """As the papers and their code have it; see the docstrings."""
    assert {name: trainable(make()) for name, make in NEURONS.items()} == {
        "if": (),
        "lif": (),
        "cubalif": (),
        "li": (),
        "alif": ("tau_mem", "tau_adp"),
        "adlif": ("tau_mem", "tau_adp", "a", "b"),
        "plif": ("w",),
        "brf": ("omega", "b_offset"),
        "rf": ("omega", "b_offset"),
    }
    assert trainable(Fixed(LIF(trainable=("tau_mem",)))) == ("tau_mem",)


def test_every_leaf_has_a_range():
    for neuron in EVERY.values():
        own = (
            {"gain", "state_step", "state_bits", "decay_bits"} if isinstance(neuron, Fixed) else {}
        )
        assert set(neuron.init_params(jax.random.key(0), (1,))) - set(own) == set(neuron.ranges)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(trainable=("tau",)), "no leaf 'tau'; there are tau_mem, v_threshold, r"),
        (lambda: LIF(trainable=("v_leak",)), "no leaf 'v_leak'"),
        (lambda: LIF(trainable="tau_mem"), "must be a tuple of names"),
        (lambda: ALIF(trainable=["tau_mem"]), "must be a tuple of names"),
        (lambda: LI(trainable=("r", "r")), "names a leaf twice"),
        (lambda: Fixed(LIF(trainable=("r",))), "no leaf 'r'"),
        (lambda: QuantisedReLU(2, ("bits",)), "no leaf 'bits'"),
    ],
)
def test_unknown_leaves_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# --- in layers --------------------------------------------------------------------------------


def test_a_seed_draws_what_it_drew_before_constants_had_a_collection():
    """Golden values of when neurons stood among the parameters; compilers round the last bit."""

    def same(result, golden):
        np.testing.assert_allclose(np.ravel(result)[:3], np.float32(golden), rtol=1e-6)

    plain = jax.jit(MLP((4,), 3).init)(jax.random.key(0), FRAMES)["params"]
    same(plain["hidden_0"]["synapse"]["kernel"], [0.0080695431, -0.34561354, -1.0460320])
    same(plain["readout"]["synapse"]["kernel"], [0.083372697, -0.77314681, 0.98848146])
    fed_back = jax.jit(SRNN((4,), 3, neuron=BRF()).init)(jax.random.key(0), FRAMES)
    layer, drawn = fed_back["params"]["hidden_0"], fed_back["constants"]["hidden_0"]["neuron"]
    same(drawn["omega"], [3.6522343, 3.2284865, 3.4191306])
    same(drawn["b_offset"], [0.37864074, 0.86505491, 0.87489110])
    same(layer["recurrent"], [-0.31346738, -0.89838374, -0.15904646])
    # What is trained changes no draw.
    still = jax.jit(SRNN((4,), 3, neuron=BRF(trainable=())).init)(jax.random.key(0), FRAMES)
    jax.tree.map(
        np.testing.assert_array_equal,
        still["params"]["hidden_0"],
        {name: leaf for name, leaf in layer.items() if name != "neuron"},
    )
    assert jax.tree.all(jax.tree.map(lambda leaf: (leaf == 0).all(), layer["neuron"]))


def test_any_optimiser_on_all_of_params_leaves_constants_at_their_initial_values():
    """What everyone types first: adam on all of `params`, a stock MLP on digits."""
    split, encoder = load("digits").train, Direct(4)
    model, machine = MLP((16,), 10), get("neuromorphic-22nm")
    objective, optimiser = Objective(CrossEntropy(), machine), optax.adam(2e-3)
    state = init_state(model, optimiser, encoder(jax.random.key(0), split.frames[:1]), seed=0)
    state, _ = start_terms(state, model, objective, encoder, split.frames[:64])
    before = jax.device_get(state.collections["constants"])
    weights = jax.device_get(state.params)
    step = make_train_step(model, objective, optimiser, encoder)
    for number in range(40):
        index = np.arange(32) + 16 * number
        state, terms = step(state, (split.frames, split.labels), index)
        assert bool(terms["finite"])
    jax.tree.map(np.testing.assert_array_equal, state.collections["constants"], before)
    np.testing.assert_array_equal(before["readout"]["neuron"]["tau_mem"], np.float32(20e-3))
    assert "neuron" not in state.params["readout"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), weights, dict(state.params))
    assert all(jax.tree.leaves(changed))


def test_trained_leaves_move_the_constants_in_force():
    layer = Spiking(nn.Dense(3), LIF(trainable=("v_threshold",)))
    frames = jax.random.uniform(jax.random.key(2), (6, 2, 8))
    variables = jax.jit(layer.init)(jax.random.key(0), frames)
    assert set(variables["params"]["neuron"]) == {"v_threshold"}
    doubled = jax.tree.map(jnp.copy, variables)
    doubled["params"]["neuron"]["v_threshold"] = jnp.full(3, jnp.log(2.0))
    made_twice = jax.tree.map(jnp.copy, variables)
    made_twice["constants"]["neuron"]["v_threshold"] = jnp.full(3, 2.0)
    expected = layer.apply(made_twice, frames)
    np.testing.assert_array_equal(layer.apply(doubled, frames), expected)
    assert (expected != layer.apply(variables, frames)).any()


def test_variables_that_do_not_fit_are_refused():
    layer = Spiking(nn.Dense(3), LIF())
    variables = jax.jit(layer.init)(jax.random.key(0), FRAMES)
    with pytest.raises(ValueError, match=r"hold no constants of its neurons; pass on all"):
        layer.apply({"params": variables["params"]}, FRAMES)
    with pytest.raises(ValueError, match=r"expected the collection 'constants' .*\['params'\]"):
        with_factor({"params": variables["params"]}, 2.0, ["layer"])
    # As written before constants had a collection of their own.
    old = {**variables["params"], "neuron": {"tau_mem": jnp.full(3, 20e-3)}}
    with pytest.raises(
        ValueError, match=r"LIF trains \[\], and the trained leaves are \['tau_mem'"
    ):
        layer.apply({**variables, "params": old}, FRAMES)
    asked = Spiking(nn.Dense(3), LIF(trainable=("tau_mem",)))
    with pytest.raises(
        ValueError, match=r"LIF trains \['tau_mem'\], and the trained leaves are \[\]"
    ):
        asked.apply(variables, FRAMES)


@dataclasses.dataclass(frozen=True)
class Echo:
    """A user's neuron that says nothing of training."""

    surrogate: Surrogate = ATan()  # noqa: RUF009
    spiking = True
    ops = NeuronOps(0, 0, 0, 1, 0)

    def init_params(self, key, shape, dtype=jnp.float32):
        return {"level": jnp.ones(shape, dtype)}

    def init_state(self, params, shape, key=None):
        return IFState(jnp.zeros(shape, params["level"].dtype))

    def step(self, params, state, current):
        return IFState(current), self.surrogate(current - params["level"])

    def potential(self, state):
        return state.v


@dataclasses.dataclass(frozen=True)
class Asking(Echo):
    """One that wants training and does not say how."""

    trainable: tuple[str, ...] = ("level",)


def test_a_neuron_of_ones_own_trains_nothing_unless_it_says_so_and_how():
    layer = Spiking(nn.Dense(3), Echo())
    variables = jax.jit(layer.init)(jax.random.key(0), FRAMES)
    assert set(variables["params"]) == {"synapse"}
    assert set(variables["constants"]["neuron"]) == {"level"}
    with pytest.raises(
        ValueError, match=r"Asking\.ranges does not say how \['level'\] are trained"
    ):
        Spiking(nn.Dense(3), Asking()).init(jax.random.key(0), FRAMES)


# --- illegal values given by hand -----------------------------------------------------------------


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("value", [0.0, -1e-3, -1.0])
def test_illegal_constants_are_nan_and_not_plausible(name, value):
    neuron = NEURONS[name]()
    legal = neuron.init_params(jax.random.key(0), (3,))
    currents = jnp.ones((4, 2, 3))
    for leaf in legal:
        if not leaf.startswith(("tau", "v_threshold")):
            continue
        params = legal | {leaf: legal[leaf].at[1].set(value)}
        states = {
            "unroll": unroll(neuron, params, currents)[0],
            "by hand": neuron.step(params, neuron.init_state(params, (2, 3)), currents[0])[0],
        }
        if leaf == "v_threshold":
            states["drawn"] = neuron.init_state(params, (2, 3), jax.random.key(0))
            states["fold"] = start_fold(neuron, params, MeanMembrane(), (2, 3)).neuron
        for way, state in states.items():
            result = np.isnan(neuron.potential(state))
            assert result[:, 1].all() and not result[:, [0, 2]].any(), (leaf, way)


def test_illegal_thresholds_in_fixed_point_and_of_a_quantised_rectifier_are_nan():
    neuron = Fixed(LIF())
    params = neuron.init_params(jax.random.key(0), (2,))
    params["v_threshold"] = jnp.array([1.0, -1.0])
    state, _ = unroll(neuron, params, jnp.ones((3, 1, 2)))
    assert np.isnan(state.v[0]).tolist() == [False, True]
    neuron = QuantisedReLU(2)
    _, sent = neuron.step({"v_threshold": jnp.array([1.0, 0.0])}, None, jnp.ones((1, 2)))
    assert np.isnan(sent[0]).tolist() == [False, True]
