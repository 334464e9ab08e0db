"""A frozen dataclass as a command line: every field is a flag, a typo is an error."""

from __future__ import annotations

import argparse
import dataclasses
import math
import operator
import types
import typing
from collections.abc import Sequence
from typing import Any

from jsnn.train.run_folder import RunFolder

HELP = "help"
RULES = {
    "least": (operator.ge, "at least"),
    "above": (operator.gt, "greater than"),
    "below": (operator.lt, "less than"),
}


def option(default: Any, text: str, **rules: float) -> Any:
    """A field of a config, with its line of `--help`.

    Args:
        default: value if no flag is given.
        text: the line of `--help`.
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
    """Check every option against its range; NaN is always outside.

    Raises:
        ValueError: naming the flag, its range and the value.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for rule, (fits, words) in RULES.items():
            bound = field.metadata.get(rule)
            if None not in (bound, value) and not fits(value, bound):
                raise ValueError(f"{flag(field.name)} must be {words} {bound}, got {value}")


def from_json(cls: type, stored: Any, where: Any) -> Any:
    """A config from JSON: every field must be there, of its type and in its range.

    Args:
        cls: a dataclass whose fields are made by `option`.
        stored: the content of the file.
        where: the file, for errors.

    Raises:
        ValueError: fields that are unknown, missing, of another type or out of range, all named.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Pace:
    ...     steps: int = option(6, "time steps", least=1)
    >>> from_json(Pace, {"steps": 3}, "config.json")
    Pace(steps=3)
    >>> from_json(Pace, {"steps": "3"}, "config.json")
    Traceback (most recent call last):
    ValueError: config.json: steps must be of type int, got '3'
    """
    if not isinstance(stored, dict):
        raise ValueError(f"{where} must hold an object of named values, got {_short(stored)}")
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    if unlike := sorted(stored.keys() ^ names):
        words = [f"{name} is {'missing' if name in names else 'unknown'}" for name in unlike]
        raise ValueError(
            f"{where} was written by a version of jsnn with other options, or changed since "
            f"({', '.join(words)}): use it with that version"
        )
    wrong = [
        f"{name} must be {_words(hints[name])}, got {_short(value)}"
        for name, value in stored.items()
        if not _fits(value, hints[name])
    ]
    if wrong:
        raise ValueError(f"{where}: {'; '.join(wrong)}")
    # JSON has lists only.
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
    try:
        config = cls(**values)
        check(config)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return config


def stored_config(
    folder: RunFolder, cls: type, given: dict[str, Any] | None = None, free: Sequence[str] = ()
) -> Any:
    """The config of a run, an instance of `cls`.

    Args:
        folder: of the run.
        cls: dataclass of the config.
        given: flags given now.
        free: names of flags that may differ from those of the run; they win.

    Raises:
        ValueError: the file is damaged, a field is invalid, a flag differs from the run, or the run
            names code (`package.module:name`) that `given` does not repeat.
    """
    stored = folder.stored_config()
    from_json(cls, stored, folder.config)
    refuse_foreign(folder, stored, given or {})
    return from_json(cls, folder.stored_config(given, free), folder.config)


def refuse_foreign(folder: RunFolder, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Compare the code that a run names with the names that are given now.

    Whoever opens a run that he was given runs no code of it unless he says so.

    Args:
        folder: of the run.
        stored: its config.
        given: flags given now.

    Raises:
        ValueError: `dataset` or `model` is `package.module:name` and is not repeated.
    """
    for name in ("dataset", "model"):
        value = stored.get(name)
        if isinstance(value, str) and ":" in value and given.get(name) != value:
            raise ValueError(
                f"{folder.path} names code of its own, {value}, which would be imported and run: "
                f"repeat {flag(name)} {value} to allow it"
            )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON fits the type of a field."""
    if isinstance(hint, types.UnionType):
        return any(_fits(value, kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return isinstance(value, list) and all(_fits(part, inner) for part in value)
    if hint is float:
        # An integer may stand for a float.
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def _words(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        kinds = [_words(kind) for kind in typing.get_args(hint) if kind is not type(None)]
        return f"{' or '.join(kinds)} or null"
    if typing.get_origin(hint) is tuple:
        return f"a list of {typing.get_args(hint)[0].__name__}"
    return "a finite number" if hint is float else f"of type {hint.__name__}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse(cls: type, argv: Sequence[str] | None = None, description: str = "") -> dict[str, Any]:
    """Flags given on the command line as `{field: value}`; fields left out are not in it.

    Args:
        cls: a dataclass whose fields are made by `option`. Types: str, int, float, bool,
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
