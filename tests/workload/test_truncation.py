"""A run over a window of another length: itself at its own, what is counted at others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jsnn
from jsnn.energy import estimate_energy, spike_independent_energy
from jsnn.energy.latency import latency
from jsnn.energy.qnn import estimate_qnn_energy
from jsnn.hardware import get
from jsnn.nn.spike_products import Attention, product_workloads
from jsnn.workload import Workload
from jsnn.workload.analytic import dense
from jsnn.workload.truncation import rescale, taken_at_rates, truncate

MACHINES = ("neuromorphic-22nm", "classical-45nm", "event-45nm", "spatial-45nm", "loihi-14nm")


@pytest.fixture(scope="module")
def recorded():
    """A recurrent network on constant input, one on events, and attention."""
    key = jax.random.key(0)
    result = []
    for model, frames in (
        (jsnn.models.MLP((6,), 3, input_kind="constant"), jnp.ones((5, 2, 4))),
        (jsnn.models.SRNN((6,), 3), 1.0 * jax.random.bernoulli(key, 0.4, (5, 2, 4))),
    ):
        variables = jax.jit(model.init)(key, frames)
        result += jax.jit(jsnn.run, static_argnums=0)(model, variables, frames)[1].layers
    tokens = 1.0 * jax.random.bernoulli(key, 0.4, (5, 2, 3, 4, 4))
    result += product_workloads(
        Attention(2).stages(tokens), "attention", ops=jsnn.neurons.LIF().ops, spiking=True,
        per_step=False, bias=False, spikes=tokens.sum((0, 2)),
    )  # fmt: skip
    return Workload(tuple(result))


LOUD = jsnn.neurons.LIF(v_threshold=0.3)
# What each network is shown, [T, B, ...].
CUT = {
    "constant": (
        jsnn.models.MLP((6,), 3, neuron=LOUD, input_kind="constant"),
        jax.random.normal(jax.random.key(1), (4,)) * jnp.ones((4, 2, 4)),
    ),
    "recurrent": (
        jsnn.models.SRNN((6,), 3, neuron=LOUD, input_kind="analog"),
        jax.random.normal(jax.random.key(1), (4, 2, 4)).round(),
    ),
    "conv": (
        jsnn.models.ConvNet((3,), 3, neuron=LOUD, input_kind="events"),
        1.0 * jax.random.bernoulli(jax.random.key(1), 0.4, (4, 2, 4, 4, 2)),
    ),
}


@pytest.fixture(scope="module", params=CUT)
def runs(request):
    """Records of a network over its first 2, 3 and 4 steps, of 4."""
    model, frames = CUT[request.param]

    @jax.jit
    def records():
        variables = model.init(jax.random.key(0), frames)
        return [jsnn.run(model, variables, frames[:steps])[1] for steps in (2, 3, 4)]

    result = records()
    assert all(work.layers[0].output_events.sum() > 0 for work in result)
    return result


def test_a_truncated_workload_is_that_of_a_run_over_truncated_frames(runs):
    machines = [get(name) for name in ("neuromorphic-22nm", "spatial-45nm")]

    @jax.jit
    def estimates(works):
        result = [
            [
                of(work, m).parts_pj
                for of in (estimate_energy, spike_independent_energy)
                for m in machines
            ]
            for work in works
        ]
        return result, [latency(work, machines[-1]).seconds for work in works]

    *_, four = runs
    assert not any(taken_at_rates(layer) for layer in four)
    result = estimates([truncate(four, steps) for steps in (2, 3, 4)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), result, estimates(runs))


def test_between_two_steps_counts_lie_on_a_line_and_the_energy_has_its_slope(runs):
    _, three, four = runs
    for part, a, b in zip(truncate(four, 3.25), three, four, strict=True):
        for name in ("events_by_fan_out", "active", "recurrent_events", "output_events"):
            expected = 0.75 * getattr(a, name) + 0.25 * getattr(b, name)
            np.testing.assert_allclose(getattr(part, name), expected, rtol=1e-6)
    machine = get("hierarchy-45nm")
    slope = jax.grad(
        lambda steps: estimate_energy(truncate(four, steps), machine).total_pj().sum()
    )(3.5)
    rise = (
        estimate_energy(four, machine).total_pj() - estimate_energy(three, machine).total_pj()
    ).sum()
    np.testing.assert_allclose(slope, rise, rtol=1e-4)


def test_what_no_step_says_is_taken_at_rates(recorded):
    """Attention, and a layer that is known by its sums only."""
    product = recorded.layers[-2]
    assert taken_at_rates(product) == ("active", "spikes", "coincidences")
    half = truncate(Workload((product, dense(4, 3, steps=5, rate=0.5))), 2.5)
    np.testing.assert_allclose(half.layers[0].synops, product.synops / 2, rtol=1e-6)
    np.testing.assert_allclose(
        half.layers[0].events_by_fan_out[:, 0],
        (product.by_step.events_by_fan_out[:, :2, 0]).sum(1)
        + product.by_step.events_by_fan_out[:, 2, 0] / 2,
    )
    whole = dense(4, 3, steps=5, rate=0.5)
    np.testing.assert_allclose(half.layers[1].events_by_fan_out, whole.events_by_fan_out / 2)


@pytest.mark.parametrize("steps", [0.5, 6])
def test_a_window_that_was_not_run_is_not_truncated(steps, recorded):
    with pytest.raises(ValueError, match=rf"1 to 5 steps.*found steps = {steps}"):
        truncate(recorded, steps)


def whole(workload):
    """Without what is known of single steps, as another window has none."""
    layers = (dataclasses.replace(layer, by_step=None) for layer in workload)
    return Workload(tuple(layers), per_step=workload.per_step)


def test_its_own_window_changes_nothing(recorded):
    same = rescale(recorded, 5)
    recorded = whole(recorded)
    for a, b in zip(jax.tree.leaves(recorded), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    work = Workload(recorded.layers[:4])
    for name in MACHINES:
        np.testing.assert_allclose(
            estimate_energy(rescale(work, 5), get(name)).parts_pj,
            estimate_energy(work, get(name)).parts_pj,
            rtol=1e-6,
        )


@pytest.mark.parametrize("name", MACHINES)
def test_a_longer_window_is_the_one_written_down(name):
    """Rates kept, and every input independent of the others: 1 - (1 - 0.2)^2 = 0.36 fire."""
    short = dense(40, 12, steps=4, rate=0.1, active=0.2)
    long = dense(40, 12, steps=8, rate=0.1, active=0.36)
    result = rescale(Workload((short,)), 8)
    machine = get(name)
    for of in (estimate_energy, spike_independent_energy, estimate_qnn_energy):
        np.testing.assert_allclose(
            of(result, machine).parts_pj, of(Workload((long,)), machine).parts_pj, rtol=1e-5
        )


def test_the_first_frame_is_shown_once(recorded):
    first = rescale(recorded, 10).layers[0]
    np.testing.assert_array_equal(first.events_by_fan_out, recorded.layers[0].events_by_fan_out)
    np.testing.assert_array_equal(first.spikes, 2 * recorded.layers[0].spikes)


@pytest.mark.parametrize("name", ["classical-45nm", "event-45nm", "spatial-45nm"])
def test_energy_rises_with_time_with_a_true_gradient(name, recorded):
    with jax.enable_x64(True):
        work = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), recorded)
        machine = get(name)

        @jax.jit
        def energy(steps):
            return estimate_energy(rescale(work, steps), machine).total_pj().sum()

        check_grads(energy, (6.3,), order=1, modes=("rev",))
        slope = jax.jit(jax.grad(energy))
        for steps in (1.0, 5.0, 20.0):
            assert np.isfinite(slope(steps)) and slope(steps) > 0
        time = jax.jit(jax.grad(lambda steps: latency(rescale(work, steps), machine).seconds.sum()))
        assert time(6.3) > 0


def test_silence_and_full_activity_have_gradients():
    for active, rate in ((0.0, 0.0), (1.0, 1.0)):
        work = Workload((dense(4, 3, steps=2, rate=rate, active=active),))
        slope = jax.grad(
            lambda t, w=work: estimate_energy(rescale(w, t), get("spatial-45nm")).total_pj()[0]
        )
        assert np.isfinite(slope(3.0))


def test_no_window_is_refused():
    with pytest.raises(ValueError, match=r"expected 1 <= steps .*found 0\.5"):
        rescale(Workload((dense(4, 3, steps=2, rate=0.1),)), 0.5)
