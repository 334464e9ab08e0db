"""Energies for the reader: the unit that keeps numbers short."""

from __future__ import annotations

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
