"""Machines of your own: a TOML file instead of a preset.

    name = "my-chip-28nm"

    [architecture]
    name = "chip"

    [constants.synop_pj]
    value = 6.5
    unit = "pJ"
    source = "Doe et al., ISSCC 2030, table 2 (28 nm, 0.6 V)"
    mark = "SECONDARY"
    note = "measured"
    low = 5.9
    high = 8.1

    [constants.neuron_pj]
    value = 14
    unit = "pJ"
    source = "Doe et al., ISSCC 2030, table 2 (28 nm, 0.6 V)"
    mark = "SECONDARY"

    [constants.hop_pj]
    value = 1.2
    unit = "pJ"
    source = "Doe et al., ISSCC 2030, figure 9"
    mark = "DERIVED"

    [unpriced]
    weight_memory = "in the price of a synaptic operation"
    state_memory = "in the price of a synaptic operation"
    activation_movement = "all movement is by messages, under routing"

    [design]
    hops = 2.5
    targets_per_message = 64

* `name`: what reports call it.
* `[architecture]`: `name` is one of `ARCHITECTURES`; its options by name stand beside it, such as
  `memory = "horowitz-power-law"` or `published_bugs = true`.
* `[constants.NAME]`: exactly the constants that the architecture takes; a `chip` takes what its
  source publishes (`jsnn.hardware.architectures.chip`). `value`, `unit`, `source` and `mark`
  (EXACT, SECONDARY, DERIVED or RECALLED) are needed, `note`, `low` and `high` are not. The unit
  must begin with the one at the end of the name. `static_power_w` and `step_latency_s`, both or
  none, may be added to a machine that has no static price: power of what one layer occupies,
  duration of a step.
* `[unpriced]`: for a `chip` only: the reason of each component that no constant prices.
* `[design]`: exactly the knobs of the architecture (`jsnn.hardware.Design`).

`jsnn.hardware.get("my-chip.toml")` and every `--hardware` option take the path; `dump` writes a
machine down.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jsnn.hardware import architectures
from jsnn.hardware.architectures import Chip
from jsnn.hardware.constant import Constant
from jsnn.hardware.design import BOUNDS, Design
from jsnn.hardware.hardware import Hardware
from jsnn.hardware.ledger import COMPONENTS
from jsnn.hardware.technology import Technology
from jsnn.hardware.trees import is_concrete

# Architectures by name: all that the package offers.
ARCHITECTURES: dict[str, type] = {
    offered.name: offered
    for offered in (getattr(architectures, name) for name in architectures.__all__)
    if dataclasses.is_dataclass(offered)
}
_SECTIONS = ("name", "architecture", "constants", "unpriced", "design")
_FIELDS = ("value", "unit", "source", "mark", "note", "low", "high")
_NEEDED_FIELDS = _FIELDS[:4]
_STATIC = ("static_power_w", "step_latency_s")
# How the unit of a constant begins, by how its name ends; longer endings first.
_UNITS = (
    ("_w_per_hz", "W/Hz"),
    ("_pj_per_bit_hop", "pJ/bit/hop"),
    ("_pj_per_bit2", "pJ/"),
    ("_pj_per_bit", "pJ/bit"),
    ("_cycles", "cycles"),
    ("_pj", "pJ"),
    ("_w", "W"),
    ("_s", "s"),
)


def load(path: str | Path) -> Hardware:
    """The machine that a TOML file describes; the format is that of the module.

    Raises:
        ValueError: naming the file and the field: no such file, no TOML, an unknown or missing
            section, architecture, option, constant or knob, a constant without value, unit, source
            or mark, a negative one, a unit that does not fit its name, a value out of bounds.

    >>> import tempfile, textwrap
    >>> text = textwrap.dedent(__doc__[__doc__.index("    name ="):__doc__.index("* `name`")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "my-chip.toml"
    ...     _ = path.write_text(text)
    ...     machine = load(path)
    >>> machine.name, machine.technology["synop_pj"], machine.design.hops
    ('my-chip-28nm', 6.5, 2.5)
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"no such hardware file: {path}; give the path of a .toml file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as text: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: no valid TOML: {error}") from error
    return _machine(path, content)


def dump(hardware: Hardware) -> str:
    """The text of a file that `load` reads back as the same machine.

    Raises:
        ValueError: a constant or knob that is traced, or one for each layer: a file holds numbers;
            a chip with remarks about what is no component.

    >>> from jsnn.hardware import get
    >>> dump(get("loihi-kerasspiking")).splitlines()[:4]
    ['name = "loihi-kerasspiking"', '', '[architecture]', 'name = "chip"']
    """
    chip = isinstance(hardware.architecture, Chip)
    fields = () if chip else dataclasses.fields(hardware.architecture)
    options = {f.name: getattr(hardware.architecture, f.name) for f in fields}
    sections = {"[architecture]": {"name": hardware.architecture.name, **options}}
    for name, constant in hardware.technology.constants.items():
        held = {field: getattr(constant, field) for field in _FIELDS}
        kept = {k: v for k, v in held.items() if v is not None and v != ""}
        numbers = {k: _plain(f"{name}.{k}", v) for k, v in kept.items() if not isinstance(v, str)}
        sections[f"[constants.{name}]"] = kept | numbers
    if chip:
        sections["[unpriced]"] = reasons = dict(hardware.architecture.reasons)
        if other := sorted(set(reasons) - set(COMPONENTS)):
            raise ValueError(f"{hardware.name}: a file has no place for remarks about {other}")
    sections["[design]"] = {k: _plain(k, value) for k, value in hardware.design.knobs.items()}
    lines = [f"name = {json.dumps(hardware.name)}"]
    for title, entries in sections.items():
        # What JSON writes of texts, numbers and truth is TOML too.
        lines += ["", title, *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join([*lines, ""])


def _plain(name: str, value: Any) -> float:
    if not is_concrete(value) or np.size(value) != 1:
        raise ValueError(f"{name}: expected one number that is known now, found {value}")
    return float(value)


def _machine(path: Path, content: Mapping[str, Any]) -> Hardware:
    _only(path, "the file", content, _SECTIONS)
    name = _text(path, "name", content.get("name"))
    options = dict(_table(path, content, "architecture"))
    stated = _text(path, "architecture.name", options.pop("name", None))
    if stated not in ARCHITECTURES:
        raise ValueError(
            f"{path}: architecture.name: unknown architecture {stated!r}; valid: "
            f"{sorted(ARCHITECTURES)}"
        )
    constants = {
        key: _constant(path, key, entry)
        for key, entry in _table(path, content, "constants").items()
    }
    reasons = _table(path, content, "unpriced")
    architecture = _architecture(path, stated, options, tuple(constants), reasons)
    _check_constants(path, stated, architecture.constants, constants)
    design = _design(path, stated, architecture.knobs, _table(path, content, "design"))
    return Hardware(name, architecture, Technology(constants), design)


def _architecture(
    path: Path,
    name: str,
    options: dict[str, Any],
    constants: tuple[str, ...],
    reasons: Mapping[str, Any],
) -> Any:
    known = {f.name for f in dataclasses.fields(ARCHITECTURES[name])}
    if name == Chip.name:
        known = set()
        options = {
            "constants": tuple(c for c in constants if not _is_static_pair(c, constants)),
            "reasons": tuple((k, _text(path, f"unpriced.{k}", v)) for k, v in reasons.items()),
        }
        _only(path, "unpriced", reasons, COMPONENTS)
    elif reasons:
        raise ValueError(
            f"{path}: unpriced: architecture {name!r} knows by itself what it has no price for; "
            "leave the section away"
        )
    else:
        _only(path, "architecture", options, known)
        missing = [
            f.name
            for f in dataclasses.fields(ARCHITECTURES[name])
            if f.default is dataclasses.MISSING and f.name not in options
        ]
        if missing:
            raise ValueError(f"{path}: architecture: {name!r} needs the options {missing}")
    try:
        return ARCHITECTURES[name](**options)
    except ValueError as error:
        raise ValueError(f"{path}: architecture {name!r}: {error}") from error


def _is_static_pair(name: str, constants: tuple[str, ...]) -> bool:
    """Whether the constant is of the pair that any machine may add."""
    return name in _STATIC and "static_power_w" in constants


def _constant(path: Path, name: str, entry: Any) -> Constant:
    where = f"constants.{name}"
    if not isinstance(entry, dict):
        raise ValueError(
            f"{path}: {where}: expected a table with {list(_NEEDED_FIELDS)}, found {entry!r}"
        )
    _only(path, where, entry, _FIELDS)
    missing = [field for field in _NEEDED_FIELDS if field not in entry]
    if missing:
        raise ValueError(f"{path}: {where}: {missing} missing: state where the number comes from")
    numbers = {
        field: _number(path, f"{where}.{field}", entry[field])
        for field in ("value", "low", "high")
        if field in entry
    }
    words = {
        field: _text(path, f"{where}.{field}", entry[field])
        for field in ("unit", "source", "mark", "note")
        if field in entry
    }
    expected = next((unit for ending, unit in _UNITS if name.endswith(ending)), "")
    if not words["unit"].startswith(expected):
        raise ValueError(
            f"{path}: {where}.unit: expected {expected!r} as the name says, found "
            f"{words['unit']!r}: convert the value"
        )
    try:
        return Constant(**numbers, **words)
    except ValueError as error:
        raise ValueError(f"{path}: {where}: {error}") from error


def _check_constants(
    path: Path, architecture: str, needed: tuple[str, ...], found: Mapping[str, Constant]
) -> None:
    allowed = (*needed, *_STATIC)
    unknown = [name for name in found if name not in allowed]
    missing = [name for name in needed if name not in found]
    if unknown or missing:
        raise ValueError(
            f"{path}: constants: architecture {architecture!r} takes {list(needed)}; unknown: "
            f"{unknown or 'none'}, missing: {missing or 'none'}"
        )
    extra = [name for name in _STATIC if name in found and name not in needed]
    if extra and (len(extra) == 1 or "core_static_power_w" in found or "leakage_power_w" in found):
        raise ValueError(
            f"{path}: constants: {list(_STATIC)} belong together, beside no other static power; "
            f"found {extra}: add both or drop them"
        )


def _design(
    path: Path, architecture: str, needed: tuple[str, ...], entries: Mapping[str, Any]
) -> Design:
    unknown = [name for name in entries if name not in needed]
    missing = [name for name in needed if name not in entries]
    if unknown or missing:
        raise ValueError(
            f"{path}: design: architecture {architecture!r} takes the knobs {list(needed)} (of "
            f"{len(BOUNDS)} in all); unknown: {unknown or 'none'}, missing: {missing or 'none'}"
        )
    knobs = {name: _number(path, f"design.{name}", value) for name, value in entries.items()}
    try:
        return Design(**knobs)
    except ValueError as error:
        raise ValueError(f"{path}: design: {error}") from error


def _only(path: Path, where: str, entries: Mapping[str, Any], known: Any) -> None:
    unknown = [key for key in entries if key not in known]
    if unknown:
        raise ValueError(f"{path}: {where}: unknown {unknown}; valid: {sorted(known) or 'nothing'}")


def _table(path: Path, content: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    found = content.get(section, {})
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {section}: expected a table [{section}], found {found!r}")
    return found


def _text(path: Path, field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{path}: {field}: expected a text that is not empty, found {value!r}")
    return value


def _number(path: Path, field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path}: {field}: expected a number, found {value!r}")
    return float(value)
