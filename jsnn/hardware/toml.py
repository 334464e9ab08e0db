"""Machines of your own: a TOML file instead of a preset.

    name = "my-chip-28nm"

    [architecture]
    name = "chip"

    [constants.synop_pj]
    value = 6.5
    unit = "pJ"
    source = "Doe et al., ISSCC 2030, table 2 (28 nm, 0.6 V)"
    provenance = "SECONDARY"
    note = "measured"
    low = 5.9
    high = 8.1

    [constants.neuron_pj]
    value = 14
    unit = "pJ"
    source = "Doe et al., ISSCC 2030, table 2 (28 nm, 0.6 V)"
    provenance = "SECONDARY"

    [constants.hop_pj]
    value = 1.2
    unit = "pJ"
    source = "Doe et al., ISSCC 2030, figure 9"
    provenance = "DERIVED"

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
  source publishes (`jsnn.hardware.architectures.chip`). `value`, `unit`, `source` and `provenance`
  (EXACT, SECONDARY, DERIVED or RECALLED) are needed, `note`, `low` and `high` are not. The unit
  must begin with the one at the end of the name, and a value is not larger than any machine needs
  (`jsnn.hardware.constant.largest`). `static_power_w` and `step_latency_s`, both or none, may be
  added to a machine that has no static price: power of what one layer occupies, duration of a step.
* `[unpriced]`: for a `chip` only: the reason of each component that no constant prices.
* `[design]`: exactly the design parameters of the architecture (`jsnn.hardware.Design`).

`jsnn.hardware.get("my-chip.toml")` and every `--hardware` option take the path; `dump` writes a
machine as such a file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jsnn._checks import shown
from jsnn._pytree import is_concrete
from jsnn.hardware import architectures
from jsnn.hardware.actions import COMPONENTS
from jsnn.hardware.architectures import Chip
from jsnn.hardware.arithmetic import ARITHMETIC, arithmetic
from jsnn.hardware.constant import Constant
from jsnn.hardware.design import BOUNDS, Design
from jsnn.hardware.hardware import Hardware
from jsnn.hardware.memory import MEMORIES, memory
from jsnn.hardware.technology import Technology

# Architectures by name: all that the package offers.
ARCHITECTURES: dict[str, type] = {
    offered.name: offered
    for offered in (getattr(architectures, name) for name in architectures.__all__)
    if dataclasses.is_dataclass(offered)
}
_SECTIONS = ("name", "architecture", "constants", "unpriced", "design")
_FIELDS = ("value", "unit", "source", "provenance", "note", "low", "high")
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
    ("_exponent", "1"),
)
_KINDS = {"str": (str, "a text"), "bool": (bool, "true or false")}
# Models by the type of the field that holds them: a file has their names.
_MODELS = {"MemoryModel": (memory, MEMORIES), "Arithmetic": (arithmetic, ARITHMETIC)}


def load(path: str | Path) -> Hardware:
    """The machine that a TOML file describes; the format is that of the module.

    Raises:
        ValueError: naming the file and the field: no such file, no TOML, an unknown or missing
            section, architecture, option, constant or design parameter, anything of another type
            than it should have, a constant without value, unit, source or provenance, a unit that
            does not fit its name, a number that is not finite or out of bounds.

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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"no such hardware file: {path}; give the path of a .toml file") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as text: {error}") from error
    return _parsed(path, text)


def dump(hardware: Hardware) -> str:
    """The text of a file, in ASCII, that `load` reads back as the same machine.

    Raises:
        ValueError: a constant or design parameter that is traced, not finite, or one for each
            layer: a file holds numbers; an architecture that is not of this package; a chip with
            remarks about what is no component; whatever else `load` would refuse.

    >>> from jsnn.hardware import get
    >>> dump(get("loihi-kerasspiking")).splitlines()[:4]
    ['name = "loihi-kerasspiking"', '', '[architecture]', 'name = "chip"']
    """
    architecture = hardware.architecture
    if type(architecture) is not ARCHITECTURES.get(architecture.name):
        raise ValueError(
            f"{hardware.name}: a file holds an architecture of {sorted(ARCHITECTURES)}, found "
            f"{type(architecture).__name__} ({architecture.name!r})"
        )
    chip = isinstance(architecture, Chip)
    options = {} if chip else _options(hardware)
    sections = {"[architecture]": {"name": hardware.architecture.name, **options}}
    for name, constant in hardware.technology.constants.items():
        sections[f"[constants.{name}]"] = _fields(name, constant)
    if chip:
        sections["[unpriced]"] = reasons = dict(hardware.architecture.reasons)
        if other := sorted(set(reasons) - set(COMPONENTS)):
            raise ValueError(f"{hardware.name}: a file has no place for remarks about {other}")
    sections["[design]"] = {k: _plain(k, value) for k, value in hardware.design.parameters.items()}
    lines = [f"name = {_written('name', hardware.name)}"]
    for title, entries in sections.items():
        written = (f"{key} = {_written(f'{title} {key}', v)}" for key, v in entries.items())
        lines += ["", title, *written]
    text = "\n".join([*lines, ""])
    if _parsed(Path("the file of this machine"), text) != hardware:
        raise ValueError(f"{shown(hardware.name)}: a file does not hold all of this machine")
    return text


def _fields(name: str, constant: Constant) -> dict[str, Any]:
    """Fields of a constant that say something."""
    fields = {field: getattr(constant, field) for field in _FIELDS}
    stated = {k: v for k, v in fields.items() if v is not None and v != ""}
    numbers = {k: _plain(f"{name}.{k}", v) for k, v in stated.items() if not isinstance(v, str)}
    return stated | numbers


def _options(hardware: Hardware) -> dict[str, Any]:
    """Options of the architecture, models by their names."""
    options = {}
    for field in dataclasses.fields(hardware.architecture):
        value = getattr(hardware.architecture, field.name)
        if field.type in _MODELS:
            _, models = _MODELS[field.type]
            if models.get(value.name) != value:
                raise ValueError(
                    f"{hardware.name}: a file holds a model of {sorted(models)} as {field.name}, "
                    f"found {value!r}"
                )
            value = value.name
        options[field.name] = value
    return options


def _plain(name: str, value: Any) -> float:
    if not is_concrete(value) or np.size(value) != 1:
        raise ValueError(f"{name}: expected one number that is known now, found {shown(value)}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name}: expected a finite number, found {shown(value)}")
    return float(np.reshape(value, ()))


def _written(where: str, value: Any) -> str:
    """A text, number or truth in TOML; `where` it stands is for messages."""
    if not isinstance(value, str):
        return json.dumps(value)
    if lone := re.search("[\ud800-\udfff]", value):
        raise ValueError(
            f"{where}: half a character, {lone[0]!r}, which no file holds: found {shown(value)}"
        )
    # As JSON writes it, but for DEL and for what is beyond U+FFFF.
    escaped = (
        f"\\U{ord(c):08x}" if ord(c) > 0xFFFF or c == "\x7f" else json.dumps(c)[1:-1] for c in value
    )
    return f'"{"".join(escaped)}"'


def _parsed(path: Path, text: str) -> Hardware:
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path}: no valid TOML: lists or tables are nested too deep") from error
    except ValueError as error:
        # Of numbers with thousands of digits, too.
        raise ValueError(f"{path}: no valid TOML: {error}") from error
    return _machine(path, content)


def _machine(path: Path, content: Mapping[str, Any]) -> Hardware:
    _only(path, "the file", content, _SECTIONS)
    name = _text(path, "name", content.get("name"))
    options = dict(_table(path, content, "architecture"))
    stated = _text(path, "architecture.name", options.pop("name", None))
    if stated not in ARCHITECTURES:
        raise ValueError(
            f"{path}: architecture.name: unknown architecture {shown(stated)}; valid: "
            f"{sorted(ARCHITECTURES)}"
        )
    constants = {
        key: _constant(path, key, entry)
        for key, entry in _table(path, content, "constants").items()
    }
    reasons = _table(path, content, "unpriced")
    architecture = _architecture(path, stated, options, tuple(constants), reasons)
    _check_constants(path, stated, architecture.constants, constants)
    design = _design(path, stated, architecture.parameters, _table(path, content, "design"))
    return Hardware(name, architecture, Technology(constants), design)


def _architecture(
    path: Path,
    name: str,
    options: dict[str, Any],
    constants: tuple[str, ...],
    reasons: Mapping[str, Any],
) -> Any:
    field_types = {f.name: f.type for f in dataclasses.fields(ARCHITECTURES[name])}
    if name == Chip.name:
        _only(path, "architecture", options, ())
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
        _check_options(path, name, options, field_types)
    try:
        models = {
            k: _MODELS[field_types[k]][0](v)
            for k, v in options.items()
            if field_types[k] in _MODELS
        }
        return ARCHITECTURES[name](**options | models)
    except ValueError as error:
        raise ValueError(f"{path}: architecture {name!r}: {error}") from error


def _check_options(
    path: Path, architecture: str, options: Mapping[str, Any], field_types: Mapping[str, str]
) -> None:
    """Refuses options that are unknown, missing, or of another type; `known` has their types."""
    _only(path, "architecture", options, field_types)
    for option, value in options.items():
        kind, words = _KINDS["str" if field_types[option] in _MODELS else field_types[option]]
        if not isinstance(value, kind):
            raise ValueError(
                f"{path}: architecture.{option}: expected {words}, found {shown(value)}"
            )
    missing = [
        f.name
        for f in dataclasses.fields(ARCHITECTURES[architecture])
        if f.default is dataclasses.MISSING and f.name not in options
    ]
    if missing:
        raise ValueError(f"{path}: architecture: {architecture!r} needs the options {missing}")


def _is_static_pair(name: str, constants: tuple[str, ...]) -> bool:
    """Whether the constant is of the pair that any machine may add."""
    return name in _STATIC and "static_power_w" in constants


def _constant(path: Path, name: str, entry: Any) -> Constant:
    where = f"constants.{name}"
    if not isinstance(entry, dict):
        raise ValueError(
            f"{path}: {where}: expected a table with {list(_NEEDED_FIELDS)}, found {shown(entry)}"
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
        for field in ("unit", "source", "provenance", "note")
        if field in entry
    }
    expected = next((unit for ending, unit in _UNITS if name.endswith(ending)), "")
    rest = words["unit"].removeprefix(expected)
    longer = expected[-1:].isalnum() and rest[:1].isalnum()
    if not words["unit"].startswith(expected) or longer:
        raise ValueError(
            f"{path}: {where}.unit: expected {expected!r} as the name says, found "
            f"{shown(words['unit'])}: convert the value"
        )
    try:
        return Constant(**numbers, **words)
    except ValueError as error:
        raise ValueError(f"{path}: {where}: {error}") from error


def _check_constants(
    path: Path, architecture: str, needed: tuple[str, ...], constants: Mapping[str, Constant]
) -> None:
    allowed = (*needed, *_STATIC)
    unknown = [name for name in constants if name not in allowed]
    missing = [name for name in needed if name not in constants]
    if unknown or missing:
        raise ValueError(
            f"{path}: constants: architecture {architecture!r} takes {list(needed)}; unknown: "
            f"{shown(unknown) if unknown else 'none'}, missing: {missing or 'none'}"
        )
    _check_static(path, needed, constants)


def _check_static(path: Path, needed: tuple[str, ...], constants: Mapping[str, Constant]) -> None:
    extra = [name for name in _STATIC if name in constants and name not in needed]
    if extra and (
        len(extra) == 1 or "core_static_power_w" in constants or "leakage_power_w" in constants
    ):
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
            f"{path}: design: architecture {architecture!r} takes the design parameters "
            f"{list(needed)} (of "
            f"{len(BOUNDS)} in all); unknown: "
            f"{shown(unknown) if unknown else 'none'}, missing: {missing or 'none'}"
        )
    parameters = {name: _number(path, f"design.{name}", value) for name, value in entries.items()}
    try:
        return Design(**parameters)
    except ValueError as error:
        raise ValueError(f"{path}: design: {error}") from error


def _only(path: Path, where: str, entries: Mapping[str, Any], allowed: Any) -> None:
    unknown = [key for key in entries if key not in allowed]
    if unknown:
        raise ValueError(
            f"{path}: {where}: unknown {shown(unknown)}; valid: {sorted(allowed) or 'nothing'}"
        )


def _table(path: Path, content: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    table = content.get(section, {})
    if not isinstance(table, dict):
        raise ValueError(f"{path}: {section}: expected a table [{section}], found {shown(table)}")
    return table


def _text(path: Path, field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{path}: {field}: expected a text that is not empty, found {shown(value)}"
        )
    return value


def _number(path: Path, field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path}: {field}: expected a number, found {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{path}: {field}: expected a finite number, found {shown(value)}")
    return number
