"""Machines of others against their own tables, their silicon and their programs."""

import ast
import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jsnn.energy import COMPONENTS, estimate_energy
from jsnn.energy.qnn import energy_ratio
from jsnn.hardware import Hardware, Technology, get, machines
from jsnn.hardware.architectures import Chip, Itemised, Sata
from jsnn.hardware.architectures.chip import VOCABULARY
from jsnn.hardware.architectures.sata import operations_pj, training_counts, training_pj
from jsnn.hardware.architectures.spikesim import cycle_pj, cycles, element_pj
from jsnn.hardware.constants import accelerators as acc
from jsnn.hardware.constants import chips
from jsnn.hardware.design import Design
from jsnn.hardware.power import affine_power_w, average_pj, energy_delay, marginal_and_static
from jsnn.hardware.presets import chips as preset_chips
from jsnn.neurons import NeuronOps
from jsnn.workload import Geometry, LayerWorkload, Workload
from jsnn.workload.analytic import dense

PJ = 1e12
CHIPS = (
    "loihi-14nm",
    "loihi-sanafe",
    "loihi-kerasspiking",
    "truenorth-28nm",
    "truenorth-average",
    "odin-28nm",
    "seneca-22nm",
    "spinnaker",
    "spinnaker2",
    "cpu-kerasspiking",
    "gpu-kerasspiking",
    "arm-kerasspiking",
)
ACCELERATORS = ("sata", "sata-published", "spikesim-rram", "spikesim-sram")
BLIND = ("sata-published", "spikesim-rram", "spikesim-sram", *CHIPS[-3:])


def test_figures_of_chips_stand_in_the_catalogue_only():
    """A preset holds no number of its own but one hop and one target."""
    written = Path(preset_chips.__file__).read_text()
    nodes = [n for n in ast.walk(ast.parse(written)) if isinstance(n, ast.Constant)]
    assert {n.value for n in nodes if isinstance(n.value, int | float)} == {1}
    assert get("loihi-14nm").design.targets_per_message == 1024
    assert get("loihi-sanafe").design.targets_per_message == 1024
    assert get("truenorth-28nm").design.core_neurons == 256
    assert get("odin-28nm").design.clock_hz == 75e6


def test_a_chip_says_what_it_prices_static_energy_included():
    for name in machines():
        assert isinstance(get(name).architecture, Itemised) == isinstance(
            get(name).architecture, Chip
        )
    for name in ("truenorth-28nm", "odin-28nm"):
        assert "static" in get(name).architecture.priced
        assert "static" not in dict(get(name).unpriced)
    mute = Chip(("synop_pj",), tuple((c, "unknown") for c in COMPONENTS[1:] if c != "static"))
    bare = Hardware("mute", mute, Technology({"synop_pj": chips.ODIN["synop_pj"]}), Design())
    assert "static" in dict(bare.unpriced)


def total_pj(name, *layers):
    with jax.enable_x64(True):
        return float(estimate_energy(Workload(layers), get(name)).total_pj()[0])


def parts_pj(machine, *layers):
    with jax.enable_x64(True):
        parts = estimate_energy(Workload(layers), machine).components_pj()[0].tolist()
    return dict(zip(COMPONENTS, parts, strict=True))


def layer(kind="dense", input_kind="spikes", seed=0, steps=5, spiking=True):
    """Counts drawn at random, two samples."""
    draw = np.random.default_rng(seed).integers
    shape = (4, 4, 6) if kind == "conv" else (9,)
    neurons = math.prod(shape)
    fan_outs = (20, 30) if kind == "conv" else (neurons,)
    events = lambda *axes: jnp.asarray(draw(1, 50, (2, *axes)), jnp.result_type(float))  # noqa: E731
    recurrent = events() if kind == "recurrent" else jnp.zeros(2)
    return LayerWorkload(
        events_by_fan_out=events(len(fan_outs)),
        active=events(len(fan_outs)),
        recurrent_events=recurrent,
        spikes=events(*shape) * spiking,
        steps=steps,
        geometry=Geometry(
            name=f"{kind}-{input_kind}",
            kind=kind,
            input_kind=input_kind,
            spiking=spiking,
            fan_outs=fan_outs,
            inputs_by_fan_out=(26, 6) if kind == "conv" else (32,),
            neurons=neurons,
            fan_in=18 if kind == "conv" else 32,
            fan_out_area=9 if kind == "conv" else 1,
            weights=108 if kind == "conv" else 32 * neurons,
            biases=0,
            recurrent_weights=neurons**2 if kind == "recurrent" else 0,
            ops=NeuronOps(2, multiplies=2, adds=1, compares=1, adds_per_spike=1),
            output_shape=shape,
        ),
    )


def conv(inputs, outputs, size, kernel=3, sparsity=0.9, steps=4):
    """A convolution whose every input reaches a whole kernel, as the published programs count."""
    pixels, area = inputs * size**2, kernel**2
    l = layer("conv", steps=steps)
    geometry = dataclasses.replace(
        l.geometry,
        fan_outs=(area * outputs,),
        inputs_by_fan_out=(pixels,),
        neurons=outputs * size**2,
        fan_in=area * inputs,
        fan_out_area=area,
        weights=area * inputs * outputs,
        ops=l.geometry.ops._replace(state_words=1),
        output_shape=(size, size, outputs),
    )
    events_by_fan_out = jnp.full((1, 1), (1 - sparsity) * pixels * steps, jnp.result_type(float))
    return dataclasses.replace(
        l,
        events_by_fan_out=events_by_fan_out,
        active=jnp.full((1, 1), pixels * 0.5),
        recurrent_events=jnp.zeros(1),
        spikes=jnp.zeros((1, size, size, outputs)),
        geometry=geometry,
    )


# ---- what every machine here owes


def test_the_families_are_listed_with_a_line_each():
    lines = machines()
    assert set(CHIPS) | set(ACCELERATORS) <= set(lines)
    assert all(lines[name].strip() and "\n" not in lines[name] for name in lines)


@pytest.mark.parametrize("name", CHIPS + ACCELERATORS)
def test_a_component_is_priced_or_has_a_reason(name):
    machine = get(name)
    priced = set()
    for kind in ("dense", "conv", "recurrent"):
        for input_kind in ("spikes", "analog", "constant"):
            for table in machine.prices(layer(kind, input_kind).geometry):
                priced |= {c for row in table.values() for c in row}
    unpriced = dict(machine.unpriced)
    assert len(unpriced) == len(machine.unpriced)
    assert priced.isdisjoint(unpriced) and priced | set(unpriced) >= set(COMPONENTS)
    assert all(reason.strip() for reason in unpriced.values())


@pytest.mark.parametrize("name", CHIPS + ACCELERATORS)
def test_units_agree_with_names(name):
    endings = {"_pj": "pJ", "_s": "s", "_w": "W", "_hz": "W/Hz", "_cycles": "cycles"}
    for constant, c in get(name).technology.constants.items():
        (unit,) = (u for ending, u in endings.items() if constant.endswith(ending))
        assert c.unit == unit
        assert c.low is None or c.low <= c.value <= c.high


@pytest.mark.parametrize("name", BLIND)
def test_blind_machines_do_not_see_a_spike(name):
    quiet, busy = (dense(30, 20, steps=4, rate=r) for r in (0.01, 0.9))
    assert total_pj(name, quiet) == total_pj(name, busy) > 0


@pytest.mark.parametrize("name", sorted({*CHIPS, *ACCELERATORS} - set(BLIND)))
def test_all_others_pay_for_spikes(name):
    quiet, busy = (dense(30, 20, steps=4, rate=r) for r in (0.01, 0.9))
    assert 0 < total_pj(name, quiet) < total_pj(name, busy)


@pytest.mark.parametrize("name", ["loihi-14nm", "truenorth-28nm", "odin-28nm", *ACCELERATORS[::2]])
def test_elasticities_are_true_derivatives(name):
    """Relative changes of constants and parameters, off the steps of whole messages and cores."""
    with jax.enable_x64(True):
        steps = {"targets_per_message": 1.3, "core_neurons": 7.3, "crossbar": 7.3}
        machine = get(name)
        known = {
            parameter: v
            for parameter, v in steps.items()
            if parameter in machine.architecture.parameters
        }
        leaves, structure = jax.tree.flatten(machine.with_design(**known))
        work = Workload((layer("conv"), layer("recurrent"), layer("dense", "constant")))

        def log_total(factors):
            scaled = [f * leaf for f, leaf in zip(factors, leaves, strict=True)]
            return jnp.log(
                estimate_energy(work, jax.tree.unflatten(structure, scaled)).total_pj()
            ).sum()

        ones = [jnp.ones(()) for _ in leaves]
        check_grads(log_total, (ones,), order=1, modes=("rev",), eps=1e-5, rtol=1e-5)


# ---- chips: numbers and rules

EXACT = {
    "loihi-sanafe": {
        "synop_pj": 35.5,
        "conv_synop_pj": 24.0,
        "neuron_pj": 51.2,
        "update_pj": 21.6,
        "spike_pj": 69.3,
        "message_pj": 111.0,
    },
    "seneca-22nm": {
        "arithmetic_pj": 1.4,
        "compare_pj": 1.2,
        "load_pj": 3.7,
        "store_pj": 3.9,
        "capture_pj": 0.5,
        "event_pj": 1.1,
        "message_pj": 2.0,
    },
    "loihi-kerasspiking": {"synop_pj": 27.1, "neuron_pj": 81.0},
    "spinnaker": {"synop_pj": 13.3e3, "neuron_pj": 26e3},
    "spinnaker2": {"synop_pj": 450.0, "neuron_pj": 2.19e3},
    "cpu-kerasspiking": {"pass_synapse_pj": 8.6e3, "pass_neuron_pj": 8.6e3},
    "gpu-kerasspiking": {"pass_synapse_pj": 0.3e3, "pass_neuron_pj": 0.3e3},
    "arm-kerasspiking": {"pass_synapse_pj": 0.9e3, "pass_neuron_pj": 0.9e3},
    "sata": {
        "multiply_pj": 0.239,
        "accumulate_pj": 0.0389,
        "add_pj": 0.00967,
        "and_pj": 0.000794,
        "compare_pj": 0.00309,
        "mux_pj": 0.00172,
        "register_pj": 0.0301,
        "shift_pj": 0.00605,
        "dram_pj": 55.58,
        "sram_pj": 1.95,
        "scratchpad_pj": 0.2779,
    },
    "spikesim-rram": {
        "crossbar_pj": 1.76423,
        "tile_buffer_pj": 397.0,
        "temp_buffer_pj": 0.2,
        "subtract_pj": 1.15e-6,
        "adc_pj": 2.03084,
        "htree_pj": 19.64,
        "mux_pj": 0.094245,
        "fetch_pj": 4.64,
        "neuron_pj": 1.274,
    },
}
SECONDARY = {
    "loihi-14nm": {
        "synop_pj": 23.6,
        "neuron_pj": 52.0,
        "firing_neuron_pj": 81.0,
        "message_pj": 1.7,
    },
    "truenorth-28nm": {"step_latency_s": 1e-3},
    "truenorth-average": {"synop_pj": 26.0},
    "odin-28nm": {
        "synop_pj": 8.43,
        "leakage_power_w": 27.3e-6,
        "idle_power_w_per_hz": 1.78e-12,
        "synop_cycles": 2.0,
    },
}


@pytest.mark.parametrize("provenance", ["EXACT", "SECONDARY"])
def test_published_constants(provenance):
    """All constants with such a provenance, none more and none less."""
    expected = {"EXACT": EXACT, "SECONDARY": SECONDARY}[provenance]
    result = {
        name: {
            key: c.value
            for key, c in get(name).technology.constants.items()
            if c.provenance == provenance
        }
        for name in (*CHIPS, "sata", "spikesim-rram")
    }
    assert {name: values for name, values in result.items() if values} == {
        name: pytest.approx(values, rel=1e-12) for name, values in expected.items()
    }
    assert get("spikesim-sram").technology["crossbar_pj"] == 671.089
    assert chips.LOIHI_DAVIES["hop_pj"].value == (3.0 + 4.0) / 2
    assert chips.LOIHI_SANAFE["hop_pj"].value == pytest.approx((3.0 + 4.2) / 2)


def test_survey():
    published = (12.7, 5.3, 26, 2.5, 1.54, 20, 23.6, 45, 10, 2.8)
    assert tuple(c.value for c in chips.SURVEY_PJ_PER_SYNOP.values()) == published
    assert all(c.provenance == "EXACT" for c in chips.SURVEY_PJ_PER_SYNOP.values())


def hand_loihi(l, b):
    g = l.geometry
    into = [math.ceil(reach / 7) for reach in g.fan_outs]
    sent = sum(float(n) * m for n, m in zip(l.events_by_fan_out[b], into, strict=True))
    sent += float(l.recurrent_events[b]) * math.ceil(g.neurons / 7)
    connected = float(sum(n * r for n, r in zip(l.events_by_fan_out[b], g.fan_outs, strict=True)))
    connected += float(l.recurrent_events[b]) * g.neurons
    return {
        "synapse": connected * 23.6,
        "neuron": g.neurons * l.steps * 52 + float(l.spikes[b].sum()) * (81 - 52),
        "routing": sent * (1.7 + 2 * 3.5),
    }


@pytest.mark.parametrize("kind", ["dense", "conv", "recurrent"])
@pytest.mark.parametrize("input_kind", ["spikes", "analog", "constant"])
def test_loihi_by_hand(kind, input_kind):
    """Two hops, seven targets a message; a real-valued word pays as a spike does."""
    l = layer(kind, input_kind, seed=3)
    machine = get("loihi-14nm").with_design(hops=2, targets_per_message=7)
    parts = estimate_energy(Workload((l,)), machine).parts_pj
    for b in range(2):
        result = dict(zip(COMPONENTS, parts[b, 0].tolist(), strict=True))
        expected = hand_loihi(l, b)
        assert result == pytest.approx({c: expected.get(c, 0.0) for c in COMPONENTS}, rel=1e-6)
    assert dict(machine.unpriced)["multiplication"]


def test_loihi_of_sanafe_by_hand():
    flat, deep = layer("dense"), layer("conv")
    machine = get("loihi-sanafe").with_design(hops=3, targets_per_message=8)
    result = parts_pj(machine, flat)
    synops, arrived = float(flat.synops[0]), float(flat.events_by_fan_out[0, 0])
    fires = float(flat.spikes[0].sum())
    assert result["synapse"] == pytest.approx(synops * 35.5)
    assert result["neuron"] == pytest.approx(9 * 5 * (51.2 + 21.6) + fires * 69.3)
    assert result["routing"] == pytest.approx(arrived * 2 * (111 + 3 * 3.6))
    assert parts_pj(machine, deep)["synapse"] == pytest.approx(float(deep.synops[0]) * 24.0)


def test_a_published_mac_takes_the_place_of_the_lower_bound():
    machine = get("loihi-kerasspiking")
    constants = machine.technology.constants
    constants = constants | {"mac_pj": dataclasses.replace(constants["synop_pj"], value=100.0)}
    reasons = machine.architecture.reasons
    rich = Hardware("rich", Chip(tuple(constants), reasons), Technology(constants), Design())
    l = layer("dense", "analog")
    assert parts_pj(machine, l)["synapse"] == pytest.approx(27.1 * float(l.macs[0]))
    assert parts_pj(rich, l)["synapse"] == pytest.approx(100.0 * float(l.macs[0]))
    assert "multiplication" in dict(machine.unpriced)
    assert "multiplication" not in dict(rich.unpriced)


@settings(max_examples=12)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.floats(0, 1), st.booleans())
def test_kerasspiking_formula(inputs, neurons, steps, rate, bias):
    """E = synop · connections · rate · dt · steps + neuron · neurons · steps."""
    l = dense(inputs, neurons, steps=steps, rate=rate, bias=bias)
    devices = {
        "loihi-kerasspiking": ((23.6 + 3.5) * 1e-12, 81e-12),
        "spinnaker": (13.3e-9, 26e-9),
        "spinnaker2": (450e-12, 2.19e-9),
    }
    for name, (synop, neuron) in devices.items():
        joule = synop * inputs * neurons * rate * steps + neuron * neurons * steps
        assert total_pj(name, l) / PJ == pytest.approx(joule, rel=1e-6)


def test_kerasspiking_processors():
    """Dense 784 to 128 on a CPU: 8.64e-4 J, whatever the spikes, steps and kind of input."""
    for options in ({"rate": 0.1, "steps": 1}, {"rate": 0.9, "steps": 50}):
        joule = total_pj("cpu-kerasspiking", dense(784, 128, **options)) / PJ
        assert f"{joule:.2e}" == "8.64e-04"
        assert joule == pytest.approx(8.6e-9 * (784 * 128 + 128))
    work = Workload((dense(784, 128, steps=5, rate=0.1),))
    assert float(energy_ratio(work, get("gpu-kerasspiking"))[0]) == pytest.approx(1.0)
    cpu, gpu, arm = (
        total_pj(f"{d}-kerasspiking", dense(9, 8, steps=1, rate=0)) for d in ("cpu", "gpu", "arm")
    )
    assert cpu / gpu == pytest.approx(8.6 / 0.3) and cpu / arm == pytest.approx(8.6 / 0.9)


def test_a_chip_is_complete():
    loihi = get("loihi-14nm").architecture
    with pytest.raises(ValueError, match="weight_memory"):
        Chip(loihi.constants, loihi.reasons[1:])
    with pytest.raises(ValueError, match=r"\['synapse'\] have both"):
        Chip(loihi.constants, (*loihi.reasons, ("synapse", "why not")))
    with pytest.raises(ValueError, match="synopsis_pj"):
        Chip(("synopsis_pj",))
    with pytest.raises(ValueError, match="found none"):
        Chip(())
    with pytest.raises(ValueError, match="belong together"):
        Chip(("core_static_power_w",))
    with pytest.raises(ValueError, match="'firing_neuron_pj' needs 'neuron_pj'"):
        Chip(("firing_neuron_pj",))
    assert set(VOCABULARY.values()) <= set(COMPONENTS)
    assert loihi.parameters == ("targets_per_message", "hops")


# ---- silicon


def truenorth(rate_hz, seconds=1):
    """A full chip, 128 synapses on each neuron, steps of a millisecond."""
    neurons = int(chips.TRUENORTH_CHIP["neurons"].value)
    return dense(128, neurons, steps=1000 * seconds, rate=rate_hz * 1e-3, rate_out=0)


def test_truenorth_line():
    points = [(1_048_576 * 128 * hz, watt) for hz, watt in ((11.58, 68e-3), (95.93, 94e-3))]
    pj, watt = marginal_and_static(*points)
    assert pj == pytest.approx(2.297, abs=5e-4) and watt == pytest.approx(64.43e-3, abs=5e-6)
    constants = get("truenorth-28nm").technology
    assert constants["synop_pj"] == pytest.approx(pj)
    assert constants["core_static_power_w"] * 4096 == pytest.approx(watt)
    with pytest.raises(ValueError, match="two different event rates"):
        marginal_and_static((1.0, 2.0), (1.0, 3.0))


@pytest.mark.parametrize(
    ("rate_hz", "error", "average_error"),
    [(11.58, 0, -0.406), (20.07, -0.0054, -0.014), (95.93, 0, 2.561)],
)
def test_truenorth_sweep(rate_hz, error, average_error):
    """The line holds out the middle point; the average of 26 pJ fails away from 20 Hz."""
    measured_w = chips.TRUENORTH_SWEEP[rate_hz].value
    affine_w = total_pj("truenorth-28nm", truenorth(rate_hz)) / PJ
    average_w = total_pj("truenorth-average", truenorth(rate_hz)) / PJ
    assert affine_w / measured_w - 1 == pytest.approx(error, abs=1e-4)
    assert average_w / measured_w - 1 == pytest.approx(average_error, abs=1e-3)


def test_truenorth_pays_for_whole_cores():
    static = [
        parts_pj(get("truenorth-28nm"), dense(5, n, steps=4, rate=0.0))["static"]
        for n in (1, 256, 257)
    ]
    joule = 4 * 1e-3 * chips.TRUENORTH_AFFINE["core_static_power_w"].value
    assert static == pytest.approx([joule * PJ, joule * PJ, 2 * joule * PJ])


def test_truenorth_efficiencies_disagree():
    c = {name: constant.value for name, constant in chips.TRUENORTH_CHIP.items()}
    synops_hz = c["neurons"] * c["mean_rate_hz"] * c["active_synapses"]
    assert synops_hz / c["low_power_w"] == pytest.approx(41.3e9, rel=1e-3)
    assert synops_hz / c["low_power_w"] == pytest.approx(c["synops_per_s_per_w"], rel=0.15)
    assert average_pj(c["average_power_w"], synops_hz) == pytest.approx(26.0, rel=0.05)
    assert 1e12 / 26.0 == pytest.approx(38.5e9, rel=1e-3)


def test_odin():
    """477 and 35 µW measured; 12.72 pJ an operation where no cycle is idle."""
    c = {name: constant.value for name, constant in chips.ODIN.items()}
    result = {
        point: affine_power_w(
            c["leakage_power_w"], ((c["synop_pj"], point[1]),), c["idle_power_w_per_hz"], point[0]
        )
        for point in chips.ODIN_POINTS
    }
    assert result[75e6, 37.5e6] * 1e6 == pytest.approx(476.93, abs=5e-3)
    for point, measured in chips.ODIN_POINTS.items():
        assert result[point] == pytest.approx(measured.value, rel=3e-3)
        average = average_pj(result[point], point[1])
        kind = {75e6: "accelerated", 1.3e6: "biological"}[point[0]]
        assert average == pytest.approx(chips.ODIN_AVERAGES_PJ[kind].value, rel=2e-3)
    l = dense(256, 256, steps=1, rate=1.0)
    parts = parts_pj(get("odin-28nm"), l)
    assert sum(parts.values()) / 256**2 == pytest.approx(12.718, abs=5e-4)
    assert parts["synapse"] / 256**2 == pytest.approx(8.43)


def test_loihi_predicts_a_board():
    """Nearest neighbours on Pohoiki Springs: 1.33 mJ a query, predicted 9 to 20 % above."""
    c = chips.LOIHI_NEAREST_NEIGHBOUR
    neurons, inputs, steps = (int(c[k].value) for k in ("neurons", "inputs", "steps"))
    errors = []
    for spikes in (c["input_spikes"].low, c["input_spikes"].high):
        l = dense(inputs, neurons, steps=steps, rate=spikes / (inputs * steps), rate_out=0)
        parts = parts_pj(get("loihi-14nm"), l)
        errors.append((parts["synapse"] + parts["neuron"]) / PJ / c["measured_j"].value - 1)
    assert errors == pytest.approx([0.089, 0.202], abs=1e-3)


def test_loihi_board_figures_agree():
    board = {name: constant.value for name, constant in chips.LOIHI_BOARD.items()}
    assert 128 * board["core_static_power_w"] == pytest.approx(
        board["chip_static_power_w"], rel=5e-3
    )


@pytest.mark.parametrize("unknowns", chips.LOIHI_LASSO)
def test_lasso(unknowns):
    row = {name: c.value for name, c in chips.LOIHI_LASSO[unknowns].items()}
    product = energy_delay(row["energy_ratio"], row["delay_ratio"])
    assert product == pytest.approx(row["energy_delay_ratio"], rel=5e-3)


def test_seneca_sums():
    """The naive programs come to what is quoted: 12.7 a synapse, 12.1 a neuron, 1.1 an event."""
    geometry = dense(9, 8, steps=1, rate=0, multiplies=1).geometry
    geometry = dataclasses.replace(geometry, ops=geometry.ops._replace(adds=1))
    (table,) = get("seneca-22nm").prices(geometry)
    quoted = {name: constant.value for name, constant in chips.SENECA_QUOTED.items()}
    assert sum(table["synops"].values()) == pytest.approx(quoted["synop_pj"])
    assert sum(table["neuron_steps"].values()) == pytest.approx(quoted["neuron_pj"])
    assert table["spikes_out"]["neuron"] - 1.4 == pytest.approx(quoted["spike_pj"])
    assert sum(table["macs"].values()) == pytest.approx(quoted["synop_pj"] + 1.4)


def test_seneca_by_hand():
    l = layer("recurrent", "constant", seed=5)
    machine = get("seneca-22nm").with_design(targets_per_message=4)
    result = parts_pj(machine, l)
    macs, fed, fires = (float(x[0]) for x in (l.macs, l.recurrent_events, l.spikes.sum(1)))
    arrived = float(l.events_by_fan_out[0, 0])
    expected = {
        "synapse": macs * 2.8 + fed * 9 * 1.4,
        "neuron": 45 * (3 * 1.4 + 1.2 + 0.5) + fires * (1.1 + 1.4),
        "weight_memory": (macs + fed * 9) * 3.7,
        "state_memory": (macs + fed * 9) * 7.6 + 45 * 2 * 7.6 + 9 * 3.9 + 45 * 3.7,
        "routing": (arrived + fed) * 3 * 2.0,
    }
    assert result == pytest.approx({c: expected.get(c, 0.0) for c in COMPONENTS}, rel=1e-6)


# ---- SpikeSim

VGG9 = tuple(
    zip(
        (3, 64, 64, 128, 128, 256, 256),
        (64, 64, 128, 128, 256, 256, 256),
        (32, 16, 16, 8, 8, 8, 4),
        strict=True,
    )
)


def test_spikesim_published():
    """VGG9 on crossbars of 64, five steps: pJ of an element and a cycle, and all cycles."""
    with jax.enable_x64(True):
        technology = get("spikesim-rram").technology
        assert element_pj(technology, 64.0, 9) == pytest.approx(32.87875, abs=5e-6)
        assert sum(cycle_pj(technology, 64.0, 9).values()) == pytest.approx(828.4861, abs=5e-5)
        layers = [conv(i, o, size, steps=5) for i, o, size in VGG9]
        counts = [int(cycles(l.geometry, 64.0)) for l in layers]
        by_hand = [math.ceil(o / 64) * math.ceil(i / 64) * size**2 for i, o, size in VGG9]
        assert counts == by_hand and sum(counts) == 3840
    assert total_pj("spikesim-rram", *layers) == pytest.approx(5 * 3840 * 828.4861, rel=1e-7)


def test_spikesim_of_other_layers():
    """Ours: dense layers, recurrence in every step, and real-valued frames bit by bit."""
    with jax.enable_x64(True):
        machine = get("spikesim-sram").with_design(crossbar=8, input_bits=3)
        one = {k: float(v) for k, v in cycle_pj(machine.technology, 8.0, 1).items()}
    forward, fed_back = 2 * 4, 2 * 2
    spikes = parts_pj(machine, layer("recurrent", "spikes", steps=5))
    analog = parts_pj(machine, layer("recurrent", "analog", steps=5))
    constant = parts_pj(machine, layer("recurrent", "constant", steps=5))
    for part, pj in one.items():
        assert spikes[part] == pytest.approx(5 * (forward + fed_back) * pj)
        bits = 1 if part == "neuron" else 3
        assert analog[part] == pytest.approx(5 * (bits * forward + fed_back) * pj)
        frames = 5 if part == "neuron" else 3
        assert constant[part] == pytest.approx((frames * forward + 5 * fed_back) * pj)


# ---- SATA

SATA_16 = {name: c.value for name, c in acc.SATA.items()}
VGG5 = ((3, 64, 32), (64, 128, 16), (128, 128, 16))


def vgg5(sparsity=0.9, steps=4):
    """The published example, its last layer without spikes."""
    body = [conv(*shape, sparsity=sparsity, steps=steps) for shape in VGG5]
    hidden = dense(8192, 1024, steps=steps, rate=1 - sparsity, name="lin4")
    last = dense(1024, 10, steps=steps, rate=1 - sparsity, spiking=False, name="lin5")
    return (*body, hidden, last)


def program(T, b, s, s_du, bugs):
    """The published program's counts for that network, from its formulas; T, b, s as there."""
    names = "lif mac pgu mac_b mac_w dram_f glb_f spad_f dram_b glb_b spad_b dram_w glb_w spad_w"
    n = dict.fromkeys(names.split(), 0.0)
    for C, K, H in VGG5:
        R2, E2, H2 = 9, H * H, H * H
        w = K * C * R2
        n["lif"] += K * E2 * T
        n["pgu"] += K * E2 * T
        n["mac"] += (1 - s) * C * R2 * K * E2 * T
        n["mac_w"] += (1 - s) * C * R2 * K * E2 * T
        n["mac_b"] += (1 - s_du) * C * R2 * K * H2 * T
        words(n, w, K * E2, C * H2, T, b)
    for nin, nout in ((8192, 1024),) if bugs else ((8192, 1024), (1024, 10)):
        w = nin * nout
        n["lif"] += nout * T
        n["pgu"] += nout * T
        if bugs:
            n["mac"] = n["mac_b"] = n["mac_w"] = w * T
        else:
            n["mac"] += (1 - s) * w * T
            n["mac_w"] += (1 - s) * w * T
            n["mac_b"] += (1 - s_du) * w * T
        words(n, w, nout, nin, T, b)
    return n


def words(n, w, out, into, T, b):
    n["dram_f"] += w + (out + into / b) * T
    n["glb_f"] += 2 * (w + (out + into / b) * T)
    n["spad_f"] += 2 * (w + T * into / b)
    n["dram_b"] += T * (out + into / b)
    n["glb_b"] += 7 * T * out + 2 * T * into / b + w
    n["spad_b"] += w + T * out
    n["dram_w"] += 2 * w
    n["glb_w"] += 2 * (1 + T) * w + T * (into / b + out)
    n["spad_w"] += 2 * (1 + T) * w + T * (into / b + out) + 2 * T * w


def stages(n, b):
    """Energies of the program's stages, pJ."""
    e = SATA_16
    lif = e["add_pj"] + e["compare_pj"] + 2 * e["mux_pj"] + 3 * e["register_pj"] + e["shift_pj"]
    pgu = e["multiply_pj"] + 2 * e["add_pj"] + e["mux_pj"] + 2 * e["shift_pj"]
    spike, product = e["accumulate_pj"] + e["and_pj"], e["multiply_pj"] + e["accumulate_pj"]
    memory = lambda k: sum(  # noqa: E731
        n[f"{m}_{k}"] * e[f"{name}_pj"]
        for m, name in (("dram", "dram"), ("glb", "sram"), ("spad", "scratchpad"))
    )
    return {
        "forward": b / 16 * (n["lif"] * lif + n["mac"] * spike + memory("f")),
        "backward": n["pgu"] * pgu + n["mac_b"] * product + memory("b"),
        "update": n["mac_w"] * spike + memory("w"),
    }


def test_sata_operations():
    published = {"lif": 0.11255, "spike_mac": 0.039694, "mac": 0.2779, "pgu": 0.27216}
    result = operations_pj(get("sata").technology)
    assert result == pytest.approx(published | {"update_mac": 0.039694}, abs=5e-7)


@pytest.mark.parametrize("bugs", [False, True])
@pytest.mark.parametrize(("T", "b"), [(4, 2), (8, 8)])
def test_sata_training(T, b, bugs):
    """The example of the published program (T = 4, b = 2) with and without its errors."""
    with jax.enable_x64(True):
        layers = vgg5(steps=T)
        technology = get("sata").technology
        result = training_pj(technology, layers, b, gradient_sparsity=0.7, published_bugs=bugs)
        expected = stages(program(T, b, 0.9, 0.7, bugs), b)
        for stage, pj in expected.items():
            assert float(np.ravel(result[stage])[0]) == pytest.approx(pj, rel=1e-9), stage


@pytest.mark.parametrize("bugs", [False, True])
def test_sata_inference_is_the_forward_stage(bugs):
    with jax.enable_x64(True):
        layers = vgg5()
        architecture = Sata(published_bugs=bugs)
        machine = dataclasses.replace(get("sata"), architecture=architecture)
        result = estimate_energy(Workload(layers), machine.with_design(weight_bits=2)).total_pj()[0]
        expected = stages(program(4, 2, 0.9, 0.7, bugs), 2)["forward"]
        assert float(result) == pytest.approx(expected, rel=1e-9)


def test_sata_errors_of_the_program():
    """With them the hidden dense layer alone accumulates, at every connection and step."""
    right, wrong = (program(4, 2, 0.9, 0.7, bugs)["mac"] for bugs in (False, True))
    with jax.enable_x64(True):
        counts = [
            training_counts(
                [(l.geometry, float(l.synops[0])) for l in vgg5()], 4, 2, 0.7, published_bugs=bugs
            )
            for bugs in (False, True)
        ]
    result = [float(c["forward"]["spike_mac"]) for c in counts]
    assert result == pytest.approx([right, wrong], rel=1e-9)
    assert wrong == 8192 * 1024 * 4


def test_sata_of_other_layers():
    """Ours: real-valued frames, stored currents, several states, recurrence."""
    l = layer("recurrent", "constant", steps=5)
    machine = get("sata").with_design(weight_bits=8, input_bits=4)
    result = parts_pj(machine, l)
    dram, sram, pad = (0.5 * SATA_16[f"{m}_pj"] for m in ("dram", "sram", "scratchpad"))
    state, word = dram + 2 * sram, dram + 2 * sram + 2 * pad
    macs, fed = float(l.macs[0]), float(l.recurrent_events[0])
    expected = {
        "synapse": macs * 0.5 * 0.2779 + fed * 9 * 0.5 * 0.039694,
        "neuron": 45 * 0.5 * 0.11255,
        "weight_memory": (32 * 9 + 81) * word,
        "state_memory": 45 * 2 * state + (9 + 45) * sram,
        "activation_movement": 32 * 4 / 8 * word + 5 * 9 / 8 * word,
    }
    assert result == pytest.approx({c: expected.get(c, 0.0) for c in COMPONENTS}, rel=1e-6)


def test_sata_refuses():
    machine = get("sata").technology
    spikes, other = layer(), layer(steps=6)
    with pytest.raises(ValueError, match="dense-analog"):
        training_pj(machine, [layer("dense", "analog")], 8, 0.5)
    with pytest.raises(ValueError, match=r"\[5, 6\]"):
        training_pj(machine, [spikes, other], 8, 0.5)
    with pytest.raises(ValueError, match="no layer"):
        training_pj(machine, [], 8, 0.5)
    with pytest.raises(ValueError, match="gradient_sparsity"):
        training_pj(machine, [spikes], 8, 1.5)
    with pytest.raises(ValueError, match="one bit"):
        training_pj(machine, [spikes], 0, 0.5)
    with pytest.raises(ValueError, match="published_bugs"):
        Sata(published_bugs="yes")


def test_training_energy_has_a_gradient():
    with jax.enable_x64(True):
        layers, technology = [layer("conv"), layer()], get("sata").technology

        def log_total(bits, sparsity):
            return jnp.log(sum(training_pj(technology, layers, bits, sparsity).values())).sum()

        check_grads(log_total, (8.0, 0.7), order=1, modes=("rev",), rtol=1e-5)
