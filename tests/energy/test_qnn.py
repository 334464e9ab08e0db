"""The energy of the QNN against published break-evens and sums by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.energy import COMPONENTS, estimate_energy
from jsnn.energy.qnn import (
    activation_bits,
    break_even_rate,
    energy_ratio,
    estimate_qnn_energy,
    qnn_workload,
)
from jsnn.hardware import get
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

MESH = get("neuromorphic-22nm")
FAN_IN = 4096


@given(st.integers(1, 10_000))
def test_bits_of_a_window(steps):
    assert activation_bits(steps) == math.ceil(math.log2(steps + 1))


def test_a_window_needs_a_step():
    with pytest.raises(ValueError, match="1 <= steps, found 0"):
        activation_bits(0)


def at_rate(steps, rate, **options):
    return Workload((dense(FAN_IN, 3, steps=steps, rate=rate, **options),))


def zero_of_log_ratio(steps, low, high, machine_at, rate_at):
    """Bisection for the point where both cost the same, spikes dearer above it."""
    for _ in range(50):
        middle = (low + high) / 2
        cost = energy_ratio(at_rate(steps, rate_at(middle)), machine_at(middle), density="average")
        low, high = (low, middle) if cost[0] > 1 else (middle, high)
    return low


def break_even(steps, machine):
    return zero_of_log_ratio(steps, 1e-6, 1.0, lambda _: machine, lambda rate: rate)


def parity_hops(steps, rate, machine):
    return zero_of_log_ratio(
        steps, 0.0, 5.0, lambda hops: machine.with_design(hops=hops), lambda _: rate
    )


@pytest.mark.parametrize(("rate", "pj"), [(0.05, 0.916000), (0.10, 0.928000)])
def test_reconstruction_vectors(rate, pj):
    """T = 5, 4-bit weights, one hop: pJ of a synapse of the quantised network."""
    with jax.enable_x64(True):
        for density in ("measured", "average"):
            cost = estimate_qnn_energy(
                at_rate(5, rate), MESH.with_design(weight_bits=4), density
            ).total_pj()
            assert float(cost[0]) / (3 * FAN_IN) == pytest.approx(pj, abs=1e-6)


FOUR, EIGHT = MESH.with_design(weight_bits=4), MESH
SRAM, SPARSE, DENSE = 0.0385, 3.0, 0.25
# Published value and the largest relative error of the reconstruction, both in percent.
BREAK_EVENS = [
    (5, FOUR, 5.7, 0.4),
    (5, EIGHT, 6.4, 1.2),
    (2, FOUR, 10.4, 0.2),
    (2, EIGHT, 12.3, 1.6),
    (5, FOUR.with_constants(sram_pj_per_bit=0.5 * SRAM), 5.39, 0.6),
    (5, FOUR.with_constants(sram_pj_per_bit=1.5 * SRAM), 6.08, 0.6),
    (5, FOUR.with_constants(sparse_hop_pj_per_bit=0.5 * SPARSE), 10.80, 0.8),
    (5, FOUR.with_constants(dense_hop_pj_per_bit=0.5 * DENSE), 3.41, 2.1),
]


@pytest.mark.parametrize(("steps", "machine", "published", "error"), BREAK_EVENS)
def test_published_break_even_rates(steps, machine, published, error):
    with jax.enable_x64(True):
        result = 100 * break_even(steps, machine)
    assert result == pytest.approx(published, rel=error / 100)
    assert result == pytest.approx(100 * break_even_rate(steps, machine, FAN_IN), rel=1e-6)


@pytest.mark.parametrize(("reuse", "hops"), [(0, 0.46), (1, 0.67)])
def test_published_parity_hops(reuse, hops):
    machine = EIGHT.with_design(temporal_reuse=reuse)
    with jax.enable_x64(True):
        assert parity_hops(4, 0.1, machine) == pytest.approx(hops, rel=0.01)


@pytest.mark.parametrize(
    ("steps", "rate", "published", "error"),
    [(3, 0.0549, 0.987, 0.02), (5, 0.05657, 1.121, 0.012)],
)
def test_published_vgg16_ratios(steps, rate, published, error):
    """A convolution whose weights are read once for the whole image, 0.64 hops."""
    machine = FOUR.with_design(hops=0.64, weight_fetch_share=0)
    result = energy_ratio(at_rate(steps, rate), machine, "average")[0]
    assert result == pytest.approx(published, rel=error)


@pytest.mark.parametrize(("steps", "limit"), [(1, 1.0), (3, 1.5), (7, 7 / 3), (15, 3.75)])
def test_dense_limit(steps, limit):
    """Where dense movement is all there is, T one-bit frames stand against b bits."""
    far = MESH.with_design(hops=1e5)
    assert energy_ratio(at_rate(steps, 0.9), far, "average")[0] == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize(("bits", "switch"), [(2, 0.106), (4, 0.128), (8, 0.168)])
def test_sparse_to_dense_switch(bits, switch):
    machine = MESH.with_design(weight_bits=bits)
    column = COMPONENTS.index("routing")
    rates = jnp.asarray([switch - 1e-3, switch + 1e-3])
    routing = estimate_energy(at_rate(5, rates), machine).components_pj()[:, column] / (3 * FAN_IN)
    assert routing.tolist() == pytest.approx([5 * (switch - 1e-3) * SPARSE, 5 * DENSE], rel=1e-4)


def test_multicast_moves_the_break_even():
    result = [
        100 * break_even_rate(5, FOUR.with_design(targets_per_message=f)) for f in (1, 16, 256)
    ]
    assert result == pytest.approx([5.7, 11.5, 18], rel=0.015)


def test_closed_form_without_fan_in_is_the_written_formula():
    steps, bits, w, m = 5, 3, 4 * SRAM, 0.012 * 4 * 3
    expected = (bits * DENSE + w) / (steps * (SPARSE + 0.05448 + w - 2 * m / (steps + 1)))
    assert break_even_rate(steps, FOUR) == pytest.approx(expected, rel=1e-9)
    assert break_even_rate(1, EIGHT, FAN_IN) == pytest.approx(0.1708, abs=1e-4)


def test_break_even_is_differentiable_in_a_parameter():
    slope = jax.grad(lambda h: break_even_rate(5, FOUR.with_design(hops=h)))(1.0)
    step = 1e-3
    ends = [break_even_rate(5, FOUR.with_design(hops=1 + s)) for s in (-step, step)]
    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-4)


def test_break_even_says_where_it_does_not_hold():
    with pytest.raises(ValueError, match="closed form"):
        break_even_rate(5, get("hierarchy-45nm"))
    with pytest.raises(ValueError, match="never breaks even"):
        break_even_rate(5, FOUR.with_constants(sparse_hop_pj_per_bit=0.0))
    with pytest.raises(ValueError, match="fan_in"):
        break_even_rate(5, FOUR, fan_in=0)


def test_density_must_be_known():
    with pytest.raises(ValueError, match="density"):
        estimate_qnn_energy(at_rate(5, 0.1), MESH, density="best")


def test_qnn_of_a_real_input_layer_keeps_its_bits():
    """Ledger of a 20-10 layer, T = 6, 8-bit input: MAC, weight and bias, then one b-bit word."""
    work = Workload((dense(20, 10, steps=6, rate=0.3, input_kind="constant", bias=True),))
    with jax.enable_x64(True):
        parts = estimate_qnn_energy(work, get("hierarchy-45nm")).parts_pj[0, 0].tolist()
    add16 = 0.03 + 0.07 * 8 / 24
    ram = lambda words, bits: 13.2 + 1.09e-5 * words * bits  # noqa: E731
    expected = {
        "synapse": 200 * (0.2 + add16),
        "neuron": 10 * add16,
        "weight_memory": 200 * ram(200, 8) + 10 * ram(10, 16),
        "state_memory": 0.0,
        "activation_movement": 20 * ram(20, 8) + 10 * ram(10, 3),
        "routing": 30 * 0.1,
        "static": 0.0,
    }
    assert dict(zip(COMPONENTS, parts, strict=True)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["spikes", "events"])
def test_qnn_of_a_layer_of_events_has_the_bits_of_the_window(kind):
    """30 of 100 inputs fired at least once; T = 6 is 3 bits, wherever the events come from."""
    work = Workload((dense(100, 10, steps=6, rate=0.1, active=0.3, input_kind=kind),))
    with jax.enable_x64(True):
        cost = estimate_qnn_energy(work, get("hierarchy-45nm"))
    mul8x3 = 0.2 + 2.9 * (24 - 64) / 960
    synapse, moved = (
        float(cost.components_pj()[0, COMPONENTS.index(c)])
        for c in ("synapse", "activation_movement")
    )
    assert synapse == pytest.approx(300 * (mul8x3 + 0.03 + 0.07 * 8 / 24))
    assert moved == pytest.approx(100 * (13.2 + 1.09e-5 * 100 * 3) + 10 * (13.2 + 1.09e-5 * 10 * 3))


def recurrent(steps=4, inputs=30, neurons=8):
    layer = dense(inputs, neurons, steps=steps, rate=0.2, active=0.5)
    geometry = dataclasses.replace(layer.geometry, kind="recurrent", recurrent_weights=neurons**2)
    return dataclasses.replace(layer, recurrent_events=jnp.full(1, 5.0), geometry=geometry)


def test_a_network_read_at_every_step_has_a_qnn_of_t_binary_passes():
    layer = recurrent()
    (passes,) = qnn_workload(Workload((layer,), per_step=True))
    assert passes.steps == 4
    assert passes.macs[0] == pytest.approx(0.2 * 4 * 30 * 8 + 5 * 8)
    assert passes.geometry.weights == passes.geometry.synapses == 30 * 8 + 64
    cost = estimate_qnn_energy(Workload((layer,), per_step=True), MESH).components_pj()[0]
    macs, connections = 0.2 * 4 * 240 + 40, 4 * (240 + 64)
    result = dict(zip(COMPONENTS, cost.tolist(), strict=True))
    assert result["synapse"] == pytest.approx(macs * 0.012 * 8 * 1)
    assert result["weight_memory"] == pytest.approx(connections * 8 * SRAM)
    assert result["routing"] == pytest.approx(min(connections * DENSE, macs * SPARSE))
    assert result["state_memory"] == 0


def test_a_value_above_one_is_one_multiplication():
    layer = dense(10, 5, steps=4, rate=0.5, active=0.2)
    doubled = dataclasses.replace(layer, events_by_fan_out=4 * layer.events_by_fan_out)
    (passes,) = qnn_workload(Workload((doubled,), per_step=True))
    assert passes.macs[0] == pytest.approx(4 * 0.2 * 50)


def test_a_constant_input_is_multiplied_once_in_all_passes():
    layer = dense(10, 5, steps=4, rate=0.5, input_kind="constant")
    (passes,) = qnn_workload(Workload((layer,), per_step=True))
    assert passes.macs[0] == 50 and passes.geometry.input_kind == "constant"


@pytest.mark.parametrize("name", ["compute-only-45nm", "hierarchy-45nm", "neuromorphic-22nm"])
@pytest.mark.parametrize("per_step", [False, True])
def test_ratio_is_the_quotient_and_blind_to_the_batch(name, per_step):
    rates = jnp.asarray([0.02, 0.1, 0.7])
    work = Workload(
        (dense(12, 8, steps=4, rate=rates, input_kind="analog"), dense(8, 5, steps=4, rate=rates)),
        per_step=per_step,
    )
    result = energy_ratio(work, get(name))
    cost = (
        estimate_energy(work, get(name)).total_pj()
        / estimate_qnn_energy(work, get(name)).total_pj()
    )
    np.testing.assert_allclose(result, cost, rtol=1e-6)
    for b in range(3):
        alone = energy_ratio(jax.tree.map(lambda x, b=b: x[b : b + 1], work), get(name))
        np.testing.assert_allclose(alone[0], result[b], rtol=1e-6)
    gradient = jax.grad(lambda w: energy_ratio(w, get(name)).sum())(work)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(1, 15))
def test_average_density_stays_within_the_bounds_of_theorem_2(rate, steps):
    """(1 - gamma) / T <= rate <= 1 - gamma, and no more than every connection."""
    (layer,) = qnn_workload(at_rate(steps, rate), "average")
    density = float(layer.macs[0]) / (3 * FAN_IN)
    assert density / steps <= rate * (1 + 1e-5) + 1e-9
    assert density <= 1 and (rate <= density * (1 + 1e-5) + 1e-9)
