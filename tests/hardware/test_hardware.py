"""Constants with sources, design parameters with bounds, prices without a spike."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsnn.hardware import Constant, Design, Hardware, Technology, get, machines
from jsnn.hardware.actions import COMPONENTS, EVENTS
from jsnn.hardware.architectures import ComputeOnly, Hierarchy
from jsnn.hardware.architectures.hierarchy import access_pj, add_pj, mul_pj
from jsnn.hardware.constant import PROVENANCES
from jsnn.workload.analytic import dense

NAMES = tuple(machines())
LAYERS = [
    dense(30, 20, steps=4, rate=0.1, input_kind=k, multiplies=1)
    for k in ("spikes", "analog", "constant")
]
LAYERS.append(
    dataclasses.replace(
        LAYERS[0],
        geometry=dataclasses.replace(
            LAYERS[0].geometry, kind="conv", fan_in=9, fan_out_area=9, output_shape=(5, 2, 2)
        ),
    )
)


def test_a_constant_needs_unit_source_and_mark():
    for bad in ({"unit": ""}, {"source": " "}, {"provenance": "MAYBE"}, {"value": -1.0}):
        fields = {"value": 1.0, "unit": "pJ", "source": "paper", "provenance": "EXACT"} | bad
        with pytest.raises(ValueError):
            Constant(**fields)
    with pytest.raises(ValueError, match="finite"):
        Constant(float("nan"), "pJ", "paper", "EXACT")


@pytest.mark.parametrize("name", NAMES)
def test_every_constant_of_a_preset_is_sourced_and_used(name):
    machine = get(name)
    assert set(machine.technology.constants) == set(machine.architecture.constants)
    for constant in machine.technology.constants.values():
        assert constant.source and constant.unit and constant.provenance in PROVENANCES
    assert set(machine.design.parameters) == set(machine.architecture.parameters)


def _all_prices(machine):
    return [
        p
        for l in LAYERS
        for t in machine.prices(l.geometry)
        for r in t.values()
        for p in np.ravel(list(r.values())).tolist()
    ]


# What a design parameter is moved to; one more than it was, where nothing is said.
ELSEWHERE = {
    "weight_fetch_share": 0.5,
    "temporal_reuse": 0.5,
    "zero_skipping": 0.5,
    "targets_per_message": 3.0,
    "local_bytes": 1.0,
    "pes": 1.0,
    "pe_state_bytes": 0.0,
}
# Design parameters that bound what fits, or the time it takes: they have tests of their own.
NO_PRICE = {"dram_bytes", "global_bytes", "cores", "core_neurons", "clock_hz"}
CAPACITIES = {"local_bytes", "queue_events", "core_weight_bytes", "core_state_bytes"}
# Where movement is free, or memory costs the same at every level.
FREE = {
    "neuromorphic-22nm-minimum": {"hops", "targets_per_message"},
    "yan-v1-classical": CAPACITIES,
    "yan-v1-event": CAPACITIES,
    "yan-v1-spatial": CAPACITIES,
    "eyeriss-65nm": {"queue_events"},
}


def _with_small_memories(machine):
    sizes = {"pe_state_bytes": 1, "local_bytes": 128, "batch": 2}
    return machine.with_design(**{k: v for k, v in sizes.items() if k in machine.design.parameters})


@pytest.mark.parametrize("name", NAMES)
def test_every_constant_and_parameter_moves_a_price(name):
    """As it is, or with memories so small that every level holds something."""
    machines = get(name), _with_small_memories(get(name))

    def moves(change):
        return any(_all_prices(change(m)) != _all_prices(m) for m in machines)

    for constant, known in get(name).technology.constants.items():
        other = {constant: 1.5 * known.value + 0.1}
        assert moves(lambda m, other=other: m.with_constants(**other)), constant
    for parameter, value in get(name).design.parameters.items():
        if parameter in NO_PRICE | FREE.get(name, set()):
            continue
        if parameter == "pes" and get(name).architecture.name != "spatial":
            continue
        other = {parameter: ELSEWHERE.get(parameter, value + 1)}
        assert moves(lambda m, other=other: m.with_design(**other)), parameter


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda l: l.geometry.kind + l.geometry.input_kind)
def test_price_tables_use_known_events_and_priced_components(name, layer):
    machine = get(name)
    unpriced = dict(machine.unpriced)
    for table in machine.prices(layer.geometry):
        assert set(table) <= set(EVENTS)
        for row in table.values():
            assert set(row) <= set(COMPONENTS) - set(unpriced)
            assert all(np.all(np.asarray(price) >= 0) for price in row.values())


def test_published_operations():
    technology = get("hierarchy-45nm").technology
    assert add_pj(technology, 8) == pytest.approx(0.03)
    assert add_pj(technology, 32) == pytest.approx(0.1)
    assert mul_pj(technology, 8, 8) == pytest.approx(0.2)
    assert mul_pj(technology, 32, 32) == pytest.approx(3.1)
    assert 0 < add_pj(technology, 1) < 0.03 and 0 < mul_pj(technology, 1, 1) < 0.2


@pytest.mark.parametrize(("kibibytes", "pj"), [(8, 13.9), (32, 16.06), (1024, 104.6)])
def test_ram_regression(kibibytes, pj):
    technology = get("hierarchy-45nm").technology
    assert access_pj(technology, kibibytes * 1024 * 8) == pytest.approx(pj, rel=4e-3)


def test_unknown_names_say_what_is_valid():
    with pytest.raises(ValueError, match=r"hierarchy-45nm.*valid"):
        get("hierarchy-45m")
    with pytest.raises(ValueError, match="no design parameter"):
        get("compute-only-45nm").with_design(hops=2)
    with pytest.raises(ValueError, match="ram_base_pj"):
        get("compute-only-45nm").with_constants(ram_base_pj=1.0)
    with pytest.raises(ValueError, match="add_fp32_pj"):
        Hardware("x", ComputeOnly(), Technology({}), Design())
    with pytest.raises(ValueError, match="weight_bits"):
        Hardware("x", Hierarchy(), get("hierarchy-45nm").technology, Design(state_bits=8))


@pytest.mark.parametrize(
    "parameters",
    [
        {"weight_bits": 0},
        {"hops": -1},
        {"targets_per_message": 0.5},
        {"temporal_reuse": 1.1},
        {"state_bits": float("nan")},
    ],
)
def test_parameters_have_bounds(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Design(**parameters)


@given(st.floats(1, 64), st.floats(0, 100))
def test_legal_parameters_are_kept(bits, hops):
    design = Design(weight_bits=bits, hops=hops)
    assert design.parameters == {"weight_bits": bits, "hops": hops}


@pytest.mark.parametrize("name", NAMES)
def test_hardware_is_a_pytree_of_constants_and_parameters(name):
    machine = get(name)
    leaves, structure = jax.tree.flatten(machine)
    assert len(leaves) == len(machine.technology.constants) + len(machine.design.parameters)
    assert all(isinstance(leaf, float) for leaf in leaves)
    assert jax.tree.unflatten(structure, leaves) == machine
    assert hash(structure) == hash(jax.tree.structure(machine))
    assert jax.tree.map(lambda x: x, machine).technology.constants == machine.technology.constants
    scaled = jax.jit(lambda m: jax.tree.map(lambda x: 2 * x, m))(machine)
    assert all(jnp.allclose(a, 2 * b) for a, b in zip(jax.tree.leaves(scaled), leaves, strict=True))


def test_traced_parameters_pass_and_changing_one_keeps_the_rest():
    machine = get("neuromorphic-22nm")
    geometry = LAYERS[0].geometry

    def weight_pj(bits):
        sparse, _ = machine.with_design(weight_bits=bits).prices(geometry)
        return sparse["synops"]["weight_memory"]

    assert jax.grad(weight_pj)(8.0) == pytest.approx(0.0385)
    four = machine.with_design(weight_bits=4)
    assert four.design == dataclasses.replace(machine.design, weight_bits=4)
    assert machine.design.weight_bits == 8


def test_static_energy_is_priced_only_where_power_and_latency_are_known():
    machine = get("compute-only-45nm")
    assert "static" in dict(machine.unpriced)
    power = Constant(2e-3, "W", "a data sheet", "RECALLED")
    latency = Constant(1e-6, "s", "a data sheet", "RECALLED")
    constants = machine.technology.constants | {"static_power_w": power}
    half = dataclasses.replace(machine, technology=Technology(constants))
    assert "static" in dict(half.unpriced)
    whole = dataclasses.replace(
        machine, technology=Technology(constants | {"step_latency_s": latency})
    )
    assert "static" not in dict(whole.unpriced)
    (table,) = whole.prices(LAYERS[0].geometry)
    assert table["steps"]["static"] == pytest.approx(2000.0)


def test_text_names_every_constant_with_its_source():
    for name in NAMES:
        text = str(get(name))
        for key, constant in get(name).technology.constants.items():
            assert key in text and constant.source in text and constant.provenance in text
