"""Machines by name, or by a file."""

from __future__ import annotations

import difflib

from jsnn.hardware.hardware import Hardware
from jsnn.hardware.presets import accelerators, architectures, chips, conventions
from jsnn.hardware.toml import load

_FAMILIES = (conventions, architectures, accelerators, chips)
_PRESETS: dict[str, tuple[str, Hardware]] = {
    hardware.name: (line, hardware) for family in _FAMILIES for line, hardware in family.MACHINES
}


def machines() -> dict[str, str]:
    """One line about each machine, by name.

    >>> list(machines())[:3]
    ['compute-only-45nm', 'hierarchy-45nm', 'hierarchy-45nm-published']
    """
    return {name: line for name, (line, _) in _PRESETS.items()}


def get(name: str) -> Hardware:
    """The machine of that name, or of a TOML file (`jsnn.hardware.toml`).

    Raises:
        ValueError: no machine of that name, with the valid ones, or a bad file.

    >>> get("hierarchy-45nm").design.weight_bits
    8.0
    """
    if name.endswith(".toml"):
        return load(name)
    if name not in _PRESETS:
        close = difflib.get_close_matches(name, _PRESETS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"unknown hardware {name!r}{hint}; valid: {list(_PRESETS)}, or a .toml file"
        )
    return _PRESETS[name][1]
