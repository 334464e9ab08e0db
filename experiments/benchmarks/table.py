"""Table of times in the README here, from a file of `experiments.benchmarks --peers --json`.

python -m experiments.benchmarks.table
python -m experiments.benchmarks.table --write
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.config import check, option
from experiments.table import NOTHING, command, markdown, written

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- times:begin -->", "<!-- times:end -->"
MODES = {"step": "training step", "forward": "forward pass", "stream": "one frame"}
OURS = "jsnn"


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the command."""

    json: str = option("experiments/results/benchmarks/peers.json", "file of the benchmark")
    readme: str = option(
        "experiments/benchmarks/README.md", "file that holds the table between its markers"
    )
    write: bool = option(False, "put the table into that file instead of printing it")

    def __post_init__(self):
        check(self)


def render(content: Mapping[str, Any]) -> str:
    """One row per workload and mode: our time, and the times of the others relative to it.

    Args:
        content: content of the file of `experiments.benchmarks`.
    """
    workloads = content["workloads"]
    others = dict.fromkeys(n for w in workloads.values() for n in w["contestants"])
    reference = next(name for name in others if name.startswith(OURS))
    others = [name for name in others if name != reference]
    rows = []
    for name, workload in workloads.items():
        every = workload["contestants"]
        for mode, said in MODES.items():
            if mode not in every[reference]:
                continue
            ours = every[reference]
            term = ours["energy_term"]["median"] - 1 if mode == "step" else None
            ratios = [every.get(other, {}).get(mode) for other in others]
            rows.append(
                [
                    name,
                    said,
                    _time(ours[mode]["seconds"]["median"]),
                    NOTHING if term is None else f"{100 * term:+.1f} %",
                    *(f"{r['over_reference']['median']:.2f}x" if r else NOTHING for r in ratios),
                ]
            )
    header = ["workload", "what", OURS, "of it the energy", *others]
    return f"{markdown(header, rows)}\n\n{_caption(content, reference)}"


def main(flags: Flags) -> str:
    """The table, written into the README if asked for."""
    return written(render(json.loads(Path(flags.json).read_text())), flags, BEGIN, END)


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"


def _caption(content: Mapping[str, Any], reference: str) -> str:
    machine, kept, versions = content["machine"], {}, {}
    for workload in content["workloads"].values():
        for name, contestant in workload["contestants"].items():
            kept |= {name: True} if contestant.get("keeps_memory") else {}
            versions |= {name.partition(":")[0]: contestant.get("info", {}).get("versions", {})}
    shown = [
        f"{name} {installed[name]}" for name, installed in versions.items() if name in installed
    ]
    said = [
        f"Medians of {content['rounds']} rounds in which all take turns. A column of another "
        "library is its time over ours of the same round: below 1 it is faster.",
        f"Every step of {OURS} has the energy estimate in its loss, the others have none.",
        f"{machine['cores']} cores ({machine['processor']}); made with jsnn "
        f"{machine['versions']['jsnn']}, jax {machine['versions']['jax']}, "
        f"{', '.join(shown)}.",
        f"Freed memory was kept by {', '.join(kept)}." if kept else "",
        f"Reference: {reference}. Command, but for `--peer-python`: `{content['command']}`.",
    ]
    return " ".join(filter(None, said))


if __name__ == "__main__":
    command(Flags, main, __doc__)
