"""Memories by size, arithmetic by width, technologies by node: against numbers and plain Python."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jsnn.hardware import Constant, Technology, get
from jsnn.hardware.architectures import hierarchy
from jsnn.hardware.arithmetic import ARITHMETIC, arithmetic
from jsnn.hardware.constant import PROVENANCES
from jsnn.hardware.constants import horowitz, memories
from jsnn.hardware.constants.davidson_furber import DAVIDSON_FURBER
from jsnn.hardware.constants.lemaire import LEMAIRE_RAM
from jsnn.hardware.constants.nodes import NODES
from jsnn.hardware.constants.yan import YAN_22NM
from jsnn.hardware.memory import LEVELS, MEMORIES, memory
from jsnn.hardware.scaling import delay_factor, energy_factor, nominal_voltage_v, scale

KIB = 8 * 1024
BY_LEVEL = {
    f"{level}_pj_per_bit": Constant(price, "pJ/bit", "a data sheet", "RECALLED")
    for level, price in zip(LEVELS, (0.01, 0.2, 0.03, 0.04), strict=True)
}
TECHNOLOGY = Technology(
    LEMAIRE_RAM
    | horowitz.HOROWITZ_SRAM
    | memories.POWER_LAW_RAM
    | memories.DOSA
    | memories.ACCELERGY_EYERISS
    | BY_LEVEL
)
INTEGERS = Technology(horowitz.HOROWITZ_INT | YAN_22NM)
FAMILIES = [v for m in (horowitz, memories) for v in vars(m).values() if isinstance(v, dict) and v]
CONSTANTS = [c for v in FAMILIES for c in v.values() if isinstance(c, Constant)]
GOLDEN = [
    ("lemaire-regression", "local", 8 * KIB, 8, 13.914, 1e-3),
    ("lemaire-regression", "global", 32 * KIB, 64, 16.057, 1e-3),
    ("lemaire-regression", "core", 1024 * KIB, 1, 104.64, 1e-2),
    ("lemaire-interpolation", "local", 0, 8, 0.0, 0),
    ("lemaire-interpolation", "local", 4 * KIB, 8, 5.0, 1e-6),
    ("lemaire-interpolation", "local", 8 * KIB, 8, 10.0, 1e-6),
    ("lemaire-interpolation", "local", 20 * KIB, 8, 15.0, 1e-6),
    ("lemaire-interpolation", "local", 32 * KIB, 8, 20.0, 1e-6),
    ("lemaire-interpolation", "local", 528 * KIB, 8, 60.0, 1e-5),
    ("lemaire-interpolation", "local", 1024 * KIB, 8, 100.0, 1e-5),
    ("lemaire-interpolation", "local", 9999 * KIB, 8, 100.0, 1e-5),
    ("packed-8kb", "local", 0, 8, 1.25, 1e-6),
    ("packed-8kb", "local", 0, 5, 10 / 12, 1e-6),
    ("packed-8kb", "local", 0, 33, 10.0, 1e-6),
    ("packed-8kb", "local", 0, 64, 10.0, 1e-6),
    ("packed-8kb", "local", 0, 129, 30.0, 1e-6),
    ("horowitz-power-law", "local", 8 * KIB, 64, 10.0, 1e-5),
    ("horowitz-power-law", "local", 32 * KIB, 64, 19.3, 0.05),
    ("horowitz-power-law", "local", 1024 * KIB, 64, 100.0, 0.05),
    ("horowitz-power-law", "local", 8 * KIB, 8, 1.25, 1e-6),
    ("dosa", "global", 128 * KIB, 8, 0.49 + 0.02513 * 128, 1e-5),
    ("dosa", "local", 4 * KIB, 8, 1.94 + 0.1005 * 4, 1e-5),
    ("by-level", "global", 5, 8, 1.6, 1e-6),
    ("by-level", "core", 5, 8, 0.32, 1e-6),
    ("accelergy", "local", 192, 16, 0.202, 1e-6),
    ("accelergy", "core", 3072, 16, 1.977, 1e-6),
    ("accelergy", "global", 128 * KIB, 64, 18.18, 1e-5),
    ("accelergy", "queue", 128 * KIB, 16, 18.18 / 4, 1e-5),
]


@pytest.mark.parametrize(("name", "level", "size", "bits", "expected", "error"), GOLDEN)
def test_published_accesses(name, level, size, bits, expected, error):
    result = memory(name).access_pj(TECHNOLOGY, level, float(size), float(bits))
    assert float(result) == pytest.approx(expected, abs=error)


def test_only_accelergy_writes_at_another_price():
    for name, model in MEMORIES.items():
        for level in LEVELS:
            read = model.access_pj(TECHNOLOGY, level, 3072.0, 16.0)
            write = model.write_pj(TECHNOLOGY, level, 3072.0, 16.0)
            assert (float(read) == float(write)) == (name != "accelergy")
    accelergy = memory("accelergy")
    assert accelergy.write_pj(TECHNOLOGY, "global", 0.0, 64.0) == pytest.approx(14.14)
    assert accelergy.write_pj(TECHNOLOGY, "local", 192.0, 16.0) == pytest.approx(0.177)
    assert accelergy.write_pj(TECHNOLOGY, "local", 3072.0, 16.0) == pytest.approx(1.882)


def test_the_line_through_two_register_files_meets_the_third():
    third = memory("accelergy").access_pj(TECHNOLOGY, "local", 256.0, 16.0)
    assert third == pytest.approx(memories.ACCELERGY_REST["psum_file_read_pj"].value, rel=0.05)


@pytest.mark.parametrize("name", MEMORIES)
def test_a_model_is_made_of_the_constants_it_names(name):
    model = MEMORIES[name]
    assert model.name == name and hash(model) == hash(type(model)())
    for level in LEVELS:
        only = Technology({c: TECHNOLOGY.constants[c] for c in model.needs([level])})
        before = float(model.access_pj(only, level, 12.0 * KIB, 7.0))
        before += float(model.write_pj(only, level, 12.0 * KIB, 7.0))
        for constant in only.constants:
            # Where the interpolation has come to that RAM; between the two register files.
            size = 100.0 * KIB if constant in ("sram_1mib_pj", "sram_32kib_pj") else 1000.0
            total = 0.0
            for technology in (only, only.with_values(**{constant: 1.5 * only[constant]})):
                both = model.access_pj(technology, level, size, 7.0)
                both += model.write_pj(technology, level, size, 7.0)
                total = float(both) - total
            assert abs(total) > 1e-6, constant
        assert before > 0
    assert set(model.needs(LEVELS)) == set(model.constants)


@pytest.mark.parametrize("name", MEMORIES)
@given(low=st.floats(0, 1e8), high=st.floats(0, 1e8), bits=st.floats(1, 64))
def test_monotone_in_size(name, low, high, bits):
    low, high = sorted((low, high))
    a, b = (float(MEMORIES[name].access_pj(TECHNOLOGY, "local", s, bits)) for s in (low, high))
    assert 0 <= a <= b * (1 + 1e-6)


@pytest.mark.parametrize("name", MEMORIES)
@given(low=st.floats(1, 200), high=st.floats(1, 200), size=st.floats(0, 1e8))
def test_monotone_in_bits(name, low, high, size):
    low, high = sorted((low, high))
    a, b = (float(MEMORIES[name].access_pj(TECHNOLOGY, "local", size, x)) for x in (low, high))
    assert 0 <= a <= b * (1 + 1e-6)


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("level", LEVELS)
def test_gradients_in_size_bits_and_constants(name, level):
    model = MEMORIES[name]
    logs = {c: math.log(TECHNOLOGY[c]) for c in model.needs([level])}
    with jax.enable_x64(True):

        def pj(size, bits, logs):
            technology = TECHNOLOGY.with_values(**jax.tree.map(jnp.exp, logs))
            read = model.access_pj(technology, level, size, bits)
            return read + model.write_pj(technology, level, size, bits)

        point = (jnp.asarray(3e5), jnp.asarray(7.3), jax.tree.map(jnp.asarray, logs))
        check_grads(pj, point, order=1, modes=("rev", "fwd"), rtol=1e-5)
        # Jitted, on tracers, the same number.
        assert float(jax.jit(pj)(*point)) == pytest.approx(float(pj(*point)), rel=1e-12)


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("bits", [1.0, 8.0, 64.0, 100.0])
def test_value_and_slopes_are_finite_without_a_memory(name, bits):
    def pj(size, bits):
        return jnp.asarray(MEMORIES[name].access_pj(TECHNOLOGY, "local", size, bits, 0.1))

    value, slopes = jax.value_and_grad(pj, argnums=(0, 1))(0.0, bits)
    assert np.isfinite(value) and value >= 0
    assert all(np.isfinite(s) and s >= 0 for s in slopes)


def test_packing_is_a_step_whose_slope_a_temperature_brings():
    def pj(bits, temperature):
        return memory("packed-8kb").access_pj(TECHNOLOGY, "local", 0.0, bits, temperature)

    assert float(pj(7.0, 0.0)) == float(pj(7.0, 0.5)) == pytest.approx(10 / 9)
    assert float(jax.grad(pj)(7.0, 0.0)) == 0
    # At temperature one nothing is rounded: 10·b/64.
    assert float(jax.grad(pj)(7.0, 1.0)) == pytest.approx((10 / 81) * 64 / 49)


def test_refusals_name_what_is_valid():
    with pytest.raises(ValueError, match=r"lemaire.*valid.*by-level"):
        memory("lemaire")
    with pytest.raises(ValueError, match=r"unknown arithmetic 'float'.*recommended"):
        arithmetic("float")
    for model in MEMORIES.values():
        with pytest.raises(ValueError, match=r"level 'cache'.*local"):
            model.access_pj(TECHNOLOGY, "cache", 8.0, 8.0)
        with pytest.raises(ValueError, match=r"level 'dram'"):
            model.needs(["dram"])
        with pytest.raises(ValueError, match="size_bits >= 0"):
            model.write_pj(TECHNOLOGY, "local", -1.0, 8.0)
        with pytest.raises(ValueError, match=r"bits >= 0.*None"):
            model.access_pj(TECHNOLOGY, "local", 8.0, None)
    with pytest.raises(ValueError, match="local_pj_per_bit"):
        memory("by-level").access_pj(Technology({}), "local", 8.0, 8.0)


def test_the_table_of_horowitz():
    """45 nm, pJ; 64-bit reads for the memories."""
    published = {
        "add_int8_pj": 0.03,
        "add_int32_pj": 0.1,
        "mul_int8_pj": 0.2,
        "mul_int32_pj": 3.1,
        "add_fp16_pj": 0.4,
        "add_fp32_pj": 0.9,
        "mul_fp16_pj": 1.1,
        "mul_fp32_pj": 3.7,
        "sram_8kib_pj": 10.0,
        "sram_32kib_pj": 20.0,
        "sram_1mib_pj": 100.0,
    }
    families = (
        horowitz.HOROWITZ_FP32
        | horowitz.HOROWITZ_FP16
        | horowitz.HOROWITZ_INT
        | horowitz.HOROWITZ_SRAM
    )
    assert {name: c.value for name, c in families.items()} == published
    assert {c.provenance for c in families.values()} == {"SECONDARY"}
    dram = horowitz.HOROWITZ_DRAM["dram_pj_per_bit"]
    assert (dram.value * 64, dram.high * 64, dram.low * 32) == (1300, 2600, 640)
    assert dram.provenance == horowitz.HOROWITZ_INT16["add_int16_pj"].provenance == "RECALLED"


COLLECTED = {
    "DOSA": ("EXACT", (1.94, 0.1005, 0.49, 0.02513)),
    "DOSA_REST": ("EXACT", (0.5608, 0.48746172, 100)),
    "ACCELERGY_EYERISS": ("EXACT", (0.202, 0.177, 1.977, 1.882, 18.18, 14.14)),
    "ACCELERGY_REST": ("EXACT", (0.2077, 0.251, 0.219, 8)),
    "EYERISS_NORMALISED": ("RECALLED", (1, 2, 6, 200)),
    "ALADDIN": ("EXACT", (0.21, 12.68, 0.0295, 0.018, 0.417, 0.009, 0.68)),
    "NEUROMC": ("EXACT", (5.55, 92.7, 47, 46, 458, 375, 1300 / 64)),
}


@pytest.mark.parametrize("family", COLLECTED)
def test_collected_figures(family):
    provenance, values = COLLECTED[family]
    constants = getattr(memories, family)
    assert tuple(c.value for c in constants.values()) == values
    # The middle of a published range is ours.
    assert all(
        c.provenance == provenance or name == "sram_small_pj" for name, c in constants.items()
    )


def test_davidson_and_furber_count_in_additions():
    values = [c.value for c in DAVIDSON_FURBER.values()]
    assert values == [0.060, 0.293, 0.296, 1, 5, 5, 1, 2]
    assert DAVIDSON_FURBER["ann_accumulate_units"].provenance == "DERIVED"


def test_every_figure_has_a_source_a_mark_and_a_range_around_it():
    assert len(CONSTANTS) > 40
    for constant in CONSTANTS:
        assert constant.source and constant.unit and constant.provenance in PROVENANCES
        if constant.low is not None:
            assert constant.low <= constant.value <= constant.high


@pytest.mark.parametrize("name", ["product", "linear", "quadratic", "saturation"])
def test_arithmetic_meets_what_is_published(name):
    model = ARITHMETIC[name]
    adds = [float(model.add_pj(INTEGERS, b)) for b in (8.0, 32.0)]
    products = [float(model.mul_pj(INTEGERS, b, b)) for b in (8.0, 32.0)]
    np.testing.assert_allclose(adds, [0.03, 0.1], rtol=1e-6)
    np.testing.assert_allclose(products, [0.2, 3.1], rtol=1e-6)


def test_arithmetic_between_and_beyond():
    quadratic = np.linalg.solve([[64, 8], [1024, 32]], [[0.03, 0.2], [0.1, 3.1]])
    for bits in (4.0, 16.0, 24.0):
        by_hand = quadratic[0] * bits**2 + quadratic[1] * bits
        model = ARITHMETIC["quadratic"]
        result = model.add_pj(INTEGERS, bits), model.mul_pj(INTEGERS, bits, 1.0)
        np.testing.assert_allclose(result, by_hand, rtol=1e-9)
    assert ARITHMETIC["saturation"].mul_pj(INTEGERS, 4.0, 9.0) == 3.1
    assert ARITHMETIC["linear"].mul_pj(INTEGERS, 20.0, 4.0) == pytest.approx(1.65)
    assert ARITHMETIC["recommended"].add_pj(INTEGERS, 8.0) == pytest.approx(0.025)
    assert ARITHMETIC["recommended"].mul_pj(INTEGERS, 8.0, 8.0) == pytest.approx(0.2)
    assert ARITHMETIC["int8"].mul_pj(INTEGERS, 1.0, 30.0) == 0.2
    assert ARITHMETIC["bit-product"].add_pj(INTEGERS, 3.0) == 0.05448
    with pytest.raises(ValueError, match="negative at 4"):
        ARITHMETIC["linear"].mul_pj(INTEGERS, 4.0, 4.0)
    assert float(jax.jit(lambda b: ARITHMETIC["linear"].mul_pj(INTEGERS, b, b))(4.0)) == 0
    for width in (33.0, jnp.asarray([8.0, 40.0])):
        with pytest.raises(ValueError, match="wider than 32"):
            ARITHMETIC["saturation"].add_pj(INTEGERS, width)
    np.testing.assert_allclose(
        ARITHMETIC["saturation"].add_pj(INTEGERS, jnp.asarray([8.0, 9.0])), [0.03, 0.1], rtol=1e-6
    )


@given(
    st.sampled_from(sorted(ARITHMETIC)),
    *(st.sampled_from([0.01, 0.2, 1.0, 5.0]) for _ in range(4)),
    st.sampled_from([1.0, 4.0, 8.0, 30.0, 32.0, 64.0, 512.0]),
)
@example("product", 1.0, 0.2, 1.0, 1.0, 64.0)
def test_no_price_is_read_off_below_zero(name, a8, a32, m8, m32, bits):
    """Whatever a file says of its units: a line through them may fall."""
    published = {
        "add_int8_pj": a8,
        "add_int32_pj": a32,
        "mul_int8_pj": m8,
        "mul_int32_pj": m32,
        "accumulate_pj": a8,
        "mac_pj_per_bit2": m8,
    }
    constants = {k: Constant(v, "pJ", "a file", "DERIVED") for k, v in published.items()}
    technology, model = Technology(constants), ARITHMETIC[name]
    for price in (model.add_pj, lambda t, b: model.mul_pj(t, b, b)):
        try:
            assert price(technology, bits) >= 0
        except ValueError as error:
            refused = str(error)
            assert "is negative at" in refused or "wider than 32" in refused


def test_the_hierarchy_shares_its_formulas():
    machine = get("hierarchy-45nm").technology
    product = ARITHMETIC["product"].mul_pj(machine, 8.0, 16.0)
    assert hierarchy.mul_pj(machine, 8.0, 16.0) == product == 0.2 + (3.1 - 0.2) * (64 / 960)
    assert hierarchy.access_pj(machine, 4096.0) == 1.09e-5 * 4096 + 13.2


@pytest.mark.parametrize("name", ARITHMETIC)
@given(low=st.floats(7, 32), high=st.floats(7, 32), other=st.floats(7, 32))
def test_arithmetic_is_monotone(name, low, high, other):
    low, high = sorted((low, high))
    model = ARITHMETIC[name]
    slack = 1 + 1e-9
    assert 0 < model.add_pj(INTEGERS, low) <= model.add_pj(INTEGERS, high) * slack
    for pair in ((low, other), (high, other)), ((other, low), (other, high)):
        assert 0 < model.mul_pj(INTEGERS, *pair[0]) <= model.mul_pj(INTEGERS, *pair[1]) * slack


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_has_gradients(name):
    model = ARITHMETIC[name]
    with jax.enable_x64(True):
        values = {c: jnp.asarray(INTEGERS[c]) for c in model.constants}

        def pj(left, right, values):
            technology = INTEGERS.with_values(**values)
            return model.add_pj(technology, left) + model.mul_pj(technology, left, right)

        check_grads(pj, (11.0, 9.0, values), order=1, modes=("rev", "fwd"), rtol=1e-5)


# Of the paper's tables: delay and energy polynomials, highest power first.
ROWS = {
    ("high-performance", 180): ((0, 97.09, -356.7, 406.5), (0, 24.64, -17.98)),
    ("high-performance", 45): ((-501.6, 1567, -1619, 566.1), (1.018, -0.3107, 0.1539)),
    ("low-power", 45): ((-285.7, 1239, -1795, 898.8), (1.103, -0.362, 0.2767)),
    ("high-performance", 14): ((-40.66, 109.2, -100.6, 35.92), (0.2363, -0.09675, 0.02239)),
    ("low-power", 7): ((-61.79, 196.1, -210.3, 79.55), (0.09365, -0.03409, 0.02043)),
}


@pytest.mark.parametrize(("process", "node"), ROWS)
def test_factors_are_the_published_polynomials(process, node):
    delay, energy = ROWS[process, node]
    for volts in (NODES[process][node].least_v, NODES[process][node].nominal_v):
        assert energy_factor(node, volts, process) == pytest.approx(np.polyval(energy, volts))
        assert delay_factor(node, volts, process) == pytest.approx(np.polyval(delay, volts))


@pytest.mark.parametrize("process", NODES)
def test_smaller_nodes_take_less_and_less_voltage_is_slower(process):
    nodes = sorted(NODES[process])
    energies = [energy_factor(n, nominal_voltage_v(n, process), process) for n in nodes]
    assert energies == sorted(energies)
    for node in nodes:
        row = NODES[process][node]
        volts = np.linspace(row.least_v, row.nominal_v, 20)
        energy, delay = (f(node, volts, process) for f in (energy_factor, delay_factor))
        assert np.all(np.diff(energy) > 0) and np.all(energy > 0) and np.all(delay > 0)
        # The fit of the fastest 45 and 32 nm transistors turns up a little at the end.
        assert np.all(delay[1:] <= 1.07 * delay[:-1]) and delay[-1] < 0.7 * delay[0]


def test_between_nodes_the_factors_are_geometric():
    share = math.log(28 / 20) / math.log(32 / 20)
    ends = [energy_factor(n, 0.8) for n in (20, 32)]
    assert energy_factor(28, 0.8) == pytest.approx(ends[0] ** (1 - share) * ends[1] ** share)
    assert energy_factor(20, 0.8) < energy_factor(22, 0.8) < energy_factor(28, 0.8)


def example():
    return Technology(
        {
            "add_fp32_pj": horowitz.HOROWITZ_FP32["add_fp32_pj"],
            "link_pj_per_bit": Constant(2.0, "pJ/bit", "a paper", "EXACT", "", 1.0, 4.0),
            "step_latency_s": Constant(1e-6, "s", "a paper", "EXACT"),
            "sram_exponent": memories.POWER_LAW_RAM["sram_exponent"],
            "dram_pj_per_bit": horowitz.HOROWITZ_DRAM["dram_pj_per_bit"],
        }
    )


def test_scaling_moves_energies_and_times_and_says_so():
    before, after = example(), scale(example(), 45, 14, voltage_from_v=0.9, voltage_to_v=0.75)
    energy = np.polyval(ROWS["high-performance", 14][1], 0.75)
    energy /= np.polyval(ROWS["high-performance", 45][1], 0.9)
    delay = np.polyval(ROWS["high-performance", 14][0], 0.75)
    delay /= np.polyval(ROWS["high-performance", 45][0], 0.9)
    assert after["add_fp32_pj"] == pytest.approx(0.9 * energy)
    assert after["step_latency_s"] == pytest.approx(1e-6 * delay)
    link = after.constants["link_pj_per_bit"]
    assert (link.low, link.value, link.high) == pytest.approx((energy, 2 * energy, 4 * energy))
    assert link.provenance == "DERIVED" and "a paper" in link.source and "Stillmaker" in link.source
    assert "45 nm 0.9 V" in link.source and "14 nm 0.75 V" in link.source
    for name in ("sram_exponent", "dram_pj_per_bit"):
        assert after.constants[name] == before.constants[name]


def test_scaling_there_and_back_changes_nothing():
    back = scale(scale(example(), 65, 10), 10, 65)
    for name, constant in example().constants.items():
        assert back[name] == pytest.approx(constant.value)
    same = scale(example(), 28, 28, voltage_from_v=0.8, voltage_to_v=0.8)
    assert same["add_fp32_pj"] == pytest.approx(0.9)


def test_scaling_is_differentiable_in_the_voltage():
    with jax.enable_x64(True):

        def pj(low, high):
            moved = scale(example(), 45, 22, voltage_from_v=low, voltage_to_v=high)
            return moved["add_fp32_pj"] + 1e6 * moved["step_latency_s"]

        check_grads(pj, (0.9, 0.8), order=1, modes=("rev", "fwd"), rtol=1e-5)
        traced = jax.jit(lambda v: scale(example(), 45, 22, 0.9, v))(0.8)
    assert traced.constants["link_pj_per_bit"].low is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"node_to_nm": 5}, "7 to 180 nm, found 5"),
        ({"node_from_nm": 250}, "7 to 180 nm, found 250"),
        ({"voltage_to_v": 0.3}, r"0.5 to 0.8 V at 14 nm.*0.3 V"),
        ({"voltage_from_v": 1.2}, r"0.5 to 1.0 V at 45 nm.*1.2 V"),
        ({"process": "slow"}, r"unknown process 'slow'.*low-power"),
    ],
)
def test_scaling_refuses_what_nobody_published(change, words):
    with pytest.raises(ValueError, match=words):
        scale(example(), **({"node_from_nm": 45, "node_to_nm": 14} | change))


def test_scaling_refuses_leakage():
    power = Constant(1e-3, "W", "a paper", "EXACT")
    leaky = dataclasses.replace(example(), constants={"static_power_w": power})
    with pytest.raises(ValueError, match="static_power_w is a static power"):
        scale(leaky, 45, 14)
