"""A frozen dataclass as a command line: every field is a flag, a typo is an error."""

from __future__ import annotations

import argparse
import dataclasses
import operator
import types
import typing
from collections.abc import Sequence
from typing import Any

HELP = "help"
RULES = {
    "least": (operator.ge, "at least"),
    "above": (operator.gt, "greater than"),
    "below": (operator.lt, "less than"),
}


def knob(default: Any, text: str, **rules: float) -> Any:
    """A field of a config with the line that `--help` prints for it.

    Args:
        default: value where no flag is given.
        text: the line.
        **rules: range of legal values: `least`, `above`, `below`.
    """
    return dataclasses.field(default=default, metadata={HELP: text, **rules})


def flag(name: str) -> str:
    """The flag of a field.

    >>> flag("tau_steps")
    '--tau-steps'
    """
    return "--" + name.replace("_", "-")


def check(config: Any) -> None:
    """Compare every knob with its range, of which NaN is always outside.

    Raises:
        ValueError: naming the flag, its range and the value.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for rule, (fits, words) in RULES.items():
            bound = field.metadata.get(rule)
            if None not in (bound, value) and not fits(value, bound):
                raise ValueError(f"{flag(field.name)} must be {words} {bound}, got {value}")


def parse(cls: type, argv: Sequence[str] | None = None, description: str = "") -> dict[str, Any]:
    """Flags given on the command line as `{field: value}`; fields left out are not in it.

    Args:
        cls: a dataclass whose fields are made by `knob`. Types: str, int, float, bool,
            tuples of one of these (written `256,256`) and any of them `| None` (written `none`).
        argv: words to parse; None takes those of the process.
        description: what `--help` starts with.
    """
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        text = f"{field.metadata[HELP]} (default: {_show(field.default)})"
        if hints[field.name] in (bool, bool | None):
            parser.add_argument(
                flag(field.name), dest=field.name, action=argparse.BooleanOptionalAction, help=text
            )
        else:
            reader = _reader(hints[field.name])
            parser.add_argument(
                flag(field.name), dest=field.name, type=reader, metavar="X", help=text
            )
    return vars(parser.parse_args(argv))


def _reader(hint: Any):
    if isinstance(hint, types.UnionType):
        inner = _reader(next(kind for kind in typing.get_args(hint) if kind is not type(None)))
        return _named(lambda word: None if word == "none" else inner(word), inner.__name__)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        name = "words a,b,c" if inner is str else "numbers a,b,c"
        return _named(lambda word: tuple(inner(part) for part in word.split(",")), name)
    return hint


def _named(reader, name: str):
    # argparse names the reader when a value does not parse.
    reader.__name__ = name
    return reader


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
