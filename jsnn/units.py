"""Quantities as text and from text, in the unit that keeps numbers short."""

from __future__ import annotations

import math
import re

# Size of each unit in what jsnn counts in: pJ, s, bytes, mm².
QUANTITIES = {
    "energy": {"pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "µJ": 1e6, "mJ": 1e9, "J": 1e12},
    "time": {"ns": 1e-9, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "s": 1.0},
    "memory": {
        "B": 1.0,
        "KiB": 2.0**10,
        "kB": 1e3,
        "MiB": 2.0**20,
        "MB": 1e6,
        "GiB": 2.0**30,
        "GB": 1e9,
    },
    "area": {"um2": 1e-6, "mm2": 1.0, "µm2": 1e-6, "cm2": 100.0},
}
_SHOWN = ("pJ", "nJ", "µJ", "mJ", "J", "ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "mm2")

UNITS = ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))


def unit_of(energy_pj: float) -> tuple[float, str]:
    """The largest unit of which the energy is at least ten, pJ below: `(pJ of one unit, name)`.

    >>> unit_of(25_000.0), unit_of(9_000.0)
    ((1000.0, 'nJ'), (1.0, 'pJ'))
    """
    return next((unit for unit in UNITS if abs(energy_pj) >= 10 * unit[0]), UNITS[-1])


def energy_text(energy_pj: float) -> str:
    """An energy with its unit, to three digits or whole units.

    >>> energy_text(123_456.0), energy_text(4_321.0), energy_text(0.0)
    ('123 nJ', '4,321 pJ', '0 pJ')
    """
    pj, name = unit_of(energy_pj)
    value = energy_pj / pj
    return f"{value:,.0f} {name}" if abs(value) >= 100 else f"{value:.3g} {name}"


def parse(word: str, kind: str) -> float:
    """A quantity as people write it, in the unit that jsnn counts in (pJ, s, bytes, mm²).

    Args:
        word: a positive number and a unit of its kind, as `40nJ`, `1.5 ms`, `64KiB` or `2mm2`.
        kind: one of `QUANTITIES`.

    Raises:
        ValueError: no such unit, or not a positive number.

    >>> parse("40nJ", "energy"), parse("64 KiB", "memory"), parse("1e6um2", "area")
    (40000.0, 65536.0, 1.0)
    """
    units = QUANTITIES[kind]
    match = re.fullmatch(r"\s*([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\s0-9.]\S*)\s*", word)
    number, unit = match.groups() if match else ("", "")
    try:
        value = float(number) * units[unit.replace("μ", "µ").replace("²", "2")]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < math.inf:
        example = f"{40 if kind == 'energy' else 2}{list(units)[1]}"
        raise ValueError(
            f"expected a positive {kind} with a unit of {list(units)}, as {example}, got {word!r}"
        )
    return value


def text(value: float, kind: str) -> str:
    """A quantity with the largest unit of which it is at least one, to four digits.

    >>> text(40_000.0, "energy"), text(2.5e-4, "time"), text(65536.0, "memory"), text(0.5, "area")
    ('40 nJ', '250 µs', '64 KiB', '0.5 mm²')
    """
    shown = {unit: size for unit, size in QUANTITIES[kind].items() if unit in _SHOWN}
    fitting = {unit: size for unit, size in shown.items() if abs(value) >= size}
    unit = max(fitting, key=fitting.get) if fitting else min(shown, key=shown.get)
    return f"{value / shown[unit]:.4g} {unit.replace('mm2', 'mm²')}"
