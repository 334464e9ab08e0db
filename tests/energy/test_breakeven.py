"""Break-evens against the closed form, published figures and brute force; the maps; the command."""

import dataclasses
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from experiments import breakeven as command
from jsnn.energy import estimate_energy
from jsnn.energy.breakeven import (
    break_even,
    rate,
    ratio_at,
    ratio_by_layer,
    regime_map,
    sparsity,
    steps,
    sweep,
)
from jsnn.energy.qnn import activation_bits, break_even_rate, estimate_qnn_energy
from jsnn.energy.qnn import energy_ratio as qnn_ratio
from jsnn.hardware import get, machines
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

MESH = get("neuromorphic-22nm")
FOUR = MESH.with_design(weight_bits=4)
WIDE = {"fan_in": 4096, "neurons": 4096}
# A machine of each architecture: constants alone make no other code.
NAMES = tuple({get(name).architecture.name: name for name in machines()}.values())


@pytest.mark.parametrize("density", ["average", "measured"])
@pytest.mark.parametrize("name", NAMES)
def test_ratio_is_that_of_a_layer_written_down(name, density):
    """Traced sizes and steps against the same layer made of whole numbers."""
    share = {"active": 0.3} if density == "measured" else {}
    work = Workload((dense(48, 20, steps=6, rate=0.1, **share),))
    expected = qnn_ratio(work, get(name), density)[0]
    point = {"steps": 6, "rate": 0.1, "fan_in": 48, "neurons": 20} | share
    assert ratio_at(get(name), **point) == pytest.approx(float(expected), rel=2e-6)
    traced = jax.jit(lambda point: ratio_at(get(name), **point))(point)
    assert traced == pytest.approx(float(expected), rel=2e-6)


def test_bits_of_the_qnn_are_those_of_the_window():
    windows = np.arange(1, 5001)
    bits = np.asarray([activation_bits(int(window)) for window in windows])
    rest = {"rate": 0.01, "fan_in": 64, "neurons": 8}
    with jax.enable_x64(True):
        result = sweep(MESH, {"steps": windows}, **rest)
        stated = sweep(MESH, {"steps": windows, "bits": bits}, **rest)
        np.testing.assert_array_equal(result, stated)
        # A fraction of a step takes the bits of the next whole number of them.
        halves = windows[1:] - 0.5
        result = sweep(MESH, {"steps": halves}, **rest)
        stated = sweep(MESH, {"steps": halves, "bits": bits[1:]}, **rest)
        np.testing.assert_array_equal(result, stated)
        smooth = sweep(MESH, {"steps": windows}, relaxed=True, **rest)
        stated = sweep(MESH, {"steps": windows, "bits": np.log2(windows + 1)}, **rest)
        np.testing.assert_allclose(smooth, stated, rtol=1e-12)


def test_spiking_layer_keeps_to_the_densities_a_rate_allows():
    """A QNN denser than one spike per input: the spiking side reads weights it has events for."""
    machine = get("spatial-45nm")
    point = {"steps": 6, "rate": 0.05, "fan_in": 64, "neurons": 32}
    spiking = dense(64, 32, steps=6, rate=0.05, active=0.3)
    formal = dense(64, 32, steps=6, rate=0.05, active=0.9)
    expected = (
        estimate_energy(Workload((spiking,)), machine).total_pj()
        / estimate_qnn_energy(Workload((formal,)), machine).total_pj()
    )
    assert ratio_at(machine, **point, active=0.9) == pytest.approx(float(expected[0]), rel=1e-6)


@pytest.mark.parametrize(("window", "bits"), [(1, 2), (2, 4), (2, 8), (5, 2), (5, 8)])
def test_rate_is_the_closed_form(window, bits):
    machine = MESH.with_design(weight_bits=bits)
    with jax.enable_x64(True):
        result = float(rate(machine, window, **WIDE))
        assert result == pytest.approx(float(break_even_rate(window, machine, 4096)), rel=1e-9)
        assert float(sparsity(machine, window, **WIDE)) == pytest.approx(1 - result, rel=1e-12)


def test_closed_form_ends_where_another_dataflow_is_cheaper():
    """A QNN of few non-zeros sends events too (T = 16); dense spikes of one step always win."""
    with jax.enable_x64(True):
        assert rate(FOUR, 16, **WIDE) < 0.5 * break_even_rate(16, FOUR, 4096)
        assert float(rate(FOUR, 16, **WIDE)) == pytest.approx(0.0067, abs=5e-5)
        assert float(break_even_rate(16, FOUR, 4096)) == pytest.approx(0.0275, abs=5e-5)
        at_closed_form = break_even_rate(1, MESH, 4096)
        assert at_closed_form > (0.25 + 8 * 0.0385) / (3.0 + 8 * 0.0385)
        with pytest.raises(ValueError, match="spikes always win"):
            rate(MESH, 1, **WIDE)


@pytest.mark.parametrize(
    ("targets", "published", "error"), [(1, 5.7, 0.004), (16, 11.5, 0.001), (256, 18, 0.008)]
)
def test_published_break_even_rates(targets, published, error):
    """T = 5, 4-bit weights: 5.7 % is the abstract's, met by fit (5.72 %); the others follow."""
    result = 100 * rate(FOUR, 5, **WIDE, targets_per_message=targets)
    assert result == pytest.approx(published, rel=error)


@pytest.mark.parametrize(("reuse", "hops"), [(0, 0.46), (1, 0.67)])
def test_published_parity_hops(reuse, hops):
    result = break_even(
        MESH, "hops", low=0.01, high=10, steps=4, rate=0.1, temporal_reuse=reuse, **WIDE
    )
    assert result == pytest.approx(hops, rel=0.01)


def test_steps_at_a_rate_are_the_rate_at_those_steps():
    with jax.enable_x64(True):
        window = steps(FOUR, 0.05, **WIDE)
        back = rate(FOUR, window, **WIDE, relaxed=True)
        assert float(back) == pytest.approx(0.05, rel=1e-9)
        exact = np.asarray(regime_map(FOUR, {"steps": [1, 5, 6, 7, 100]}, rate=0.05, **WIDE))
        window = float(window)
    assert 5 < window < 6 and (exact < 1).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("along", ["rate", "hops", "steps", "sparse_hop_pj_per_bit"])
def test_root_against_plain_bisection(along):
    low, high = {"rate": (1e-6, 1), "steps": (1, 100)}.get(along, (1e-3, 30))
    point = {"steps": 4, "rate": 0.08, "fan_in": 512, "neurons": 100, "relaxed": True}
    point.pop(along, None)
    with jax.enable_x64(True):
        result = float(break_even(FOUR, along, low=low, high=high, **point))
        left, right = low, high
        for _ in range(45):
            middle = math.sqrt(left * right)
            dear = ratio_at(FOUR, **point, **{along: middle}) > 1
            left, right = (left, middle) if dear else (middle, right)
    assert result == pytest.approx(left, rel=1e-9)


def test_gradients_with_respect_to_every_constant_and_parameter():
    inside = FOUR.with_design(weight_fetch_share=0.9, temporal_reuse=0.2, targets_per_message=2)
    leaves, structure = jax.tree.flatten(inside)

    @jax.jit
    def root(leaves, window):
        machine = jax.tree.unflatten(structure, leaves)
        return jnp.log(rate(machine, window, 300, 200, relaxed=True))

    with jax.enable_x64(True):
        leaves = [jnp.asarray(leaf, jnp.float64) for leaf in leaves]
        check_grads(root, (leaves, 5.0), order=1, modes=("rev", "fwd"), eps=1e-5, rtol=1e-5)
        slopes = jax.grad(root)(leaves, 5.0)
    # Only the width of real-valued inputs has no part in a hidden layer.
    assert sum(float(slope) == 0 for slope in slopes) == 1


def test_gradient_on_a_machine_of_classes_by_size():
    """Another architecture, another number: the density at which 0.4 spikes break even."""
    with jax.enable_x64(True):

        @jax.jit
        def density(read_pj, state_bits):
            return break_even(
                get("yan-v1-classical"),
                "active",
                steps=6.0,
                rate=0.2 / 6,
                fan_in=512,
                neurons=512,
                local_pj_per_bit=read_pj,
                state_bits=state_bits,
            )

        check_grads(density, (0.3125, 8.0), order=1, modes=("rev",), eps=1e-5, rtol=1e-4)


def test_second_derivative_is_that_of_the_closed_form():
    def slope(energy_of):
        return jax.jit(jax.grad(jax.grad(lambda h: energy_of(FOUR.with_design(hops=h)))))(1.0)

    with jax.enable_x64(True):
        result = slope(lambda machine: rate(machine, 5, **WIDE))
        expected = slope(lambda machine: break_even_rate(5, machine, 4096))
    assert float(result) == pytest.approx(float(expected), rel=1e-8)


def test_no_root_says_who_wins_and_is_nan_under_jit():
    free = FOUR.with_constants(sparse_hop_pj_per_bit=0.0, accumulate_pj=0.0, sram_pj_per_bit=0.0)
    with pytest.raises(ValueError, match="spikes always win"):
        rate(free, 5, **WIDE)
    with pytest.raises(ValueError, match="QNN always wins"):
        rate(get("hierarchy-45nm"), 5, **WIDE)
    with pytest.raises(ValueError, match="never rises above one"):
        rate(get("compute-only-45nm"), 5, **WIDE)
    assert np.isnan(jax.jit(lambda m: rate(m, 5, **WIDE))(free))
    costs = {"sparse_hop_pj_per_bit": [3.0, 0.0]}
    rest = {"steps": 5, "accumulate_pj": 0, "sram_pj_per_bit": 0}
    result = sweep(FOUR, costs, along="rate", **rest, **WIDE)
    assert np.isnan(result).tolist() == [False, True]


def test_first_rise_is_the_break_even():
    """The QNN may win both below and above the rates where spikes do."""
    point = {"steps": 2, "fan_in": 8, "neurons": 8, "weight_bits": 4}
    rates = np.geomspace(1e-6, 1, 4000)
    wins = np.asarray(regime_map(MESH, {"rate": rates}, **point)) <= 1
    falls, rises = (np.flatnonzero(w[:-1] & ~w[1:]) for w in (~wins, wins))
    assert falls.size == rises.size == 1 and falls[0] < rises[0]
    assert break_even(MESH, "rate", **point) == pytest.approx(rates[rises[0]], rel=5e-3)
    either = break_even(MESH, "rate", rising=False, **point)
    assert either == pytest.approx(rates[falls[0]], rel=5e-3)


@settings(max_examples=15)
@given(
    st.integers(1, 20),
    st.floats(1e-3, 1),
    st.sampled_from([2.0, 4.0, 8.0]),
    st.floats(0.5, 8),
    st.integers(1, 64),
)
def test_a_map_is_its_points(window, fires, bits, hops, targets):
    axes = {"weight_bits": [1.0, bits], "rate": [fires], "hops": [hops, 9.0]}
    rest = {"steps": window, "targets_per_message": targets, "fan_in": 100, "neurons": 30}
    result = regime_map(MESH, axes, **rest)
    assert result.shape == (2, 1, 2)
    machine = MESH.with_design(weight_bits=bits, hops=hops, targets_per_message=targets)
    work = Workload((dense(100, 30, steps=window, rate=fires),))
    expected = qnn_ratio(work, machine, "average")[0]
    assert result[1, 0, 0] == pytest.approx(float(expected), rel=1e-5)


def test_a_list_of_points_and_a_map_of_break_evens():
    axes = {"steps": [2, 5], "targets_per_message": [1, 16]}
    table = regime_map(FOUR, axes, along="rate", **WIDE)
    pairs = {"steps": [2, 2, 5, 5], "targets_per_message": [1, 16, 1, 16]}
    np.testing.assert_array_equal(sweep(FOUR, pairs, along="rate", **WIDE), table.ravel())
    expected = break_even_rate(5, FOUR.with_design(targets_per_message=16), 4096)
    assert table[1, 1] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_maps_over_steps_rate_and_sizes(name):
    """Ten thousand points in one call; more steps never help a network of a known density."""
    axes = {
        "steps": np.arange(1, 11),
        "rate": np.geomspace(1e-3, 0.9, 10),
        "fan_in": np.geomspace(8, 4096, 10).round(),
        "neurons": np.geomspace(8, 4096, 10).round(),
    }
    result = np.asarray(regime_map(get(name), axes, active=0.5, bits=4))
    assert result.shape == (10, 10, 10, 10) and np.isfinite(result).all() and (result > 0).all()
    assert np.all(np.diff(result, axis=0) >= -1e-5 * result[1:])
    assert np.all(np.diff(result, axis=1) >= -1e-5 * result[:, 1:])


def test_layers_in_place_of_a_dense_one():
    """Geometries of a network: a real-valued first layer, a recurrent one, a readout."""
    first = dense(30, 20, steps=4, rate=0.2, input_kind="constant", name="first")
    middle = dense(20, 8, steps=4, rate=0.2, name="middle")
    middle = dataclasses.replace(
        middle,
        geometry=dataclasses.replace(middle.geometry, kind="recurrent", recurrent_weights=64),
        recurrent_events=jnp.full(1, 0.2 * 3 * 8),
    )
    last = dense(8, 3, steps=4, rate=0.2, spiking=False, name="last")
    work = Workload((first, middle, last))
    result = ratio_at(MESH, steps=4, rate=0.2, layers=[layer.geometry for layer in work])
    assert result == pytest.approx(float(qnn_ratio(work, MESH)[0]), rel=1e-6)


def test_ratio_by_layer():
    work = Workload(
        tuple(dense(64, 32, steps=5, rate=jnp.asarray([r, 0.3]), name=str(r)) for r in (0.02, 0.5))
    )
    result = ratio_by_layer(work, MESH)
    assert result.shape == (2, 2)
    for index, layer in enumerate(work):
        alone = qnn_ratio(Workload((layer,)), MESH)
        np.testing.assert_allclose(result[:, index], alone, rtol=1e-6)
    silent = Workload((dense(64, 32, steps=5, rate=0.0, rate_out=0.1),))
    assert np.isposinf(ratio_by_layer(silent, get("compute-only-45nm"))[0, 0])


BAD = [
    ({"rate": 1.5}, "rate"),
    ({"rate": -0.1}, "rate"),
    ({"rate": float("nan")}, "rate"),
    ({"neurons": 0}, "neurons"),
    ({"steps": 0}, "steps"),
    ({"active": 2}, "active"),
    ({"bits": 0}, "bits"),
    ({"weight_bits": 0}, "weight_bits"),
    ({"sram_pj_per_bit": -1}, "sram_pj_per_bit"),
    ({"wieght_bits": 4}, "has no 'wieght_bits'.*weight_bits"),
    ({"queue_events": 4}, "has no 'queue_events'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_number_is_named(change, message):
    point = {"steps": 5, "rate": 0.1, **WIDE} | change
    with pytest.raises(ValueError, match=message):
        ratio_at(MESH, **point)
    ((name, value),) = change.items()
    rest = {key: number for key, number in point.items() if key != name}
    with pytest.raises(ValueError, match=message):
        regime_map(MESH, {name: [value]}, **rest)


def test_incomplete_points_and_ranges_are_refused():
    with pytest.raises(ValueError, match=r"no \['rate'\]"):
        ratio_at(MESH, steps=5, **WIDE)
    with pytest.raises(ValueError, match="leave it out"):
        break_even(MESH, "rate", steps=5, rate=0.1, **WIDE)
    with pytest.raises(ValueError, match="give low and high"):
        break_even(MESH, "hops", steps=5, rate=0.1, **WIDE)
    with pytest.raises(ValueError, match="0 < low < high"):
        break_even(MESH, "hops", low=2, high=1, steps=5, rate=0.1, **WIDE)
    with pytest.raises(ValueError, match="rate <= 1"):
        break_even(MESH, "rate", high=2, steps=5, **WIDE)
    with pytest.raises(ValueError, match="in place of fan_in and neurons"):
        ratio_at(MESH, steps=5, rate=0.1, layers=command.vgg16(), **WIDE)
    with pytest.raises(ValueError, match="one layer or more"):
        ratio_at(MESH, steps=5, rate=0.1, layers=())
    with pytest.raises(ValueError, match="one or more numbers"):
        regime_map(MESH, {"rate": []}, steps=5, **WIDE)
    with pytest.raises(ValueError, match="of one length"):
        sweep(MESH, {"rate": [0.1], "hops": [1, 2]}, steps=5, **WIDE)
    with pytest.raises(ValueError, match="cannot differ and stay the same"):
        regime_map(MESH, {"rate": [0.1]}, steps=5, rate=0.1, **WIDE)


def test_a_layer_that_does_not_fit_is_refused():
    small = get("classical-45nm").with_design(local_bytes=64, global_bytes=64, dram_bytes=64)
    with pytest.raises(ValueError, match="dram_bytes"):
        rate(small, 5, **WIDE)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    config = command.Config(
        hardware="yan-v1-event",
        fan_in=256,
        neurons=64,
        steps=(2, 6),
        weight_bits=(4, 8),
        hops=(1,),
        targets=(1, 64),
        densities=(25, 50, 100),
        resolution=8,
        out=str(folder),
    )
    return folder, command.main(config)


def test_the_command_writes_maps_and_figures(written, capsys):
    folder, result = written
    assert (folder / "yan-v1-event.png").stat().st_size > 10_000
    stored = json.loads((folder / "yan-v1-event.json").read_text())
    assert stored["targets_per_message"] == 1 and "DERIVED" not in stored["machine"]
    assert set(stored["break_even"]) == {"steps", "weight_bits", "hops", "targets_per_message"}
    grid = stored["maps"]["fan_in"]
    assert np.shape(grid["ratio"]) == (8, 8)
    machine = get("yan-v1-event")
    with jax.enable_x64(True):
        point = {"fan_in": grid["fan_in"][2], "rate": grid["rate"][5], "neurons": 64, "steps": 5}
        expected = float(ratio_at(machine, **point))
    assert grid["ratio"][2][5] == pytest.approx(expected, rel=1e-9)
    assert "targets_per_message = 1" in command.text(result)


def test_the_command_finds_spikes_per_synapse_by_density(written):
    _, result = written
    actual = result["by_density"]
    machine = get("yan-v1-event")
    with jax.enable_x64(True):
        for window, row in actual["spikes_per_synapse_by_steps"].items():
            assert row == sorted(row)
            share = actual["density"][1]
            s = rate(machine, int(window), 256, 64, active=share)
            assert row[1] == pytest.approx(int(window) * float(s), rel=1e-9)
        for window, shares in actual["density_of_the_published_by_steps"].items():
            for x, share in zip((0.45, 0.48), shares, strict=True):
                back = rate(machine, int(window), 256, 64, active=share)
                assert int(window) * float(back) == pytest.approx(x, rel=1e-6)


@pytest.mark.parametrize(("name", "moves"), [("classical-45nm", True), ("event-45nm", False)])
def test_the_command_maps_technologies(name, moves, tmp_path):
    """At its own node a machine is itself; DRAM does not shrink with logic, so its loads weigh."""
    small = {"steps": (5,), "weight_bits": (8,), "hops": (1,), "targets": (1,), "resolution": 3}
    options = {"hardware": name, "fan_in": 64, "neurons": 64, **small}
    result = command.main(
        command.Config(**options, node_from_nm=45.0, nodes=(7, 45), out=str(tmp_path))
    )
    table, drawn = result["break_even"]["node_nm"], result["maps"]["node_nm"]
    assert table["values"] == [7, 45] and len(table["winner"]) == 2
    small_node, own = drawn["ratio"]
    assert own == pytest.approx(
        [float(ratio_at(get(name), steps=5, rate=r, fan_in=64, neurons=64)) for r in drawn["rate"]],
        rel=1e-4,
    )
    assert (small_node != pytest.approx(own, rel=1e-3)) is moves


def test_vgg16_has_its_weights_and_connections():
    layers = command.vgg16()
    assert sum(g.weights for g in layers) == 14_710_464 + 512 * 10
    assert sum(g.neurons * g.fan_in for g in layers) == 313_201_664
    # A 3 x 3 window on n x n pixels with borders of zeros: 3n - 2 true edges an axis.
    sides = [32] * 2 + [16] * 2 + [8] * 3 + [4] * 3 + [2] * 3
    channels = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    pairs = itertools.pairwise(channels)
    edges = [a * b * (3 * n - 2) ** 2 for (a, b), n in zip(pairs, sides, strict=True)]
    assert [g.synapses for g in layers] == [*edges, 5120]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"densities": (120,)}, "densities"),
        ({"steps": (0, 1)}, "steps"),
        ({"network": "resnet"}, "network"),
        ({"design": "weight_bits"}, "design parameter=number"),
        ({"design": "cores=3"}, "no design parameter"),
        ({"hardware": "nowhere"}, "unknown hardware"),
    ],
)
def test_the_command_refuses(flags, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        command.main(command.Config(**{"out": str(tmp_path)} | flags))
