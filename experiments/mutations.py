"""Mutation testing: single changes drawn at random, and whether a test detects them.

    pip install cosmic-ray
    python -m experiments.mutations --seed 0 --count 100 --json experiments/results/mutations.json

A mutation takes minutes, so this is run by hand, not by CI. The areas (`AREAS`) take turns; in
each, a place is drawn among all that Cosmic Ray's operators can change, then one of the changes
there. Left out are those that any test detects at once (bitwise operators and identities in place
of arithmetic and comparisons, code that does not compile) and annotations, which nothing evaluates.
Each mutation is made in a copy of the tree, where the doctests of its module and the test files of
its area run until the first failure.

The file is written after every mutation and read at the start: the same command continues where it
stopped, a higher `--count` adds mutations, and `--again` repeats those that survived. To an entry
that changes no behaviour add `"equivalent": "the reason"` by hand; it is kept.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.config import check, option, parse
from jsnn.train.json_files import keep

ROOT = Path(__file__).parent.parent

# Modules, and the test files that cover them, the quick ones first.
AREAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "energy": (
        "jsnn/energy/estimate.py",
        (
            "hardware/machines",
            "properties/impossible_numbers",
            "energy/qnn",
            "energy/estimate",
            "nn/attention",
            "energy/audit",
            "energy/report",
        ),
    ),
    "counting": (
        "jsnn/energy/counting.py",
        (
            "hardware/machines",
            "nn/attention",
            "energy/estimate",
            "energy/audit",
            "workload/truncation",
        ),
    ),
    "arrivals": (
        "jsnn/nn/event_counts.py",
        ("energy/counting", "energy/estimate", "events/events", "workload/truncation"),
    ),
    "units": (
        "jsnn/events/event_value.py",
        ("energy/counting", "nn/layers", "energy/estimate", "events/events"),
    ),
    "hardware": (
        "jsnn/hardware/**/*.py",
        (
            "hardware/hardware",
            "hardware/relaxation",
            "hardware/memory",
            "hardware/toml",
            "hardware/machines",
            "hardware/chips",
            "experiments/published",
            "properties/impossible_numbers",
            "energy/qnn",
            "energy/estimate",
            "energy/audit",
            "codesign/parameters_beside_weights",
        ),
    ),
    "neurons": (
        "jsnn/neurons/*.py",
        (
            "neurons/operation_counts",
            "neurons/fixed",
            "neurons/neurons",
            "unroll/plans",
            "export/integer",
        ),
    ),
    "unroll": (
        "jsnn/unroll/*.py",
        (
            "unroll/unroll",
            "unroll/kernels",
            "neurons/fixed",
            "unroll/plans",
            "readouts",
            "nn/time_plan",
            "ops/precision",
        ),
    ),
    "quantise": (
        "jsnn/quantise.py",
        (
            "quantise",
            "neurons/fixed",
            "codesign/bit_widths",
            "export/integer",
            "codesign/parameters_beside_weights",
        ),
    ),
    "budget": (
        "jsnn/train/budget.py",
        ("train/budget", "experiments/budgets", "experiments/run_budget"),
    ),
    "checkpoint": (
        "jsnn/train/checkpoint.py",
        (
            "train/checkpoint",
            "experiments/resume",
            "experiments/bad_input",
            "experiments/pruned_run",
            "train/devices",
        ),
    ),
}
# Cosmic Ray's operators whose changes resemble a programmer's slip.
OPERATORS = re.compile(
    r"core/(?:AddNot|NumberReplacer|RemoveDecorator|ZeroIterationForLoop|Replace(?:"
    r"AndWithOr|OrWithAnd|TrueWithFalse|FalseWithTrue|BreakWithContinue|ContinueWithBreak"
    r"|UnaryOperator_(?:Delete_Not|Delete_USub|USub_UAdd)"
    r"|BinaryOperator_(?:Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(?:Add|Sub|Mul|Div|FloorDiv|Mod|Pow)"
    r"|BinaryOperator_(?:BitAnd_BitOr|BitOr_BitAnd)"
    r"|ComparisonOperator_(?:Eq|NotEq|Lt|LtE|Gt|GtE|Is|IsNot)_(?:Eq|NotEq|Lt|LtE|Gt|GtE|IsNot)))"
)
# Most of the tests' time is compilation.
COMPILE_QUICKLY = "from tests.compiler_flags import WANTED, known; print(*known(WANTED))"
FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the campaign."""

    json: str = option("experiments/results/mutations.json", "file for the list")
    seed: int = option(0, "seed of the draw")
    count: int = option(100, "mutations to draw", least=1)
    areas: tuple[str, ...] = option(tuple(AREAS), "areas to draw from")
    minutes: float = option(15.0, "time for the tests of one mutation", above=0)
    python: str = option(sys.executable, "interpreter that runs the tests")
    again: bool = option(False, "repeat what survived or ran out of time")

    def __post_init__(self):
        check(self)
        unknown = [area for area in self.areas if area not in AREAS]
        if unknown:
            raise ValueError(f"--areas: no area {unknown}, only {list(AREAS)}")


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change of one file.

    Attributes:
        area: key of `AREAS`.
        file: path in the tree.
        line, column: where.
        operator, occurrence: what Cosmic Ray calls the change.
    """

    area: str
    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    def code(self, source: str) -> str:
        """The changed file."""
        # Imported here, since the rest of this module does not need Cosmic Ray.
        from cosmic_ray.mutating import mutate_code
        from cosmic_ray.plugins import get_operator

        return mutate_code(source, get_operator(self.operator)(), self.occurrence)

    def diff(self, source: str) -> list[str]:
        """The changed lines, before and after."""
        pair = source.splitlines(), self.code(source).splitlines()
        return [line for line in difflib.unified_diff(*pair, lineterm="", n=0)][3:]


def draw(root: Path, areas: Sequence[str], seed: int, count: int) -> list[Mutation]:
    """`count` mutations, areas in turn: a place among all places, then a change possible there.

    The first ones are the same for every count.
    """
    chance = random.Random(seed)
    waiting = [_drawn(root, area, chance) for area in areas]
    mutations: list[Mutation] = []
    while waiting and len(mutations) < count:
        area = waiting.pop(0)
        mutation = next(area, None)
        if mutation is not None:
            mutations.append(mutation)
            waiting.append(area)
    if len(mutations) < count:
        raise ValueError(f"{list(areas)} have {len(mutations)} places to change, not {count}")
    return mutations


def _drawn(root: Path, area: str, chance: random.Random) -> Iterator[Mutation]:
    """The mutations of an area in a random order, one for each place."""
    chance = random.Random(chance.random())
    places: dict[tuple[str, int, int], list[Mutation]] = {}
    for file in sorted(root.glob(AREAS[area][0])):
        for mutation in possible(area, file.relative_to(root).as_posix(), file.read_text()):
            places.setdefault((mutation.file, mutation.line, mutation.column), []).append(mutation)
    for place in chance.sample(sorted(places), len(places)):
        mutation = chance.choice(places[place])
        if _compiles(mutation.code((root / mutation.file).read_text())):
            yield mutation


def _compiles(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def possible(area: str, file: str, source: str) -> Iterator[Mutation]:
    """Every mutation of a file, annotations left out."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    inert = annotations(source)
    nodes = list(ast_nodes(get_ast(source)))
    for name in sorted(filter(OPERATORS.fullmatch, operator_names())):
        operator = get_operator(name)()
        positions = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, (line, column) in enumerate(positions):
            if not any(first <= (line, column) < last for first, last in inert):
                yield Mutation(area, file, line, column, name, occurrence)


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Start and end of each annotation of a file, as (line, column)."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        for field in ("annotation", "returns"):
            hint = getattr(node, field, None)
            if hint is not None:
                spans.append(
                    ((hint.lineno, hint.col_offset), (hint.end_lineno, hint.end_col_offset))
                )
    return spans


@functools.cache
def compile_flags(tree: Path, python: str) -> str:
    """Compiler flags that the workers of the test suite use."""
    told = subprocess.run([python, "-c", COMPILE_QUICKLY], cwd=tree, capture_output=True, text=True)
    return told.stdout.strip()


def run_tests(tree: Path, python: str, files: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run test files until the first failure: outcome, what failed and how long it took."""
    command = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    environment = {
        "XLA_FLAGS": compile_flags(tree, python),
        # A mutation changes few of the compiled programs.
        "JAX_COMPILATION_CACHE_DIR": str(tree / ".compiled"),
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    begin = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"outcome": "timeout", "seconds": round(time.monotonic() - begin)}
    report = {"seconds": round(time.monotonic() - begin)}
    if process.returncode == 0:
        return {"outcome": "survived"} | report
    failed = FIRST_FAILURE.search(printed)
    # If no test could be collected, the last line says why.
    by = failed[1] if failed else printed.strip().splitlines()[-1]
    return {"outcome": "killed", "by": by} | report


def test_file(name: str) -> str:
    """Path of a test file.

    >>> test_file("neurons/fixed")
    'tests/neurons/test_fixed.py'
    """
    room, _, file = name.rpartition("/")
    return f"tests/{room}/test_{file}.py" if room else f"tests/test_{file}.py"


def files_of(area: str, module: str) -> list[str]:
    """The doctests of a module and the test files of its area."""
    return [module, *map(test_file, AREAS[area][1])]


def copy_tree(into: Path) -> None:
    """The files under version control, as they are now."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)


def try_out(tree: Path, mutation: Mutation, flags: Flags) -> dict[str, Any]:
    """Make one mutation in the tree, test it, and undo it."""
    file = tree / mutation.file
    source = file.read_text()
    file.write_text(mutation.code(source))
    try:
        files = files_of(mutation.area, mutation.file)
        return run_tests(tree, flags.python, files, 60 * flags.minutes)
    finally:
        file.write_text(source)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Number of mutations detected, among those that change behaviour.

    >>> summary([{"outcome": "killed"}, {"outcome": "survived", "equivalent": "same sum"}])
    {'drawn': 2, 'killed': 1, 'timeout': 0, 'survived': 1, 'equivalent': 1, 'noticed': 1.0}
    """
    outcomes = [row["outcome"] for row in rows]
    counts = {name: outcomes.count(name) for name in ("killed", "timeout", "survived")}
    equivalent = sum("equivalent" in row for row in rows)
    changing = len(rows) - equivalent
    noticed = round((counts["killed"] + counts["timeout"]) / changing, 4) if changing else None
    return {"drawn": len(rows)} | counts | {"equivalent": equivalent, "noticed": noticed}


def known_rows(file: Path, flags: Flags) -> dict[tuple, dict[str, Any]]:
    """Results of an earlier call of the same draw; ValueError if the file is of another."""
    if not file.exists():
        return {}
    document = json.loads(file.read_text())
    drawn = {"seed": flags.seed, "areas": list(flags.areas)}
    for name, value in drawn.items():
        if document[name] != value:
            raise ValueError(
                f"{file} has the mutations of {name} {document[name]}, asked for is {value}: "
                "choose another --json"
            )
    rows = document["mutations"]
    if flags.again:
        rows = [row for row in rows if row["outcome"] == "killed" or "equivalent" in row]
    return {_key(row): row for row in rows}


def campaign(flags: Flags) -> dict[str, Any]:
    """Draw and test mutations; the file is written after each."""
    out, rows, passed = Path(flags.json), [], set()
    earlier = known_rows(out, flags)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        for mutation in draw(tree, flags.areas, flags.seed, flags.count):
            diff = mutation.diff((tree / mutation.file).read_text())
            row = dataclasses.asdict(mutation) | {"diff": diff}
            if _key(row) in earlier:
                row = earlier[_key(row)]
            else:
                if mutation.area not in passed:
                    check_unchanged(tree, mutation, flags)
                    passed.add(mutation.area)
                row |= try_out(tree, mutation, flags)
                lines = " ".join(map(str.strip, diff))
                print(
                    f"{row['outcome']:8} {row['seconds']:5} s  {mutation.file}  {lines}", flush=True
                )
            rows.append(row)
            document = {"seed": flags.seed, "areas": list(flags.areas), **summary(rows)}
            keep(out, document | {"mutations": rows})
    return document


def check_unchanged(tree: Path, mutation: Mutation, flags: Flags) -> None:
    """Raise ValueError if the tests of a mutation fail without it too."""
    files = files_of(mutation.area, mutation.file)
    report = run_tests(tree, flags.python, files, 60 * flags.minutes)
    if report["outcome"] != "survived":
        raise ValueError(
            f"the tests of {mutation.area!r} do not pass without a mutation ({report}): mend them, "
            "or give them more --minutes"
        )


def _key(row: dict[str, Any]) -> tuple:
    """Key of a mutation that stays the same when its lines move."""
    return row["file"], row["operator"], *row["diff"]


if __name__ == "__main__":
    try:
        flags = Flags(**parse(Flags, description=__doc__))
        print(json.dumps(campaign(flags)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
