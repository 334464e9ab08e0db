"""Runs that are disturbed at operations on files end as the run that nothing disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import faults

ROOT = Path(faults.__file__).parents[1]

pytestmark = pytest.mark.skipif(
    faults.compiler() is None, reason="faults are preloaded: needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return faults.build(tmp_path_factory.mktemp("library"))


def preloaded(library: Path, script: str, *words: str) -> subprocess.CompletedProcess:
    """A script in a process that has the library."""
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=300,
    )


WRITE = """
import ctypes, os, sys
folder, kind, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
arm = ctypes.CDLL(None).fault_arm
arm.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
arm(folder.encode(), kind, at, f"{folder}-log".encode())
with open(f"{folder}-other", "w") as file:
    file.write("not counted")
handle = os.open("content", os.O_WRONLY | os.O_CREAT, dir_fd=os.open(folder, os.O_RDONLY))
os.write(handle, b"12345678")
os.rename(f"{folder}/content", f"{folder}/name")
"""


@pytest.mark.parametrize(
    ("kind", "at", "left", "code"),
    [
        ("count", 0, {"name": b"12345678"}, 0),
        ("kill", 1, {}, -9),
        ("kill", 2, {"content": b""}, -9),
        ("kill", 3, {"content": b"12345678"}, -9),
        ("torn", 2, {"content": b"1234"}, -9),
        ("torn", 3, {"content": b"12345678"}, -9),
        ("full", 1, {}, 1),
        ("full", 2, {"content": b""}, 1),
        # What takes no room goes on.
        ("full", 3, {"name": b"12345678"}, 0),
    ],
)
def test_each_fault_is_what_it_is_called(kind, at, left, code, library, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    ended = preloaded(library, WRITE, str(folder), str(faults.KINDS.index(kind)), str(at))
    assert ended.returncode == code, ended.stderr
    assert ("No space left on device" in ended.stderr) == (code == 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left
    operations = [f"open {folder}/content", f"write {folder}/content", f"rename {folder}/name"]
    counted = operations[: at if code else None]
    log = (tmp_path / "folder-log").read_text().splitlines()
    assert log == [f"{number} {operation}" for number, operation in enumerate(counted, 1)]


# Work that a disturbance breaks: another number in each process, or none that goes on.
BROKEN = """
import sys, json
from pathlib import Path
from experiments import faults
files, tanh = faults.WORKS["files"], faults.np.tanh
def starts(path):
    with open(path.parent / f"{path.name}-starts", "a") as file:
        file.write("1")
    return (path.parent / f"{path.name}-starts").stat().st_size
def different(path):
    count = starts(path)
    faults.np.tanh = lambda values: tanh(values) / count
    files(path)
def lost(path):
    if starts(path) > 1:
        sys.exit("error: no")
    files(path)
scratch = Path(sys.argv[1])
log = scratch / "log"
assert faults._disturbed(files, scratch / "plain", "count", 0, log)[0] == 0
expected = faults._content(scratch / "plain", scratch)
lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
at = next(int(n) for n, what, file in lines if what == "rename" and file.endswith("/2"))
ends = [
    faults._trial(work, scratch / work.__name__, [("kill", at)], expected, scratch)["end"]
    for work in (files, different, lost)
]
print(json.dumps(ends))
"""


def test_what_a_disturbance_breaks_is_told(library, tmp_path):
    ended = preloaded(library, BROKEN, str(tmp_path.resolve()))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == ["same", "different", "lost"]


def test_disturbed_runs_end_the_same(tmp_path):
    out = tmp_path / "faults.json"
    faults.run(["--work", "files", "--trials", "4", "--seed", "5", "--out", str(out)])
    summary = json.loads(out.read_text())
    assert summary["same"] == summary["trials"] == 4
    assert summary["lost"] == summary["different"] == 0
    assert summary["tracebacks_without_a_message"] == 0
    assert summary["operations"] > 100
    assert sum(summary["met"].values()) >= 4
