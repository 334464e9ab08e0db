"""Files of a run, damaged in any way: reading gives what was written or says what is wrong.

By hand, with figures:
`python -m tests.properties.test_fuzz_runs --examples 50000 --seconds 7200 --out FILE`.
"""

import argparse
import collections
import dataclasses
import json
import math
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments.config import option, stored_config
from experiments.summary import versions
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.json_files import keep
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import check_config, checkpoint_record
from tests.fuzzing import examples

MODULE = "tests.properties.test_fuzz_runs"
EPOCHS = 3


@dataclasses.dataclass(frozen=True)
class Toy:
    """A config with a field of each type."""

    name: str = option("a", "a name")
    seed: int = option(0, "an integer", least=0)
    epochs: int = option(EPOCHS, "an integer", least=1)
    rate: float = option(0.25, "a number", above=0, below=1)
    widths: tuple[int, ...] = option((4, 5), "integers")
    limit: int | None = option(None, "an integer or none")
    norm: bool = option(False, "a switch")


def tree(epoch: int) -> dict[str, Any]:
    """Arrays of several types; all differ between epochs."""
    rng = np.random.default_rng(epoch)
    params = {
        "kernel": rng.normal(size=(5, 7)).astype(np.float32),
        "bias": jax.numpy.asarray(rng.normal(size=7), jax.numpy.bfloat16),
        # Bytes that compression makes short.
        "mask": np.full((40, 40), epoch, np.int8),
    }
    state = {"params": params, "step": np.int32(epoch)}
    return {"state": state, "best": jax.tree.map(np.copy, jax.device_get(state))}


ROWS = [{"epoch": n, "loss": 1 / n, "spikes": [n + 0.5, 2.0]} for n in range(1, EPOCHS + 1)]
RESULT = {"test_accuracy": 0.9375, "layers": ["hidden_0", "readout"], "budget": None}


class Finished:
    """A finished run and what its files say."""

    def __init__(self, path: Path):
        self.path = path
        with RunFolder.create(str(path), "toy", Toy()) as folder:
            self.written = {}
            checkpoints = Checkpoints(folder.checkpoints)
            for epoch, row in enumerate(ROWS, 1):
                folder.append(row)
                kept = checkpoint_record(folder, epoch, {"epoch": 1}, ROWS[:epoch])
                checkpoints.save(epoch, tree(epoch), kept)
                self.written[epoch] = (text(tree(epoch)), json.dumps(kept))
            folder.write(folder.result, RESULT)
        self.files = sorted(
            str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()
        )
        self.texts = [file for file in self.files if "tree" not in file]


def text(arrays: Any) -> str:
    """A tree as text, equal for equal bytes, shapes, types and paths."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    said = [
        (jax.tree_util.keystr(path), str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes().hex())
        for path, leaf in leaves
    ]
    return repr(sorted(said))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Finished(tmp_path_factory.mktemp("finished") / "run")


# ---- damage --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Damage:
    """What happens to a file: its number, what is done, where (a share of it) and with what."""

    kind: str
    file: int
    other: int
    at: float
    byte: int

    def __call__(self, folder: Path, files: list[str]) -> None:
        file, other = (folder / files[n % len(files)] for n in (self.file, self.other))
        if file.is_file():
            DAMAGES[self.kind](self, file, other)


def _at(damage: Damage, content: bytes) -> int:
    return min(int(damage.at * len(content)), max(len(content) - 1, 0))


def _flip(damage: Damage, file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[_at(damage, content)] ^= 1 << (damage.byte % 8)
    file.write_bytes(content)


def _overwrite(damage: Damage, file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes())
    start = _at(damage, content)
    content[start : start + 1] = bytes([damage.byte])
    file.write_bytes(content)


def _digit(damage: Damage, file: Path, other: Path) -> None:
    """Another digit, which leaves JSON what it was."""
    content = bytearray(file.read_bytes())
    places = [n for n, byte in enumerate(content) if 48 <= byte <= 57]
    if places:
        content[places[min(int(damage.at * len(places)), len(places) - 1)]] = 48 + damage.byte % 10
    file.write_bytes(content)


def _insert(damage: Damage, file: Path, other: Path) -> None:
    content = file.read_bytes()
    place = _at(damage, content)
    file.write_bytes(
        content[:place] + bytes([damage.byte]) * (1 + damage.byte % 3) + content[place:]
    )


def _truncate(damage: Damage, file: Path, other: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: _at(damage, content)])


def _zeros(damage: Damage, file: Path, other: Path) -> None:
    """The tail is zeros, as after a power cut."""
    content = file.read_bytes()
    place = _at(damage, content)
    file.write_bytes(content[:place] + bytes(len(content) - place))


def _delete(damage: Damage, file: Path, other: Path) -> None:
    file.unlink()


def _rename(damage: Damage, file: Path, other: Path) -> None:
    file.rename(file.with_name(f"{file.name}.{damage.byte}"))


def _swap(damage: Damage, file: Path, other: Path) -> None:
    if other.is_file():
        mine, its = file.read_bytes(), other.read_bytes()
        file.write_bytes(its)
        other.write_bytes(mine)


def _copy(damage: Damage, file: Path, other: Path) -> None:
    if other.is_file():
        file.write_bytes(other.read_bytes())


def _lines(damage: Damage, file: Path, change: Callable[[list[bytes], int], list[bytes]]) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    if lines:
        file.write_bytes(b"".join(change(lines, min(int(damage.at * len(lines)), len(lines) - 1))))


def _repeat_line(damage: Damage, file: Path, other: Path) -> None:
    _lines(damage, file, lambda lines, n: [*lines[: n + 1], *lines[n:]])


def _drop_line(damage: Damage, file: Path, other: Path) -> None:
    _lines(damage, file, lambda lines, n: [*lines[:n], *lines[n + 1 :]])


def _move_line(damage: Damage, file: Path, other: Path) -> None:
    _lines(damage, file, lambda lines, n: [lines[n], *lines[:n], *lines[n + 1 :]])


def _remove_folder(damage: Damage, file: Path, other: Path) -> None:
    folder = file.parent
    if "checkpoints" in folder.parts:
        shutil.rmtree(folder)


def _swap_folders(damage: Damage, file: Path, other: Path) -> None:
    """The two checkpoints, or an item of both."""
    parts = [p for p in file.parents if p.parent.name in ("checkpoints", "2", "3")]
    if parts:
        mine = parts[0]
        number = next(p.name for p in [mine, mine.parent] if p.name in ("2", "3"))
        its = Path(str(mine).replace(f"checkpoints/{number}", f"checkpoints/{5 - int(number)}"))
        if mine.is_dir() and its.is_dir():
            mine.rename(mine.with_name("between"))
            its.rename(mine)
            mine.with_name("between").rename(its)


def _rename_folder(damage: Damage, file: Path, other: Path) -> None:
    folder = file.parent
    target = folder.with_name(str(damage.byte))
    if "checkpoints" in folder.parts and not target.exists():
        folder.rename(target)


DAMAGES = {
    damage.__name__.strip("_"): damage
    for damage in (
        _flip,
        _overwrite,
        _digit,
        _insert,
        _truncate,
        _zeros,
        _delete,
        _rename,
        _swap,
        _copy,
        _repeat_line,
        _drop_line,
        _move_line,
        _remove_folder,
        _swap_folders,
        _rename_folder,
    )
}


def damages(files: st.SearchStrategy[int]) -> st.SearchStrategy[list[Damage]]:
    one = st.builds(
        Damage,
        kind=st.sampled_from(sorted(DAMAGES)),
        file=files,
        other=st.integers(0, 99),
        at=st.floats(0, 1),
        byte=st.integers(0, 255),
    )
    return st.lists(one, min_size=1, max_size=2)


# ---- reading -------------------------------------------------------------------------------------


def outcome(folder: RunFolder, read: Callable[[], Any], expected: list[Any]) -> str:
    """`same`, or `refused` with a message that names a file; anything else is a failure."""
    try:
        result = read()
    except (ValueError, OSError) as error:
        said = str(error)
    else:
        said = None
    if said is not None:
        assert str(folder.path) in said, f"no file is named: {said}"
        assert "\n" not in said and len(said) < 2000, f"not a sentence or two: {said}"
        return "refused"
    assert result in expected, f"a silent difference: {result}"
    return "same"


def read_all(path: Path, run: Finished) -> dict[str, str]:
    """How reading each part of a run ends."""
    folder, said = RunFolder(path), []

    def config():
        result = stored_config(RunFolder.existing(str(path)), Toy)
        check_config(folder, Checkpoints(folder.checkpoints, say=said.append))
        return result

    def checkpoint():
        arrays, record = Checkpoints(folder.checkpoints, say=said.append).restore()
        restored_epoch.append(record["epoch"])
        return text(arrays), json.dumps(record)

    restored_epoch: list[int] = []
    ends = {
        "config": outcome(folder, config, [Toy()]),
        "rows": outcome(folder, lambda: folder.rows(through=EPOCHS), [ROWS]),
        "result": outcome(folder, lambda: folder.read(folder.result), [RESULT]),
        "checkpoint": outcome(folder, checkpoint, [run.written[n] for n in (EPOCHS, EPOCHS - 1)]),
    }
    there = [file.name for file in folder.checkpoints.glob("*")]
    if restored_epoch == [EPOCHS - 1]:
        ends["checkpoint"] = "fell back"
        # Of a checkpoint that is gone nothing can be said.
        assert str(EPOCHS) not in there or f"/checkpoints/{EPOCHS}/" in said[-1], said
    return ends


def damaged(run: Finished, made: list[Damage], files: list[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(shutil.copytree(run.path, Path(scratch) / "run"))
        for damage in made:
            damage(path, files)
        return read_all(path, run)


def test_undamaged(run):
    assert set(read_all(run.path, run).values()) == {"same"}


@hypothesis.settings(max_examples=examples(100))
@hypothesis.given(made=damages(st.integers(0, 99)))
def test_any_file(run, made):
    damaged(run, made, run.files)


@hypothesis.settings(max_examples=examples(100))
@hypothesis.given(made=damages(st.integers(0, 99)))
def test_config_metrics_result_and_record(run, made):
    """Text, of which a change can leave a sense."""
    damaged(run, made, run.texts)


# ---- by hand -------------------------------------------------------------------------------------


def campaign(argv: list[str] | None = None) -> None:
    """Many examples, and how they ended, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which none begins")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args(argv)
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    kinds: collections.Counter = collections.Counter()
    failures: list[str] = []
    deadline = time.monotonic() + flags.seconds
    with tempfile.TemporaryDirectory() as scratch:
        run = Finished(Path(scratch) / "run")

        @hypothesis.seed(flags.seed)
        @hypothesis.settings(
            max_examples=flags.examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(made=damages(st.integers(0, 99)), texts=st.booleans())
        def trial(made, texts):
            if time.monotonic() > deadline:
                return
            kinds.update(damage.kind for damage in made)
            try:
                ends = damaged(run, made, run.texts if texts else run.files)
            # Whatever it is, it is counted and kept with what led to it.
            except Exception as error:
                failures.append(f"{made}: {type(error).__name__}: {error}")
                return
            for part, end in ends.items():
                counts[part][end] += 1

        trial()
    words = [] if argv is None else argv
    content = {
        "command": shlex.join(
            ["python", "-m", "tests.properties.test_fuzz_runs", *(words or sys.argv[1:])]
        ),
        "seed": flags.seed,
        "examples": sum(counts["config"].values()) + len(failures),
        "damages": dict(sorted(kinds.items())),
        "failures": failures,
        "ends": {part: dict(sorted(ends.items())) for part, ends in counts.items()},
        "versions": versions() | {"hypothesis": hypothesis.__version__},
        "platform": platform.system(),
    }
    keep(flags.out, content)
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    campaign()
