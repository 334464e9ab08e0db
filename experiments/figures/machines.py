"""Chips and accelerators: figures of their papers and programs, from the presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from experiments.figures.row import Row
from jsnn.energy import estimate_energy
from jsnn.hardware import get
from jsnn.hardware.architectures.sata import operations_pj
from jsnn.hardware.architectures.spikesim import cycle_pj, cycles, element_pj
from jsnn.hardware.constants import chips
from jsnn.hardware.constants.davidson_furber import DAVIDSON_FURBER
from jsnn.hardware.power import (
    PJ_PER_J,
    affine_power_w,
    average_pj,
    energy_delay,
    marginal_and_static,
)
from jsnn.workload import Geometry, Workload
from jsnn.workload.analytic import dense

KERAS, SENECA, TRUENORTH = "KerasSpiking", "SENECA", "TrueNorth"
ODIN, LASSO, SATA = "ODIN", "Loihi against Atom, LASSO", "SATA"
SPIKESIM, FURBER = "SpikeSim", "Davidson and Furber 2021"


def rows() -> Iterator[Row]:
    """Rows of all machines."""
    yield from _keras_and_seneca()
    yield from _truenorth()
    yield from _odin()
    yield from _lasso()
    yield from _sata()
    yield from _spikesim()
    yield from _furber()


def _keras_and_seneca() -> Iterator[Row]:
    work = Workload((dense(784, 128, steps=1, rate=1.0),))
    joule = float(estimate_energy(work, get("cpu-kerasspiking")).total_pj()[0]) / PJ_PER_J
    # 784·128·8.6e-9 + 128·8.6e-9 J, printed with three digits.
    yield Row(KERAS, "dense 784 to 128 on a CPU", 8.64e-4, "J", "EXACT", joule, 1e-3)
    (table,) = get("seneca-22nm").prices(dense(10, 10, steps=1, rate=0.1).geometry)
    quoted = chips.SENECA_QUOTED["synop_pj"].value
    synop = float(sum(table["synops"].values()))
    what = "synaptic operation, one at a time"
    yield Row(SENECA, what, quoted, "pJ", "SECONDARY", synop, 1e-6, "sum of its instructions")


def _truenorth() -> Iterator[Row]:
    chip = {name: constant.value for name, constant in chips.TRUENORTH_CHIP.items()}
    per_hz = chip["neurons"] * chip["active_synapses"]
    slow, fast = ((hz * per_hz, chips.TRUENORTH_SWEEP[hz].value) for hz in (11.58, 95.93))
    pj, watt = marginal_and_static(slow, fast)
    note = "the line through two measured points"
    yield Row(TRUENORTH, "one more event", 2.297, "pJ", "DERIVED", pj, 2e-4, note)
    yield Row(TRUENORTH, "static power", 64.43, "mW", "DERIVED", 1e3 * watt, 2e-4, note)
    machine = get("truenorth-28nm").technology
    predicted = affine_power_w(
        machine["core_static_power_w"] * chip["cores"], ((machine["synop_pj"], 20.07 * per_hz),)
    )
    measured = chips.TRUENORTH_SWEEP[20.07].value
    what, note = "power at 20.07 Hz", "between the two points of the line"
    yield Row(TRUENORTH, what, 1e3 * measured, "mW", "SECONDARY", 1e3 * predicted, 0.01, note)
    rate = per_hz * chip["mean_rate_hz"]
    average, power = chips.TRUENORTH_AVERAGE["synop_pj"].value, chip["average_power_w"]
    computed = average_pj(power, rate)
    yield Row(TRUENORTH, "average, 20 Hz, 72 mW", average, "pJ", "SECONDARY", computed, 0.05)
    per_watt, note = rate / chip["low_power_w"] * 1e-9, "the paper's 46 and 26 pJ contradict"
    published = chip["synops_per_s_per_w"] * 1e-9
    what = "events per joule, 20 Hz, 65 mW"
    yield Row(TRUENORTH, what, published, "10⁹/J", "SECONDARY", per_watt, 0.15, note)


def _odin() -> Iterator[Row]:
    t = get("odin-28nm").technology
    for (clock, rate), power in chips.ODIN_POINTS.items():
        model = affine_power_w(
            t["leakage_power_w"], ((t["synop_pj"], rate),), t["idle_power_w_per_hz"], clock
        )
        what = f"power at {clock / 1e6:g} MHz, {rate / 1e6:g} M events/s"
        measured = power.value * 1e6
        yield Row(ODIN, what, measured, "µW", power.provenance, model * 1e6, 0.005)
        kind = "accelerated" if clock > 1e7 else "biological"
        average = chips.ODIN_AVERAGES_PJ[kind]
        computed = average_pj(model, rate)
        what = f"average at {clock / 1e6:g} MHz"
        yield Row(ODIN, what, average.value, "pJ", average.provenance, computed, 0.005)


def _lasso() -> Iterator[Row]:
    for unknowns, table in chips.LOIHI_LASSO.items():
        product = energy_delay(table["energy_ratio"].value, table["delay_ratio"].value)
        published = table["energy_delay_ratio"]
        what, note = f"energy x delay, {unknowns} unknowns", "product of the two printed ratios"
        yield Row(LASSO, what, published.value, "x", published.provenance, product, 0.006, note)


def _sata() -> Iterator[Row]:
    operations = operations_pj(get("sata").technology)
    for name, pj in (
        ("lif", 0.11255),
        ("spike_mac", 0.039694),
        ("mac", 0.2779),
        ("pgu", 0.27216),
        ("update_mac", 0.039694),
    ):
        yield Row(SATA, f"operation {name}", pj, "pJ", "EXACT", float(operations[name]), 1e-6)


def _vgg9() -> Iterator[Geometry]:
    """Convolutions of VGG9 on 32 x 32 x 3, kernels of 3 x 3."""
    base = dense(1, 1, steps=5, rate=0.0).geometry
    inputs = (3, 64, 64, 128, 128, 256, 256)
    outputs = (64, 64, 128, 128, 256, 256, 256)
    for c_in, c_out, side in zip(inputs, outputs, (32, 16, 16, 8, 8, 8, 4), strict=True):
        yield dataclasses.replace(
            base,
            kind="conv",
            fan_in=9 * c_in,
            fan_out_area=9,
            weights=9 * c_in * c_out,
            neurons=side * side * c_out,
            output_shape=(side, side, c_out),
        )


def _spikesim() -> Iterator[Row]:
    machine = get("spikesim-rram")
    element = element_pj(machine.technology, 64.0, 9)
    cycle = sum(cycle_pj(machine.technology, 64.0, 9).values())
    number = sum(float(cycles(layer, 64.0)) for layer in _vgg9())
    yield Row(SPIKESIM, "element, 3 x 3", 32.87875, "pJ", "EXACT", float(element), 1e-6)
    yield Row(SPIKESIM, "cycle, 3 x 3", 828.4861, "pJ", "EXACT", float(cycle), 1e-6)
    yield Row(SPIKESIM, "cycles of VGG9 in a step", 3840.0, "", "EXACT", number)


def _furber() -> Iterator[Row]:
    unit = {n.removesuffix("_units"): c.value for n, c in DAVIDSON_FURBER.items()}
    spike = unit["read"] + unit["add"] + unit["write_back"]
    word = unit["mac"] + unit["read"] + unit["ann_accumulate"]
    what = "break-even, spikes per output that is sent"
    yield Row(FURBER, what, 1.72, "spikes", "SECONDARY", word / spike, 0.005, "12 / 7")
    for name, units in (("mac", 5.0), ("sram_read", 5.0)):
        computed = DAVIDSON_FURBER[f"{name}_pj"].value / DAVIDSON_FURBER["add_pj"].value
        yield Row(FURBER, f"{name} in additions", units, "E", "SECONDARY", computed, 0.03)
