"""Keyword spotting on six devices, from the powers and rates that were measured.

Blouw et al. 2019, paper/power_summary.tex table 1 and logs of abr/power_benchmarks@fce95c86615a. A
network of 390-256-256-29, one inference at a time. The energy per inference is computed from power
and rate; only the number of multiplications and the operations of Loihi come from the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from experiments.figures.row import Row
from jsnn.energy import COMPONENTS, estimate_energy
from jsnn.hardware import get
from jsnn.hardware.power import average_pj
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

BLOUW = "Blouw et al. 2019"
WIDTHS = (390, 256, 256, 29)


class Device(NamedTuple):
    """One row of the table, powers in W, energies in mJ."""

    name: str
    idle_w: float
    run_w: float
    rate_hz: float
    dynamic_mj: float
    against_loihi: float | None
    whole_mj: float | None
    whole_against_loihi: float | None


DEVICES = (
    Device("GPU Quadro K4000", 14.97, 37.83, 770.39, 29.8, 110, 49.1, 132),
    Device("CPU Xeon E5-2630", 17.01, 28.48, 1813.63, 6.3, 23, 15.7, 42),
    Device("Jetson TX1", 2.64, 4.98, 419, 5.6, 20.7, 11.9, 32),
    Device("Movidius NCS", 0.210, 0.647, 300, 1.5, 5.4, 2.16, 5.8),
    Device("NCS 2", 0.496, 1.438, 464.6, 2.03, 7.5, None, None),
    Device("Loihi", 0.029, 0.110, 296, 0.27, None, 0.37, None),
)
# Batches of 64: mJ per inference.
JETSON_BATCHED_MJ = 0.102


def _mj(power_w: float, rate_hz: float) -> float:
    return average_pj(power_w, rate_hz) * 1e-9


def rows() -> Iterator[Row]:
    """Rows of all devices."""
    layers = tuple(
        dense(a, b, steps=1, rate=1.0, input_kind="analog", name=f"{a}-{b}")
        for a, b in itertools.pairwise(WIDTHS)
    )
    macs = float(sum(layer.macs[0] for layer in layers))
    yield Row(BLOUW, "multiply-accumulates", 172_800.0, "", "EXACT", macs)
    loihi = DEVICES[-1]
    dynamic = {d.name: _mj(d.run_w - d.idle_w, d.rate_hz) for d in DEVICES}
    whole = {d.name: _mj(d.run_w, d.rate_hz) for d in DEVICES}
    for device in DEVICES:
        name = device.name
        # Printed with two or three digits.
        yield Row(BLOUW, f"{name}, dynamic", device.dynamic_mj, "mJ", "EXACT", dynamic[name], 0.03)
        if device.against_loihi:
            computed = dynamic[name] / dynamic[loihi.name]
            what = f"{name} / Loihi, dynamic"
            yield Row(BLOUW, what, device.against_loihi, "x", "EXACT", computed, 0.02)
        if device.whole_mj:
            what = f"{name}, idle included"
            yield Row(BLOUW, what, device.whole_mj, "mJ", "DERIVED", whole[name], 0.01)
        if device.whole_against_loihi:
            computed = whole[name] / whole[loihi.name]
            what = f"{name} / Loihi, idle included"
            yield Row(BLOUW, what, device.whole_against_loihi, "x", "DERIVED", computed, 0.02)
    what, note = "Loihi / Jetson in batches of 64", "the order turns round"
    reversal = dynamic[loihi.name] / JETSON_BATCHED_MJ
    yield Row(BLOUW, what, 2.6, "x", "EXACT", reversal, 0.05, note)
    spikes = Workload(tuple(dense(a, b, steps=1, rate=1.0) for a, b in itertools.pairwise(WIDTHS)))
    once = estimate_energy(spikes, get("loihi-14nm")).components_pj()[
        0, COMPONENTS.index("synapse")
    ]
    computed = loihi.dynamic_mj * 1e9 / float(once)
    what = "accumulations per synapse that would explain Loihi's energy"
    note = "so operations of synapses alone do not explain it"
    yield Row(BLOUW, what, 66.0, "", "DERIVED", computed, 0.01, note)
