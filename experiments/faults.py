"""Fault injection: runs killed, torn or out of disk at random file operations, then resumed.

    python -m experiments.faults --trials 200 --seed 0 --out experiments/results/faults.json
    python -m experiments.faults --work files --out experiments/results/faults_files.json

Needs Linux and a C compiler. A tiny run is trained undisturbed, and again with a fault at one of
its file operations (`faults.c`, preloaded); in every second trial the resumed run meets one too.
The final metrics, result and last checkpoint are compared bit for bit, all but clocks.
`--work files` trains no network: the same files are written by the same code in less time.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import json
import os
import random
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import check, option, parse, stored_config
from experiments.summary import versions
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.json_files import keep
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import Saving, check_config

KINDS = ("count", "kill", "torn", "full")
TINY = (
    "--epochs 3 --limit 32 --widths 4 --steps 2 --batch 16 --checkpoint-seconds 0 "
    "--no-compile-cache --no-keep-memory"
).split()
CACHE = {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
PRELOADED = "JSNN_FAULTS_PRELOADED"
# Paths in a traceback are kept without the folders of the machine.
FOLDERS = re.compile(r"/(?:[^\s/\"']+/)+")
# A run that was disturbed twice ends with the third process.
MOST = 6


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the experiment."""

    trials: int = option(200, "runs that are disturbed", least=1)
    seed: int = option(0, "seed of the operations and faults", least=0)
    work: str = option(
        "training", "what is disturbed: training, or files (arithmetic in its place)"
    )
    out: str | None = option(None, "file of the JSON; none: it is printed only")

    def __post_init__(self):
        check(self)
        if self.work not in WORKS:
            raise ValueError(f"--work must be one of {', '.join(WORKS)}, got {self.work!r}")


def main(flags: Flags, scratch: Path, command: str) -> dict[str, Any]:
    """Run all trials; returns the kept result."""
    rng = random.Random(flags.seed)
    log, plain = scratch / "log", scratch / "undisturbed"
    work = WORKS[flags.work]
    code, said = _disturbed(work, plain, "count", 0, log)
    if code:
        raise RuntimeError(f"the undisturbed run ended with {code}: {said}")
    expected, operations = _content(plain, scratch), len(log.read_text().splitlines())
    trials = []
    for number in range(flags.trials):
        faults = [
            (rng.choice(KINDS[1:]), rng.randint(1, operations)) for _ in range(1 + number % 2)
        ]
        trial = _trial(work, scratch / f"run-{number}", faults, expected, scratch)
        trials.append(trial)
        print(f"[{number + 1}/{flags.trials}] {json.dumps(trial)}", flush=True)
        summary = _summary(flags, command, operations, trials)
        if flags.out is not None:
            keep(Path(flags.out), summary)
    return summary


def _summary(
    flags: Flags, command: str, operations: int, trials: list[dict[str, Any]]
) -> dict[str, Any]:
    """Kept result of the trials so far."""
    ends = collections.Counter(trial["end"] for trial in trials)
    return {
        "command": command,
        "seed": flags.seed,
        "work": flags.work,
        "operations": operations,
        "trials": len(trials),
        "faults": sum(len(trial["faults"]) for trial in trials),
        "met": dict(
            collections.Counter(
                fault["kind"] for trial in trials for fault in trial["faults"] if fault["met"]
            )
        ),
        "lost": ends["lost"],
        "different": ends["different"],
        "same": ends["same"],
        "tracebacks_without_a_message": sum(bool(trial["tracebacks"]) for trial in trials),
        "versions": versions(),
        "each": trials,
    }


def _trial(
    work: Callable[[Path], None],
    path: Path,
    faults: list[tuple[str, int]],
    expected: Any,
    scratch: Path,
) -> dict[str, Any]:
    """One run, disturbed and resumed until it ends."""
    met, traceback, ended = [], [], False
    for kind, at in [*faults, *[("count", 0)] * MOST]:
        log = scratch / "log"
        log.unlink(missing_ok=True)
        code, said = _disturbed(work, path, kind, at, log)
        if "Traceback" in said and "\nerror: " not in f"\n{said}":
            traceback.append(FOLDERS.sub("", said[-3000:]))
        if kind != "count":
            lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
            hit = [
                f"{name} {Path(file).relative_to(path)}" for n, name, file in lines if int(n) == at
            ]
            met.append({"kind": kind, "at": at, "met": bool(hit), "operation": (hit or [None])[0]})
        if code == 0:
            ended = True
            break
        if code not in (1, -signal.SIGKILL) or kind == "count":
            break
    if not ended:
        return {
            "faults": met,
            "end": "lost",
            "tracebacks": traceback,
            "said": FOLDERS.sub("", said[-500:]),
        }
    end = "same" if _content(path, scratch) == expected else "different"
    if end == "same":
        shutil.rmtree(path)
    return {"faults": met, "end": end, "tracebacks": traceback}


def _content(path: Path, scratch: Path) -> Any:
    """Final content of a run, all but its clock; read in its own process."""

    def read() -> None:
        folder = RunFolder(path)
        arrays, record = Checkpoints(folder.checkpoints).restore()
        leaves = {
            repr(keys): [str(leaf.dtype), list(leaf.shape), leaf.tobytes().hex()]
            for keys, leaf in _leaves(arrays)
        }
        content = {
            "rows": [_timeless(row) for row in folder.rows()],
            "result": _timeless(folder.read(folder.result)),
            "record": {**record, "rows": [_timeless(row) for row in record["rows"]]},
            "arrays": leaves,
            "left": sorted(
                str(file.relative_to(path))
                for pattern in ("*.partial", "*.tmp")
                for file in path.rglob(pattern)
            ),
            "files": sorted(file.name for file in path.iterdir()),
            "steps": Checkpoints(folder.checkpoints).steps(),
        }
        (scratch / "content.json").write_text(json.dumps(content))

    code, said = _forked(read, scratch / "said")
    if code:
        return f"cannot be read: {said}"
    return json.loads((scratch / "content.json").read_text())


def _leaves(tree: Any, keys: tuple = ()):
    if isinstance(tree, dict | list):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(part, (*keys, key))
    elif tree is not None:
        yield keys, tree


def _timeless(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != "seconds"}


def _training(path: Path) -> None:
    """`experiments.train`, begun or resumed."""
    words = [*TINY, "--out", str(path)]
    # A run that was stopped before it had a config asks to be started again.
    if (path / "config.json").exists():
        words = ["--resume", str(path), *TINY[-2:]]
    sys.argv = ["experiments.train", *words]
    runpy.run_module("experiments.train", run_name="__main__")


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """The config of a run without a network."""

    seed: int = 0
    epochs: int = 3


def _files(path: Path) -> None:
    """The loop of `experiments.train` over its files, with arithmetic in place of a network."""
    try:
        if (path / "config.json").exists():
            folder = RunFolder.existing(str(path))
            folder.lock()
        else:
            folder = RunFolder.create(str(path), "files", Arithmetic())
        checkpoints = Checkpoints(folder.checkpoints)
        check_config(folder, checkpoints)
        config = stored_config(folder, Arithmetic)
        saving = Saving(folder, 0.0, checkpoints=checkpoints)
        state, epoch, rows = {"w": np.zeros((8, 8))}, 0, []
        if checkpoints.latest() is not None:
            tree, record = checkpoints.restore({"state": state, "best": state})
            state, epoch, rows = tree["state"], record["epoch"], record["rows"]
            checkpoints.rewind(epoch)
        folder.rewind(rows)
        while epoch < config.epochs:
            epoch += 1
            rng = np.random.default_rng((config.seed, epoch))
            state = {"w": np.tanh(state["w"] + rng.normal(size=(8, 8)))}
            row = {"epoch": epoch, "mean": float(state["w"].mean()), "seconds": 0.0}
            folder.append(row)
            rows.append(row)
            saving.save(epoch, state, {"state": state, "epoch": epoch}, rows)
        folder.write(folder.result, {"norm": float(np.linalg.norm(state["w"])), "seconds": 0.0})
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


WORKS = {"training": _training, "files": _files}


def _disturbed(
    work: Callable[[Path], None], path: Path, kind: str, at: int, log: Path
) -> tuple[int, str]:
    """Exit status of a run with a fault, and its standard error."""

    def armed() -> None:
        arm = ctypes.CDLL(None).fault_arm
        arm.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
        arm(str(path).encode(), KINDS.index(kind), at, str(log).encode())
        work(path)

    return _forked(armed, path.parent / "said")


def _forked(work: Callable[[], None], said: Path) -> tuple[int, str]:
    """Exit status (or minus the signal) of a process doing this work, and its standard error."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            with open(said, "w") as errors, open(os.devnull, "w") as nothing:
                os.dup2(errors.fileno(), 2)
                os.dup2(nothing.fileno(), 1)
            code = _code(work)
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), said.read_text()


def _code(work: Callable[[], None]) -> int:
    """Exit status that the interpreter would have."""
    try:
        work()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 70
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
    return 0


def compiler() -> str | None:
    """The available C compiler; None if there is none or this is not Linux."""
    compilers = [name for name in ("cc", "gcc", "clang") if shutil.which(name)]
    return compilers[0] if compilers and sys.platform == "linux" else None


def build(folder: Path) -> Path:
    """Compile the library to preload into a folder."""
    library, source = folder / "faults.so", Path(__file__).with_suffix(".c")
    words = [compiler(), "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return library


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Call `main` with a command line, in a process that has the library preloaded."""
    flags = Flags(**parse(Flags, argv, __doc__))
    words = sys.argv[1:] if argv is None else list(argv)
    with tempfile.TemporaryDirectory() as scratch:
        if PRELOADED in os.environ:
            command = shlex.join(["python", "-m", "experiments.faults", *words])
            summary = main(flags, Path(scratch).resolve(), command)
            print(json.dumps({k: v for k, v in summary.items() if k != "each"}, indent=2))
            return summary
        if compiler() is None:
            raise RuntimeError("faults are preloaded: this needs Linux and a C compiler")
        library = build(Path(scratch))
        cache = Path(scratch) / "compiled"
        inner = subprocess.run(
            [sys.executable, "-m", "experiments.faults", *words],
            env=os.environ
            | CACHE
            | {"LD_PRELOAD": str(library), PRELOADED: "1", "JAX_COMPILATION_CACHE_DIR": str(cache)},
        )
        if inner.returncode:
            raise RuntimeError(f"the trials ended with {inner.returncode}")
    return {}


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
