"""Table in experiments/README.md from the summary of `experiments.regularisers`.

python -m experiments.comparison_table
python -m experiments.comparison_table --write
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.comparison_analysis import Ratio
from experiments.comparison_tasks import OTHERS, OURS
from experiments.config import check, option
from experiments.regularisers import RESULTS, sign_of, without
from experiments.table import NOTHING, command, markdown, written
from jsnn.units import energy_text

NONE_YET = "No task is over yet: `python -m experiments.regularisers` goes on."
BEGIN, END = "<!-- comparison:begin -->", "<!-- comparison:end -->"


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the command."""

    json: str = option(f"{RESULTS}/summary.json", "summary of the comparison")
    readme: str = option("experiments/README.md", "file that holds the table between its markers")
    write: bool = option(False, "put the table into that file instead of printing it")

    def __post_init__(self):
        check(self)


def render(summary: Mapping[str, Any]) -> str:
    """One column per task, one row per regulariser: its energy, and ours over it.

    Args:
        summary: of `experiments.regularisers`.
    """
    tasks = summary["tasks"]
    if not tasks:
        return NONE_YET
    header = ["weighed", *(f"{name} ({task['units']})" for name, task in tasks.items())]
    free = [task["unconstrained"] for task in tasks.values()]
    rows = [["nothing", *(f"{energy_text(f['pj'])} at {f['accuracy']:.2%}" for f in free)]]
    for name in (OURS, *OTHERS):
        cells = [_cell(name, task["regularisers"]) for task in tasks.values()]
        rows.append([f"{name}{' (ours)' * (name == OURS)}", *cells])
    rows.append(["nothing, silent", *(energy_text(f["spike_independent_pj"]) for f in free)])
    return f"{markdown(header, rows)}\n\n{_caption(summary)}"


def main(flags: Flags) -> str:
    """The table, written into the README if asked for."""
    return written(render(json.loads(Path(flags.json).read_text())), flags, BEGIN, END)


def _cell(name: str, rows: Mapping[str, Any]) -> str:
    if name not in rows:
        return NOTHING
    row = rows[name]
    shown = f"{sign_of(row)} {energy_text(row['pj_at_one_point'])}".strip()
    if name == OURS:
        return shown
    ours = Ratio(**row["ours_over_it"])
    match _sign(row, rows[OURS]):
        case None:
            return shown
        case "":
            return f"{shown}: {ours.value:.2f} ({ours.low:.2f} to {ours.high:.2f})"
        case sign:
            return f"{shown}: {sign}{ours.value:.2f}"


def _sign(row: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    """Sign of ours over another's: ours an upper bound: ≤, the other one: ≥, both: None."""
    signs = {(True, True): "", (True, False): "≤ ", (False, True): "≥ "}
    return signs.get((row["reached"], ours["reached"]))


def _over_best(name: str, task: Mapping[str, Any]) -> str:
    rows, best = task["regularisers"], task["best_other"]
    sign, value = _sign(rows[best], rows[OURS]), task["ours_over_best_other"]["value"]
    shown = NOTHING if sign is None else f"{sign}{value:.2f}"
    return f"{shown} on {name} ({best})"


def _silent_over_best(task: Mapping[str, Any]) -> float:
    """Lower bound of the ratio for any term."""
    best = task["regularisers"][task["best_other"]]
    return task["unconstrained"]["spike_independent_pj"] / best["pj_at_one_point"]


def _caption(summary: Mapping[str, Any]) -> str:
    best = [_over_best(name, task) for name, task in summary["tasks"].items()]
    least = [f"{_silent_over_best(task):.2f}" for task in summary["tasks"].values()]
    mean = summary["geometric_mean"]
    overall = "" if mean is None else f"; geometric mean{without(summary)} {mean:.2f}"
    return (
        f"Energy per inference at {summary['points_lost']} point lost, then ours over it with its "
        "95 % interval. ≤: its cheapest run has not lost the point, a stronger one may cost less; "
        "≈: all its runs lost more, the energy lies between theirs and that of no term. "
        "Silent: what the unconstrained network would cost without a spike of its own. Ours over "
        f"the best other: {', '.join(best)}{overall}; a silent network would have "
        f"{', '.join(least)}. {summary['notes']} Made with jsnn {summary['versions']['jsnn']}."
    )


if __name__ == "__main__":
    command(Flags, main, __doc__)
