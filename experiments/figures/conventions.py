"""Counting rules of the literature: operations, memories by size, recurrent cells."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import jax.numpy as jnp

from experiments.figures.row import Row
from jsnn.energy import COMPONENTS, count, estimate_energy, op_count_proxy
from jsnn.hardware import Technology, get
from jsnn.hardware.arithmetic import arithmetic
from jsnn.hardware.constants import horowitz, lemaire, memories
from jsnn.hardware.memory import BITS_PER_KIB, memory
from jsnn.neurons import NO_OPS
from jsnn.workload import LayerWorkload, Workload
from jsnn.workload.analytic import dense

OPERATIONS, MEMORY, LEMAIRE = "operation counts", "memory by size", "Lemaire et al. 2022"
CELLS, PANDA, SPIKFORMER = "Yin et al.", "Panda et al. 2020", "Spikformer"
INVERSE = "inverse test: what the published ratio implies"
INT = Technology(horowitz.HOROWITZ_INT)


def rows() -> Iterator[Row]:
    """Rows of all counting rules."""
    yield from _operations()
    yield from _spikformer()
    yield from _memories()
    yield from _lemaire()
    yield from _cells()


def _proxy_pj(*layers: LayerWorkload) -> float:
    return float(op_count_proxy(Workload(layers))[0])


def _operations() -> Iterator[Row]:
    spikes = dense(3, 4, steps=1, rate=1.0)
    words = dense(6, 4, steps=1, rate=1.0, input_kind="constant")
    test = "unit test of spikingjelly"
    yield Row(OPERATIONS, "12 ACs", 10.8, "pJ", "EXACT", _proxy_pj(spikes), 1e-6, test)
    yield Row(OPERATIONS, "24 MACs", 110.4, "pJ", "EXACT", _proxy_pj(words), 1e-6, test)
    macs = float(count(spikes)["macs"][0])
    yield Row(OPERATIONS, "MACs of a binary input", 0.0, "", "EXACT", macs, 0.0, test)
    floats = Technology(horowitz.HOROWITZ_FP32 | horowitz.HOROWITZ_FP16)
    for what, mac, add, ratio, allowed in (
        ("fp32", floats["mul_fp32_pj"] + floats["add_fp32_pj"], floats["add_fp32_pj"], 5.11, 1e-3),
        ("int8", _mac_pj(8), arithmetic("product").add_pj(INT, 8.0), 7.7, 0.005),
        ("int32", _mac_pj(32), arithmetic("product").add_pj(INT, 32.0), 32.0, 1e-6),
    ):
        yield Row(OPERATIONS, f"MAC / AC, {what}", ratio, "", "SECONDARY", mac / add, allowed)
    half = floats["mul_fp16_pj"] + floats["add_fp16_pj"]
    yield Row(OPERATIONS, "MAC, fp16", 1.5, "pJ", "SECONDARY", half, 1e-6)
    # 2.51 million already includes the rate; the published ratio applies it twice.
    ann, snn, rate = 18.39e6 * 4.6, 2.51e6 * 0.9, 0.1366
    yield Row(
        OPERATIONS,
        "ANN / SNN of PMC10242054, rate applied twice",
        273.77,
        "",
        "SECONDARY",
        ann / (snn * rate),
        0.005,
        "an error of the paper's",
    )
    yield Row(OPERATIONS, "the same, rate once", 37.4, "", "DERIVED", ann / snn, 0.005)
    # Additions only, 8-bit, of arXiv 2409.08290 v1 at no sparsity and six steps.
    flat = arithmetic("int8")
    spiking, frame = 6 * flat.add_pj(INT, 8.0), flat.mul_pj(INT, 8.0, 8.0) + flat.add_pj(INT, 8.0)
    what = "2409.08290 v1: SNN / ANN by additions alone, T = 6, every input fires"
    note = "published: the SNN wins"
    yield Row(OPERATIONS, what, (0.0, 1.0), "", "SECONDARY", spiking / frame, note=note)


def _mac_pj(bits: float) -> float:
    model = arithmetic("product")
    return model.mul_pj(INT, bits, bits) + model.add_pj(INT, bits)


def _spikformer() -> Iterator[Row]:
    """`77 fJ · SOPs` in arXiv v1, `4.6 · FL_conv1 + 0.9 · SOPs` in the camera-ready version."""
    # The first convolution, counted in each of four steps: 27 inputs, 64 channels, 224² places.
    inputs, neurons = 27 * 64 * 4, 224**2
    stem = dense(inputs, neurons, steps=1, rate=1.0, input_kind="constant")
    macs = float(count(stem)["macs"][0])
    what, note = "FLOPs of the first convolution", "implied by the printed energies"
    yield Row(SPIKFORMER, what, 0.34696e9, "", "DERIVED", macs, 0.001, note)
    # The 7 x 7 stem of the networks it is compared with, 147 inputs, 64 channels, 112² places,
    # counted in one step only.
    once = dense(147 * 64, 112**2, steps=1, rate=1.0, input_kind="constant")
    rival = float(count(once)["macs"][0])
    what = "FLOPs of the stem of SEW and ResNet"
    yield Row(SPIKFORMER, what, 0.11804e9, "", "DERIVED", rival, 0.001, note)
    for sops, early, late in ((6.82e9, 0.525, 7.734), (11.09e9, 0.854, 11.577)):
        rest = dense(10_000, round(sops / 10_000), steps=1, rate=1.0)
        mj = 1e-9 * _proxy_pj(stem, rest)
        name = f"{sops / 1e9:.2f} G SOPs"
        yield Row(SPIKFORMER, f"camera-ready, {name}", late, "mJ", "EXACT", mj, 0.002 / late)
        first = 77e-3 * float(count(rest)["synops"][0]) * 1e-9
        yield Row(SPIKFORMER, f"arXiv v1, {name}", early, "mJ", "EXACT", first, 0.002 / early)
    ann = 1e-9 * 8.33e9 * _proxy_pj(dense(1, 1, steps=1, rate=1.0, input_kind="constant"))
    yield Row(SPIKFORMER, "ANN of 8.33 G FLOPs", 38.3, "mJ", "EXACT", ann, 0.001)


def _memories() -> Iterator[Row]:
    technology = Technology(lemaire.LEMAIRE_RAM | horowitz.HOROWITZ_SRAM | memories.POWER_LAW_RAM)
    for name, what, provenance, published in (
        ("lemaire-regression", "any width", "EXACT", (13.9, 16.06, 104.6)),
        ("lemaire-interpolation", "any width", "SECONDARY", (10.0, 20.0, 100.0)),
        ("horowitz-power-law", "64 bits", "DERIVED", (10.0, 19.3, 100.0)),
    ):
        for kib, pj in zip((8, 32, 1024), published, strict=True):
            computed = float(memory(name).access_pj(technology, "local", kib * BITS_PER_KIB, 64))
            yield Row(MEMORY, f"{name}, {kib} KB, {what}", pj, "pJ", provenance, computed, 0.002)
    packed = float(memory("packed-8kb").access_pj(technology, "local", 8 * BITS_PER_KIB, 8))
    yield Row(MEMORY, "packed-8kb, 8 bits", 1.25, "pJ", "EXACT", packed, 1e-6)


def _frame(layer: LayerWorkload, **geometry) -> LayerWorkload:
    """One frame without zeros, in a network without state."""
    changed = dataclasses.replace(layer.geometry, spiking=False, ops=NO_OPS, **geometry)
    words = jnp.full_like(layer.events_by_fan_out, changed.inputs)
    spikes = jnp.zeros((1, *changed.output_shape), layer.spikes.dtype)
    return dataclasses.replace(
        layer, events_by_fan_out=words, active=words, spikes=spikes, geometry=changed
    )


def _lemaire() -> Iterator[Row]:
    bits = ("weight_bits", "state_bits", "input_bits", "output_bits")
    machine = get("hierarchy-45nm").with_design(**dict.fromkeys(bits, 32))
    note = "32 bits, RAM by regression; the vectors follow from the formulas"

    def parts(layer: LayerWorkload) -> dict[str, float]:
        columns = estimate_energy(Workload((layer,)), machine).parts_pj[0, 0].tolist()
        return dict(zip(COMPONENTS, columns, strict=True))

    def row(what, published, unit, computed, allowed):
        return Row(LEMAIRE, what, published, unit, "DERIVED", computed, allowed, note)

    words = dense(3072, 65_536, steps=1, rate=1.0, input_kind="analog", bias=True)
    # The paper counts a full kernel at the borders too: each input feeds 9 x 64 outputs.
    conv = _frame(
        words,
        kind="conv",
        fan_outs=(576,),
        fan_in=27,
        fan_out_area=9,
        weights=27 * 64,
        biases=64,
        output_shape=(32, 32, 64),
    )
    events, by_part = count(conv), parts(conv)
    name = "conv 3 to 64, 32 x 32, 3 x 3"
    yield row(f"{name}: MACs", 1_769_472, "", float(events["macs"][0]), 0.0)
    yield row(f"{name}: biases, outputs", 65_536, "", float(events["bias_adds"]), 0.0)
    for what, uj, part, allowed in (
        ("inputs and outputs", 27.6162, ("activation_movement",), 1e-5),
        ("weights and biases", 24.4235 + 0.8665, ("weight_memory",), 1e-5),
        ("operations", 5.6689, ("synapse", "neuron"), 1e-5),
        ("addresses", 0.0069, ("routing",), 0.005),
        ("all", 58.582, COMPONENTS, 1e-5),
    ):
        yield row(f"{name}: {what}", uj, "µJ", 1e-6 * sum(by_part[p] for p in part), allowed)
    full = _frame(dense(784, 128, steps=1, rate=1.0, input_kind="analog", bias=True))
    by_part = parts(full)
    for what, pj, part in (
        ("weights and biases", 4_837_245.1 + 1_695.3, ("weight_memory",)),
        ("inputs and outputs", 12_258.5, ("activation_movement",)),
        ("operations", 321_139.2, ("synapse", "neuron")),
    ):
        yield row(f"dense 784 to 128: {what}", pj, "pJ", sum(by_part[p] for p in part), 1e-6)


def _cells() -> Iterator[Row]:
    """`LSTM / SNN = 4·(E_MAC / E_AC) / Fr`, and `ANN / SNN = (E_MAC / E_AC) / S_A`."""
    ratio = _mac_pj(32) / arithmetic("product").add_pj(INT, 32.0)
    for gain, rate in ((3353.3, 0.038), (1776, 0.072), (1602, 0.080), (935, 0.137)):
        what, unit = f"spikes per neuron and step behind {gain:g} x", "spikes/step"
        allowed = 0.0005 / rate
        yield Row(CELLS, what, rate, unit, "DERIVED", 4 * ratio / gain, allowed, INVERSE)
    single = _proxy_pj(dense(1, 1, steps=1, rate=1.0, input_kind="constant"))
    single /= _proxy_pj(dense(1, 1, steps=1, rate=1.0))
    for gain, rate in ((3353.3, 0.006), (935, 0.022)):
        what, unit = f"the same with 4.6 and 0.9 pJ, {gain:g} x", "spikes/step"
        allowed = 0.0005 / rate
        yield Row(CELLS, what, rate, unit, "DERIVED", 4 * single / gain, allowed, INVERSE)
    for gain, spikes in (
        (6.52, 4.91),
        (7.7, 4.16),
        (10.6, 3.02),
        (74.9, 0.427),
        (81.3, 0.394),
        (104.8, 0.305),
    ):
        allowed = 0.5 * 10 ** -(2 - math.floor(math.log10(spikes))) / spikes
        what = f"spikes per neuron behind {gain:g} x"
        yield Row(PANDA, what, spikes, "spikes", "DERIVED", ratio / gain, allowed, INVERSE)
