"""A technology scaled to another node and another supply voltage.

`energy' = energy · e(to, V_to) / e(from, V_from)`, the same with delays, where e and the delay are
the polynomials of Stillmaker and Baas (Integration 58, 2017; `jsnn.hardware.constants.nodes`).
Between two of their nodes both factors are interpolated geometrically in the feature size (ours).

Limits: static CMOS logic, fitted to an inverter chain; wires, memories and leakage scale worse, so
that what comes out is a best case. Energies in pJ and times in s are scaled; a price of DRAM stays
(it is another chip); a static power in W has no scaling here, and is refused. What is scaled is
DERIVED, whatever it was. Outside 7 to 180 nm and outside the voltages of the fit: ValueError.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jsnn._pytree import is_concrete
from jsnn.hardware.constant import Constant
from jsnn.hardware.constants.nodes import NODES, SOURCE, Node
from jsnn.hardware.technology import Technology


def energy_factor(node_nm: float, voltage_v: Any, process: str = "high-performance") -> Any:
    """`e2·V² + e1·V + e0` of a node: energy of a reference gate, good for ratios only.

    Differentiable in the voltage.

    Args:
        node_nm: feature size, 7 to 180.
        voltage_v: supply.
        process: `high-performance` or `low-power` (the same at 65 nm and above).

    Raises:
        ValueError: node, voltage or process out of what the paper covers.

    >>> round(energy_factor(45, 0.9), 4)
    0.6988
    """
    return _factor(node_nm, voltage_v, process, "energy")


def delay_factor(node_nm: float, voltage_v: Any, process: str = "high-performance") -> Any:
    """`d3·V³ + d2·V² + d1·V + d0` of a node: delay of a reference gate, good for ratios only.

    Arguments and errors as `energy_factor`.

    >>> round(delay_factor(45, 0.9), 3)
    12.604
    """
    return _factor(node_nm, voltage_v, process, "delay")


def nominal_voltage_v(node_nm: float, process: str = "high-performance") -> float:
    """Supply of the transistors behind the fit (RECALLED), linear between nodes.

    >>> nominal_voltage_v(45), nominal_voltage_v(14)
    (1.0, 0.8)
    """
    low, high, share = _around(node_nm, process)
    return low.nominal_v + (high.nominal_v - low.nominal_v) * share


def scale(
    technology: Technology,
    node_from_nm: float,
    node_to_nm: float,
    voltage_from_v: Any = None,
    voltage_to_v: Any = None,
    process: str = "high-performance",
) -> Technology:
    """The technology at another node and voltage, every scaled constant marked DERIVED.

    Args:
        technology: constants in pJ (pJ/bit, …) and s.
        node_from_nm, node_to_nm: feature sizes, 7 to 180.
        voltage_from_v, voltage_to_v: supplies; None is the nominal one of the node.
        process: `high-performance` or `low-power` (the same at 65 nm and above).

    Raises:
        ValueError: node, voltage or process out of what the paper covers, or a static power.

    >>> add = Constant(0.9, "pJ", "Horowitz, ISSCC 2014", "SECONDARY")
    >>> moved = scale(Technology({"add_fp32_pj": add}), 45, 7, voltage_from_v=0.9)
    >>> round(moved["add_fp32_pj"], 3), moved.provenances
    (0.062, ('DERIVED',))
    """
    ends = []
    for node_nm, voltage_v in ((node_from_nm, voltage_from_v), (node_to_nm, voltage_to_v)):
        volts = nominal_voltage_v(node_nm, process) if voltage_v is None else voltage_v
        ends.append((node_nm, volts))
    energy, delay = (
        factor(*ends[1], process) / factor(*ends[0], process)
        for factor in (energy_factor, delay_factor)
    )
    (a, v), (b, w) = ends
    voltages = [f"{x:g} V" if is_concrete(x) else "a traced voltage" for x in (v, w)]
    path = f"scaled from {a:g} nm {voltages[0]} to {b:g} nm {voltages[1]} ({process}) by {SOURCE}"

    def moved(name: str, constant: Constant) -> Constant:
        unit = constant.unit
        if unit == "W":
            raise ValueError(
                f"{name} is a static power: leakage does not follow the scaling of logic; leave it "
                "out of the technology or state it for the new node"
            )
        if name.startswith("dram_") or not (unit == "s" or unit.startswith("pJ")):
            return constant
        return _times(constant, delay if unit == "s" else energy, path)

    return Technology({name: moved(name, c) for name, c in technology.constants.items()})


# How the constants of adders, multipliers and flip-flops begin.
_LOGIC = ("add_", "mul_", "mac_", "accumulate_", "register_")


def logic_at(
    technology: Technology,
    node_nm: float,
    voltage_from_v: Any,
    voltage_to_v: Any,
    process: str = "high-performance",
) -> Technology:
    """The technology with its logic at another supply, at the same node.

    Adders, multipliers and registers follow `scale`; memories, links and DRAM are on supplies of
    their own and stay, since no scaling for them is given here. Differentiable in both voltages.

    Raises:
        ValueError: no logic among the constants, or as `scale`.

    >>> from jsnn.hardware import get
    >>> technology = get("spatial-45nm").technology
    >>> low = logic_at(technology, 45, 0.9, 0.6)
    >>> [round(low[name] / technology[name], 3) for name in ("add_int8_pj", "sram_8kib_pj")]
    [0.478, 1.0]
    """
    logic = {n: c for n, c in technology.constants.items() if n.startswith(_LOGIC)}
    if not logic:
        raise ValueError(
            f"no constant of {sorted(technology.constants)} is that of plain logic: nothing says "
            "how they follow a voltage"
        )
    moved = scale(Technology(logic), node_nm, node_nm, voltage_from_v, voltage_to_v, process)
    return Technology(technology.constants | moved.constants)


def by_node(
    technology: Technology,
    node_from_nm: float,
    nodes_nm: Sequence[float],
    process: str = "high-performance",
) -> dict[str, list[float]]:
    """Values of the constants that `scale` moves, by name, one for each node at its nominal supply.

    As columns of design points (`jsnn.energy.breakeven.sweep`) they draw a map over technologies.

    Raises:
        ValueError: no node, or as `scale`.

    >>> add = Constant(0.9, "pJ", "Horowitz, ISSCC 2014", "SECONDARY")
    >>> moved = by_node(Technology({"add_fp32_pj": add}), 45, [45, 7])
    >>> [round(value, 3) for value in moved["add_fp32_pj"]]
    [0.9, 0.051]
    """
    if not len(nodes_nm):
        raise ValueError("expected one node or more, found none")
    moved = [scale(technology, node_from_nm, node, process=process) for node in nodes_nm]
    return {
        name: [float(prices[name]) for prices in moved]
        for name, constant in technology.constants.items()
        if moved[0].constants[name] is not constant
    }


def _times(constant: Constant, factor: Any, path: str) -> Constant:
    ends = {}
    if constant.low is not None:
        # Ranges are static: a traced factor leaves none.
        fixed = is_concrete(factor)
        ends = {
            end: float(getattr(constant, end) * factor) if fixed else None
            for end in ("low", "high")
        }
    return dataclasses.replace(
        constant,
        value=constant.value * factor,
        source=f"{constant.source}; {path}",
        provenance="DERIVED",
        **ends,
    )


def _around(node_nm: float, process: str) -> tuple[Node, Node, float]:
    """The nodes on both sides and how far, in log of the feature size, the way between them is."""
    if process not in NODES:
        raise ValueError(f"unknown process {process!r}; valid: {list(NODES)}")
    nodes = NODES[process]
    if not is_concrete(node_nm):
        raise ValueError(f"expected a node in nm that is a plain number, found {node_nm}")
    if not min(nodes) <= node_nm <= max(nodes):
        raise ValueError(
            f"expected a node of {min(nodes)} to {max(nodes)} nm, found {node_nm}: nothing is "
            "published beyond"
        )
    low = max(n for n in nodes if n <= node_nm)
    high = min(n for n in nodes if n >= node_nm)
    share = math.log(node_nm / low) / math.log(high / low) if high > low else 0.0
    return nodes[low], nodes[high], share


def _factor(node_nm: float, voltage_v: Any, process: str, quantity: str) -> Any:
    low, high, share = _around(node_nm, process)
    least, most = max(low.least_v, high.least_v), max(low.nominal_v, high.nominal_v)
    if is_concrete(voltage_v) and not np.all(
        (np.asarray(voltage_v) >= least) & (np.asarray(voltage_v) <= most)
    ):
        raise ValueError(
            f"expected {least} to {most} V at {node_nm:g} nm ({process}), found {voltage_v} V: "
            "the fit does not reach there"
        )

    def at(node: Node) -> Any:
        value = 0.0
        for coefficient in getattr(node, quantity):
            value = value * voltage_v + coefficient
        return value

    return at(low) if low is high else at(low) ** (1 - share) * at(high) ** share
