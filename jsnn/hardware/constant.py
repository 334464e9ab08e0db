"""Constants with their unit, source and provenance."""

from __future__ import annotations

import dataclasses
import re

import jax

from jsnn._checks import check_number, shown
from jsnn._pytree import pytree

PROVENANCES = {
    "EXACT": "taken from the source text or code itself",
    "SECONDARY": "quoted by somebody else",
    "DERIVED": "worked out from first principles or fitted",
    "RECALLED": "general knowledge, unchecked",
}

# Largest value by the beginning of the unit, as a regular expression: beyond any machine (a joule
# an event, a megawatt), and small enough for every price, times a trillion events, to be finite in
# float32. An exponent, of the unit `1`, is that of a memory's size. The last is for
# what enters no price.
_LARGEST = (
    ("pJ/", 1e9),
    ("pJ", 1e12),
    ("W/Hz", 1.0),
    ("W", 1e6),
    ("s(?![A-Za-z])", 1e3),
    ("cycles", 1e6),
    ("1$", 1.0),
    ("", 1e30),
)


def largest(unit: str) -> float:
    """The largest value that a constant of this unit may have.

    >>> largest("pJ"), largest("pJ/bit")
    (1000000000000.0, 1000000000.0)
    """
    return next(most for pattern, most in _LARGEST if re.match(pattern, unit))


@pytree
@dataclasses.dataclass(frozen=True)
class Constant:
    """A cited constant; a pytree whose only leaf is `value`.

    Attributes:
        value: the number, in `unit`; not negative, at most `largest(unit)`.
        unit: such as `pJ`, `pJ/bit`, `W`.
        source: paper and section, or repository, path and commit.
        provenance: how well it is known: EXACT, SECONDARY, DERIVED or RECALLED.
        note: what else a reader must know.
        low, high: range the number may lie in, where the source or the spread between sources gives
            one; None where nothing is known (see `jsnn.energy.uncertainty` for what is assumed
            then).

    Raises:
        ValueError: empty unit or source, unknown provenance, a value that is no number or out of
            range, a range that has one end only, ends that cross or are no numbers.

    >>> Constant(0.9, "pJ", "Horowitz, ISSCC 2014", "SECONDARY").value
    0.9
    """

    value: float | jax.Array
    unit: str = dataclasses.field(metadata={"static": True})
    source: str = dataclasses.field(metadata={"static": True})
    provenance: str = dataclasses.field(metadata={"static": True})
    note: str = dataclasses.field(default="", metadata={"static": True})
    low: float | None = dataclasses.field(default=None, metadata={"static": True})
    high: float | None = dataclasses.field(default=None, metadata={"static": True})

    def __post_init__(self) -> None:
        for field in ("unit", "source"):
            if not isinstance(getattr(self, field), str):
                raise ValueError(
                    f"expected a text for the {field} of a constant, found "
                    f"{shown(getattr(self, field))}"
                )
            if not getattr(self, field).strip():
                raise ValueError(
                    f"a constant needs a {field}, found an empty string: say where from"
                )
        if not isinstance(self.provenance, str) or self.provenance not in PROVENANCES:
            raise ValueError(
                f"expected a provenance out of {list(PROVENANCES)}, found {shown(self.provenance)}"
            )
        most = largest(self.unit)
        try:
            for name in ("value", "low", "high"):
                if name == "value" or getattr(self, name) is not None:
                    check_number(name, getattr(self, name), 0, most)
        except ValueError as error:
            raise ValueError(
                f"{error} {self.unit}: check the number, and its unit, against its source"
            ) from None
        if (self.low is None) != (self.high is None):
            raise ValueError(f"a range needs both ends, found {self.low} to {self.high}")
        if self.low is not None and not self.low <= self.high:
            raise ValueError(f"expected low <= high, found {self.low} to {self.high}")
