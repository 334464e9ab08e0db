"""A run that is killed and resumed ends as the run that nothing interrupted, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import train
from jsnn.checkpoint import Checkpoints

ROOT = Path(train.__file__).parents[1]

# Each replaces a function by one that kills its process on the way.
KILLS = {
    "between two epochs": """
from experiments import setting
make = setting.make_epoch
def killing(*args, **options):
    epoch, calls = make(*args, **options), iter(range(100))
    return lambda *a: die() if next(calls) == 1 else epoch(*a)
setting.make_epoch = killing
""",
    "before a checkpoint gets its name": """
from orbax.checkpoint._src.path import async_path
rename = async_path.rename
async def killing(source, target):
    if target.name == "2":
        die()
    await rename(source, target)
async_path.rename = killing
""",
    "among the arrays of a checkpoint": """
import tensorstore
opened, calls = tensorstore.open, iter(range(100))
def killing(spec, *args, **kwargs):
    if "/2.orbax-checkpoint-tmp/" in str(spec) and next(calls) == 10:
        die()
    return opened(spec, *args, **kwargs)
tensorstore.open = killing
""",
}
START = """
import json, os, signal, sys
from experiments import train
from jsnn.checkpoint import Checkpoints
def die(): os.kill(os.getpid(), signal.SIGKILL)
{kill}
train.run(sys.argv[1:])
"""


def numbers(text: str):
    """JSON of a run without its clock, and without the digest that the clock is in."""
    found = json.loads(text)
    del found["seconds"], found["sha256"]
    return found


def last_checkpoint(folder: Path):
    """Arrays of the last checkpoint."""
    return Checkpoints(folder / "checkpoints").restore(step=3)[0]


def expect_same(folder: Path, finished: Path):
    """The same metrics, result and last checkpoint; nothing half-written lies about."""
    assert not [*folder.glob("*.partial"), *(folder / "checkpoints").glob("*tmp*")]
    lines, expected = (
        (path / "metrics.jsonl").read_text().splitlines() for path in (folder, finished)
    )
    assert list(map(numbers, lines)) == list(map(numbers, expected))
    result, expected = ((path / "result.json").read_text() for path in (folder, finished))
    assert numbers(result) == numbers(expected)
    jax.tree.map(np.testing.assert_array_equal, last_checkpoint(folder), last_checkpoint(finished))


@pytest.mark.parametrize("kill", KILLS)
def test_killed_and_resumed(kill, finished, tiny_flags, compiled, tmp_path):
    folder = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-c", START.format(kill=KILLS[kill]), *tiny_flags, "--out", str(folder)],
        cwd=ROOT,
        env=os.environ | compiled,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (folder / "result.json").exists()
    torn = list((folder / "checkpoints").glob("*tmp*"))
    assert bool(torn) == ("checkpoint" in kill)

    train.run(["--resume", str(folder)])

    expect_same(folder, finished)


def test_torn_last_lines(finished, tmp_path):
    """Half a line of metrics, a checkpoint that is missing and half a result."""
    folder = shutil.copytree(finished, tmp_path / "run")
    metrics = folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-40])
    shutil.rmtree(folder / "checkpoints" / "3")
    (folder / "result.json").rename(folder / "result.partial")
    (folder / "result.partial").write_text("{")
    train.run(["--resume", str(folder)])
    expect_same(folder, finished)


def test_resume_of_a_finished_run_changes_nothing(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    train.run(["--resume", str(folder)])
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    expect_same(folder, finished)
