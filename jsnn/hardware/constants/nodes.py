"""Energy and delay of CMOS by node and voltage after Stillmaker and Baas.

With V the supply, the factors of a node are `energy = e2·V² + e1·V + e0` (fJ of a reference gate)
and `delay = d3·V³ + d2·V² + d1·V + d0` (ps of it); only ratios of them mean anything.
"""

from __future__ import annotations

from typing import NamedTuple

_PAPER = "Stillmaker and Baas, Integration 58 (2017) 74-81"
SOURCE = f"{_PAPER}, as in wromaszkan/nodeScale nodeScale.py@a912c607668e"
PROVENANCE = "SECONDARY"


class Node(NamedTuple):
    """One row of the paper's tables.

    Attributes:
        delay: d3, d2, d1, d0.
        energy: e2, e1, e0.
        nominal_v: supply of the transistor model behind the fit (PTM; RECALLED).
        least_v: below it this project does not use the fit: 0.5 V, or where its delay no longer
            falls with the voltage (DERIVED).
    """

    delay: tuple[float, float, float, float]
    energy: tuple[float, float, float]
    nominal_v: float
    least_v: float


_PLANAR = {
    180: Node((0, 97.09, -356.7, 406.5), (0, 24.64, -17.98), 1.8, 0.75),
    130: Node((-76.65, 334.9, -493.4, 275.8), (7.171, -6.709, 2.904), 1.3, 0.5),
    90: Node((-60.34, 262.5, -384.2, 210.9), (4.762, -4.781, 2.092), 1.2, 0.55),
    65: Node((-53.3, 230.4, -333.9, 178.6), (3.755, -4.398, 1.975), 1.1, 0.6),
}

# By feature size in nm; below 65 nm the transistors are tuned for speed or for little leakage.
NODES = {
    "high-performance": _PLANAR
    | {
        45: Node((-501.6, 1567, -1619, 566.1), (1.018, -0.3107, 0.1539), 1.0, 0.5),
        32: Node((-1047, 2982, -2797, 873.5), (0.8367, -0.4341, 0.1701), 0.9, 0.5),
        20: Node((0, 34.63, -66.37, 41.15), (0.373, -0.1582, 0.04104), 0.9, 0.5),
        16: Node((0, 24.8, -47.52, 28.87), (0.2958, -0.1241, 0.03024), 0.85, 0.5),
        14: Node((-40.66, 109.2, -100.6, 35.92), (0.2363, -0.09675, 0.02239), 0.8, 0.5),
        10: Node((-34.95, 93.65, -85.99, 30.4), (0.2068, -0.09311, 0.02375), 0.75, 0.5),
        7: Node((-28.58, 76.6, -70.26, 24.69), (0.1776, -0.09097, 0.02447), 0.7, 0.5),
    },
    "low-power": _PLANAR
    | {
        45: Node((-285.7, 1239, -1795, 898.8), (1.103, -0.362, 0.2767), 1.1, 0.5),
        32: Node((-325.9, 1374, -1922, 913.2), (0.9559, -0.7823, 0.471), 1.0, 0.5),
        20: Node((-160.5, 514.1, -558.6, 217.5), (0.2632, -0.14, 0.06841), 0.9, 0.5),
        16: Node((-114.6, 366.7, -397.4, 153.6), (0.2139, -0.1187, 0.05639), 0.85, 0.5),
        14: Node((-85.37, 271.6, -292.2, 111.4), (0.1556, -0.06472, 0.03066), 0.8, 0.5),
        10: Node((-71.76, 228.6, -246.3, 93.91), (0.1261, -0.0518, 0.02769), 0.75, 0.5),
        7: Node((-61.79, 196.1, -210.3, 79.55), (0.09365, -0.03409, 0.02043), 0.7, 0.5),
    },
}
