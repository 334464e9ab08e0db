"""Events and their counts: frames of every type, nothing that is none; no parameter is free."""

import dataclasses
import functools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jsnn
from jsnn.energy.audit import audit
from jsnn.events import pack
from jsnn.events.event_value import NOTHING, SPIKES, note, sent, summed, whole
from jsnn.hardware import get
from jsnn.models import MLP, SRNN, ConvNet, Spikformer
from jsnn.neurons import IF, LI, LIF, NEURONS
from jsnn.nn import forward
from jsnn.nn.layers import Dropout, Flatten, Network, Pool, Residual, Spiking
from jsnn.nn.recording import record
from jsnn.nn.spike_products import Attention
from jsnn.nn.synapses import Conv, connectivity
from jsnn.nn.time_plan import WHOLE, Chunked
from jsnn.readouts import LastMembrane, MeanMembrane, SpikeCount
from jsnn.train.budget import memory_bytes
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.levers import Lever, Levered, price
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step
from jsnn.workload import Workload, require_finite
from tests.fuzzing import examples

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(jsnn.run, static_argnums=0, static_argnames="unpriced")

MACHINE = get("neuromorphic-22nm")
TYPES = [np.int8, np.uint8, np.int16, np.int32, np.bool_, np.float16, jnp.bfloat16]
READOUT = Spiking(nn.Dense(5), LI(), readout=MeanMembrane())
# Layers of every kind that a network may begin with, and a frame for them.
FIRST = {
    "dense": (Spiking(nn.Dense(16), LIF(), input_kind="events"), (20,)),
    "dense spikes": (Spiking(nn.Dense(16), LIF()), (20,)),
    "analog": (Spiking(nn.Dense(16), LIF(), input_kind="analog"), (20,)),
    "constant": (Spiking(nn.Dense(16), LIF(), input_kind="constant"), (20,)),
    "recurrent": (Spiking(nn.Dense(16), LIF(), input_kind="events", recurrent=True), (20,)),
    "conv": (Spiking(nn.Conv(2, (3, 3)), LIF(), input_kind="events"), (20, 20, 2)),
    "analog conv": (Spiking(Conv(2, (3, 3)), LIF(), input_kind="analog"), (20, 20, 2)),
    "max pool": (Network((Pool("max", 2), Spiking(nn.Conv(2, (3, 3)), LIF()))), (20, 20, 2)),
    "average pool": (Network((Pool("average", 2), Spiking(Conv(2, (3, 3)), IF()))), (20, 20, 2)),
    "flatten": (Network((Flatten(), Spiking(nn.Dense(4), LIF()))), (4, 5, 2)),
    "product": (Spiking(Attention(2), LIF(v_threshold=0.05)), (3, 4, 4)),
    "counted": (Spiking(nn.Dense(5), LIF(), input_kind="events", readout=SpikeCount()), (20,)),
}


def network(first):
    ends = isinstance(first, Spiking) and first.readout is not None
    return Network((first,) if ends else (first, Flatten(), READOUT))


def bernoulli(shape, rate=0.6, seed=0):
    return np.random.default_rng(seed).random(shape) < rate


def counts(workload):
    return jax.tree.map(np.asarray, workload)


# ---- frames in their own type ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES, ids=lambda d: np.dtype(d).name)
def test_events_are_those_of_the_whole_numbers_whatever_the_type(dtype):
    """255 steps of 20 inputs: more than bytes hold, and more than bfloat16 keeps apart."""
    frames = bernoulli((255, 3, 20))
    model = Network((Spiking(nn.Dense(16), LIF()), READOUT))
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1, 20)))
    expected = ran(model, variables, jnp.asarray(frames, jnp.float32))[1]
    _, workload = ran(model, variables, jnp.asarray(frames).astype(dtype))
    first = workload.layers[0]
    np.testing.assert_array_equal(first.input_events, frames.astype(np.int64).sum((0, 2)))
    np.testing.assert_array_equal(first.by_input, frames.astype(np.int64).sum(0))
    pj = jsnn.estimate_energy(workload, MACHINE).total_pj()
    np.testing.assert_allclose(pj, jsnn.estimate_energy(expected, MACHINE).total_pj(), rtol=1e-6)
    assert float(pj.mean()) == pytest.approx(69.7e3, rel=0.01)


@pytest.mark.parametrize("name", FIRST)
def test_every_layer_counts_every_type_alike(name):
    first, shape = FIRST[name]
    frames = np.broadcast_to(bernoulli((1, 2, *shape)), (3, 2, *shape))
    if name != "constant":
        frames = bernoulli((3, 2, *shape))
    model = network(first)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros(frames.shape))
    run = jax.jit(lambda frames: jsnn.run(model, variables, frames)[1])
    expected = counts(run(jnp.asarray(frames, jnp.float32)))
    for dtype in TYPES:
        if name == "product" and dtype in (np.float16, jnp.bfloat16):
            # No weights widen its currents, and neurons of four bytes refuse them.
            continue
        workload = counts(run(jnp.asarray(frames).astype(dtype)))
        for leaf in jax.tree.leaves(workload):
            assert leaf.dtype == np.float32
        if dtype not in (np.float16, jnp.bfloat16):
            # In two bytes the network itself may round otherwise.
            jax.tree.map(np.testing.assert_array_equal, workload, expected)
        arrived = [work.layers[0].events_by_fan_out for work in (workload, expected)]
        np.testing.assert_array_equal(*arrived)


def test_neurons_in_two_bytes_are_counted_in_four():
    """A layer whose currents are bfloat16 fires 300 times."""
    synapse = nn.Dense(2, dtype=jnp.bfloat16, kernel_init=nn.initializers.constant(4.0))
    for readout in (None, SpikeCount()):
        model = Network((Spiking(synapse, LIF(), readout=readout),))
        frames = jnp.ones((300, 1, 3))
        variables = jax.jit(model.init)(jax.random.key(0), frames)
        _, workload = ran(model, variables, frames)
        np.testing.assert_array_equal(workload.layers[0].spikes, [[300.0, 300.0]])


# ---- values that are no events ---------------------------------------------------------------


def pj_of(layer, frames, variables=None):
    """Total energy inside jit, where nothing can be refused."""
    variables = variables or jax.jit(layer.init)(jax.random.key(0), jnp.zeros(frames.shape))
    workload = jax.jit(lambda frames: jsnn.run(layer, variables, frames)[1])(frames)
    return np.asarray(jsnn.estimate_energy(workload, MACHINE).total_pj())


ONES = jnp.ones((4, 2, 8))
SIGNED = ONES * jnp.tile(jnp.array([1.0, -1.0]), 4)


@pytest.mark.parametrize(
    ("kind", "frames", "message"),
    [
        ("spikes", SIGNED, "found -1 at .*events.*by magnitude"),
        ("spikes", 0.1 * ONES, "found 0.1 .*no whole multiple of 1"),
        ("events", 0.1 * ONES, "found 0.1 .*input_unit.*analog"),
        ("events", 2.5 * SIGNED, "no whole multiple"),
        ("constant", ONES * jnp.arange(4)[:, None, None], "frame 1 differs.*'analog'"),
        ("spikes", ONES.at[2, 1, 3].set(jnp.nan), r"found nan at \[T, B, ...\] = \[2, 1, 3\]"),
        ("analog", ONES.at[2, 1, 3].set(jnp.inf), "must be finite"),
        ("constant", ONES.at[2, 1, 3].set(jnp.nan), "must be finite"),
    ],
)
def test_what_is_no_event_is_refused_and_has_no_energy_inside_jit(kind, frames, message):
    model = Network((Spiking(nn.Dense(5), LIF(), input_kind=kind), READOUT))
    variables = jax.jit(model.init)(jax.random.key(0), ONES)
    with pytest.raises(ValueError, match=rf"layer 'layers_0'.*{message}"):
        jsnn.run(model, variables, frames)
    with pytest.raises(ValueError, match="layer 'layers_0'"):
        jsnn.run(model, variables, frames, plan=Chunked(2))
    workload = jax.jit(lambda frames: jsnn.run(model, variables, frames)[1])(frames)
    bad = ~np.isfinite(np.asarray(jsnn.estimate_energy(workload, MACHINE).total_pj()))
    assert bad[1]
    with pytest.raises(ValueError, match="layer 'layers_0'"):
        require_finite(workload)
    # A sample is judged by itself.
    if np.isfinite(np.asarray(frames[:, 0])).all() and not np.isfinite(np.asarray(frames)).all():
        assert not bad[0]


def test_signed_events_count_by_magnitude():
    """Energies of what comes in; what leaves depends on the sign."""
    silent = nn.Dense(5, kernel_init=nn.initializers.zeros)
    layer = Spiking(silent, LIF(), input_kind="events")
    np.testing.assert_array_equal(pj_of(layer, SIGNED), pj_of(layer, ONES))


VALUES = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 0.1, 0.3, 1.001, -1.0, -0.5, 1e4, np.nan])


@st.composite
def frames_of_few_values(draw):
    values = draw(st.lists(VALUES, min_size=1, max_size=3))
    picks = draw(st.lists(st.sampled_from(values), min_size=24, max_size=24))
    return np.asarray(picks, np.float32).reshape(3, 2, 4)


@functools.cache
def counted(kind, unit):
    layer = Spiking(nn.Dense(6), LIF(), input_kind=kind, input_unit=unit)
    model = Network((layer, READOUT))
    variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((3, 2, 4)))

    @jax.jit
    def priced(frames):
        workload = jsnn.run(model, variables, frames)[1]
        machines = MACHINE, get("spatial-45nm")
        return workload, *(
            jsnn.estimate_energy(workload, machine).total_pj() for machine in machines
        )

    return priced


KINDS = [
    (kind, unit) for kind in ("analog", "constant", "events", "spikes") for unit in (0.25, None)
]


@settings(max_examples=examples(150))
@given(st.sampled_from(KINDS), frames_of_few_values())
def test_no_energy_is_negative_and_none_is_wrong(case, frames):
    kind, unit = case
    workload, pj, on_another = map(counts, counted(kind, unit)(frames))
    for sample in range(2):
        values = np.float64(frames[:, sample])
        number = values / (unit or 1.0)
        if kind == "events":
            number = np.abs(number)
        if kind in ("spikes", "events"):
            near = np.abs(number - np.round(number)) <= np.minimum(1e-3 * np.abs(number), 0.25)
            legal, events = (near & (number >= 0)).all(), np.round(number).sum()
        else:
            same = (values == values[:1]).all() or kind == "analog"
            legal = np.isfinite(values).all() and same
            events = (values[: 1 if kind == "constant" else None] != 0).sum()
        assert np.isfinite(pj[sample]) == np.isfinite(on_another[sample]) == legal
        if legal:
            assert pj[sample] >= 0
            assert float(workload.layers[0].input_events[sample]) == events


@settings(max_examples=examples(100))
@given(
    st.integers(0, 1000),
    st.sampled_from([1.0, 0.25, 1 / 9, 1 / 0.9, 1 / 0.7, 0.125 / 0.9]),
    st.sampled_from([np.float32, jnp.bfloat16, np.float16]),
)
@example(5, 1 / 0.9, jnp.bfloat16)
def test_multiples_are_whole_within_their_rounding(number, unit, dtype):
    value = (jnp.asarray(unit, dtype) * jnp.asarray(number, dtype)).astype(dtype)
    if np.isfinite(float(value)) and number <= 100:
        assert float(whole(value, unit)) == number
    between = jnp.float32((min(number, 100) + 0.5) * unit)
    assert np.isnan(whole(between, unit))


# ---- units are handed on ---------------------------------------------------------------------

POOLED = Network(
    (
        Spiking(Conv(4, (3, 3)), IF(v_threshold=0.3), input_kind="analog"),
        Pool("average", 2),
        Residual(Spiking(Conv(4, (3, 3)), IF(v_threshold=0.3))),
        Flatten(),
        Spiking(nn.Dense(5), LI(), readout=MeanMembrane()),
    )
)


def test_pools_hand_on_the_value_of_an_event():
    """An average pool: every spike behind it is counted, none a quarter of one."""
    model = Network((*POOLED.layers[:2], Spiking(Conv(4, (3, 3)), IF())))
    images = jax.random.uniform(jax.random.key(0), (3, 2, 8, 8, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    _, workload = ran(model, variables, images)
    assert workload.layers[1].input_events.min() > 0
    np.testing.assert_array_equal(workload.layers[1].input_events, workload.layers[0].output_events)
    wrong = Network((*POOLED.layers[:2], Spiking(Conv(4, (3, 3)), IF(), input_unit=0.5)))
    with pytest.raises(ValueError, match=r"input_unit is 0.5.*0.25.*handed on"):
        jsnn.run(wrong, variables, images)

    class Own(nn.Module):
        unit: float | None = None

        @nn.compact
        def __call__(self, frames, train=False):
            first = Spiking(Conv(4, (3, 3), parent=None), IF(v_threshold=0.3), "analog")
            x = first(frames, train)
            x = nn.avg_pool(x, (1, 2, 2), (1, 2, 2))
            second = Conv(4, (3, 3), parent=None)
            return Spiking(second, IF(), input_unit=self.unit)(x, train)

    # What a function of the user's made is checked: flax's pool says nothing.
    variables = jax.jit(Own().init)(jax.random.key(1), images)
    with pytest.raises(ValueError, match="no whole multiple of 1"):
        jsnn.run(Own(), variables, images)
    _, workload = ran(Own(0.25), variables, images)
    np.testing.assert_array_equal(workload.layers[1].input_events, workload.layers[0].output_events)


def test_branches_whose_events_differ_in_value_are_counted_apart():
    """A pooled branch and one of spikes: as many events as both send, through all that follows."""
    first = Spiking(Conv(2, (3, 3)), IF(v_threshold=0.3), input_kind="analog")
    block = Spiking(Conv(2, (3, 3)), IF(v_threshold=0.1))
    behind = Spiking(Conv(2, (3, 3)), IF())
    flat = Spiking(nn.Dense(3), IF())
    frames = jax.random.uniform(jax.random.key(0), (3, 2, 8, 8, 1))
    for window, layers in (
        (2, (behind,)),
        (2, (Pool("average", 2), behind)),
        (2, (Flatten(), flat)),
        (2, (Residual(Spiking(Conv(2, (1, 1)), IF(v_threshold=9.0))), behind)),
        # Ninths are rounded.
        (3, (behind,)),
    ):
        model = Network((first, Pool("average", window), Residual(block), *layers))
        # The window covers them.
        images = frames[:, :, :6, :6] if window == 3 else frames
        variables = jax.jit(model.init)(jax.random.key(1), images)
        _, workload = ran(model, variables, images)
        sent_by = [layer.output_events for layer in workload.layers[:2]]
        assert min(map(jnp.min, sent_by)) > 0
        exact = {"rtol": 0} if window == 2 else {"rtol": 1e-6}
        np.testing.assert_allclose(workload.layers[-1].input_events, sum(sent_by), **exact)
        walked = audit(record(model, variables, images), get("classical-45nm"))
        np.testing.assert_allclose(
            walked.total_pj(),
            jsnn.estimate_energy(workload, get("classical-45nm")).total_pj(),
            rtol=1e-6,
        )


MIXED = [
    Network((Pool("average", 2),)),
    Network((Pool("average", 2), Pool("average", 2))),
    Network((Residual(Pool("max", 1)),)),
    Network((Residual(Network(())), Pool("average", 2))),
    Network((Pool("average", 2), Residual(Network(())))),
    Network((Residual(Network(())), Residual(Network(())))),
]


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("before", MIXED, ids=range(len(MIXED)))
def test_signed_events_do_not_cancel_before_they_are_counted(before, dtype):
    """Of +1 and -1 that meet on a wire both have been sent: as many as of their magnitudes."""
    rng = np.random.default_rng(0)
    frames = rng.integers(-1, 2, (3, 2, 8, 8, 2)).astype(dtype)
    model = Network((*before.layers, Flatten(), Spiking(nn.Dense(3), IF(), input_kind="events")))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    (result,), (unsigned,) = (ran(model, variables, x)[1] for x in (frames, np.abs(frames)))
    doubled = 2 ** sum(isinstance(layer, Residual) for layer in before.layers)
    events = doubled * np.abs(frames.astype(int)).sum((0, 2, 3, 4))
    np.testing.assert_array_equal(result.input_events, events)
    np.testing.assert_array_equal(result.active_inputs, unsigned.active_inputs)
    (outside,) = jsnn.run(model, variables, frames)[1]
    np.testing.assert_array_equal(outside.input_events, events)
    walked = audit(record(model, variables, frames), get("classical-45nm"))
    machine = get("classical-45nm")
    priced = jsnn.estimate_energy(Workload((result,)), machine).total_pj()
    np.testing.assert_allclose(walked.total_pj(), priced, rtol=1e-6)
    # Declared as spikes, of which none is negative, they are refused.
    wrong = model.clone(layers=(*model.layers[:-1], Spiking(nn.Dense(3), IF())))
    with pytest.raises(ValueError, match="spikes are not negative"):
        jsnn.run(wrong, variables, frames)
    assert not np.isfinite(ran(wrong, variables, frames)[1].layers[0].events_by_fan_out).any()


def test_dropout_drops_events_that_cancelled():
    frames = np.tile([1.0, -1.0], (3, 4, 200, 1)).reshape(3, 4, 20, 20, 1)
    layers = (Pool("average", 2), Dropout(0.5), Flatten())
    model = Network((*layers, Spiking(nn.Dense(3), IF(), input_kind="events")))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    keys = {"dropout": jax.random.key(1)}
    passed = jax.jit(lambda x: forward(model, variables, x, train=True, rngs=keys))(frames)
    counted = np.asarray(passed.workload.layers[0].input_events)
    # A kept event counts twice, as its expectation asks; the same ones in every step.
    assert (counted % 24 == 0).all() and len(set(counted.tolist())) > 1
    assert abs(counted.mean() / 1200 - 1) < 0.1


# ---- what comes from outside ------------------------------------------------------------------


class Own(nn.Module):
    """Frames that a function of the user's changes, into two branches."""

    causal = True

    @nn.compact
    def __call__(self, frames, train=False):
        first = Spiking(nn.Dense(4, parent=None), LIF(v_threshold=0.2), name="first")
        second = Spiking(nn.Dense(4, parent=None), LIF(v_threshold=0.2), name="second")
        x = first(2 * frames, train) + second(frames, train)
        return Spiking(nn.Dense(3, parent=None), LI(), readout=MeanMembrane(), name="last")(x)


HIDDEN = Spiking(nn.Dense(4), LIF(v_threshold=0.2))
LAST = Spiking(nn.Dense(3), LI(), readout=MeanMembrane())


@pytest.mark.parametrize("plan", [WHOLE, Chunked(2)], ids=str)
@pytest.mark.parametrize(
    ("model", "outside"),
    [
        (Network((HIDDEN, LAST)), ("layers_0",)),
        (Network((Flatten(), HIDDEN, HIDDEN.clone(synapse=nn.Dense(5)), LAST)), ("layers_1",)),
        (Network((Dropout(0.5), Flatten(), Residual(HIDDEN.clone(synapse=nn.Dense(8))), LAST)), ()),
        (Own(), ("first", "second")),
    ],
    ids=["plain", "deep", "residual", "own"],
)
def test_silencing_leaves_what_comes_from_outside(model, outside, plan):
    """A first layer that is left at `spikes`: its frames are not the network's own spikes."""
    frames = jnp.asarray(bernoulli((4, 2, 8)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    workload = jax.jit(lambda v, x: forward(model, v, x, plan=plan).workload)(variables, frames)
    if not outside:
        # The block, and the sum of it with its frames, which nobody can take apart.
        outside = workload.names
    for layer, silent in zip(workload, workload.silenced(), strict=True):
        assert layer.input_events.min() > 0
        kept = layer.geometry.name in outside
        np.testing.assert_array_equal(silent.input_events, kept * layer.input_events)
        assert not silent.output_events.any()
    declared = Network((HIDDEN.clone(input_kind="events"), LAST))
    if isinstance(model, Network) and len(model.layers) == 2:
        other = jax.jit(lambda v, x: jsnn.run(declared, v, x)[1])(variables, frames)
        for machine in map(get, ("neuromorphic-22nm", "classical-45nm")):
            np.testing.assert_array_equal(
                jsnn.spike_independent_energy(workload, machine).total_pj(),
                jsnn.spike_independent_energy(other, machine).total_pj(),
            )


class Sliced(nn.Module):
    """Two branches, the second of which gets half of the frames."""

    input_kind: str

    def setup(self):
        self.first, self.last = HIDDEN.clone(), LAST.clone()
        self.second = HIDDEN.clone(synapse=nn.Dense(4), input_kind=self.input_kind)

    def __call__(self, frames, train=False):
        return self.last(self.first(frames, train) + self.second(frames[..., :4], train), train)


def test_silencing_says_whose_source_is_unknown():
    """A slice hands nothing on, neither where frames come from nor whose spikes a sum is of."""
    frames = jnp.asarray(bernoulli((4, 2, 8)), jnp.float32)
    unknown, taken = {}, {}
    for kind in "spikes", "events":
        model = Sliced(kind)
        variables = jax.jit(model.init)(jax.random.key(0), frames)
        workload = jax.jit(lambda v, x, model=model: jsnn.run(model, v, x)[1])(variables, frames)
        unknown[kind] = workload.source_unknown
        silent = workload.silenced()
        taken[kind] = bool(silent["second"].input_events.any())
        with pytest.warns(UserWarning, match=", ".join(map(repr, unknown[kind]))):
            left = jsnn.spike_independent_energy(workload, get("neuromorphic-22nm"))
        np.testing.assert_array_equal(
            left.parts_pj, jsnn.estimate_energy(silent, get(left.hardware)).parts_pj
        )
        text = "The spike-independent energy takes what comes into " + ", ".join(unknown[kind])
        given = jsnn.energy.report.report(workload, get("neuromorphic-22nm"), draws=2)
        assert text in str(given) and given.to_json()["source_unknown"] == list(unknown[kind])
    assert unknown == {"spikes": ("second", "last"), "events": ("last",)}
    assert taken == {"spikes": False, "events": True}


def test_a_threshold_by_channel_is_a_unit_by_channel():
    """Events of the size of their channel's threshold."""
    units = (0.5, 0.1, 0.3)
    layer = Spiking(nn.Dense(4), LIF(), input_unit=units)
    frames = jnp.asarray(bernoulli((5, 2, 3)), jnp.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), frames)
    _, workload = ran(layer, variables, frames * jnp.asarray(units))
    np.testing.assert_array_equal(workload.layers[0].by_input, frames.sum(0))
    (kept,) = record(layer, variables, frames * jnp.asarray(units))
    np.testing.assert_allclose(kept.frames, frames, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dropout_sums_and_average_pools_train_with_a_finite_loss(dtype):
    model = Network(
        (
            *POOLED.layers[:2],
            Dropout(0.1),
            Residual(Network((Spiking(Conv(4, (3, 3)), IF(v_threshold=0.3)), Dropout(0.3)))),
            Flatten(),
            Dropout(0.3),
            READOUT,
        )
    )
    images = jax.random.uniform(jax.random.key(0), (3, 4, 8, 8, 1)).astype(dtype)
    # Frames from elsewhere that dropout scales are events still.
    noisy = Network((Dropout(0.1), Spiking(nn.Dense(6), LIF(), input_kind="events"), READOUT))
    flat = jnp.asarray(bernoulli((5, 4, 20)), dtype)
    for network_, frames in ((model, images), (noisy, flat)):
        variables = jax.jit(network_.init)(jax.random.key(1), frames)

        def loss(params, network_=network_, frames=frames, variables=variables):
            rngs, given_ = {"dropout": jax.random.key(2)}, {**variables, "params": params}
            passed = forward(network_, given_, frames, train=True, rngs=rngs)
            return jsnn.estimate_energy(passed.workload, MACHINE).total_pj().mean()

        value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_dropout_keeps_the_expectation_of_counts():
    model = Network((Dropout(0.25), Spiking(nn.Dense(2), LIF(), input_kind="events")))
    frames = jnp.ones((2, 1, 4000))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    rngs = {"dropout": jax.random.key(1)}
    passed = jax.jit(lambda: forward(model, variables, frames, train=True, rngs=rngs))()
    assert float(passed.workload.layers[0].input_events[0]) == pytest.approx(8000, rel=0.02)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_rate_is_a_share(rate):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        Dropout(rate).apply({}, jnp.ones((1, 1, 2)), True)


def test_notes_go_with_their_arrays():
    values = note(jnp.ones(3), SPIKES)
    assert sent(values) is SPIKES
    assert sent(values + 0).unit is None
    assert sent(pack(np.ones((1, 1, 3)))).unit is None


POOLED_ALIKE = NOTHING.pool(0.25)


@pytest.mark.parametrize(
    ("one", "other", "unit", "pooled", "kept"),
    [
        (SPIKES, SPIKES, 1.0, 1.0, 1.0),
        (SPIKES, SPIKES.drop(2.0), 1.0, 1.0, None),
        (POOLED_ALIKE, POOLED_ALIKE, None, 0.25, 1.0),
        (POOLED_ALIKE, POOLED_ALIKE.drop(2.0), None, 0.25, None),
        # Of one branch that is known and one that is not, nothing is: the values are checked.
        (POOLED_ALIKE, SPIKES, None, 1.0, 1.0),
        (SPIKES, POOLED_ALIKE, None, 1.0, 1.0),
        (NOTHING, SPIKES, None, 1.0, 1.0),
        (SPIKES, NOTHING, None, 1.0, 1.0),
        (POOLED_ALIKE, NOTHING, None, 1.0, 1.0),
    ],
)
def test_of_a_sum_is_known_what_is_known_of_both(one, other, unit, pooled, kept):
    first, second = note(jnp.ones(2), one), note(jnp.ones(2), other)
    known = sent(summed(first + second, first, second))
    assert (known.unit, known.pooled, known.kept) == (unit, pooled, kept)
    assert known.spikes == (unit is not None)
    assert not known.single and known.events is None


@dataclasses.dataclass(frozen=True)
class Graded(LIF):
    """A neuron of the user's that sends its spikes at a size of its own."""

    size: float = 1.0

    def step(self, params, state, current):
        state, spikes = super().step(params, state, current)
        return state, self.size * spikes


class Valued(Graded):
    """The same, and it says so."""

    @property
    def spike_value(self):
        return self.size


def test_a_neuron_that_says_the_value_of_its_spikes_hands_it_on():
    first = Spiking(nn.Dense(6), Valued(v_threshold=0.1, size=0.1), "events")
    model = Network((first, Spiking(nn.Dense(5), LIF()), READOUT.clone()))
    variables = jax.jit(model.init)(jax.random.key(0), ONES)
    _, workload = ran(model, variables, ONES)
    first, second, _ = workload
    assert first.output_events.min() > 0
    np.testing.assert_array_equal(second.input_events, first.output_events)
    jsnn.run(model, variables, ONES)
    graded = model.clone(layers=(model.layers[0].clone(neuron=Graded(size=0.1)), *model.layers[1:]))
    with pytest.raises(ValueError, match="Graded sends values that are no whole numbers"):
        jsnn.run(graded, variables, 5 * ONES)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("size", [1.0, 0.5])
def test_sums_hand_on_the_value_of_spikes_of_a_neuron_of_the_users(size, pooled, dropped):
    """As of a shipped neuron, whose spikes are known, through pools, dropout and sums."""

    def network(neuron):
        drop = [Dropout(0.25)] * dropped
        block = Network((Spiking(Conv(2, (3, 3)), neuron), *drop))
        first = Spiking(Conv(2, (3, 3)), neuron, "events")
        joined = (first, *drop, Residual(block), *[Pool("average", 2)] * pooled)
        return Network((*joined, Flatten(), Spiking(nn.Dense(3), LIF())))

    frames = jnp.asarray(bernoulli((3, 2, 8, 8, 1)), jnp.float32)
    neuron = LIF(v_threshold=0.1)
    variables = jax.jit(network(neuron).init)(jax.random.key(0), frames)
    keys = {"dropout": jax.random.key(1)}
    own = Valued(v_threshold=0.1, size=size)

    def workload_of(neuron):
        passed = functools.partial(forward, network(neuron), train=True, rngs=keys)
        return jax.jit(lambda v, x: passed(v, x).workload)(variables, frames)

    result, plain = map(workload_of, (own, neuron))
    assert plain.layers[-1].input_events.min() > 0
    assert np.isfinite(result.layers[-1].input_events).all()
    if size == 1:
        np.testing.assert_allclose(
            result.layers[-1].input_events, plain.layers[-1].input_events, rtol=1e-6
        )
    sent_by = [layer.output_events for layer in result.layers[:2]]
    if not dropped:
        np.testing.assert_allclose(result.layers[-1].input_events, sum(sent_by), rtol=1e-6)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("readout", [None, SpikeCount(), LastMembrane()])
@pytest.mark.parametrize("size", [1.0, 2.0, 0.1, 0.5, 1.5, -1.0])
def test_a_neuron_that_sends_no_whole_numbers_has_no_energy(size, readout, recurrent):
    neuron = Graded(v_threshold=0.1, size=size)
    layer = Spiking(nn.Dense(6), neuron, "events", recurrent=recurrent, readout=readout)
    variables = jax.jit(layer.init)(jax.random.key(0), ONES)
    _, workload = ran(layer, variables, ONES)
    if size in (1.0, 2.0):
        (plain,) = ran(layer.clone(neuron=LIF(v_threshold=0.1)), variables, ONES)[1]
        (result,) = workload
        assert plain.output_events.min() > 0
        if not recurrent:
            np.testing.assert_array_equal(result.output_events, size * plain.output_events)
        jsnn.run(layer, variables, ONES)
        return
    # A neuron that says so sends as many spikes as it fires.
    if size > 0:
        neuron = Valued(v_threshold=0.1, size=size)
        weights = jax.tree.map(jnp.copy, variables["params"])
        if recurrent:
            weights["recurrent"] = weights["recurrent"] / size
        (said,) = ran(layer.clone(neuron=neuron), variables | {"params": weights}, ONES)[1]
        (plain,) = ran(layer.clone(neuron=LIF(v_threshold=0.1)), variables, ONES)[1]
        same = functools.partial(np.testing.assert_allclose, rtol=1e-5)
        jax.tree.map(same, jax.tree.leaves(said), jax.tree.leaves(plain))
    with pytest.raises(ValueError, match=r"of your own must send whole numbers of spikes"):
        require_finite(workload)
    with pytest.raises(ValueError, match=r"'layer': Graded sends values that are no whole numbers"):
        jsnn.run(layer, variables, ONES)


# ---- what no record accounts for -------------------------------------------------------------


class Between(nn.Module):
    """Parameters that no layer accounts for: a dense layer, a product of the user's, a head."""

    what: str = "dense"

    @nn.compact
    def __call__(self, frames, train=False):
        x = Spiking(nn.Dense(8, parent=None), LIF(), "events", name="first")(frames, train)
        if self.what == "dense":
            x = nn.Dense(8, name="between")(x)
        if self.what == "own":
            x = nn.relu(x @ self.param("own", nn.initializers.normal(), (8, 8)))
        kind = "spikes" if self.what == "head" else "analog"
        last = Spiking(nn.Dense(4, parent=None), LIF(), kind, name="last", readout=SpikeCount())
        x = last(x, train)
        return nn.Dense(3, name="head")(x) if self.what == "head" else x


@pytest.mark.parametrize(
    ("what", "leaves", "path"),
    [
        ("dense", "between/bias, between/kernel", "between"),
        ("own", "own", "own"),
        ("head", "head/bias, head/kernel", "head"),
    ],
)
def test_parameters_that_no_record_accounts_for_are_refused_or_listed(what, leaves, path):
    model = Between(what)
    variables = jax.jit(model.init)(jax.random.key(0), ONES)
    with pytest.raises(
        ValueError, match=f"no spiking layer accounts for .* parameters of {leaves}"
    ):
        ran(model, variables, ONES)
    _, workload = ran(model, variables, ONES, unpriced=(path,))
    said = f"{leaves}: left out by hand"
    assert said in str(jsnn.estimate_energy(workload, MACHINE))
    whole = jsnn.energy.report.report(workload, MACHINE, draws=5)
    assert said in str(whole)
    assert whole.to_json()["left_out"] == leaves.split(", ")
    with pytest.raises(ValueError, match=r"unpriced parameters \['nothing'\]"):
        ran(model, variables, ONES, unpriced=(path, "nothing"))


class Doubled(nn.Dense):
    """A synapse with a parameter that its connectivity does not know."""

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        return scale * super().__call__(x)


def test_a_synapse_must_say_what_it_keeps():
    layer = Spiking(Doubled(3), LIF(), input_kind="events")
    variables = jax.jit(layer.init)(jax.random.key(0), ONES)
    with pytest.raises(ValueError, match=r"Doubled has 30 parameters.*accounts for 27"):
        ran(layer, variables, ONES)


class BothSigns(nn.Dense):
    """A synapse that sends twice as much as it says."""

    @nn.compact
    def __call__(self, x):
        y = super().__call__(x)
        return jnp.concatenate([y, -y], axis=-1)


class EveryOther(nn.Conv):
    """A convolution that sends half of its places."""

    @nn.compact
    def __call__(self, x):
        return super().__call__(x)[:, ::2]


for registered in Doubled, BothSigns:
    connectivity.register(registered, connectivity.dispatch(nn.Dense))
connectivity.register(EveryOther, connectivity.dispatch(nn.Conv))


@pytest.mark.parametrize(
    ("synapse", "shape", "says", "sends"),
    [
        (BothSigns(3), (8,), [3], [6]),
        (EveryOther(2, (3, 3)), (4, 6, 1), [4, 6, 2], [2, 6, 2]),
        (EveryOther(2, (3, 3), strides=2), (8, 5, 1), [4, 3, 2], [2, 3, 2]),
    ],
)
def test_a_synapse_must_send_what_its_connectivity_says(synapse, shape, says, sends):
    layer = Spiking(synapse, LIF(), input_kind="events")
    frames = jnp.ones((4, 2, *shape))
    variables = jax.jit(layer.init)(jax.random.key(0), frames)
    with pytest.raises(ValueError, match=re.escape(f"frames {says}, and it sends {sends}")):
        ran(layer, variables, frames)


MODELS = {
    "mlp": (MLP((6,), 3, input_kind="events", norm=True), (4, 2, 8)),
    "srnn": (SRNN((6,), 3), (4, 2, 8)),
    "conv": (ConvNet((3,), 3, input_kind="analog", hidden=4), (2, 1, 8, 8, 1)),
    "spikformer": (Spikformer((16,), 3, heads=2, input_kind="analog"), (2, 1, 16, 16, 1)),
}
EACH_NEURON = {
    f"neuron {name}": (
        Network(
            (
                Spiking(
                    nn.Dense(3),
                    neuron(),
                    input_kind="events",
                    readout=None if neuron.spiking else LastMembrane(),
                ),
            )
        ),
        (4, 2, 8),
    )
    for name, neuron in NEURONS.items()
}


@pytest.mark.parametrize("name", [*MODELS, *EACH_NEURON])
def test_every_shipped_parameter_is_accounted_for(name):
    model, shape = (MODELS | EACH_NEURON)[name]
    frames = jnp.ones(shape)
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    _, workload = ran(model, variables, frames)
    assert workload.unpriced == ()
    stored = sum(
        int(np.size(leaf))
        for path, leaf in jax.tree_util.tree_flatten_with_path(variables["params"])[0]
        if {entry.key for entry in path} & {"kernel", "bias", "recurrent"}
        and not {entry.key for entry in path} & {"norm"}
    )
    geometries = [layer.geometry for layer in workload]
    normed = "batch_stats" in variables
    weights = sum(g.weights + g.recurrent_weights + (0 if normed else g.biases) for g in geometries)
    if not normed:
        assert weights == stored


# ---- what is not finite ----------------------------------------------------------------------


@pytest.mark.parametrize("leaf", ["kernel", "bias"])
def test_a_network_that_diverged_has_no_energy_and_is_refused_by_name(leaf):
    model = Network((Spiking(nn.Dense(8), LIF(), "events"), Spiking(nn.Dense(8), LIF()), READOUT))
    variables = jax.jit(model.init)(jax.random.key(0), ONES)
    synapse = variables["params"]["layers_1"]["synapse"]
    synapse[leaf] = synapse[leaf].at[..., 0].set(jnp.nan)
    _, workload = ran(model, variables, ONES)
    for machine in map(get, ("neuromorphic-22nm", "compute-only-45nm", "loihi-14nm")):
        assert not np.isfinite(np.asarray(jsnn.estimate_energy(workload, machine).total_pj())).any()
        with pytest.raises(ValueError, match=r"layer 'layers_1'.*diverge"):
            jsnn.energy.report.report(workload, machine, draws=5)
        with pytest.raises(ValueError, match=r"layer 'layers_1'.*diverge"):
            jsnn.energy_ratio(workload, machine)


def test_an_evaluation_names_the_layer_that_is_not_finite():
    model = Network((Spiking(nn.Dense(8), LIF(), "events"), Spiking(nn.Dense(8), LIF()), READOUT))
    variables = jax.jit(model.init)(jax.random.key(0), ONES)
    step = make_eval_step(
        model, Objective(CrossEntropy(), MACHINE), lambda key, x: x.swapaxes(0, 1)
    )
    data = (ONES.swapaxes(0, 1), jnp.array([0, 1]))
    sums = evaluate(step, variables, data, 2, jax.random.key(0))
    assert set(sums["not_finite"]) == set(sums["dataflows"]) == {"layers_0", "layers_1", "layers_2"}
    kernel = variables["params"]["layers_1"]["synapse"]["kernel"]
    variables["params"]["layers_1"]["synapse"]["kernel"] = kernel.at[0, 0].set(jnp.nan)
    with pytest.raises(FloatingPointError, match=r"layers layers_1 \(2 samples\)"):
        evaluate(step, variables, data, 2, jax.random.key(0))
    grey = (0.1 * data[0], data[1])
    with pytest.raises(FloatingPointError, match=r"layers_0 \(2 samples\)"):
        evaluate(step, variables, grey, 2, jax.random.key(0))


def test_a_training_step_on_what_is_no_event_is_not_finite():
    """Even where the energy has no weight: the figure beside the loss would be wrong."""
    model = Network((Spiking(nn.Dense(8), LIF(), "events"), READOUT))
    objective, optimiser = Objective(CrossEntropy(), MACHINE), make_optimiser(1e-3, 10)

    def encoder(key, samples):
        return samples.swapaxes(0, 1)

    state = init_state(model, optimiser, ONES, seed=0)
    samples, labels = ONES.swapaxes(0, 1), jnp.array([0, 1])
    state, _ = start_terms(state, model, objective, encoder, samples)
    step = make_train_step(model, objective, optimiser, encoder)
    for given_, finite in ((samples, True), (0.1 * samples, False), (samples, True)):
        state, terms = step(state, (given_, labels), jnp.arange(2))
        assert bool(terms["finite"]) is finite


@settings(max_examples=examples(60))
@given(
    st.sampled_from(["events_by_fan_out", "active", "recurrent_events", "spikes"]),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.integers(0, 1),
    st.sampled_from(["neuromorphic-22nm", "spatial-45nm", "event-45nm", "loihi-14nm"]),
)
def test_what_is_not_finite_stays_so(field, value, layer, machine):
    workload = run_of_two_layers()
    broken = workload.layers[layer]
    counts = getattr(broken, field)
    broken = dataclasses.replace(broken, **{field: counts.at[0].set(value)})
    layers = tuple(broken if n == layer else whole for n, whole in enumerate(workload))
    pj = np.asarray(
        jsnn.estimate_energy(dataclasses.replace(workload, layers=layers), get(machine)).total_pj()
    )
    # Some machines do not ask which inputs were active at all.
    unasked = field == "active" and pj[0] == whole_pj(machine)[0]
    assert unasked or not np.isfinite(pj[0])
    assert np.isfinite(pj[1])


@functools.cache
def whole_pj(machine):
    return np.asarray(jsnn.estimate_energy(run_of_two_layers(), get(machine)).total_pj())


@functools.cache
def run_of_two_layers():
    model = Network((Spiking(nn.Dense(8), LIF(), "events"), READOUT))
    return ran(model, jax.jit(model.init)(jax.random.key(0), ONES), ONES)[1]


def test_a_dead_network_is_called_dead_before_any_verdict():
    weak = nn.Dense(8, kernel_init=nn.initializers.zeros)
    model = Network((Spiking(weak, LIF(), "events"), READOUT))
    _, workload = ran(model, jax.jit(model.init)(jax.random.key(0), ONES), ONES)
    result = jsnn.energy.report.report(workload, MACHINE, draws=5)
    text = str(result)
    assert result.dead
    assert result.to_json()["dead"] is True
    assert text.index("DEAD") < text.index("costs less")
    assert not jsnn.energy.report.report(run_of_two_layers(), MACHINE, draws=5).dead


# ---- convolutions as flax runs them ----------------------------------------------------------


@st.composite
def convolutions(draw):
    spatial = draw(st.integers(1, 3))
    # No kernel below is larger than the smallest of these.
    sizes = tuple(draw(st.integers(3, 5)) for _ in range(spatial))
    axes = draw(st.integers(1, spatial))
    groups = draw(st.sampled_from([1, 2]))
    whole_number = axes == 1 and draw(st.booleans())

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    options = {
        "features": groups * draw(st.integers(1, 2)),
        "kernel_size": draw(st.integers(1, 3)) if whole_number else each(1, 3),
        "strides": draw(st.sampled_from([1, 2, None])) if draw(st.booleans()) else each(1, 2),
        "kernel_dilation": draw(st.sampled_from([1, each(1, 1)])),
        "padding": draw(
            st.sampled_from(["SAME", "VALID", 1, tuple((0, n) for n in each(0, 1)), each(0, 2)])
        ),
        "feature_group_count": groups,
        "use_bias": draw(st.booleans()),
    }
    cls = draw(st.sampled_from([nn.Conv, Conv]))
    return cls(**options), (*sizes, groups * draw(st.integers(1, 2)))


@settings(max_examples=examples(40))
@given(convolutions())
@example((nn.Conv(2, 3), (6, 6, 1)))
@example((Conv(2, 3), (6, 6, 1)))
def test_fan_outs_are_the_non_zeros_of_the_jacobian(case):
    synapse, shape = case
    facts = connectivity(synapse, shape)
    shapes = jax.eval_shape(synapse.init, jax.random.key(0), jnp.ones((1, *shape)))
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    # It is linear: its Jacobian is what it makes of each input alone, less what it makes of none.
    each = np.eye(math.prod(shape) + 1, math.prod(shape), dtype=np.float32)
    *columns, bias = np.asarray(synapse.apply(params, each.reshape(-1, *shape)))
    wires = [np.count_nonzero(column - bias) for column in columns]
    np.testing.assert_array_equal(facts.fan_out, np.reshape(wires, shape))
    sizes = {name: int(np.size(leaf)) for name, leaf in params["params"].items()}
    assert facts.weights == sizes["kernel"]
    assert facts.biases == sizes.get("bias", 0)


def test_a_kernel_given_as_one_number_runs_along_the_last_axis():
    facts = connectivity(nn.Conv(2, 3), (6, 6, 1))
    assert (facts.synapses, facts.weights) == (192, 6)
    layer = Spiking(nn.Conv(2, 3), IF(), input_kind="events")
    frames = jnp.asarray(bernoulli((3, 2, 6, 6, 1)), jnp.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), frames)
    workload = ran(layer, variables, frames)[1]
    walked = audit(record(layer, variables, frames), get("classical-45nm"))
    np.testing.assert_allclose(
        walked.total_pj(),
        jsnn.estimate_energy(workload, get("classical-45nm")).total_pj(),
        rtol=1e-6,
    )


# ---- layers used twice, and levers -----------------------------------------------------------


class Twice(nn.Module):
    """One layer of 20 x 20 weights used twice."""

    @nn.compact
    def __call__(self, frames, train=False):
        layer = Spiking(nn.Dense(20, use_bias=False), LIF(), "events", name="shared")
        return layer(layer(frames, train), train)


def test_weights_of_a_layer_used_twice_are_stored_and_loaded_once():
    frames = jnp.asarray(bernoulli((4, 2, 20)), jnp.float32)
    variables = jax.jit(Twice().init)(jax.random.key(0), frames)
    _, workload = ran(Twice(), variables, frames)
    machine = get("classical-45nm")
    first, second = workload
    assert (first.geometry.shared, second.geometry.shared) == (False, True)
    loaded = [jsnn.energy.count(layer)["loads"] * layer.geometry.weights for layer in workload]
    assert sum(loaded) == 400
    weight_bits, state_bits = machine.design.weight_bits, machine.design.state_bits
    states = 2 * 20 * state_bits / 8
    stored = float(memory_bytes([(layer, machine) for layer in workload]))
    assert stored == 400 * weight_bits / 8 + states
    walked = audit(record(Twice(), variables, frames), machine)
    np.testing.assert_allclose(
        walked.total_pj(), jsnn.estimate_energy(workload, machine).total_pj(), rtol=1e-6
    )


class SharedSynapse(nn.Module):
    """Two layers of one synapse."""

    @nn.compact
    def __call__(self, frames, train=False):
        synapse = nn.Dense(20, use_bias=False, name="shared")
        x = Spiking(synapse, LIF(), "events", name="first")(frames, train)
        return Spiking(synapse, LIF(), name="second")(x, train)


def test_a_recurrent_layer_shares_no_weights_with_another():
    class Both(nn.Module):
        @nn.compact
        def __call__(self, frames, train=False):
            synapse = nn.Dense(20, name="shared")
            x = Spiking(synapse, LIF(), "events", name="first")(frames, train)
            return Spiking(synapse, LIF(), recurrent=True, name="second")(x, train)

    frames = jnp.asarray(bernoulli((4, 2, 20)), jnp.float32)
    variables = jax.jit(Both().init)(jax.random.key(0), frames)
    with pytest.raises(ValueError, match="'second' is recurrent and shares its synapse"):
        ran(Both(), variables, frames)


def test_weights_that_two_layers_share_are_stored_and_loaded_once():
    frames = jnp.asarray(bernoulli((4, 2, 20)), jnp.float32)
    variables = jax.jit(SharedSynapse().init)(jax.random.key(0), frames)
    assert variables["params"]["shared"]["kernel"].shape == (20, 20)
    _, workload = ran(SharedSynapse(), variables, frames)
    machine = get("classical-45nm")
    assert [layer.geometry.shared for layer in workload] == [False, True]
    stored = float(memory_bytes([(layer, machine) for layer in workload]))
    assert stored == (400 * machine.design.weight_bits + 2 * 20 * machine.design.state_bits) / 8
    walked = audit(record(SharedSynapse(), variables, frames), machine)
    np.testing.assert_allclose(
        walked.total_pj(), jsnn.estimate_energy(workload, machine).total_pj(), rtol=1e-6
    )


class Cheaper(Lever):
    name = "cheaper"

    def init(self, key, params, workload):
        return jnp.float32(4.0)

    def price(self, leaves, params, pairs):
        return [(layer, machine.with_design(weight_bits=leaves)) for layer, machine in pairs]


def test_levers_are_not_forgotten_by_a_energy():
    model = MLP((6,), 3, input_kind="events")
    levered = Levered(model, (Cheaper(),))
    variables = jax.jit(levered.init)(jax.random.key(0), ONES)
    _, workload = ran(levered, variables, ONES)
    timed = get("spatial-45nm")
    for price_it in (
        jsnn.estimate_energy,
        jsnn.spike_independent_energy,
        jsnn.spike_dependent_pj,
        jsnn.energy_ratio,
        jsnn.mean_energy_ratio,
        jsnn.energy.latency.latency,
        jsnn.energy.report.report,
        lambda *given: jsnn.energy.uncertainty.monte_carlo(jax.random.key(0), *given, 10),
        jsnn.energy.uncertainty.sensitivities,
    ):
        with pytest.raises(ValueError, match=r"under levers \(cheaper\)"):
            price_it(workload, timed)
    with pytest.raises(ValueError, match=r"expected the levers .*\(cheaper\), found none"):
        price((), None, workload, MACHINE)
    pairs = price(levered.levers, variables["params"], workload, MACHINE)
    plain = ran(model, {**variables, "params": variables["params"]["network"]}, ONES)[1]
    less = float(jsnn.energy.estimate_layers(pairs).total_pj().mean())
    assert less < float(jsnn.estimate_energy(plain, MACHINE).total_pj().mean())


@pytest.mark.parametrize("shape", [(0, 2, 8), (4, 0, 8)])
def test_no_step_or_no_sample_is_refused(shape):
    model = MLP((6,), 3, input_kind="events")
    variables = jax.jit(model.init)(jax.random.key(0), ONES)
    with pytest.raises(ValueError, match="at least one step and one sample"):
        jsnn.run(model, variables, jnp.ones(shape))
