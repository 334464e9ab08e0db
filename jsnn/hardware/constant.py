"""A number from the world, kept beside where it comes from."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from jsnn.hardware.trees import is_concrete, pytree

MARKS = {
    "EXACT": "taken from the source text or code itself",
    "SECONDARY": "quoted by somebody else",
    "DERIVED": "worked out from first principles or fitted",
    "RECALLED": "general knowledge, unchecked",
}


@pytree
@dataclasses.dataclass(frozen=True)
class Constant:
    """A cited constant; a pytree whose only leaf is `value`.

    Attributes:
        value: the number, in `unit`; finite and not negative.
        unit: such as `pJ`, `pJ/bit`, `W`.
        source: paper and section, or repository, path and commit.
        mark: how well it is known: EXACT, SECONDARY, DERIVED or RECALLED.
        note: what else a reader must know.
        low, high: range the number may lie in, where the source or the spread between sources gives
            one; None where nothing is known (see `jsnn.uncertainty` for what is assumed then).

    Raises:
        ValueError: empty unit or source, unknown mark, negative or non-finite value, a range that
            has one end only or ends that cross.

    >>> Constant(0.9, "pJ", "Horowitz, ISSCC 2014", "SECONDARY").value
    0.9
    """

    value: float | jax.Array
    unit: str = dataclasses.field(metadata={"static": True})
    source: str = dataclasses.field(metadata={"static": True})
    mark: str = dataclasses.field(metadata={"static": True})
    note: str = dataclasses.field(default="", metadata={"static": True})
    low: float | None = dataclasses.field(default=None, metadata={"static": True})
    high: float | None = dataclasses.field(default=None, metadata={"static": True})

    def __post_init__(self) -> None:
        for field in ("unit", "source"):
            if not getattr(self, field).strip():
                raise ValueError(
                    f"a constant needs a {field}, found an empty string: say where from"
                )
        if self.mark not in MARKS:
            raise ValueError(f"expected a mark out of {list(MARKS)}, found {self.mark!r}")
        if is_concrete(self.value):
            value = np.asarray(self.value)
            if not np.all(np.isfinite(value)) or np.any(value < 0):
                raise ValueError(
                    f"expected a finite constant >= 0 {self.unit}, found {self.value}: "
                    "check the number against its source"
                )
        if (self.low is None) != (self.high is None):
            raise ValueError(f"a range needs both ends, found {self.low} to {self.high}")
        if self.low is not None and not 0 <= self.low <= self.high:
            raise ValueError(f"expected 0 <= low <= high, found {self.low} to {self.high}")
