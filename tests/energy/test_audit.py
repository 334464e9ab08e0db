"""The walk through every event against the energy estimated from totals."""

import dataclasses
import functools
import re
from fractions import Fraction
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jsnn
from jsnn.energy import COMPONENTS, estimate_energy, tally
from jsnn.energy.audit import Conv, Dense, Product, RecordedLayer, audit
from jsnn.hardware import Constant, Design, Hardware, Technology, get
from jsnn.hardware.architectures import Classical, EventDriven, Neuromorphic, Spatial
from jsnn.hardware.arithmetic import ARITHMETIC
from jsnn.hardware.constants.horowitz import HOROWITZ_INT, HOROWITZ_SRAM
from jsnn.hardware.constants.lemaire import LEMAIRE_RAM
from jsnn.hardware.constants.memories import ACCELERGY_EYERISS, DOSA, POWER_LAW_RAM
from jsnn.hardware.constants.yan import YAN_22NM
from jsnn.hardware.memory import MEMORIES
from jsnn.neurons import LI, LIF, NeuronOps
from jsnn.nn import run
from jsnn.nn.layer_workload import SentSpikes, layer_workload
from jsnn.nn.layers import Flatten, Network, Pool, Residual, Spiking
from jsnn.nn.recording import record, wiring
from jsnn.nn.synapses import find_connectivity
from jsnn.readouts import SpikeCount
from jsnn.workload import Geometry, Workload
from tests.fuzzing import examples

PRESETS = (
    "classical-45nm",
    "event-45nm",
    "spatial-45nm",
    "neuromorphic-22nm",
    "neuromorphic-22nm-minimum",
    "neuromorphic-22nm-worst",
)

_MADE_UP = {
    "local_pj_per_bit": 0.011,
    "global_pj_per_bit": 0.073,
    "queue_pj_per_bit": 0.029,
    "core_pj_per_bit": 0.017,
    "register_pj_per_bit": 0.0053,
    "dram_pj_per_bit": 19.7,
    "link_pj_per_bit_hop": 0.31,
}
CONSTANTS = Technology(
    HOROWITZ_INT
    | HOROWITZ_SRAM
    | LEMAIRE_RAM
    | POWER_LAW_RAM
    | DOSA
    | ACCELERGY_EYERISS
    | YAN_22NM
    | {name: Constant(pj, "pJ/bit", "made up", "RECALLED") for name, pj in _MADE_UP.items()}
)


def pick(*values):
    return st.sampled_from(values)


@st.composite
def machines(draw):
    """Any memory and arithmetic, banks that hold everything, some or nothing."""
    arithmetic = draw(pick(*ARITHMETIC))
    # The line through the multipliers is below zero for narrow words.
    widths = pick(8, 12, 16, 32) if arithmetic == "linear" else pick(1, 3, 4, 8, 12, 16, 32)
    parameters = {name: draw(widths) for name in ("weight_bits", "state_bits", "input_bits")}
    kind = draw(pick(Classical, EventDriven, Spatial, Neuromorphic))
    models = (
        () if kind is Neuromorphic else (draw(pick(*MEMORIES.values())), ARITHMETIC[arithmetic])
    )
    architecture = kind(*models)
    some = pick(0, 4, 12, 32, 100, 1000)
    ranges = {
        "output_bits": pick(1, 8, 11),
        "event_bits": pick(1, 10, 64),
        "queue_events": pick(1, 1024),
        "zero_skipping": pick(0, 0.25, 1),
        "batch": pick(1, 3, 64),
        "local_bytes": some,
        "global_bytes": some,
        "dram_bytes": st.just(1e9),
        "hops": pick(0, 0.64, 1, 2.5),
        "targets_per_message": pick(1, 2, 2.5, 3, 16, 256),
        "weight_fetch_share": pick(0, 0.25, 1),
        "temporal_reuse": pick(0, 0.25, 1),
        "core_weight_bytes": pick(8, 4096, 1e5),
        "core_state_bytes": pick(8, 4096),
        "core_neurons": pick(1, 5, 256),
        "cores": st.just(1e6),
        "pes": pick(1, 4, 64),
        "pe_state_bytes": pick(0, 2, 32),
        "clock_hz": st.just(1e8),
    }
    parameters |= {name: draw(ranges[name]) for name in architecture.parameters if name in ranges}
    return Hardware("random", architecture, CONSTANTS, Design(**parameters))


@st.composite
def synapses(draw):
    """A dense synapse or a convolution, and the shape of its input frames."""
    bias = draw(st.booleans())
    if draw(st.booleans()):
        shape = (draw(pick(8, 1)),)
        return nn.Dense(draw(st.integers(1, 6)), use_bias=bias), shape
    *space, channels = shape = draw(pick((5, 2), (3, 3, 4)))
    axes = range(len(space))
    groups = draw(pick(1, channels, *([2] if channels == 4 else [])))
    kernel = tuple(draw(st.integers(1, 3)) for _ in axes)
    dilation = tuple(draw(st.integers(1, 2)) for _ in axes)
    # Wide enough for the kernel everywhere, uneven where drawn so.
    pairs = []
    for size, taps, gap in zip(space, kernel, dilation, strict=True):
        lack = max((taps - 1) * gap + 1 - size, 0)
        low = draw(st.integers(0, 2))
        pairs.append((low, max(lack - low, 0) + draw(st.integers(0, 2))))
    fits = all(
        (taps - 1) * gap < size for size, taps, gap in zip(space, kernel, dilation, strict=True)
    )
    padding = draw(pick("SAME", pairs, *(["VALID"] if fits else [])))
    synapse = nn.Conv(
        features=groups * draw(st.integers(1, 2)),
        kernel_size=kernel,
        strides=tuple(draw(st.integers(1, 3)) for _ in axes),
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=bias,
    )
    return synapse, shape


@st.composite
def layers(draw):
    """A layer with frames and spikes at random: its record and its counted workload."""
    synapse, shape = draw(synapses())
    kind = draw(pick("spikes", "events", "analog", "constant"))
    unit = draw(pick(1.0, 0.25)) if kind in ("spikes", "events") else 1.0
    spiking, small = draw(pick(True, True, False)), st.integers(0, 2)
    ops = NeuronOps(*(draw(small) for _ in range(4)), draw(small) * spiking)
    wires = wiring(synapse, shape)
    recurrent = len(shape) == 1 and draw(pick(True, True, False))
    folded = draw(st.booleans())
    steps, batch = draw(pick(1, 3)), 2
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rate, busy = draw(pick(0.5, 0.1, 1.0, 0.0)), draw(pick(0.8, 0.2, 0.0))
    # Residual sums reach 3; events from outside have a sign; words have any value.
    tops = {"spikes": (1, draw(pick(2, 4))), "events": (-2, 3)}.get(kind)
    size = (steps, batch, *shape)
    values = rng.integers(*tops, size) * unit if tops else rng.normal(size=size)
    frames = np.where(rng.random(size) < rate, values, 0.0)
    if kind == "constant":
        frames = np.broadcast_to(frames[:1], size)
    sent = (batch, *wires.output_shape(shape))
    spikes = (rng.random((steps, *sent)) < busy) * float(spiking)
    before = (rng.random(sent) < busy) * float(spiking) if draw(st.booleans()) else None
    recorded = RecordedLayer(
        "layer", frames, spikes, wires, kind, *ops, synapse.use_bias or folded, spiking,
        recurrent, unit, before,
    )  # fmt: skip
    fed_back = spikes[:-1].sum(0) + (0 if before is None else before)
    earlier = np.concatenate(
        [np.zeros_like(spikes[:1]) if before is None else before[None], spikes]
    )
    each = earlier[:-1].reshape(steps, batch, -1).sum(-1).T * recurrent
    sent_each = spikes.reshape(steps, batch, -1).sum(-1).T
    sent_spikes = SentSpikes(*map(jnp.asarray, (spikes.sum(0), fed_back, sent_each, each)))
    connectivity = find_connectivity(synapse, shape)
    geometry = Geometry.of(
        connectivity,
        ops,
        sent[1:],
        recurrent=recurrent,
        folded_bias=folded,
        name="layer",
        input_kind=kind,
        spiking=spiking,
    )
    workload, _ = layer_workload(
        jnp.asarray(frames), sent_spikes, connectivity, geometry, unit=unit
    )
    return recorded, workload


def exactly(fraction, number):
    """Equal, or rounded once more where a share is no power of two."""
    fraction = Fraction(fraction)
    if fraction.denominator & (fraction.denominator - 1):
        return number == pytest.approx(float(fraction), rel=1e-14)
    return number == fraction


def compare(recorded, workload, machine):
    """Every count and every energy of both sides."""
    result, charged = audit(recorded, machine), estimate_energy(workload, machine)
    by_name = dict(zip(charged.layers, np.moveaxis(charged.parts_pj, 1, 0), strict=True))
    assert sorted(by_name) == sorted(layer.name for layer in result.layers)
    for walked in result.layers:
        np.testing.assert_allclose(
            walked.parts_pj, by_name[walked.name], rtol=1e-9, err_msg=walked.name
        )
        for counts, totals in zip(
            walked.counts, tally(workload[walked.name], machine), strict=True
        ):
            totals = {key: np.asarray(times) for key, times in totals.items()}
            for b, sample in enumerate(counts):
                rest = {key: times[b] for key, times in totals.items() if times[b]}
                assert sample.keys() == rest.keys()
                for key, times in sample.items():
                    assert exactly(times, rest[key]), (key, times, rest[key])


@settings(max_examples=examples(300))
@given(layers(), machines())
def agree(layer, machine):
    recorded, workload = layer
    compare((recorded,), Workload((workload,)), machine)


def test_random_layers():
    # Around the property, so that the layers are drawn in float64 too.
    with jax.enable_x64(True):
        agree()


TINY = {
    # One of three inputs fires twice, another once; two neurons; a bias; one spike leaves.
    "frames": np.array([[[1.0, 0, 0]], [[1, 1, 0]]]),
    "spikes": np.array([[[0.0, 1]], [[0, 0]]]),
    "wiring": Dense(3, 2),
    "input_kind": "spikes",
    "ops": (1, 1, 0, 1, 1),
    "bias": True,
}
BOOKS = {
    "classical-45nm": {
        ("queue", "read", 16): 3,
        ("queue", "write", 16): 1,
        ("weights@local", "read", 8): 6,
        ("weights@local", "read", 16): 4,
        ("weights@local", "write", 8): Fraction(6, 64),
        ("weights@local", "write", 16): Fraction(2, 64),
        ("dram", "load", 8): Fraction(6, 64),
        ("dram", "load", 16): Fraction(2, 64),
        ("states@local", "read", 16): 6 + 4,
        ("states@local", "write", 16): 6 + 4,
        ("adder", "add", 16): 6 + 4 + 1,
        ("multiplier", "multiply", 128): 4,
        ("comparator", "compare", 16): 4,
    },
    "event-45nm": {
        ("link", "send", 16): 3,
        ("weights@core", "read", 8): 6,
        ("weights@core", "read", 16): 4,
        ("states@core", "read", 16): 6 + 4,
        ("states@core", "write", 16): 6 + 4,
        ("adder", "add", 16): 6 + 4 + 1,
        ("multiplier", "multiply", 128): 4,
        ("comparator", "compare", 16): 4,
    },
    "spatial-45nm": {
        # Three inputs: addresses of two bits. Two of them fired at least once.
        ("link", "send", 3): 3,
        ("weights@local", "read", 8): 4,
        ("weights@local", "read", 16): 2,
        ("weights@local", "write", 8): Fraction(6, 64),
        ("weights@local", "write", 16): Fraction(2, 64),
        ("dram", "load", 8): Fraction(6, 64),
        ("dram", "load", 16): Fraction(2, 64),
        ("states@register", "read", 16): 6 + 4,
        ("states@register", "write", 16): 6 + 4,
        ("adder", "add", 16): 6 + 4 + 1,
        ("multiplier", "multiply", 128): 4,
        ("comparator", "compare", 16): 4,
    },
    "neuromorphic-22nm": {
        ("link@sparse", "send", 1): 6,
        ("weights@sram", "read", 8): 6 + 4,
        ("states@sram", "read", 8): 4,
        ("states@sram", "write", 8): 4,
        ("adder", "add", 8): 6 + 4 + 1,
        ("multiplier", "multiply", 64): 4,
        ("comparator", "compare", 8): 4,
    },
}


def layer_of(frames, spikes, wiring, input_kind, ops=(1, 0, 0, 1, 1), **options):
    return RecordedLayer("tiny", frames, spikes, wiring, input_kind, *ops, **options)


@pytest.mark.parametrize("name", BOOKS)
def test_books_by_hand(name):
    (result,) = audit((layer_of(**TINY),), get(name)).layers
    assert result.counts[0][0] == BOOKS[name]
    assert result.received.tolist() == [[3, 3]]
    if name == "spatial-45nm":
        dense = result.counts[1][0]
        assert dense["link", "send", 1] == 3 * 2
        assert {**BOOKS[name], ("link", "send", 3): None} == {
            **{key: times for key, times in dense.items() if key[0] != "link"},
            ("link", "send", 3): None,
        }
    if name == "neuromorphic-22nm":
        # Six connections in two steps, whoever fires.
        dense = {("link@dense", "send", 1): 12, ("weights@sram", "read", 8): 12 + 4}
        unchanged = {
            k: v for k, v in BOOKS[name].items() if k[0] not in ("link@sparse", "weights@sram")
        }
        assert result.counts[1][0] == unchanged | dense


def test_one_spike_more_moves_the_books():
    louder = TINY | {"frames": TINY["frames"] + np.eye(3)[2] * [[[0]], [[1]]]}
    for name in PRESETS:
        quiet, loud = (audit((layer_of(**facts),), get(name)).layers[0] for facts in (TINY, louder))
        width = get(name).design.state_bits
        added = [layer.counts[0][0]["adder", "add", width] for layer in (quiet, loud)]
        assert added[1] == added[0] + 2
        assert loud.parts_pj.sum() > quiet.parts_pj.sum()


@pytest.mark.parametrize(
    ("kind", "ops", "frames", "biases"),
    [("analog", (0, 0, 0, 0, 0), 2, 4), ("constant", (1, 0, 0, 0, 0), 1, 2)],
)
def test_books_of_words_by_hand(kind, ops, frames, biases):
    """Three words of which one is zero, two neurons, a bias, two steps, zeros half skipped."""
    shown = np.broadcast_to([0.5, 0.0, -2.0], (2, 1, 3))
    layer = layer_of(shown, np.zeros((2, 1, 2)), Dense(3, 2), kind, ops, bias=True, spiking=False)
    machine = get("classical-45nm").with_design(zero_skipping=0.5)
    counts = audit((layer,), machine).layers[0].counts[0][0]
    assert counts["words@local", "read", 8] == 3 * frames
    assert counts["weights@local", "read", 8] == frames * (6 + 4) * Fraction(1, 2)
    assert counts["weights@local", "read", 16] == biases
    assert counts["multiplier", "multiply", 64] == 4 * frames
    # A stored current is added where the neuron has no add of its own.
    used = 4 if kind == "constant" else 0
    assert counts["adder", "add", 16] == 4 * frames + biases + used
    states = {verb: counts.get(("states@local", verb, 16), 0) for verb in ("read", "write")}
    assert states == ({"read": 8, "write": 6} if kind == "constant" else {"read": 0, "write": 0})
    assert counts.get(("words@local", "write", 8), 0) == (0 if kind == "constant" else 4)
    assert not {key for key in counts if key[0] == "queue"}


@pytest.mark.parametrize(
    ("local", "wide", "weights", "states"),
    [
        # 6 weights of 8 bits and 2 biases of 16 bits are 10 bytes, 2 states of 16 bits are 4.
        (10, 100, "local", "local"),
        (9, 100, "global", "local"),
        (4, 9, "dram", "local"),
        (3, 9, "dram", "global"),
        (3, 3, "dram", "dram"),
    ],
)
def test_what_does_not_fit_spills(local, wide, weights, states):
    machine = get("classical-45nm").with_design(local_bytes=local, global_bytes=wide)
    array = get("spatial-45nm").with_design(
        local_bytes=local, global_bytes=wide, pes=1, pe_state_bytes=3
    )
    for result in (machine, array):
        counts = audit((layer_of(**TINY),), result).layers[0].counts[0][0]
        assert {u for u, _, _ in counts if u.startswith("weights")} == {f"weights@{weights}"}
        assert {u for u, _, _ in counts if u.startswith("states")} == {f"states@{states}"}
        assert (("dram", "load", 8) in counts) == (weights != "dram")
    registers = array.with_design(pe_state_bytes=4)
    counts = audit((layer_of(**TINY),), registers).layers[0].counts[0][0]
    assert ("states@register", "read", 16) in counts
    for full in (machine, array):
        with pytest.raises(ValueError, match=r"weights of layer 'tiny' take 10 bytes.*dram_bytes"):
            audit(
                (layer_of(**TINY),),
                full.with_design(local_bytes=0, global_bytes=0, dram_bytes=9),
            )


def test_books_of_a_mesh_by_hand():
    """The tiny layer fed back, its weights kept for half of the window, three targets a message."""
    machine = get("neuromorphic-22nm").with_design(
        temporal_reuse=0.5, weight_fetch_share=0.25, targets_per_message=3, hops=0.5
    )
    layer = layer_of(**TINY, recurrent=True)
    sparse, dense = audit((layer,), machine).layers[0].counts
    # 3 spikes to 2 neurons and 1 back to 2; 3 x 2 connections and 2 x 2, in 2 steps.
    synops, synapses = 6 + 2, 6 + 4
    assert sparse[0]["link@sparse", "send", 1] == Fraction(synops, 3)
    assert dense[0]["link@dense", "send", 1] == Fraction(2 * synapses, 3)
    half, quarter = Fraction(1, 2), Fraction(1, 4)
    fetched = quarter * (half * synops + half * synops / 2)
    assert sparse[0]["weights@sram", "read", 8] == fetched + 4
    assert (
        dense[0]["weights@sram", "read", 8] == quarter * (half * 2 * synapses + half * synapses) + 4
    )
    (result,) = audit((layer,), machine).layers
    # Routing: a hop is 3 pJ sparse and 0.25 pJ dense, half a hop a message.
    routing = COMPONENTS.index("routing")
    np.testing.assert_allclose(result.plans_pj[0, 0, :, routing].sum(), synops / 3 * 0.5 * 3)
    np.testing.assert_allclose(result.plans_pj[1, 0, :, routing].sum(), 2 * synapses / 3 * 0.5 / 4)


@pytest.mark.parametrize(("kind", "frames"), [("analog", 2), ("constant", 1)])
def test_books_of_words_on_a_mesh_by_hand(kind, frames):
    """Three words of which one is zero, two neurons, two steps."""
    shown = np.broadcast_to([0.5, 0.0, -2.0], (2, 1, 3))
    layer = layer_of(shown, np.zeros((2, 1, 2)), Dense(3, 2), kind, spiking=False)
    sparse, dense = audit((layer,), get("neuromorphic-22nm")).layers[0].counts
    for counts in (sparse[0], dense[0]):
        assert counts["weights@sram", "read", 8] == 6 * frames
        assert counts["multiplier", "multiply", 64] == 4 * frames
        # The accumulation of a product is part of its price.
        assert counts.get(("adder", "add", 8), 0) == (4 if kind == "constant" else 0)
    assert sparse[0]["link@sparse", "send", 8] == 4 * frames
    assert dense[0]["link@dense", "send", 8] == 6 * frames


def test_a_mesh_chooses_once_for_a_window():
    """A step in which all three fire is cheaper dense, one in which none does is free sparse."""
    frames = np.array([[[1.0, 1, 1]], [[0, 0, 0]], [[0, 0, 0]], [[0, 0, 0]], [[0, 0, 0]]])
    layer = layer_of(frames, np.zeros((5, 1, 2)), Dense(3, 2), "spikes", spiking=False)
    (result,) = audit((layer,), get("neuromorphic-22nm")).layers
    totals = result.plans_pj.sum(-1)
    assert totals[1, 0, 1] < totals[0, 0, 1]
    assert totals[0, 0, 2] < totals[1, 0, 2]
    assert np.unique(result.chosen).size == 1
    np.testing.assert_allclose(result.parts_pj.sum(), totals.sum(-1).min())


def test_a_mesh_knows_no_products():
    product = layer_of(
        np.ones((1, 1, 2, 2)), np.zeros((1, 1, 1, 2, 2)), Product(2, 2, 1, "rows"), "spikes",
        operand=np.ones((1, 1, 2, 2)), spiking=False,
    )  # fmt: skip
    assert audit((product,), get("classical-45nm")).total_pj() > 0
    with pytest.raises(
        ValueError, match=r"no products of spikes with spikes, found layers \['tiny'"
    ):
        audit((product,), get("neuromorphic-22nm"))


def test_the_call_of_the_readme(key):
    """On every machine that says what it does."""
    text = (Path(__file__).parents[2] / "jsnn/README.md").read_text()
    (call,) = re.findall(r"`(jsnn\.energy\.audit\.audit\(.*?\))`", text)
    model, shape = NETWORKS["mlp"]
    frames = jnp.broadcast_to(jax.random.uniform(key, shape[1:]), shape)
    variables = jax.jit(model.init)(key, frames)
    _, workload = jax.jit(functools.partial(run, model))(variables, frames)
    names = {"jsnn": jsnn, "model": model, "variables": variables, "frames": frames}
    for name in PRESETS:
        walked = eval(call, names | {"machine": get(name)})
        np.testing.assert_allclose(
            walked.total_pj(), estimate_energy(workload, get(name)).total_pj(), rtol=1e-6
        )


def test_layers_share_no_core():
    two = (layer_of(**TINY), dataclasses.replace(layer_of(**TINY), name="second"))
    # Weights and biases of 10 bytes fill two cores of 8.
    machine = get("event-45nm").with_design(core_weight_bytes=8, cores=4)
    assert len(audit(two, machine).layers) == 2
    with pytest.raises(ValueError, match="need 4 cores, there are cores = 3"):
        audit(two, machine.with_design(cores=3))


@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "dilation", "groups", "shape"),
    [
        ((3,), (2,), "SAME", (2,), 1, (7, 2)),
        ((2, 3), (1, 2), ((0, 2), (1, 0)), (2, 1), 2, (5, 6, 4)),
        ((3, 2), (3, 1), "VALID", (1, 2), 4, (5, 6, 4)),
        ((1, 1), (2, 3), "SAME", (1, 1), 1, (4, 5, 3)),
    ],
)
def test_wires_compute_the_convolution(key, kernel, strides, padding, dilation, groups, shape):
    synapse = nn.Conv(
        4, kernel, strides, padding, kernel_dilation=dilation, feature_group_count=groups,
        use_bias=False,
    )  # fmt: skip
    frame = jax.random.normal(key, (1, *shape))
    expected, variables = synapse.init_with_output(key, frame)
    weights = np.asarray(variables["params"]["kernel"])
    wires = wiring(synapse, shape)
    assert wires.kernel_shape(shape) == weights.shape
    assert wires.output_shape(shape) == expected.shape[1:]
    sums = np.zeros(expected[0].size)
    for value, (targets, addresses) in zip(np.ravel(frame), wires.wires(shape), strict=True):
        np.add.at(sums, targets, value * weights.ravel()[addresses])
    np.testing.assert_allclose(sums, np.ravel(expected), rtol=1e-5, atol=1e-6)


def test_every_neuron_receives_what_a_convolution_of_ones_gives(key):
    frames = np.random.default_rng(0).poisson(0.5, (3, 2, 5, 4, 2)).astype(np.float32)
    synapse = nn.Conv(3, (3, 2), 2, use_bias=False, kernel_init=nn.initializers.ones)
    recorded = layer_of(frames, np.zeros((3, 2, 3, 2, 3)), wiring(synapse, (5, 4, 2)), "spikes")
    expected, _ = synapse.init_with_output(key, frames.sum(0))
    for name in PRESETS:
        received = audit((recorded,), get(name)).layers[0].received
        np.testing.assert_array_equal(received, np.asarray(expected).reshape(2, -1))


class Twice(nn.Module):
    @nn.compact
    def __call__(self, frames, train=False):
        layer = Spiking(nn.Dense(5, parent=None), BUSY)
        return layer(layer(frames, train), train)


BUSY = LIF(v_threshold=0.3)


def dense(size, **options):
    return Spiking(nn.Dense(size), BUSY, **options)


NETWORKS = {
    "mlp": (jsnn.models.MLP((6, 5), 3, norm=True), (4, 2, 7)),
    "conv": (jsnn.models.ConvNet((3, 4), 3, neuron=BUSY), (3, 2, 6, 5, 2)),
    "srnn": (jsnn.models.SRNN((5, 4), 3, neuron=BUSY), (4, 2, 6)),
    "residual": (
        Network(
            (
                dense(6, input_kind="analog"),
                Residual(dense(6)),
                Residual(dense(6)),
                Spiking(nn.Dense(3), BUSY, readout=SpikeCount()),
            )
        ),
        (4, 2, 6),
    ),
    "pool": (
        Network(
            (
                Spiking(nn.Conv(2, (3, 3), kernel_dilation=2), BUSY, input_kind="constant"),
                Pool("average", 2),
                Spiking(
                    nn.Conv(4, (2, 2), padding=((0, 1), (1, 0)), feature_group_count=2),
                    BUSY,
                    input_unit=0.25,
                ),
                Pool("max", 2),
                Flatten(),
                Spiking(nn.Dense(3), LI(), readout=jsnn.readouts.MeanMembrane()),
            )
        ),
        (3, 2, 8, 6, 1),
    ),
    "twice": (Twice(), (4, 2, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, key):
    model, shape = NETWORKS[name]
    with jax.enable_x64(True):
        frames = jax.random.uniform(key, shape)
        if name in ("srnn", "twice"):
            frames = (frames < 0.4).astype(frames.dtype)
        else:
            frames = jnp.broadcast_to(frames[:1], shape)
        variables = jax.jit(model.init)(key, frames)
        recorded = record(model, variables, frames)
        _, workload = jax.jit(functools.partial(run, model))(variables, frames)
        assert sum(layer.spikes.sum() for layer in recorded) > 0
        for machine in PRESETS:
            compare(recorded, workload, get(machine))
        result, charged = audit(recorded, get(machine)), estimate_energy(workload, get(machine))
        np.testing.assert_allclose(result.total_pj(), charged.total_pj(), rtol=1e-9)
        assert result.parts_pj.shape == charged.parts_pj.shape
        (first, *_) = recorded
        assert result[first.name].name == first.name


def test_recording_refuses_what_has_no_wires(key):
    with pytest.raises(ValueError, match="no spiking layer"):
        record(Flatten(), {}, jnp.ones((1, 1, 2, 2)))
    with pytest.raises(ValueError, match="CIRCULAR"):
        wiring(nn.Conv(1, (3,), padding="CIRCULAR"), (4, 1))
    with pytest.raises(ValueError, match="input-dilated"):
        wiring(nn.Conv(1, (3,), input_dilation=2), (4, 1))
    with pytest.raises(TypeError, match=r"Conv.*Dense"):
        wiring(Flatten(), (4,))
    halves = jnp.full((2, 1, 3), 0.5)
    model = dense(2)
    with pytest.raises(ValueError, match="whole multiples of input_unit"):
        record(model, model.init(key, halves), halves)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"input_kind": "words"}, "input_kind"),
        ({"frames": np.zeros((0, 1, 3))}, "at least one step"),
        ({"frames": np.zeros((2, 1, 4))}, r"takes frames \[3\]"),
        ({"spikes": np.zeros((2, 1, 3))}, r"expected spikes \[2, 1, 2\]"),
        ({"spikes": np.full((2, 1, 2), 2.0)}, "0 or 1"),
        ({"before": np.zeros((1, 3))}, "expected spikes before"),
    ],
)
def test_a_recording_must_fit(change, match):
    with pytest.raises(ValueError, match=match):
        layer_of(**(TINY | change))


def test_wirings_must_fit():
    with pytest.raises(ValueError, match="one entry an axis"):
        Conv((3, 3), (1,), ((0, 0),), (1,), 1, 1)
    with pytest.raises(ValueError, match="do not split"):
        Conv((3,), (1,), ((0, 0),), (1,), 2, 3)
    conv = Conv((3,), (1,), ((0, 0),), (1,), 2, 2)
    with pytest.raises(ValueError, match="does not fit"):
        conv.output_shape((2, 2))
    with pytest.raises(ValueError, match="split into 2 groups"):
        conv.output_shape((4, 3))


def test_only_machines_with_a_table_are_audited():
    with pytest.raises(ValueError, match="no table of actions for architecture 'hierarchy'"):
        audit((layer_of(**TINY),), get("hierarchy-45nm"))
    machine = get("classical-45nm")
    power = {"static_power_w": Constant(1e-3, "W", "made up", "RECALLED")}
    constants = Technology(machine.technology.constants | power)
    with pytest.raises(ValueError, match="static_power_w"):
        audit((layer_of(**TINY),), dataclasses.replace(machine, technology=constants))
    with pytest.raises(ValueError, match="at least one layer"):
        audit((), get("classical-45nm"))
    with pytest.raises(KeyError, match="tiny"):
        audit((layer_of(**TINY),), get("classical-45nm"))["other"]
