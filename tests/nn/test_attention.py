"""Products of spikes: the same sums in either order, and every read and meeting counted."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.energy import estimate_energy, op_count_proxy, spike_independent_energy
from jsnn.energy.audit import Product, RecordedLayer, audit
from jsnn.energy.counting import count, tally
from jsnn.energy.latency import latency
from jsnn.energy.qnn import estimate_qnn_energy, qnn_workload
from jsnn.hardware import get
from jsnn.models import Spikformer
from jsnn.neurons import LIF, NeuronOps
from jsnn.nn import run
from jsnn.nn.attention import Mixer, SelfAttention
from jsnn.nn.layers import Network, Residual, Spiking
from jsnn.nn.recording import record
from jsnn.nn.spike_products import Attention, product_workloads
from jsnn.workload import Workload
from tests.fuzzing import examples

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(run, static_argnums=0)

MACHINES = ("classical-45nm", "event-45nm", "spatial-45nm")
# Loads of a whole inference, so that every count is a whole number.
WHOLE = {"classical-45nm": {"batch": 1}, "spatial-45nm": {"batch": 1}}
NEURON = LIF(tau_mem=2e-3, v_threshold=0.5)


def spikes(seed, shape, rate=0.4):
    return (np.random.default_rng(seed).random(shape) < rate).astype(np.float64)


def layer_of(order="auto", heads=2, neuron=NEURON):
    return Network((Spiking(Attention(heads, 0.125, order, parent=None), neuron, name="mix"),))


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_products_against_loops(order):
    frames = spikes(0, (2, 3, 5, 6))
    result = Attention(2, 0.25, order).apply({}, jnp.asarray(frames))
    expected = np.zeros((2, 5, 6))
    for b in range(2):
        q, k, v = frames[b]
        for i in range(5):
            for feature in range(6):
                head = slice(0, 3) if feature < 3 else slice(3, 6)
                for j in range(5):
                    expected[b, i, feature] += (q[i, head] @ k[j, head]) * v[j, feature]
    np.testing.assert_array_equal(result, 0.25 * expected)


def test_both_orders_give_the_same_bits():
    frames = jnp.asarray(spikes(1, (4, 3, 7, 8)), jnp.float32)
    rows, columns = (Attention(4, 1.0, order).apply({}, frames) for order in ("rows", "columns"))
    np.testing.assert_array_equal(rows, columns)
    assert rows.max() > 1


def test_the_order_with_fewer_sums_is_chosen():
    layer = Attention(heads=2)
    assert [layer.first((3, tokens, 8)) for tokens in (3, 4, 5)] == ["rows", "rows", "columns"]


def compare(recorded, workload, machine):
    """Every count and every energy of both sides."""
    result, charged = audit(recorded, machine), estimate_energy(workload, machine)
    np.testing.assert_allclose(result.parts_pj, charged.parts_pj, rtol=1e-9)
    for walked, layer in zip(result.layers, workload, strict=True):
        assert walked.name == layer.geometry.name
        for counts, totals in zip(walked.counts, tally(layer, machine), strict=True):
            for b, sample in enumerate(counts):
                rest = {key: float(times[b]) for key, times in totals.items() if times[b]}
                assert {key: float(times) for key, times in sample.items()} == rest


@functools.cache
def measured(order, heads, ops):
    """The workload of a layer that is given frames and output spikes."""

    @jax.jit
    def measure(frames, fired):
        return Workload(
            product_workloads(
                Attention(heads, order=order).stages(frames), "layer",
                ops=ops, spiking=True, per_step=False, bias=True, spikes=fired,
            )
        )  # fmt: skip

    return measure


@settings(max_examples=examples(100))
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    sizes=st.sampled_from([(1, 2, 1), (3, 2, 1), (4, 4, 2), (2, 6, 2), (5, 3, 3)]),
    order=st.sampled_from(["rows", "columns"]),
    name=st.sampled_from(MACHINES),
    parameters=st.fixed_dictionaries(
        {
            "state_bits": st.sampled_from([8, 16]),
            "input_bits": st.sampled_from([1, 8]),
            "zero_skipping": st.sampled_from([0, 0.25, 1]),
            "local_bytes": st.sampled_from([0, 20, 8192]),
            "pe_state_bytes": st.sampled_from([0, 64]),
            "targets_per_message": st.sampled_from([1, 2, 16]),
            "core_state_bytes": st.sampled_from([16, 4096]),
        }
    ),
)
def agree(seed, rate, sizes, order, name, parameters):
    tokens, features, heads = sizes
    frames = spikes(seed, (3, 2, 3, tokens, features), rate)
    fired = spikes(seed + 1, (3, 2, tokens, features), rate)
    machine = get(name)
    fits = {k: v for k, v in parameters.items() if k in machine.architecture.parameters}
    machine = machine.with_design(**fits)
    ops = NeuronOps(1, 1, 0, 1, 1)
    workload = measured(order, heads, ops)(frames, fired.sum(0))
    queries, keys, values = np.moveaxis(frames, 2, 0)
    (first, stream, operand), (second, last) = {
        "rows": (("rows", queries, keys), ("mix", values)),
        "columns": (("columns", keys, values), ("ask", queries)),
    }[order]
    wires = Product(*sizes, first)
    silent = np.zeros((3, 2, *wires.output_shape((tokens, features))))
    recorded = (
        RecordedLayer(
            f"layer/{first}", stream, silent, wires, "spikes", 0, 0, 0, 0, 0,
            spiking=False, operand=operand,
        ),
        RecordedLayer(
            f"layer/{second}", last, fired, Product(*sizes, second), "spikes", *ops, bias=True
        ),
    )  # fmt: skip
    compare(recorded, workload, machine)
    # The QNN: one frame of words, where anything fired at least once.
    words = tuple(
        RecordedLayer(
            r.name, r.frames.any(0)[None] * 0.5, 0 * r.spikes[:1], r.wiring, "analog",
            0, 0, 0, 0, 0, bias=r.bias, spiking=False,
            operand=None if r.operand is None else r.operand.any(0)[None] * 0.5,
        )
        for r in recorded
    )  # fmt: skip
    compare(words, qnn_workload(workload), machine)


def test_random_products():
    with jax.enable_x64(True):
        agree()


@functools.cache
def tiny():
    """Two tokens, one feature: q = (1, 0), k = (1, 1), v = (0, 1) in the first of two steps."""
    first = np.array([[[1.0], [0]], [[1], [1]], [[0], [1]]])
    frames = jnp.asarray(np.stack([first, 0 * first])[:, None])
    model = layer_of("rows", 1)
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    return record(model, variables, frames), ran(model, variables, frames)[1]


def test_counts_by_hand():
    recorded, workload = tiny()
    rows, mix = (count(layer) for layer in workload)
    # One query meets two keys, both of which are there; two keys arrive; two words a step.
    assert [float(rows[e][0]) for e in ("operand_reads", "synops", "operand_events")] == [2, 2, 2]
    assert float(rows["spikes_in"][0]) == 3 and rows["operand_writes"] == 2 * 2
    # One value meets two sums of four; each is added whatever it is.
    assert [float(mix[e][0]) for e in ("operand_reads", "synops", "operand_events")] == [2, 2, 0]
    assert float(mix["spikes_in"][0]) == 1 and mix["operand_writes"] == 2 * 4
    assert (rows["words_out"], rows["neuron_steps"]) == (0, 2 * 4)
    books = audit(recorded, get("classical-45nm")).layers[0].counts[0][0]
    assert books == {
        ("queue", "read", 16): 3,
        ("states@local", "write", 1): 4,
        ("states@local", "read", 1): 2,
        ("states@local", "read", 16): 2,
        ("states@local", "write", 16): 2,
        ("adder", "add", 16): 2,
    }


def test_a_meeting_needs_both_sides():
    """A query whose keys are silent reads them and adds nothing."""
    frames = np.zeros((1, 1, 3, 2, 4))
    frames[0, 0, 0] = 1
    model = layer_of("rows")
    _, workload = ran(model, jax.jit(model.init)(jax.random.key(0), frames), jnp.asarray(frames))
    assert float(workload.layers[0].operand_reads[0]) == 8 * 2
    assert float(workload.layers[0].synops[0]) == 0
    # The convention counts them all the same.
    assert float(op_count_proxy(workload)[0]) == pytest.approx(0.9 * 16)


def test_the_convention_counts_rate_times_dense_operations():
    """Spikformer's SOPs: rate x T x FLOPs, each product N² D operations."""
    frames = jnp.asarray(spikes(3, (4, 1, 3, 6, 8), 0.3), jnp.float32)
    model = layer_of("rows")
    _, workload = ran(model, jax.jit(model.init)(jax.random.key(0), frames), frames)
    flops = 6 * 6 * 8
    rates = [float(frames[:, :, side].mean()) for side in (0, 2)]
    expected = 0.9 * sum(rate * 4 * flops for rate in rates)
    assert float(op_count_proxy(workload)[0]) == pytest.approx(expected, rel=1e-5)


def test_the_qnn_multiplies_words():
    _, workload = tiny()
    rows, mix = qnn_workload(workload)
    assert [float(l.macs[0]) for l in (rows, mix)] == [2, 2]
    assert [float(l.synops[0]) for l in (rows, mix)] == [0, 0]
    assert float(rows.stored.spikes[0]) == 2 and mix.stored is None
    assert not rows.geometry.writes_words and mix.geometry.writes_words
    for name in MACHINES:
        assert estimate_qnn_energy(workload, get(name)).total_pj() > 0


def within_a_network(workload):
    """As if the spikes came from layers before."""
    return dataclasses.replace(
        workload,
        layers=tuple(
            dataclasses.replace(
                layer, geometry=dataclasses.replace(layer.geometry, from_outside=False)
            )
            for layer in workload
        ),
    )


def test_a_silent_network_has_the_spike_independent_energy():
    _, workload = tiny()
    for layer, silent in zip(workload, workload.silenced(), strict=True):
        np.testing.assert_array_equal(silent.events_by_fan_out, layer.events_by_fan_out)
    workload = within_a_network(workload)
    for name in MACHINES:
        assert (
            0
            < spike_independent_energy(workload, get(name)).total_pj()[0]
            < estimate_energy(workload, get(name)).total_pj()[0]
        )
        assert latency(workload, get(name)).seconds[0] > 0


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_the_spike_independent_energy_is_the_energy_of_a_silent_run(order):
    """No spike of queries, keys or values is left in it, whichever of them is the operand."""
    frames = jnp.asarray(spikes(9, (3, 2, 3, 4, 6)), jnp.float32)
    model = layer_of(order)
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    measure = jax.jit(lambda frames: run(model, variables, frames)[1])
    busy, silent = map(within_a_network, map(measure, (frames, jnp.zeros_like(frames))))
    assert float(silent.layers[-1].output_events.sum()) == 0
    for name in MACHINES:
        machine = get(name)
        left = estimate_energy(silent, machine).parts_pj
        np.testing.assert_allclose(
            spike_independent_energy(busy, machine).parts_pj, left, rtol=1e-6
        )
        assert (estimate_energy(busy, machine).parts_pj >= left).all()
    for layer, empty in zip(busy.silenced(), silent, strict=True):
        for event, times in count(empty).items():
            np.testing.assert_array_equal(count(layer)[event], times, err_msg=event)


@pytest.mark.parametrize("name", ["hierarchy-45nm", "neuromorphic-22nm", "loihi-14nm", "sata"])
def test_machines_without_a_price_refuse(name):
    _, workload = tiny()
    with pytest.raises(ValueError, match="no price for products of spikes"):
        estimate_energy(workload, get(name))


def test_sums_take_cores_once():
    """Four sums of 16 bits and two spikes of a bit, then two neurons of 16 bits."""
    _, workload = tiny()
    machine = get("event-45nm").with_design(core_state_bytes=4)
    needed = [int(machine.architecture.cores(machine.design, l.geometry)) for l in workload]
    assert needed == [3, 1]


def test_every_query_key_and_value_has_a_gradient(key):
    frames = jnp.asarray(spikes(5, (2, 1, 3, 4, 4)), jnp.float32)
    model = layer_of("columns")
    variables = jax.jit(model.init)(key, frames)

    def total(frames, machine):
        return estimate_energy(run(model, variables, frames)[1], machine).total_pj().sum()

    for name in MACHINES:
        slope = jax.jit(jax.grad(total))
        result = slope(frames, get(name))
        assert np.isfinite(result).all() and (np.abs(result).sum((0, 1, 3, 4)) > 0).all(), name
        assert np.isfinite(slope(0 * frames, get(name))).all(), name


def test_a_network_is_recorded_and_audited(key):
    """Attention between other layers, its inputs sums of spikes."""
    neuron = LIF(tau_mem=2e-3, v_threshold=0.2)
    block = SelfAttention(neuron, LIF(tau_mem=2e-3, v_threshold=0.1), heads=2)
    model = Network((Residual(block), Mixer(neuron, 12)))
    with jax.enable_x64(True):
        frames = jnp.asarray(spikes(8, (3, 2, 3, 8)))
        variables = jax.jit(model.init)(key, frames)
        recorded = record(model, variables, frames)
        workload = jax.jit(lambda v, x: run(model, v, x)[1])(variables, frames)
        names = [f"layers_0/block/products/{stage}" for stage in ("rows", "mix")]
        assert [workload[name].geometry.operand.sums for name in names] == [False, True]
        assert float(workload[names[0]].synops.sum()) > 0
        assert frames.max() < max(layer.frames.max() for layer in recorded)
        for name in MACHINES:
            compare(recorded, workload, get(name).with_design(**WHOLE.get(name, {})))


def test_parameters_of_the_paper(key):
    """4 blocks of 384: 9.32 million in print, biases in front of norms included."""
    model = Spikformer((384,) * 4, 10, heads=12)
    shapes = jax.eval_shape(model.init, key, jnp.zeros((1, 1, 32, 32, 3)))["params"]
    sizes = jax.tree_util.tree_leaves_with_path(shapes)
    own = sum(leaf.size for path, leaf in sizes if "neuron" not in [part.key for part in path])
    assert own + 4 * (4 * 384 + 1536 + 384) == pytest.approx(9.32e6, rel=1e-3)


@pytest.mark.parametrize(
    ("build", "shape", "message"),
    [
        (lambda: layer_of(heads=3), (1, 1, 3, 2, 4), "multiple of 3 heads"),
        (lambda: layer_of(), (1, 1, 2, 2, 4), "queries, keys and values"),
        (lambda: layer_of("diagonal"), (1, 1, 3, 2, 4), "auto, rows or columns"),
        (lambda: SelfAttention(NEURON, NEURON, 2), (1, 1, 4), r"tokens \[T, B, N, D\]"),
        (lambda: Spikformer((16, 8), 3), (1, 1, 8, 8, 3), "share one width"),
        (lambda: Spikformer((16,), 3), (1, 1, 6, 8, 3), "multiples of 4"),
        (
            lambda: Spiking(Attention(2, parent=None), NEURON, input_kind="events"),
            (1, 1, 3, 2, 4),
            "0/1 spikes of layers",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, shape, message, key):
    with pytest.raises(ValueError, match=message):
        build().init(key, jnp.ones(shape))


def test_recordings_that_do_not_fit_are_refused():
    (rows, mix), _ = tiny()
    for change, message in (
        ({"operand": None}, "needs an operand"),
        ({"operand": rows.operand[:1]}, "expected an operand"),
        ({"operand": rows.operand + 1}, "must be 0 or 1"),
        ({"wiring": Product(3, 1, 1, "rows")}, r"takes frames \[3, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(rows, **change)
    with pytest.raises(ValueError, match="needs an operand"):
        dataclasses.replace(mix, operand=rows.operand)


def test_tokens_do_not_see_each_other_in_a_mixer(key):
    frames = jnp.asarray(spikes(7, (3, 1, 4, 8)), jnp.float32)
    layer = Mixer(NEURON, 16)
    variables = jax.jit(layer.init)(key, frames)
    whole = layer.apply(variables, frames)
    alone = layer.apply(variables, frames[:, :, 1:2])
    np.testing.assert_array_equal(whole[:, :, 1:2], alone)
