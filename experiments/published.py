"""Published figures that can be recomputed: printed value, value from jsnn and error.

    python -m experiments.published
    python -m experiments.published --json experiments/results/published.json

Figures that the model does not reproduce stay in the table. DERIVED ones were calculated or fitted,
by us or by others: agreement with them is between two calculations, not with a measurement.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.config import check, option, parse
from experiments.figures import conventions, machines, measured, reconstruction
from experiments.figures.row import Row

FAMILIES = (conventions, reconstruction, machines, measured)
HEADER = ("figure", "published", "provenance", "jsnn", "error", "within")

# Published, but not computable from what was published.
MISSING = (
    ("TC-LIF table 2: LSTM 2834.7, LIF 23.8, TC-LIF 28.2 nJ", "layer sizes are not in the text"),
    ("Yin et al.: which task has which ratio", "sizes and rates are not in the text"),
    ("Panda et al.: which network has which ratio", "networks, T and rates are not in the text"),
    ("Lemaire et al.: spiking networks 6 to 8 times more efficient", "no table of counts"),
    ("Spikformer-8-768 32.07, SDT 6.09, Spikingformer 13.68 mJ", "their SOPs are not in the text"),
    ("2409.08290: VGG16 on CIFAR-100, TTFS, ResNet, RepVGG ratios", "rates are not in the text"),
    ("2409.08290 v1: 0.85, 0.78 and 69 %", "the formulas of its machines are not in the text"),
    ("Yale re-measurement: estimate / SATA / SpikeSim", "the networks' counts are not in the text"),
    ("Dampfhoffer et al.: 0.15 to 1.38 spikes a synapse", "formulas are not in the text"),
)


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the command."""

    json: str | None = option(None, "file for the figures as JSON")

    def __post_init__(self):
        check(self)


def rows() -> list[Row]:
    """Every figure, computed in 64 bits."""
    with jax.enable_x64(True):
        return [row for family in FAMILIES for row in family.rows()]


def render(figures: Sequence[Row]) -> str:
    """The table as text, one block per section, and what is missing."""
    lines, widths = [], _widths(figures)
    for section in dict.fromkeys(row.section for row in figures):
        lines += ["", section]
        lines += [_line(_cells(r), widths) + _remark(r) for r in figures if r.section == section]
    reproduced = sum(r.within for r in figures if not r.miss)
    misses = sum(bool(r.miss) for r in figures)
    head = _line(HEADER, widths)
    lines += [
        "",
        f"{reproduced} of {len(figures) - misses} within their error, {misses} known misses",
    ]
    lines += ["", "Not recomputed:", *(f"  {what}: {why}" for what, why in MISSING)]
    return "\n".join([head, *lines])


def as_json(computed: Sequence[Row]) -> dict[str, Any]:
    """The table as JSON."""
    figures = [
        {
            **dataclasses.asdict(row),
            "published": list(row.ends) if isinstance(row.published, tuple) else row.published,
            "error": row.error,
            "verdict": row.verdict,
        }
        for row in computed
    ]
    return {
        "command": "python -m experiments.published",
        "figures": figures,
        "not_recomputed": [{"what": what, "why": why} for what, why in MISSING],
    }


def main(flags: Flags) -> list[Row]:
    """Print the table; writes the file if asked for."""
    figures = rows()
    print(render(figures))
    if flags.json:
        path = Path(flags.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(as_json(figures), indent=2, ensure_ascii=False) + "\n")
    return figures


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.5g}"


def _cells(row: Row) -> tuple[str, ...]:
    published = " to ".join(_number(end) for end in dict.fromkeys(row.ends))
    model = f"{_number(row.model)} {row.unit}".strip()
    return row.what, published, row.provenance, model, f"{100 * row.error:+.2f} %", row.verdict


def _widths(figures: Sequence[Row]) -> list[int]:
    columns = zip(HEADER, *map(_cells, figures), strict=True)
    return [max(map(len, column)) for column in columns]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _remark(row: Row) -> str:
    text = row.miss or row.note
    return f"  {text}" if text else ""


if __name__ == "__main__":
    try:
        flags = Flags(**parse(Flags, description=__doc__))
        main(flags)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
