"""The energy estimate against sums by hand, and its invariants."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jsnn.energy import (
    COMPONENTS,
    count,
    dataflow,
    estimate_energy,
    estimate_layers,
    op_count_proxy,
    spike_dependent_pj,
    spike_independent_energy,
)
from jsnn.energy.report import report
from jsnn.hardware import Constant, Technology, get, machines
from jsnn.neurons import NO_OPS, NeuronOps
from jsnn.workload import Geometry, LayerWorkload, Workload
from jsnn.workload.analytic import dense

NAMES = tuple(machines())
# One machine of each architecture: others mostly put other numbers into the same program.
FORMS = tuple({type(get(name).architecture): name for name in reversed(NAMES)}.values())


def layer(kind="dense", input_kind="spikes", seed=0, batch=3, steps=5, bias=True):
    """Counts drawn at random: the energy prices whatever it is given."""
    draw = np.random.default_rng(seed).integers
    shape = (4, 4, 6) if kind == "conv" else (9,)
    neurons = int(np.prod(shape))
    fan_outs = (20, 30) if kind == "conv" else (neurons,)

    def events(*axes, on=True):
        size = (batch, *axes)
        return jnp.asarray(draw(1, 50, size) if on else np.zeros(size), jnp.result_type(float))

    return LayerWorkload(
        events_by_fan_out=events(len(fan_outs)),
        active=events(len(fan_outs)),
        recurrent_events=events(on=kind == "recurrent"),
        spikes=jnp.asarray(draw(0, steps, (batch, *shape)), jnp.result_type(float)),
        steps=steps,
        geometry=Geometry(
            name=f"{kind}-{input_kind}",
            kind=kind,
            input_kind=input_kind,
            spiking=True,
            fan_outs=fan_outs,
            inputs_by_fan_out=(26, 6) if kind == "conv" else (32,),
            neurons=neurons,
            fan_in=18 if kind == "conv" else 32,
            fan_out_area=9 if kind == "conv" else 1,
            weights=108 if kind == "conv" else 32 * neurons,
            biases=shape[-1] if bias else 0,
            recurrent_weights=neurons**2 if kind == "recurrent" else 0,
            ops=NeuronOps(2, multiplies=2, adds=1, compares=1, adds_per_spike=1),
            output_shape=shape,
        ),
    )


CASES = [(k, i) for k in ("dense", "conv", "recurrent") for i in ("spikes", "analog", "constant")]


def hand_compute_only(l, b):
    g, n = l.geometry, l.geometry.neurons * l.steps
    fires = float(l.spikes[b].sum())
    biases = l.geometry.neurons if g.input_kind == "constant" else n
    synops = float(l.synops[b] + l.recurrent_synops[b])
    neuron = n * (2 * 3.7 + 2 * 0.9) + biases * 0.9 + fires * 0.9
    return {"synapse": synops * 0.9 + float(l.macs[b]) * 4.6, "neuron": neuron}


def hand_hierarchy(l, b):
    """8-bit weights and inputs, 16-bit state; RAM 13.2 pJ + 1.09e-5 pJ/bit."""
    g, n = l.geometry, l.geometry.neurons * l.steps
    ram = lambda words, bits: 13.2 + 1.09e-5 * words * bits  # noqa: E731
    add16 = 0.03 + 0.07 * 8 / 24
    mul8x8, mul8x16 = 0.2, 0.2 + 2.9 * 64 / 960
    synops, macs = float(l.synops[b] + l.recurrent_synops[b]), float(l.macs[b])
    fires, fed = float(l.spikes[b].sum()), float(l.recurrent_events[b])
    frames = {"spikes": 0, "analog": l.steps, "constant": 1}[g.input_kind]
    spikes_in = fed + (0 if frames else float(l.input_events[b]))
    stored = g.neurons if g.input_kind == "constant" else 0
    biases = g.neurons if stored else n
    weights = ram(g.weights + g.recurrent_weights, 8)
    state, current = ram(2 * g.neurons, 16), ram(g.neurons, 16)
    conv = g.kind == "conv"
    reads = g.synapses * frames if conv else g.inputs * frames
    counters = g.inputs + g.neurons + (6 * 9 if conv else 0)
    return {
        "synapse": synops * add16 + macs * (mul8x8 + add16),
        "neuron": n * (2 * mul8x16 + 2 * add16) + biases * add16 + fires * add16,
        "weight_memory": (synops + macs) * weights + biases * ram(g.biases, 16),
        "state_memory": synops * 2 * state + n * 4 * state + (stored + stored * l.steps) * current,
        "activation_movement": (spikes_in + fires) * ram(1024, 16) + reads * ram(g.inputs, 8),
        "routing": synops * 0.1 + (spikes_in * 6.4 if conv else 0) + frames * counters * 0.1,
    }


def hand_neuromorphic(l, b):
    g, n = l.geometry, l.geometry.neurons * l.steps
    acc, weight, word = 0.05448, 8 * 0.0385, 8 * 0.0385
    synops, macs = float(l.synops[b] + l.recurrent_synops[b]), float(l.macs[b])
    frames = {"spikes": 0, "analog": l.steps, "constant": 1}[g.input_kind]
    stored = g.neurons if g.input_kind == "constant" else 0
    biases = g.neurons if stored else n
    per_spike = g.recurrent_weights + (0 if frames else g.synapses)
    words = g.synapses * frames
    both = {
        "synapse": synops * acc + macs * 0.012 * 64,
        "neuron": n * (2 * 0.012 * 64 + 2 * acc) + (biases + float(l.spikes[b].sum())) * acc,
        "state_memory": n * 4 * word + (stored + stored * l.steps) * word,
    }
    sparse = {
        "weight_memory": synops * weight + words * weight + biases * word,
        "routing": synops * 3.0 + macs * 8 * 3.0,
    }
    every = {
        "weight_memory": per_spike * l.steps * weight + words * weight + biases * word,
        "routing": per_spike * l.steps * 0.25 + words * 8 * 0.25,
    }
    return both | min(sparse, every, key=lambda plan: sum(plan.values()))


HAND = {
    "compute-only-45nm": hand_compute_only,
    "hierarchy-45nm": hand_hierarchy,
    "neuromorphic-22nm": hand_neuromorphic,
}


@pytest.mark.quick
@pytest.mark.parametrize("name", HAND)
@pytest.mark.parametrize(("kind", "input_kind"), CASES)
def test_ledger_by_hand(name, kind, input_kind):
    l = layer(kind, input_kind)
    parts = estimate_energy(Workload((l,)), get(name)).parts_pj
    for b in range(3):
        expected = HAND[name](l, b)
        result = dict(zip(COMPONENTS, parts[b, 0].tolist(), strict=True))
        assert result == pytest.approx({c: expected.get(c, 0.0) for c in COMPONENTS}, rel=2e-6)


def test_both_dataflows_of_the_mesh_occur():
    quiet, busy = (dense(50, 40, steps=5, rate=r) for r in (0.01, 0.9))
    cost = estimate_energy(Workload((quiet, busy)), get("neuromorphic-22nm"))
    routing = cost.parts_pj[0, :, COMPONENTS.index("routing")]
    assert routing.tolist() == pytest.approx([0.01 * 5 * 2000 * 3.0, 5 * 2000 * 0.25])


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.05, (0.802942, 2.034442)), (0.10, (1.605065, 2.048065))]
)
def test_reconstruction_vectors(rate, expected):
    """T = 5, 4-bit weights, fan-in 4096, one hop: pJ per synapse of both dataflows."""
    machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    with jax.enable_x64(True):
        work = Workload((dense(4096, 3, steps=5, rate=rate),))
        assert float(estimate_energy(work, machine).total_pj()[0]) / (3 * 4096) == pytest.approx(
            expected[0], abs=1e-6
        )
        # Sparse messages too dear: the dense dataflow is what is left.
        dear = machine.with_constants(sparse_hop_pj_per_bit=1e6)
        assert float(estimate_energy(work, dear).total_pj()[0]) / (3 * 4096) == pytest.approx(
            expected[1], abs=1e-6
        )


def _frame(kind, shape, inputs, synapses, weights, bias):
    """A formal network's layer: one frame without zeros, no state (32 bits everywhere)."""
    neurons = int(np.prod(shape))
    l = layer(kind, "analog", steps=1, batch=1)
    geometry = dataclasses.replace(
        l.geometry,
        spiking=False,
        fan_outs=(synapses // inputs,),
        inputs_by_fan_out=(inputs,),
        neurons=neurons,
        weights=weights,
        biases=bias,
        ops=NO_OPS,
        output_shape=shape,
    )
    words = jnp.full((1, 1), inputs, jnp.result_type(float))
    spikes = jnp.zeros((1, *shape))
    return dataclasses.replace(l, events_by_fan_out=words, spikes=spikes, geometry=geometry)


def _parts(l, name="hierarchy-45nm"):
    bits = ("weight_bits", "state_bits", "input_bits", "output_bits")
    machine = get(name).with_design(**dict.fromkeys(bits, 32))
    parts = estimate_energy(Workload((l,)), machine).parts_pj[0, 0].tolist()
    return dict(zip(COMPONENTS, parts, strict=True))


def test_lemaire_convolution():
    """3 to 64 channels, 32x32, 3x3, bias: energies in µJ, borders counted as the paper does."""
    macs = 64 * 1024 * 27
    with jax.enable_x64(True):
        parts = _parts(_frame("conv", (32, 32, 64), 3072, macs, 27 * 64, 64))
    ops = parts["synapse"] + parts["neuron"]
    assert parts["activation_movement"] * 1e-6 == pytest.approx(27.6162, abs=1e-4)
    assert parts["weight_memory"] * 1e-6 == pytest.approx(24.4235 + 0.8665, abs=2e-4)
    assert ops * 1e-6 == pytest.approx(5.6689, abs=1e-4)
    assert parts["routing"] == pytest.approx(69_184 * 0.1)
    assert sum(parts.values()) * 1e-6 == pytest.approx(58.582, abs=1e-3)


def test_lemaire_counts_a_strided_convolution_by_name():
    """Equations 1.4, 7, 9, 14, 16: 5x5 with stride 2 into 6 channels; 32 spikes arrive."""
    l = layer("conv", "spikes", batch=1)
    geometry = dataclasses.replace(
        l.geometry, kernel=(5, 5), strides=(2, 2), fan_out_area=25, fan_in=50, weights=300
    )
    l = dataclasses.replace(l, geometry=geometry)
    theta, ram = float(l.input_events[0]), lambda words, bits: 13.2 + 1.09e-5 * words * bits
    with jax.enable_x64(True):
        machines = get("hierarchy-45nm-published"), get("hierarchy-45nm")
        result, edges = (estimate_energy(Workload((l,)), m).components_pj()[0] for m in machines)
    parts = dict(zip(COMPONENTS, result.tolist(), strict=True))
    add16 = 0.03 + 0.07 * 8 / 24
    biases = 96 * 5 * ram(6, 16)
    assert parts["synapse"] == pytest.approx(theta * 3 * 3 * 6 * add16)
    assert parts["weight_memory"] == pytest.approx(theta * 150 * ram(300, 8) + biases)
    assert parts["routing"] == pytest.approx(theta * (150 * 0.1 + 2 * 3.2))
    neuron_steps = 96 * 5 * 4 * ram(2 * 96, 16)
    assert parts["state_memory"] == pytest.approx(theta * 300 * ram(2 * 96, 16) + neuron_steps)
    assert parts["neuron"] == pytest.approx(float(edges[COMPONENTS.index("neuron")]))


def test_lemaire_counts_a_frame_by_name():
    """The published vector again, whatever the true edges and the zeros are."""
    l = _frame("conv", (32, 32, 64), 3072, 64 * 1024 * 27, 27 * 64, 64)
    geometry = dataclasses.replace(
        l.geometry, fan_outs=(300,), kernel=(3, 3), strides=(1, 1), fan_out_area=9, fan_in=27
    )
    l = dataclasses.replace(l, events_by_fan_out=0.1 * l.events_by_fan_out, geometry=geometry)
    with jax.enable_x64(True):
        parts = _parts(l, "hierarchy-45nm-published")
    assert parts["activation_movement"] * 1e-6 == pytest.approx(27.6162, abs=1e-4)
    assert sum(parts.values()) * 1e-6 == pytest.approx(58.582, abs=1e-3)


def test_lemaire_dense():
    """784 to 128, bias: energies in pJ."""
    with jax.enable_x64(True):
        parts = _parts(_frame("dense", (128,), 784, 784 * 128, 784 * 128, 128))
    assert parts["weight_memory"] == pytest.approx(4_837_245.1 + 1_695.3, abs=0.1)
    assert parts["activation_movement"] == pytest.approx(12_258.5, abs=0.1)
    assert parts["synapse"] + parts["neuron"] == pytest.approx(321_139.2, abs=0.1)
    assert parts["state_memory"] == 0


def test_lemaire_spiking_dense():
    """Equations 5, 8, 10, 13, 15, 2.3, 2.4 and 17.2: a leaky layer with bias, 32 bits."""
    nin, nout, steps, theta_in, theta_out = 40, 10, 6, 33.0, 7.0
    l = dense(nin, nout, steps=steps, rate=0.1, bias=True, multiplies=1)
    geometry = dataclasses.replace(l.geometry, ops=l.geometry.ops._replace(adds=1, compares=0))
    l = dataclasses.replace(
        l,
        events_by_fan_out=jnp.full((1, 1), theta_in),
        spikes=jnp.full((1, nout), theta_out / nout),
        geometry=geometry,
    )
    ram = lambda words: 13.2 + 1.09e-5 * 32 * words  # noqa: E731
    parts = _parts(l)
    accumulations = theta_in * nout + steps * nout + theta_out
    assert parts["synapse"] + parts["neuron"] == pytest.approx(
        steps * nout * 3.2 + accumulations * 0.1
    )
    membrane = theta_in * nout + steps * nout
    assert parts["state_memory"] == pytest.approx(2 * membrane * ram(nout))
    assert parts["weight_memory"] == pytest.approx(
        theta_in * nout * ram(nin * nout) + steps * nout * ram(nout)
    )
    assert parts["routing"] == pytest.approx(theta_in * nout * 0.1)
    queue = 13.2 + 1.09e-5 * 1024 * 16
    assert parts["activation_movement"] == pytest.approx((theta_in + theta_out) * queue)


def test_op_count_convention():
    """12 accumulates are 10.8 pJ and 24 multiply-accumulates 110.4 (spikingjelly's unit tests)."""
    spikes = dense(3, 4, steps=1, rate=1.0, bias=True)
    words = dense(6, 4, steps=1, rate=1.0, input_kind="constant")
    assert op_count_proxy(Workload((spikes,)))[0] == pytest.approx(10.8)
    assert op_count_proxy(Workload((words,)))[0] == pytest.approx(110.4)
    int8 = op_count_proxy(Workload((spikes,)), get("hierarchy-45nm").with_design(state_bits=8))
    assert int8[0] == pytest.approx(12 * 0.03)


def _network(seed=0, **options):
    kinds = (("conv", "constant"), ("dense", "spikes"), ("recurrent", "spikes"))
    return Workload(tuple(layer(k, i, seed + n, **options) for n, (k, i) in enumerate(kinds)))


@pytest.mark.parametrize("name", NAMES)
def test_additive_over_layers_and_blind_to_the_batch(name):
    work, machine = _network(), get(name)
    whole = estimate_energy(work, machine)
    for index, l in enumerate(work):
        alone = estimate_energy(Workload((l,)), machine)
        np.testing.assert_array_equal(alone.parts_pj[:, 0], whole.parts_pj[:, index])
    for b in range(3):
        sample = estimate_energy(jax.tree.map(lambda x, b=b: x[b : b + 1], work), machine)
        np.testing.assert_array_equal(sample.parts_pj[0], whole.parts_pj[b])
    np.testing.assert_allclose(whole.layers_pj().sum(-1), whole.total_pj(), rtol=1e-6)
    np.testing.assert_allclose(whole.components_pj().sum(-1), whole.total_pj(), rtol=1e-6)
    np.testing.assert_allclose(whole.mean().total_pj()[0], whole.total_pj().mean(), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(low=st.floats(0, 1), high=st.floats(0, 1), steps=st.integers(1, 12), kind=st.booleans())
def test_monotone_in_spikes(name, low, high, steps, kind):
    low, high = sorted((low, high))
    input_kind = "events" if kind else "spikes"
    less, more = (
        Workload((dense(20, 10, steps=steps, rate=r, input_kind=input_kind, bias=True),))
        for r in (low, high)
    )
    costs = [estimate_energy(work, get(name)).total_pj()[0] for work in (less, more)]
    assert costs[0] <= costs[1] * (1 + 1e-6)


# Machines that do the same work whether a neuron fires or not.
BLIND = {
    "spikesim-rram",
    "spikesim-sram",
    "cpu-kerasspiking",
    "gpu-kerasspiking",
    "arm-kerasspiking",
    # The published simulator forgets the sparsity of linear layers.
    "sata-published",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_network_costs_the_spike_independent_energy(name):
    work, machine = _network(), get(name)
    np.testing.assert_array_equal(
        spike_independent_energy(work, machine).parts_pj,
        estimate_energy(work.silenced(), machine).parts_pj,
    )
    assert np.all((spike_dependent_pj(work, machine) > 0) == (name not in BLIND))
    silent = work.silenced()
    np.testing.assert_array_equal(spike_dependent_pj(silent, machine), np.zeros(3))
    assert np.all(spike_independent_energy(work, machine).total_pj() > 0)


MOVES = {
    ("compute-only-45nm", "add_fp32_pj"): {"synapse", "neuron"},
    ("compute-only-45nm", "mul_fp32_pj"): {"synapse", "neuron"},
    ("hierarchy-45nm", "add_int8_pj"): {"synapse", "neuron"},
    ("hierarchy-45nm", "add_int32_pj"): {"synapse", "neuron", "routing"},
    ("hierarchy-45nm", "mul_int8_pj"): {"synapse", "neuron"},
    ("hierarchy-45nm", "mul_int32_pj"): {"neuron", "routing"},
    ("hierarchy-45nm", "ram_base_pj"): {"weight_memory", "state_memory", "activation_movement"},
    ("hierarchy-45nm", "ram_slope_pj_per_bit"): {
        "weight_memory",
        "state_memory",
        "activation_movement",
    },
    ("neuromorphic-22nm", "accumulate_pj"): {"synapse", "neuron"},
    ("neuromorphic-22nm", "sram_pj_per_bit"): {"weight_memory", "state_memory"},
    ("neuromorphic-22nm", "mac_pj_per_bit2"): {"synapse", "neuron"},
    ("neuromorphic-22nm", "sparse_hop_pj_per_bit"): {"routing"},
    ("neuromorphic-22nm", "dense_hop_pj_per_bit"): {"routing"},
}


def test_every_constant_is_in_the_table_of_moves():
    """The other machines are held against the event-by-event auditor."""
    assert set(MOVES) == {(n, c) for n in HAND for c in get(n).technology.constants}


@pytest.mark.parametrize(("name", "constant"), MOVES)
def test_a_constant_scales_only_its_columns(name, constant):
    machine = get(name)
    # A quiet and a busy layer, so that each dataflow is in use and stays so.
    quiet = dense(64, 48, steps=5, rate=0.01, multiplies=1, name="quiet")
    busy = dense(64, 48, steps=5, rate=0.9, multiplies=1, name="busy")
    work = Workload((*(layer("conv", k, batch=1) for k in ("spikes", "constant")), quiet, busy))
    before = estimate_energy(work, machine).components_pj()
    other = machine.with_constants(**{constant: 1.01 * machine.technology[constant]})
    moved = np.any(np.asarray(estimate_energy(work, other).components_pj() != before), axis=0)
    assert {c for c, m in zip(COMPONENTS, moved, strict=True) if m} == MOVES[name, constant]


def _off_the_steps(name):
    """The machine where no message is just full and no two dataflows cost the same."""
    machine = get(name)
    if machine.design.targets_per_message is not None:
        machine = machine.with_design(targets_per_message=1.3)
    if name == "neuromorphic-22nm-minimum":
        machine = machine.with_constants(sparse_hop_pj_per_bit=1e-3)
    return machine


@pytest.mark.parametrize("name", FORMS)
def test_gradients_with_respect_to_workload_and_hardware(name):
    with jax.enable_x64(True):
        work = _network()
        assert estimate_energy(work, get(name)).parts_pj.dtype == jnp.float64
        leaves, structure = jax.tree.flatten((work, _off_the_steps(name)))
        leaves = [jnp.asarray(leaf, jnp.float64) for leaf in leaves]

        @jax.jit
        def log_total(steps):
            # Relative steps: the leaves lie between microwatts and kilobytes.
            moved = [leaf * jnp.exp(step) for leaf, step in zip(leaves, steps, strict=True)]
            return jnp.log(estimate_energy(*jax.tree.unflatten(structure, moved)).total_pj()).sum()

        origin = [jnp.zeros_like(leaf) for leaf in leaves]
        check_grads(log_total, (origin,), order=1, modes=("rev", "fwd"), eps=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_without_a_spike(name):
    work = _network().silenced()

    def total(work, machine):
        return estimate_energy(work, machine).total_pj().sum()

    result = jax.jit(jax.grad(total, argnums=(0, 1)))(work, get(name))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(result))
    felt = result[0].layers[1].spikes.sum() + result[0].layers[1].events_by_fan_out.sum()
    assert (felt > 0) == (name not in BLIND)
    # Where a spike moves memory or messages, each would cost something from the first on.
    assert np.all(result[0].layers[1].spikes > 0) or name not in HAND


@pytest.mark.parametrize("name", FORMS)
def test_jit_and_vmap_agree(name):
    work, machine = _network(), get(name)
    plain = estimate_energy(work, machine)
    compiled = jax.jit(estimate_energy)(work, machine)
    assert compiled.layers == plain.layers and compiled.unpriced == plain.unpriced
    np.testing.assert_allclose(compiled.parts_pj, plain.parts_pj, rtol=1e-6)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), work, _network(seed=9))
    mapped = jax.jit(jax.vmap(estimate_energy, in_axes=(0, None)))(stacked, machine)
    np.testing.assert_allclose(mapped.parts_pj[0], plain.parts_pj, rtol=1e-6)


def test_vmap_over_a_parameter():
    work, machine = _network(), get("neuromorphic-22nm")
    bits = jnp.asarray([2.0, 4.0, 8.0])
    mapped = jax.vmap(
        lambda b: estimate_energy(work, machine.with_design(weight_bits=b)).total_pj()
    )(bits)
    for index, b in enumerate(bits.tolist()):
        alone = estimate_energy(work, machine.with_design(weight_bits=b)).total_pj()
        np.testing.assert_allclose(mapped[index], alone, rtol=1e-6)


def test_layers_with_their_own_hardware():
    wide = get("neuromorphic-22nm")
    narrow = wide.with_design(weight_bits=4)
    a, b = layer("dense"), layer("recurrent", seed=1)
    mixed = estimate_layers([(a, wide), (b, narrow)])
    np.testing.assert_array_equal(
        mixed.parts_pj[:, :1], estimate_energy(Workload((a,)), wide).parts_pj
    )
    np.testing.assert_array_equal(
        mixed.parts_pj[:, 1:], estimate_energy(Workload((b,)), narrow).parts_pj
    )
    with pytest.raises(ValueError, match="one machine"):
        estimate_layers([(a, wide), (b, get("hierarchy-45nm"))])
    with pytest.raises(ValueError, match="at least one layer"):
        estimate_energy(Workload(()), wide)


def test_temporal_reuse_fetches_a_weight_once_a_window():
    work = Workload((dense(50, 40, steps=5, rate=0.02),))
    machine = get("neuromorphic-22nm").with_design(temporal_reuse=1)
    column = COMPONENTS.index("weight_memory")
    kept = estimate_energy(work, machine).components_pj()[0, column]
    assert kept == pytest.approx(0.02 * 2000 * 8 * 0.0385)


def test_a_targeted_message_serves_several_neurons():
    work = Workload((dense(50, 40, steps=5, rate=0.02),))
    column = COMPONENTS.index("routing")
    machine = get("neuromorphic-22nm")
    single, shared = (
        estimate_energy(work, machine.with_design(targets_per_message=t, hops=2)).components_pj()[
            0, column
        ]
        for t in (1, 4)
    )
    assert single == pytest.approx(4 * shared) and single == pytest.approx(0.1 * 2000 * 6.0)


def test_a_readout_without_spikes_writes_nothing():
    counts = count(dense(10, 5, steps=4, rate=0.1, spiking=False))
    assert counts["words_out"] == 0 and counts["spikes_out"].sum() == 0


def test_static_energy_of_a_machine_that_publishes_it():
    machine = get("compute-only-45nm")
    extra = {
        "static_power_w": Constant(1e-3, "W", "a data sheet", "RECALLED"),
        "step_latency_s": Constant(2e-6, "s", "a data sheet", "RECALLED"),
    }
    technology = Technology(machine.technology.constants | extra)
    cost = estimate_energy(_network(), dataclasses.replace(machine, technology=technology))
    column = COMPONENTS.index("static")
    np.testing.assert_allclose(cost.parts_pj[..., column], 5 * 2000.0, rtol=1e-6)
    assert "RECALLED" in cost.provenances and "static" not in dict(cost.unpriced)


def test_table_shows_units_marks_and_what_is_unpriced():
    text = str(estimate_energy(_network(), get("neuromorphic-22nm")))
    head, columns, *rows = text.splitlines()
    assert "neuromorphic-22nm" in head and "DERIVED, SECONDARY constants" in head
    assert columns.startswith("pJ") and columns.endswith("total")
    assert [r.split()[0] for r in rows[:4]] == [*_network().names, "total"]
    assert all("—" in row for row in rows) and "static" in rows[-1]
    cells = {r.split()[0]: r.split()[1:] for r in rows[:4]}
    shown = sum(float(cells[name][-1]) for name in _network().names)
    assert shown == pytest.approx(float(cells["total"][-1]), abs=0.02)


def test_table_picks_its_unit_by_size():
    work = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    text = str(estimate_energy(work, get("neuromorphic-22nm").with_design(weight_bits=4)))
    assert text.splitlines()[1].startswith("µJ") and text.splitlines()[3].endswith(" 13.47")


def test_an_unknown_entry_in_a_price_table_is_refused():
    class Odd:
        name, constants, parameters, unpriced = "odd", (), (), ()

        def prices(self, technology, design, geometry, temperature=0.0):
            return ({"synops": {"heat": 1.0}},)

    machine = dataclasses.replace(get("compute-only-45nm"), architecture=Odd())
    with pytest.raises(ValueError, match="heat"):
        estimate_energy(_network(), machine)


def test_import_creates_no_array():
    code = "import jax, jsnn.energy; assert not jax.live_arrays()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


DENSE_EVENT_PJ = 0.05448
SPARSE_EVENT_PJ = DENSE_EVENT_PJ + 8 * 0.0385 + 3.0


def dataflow_costs_pj(layer, machine):
    """Of each dataflow, event by event."""
    events = count(layer)
    return [
        sum(
            float(np.sum(events[event] * price))
            for event, row in table.items()
            for price in row.values()
        )
        for table in machine.prices(layer.geometry)
    ]


def test_a_temperature_changes_the_gradient_only_and_the_dear_dataflow_is_felt():
    """In the dense dataflow a spike costs an accumulate; felt is some of its message too."""
    machine = get("neuromorphic-22nm")
    layer = dense(64, 32, steps=6, rate=0.2)

    def total(synops, temperature):
        events_by_fan_out = synops[:, None] / layer.geometry.neurons
        workload = Workload((dataclasses.replace(layer, events_by_fan_out=events_by_fan_out),))
        return estimate_energy(workload, machine, temperature).total_pj().sum()

    values = [float(total(layer.synops, t)) for t in (0.0, 0.1, 1.0)]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)
    hard, cool, warm = (float(jax.grad(total)(layer.synops, t)[0]) for t in (0.0, 0.01, 1.0))
    np.testing.assert_allclose([hard, cool], DENSE_EVENT_PJ, rtol=1e-4)
    assert DENSE_EVENT_PJ < warm < SPARSE_EVENT_PJ


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_dataflow_is_felt_by_the_power_of_how_much_more_it_costs(rate, temperature):
    """The gradient of `Σ c^(-1/t) c' / Σ c^(-1/t)`, written out for one layer."""
    machine = get("neuromorphic-22nm")
    layer = dense(64, 32, steps=6, rate=rate)

    def total(synops):
        events_by_fan_out = synops[:, None] / layer.geometry.neurons
        workload = Workload((dataclasses.replace(layer, events_by_fan_out=events_by_fan_out),))
        return estimate_energy(workload, machine, temperature).total_pj().sum()

    sparse, frame = dataflow_costs_pj(layer, machine)
    weights = np.array([sparse, frame]) ** (-1 / temperature)
    expected = weights @ [SPARSE_EVENT_PJ, DENSE_EVENT_PJ] / weights.sum()
    np.testing.assert_allclose(jax.grad(total)(layer.synops)[0], expected, rtol=1e-4)


def test_spikes_feel_one_temperature_and_the_design_another():
    machine = get("neuromorphic-22nm")
    layer = dense(64, 32, steps=6, rate=0.2)

    def total(synops, bits, *temperatures):
        events_by_fan_out = synops[:, None] / layer.geometry.neurons
        workload = Workload((dataclasses.replace(layer, events_by_fan_out=events_by_fan_out),))
        return (
            estimate_energy(workload, machine.with_design(weight_bits=bits), *temperatures)
            .total_pj()
            .sum()
        )

    def slopes(*temperatures):
        return jax.grad(total, (0, 1))(layer.synops, 8.0, *temperatures)

    sparse, frame = dataflow_costs_pj(layer, machine)
    assert frame < sparse
    share = (frame / sparse) ** (1 / 2.0)
    both, design = slopes(0.3, 2.0), slopes(0.3)[1]
    felt = share * SPARSE_EVENT_PJ + (1 - share) * DENSE_EVENT_PJ
    np.testing.assert_allclose(both[0], felt, rtol=1e-4)
    np.testing.assert_allclose(both[1], design, rtol=1e-5)
    assert not np.allclose(slopes(2.0)[1], design, rtol=1e-3)
    assert total(layer.synops, 8.0, 0.3, 2.0) == total(layer.synops, 8.0)


class TwoWays:
    """A synop for a pJ, or a step for one: what a silent layer does costs nothing in the former."""

    name, constants, parameters, unpriced = "two-ways", (), (), ()

    def prices(self, technology, design, geometry, temperature=0.0):
        return ({"synops": {"synapse": 1.0}}, {"steps": {"synapse": 1.0}})


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_what_costs_nothing_is_felt_alone(temperature):
    machine = dataclasses.replace(get("compute-only-45nm"), architecture=TwoWays())
    silent = dense(64, 32, steps=6, rate=0.0)

    def total(more):
        layer = dataclasses.replace(silent, events_by_fan_out=silent.events_by_fan_out + more)
        return estimate_energy(Workload((layer,)), machine, temperature).total_pj().sum()

    value, slope = jax.value_and_grad(total)(0.0)
    assert (value, slope) == (0, silent.geometry.neurons)


@pytest.mark.parametrize("name", ["neuromorphic-22nm", "spatial-45nm", "yan-v1-spatial"])
@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_both_dataflows_cost_the_same_at_the_switch_rate(name, rate):
    """Just below it a layer is priced sparsely, just above it densely, whatever it does now."""
    machine, shape = get(name), {"inputs": 64, "neurons": 32, "steps": 5}
    flow = dataflow(dense(**shape, rate=rate), machine)
    switch = float(flow.switch_rate[0])
    assert float(flow.dense[0]) == (rate > switch)
    assert float(flow.rate[0]) == pytest.approx(rate)
    below, above = (dataflow(dense(**shape, rate=switch * near), machine) for near in (0.99, 1.01))
    assert (float(below.dense[0]), float(above.dense[0])) == (0, 1)
    text = str(report(Workload((dense(**shape, rate=rate),)), machine, draws=5))
    which = "dense at 0.5" if rate > switch else "sparse at 0.02"
    assert f"dense: {which} events an input and step" in text
    assert f"{switch:.3g}" in text


@pytest.mark.parametrize(
    ("kind", "rate"), [("spikes", 0.25), ("events", 0.25), ("analog", 1.0), ("constant", 1.0)]
)
def test_the_rate_of_a_dataflow_is_by_input_and_frame(kind, rate):
    """Real inputs have no zeros here; a constant frame is shown once."""
    layer = dense(64, 32, steps=5, rate=0.25, input_kind=kind)
    assert float(dataflow(layer, get("neuromorphic-22nm")).rate[0]) == rate


def test_a_machine_with_one_dataflow_has_no_switch():
    assert dataflow(dense(64, 32, steps=5, rate=0.1), get("hierarchy-45nm")) is None


@pytest.mark.parametrize("name", ["neuromorphic-22nm", "spatial-45nm", "yan-v1-spatial"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_felt_gradient_is_the_slope_below_the_switch_and_has_no_cliff(name, temperature):
    """What `Objective.event_temperature` says of it."""
    machine = get(name)

    def pj(rate, event_temperature):
        layer = dense(512, 512, steps=25, rate=rate, active=1.0)
        return estimate_energy(Workload((layer,)), machine, 0.5, event_temperature).total_pj()[0]

    at = dataflow(dense(512, 512, steps=25, rate=0.1, active=1.0), machine)
    switch = float(at.switch_rate[0])
    slope, felt = (
        jax.jit(jax.vmap(jax.grad(functools.partial(pj, event_temperature=t))))
        for t in (0.0, temperature)
    )
    below = switch * jnp.array([0.3, 0.9, 0.999])
    np.testing.assert_allclose(felt(below), slope(below), rtol=1e-5)
    just, above = switch * jnp.array([0.999, 1.001]), switch * jnp.array([1.001, 1.2, 1.5, 2.0])
    np.testing.assert_allclose(*felt(just), rtol=0.01)
    assert (jnp.diff(felt(above)) < 0).all() and (felt(above) > slope(above)).all()
    if (name, temperature) == ("neuromorphic-22nm", 2.0):
        assert 55 < float((felt(above) / slope(above))[0]) < 65
