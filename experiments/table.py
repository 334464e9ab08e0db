"""Tables of results: all of them in experiments/README.md, four rows in README.md.

python -m experiments.table
python -m experiments.table --write
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import check, option, parse
from experiments.reproduce import BASELINES, CASES, RESULTS, Case, result_file
from jsnn.units import energy_text, unit_of

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NONE_YET = "No results yet: `python -m experiments.reproduce` makes them."
NOTHING = "–"

Result = Mapping[str, Any]
Runs = dict[str, Result]

ACCURACY = (
    "case",
    "network",
    "T",
    "runs",
    "test accuracy",
    "weights at the machine's bits",
    "spikes per neuron and step",
    "seconds",
)
# Rows of the README, on neuromorphic-22nm.
FIRST_PAGE = ("digits-neuromorphic-energy", "qtdb-100-energy", "ev-objects-energy", "fashion-mnist")
HEADLINE = ("case", "network", "test accuracy", "energy", "less than without", "energy ratio")
ENERGY = (
    "case",
    "machine",
    "energy estimate",
    "spike-independent",
    "spike-dependent",
    "less in total",
    "spike-dependent gone",
    "accuracy loss, points",
    "energy ratio",
    "operation count",
)


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the command."""

    results: str = option(RESULTS, "folder of the results")
    readme: str = option("experiments/README.md", "file that holds the table between its markers")
    first_page: str = option("README.md", "file that holds the four rows")
    write: bool = option(False, "put the table into that file instead of printing it")

    def __post_init__(self):
        check(self)


def load(folder: Path, cases: Iterable[Case] = CASES) -> dict[str, Runs]:
    """Results by case and run, in the order of the cases; cases without any are left out."""
    results = {}
    for case in cases:
        files = {name: result_file(case, name, folder) for name in case.runs}
        runs = {name: json.loads(f.read_text()) for name, f in files.items() if f.exists()}
        if runs:
            results[case.name] = runs
    return results


def render(
    results: Mapping[str, Runs], baselines: Mapping[str, str], notes: Mapping[str, str]
) -> str:
    """The tables with their caption.

    Args:
        results: by case and run.
        baselines: for a case with the energy term, the case of weight 0 it is compared with.
        notes: a note per case.

    Raises:
        ValueError: a case and its baseline are on different machines.
    """
    if not results:
        return NONE_YET
    accuracy = [[name, *_accuracy(list(runs.values()))] for name, runs in results.items()]
    energy = [
        [name, *_energy(list(runs.values())), *_against(name, results, baselines), *_rivals(runs)]
        for name, runs in results.items()
    ]
    caption = "\n".join(f"- {line}" for line in _caption(results, notes))
    return "\n\n".join([markdown(ACCURACY, accuracy), markdown(ENERGY, energy), caption])


def place(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """`text` with the table between its markers; ValueError without exactly one pair of them."""
    if not (text.count(begin) == text.count(end) == 1 and text.index(begin) < text.index(end)):
        raise ValueError(f"expected one {begin} and behind it one {end}; put them where it belongs")
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"


def written(table: str, flags: Any, begin: str = BEGIN, end: str = END) -> str:
    """The table, written into `flags.readme` if `flags.write` is set."""
    if flags.write:
        readme = Path(flags.readme)
        readme.write_text(place(readme.read_text(), table, begin, end))
    return table


def command(flags_type: type, main: Callable[[Any], str], description: str) -> None:
    """A command that prints a table or writes it."""
    try:
        flags = flags_type(**parse(flags_type, description=description))
        table = main(flags)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if not flags.write:
        print(table)


def main(flags: Flags) -> str:
    """The table, written into the README if asked for."""
    results = load(Path(flags.results))
    if flags.write:
        page = Path(flags.first_page)
        page.write_text(place(page.read_text(), render_first_page(results)))
    notes = {case.name: case.note for case in CASES if case.note}
    return written(render(results, BASELINES, notes), flags)


def render_first_page(results: Mapping[str, Runs]) -> str:
    """Four rows: accuracy, energy, energy ratio and the reduction by the energy term."""
    rows = []
    for name in (name for name in FIRST_PAGE if name in results):
        runs = list(results[name].values())
        _, energy, *_ = _energy(runs)
        less = _against(name, results, BASELINES)[0]
        ratio, _ = _rivals(results[name])
        rows.append([name, runs[0]["network"], _accuracy(runs)[3], energy, less, ratio])
    return markdown(HEADLINE, rows) if rows else NONE_YET


def reduction(run: Result, baseline: Result) -> dict[str, float]:
    """Effect of the energy term on one run: factor in total, share removed, accuracy loss.

    less = total_0 / total,   gone = 1 - dependent / dependent_0,   points = 100 (acc_0 - acc)

    >>> one = {"total_pj": 20.0, "spike_dependent_pj": 10.0, "test_accuracy": 0.75}
    >>> two = {"total_pj": 5.0, "spike_dependent_pj": 1.0, "test_accuracy": 0.5}
    >>> reduction(two, one)
    {'less': 4.0, 'gone': 0.9, 'points': 25.0}
    """
    return {
        "less": baseline["total_pj"] / run["total_pj"],
        "gone": 1 - run["spike_dependent_pj"] / baseline["spike_dependent_pj"],
        "points": 100 * (baseline["test_accuracy"] - run["test_accuracy"]),
    }


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Mean and sample standard deviation, or the one value there is.

    >>> spread([1.0, 2.0, 3.0], "{:.1f}".format), spread([4.0], "{:.1f}".format)
    ('2.0 ± 1.0', '4.0')
    """
    mean = show(statistics.fmean(values))
    return f"{mean} ± {show(statistics.stdev(values))}" if len(values) > 1 else mean


def _accuracy(runs: list[Result]) -> list[str]:
    first = runs[0]
    rounded = [run["test_accuracy_at_weight_bits"] for run in runs]
    bits = rounded[0]["weight_bits"]
    at_bits = spread([100 * each["accuracy"] for each in rounded], "{:.2f}".format)
    return [
        first["network"],
        str(first["steps"]),
        str(len(runs)),
        spread([100 * run["test_accuracy"] for run in runs], "{:.2f}".format) + " %",
        f"{at_bits} % ({bits})" if bits < 32 else NOTHING,
        _rates(runs),
        f"{statistics.fmean(run['seconds'] for run in runs):,.0f}",
    ]


def _rates(runs: list[Result]) -> str:
    spiking = [
        number for number, name in enumerate(runs[0]["layers"]) if name in runs[0]["silent_layers"]
    ]
    means = [statistics.fmean(run["spike_rates"][number] for run in runs) for number in spiking]
    return ", ".join(f"{mean:.3f}" for mean in means) or NOTHING


def _energy(runs: list[Result]) -> list[str]:
    totals = [run["total_pj"] for run in runs]
    # Mean and spread, both in the unit of the mean.
    pj, unit = unit_of(statistics.fmean(totals))
    energy = spread([total / pj for total in totals], "{:,.1f}".format)
    parts = (
        statistics.fmean(run[name] for run in runs)
        for name in ("spike_independent_pj", "spike_dependent_pj")
    )
    return [runs[0]["config"]["hardware"], f"{energy} {unit}", *map(energy_text, parts)]


def _against(name: str, results: Mapping[str, Runs], baselines: Mapping[str, str]) -> list[str]:
    baseline = baselines.get(name)
    shared = results[name].keys() & results.get(baseline, {}).keys()
    if not shared:
        return [NOTHING] * 3
    pairs = [(results[name][run], results[baseline][run]) for run in sorted(shared)]
    machines = {result["config"]["hardware"] for pair in pairs for result in pair}
    if len(machines) > 1:
        raise ValueError(f"{name} and {baseline} must be of one machine, found {sorted(machines)}")
    rows = [reduction(*pair) for pair in pairs]
    # A run without a baseline is in the other columns only; the cell must show that.
    few = f" (n = {len(rows)})" if len(rows) < len(results[name]) else ""
    return [
        spread([row["less"] for row in rows], "{:.1f}".format) + f"x{few}",
        spread([100 * row["gone"] for row in rows], "{:.1f}".format) + f" %{few}",
        spread([row["points"] for row in rows], "{:.2f}".format) + few,
    ]


def _rivals(runs: Runs) -> list[str]:
    ratio = spread([run["energy_ratio"] for run in runs.values()], "{:.2f}".format)
    proxy = statistics.fmean(run["op_count_pj"] for run in runs.values())
    return [ratio, energy_text(proxy)]


def _caption(results: Mapping[str, Runs], notes: Mapping[str, str]) -> Iterable[str]:
    every = [run for runs in results.values() for run in runs.values()]
    yield (
        "Mean ± standard deviation over the runs; energies per inference on the machine named, "
        "over the test set. Less, gone and lost: against the run of the same seed with weight 0."
    )
    for name, run in {run["config"]["hardware"]: run for run in every}.items():
        unpriced = ", ".join(part.replace("_", " ") for part in run["unpriced"])
        provenances = ", ".join(run["constants"])
        yield f"{name}: {provenances} constants" + (f"; unpriced: {unpriced}." if unpriced else ".")
    yield from (f"{name}: {notes[name]}." for name in results if name in notes)
    said = {}
    for runs in results.values():
        texts = {run["data_notes"] for run in runs.values()}
        # Notes that differ between runs are given by the case's own note.
        if len(texts) == 1:
            said[next(iter(runs.values()))["config"]["dataset"]] = texts.pop()
    yield from (f"{dataset}: {text}" for dataset, text in said.items() if text)
    made_with = " and ".join(
        f"{package} {', '.join(sorted({run['versions'][package] for run in every}))}"
        for package in ("jsnn", "jax")
    )
    device = ", ".join(sorted({run["device"] for run in every}))
    yield f"Each run on one core ({device}), made with {made_with}; seconds with compilation."


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    command(Flags, main, __doc__)
