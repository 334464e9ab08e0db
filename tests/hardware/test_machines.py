"""The three machines: where tensors lie, what does not fit, how long it takes, what rises."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jsnn.energy import COMPONENTS, estimate_energy
from jsnn.energy.area import memory_area_mm2
from jsnn.energy.attribution import attribute
from jsnn.energy.counting import tally
from jsnn.energy.latency import latency
from jsnn.energy.qnn import estimate_qnn_energy, qnn_workload
from jsnn.hardware import Constant, Technology, get
from jsnn.hardware.architectures import Classical
from jsnn.hardware.arithmetic import Int8, Linear
from jsnn.hardware.memory import ByLevel
from jsnn.hardware.toml import dump
from jsnn.workload import ByStep, Workload
from jsnn.workload.analytic import dense

MACHINES = ("classical-45nm", "event-45nm", "spatial-45nm")
LAYER = dense(64, 32, steps=4, rate=0.25, name="first")


def units(machine, layer=LAYER):
    """Names of the units that do something."""
    return {unit for t in tally(layer, machine) for (unit, _, _), n in t.items() if n.sum() > 0}


@pytest.mark.parametrize(
    ("local", "level"), [(2048, "local"), (2047, "global"), (100, "global"), (0, "global")]
)
def test_weights_lie_in_the_nearest_bank_that_holds_them(local, level):
    """64 · 32 weights of 8 bits: 2,048 bytes."""
    for name in ("classical-45nm", "spatial-45nm"):
        machine = get(name).with_design(local_bytes=local, zero_skipping=0.5)
        result = {unit for unit in units(machine) if unit.startswith("weights")}
        assert result == {f"weights@{level}"}
        assert "dram" in units(machine)


def test_weights_that_fit_no_buffer_are_read_in_dram_and_never_loaded():
    machine = get("classical-45nm").with_design(local_bytes=16, global_bytes=64)
    assert "weights@dram" in units(machine)
    assert "dram" not in units(machine)
    near = estimate_energy(Workload((LAYER,)), get("classical-45nm").with_design(batch=1e9))
    far = estimate_energy(Workload((LAYER,)), machine)
    column = COMPONENTS.index("weight_memory")
    assert far.components_pj()[0, column] > 100 * near.components_pj()[0, column]


def test_states_leave_the_registers_when_these_are_full():
    """32 neurons of one 16-bit word: 64 bytes."""
    machine = get("spatial-45nm").with_design(pes=8, pe_state_bytes=8)
    assert "states@register" in units(machine)
    assert "states@local" in units(machine.with_design(pes=7))


@pytest.mark.parametrize("name", ["classical-45nm", "spatial-45nm"])
def test_a_tensor_larger_than_every_memory_is_refused_by_name(name):
    machine = get(name).with_design(dram_bytes=2047)
    with pytest.raises(ValueError, match=r"weights of layer 'first' take 2048 bytes.*dram_bytes"):
        estimate_energy(Workload((LAYER,)), machine)


def test_a_network_that_needs_more_cores_than_there_are_is_refused():
    machine = get("event-45nm").with_design(core_weight_bytes=1000, cores=3)
    with pytest.raises(ValueError, match=r"6 cores, the chip has 3: first 3, second 3"):
        estimate_energy(Workload((LAYER, dense(64, 32, steps=4, rate=0.1, name="second"))), machine)
    assert estimate_energy(Workload((LAYER,)), machine).total_pj() > 0


def test_layers_of_one_name_need_cores_each():
    machine = get("event-45nm").with_design(core_weight_bytes=1000, cores=5)
    with pytest.raises(ValueError, match=r"6 cores, the chip has 5: first 3, first 3"):
        estimate_energy(Workload((LAYER, LAYER)), machine)


def test_output_words_larger_than_dram_are_refused():
    """A layer without a state writes 4,096 words of 16 bits; its weights of 8 bits fit."""
    (layer,) = qnn_workload(Workload((dense(1, 4096, steps=1, rate=0.1),)))
    machine = get("classical-45nm").with_design(dram_bytes=4096, output_bits=16)
    with pytest.raises(ValueError, match="output words of layer 'dense' take 8192 bytes"):
        estimate_energy(Workload((layer,)), machine)


def test_states_in_registers_need_no_dram_and_stored_sums_are_counted():
    """32 words of 16 bits: 64 bytes, in registers or nowhere; a layer without a state has sums."""
    layer = dense(1, 32, steps=4, rate=0.25, name="first")
    machine = get("spatial-45nm").with_design(dram_bytes=63)
    assert estimate_energy(Workload((layer,)), machine).total_pj() > 0
    without = machine.with_design(pes=1, pe_state_bytes=1)
    for work in (Workload((layer,)), qnn_workload(Workload((layer,)))):
        with pytest.raises(ValueError, match="states of layer 'first' take 64 bytes"):
            estimate_energy(work, without)


def test_of_registers_that_are_not_known_yet_nothing_is_said():
    """Registers of 64 bytes hold the states, but under a gradient their size is no number."""
    work = Workload((dense(1, 32, steps=4, rate=0.25, name="first"),))
    machine = get("spatial-45nm").with_design(dram_bytes=63, pe_state_bytes=8)
    result = jax.value_and_grad(
        lambda pes: estimate_energy(work, machine.with_design(pes=pes)).total_pj()[0]
    )
    value, slope = result(8.0)
    assert value == estimate_energy(work, machine.with_design(pes=8.0)).total_pj()[0]
    assert jnp.isfinite(slope)


def test_messages_are_whole():
    """64 inputs at a rate of a quarter for 4 steps: 64 spikes; 32 targets."""
    for targets, messages in ((1, 32), (5, 7), (32, 1), (100, 1)):
        (counts,) = tally(LAYER, get("event-45nm").with_design(targets_per_message=targets))
        assert float(counts["link", "send", 16.0][0]) == 64 * messages


def test_each_sample_is_sent_the_cheaper_way():
    quiet, busy = dense(64, 32, steps=4, rate=0.01), dense(64, 32, steps=4, rate=0.9)
    machine = get("spatial-45nm").with_design(targets_per_message=1)
    column = COMPONENTS.index("routing")
    sent = [
        float(estimate_energy(Workload((l,)), machine).components_pj()[0, column])
        for l in (quiet, busy)
    ]
    # 2.56 spikes with an address of 6 bits, against 64 bits in each of 4 steps.
    assert sent == pytest.approx([2.56 * 32 * 7 * 0.25, 4 * 64 * 32 * 0.25])


def test_each_step_is_sent_the_cheaper_way():
    """Five inputs: one spike with an address of three bits, or five bits; then all five."""
    steps = jnp.array([[[1.0], [5.0], [0.0]]])
    zero = jnp.zeros((1, 3))
    layer = dataclasses.replace(
        dense(5, 2, steps=3, rate=6 / 15), by_step=ByStep(steps, zero, zero)
    )
    machine = get("spatial-45nm").with_design(targets_per_message=2, hops=1)
    column = COMPONENTS.index("routing")
    sent = estimate_energy(Workload((layer,)), machine).components_pj()[0, column]
    assert float(sent) == pytest.approx((4 + 5 + 0) * 0.25)
    whole = dataclasses.replace(layer, by_step=None)
    sent = estimate_energy(Workload((whole,)), machine).components_pj()[0, column]
    assert float(sent) == pytest.approx(min(6 * 4, 3 * 5) * 0.25)


@pytest.mark.parametrize("name", MACHINES)
@settings(max_examples=25, deadline=None)
@given(
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    steps=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bits=st.tuples(st.integers(1, 16), st.integers(1, 16)),
)
def test_the_energy_rises_with_rate_time_and_bits(name, rates, steps, bits):
    def total(rate, time, width):
        machine = get(name).with_design(weight_bits=width, state_bits=width + 4)
        return float(
            estimate_energy(Workload((dense(20, 9, steps=time, rate=rate),)), machine).total_pj()[0]
        )

    low, high = zip(*(sorted(pair) for pair in (rates, steps, bits)), strict=True)
    for axis in range(3):
        moved = [high[i] if i == axis else low[i] for i in range(3)]
        assert total(*low) <= total(*moved) * (1 + 1e-6)


@pytest.mark.parametrize("name", MACHINES)
def test_latency_counts_cycles_by_hand(name):
    """64 spikes, 2,048 synops, 128 neuron-steps; 256 elements; 4 steps of one hop."""
    result = latency(Workload((LAYER,)), get(name))
    expected = {
        "classical-45nm": 64 + 32 + (2048 + 128) / 256,
        "event-45nm": 64 + 2048 + 128 + 4,
        "spatial-45nm": (2048 + 128) / 256 + 4,
    }[name]
    assert float(result.cycles[0, 0]) == pytest.approx(expected)
    assert float(result.seconds[0]) == pytest.approx(expected / 200e6)


def test_layers_follow_one_another_or_work_at_once():
    work = Workload((LAYER, dense(32, 10, steps=4, rate=0.5, name="second")))
    for name, combine in (("spatial-45nm", np.sum), ("event-45nm", np.max)):
        result = latency(work, get(name))
        assert float(result.seconds[0]) == pytest.approx(combine(result.cycles[0]) / 200e6)


def test_latency_of_a_machine_without_times_is_refused():
    with pytest.raises(ValueError, match="publishes no times"):
        latency(Workload((LAYER,)), get("hierarchy-45nm"))


@pytest.mark.parametrize("name", MACHINES)
def test_static_energy_is_power_times_latency(name):
    machine = get(name)
    power = Constant(2e-3, "W", "a data sheet", "RECALLED")
    constants = machine.technology.constants | {"static_power_w": power}
    burning = dataclasses.replace(machine, technology=Technology(constants))
    assert "static" in dict(machine.unpriced) and "static" not in dict(burning.unpriced)
    work = Workload((LAYER, dense(32, 10, steps=4, rate=0.5, name="second")))
    column = COMPONENTS.index("static")
    expected = 2e-3 * latency(work, machine).seconds * 1e12
    result = estimate_energy(work, burning)
    np.testing.assert_allclose(result.components_pj()[:, column], expected, rtol=1e-6)
    np.testing.assert_allclose(
        jnp.delete(result.parts_pj, column, axis=-1),
        jnp.delete(estimate_energy(work, machine).parts_pj, column, axis=-1),
    )


@pytest.mark.parametrize("name", MACHINES)
def test_each_layer_burns_static_power_for_its_share_of_the_time(name):
    """One after another, each for its own cycles; all at once, the slowest's time shared out."""
    machine = get(name)
    power = Constant(2e-3, "W", "a data sheet", "RECALLED")
    constants = machine.technology.constants | {"static_power_w": power}
    burning = dataclasses.replace(machine, technology=Technology(constants))
    rates = jnp.array([0.25, 0.5])
    work = Workload(
        (
            dense(64, 32, steps=4, rate=rates, name="first"),
            dense(32, 10, steps=4, rate=0.5 - rates / 2, name="second"),
        )
    )
    first, second = np.moveaxis(np.asarray(latency(work, machine).cycles, float), 1, 0)
    assert (first > 1.5 * second).all()
    total = np.maximum(first, second) if machine.architecture.concurrent else first + second
    at_once = total / (first + second)
    expected_pj = 2e-3 * 1e12 * np.stack([first, second], -1) / machine.design.clock_hz
    result = estimate_energy(work, burning).parts_pj[..., COMPONENTS.index("static")]
    np.testing.assert_allclose(result, expected_pj * at_once[:, None], rtol=1e-6)


@pytest.mark.parametrize("name", MACHINES)
def test_hard_choices_keep_their_value_and_gain_a_slope(name):
    """A buffer a little too small, and messages a little too full."""
    machine = get(name)
    small = {"local_bytes": 2000.0, "targets_per_message": 31.0}
    known = {k: v for k, v in small.items() if k in machine.design.parameters}
    work = Workload((LAYER,))

    def total(parameters, temperature):
        return estimate_energy(work, machine.with_design(**parameters), temperature).total_pj()[0]

    hard, soft = (jax.value_and_grad(total)(known, t) for t in (0.0, 0.3))
    assert float(hard[0]) == pytest.approx(float(soft[0]), rel=1e-6)
    for parameter in known:
        assert np.isfinite(soft[1][parameter]) and soft[1][parameter] != hard[1][parameter], (
            parameter
        )


def test_the_qnn_runs_on_the_same_machine():
    """Each word is read once; dense weights without skipping, 1,024 active MACs with it."""
    layer = dense(64, 32, steps=4, rate=0.25, active=0.5)
    for skipping, reads in ((0, 64 * 32), (1, 32 * 32)):
        machine = get("classical-45nm").with_design(zero_skipping=skipping, batch=1e9)
        parts = estimate_qnn_energy(Workload((layer,)), machine)
        weight_pj = 10.0 / 8
        result = float(parts.components_pj()[0, COMPONENTS.index("weight_memory")])
        assert result == pytest.approx(reads * weight_pj, rel=1e-5)


@dataclasses.dataclass(frozen=True)
class TwoPicojoules:
    """A memory of a user's own: 2 pJ an access, whatever it is."""

    name = "two-picojoules"
    constants = ()

    def needs(self, levels):
        return ()

    def access_pj(self, technology, level, size_bits, bits, temperature=0.0):
        return 2.0

    write_pj = access_pj


def test_a_memory_of_ones_own():
    """100 synapses: a weight, a state read and a state written each, and a file has no name."""
    machine = get("classical-45nm")
    own = dataclasses.replace(
        machine,
        architecture=Classical(TwoPicojoules(), Int8()),
        technology=Technology(
            {
                name: constant
                for name, constant in (get("yan-v1-classical").technology.constants).items()
                if "local" not in name and "global" not in name and "queue" not in name
            }
        ),
    )
    layer = dense(10, 10, steps=1, rate=1.0)
    (table,) = own.prices(layer.geometry)
    assert table["synops"]["weight_memory"] == 2.0
    assert table["synops"]["state_memory"] == 4.0
    with pytest.raises(ValueError, match="as memory, found TwoPicojoules"):
        dump(own)


def test_names_and_classes_in_place_of_models_are_refused():
    with pytest.raises(ValueError, match=r"found 'by-level'; jsnn\.hardware\.memory\.memory"):
        Classical(memory="by-level", arithmetic=Linear())
    with pytest.raises(ValueError, match=r"BitProduct\(\), or your own"):
        Classical(memory=ByLevel(), arithmetic=Linear)


@pytest.mark.parametrize("name", MACHINES)
def test_gradients_of_rates_are_true(name):
    with jax.enable_x64(True):
        machine = get(name)

        def total(rate):
            return estimate_energy(
                Workload((dense(20, 9, steps=4, rate=rate),)), machine
            ).total_pj()[0]

        check_grads(total, (0.02,), order=1, modes=("rev",))


def test_area_counts_every_bit_once_and_grows_with_each_memory():
    """Three banks of 8 KiB and of 1 MiB and a queue of 1,024 events of 16 bits."""
    bits = 3 * (8 * 1024 + 1024**2) * 8 + 1024 * 16
    # Published cells, and the geometric mean of two halfway between them.
    halfway = math.sqrt(22 * 65)
    for node, cell_um2 in ((22, 0.1), (65, 0.57), (90, 1.0), (halfway, math.sqrt(0.1 * 0.57))):
        assert memory_area_mm2(get("classical-45nm"), node) == pytest.approx(bits * cell_um2 * 1e-6)
    for name, parameters in (
        ("event-45nm", ("core_weight_bytes", "core_state_bytes", "cores")),
        ("spatial-45nm", ("local_bytes", "global_bytes", "pes", "pe_state_bytes")),
    ):
        machine = get(name)
        for parameter in parameters:
            larger = machine.with_design(**{parameter: 2 * getattr(machine.design, parameter)})
            assert memory_area_mm2(larger, 45) > memory_area_mm2(machine, 45), parameter
    with pytest.raises(ValueError, match="area is unknown"):
        memory_area_mm2(get("odin-28nm"), 28)
    for node in (7, 21.9, 90.1):
        with pytest.raises(ValueError, match="from 22 to 90 nm"):
            memory_area_mm2(get("event-45nm"), node)


@pytest.mark.parametrize(("rate", "wins"), [(0.01, True), (0.9, False)])
def test_the_gain_of_events_is_kept_apart_from_that_of_local_memory(rate, wins):
    work = Workload((dense(64, 32, steps=4, rate=rate),))
    far, near = get("classical-45nm").with_design(local_bytes=0), get("neuromorphic-22nm")
    split = attribute(work, far, near)
    np.testing.assert_allclose(split.by_memory * split.by_events, split.in_all, rtol=1e-5)
    assert (float(split.by_events[0]) > 1) is wins
    assert ("events save" if wins else "events cost") in str(split)
    memory = float(
        (estimate_qnn_energy(work, far).total_pj() / estimate_qnn_energy(work, near).total_pj())[0]
    )
    assert float(split.by_memory[0]) == pytest.approx(memory)
