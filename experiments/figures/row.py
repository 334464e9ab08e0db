"""Row of a published figure and the figure of the model."""

from __future__ import annotations

import dataclasses

from jsnn.hardware.constant import PROVENANCES


@dataclasses.dataclass(frozen=True)
class Row:
    """A published figure, that of the model and the permitted difference.

    Attributes:
        section: section of the table.
        what: name of the figure.
        published: the number, or `(low, high)` where a range was published.
        unit: of both.
        provenance: how well the published number is known (`jsnn.hardware.constant.PROVENANCES`).
        model: value from jsnn.
        allowed: largest relative error that counts as reproduced; 0 for a range.
        note: remark for the reader, such as that the model was fitted to it.
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
        """Both ends of the published range."""
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
        """Whether the error is at most `allowed`; need not be for a known miss."""
        return abs(self.error) <= self.allowed

    @property
    def verdict(self) -> str:
        """`yes`, `NO`, or for a known miss `miss`."""
        return "miss" if self.miss else "yes" if self.within else "NO"
