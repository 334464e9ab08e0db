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
from jsnn.train import Saving, program
from jsnn.train.checkpoint import Checkpoints

ROOT = Path(train.__file__).parents[1]
pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")


# Each replaces a function by one that kills its process on the way.
KILLS = {
    "between two epochs": """
from jsnn.train import program
make = program.make_epoch
def killing(*args, **options):
    epoch, calls = make(*args, **options), iter(range(100))
    return lambda *a: die() if next(calls) == 1 else epoch(*a)
program.make_epoch = killing
""",
    "before a checkpoint gets its name": """
rename = os.rename
def killing(source, target):
    if str(target).endswith("/checkpoints/2"):
        die()
    rename(source, target)
os.rename = killing
""",
    "among the arrays of a checkpoint": """
import tensorstore
opened, calls = tensorstore.open, iter(range(100))
def killing(spec, *args, **kwargs):
    if "/2.tmp/tree.orbax-checkpoint-tmp/" in str(spec) and next(calls) == 10:
        die()
    return opened(spec, *args, **kwargs)
tensorstore.open = killing
""",
}
START = """
import json, os, signal, sys
from experiments import train
from jsnn.train.checkpoint import Checkpoints
def die(): os.kill(os.getpid(), signal.SIGKILL)
{kill}
train.run(sys.argv[1:])
"""


def numbers(text: str):
    """JSON of a run without its clock, and without the digest that the clock is in."""
    result = json.loads(text)
    del result["seconds"], result["sha256"]
    return result


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


# ---- damaged, edited, made longer ----------------------------------------------------------------


def flip(file: Path, at: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def largest(folder: Path) -> Path:
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("item", ["tree", "record.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(item, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "checkpoints" / "3" / item
    flip(largest(path) if path.is_dir() else path, 40)
    train.run(["--resume", str(folder)])
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{path} is damaged: ")
    assert said.endswith("; going back to checkpoint 2")
    expect_same(folder, finished)


def test_no_checkpoint_that_can_be_read(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    for epoch in "23":
        flip(largest(folder / "checkpoints" / epoch / "tree"))
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read.*/3/tree.*/2/tree"):
        train.run(["--resume", str(folder)])


def test_lost_metrics_come_back_from_the_checkpoint(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    one, two, three = (finished / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text(three + one + two.replace("train_loss", "train_lost"))
    train.run(["--resume", str(folder)])
    said = "metrics.jsonl: put back from the checkpoint, epoch 2 (line 3 is not as it was written)"
    assert said in capsys.readouterr().out
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    expect_same(folder, finished)


def test_a_config_that_did_not_make_the_checkpoint(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seed": 7, "widths": [9]}))
    match = (
        r"\(seed: 0 in the checkpoint, 7 in config\.json; widths: \[8\] in the checkpoint, \[9\]"
    )
    with pytest.raises(ValueError, match=match):
        train.run(["--resume", str(folder)])
    # Where no checkpoint knows it, the file's own digest does.
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(ValueError, match=r"config\.json is not as the run wrote it"):
        train.run(["--resume", str(folder)])


def test_more_epochs(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    result = train.run(["--resume", str(folder), "--epochs", "5"])
    out = capsys.readouterr().out
    assert "5 epochs instead of 3, changed after epoch 3" in out
    assert "The cosine schedule" in out and "of 5 epochs from epoch 4 on" in out
    assert result["config"]["epochs"] == 5
    assert result["epochs_changed"] == [{"after": 3, "from": 3, "to": 5}]
    rows = train.RunFolder(folder).rows(through=5)
    assert rows[:3] == train.RunFolder(finished).rows()
    before = train.RunFolder(folder).path / "result-after-3.json"
    assert before.read_bytes() == (finished / "result.json").read_bytes()
    # What is longer now goes on like any other run, and cannot be made shorter than it is.
    shutil.rmtree(folder / "checkpoints" / "5")
    assert train.run(["--resume", str(folder)])["total_pj"] == result["total_pj"]
    assert train.RunFolder(folder).rows()[3]["train_loss"] == rows[3]["train_loss"]
    with pytest.raises(ValueError, match=r"epochs must be at least 5, those that .* has done"):
        train.run(["--resume", str(folder), "--epochs", "4"])


def test_fewer_epochs_than_planned(finished, tmp_path):
    """A run of 9 epochs that is ended after its third."""
    folder = shutil.copytree(finished, tmp_path / "run")
    train.RunFolder(folder).change_epochs(9, 3)
    result = train.run(["--resume", str(folder), "--epochs", "3"])
    assert [change["to"] for change in result["epochs_changed"]] == [9, 3]
    assert len(train.RunFolder(folder).rows()) == 3


# ---- Ctrl-C --------------------------------------------------------------------------------------


def interrupt(monkeypatch, epoch: int, times: int = 1) -> None:
    """Ctrl-C while an epoch is evaluated."""
    evaluate, calls = program.evaluate, iter(range(1, 100))

    def interrupted(*args):
        if next(calls) == epoch:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return evaluate(*args)

    monkeypatch.setattr(program, "evaluate", interrupted)


def test_ctrl_c_keeps_the_epoch(finished, tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "a run"
    with monkeypatch.context() as patched:
        interrupt(patched, 2)
        # Long intervals: it is Ctrl-C that saves the second epoch.
        patched.setattr(Saving, "SHARE", 0.0)
        with pytest.raises(KeyboardInterrupt) as stopped:
            tiny_run(folder, "--checkpoint-seconds", "1000")
    assert str(stopped.value) == (
        f"Stopped by Ctrl-C. The checkpoint of epoch 2 in {folder}/checkpoints is whole. "
        f"Continue with: python -m experiments.train --resume '{folder}'"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (
        train.run(["--resume", str(folder)])["total_pj"]
        == json.loads((finished / "result.json").read_text())["total_pj"]
    )


def test_ctrl_c_between_two_steps(tiny_run, tmp_path, monkeypatch):
    """Nothing is lost where the epoch before is saved: it stops there."""
    interrupt(monkeypatch, 2)
    step, seen = train.Progress.steps, []
    monkeypatch.setattr(
        train.Progress, "steps", lambda self, count: (seen.append(1), step(self, count))
    )

    def after_the_sixth(self, count):
        seen.append(1)
        if len(seen) == 6:
            signal.raise_signal(signal.SIGINT)
        step(self, count)

    monkeypatch.setattr(train.Progress, "steps", after_the_sixth)
    with pytest.raises(KeyboardInterrupt, match="The checkpoint of epoch 1 "):
        tiny_run(tmp_path / "run", "--loop", "step")
    assert len(seen) == 6


def test_ctrl_c_on_the_command_line(tiny_flags, compiled, tmp_path):
    script = """
import runpy, signal, sys
from jsnn.train import _fit
score = _fit.score_of
def interrupted(*args):
    signal.raise_signal(signal.SIGINT)
    return score(*args)
_fit.score_of = interrupted
sys.argv[0] = "train"
runpy.run_module("experiments.train", run_name="__main__")
"""
    folder = tmp_path / "run"
    ended = subprocess.run(
        [sys.executable, "-c", script, *tiny_flags, "--out", str(folder)],
        cwd=ROOT,
        env=os.environ | compiled,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 130
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Stopped by Ctrl-C. ") and f"--resume {folder}" in line
