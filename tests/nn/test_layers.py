"""Layers against loops that visit every spike and every wire."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn.neurons import LI, LIF
from jsnn.nn import forward, run
from jsnn.nn.layers import (
    Dropout,
    Flatten,
    Network,
    Pool,
    Residual,
    Spiking,
    batch_norm,
    td_batch_norm,
)
from jsnn.nn.stream import step
from jsnn.readouts import LastMembrane, MeanMembrane, PerStep, SpikeCount

# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(run, static_argnums=0)

NEURON = LIF(tau_mem=2e-3)


def spikes(key, shape, rate=0.3):
    return jax.random.bernoulli(key, rate, shape).astype(jnp.float32)


def only_layer(model, variables, frames):
    return ran(model, variables, frames)[1].layers[0]


def test_a_dense_layer_is_its_equations_step_by_step(key):
    frames = spikes(key, (7, 3, 5))
    layer = Spiking(nn.Dense(4), NEURON)
    variables = jax.jit(layer.init)(key, frames)
    weights = np.asarray(variables["params"]["synapse"]["kernel"])
    bias = np.asarray(variables["params"]["synapse"]["bias"])
    result = np.asarray(layer.apply(variables, frames))
    v, alpha = np.zeros((3, 4)), np.exp(-1e-3 / 2e-3)
    for t in range(7):
        v = alpha * v + np.asarray(frames)[t] @ weights + bias
        fired = v >= 1
        np.testing.assert_array_equal(result[t], fired)
        v = v - fired


def test_recurrence_feeds_back_the_spikes_of_the_step_before(key):
    frames = spikes(key, (9, 2, 6), 0.6)
    layer = Spiking(nn.Dense(5, use_bias=False), NEURON, recurrent=True)
    variables = jax.jit(layer.init)(key, frames)
    params = jax.tree.map(np.asarray, variables["params"])
    result, (record,) = ran(layer, variables, frames)
    v, before, fed_back = np.zeros((2, 5)), np.zeros((2, 5)), np.zeros(2)
    for t in range(9):
        fed_back += before.sum(1)
        current = np.asarray(frames)[t] @ params["synapse"]["kernel"]
        v = np.exp(-0.5) * v + current + before @ params["recurrent"]
        before = (v >= 1).astype(float)
        np.testing.assert_array_equal(result[t], before)
        v = v - before
    np.testing.assert_array_equal(record.recurrent_events, fed_back)
    np.testing.assert_array_equal(record.recurrent_synops, fed_back * 5)
    assert record.geometry.recurrent_weights == 25
    assert fed_back.sum() > 0


@pytest.mark.parametrize(
    ("strides", "padding", "groups"), [(1, "SAME", 1), (2, "VALID", 1), (2, "SAME", 2)]
)
def test_conv_synops_are_the_wires_that_each_spike_takes(key, strides, padding, groups):
    frames = spikes(key, (3, 2, 6, 5, 2))
    synapse = nn.Conv(
        4, (3, 3), strides=strides, padding=padding, feature_group_count=groups, use_bias=False
    )
    layer = Spiking(synapse, NEURON)
    record = only_layer(layer, jax.jit(layer.init)(key, frames), frames)
    expected = np.zeros(2)
    out = np.asarray(jax.eval_shape(lambda: layer.init_with_output(key, frames)[0]).shape)
    height, width = out[2], out[3]
    total = [
        max((n - 1) * strides + 3 - m, 0) for n, m in zip((height, width), (6, 5), strict=True)
    ]
    low = [0, 0] if padding == "VALID" else [n // 2 for n in total]
    for _, b, y, x, _ in np.argwhere(np.asarray(frames) > 0):
        for oy in range(height):
            for ox in range(width):
                dy, dx = y - oy * strides + low[0], x - ox * strides + low[1]
                expected[b] += (0 <= dy < 3 and 0 <= dx < 3) * 4 // groups
    np.testing.assert_array_equal(record.synops, expected)
    assert record.geometry.neurons == height * width * 4


def test_input_kinds_count_what_comes_in(key):
    values = jnp.where(jax.random.bernoulli(key, 0.5, (4, 2, 6)), 0.7, 0.0)
    shown = jnp.broadcast_to(values[:1], values.shape)
    layers = {k: Spiking(nn.Dense(3), NEURON, input_kind=k) for k in ("analog", "constant")}
    analog = only_layer(layers["analog"], layers["analog"].init(key, values), values)
    nonzero = np.count_nonzero(values, axis=(0, 2))
    np.testing.assert_array_equal(analog.macs, nonzero * 3)
    np.testing.assert_array_equal(analog.synops, 0)
    constant = only_layer(layers["constant"], layers["constant"].init(key, shown), shown)
    np.testing.assert_array_equal(constant.macs, np.count_nonzero(values[0], axis=1) * 3)
    signed = jnp.array([[[-1.0, 2.0, 0.0]]])
    events = Spiking(nn.Dense(5), NEURON, input_kind="events")
    record = only_layer(events, jax.jit(events.init)(key, signed), signed)
    assert (record.input_events.tolist(), record.synops.tolist()) == ([3.0], [15.0])
    assert (record.active_inputs.tolist(), record.active_synapses.tolist()) == ([2.0], [10.0])


def test_a_constant_input_computes_its_synapse_once_with_the_same_result(key):
    frames = jnp.broadcast_to(jax.random.uniform(key, (1, 2, 6)), (5, 2, 6))
    once = Spiking(nn.Dense(8), NEURON, input_kind="constant")
    variables = jax.jit(once.init)(key, frames)
    every = Spiking(nn.Dense(8), NEURON, input_kind="analog")
    np.testing.assert_array_equal(once.apply(variables, frames), every.apply(variables, frames))


def test_average_pool_events_are_counted_one_by_one_and_max_pool_stays_binary(key):
    frames = spikes(key, (3, 2, 4, 4, 1), 0.5)
    model = Network(
        (
            Pool("average", 2),
            Spiking(
                nn.Conv(1, (1, 1), use_bias=False), NEURON, input_kind="events", input_unit=0.25
            ),
        )
    )
    record = only_layer(model, jax.jit(model.init)(key, frames), frames)
    np.testing.assert_array_equal(record.synops, np.asarray(frames).sum((0, 2, 3, 4)))
    pooled = Pool("max", 2).apply({}, frames)
    assert set(np.unique(pooled)) <= {0.0, 1.0}
    np.testing.assert_array_equal(
        pooled[:, :, 0, 0, 0], np.asarray(frames)[:, :, :2, :2, 0].max((2, 3))
    )
    with pytest.raises(ValueError, match="pool kind"):
        Pool("sum", 2).apply({}, frames)


def test_batch_norm_runs_over_time_and_batch_and_td_aims_at_the_threshold(key):
    frames = jax.random.normal(key, (5, 4, 6)) * 3 + 1
    for norm, spread in ((batch_norm(), 1.0), (td_batch_norm(0.5), 0.5)):
        variables = norm.init(key, frames, use_running_average=False)
        out, _ = norm.apply(variables, frames, use_running_average=False, mutable=["batch_stats"])
        np.testing.assert_allclose(out.mean((0, 1)), 0, atol=1e-5)
        np.testing.assert_allclose(out.std((0, 1)), spread, rtol=1e-4)


@pytest.mark.parametrize("center", [0.0, 1e3, -1e4])
def test_batch_norm_of_currents_far_from_zero(key, center):
    """E[x^2] - E[x]^2 of spread 1 around 1,000 came out at 306 in one channel, 0.6 in others."""
    currents = center + jax.random.normal(key, (10, 32, 8))
    for norm in (batch_norm(), td_batch_norm()):
        variables = norm.init(key, currents, use_running_average=False)
        out, _ = norm.apply(variables, currents, use_running_average=False, mutable=["batch_stats"])
        np.testing.assert_allclose(out.std((0, 1)), 1.0, atol=1e-3)


def test_a_folded_norm_leaves_a_bias_and_updates_only_in_training(key):
    frames = spikes(key, (4, 3, 5))
    layer = Spiking(nn.Dense(6, use_bias=False), NEURON, norm=td_batch_norm())
    variables = jax.jit(layer.init)(key, frames)
    assert only_layer(layer, variables, frames).geometry.biases == 6
    assert forward(layer, variables, frames).updates == {}
    updates = forward(layer, variables, frames, train=True).updates
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), updates, {"batch_stats": variables["batch_stats"]}
    )
    assert all(jax.tree.leaves(changed))


def test_dropout_silences_an_input_for_the_whole_window(key):
    frames = jnp.ones((6, 2, 50))
    out = np.asarray(Dropout(0.5).apply({}, frames, True, rngs={"dropout": key}))
    assert set(np.unique(out)) == {0.0, 2.0}
    np.testing.assert_array_equal(out, np.broadcast_to(out[:1], out.shape))
    np.testing.assert_array_equal(Dropout(0.5).apply({}, frames, False), frames)


@pytest.mark.parametrize(
    ("mode", "table"), [("add", [0, 1, 1, 2]), ("and", [0, 0, 0, 1]), ("iand", [0, 1, 0, 0])]
)
def test_residual_truth_table(mode, table):
    """Rows: (A, x) = (0, 0), (0, 1), (1, 0), (1, 1); Fang et al. 2021, table 1."""

    class Fixed(nn.Module):
        def __call__(self, frames, train=False):
            return jnp.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4)

    x = jnp.array([0.0, 1.0, 0.0, 1.0]).reshape(1, 1, 4)
    assert Residual(Fixed(), mode).apply({}, x).reshape(-1).tolist() == table


def test_residual_sums_are_counted_by_value(key):
    frames = jnp.ones((2, 1, 4))
    block = Spiking(nn.Dense(4, kernel_init=nn.initializers.constant(9.0)), NEURON)
    after = Spiking(nn.Dense(3), NEURON)
    model = Network((Residual(block), after))
    _, workload = ran(model, jax.jit(model.init)(key, frames), frames)
    assert workload.layers[1].input_events.tolist() == [16.0]


def test_a_layer_used_twice_records_twice(key):
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, frames, train=False):
            layer = Spiking(nn.Dense(5), NEURON, name="shared")
            return layer(layer(frames, train), train)

    frames = spikes(key, (4, 2, 5), 0.7)
    variables = jax.jit(Twice().init)(key, frames)
    _, workload = run(Twice(), variables, frames)
    assert workload.names == ("shared", "shared#2")
    np.testing.assert_array_equal(
        workload["shared"].output_events, workload["shared#2"].input_events
    )


def test_init_keeps_no_record_and_a_stale_one_is_not_counted(key):
    frames = spikes(key, (4, 2, 5))
    layer = Spiking(nn.Dense(5), NEURON)
    variables = jax.jit(layer.init)(key, frames)
    assert set(variables) == {"params", "constants"}
    _, stale = layer.apply(variables, frames, mutable=["workload"])
    once = ran(layer, variables, frames)[1]
    again = ran(layer, {**variables, **stale}, frames)[1]
    assert len(again) == 1
    np.testing.assert_array_equal(once.layers[0].synops, again.layers[0].synops)


def test_a_spiking_readout_records_its_own_spikes(key):
    frames = spikes(key, (6, 2, 5), 0.8)
    layer = Spiking(nn.Dense(4), NEURON, readout=SpikeCount(), recurrent=True)
    variables = jax.jit(layer.init)(key, frames)
    counts, (record,) = ran(layer, variables, frames)
    plain = layer.clone(readout=None)
    every = np.asarray(plain.apply(variables, frames))
    np.testing.assert_array_equal(counts, every.sum(0))
    np.testing.assert_array_equal(record.spikes, every.sum(0))
    np.testing.assert_array_equal(record.recurrent_events, every[:-1].sum((0, 2)))


@pytest.mark.parametrize("recurrent", [False, True])
def test_stepping_one_frame_at_a_time_equals_the_whole_window(key, recurrent):
    frames = spikes(key, (6, 2, 5), 0.5)
    model = Network(
        (
            Spiking(nn.Dense(7), NEURON, input_kind="events", recurrent=recurrent),
            Spiking(nn.Dense(3), LI(tau_mem=3e-3), readout=PerStep()),
        )
    )
    variables = jax.jit(model.init)(key, frames)
    whole, _ = ran(model, variables, frames)
    state, stepped = variables, []
    for frame in frames:
        state, out = step(model, state, frame)
        stepped.append(out[0])
    np.testing.assert_array_equal(np.stack(stepped), whole)


def test_records_of_a_stream_add_up_to_those_of_the_window(key):
    frames = spikes(key, (6, 2, 5), 0.8)
    layer = Spiking(nn.Dense(4), NEURON, recurrent=True, readout=SpikeCount())
    variables = jax.jit(layer.init)(key, frames)
    _, (whole,) = ran(layer, variables, frames)
    collected, state = [], {}
    for piece in (frames[:2], frames[2:]):
        _, changed = layer.apply({**variables, **state}, piece, mutable=["workload", "state"])
        collected.append(changed["workload"]["record"][0])
        state = {"state": changed["state"]}
    for name in ("synops", "spikes", "recurrent_synops"):
        total = sum(np.asarray(getattr(record, name)) for record in collected)
        np.testing.assert_array_equal(total, getattr(whole, name))


def test_random_initial_states_are_drawn_in_training_only(key):
    frames = jnp.zeros((1, 3, 4))
    layer = Spiking(nn.Dense(50), NEURON, random_state=True, readout=LastMembrane())
    variables = jax.jit(layer.init)(key, frames)
    still = layer.apply(variables, frames, True, rngs={"state": key})
    assert np.asarray(still).std() > 0.05
    assert np.asarray(layer.apply(variables, frames, False)).std() == 0


def test_a_layer_passes_its_plan_on(key):
    frames = spikes(key, (7, 2, 6), 0.6)

    def spikes_and_gradient(plan, readout):
        layer = Spiking(nn.Dense(5), NEURON, recurrent=True, plan=plan, readout=readout)
        variables = jax.jit(layer.init)(key, frames)

        def loss(params):
            out = layer.apply({**variables, "params": params}, frames)
            return (out**2).sum(), out

        return jax.grad(loss, has_aux=True)(variables["params"])

    for readout in (None, MeanMembrane()):
        gradient, out = spikes_and_gradient("scan", readout)
        fused, same = spikes_and_gradient("fused", readout)
        np.testing.assert_array_equal(same, out)
        for got, want in zip(jax.tree.leaves(fused), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        with pytest.raises(ValueError, match="each step waits"):
            spikes_and_gradient("parallel", readout)


def test_bad_frames_and_arguments_are_refused(key):
    cases = [
        (Spiking(nn.Dense(3), NEURON), jnp.ones((2, 3)), r"\[T, B, \.\.\.\]"),
        (Spiking(nn.Dense(3), NEURON), jnp.ones((0, 2, 3)), "T = 0"),
        (Spiking(nn.Dense(3), NEURON, input_kind="rate"), jnp.ones((1, 2, 3)), "input_kind"),
        (Spiking(nn.Conv(2, (3, 3)), NEURON, recurrent=True), jnp.ones((1, 1, 4, 4, 1)), "Flatten"),
        (Spiking(nn.Dense(3), LI()), jnp.ones((1, 2, 3)), "sends no spikes"),
        (Residual(Flatten()), jnp.ones((1, 1, 2, 2)), "keep the shape"),
    ]
    for layer, frames, message in cases:
        with pytest.raises(ValueError, match=message):
            layer.init(key, frames)
    with pytest.raises(ValueError, match="recorded no spiking layer"):
        run(Flatten(), {}, jnp.ones((1, 1, 2)))


def test_steps_that_make_one_decision_have_a_qnn_that_runs_once():
    frames = jnp.ones((4, 2, 5))
    for decides in (True, False):
        readout = PerStep(decides=decides)
        layer = Spiking(nn.Dense(3), LI(tau_mem=5e-3), readout=readout)
        outputs, workload = ran(layer, jax.jit(layer.init)(jax.random.key(0), frames), frames)
        assert outputs.shape == (4, 2, 3)
        assert workload.per_step is decides


@pytest.mark.parametrize("kind", ["spikes", "events", "analog", "constant"])
def test_what_came_in_each_step_sums_to_what_came(kind, key):
    """Convolutions have several fan-outs; spikes are fed back a step later."""
    image = jax.random.normal(key, (4, 2, 5, 5, 2)).round()
    if kind == "spikes":
        image = jnp.abs(image)
    if kind == "constant":
        image = jnp.broadcast_to(image[:1], image.shape)
    conv = Spiking(nn.Conv(3, (3, 3)), LIF(), input_kind=kind)
    flat = Spiking(nn.Dense(6), LIF(v_threshold=0.2), input_kind=kind, recurrent=True)
    for layer, frames in ((conv, image), (flat, image[..., 0, 0, :])):
        _, workload = ran(layer, jax.jit(layer.init)(key, frames), frames)
        (record,) = workload
        by_step = record.by_step
        np.testing.assert_allclose(
            by_step.events_by_fan_out.sum(1), record.events_by_fan_out, rtol=1e-6
        )
        np.testing.assert_array_equal(by_step.recurrent_events.sum(1), record.recurrent_events)
        np.testing.assert_array_equal(by_step.active.sum(1), record.active)
        np.testing.assert_array_equal(by_step.spikes.sum(1), record.output_events)
        assert (by_step.recurrent_events[:, 0] == 0).all()
    assert record.recurrent_events.sum() > 0
    shown = 1 if kind == "constant" else 4
    assert (by_step.events_by_fan_out[:, :shown].sum((0, 2)) > 0).all()
    assert (by_step.events_by_fan_out[:, shown:] == 0).all()
