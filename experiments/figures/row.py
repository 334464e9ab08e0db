"""One published figure and the model's."""

from __future__ import annotations

import dataclasses

from jsnn.hardware.constant import PROVENANCES


@dataclasses.dataclass(frozen=True)
class Row:
    """A published figure, what the model gives and how far they may be apart.

    Attributes:
        section: what it belongs to.
        what: the figure.
        published: the number, or `(low, high)` where a range was published.
        unit: of both.
        provenance: how well the published number is known (`jsnn.hardware.constant.PROVENANCES`).
        model: what jsnn gives.
        allowed: largest relative error that counts as reproduced; 0 for a range.
        note: what a reader must know, such as that the model was fitted to it.
        miss: why it is not reproduced; empty where it should be.

    Raises:
        ValueError: an unknown provenance, or an empty range.

    >>> row = Row("x", "y", 4.0, "pJ", "EXACT", 4.1, 0.05)
    >>> round(row.error, 3), row.within
    (0.025, True)
    >>> Row("x", "y", (1.0, 2.0), "pJ", "EXACT", 3.0).within
    False
    """

    section: str
    what: str
    published: float | tuple[float, float]
    unit: str
    provenance: str
    model: float
    allowed: float = 0.0
    note: str = ""
    miss: str = ""

    def __post_init__(self) -> None:
        if self.provenance not in PROVENANCES:
            raise ValueError(
                f"{self.what}: expected one of {list(PROVENANCES)}, found {self.provenance!r}"
            )
        low, high = self.ends
        if low > high:
            raise ValueError(f"{self.what}: expected a range, found {low} to {high}")

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of what was published."""
        if isinstance(self.published, tuple):
            return self.published
        return self.published, self.published

    @property
    def error(self) -> float:
        """Relative distance to the nearer end; zero inside."""
        low, high = self.ends
        nearest = min(max(self.model, low), high)
        return (self.model - nearest) / abs(nearest) if self.model != nearest else 0.0

    @property
    def within(self) -> bool:
        """Whether the model is as near as it should be; a miss may be far off."""
        return abs(self.error) <= self.allowed

    @property
    def verdict(self) -> str:
        """`yes`, `NO`, or for a known miss `miss`."""
        return "miss" if self.miss else "yes" if self.within else "NO"
