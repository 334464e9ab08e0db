"""Machines by name."""

from __future__ import annotations

import difflib

from jsnn.hardware.hardware import Hardware
from jsnn.hardware.presets import conventions

_FAMILIES = (conventions,)
_PRESETS: dict[str, tuple[str, Hardware]] = {
    hardware.name: (line, hardware) for family in _FAMILIES for line, hardware in family.MACHINES
}


def presets() -> dict[str, str]:
    """One line about each machine, by name.

    >>> list(presets())[:3]
    ['compute-only-45nm', 'hierarchy-45nm', 'neuromorphic-22nm']
    """
    return {name: line for name, (line, _) in _PRESETS.items()}


def get(name: str) -> Hardware:
    """The machine of that name; ValueError with the valid names where there is none.

    >>> get("hierarchy-45nm").design.weight_bits
    8.0
    """
    if name not in _PRESETS:
        close = difflib.get_close_matches(name, _PRESETS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown hardware {name!r}{hint}; valid: {list(_PRESETS)}")
    return _PRESETS[name][1]
