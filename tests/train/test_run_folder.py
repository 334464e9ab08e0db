"""A run folder belongs to one process, and what is read of it is what was written."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import train
from experiments.config import from_json, option, stored_config
from jsnn.train import run_folder
from jsnn.train.run_folder import CHANGES, RunFolder

ROOT = Path(train.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Toy:
    """A config with a field of each type."""

    name: str = option("a", "a name")
    seed: int = option(0, "an integer", least=0)
    epochs: int = option(3, "an integer", least=1)
    rate: float = option(0.5, "a number", above=0, below=1)
    widths: tuple[int, ...] = option((4, 5), "integers")
    limit: int | None = option(None, "an integer or none")
    pair: tuple[float, ...] | None = option((1.0, 2.0), "numbers or none")
    norm: bool = option(False, "a switch")


def row(epoch: int) -> dict:
    return {"epoch": epoch, "loss": 0.1 * epoch, "spikes": [1.5, 2.0]}


@pytest.fixture
def folder(tmp_path):
    with RunFolder.create(str(tmp_path / "run"), "toy", Toy()) as made:
        for epoch in (1, 2, 3):
            made.append(row(epoch))
        yield made


# ---- one process at a time -----------------------------------------------------------------------

# Processes that meet before each trial and after it, so that all try while the first still holds.
TOGETHER = """
import dataclasses, json, multiprocessing, os, sys

@dataclasses.dataclass
class Config:
    seed: int = 0

def work(number, meet, names, answers):
    # Only here: what it imports has threads, which no process survives being forked with.
    from jsnn.train.run_folder import RunFolder
    said = []
    for name in names:
        meet.wait()
        folder = None
        try:
            if name and os.path.exists(f"{name}/config.json"):
                folder = RunFolder.existing(name)
                folder.lock()
            else:
                folder = RunFolder.create(name, "toy", Config(number))
            said.append(["taken", str(folder.path), os.getpid()])
        except OSError as error:
            said.append(["refused", str(error), os.getpid()])
        meet.wait()
        if folder is not None:
            folder.release()
    answers.put(said)

fork = multiprocessing.get_context("fork")
count, names = json.loads(sys.argv[1])
meet, answers = fork.Barrier(count), fork.Queue()
workers = [fork.Process(target=work, args=(n, meet, names, answers)) for n in range(count)]
for worker in workers:
    worker.start()
print(json.dumps([answers.get(timeout=100) for _ in workers]))
for worker in workers:
    worker.join()
"""


def together(folder: Path, names: list, count: int = 4) -> list[list]:
    """What each of the processes got, by trial."""
    ended = subprocess.run(
        [sys.executable, "-c", TOGETHER, json.dumps([count, names])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return list(zip(*json.loads(ended.stdout), strict=True))


needs_locks = pytest.mark.skipif(
    run_folder.fcntl is None or not hasattr(os, "fork"), reason="needs flock and fork"
)


@needs_locks
def test_names_that_are_made_at_once_are_different(tmp_path):
    trials = together(tmp_path, [None] * 50)
    paths = [path for trial in trials for kind, path, _ in trial if kind == "taken"]
    assert len(set(paths)) == len(paths) == 200
    for path in paths:
        assert (tmp_path / path / "config.json").exists()


@needs_locks
def test_one_of_several_makes_a_folder(tmp_path):
    for trial in together(tmp_path, [f"run-{n}" for n in range(50)]):
        kinds = sorted(kind for kind, *_ in trial)
        assert kinds == ["refused"] * 3 + ["taken"]
        ((_, path, _),) = [one for one in trial if one[0] == "taken"]
        for kind, said, _ in trial:
            if kind == "refused":
                # Whoever comes before the winner wrote its number cannot name it.
                assert said.startswith(f"{path} is in use by ") or "another run" in said, said
        RunFolder(tmp_path / path).refuse_edited()


@needs_locks
def test_one_of_several_goes_on_with_a_run(tmp_path):
    RunFolder.create(str(tmp_path / "run"), "toy", Toy()).release()
    named = 0
    for trial in together(tmp_path, ["run"] * 50):
        ((_, _, owner),) = [one for one in trial if one[0] == "taken"]
        refused = [said for kind, said, _ in trial if kind == "refused"]
        assert len(refused) == 3
        for said in refused:
            assert said.startswith("run is in use by ") and said.endswith(
                ": wait for it to end, or stop it"
            )
            named += f"process {owner} on " in said
    assert named


@needs_locks
def test_the_lock_of_a_dead_process_is_gone(tmp_path):
    folder = RunFolder.create(str(tmp_path / "run"), "toy", Toy())
    folder.release()
    script = (
        "import sys, time; from jsnn.train.run_folder import RunFolder\n"
        "folder = RunFolder.existing(sys.argv[1]); folder.lock(); print('held', flush=True)\n"
        "time.sleep(100)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(folder.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=rf"in use by process {holder.pid} on "):
            folder.lock()
        holder.send_signal(signal.SIGKILL)
    folder.lock()
    folder.release()


@needs_locks
def test_a_running_run_is_not_resumed(finished, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (path / name).write_bytes((finished / name).read_bytes())
    with RunFolder.existing(str(path)) as running:
        running.lock()
        with pytest.raises(BlockingIOError, match=r"is in use by process \d+ on .*: wait for it"):
            train.run(["--resume", str(path)])


def test_a_system_without_locks_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_folder, "fcntl", None)
    with RunFolder.create(str(tmp_path / "run"), "toy", Toy()):
        pass
    assert "cannot be locked (this system has no flock)" in capsys.readouterr().err


@needs_locks
def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(run_folder.errno.ENOLCK, os.strerror(run_folder.errno.ENOLCK))

    monkeypatch.setattr(run_folder.fcntl, "flock", refuse)
    with RunFolder.create(str(tmp_path / "run"), "toy", Toy()):
        pass
    assert "cannot be locked (No locks available)" in capsys.readouterr().err


def test_a_folder_whose_making_was_broken_off(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.partial").write_text('{"see')
    (path / "lock").write_text("process 1 on elsewhere\n")
    with pytest.raises(FileNotFoundError, match=rf"no config\.json.*again \(--out {path}"):
        RunFolder.existing(str(path))
    with RunFolder.create(str(path), "toy", Toy()) as folder:
        assert stored_config(folder, Toy) == Toy()
    assert not (path / "config.partial").exists()


# ---- config --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name must be of type str, got 3"),
        ({"seed": "0"}, "seed must be of type int, got '0'"),
        ({"seed": True}, "seed must be of type int, got True"),
        ({"seed": 1.0}, "seed must be of type int, got 1.0"),
        ({"seed": None}, "seed must be of type int, got None"),
        ({"rate": "0.5"}, "rate must be a finite number, got '0.5'"),
        ({"rate": float("nan")}, "rate must be a finite number, got nan"),
        ({"rate": float("inf")}, "rate must be a finite number, got inf"),
        ({"widths": 4}, "widths must be a list of int, got 4"),
        ({"widths": [4, 5.5]}, r"widths must be a list of int, got \[4, 5.5\]"),
        ({"limit": [1]}, r"limit must be of type int or null, got \[1\]"),
        ({"pair": [1, "2"]}, r"pair must be a list of float or null, got \[1, '2'\]"),
        ({"norm": 0}, "norm must be of type bool, got 0"),
        ({"norm": 0, "seed": []}, r"seed must be of type int, got \[\]; norm must be of type bool"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"rate": 1}, "--rate must be less than 1, got 1"),
        ({"warp": 9}, "other options.*warp is unknown"),
    ],
)
def test_a_config_is_checked_by_type_and_value(folder, change, message):
    stored = {**folder.content(), **change}
    folder.config.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        stored_config(folder, Toy)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Toy)])
def test_a_missing_field_is_named(folder, field):
    stored = folder.content()
    del stored[field]
    folder.config.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=rf"config\.json .*{field} is missing"):
        stored_config(folder, Toy)


def test_every_field_of_a_run_is_checked_by_its_type():
    """What is of no type of a field is refused for every one of them."""
    stored = json.loads(json.dumps(dataclasses.asdict(train.Config())))
    assert from_json(train.Config, stored, "config.json") == train.Config()
    for name in stored:
        with pytest.raises(ValueError, match=rf"config\.json: {name} must be "):
            from_json(train.Config, {**stored, name: {}}, "config.json")


def test_a_config_that_is_none(folder):
    for text in ("[]", "3", '"a"', "null", "", "{", "[" * 100_000, '{"a": 1', "\xff"):
        folder.config.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"config\.json is damaged"):
            stored_config(folder, Toy)


def test_an_edited_config_is_refused_with_the_fields_that_differ(folder):
    known = folder.content()
    folder.refuse_unlike(known)
    folder.refuse_edited()
    folder.config.write_text(json.dumps({**known, "seed": 4, "widths": [4]}))
    with pytest.raises(
        ValueError,
        match=r"config\.json is not the config that made the checkpoint \(seed: 0 in the "
        r"checkpoint, 4 in config\.json; widths: \[4, 5\] in the checkpoint, \[4\] in config",
    ):
        folder.refuse_unlike(known)
    with pytest.raises(ValueError, match=r"config\.json is not as the run wrote it"):
        folder.refuse_edited()
    with pytest.raises(ValueError, match="does not say which config it is of"):
        folder.refuse_unlike(None)


def test_epochs_are_changed_and_older_checkpoints_still_fit(folder):
    before = folder.content()
    folder.write(folder.result, {"accuracy": 0.5})
    assert folder.change_epochs(3, 3) is None
    assert folder.change_epochs(7, 3) == "7 epochs instead of 3, changed after epoch 3"
    assert stored_config(folder, Toy) == Toy(epochs=7)
    assert not folder.result.exists() and (folder.path / "result-after-3.json").exists()
    middle = folder.content()
    folder.change_epochs(5, 4)
    assert folder.content()[CHANGES] == [
        {"after": 3, "from": 3, "to": 7},
        {"after": 4, "from": 7, "to": 5},
    ]
    for known in (before, middle, folder.content()):
        folder.refuse_unlike(known)
    with pytest.raises(ValueError, match="epochs: 6 in the checkpoint"):
        folder.refuse_unlike({**before, "epochs": 6})


@pytest.mark.parametrize("change", [{"epochs": 9}, {CHANGES: []}, {CHANGES: "often"}, {"seed": 1}])
def test_a_config_edited_behind_changed_epochs_is_refused(folder, change):
    before = folder.content()
    folder.change_epochs(7, 3)
    folder.config.write_text(json.dumps(json.loads(folder.config.read_text()) | change))
    with pytest.raises(ValueError, match=r"config\.json"):
        folder.refuse_unlike(before)


def test_epochs_are_free_before_the_first_is_done(folder):
    folder.change_epochs(7, 0)
    assert CHANGES not in folder.content() and stored_config(folder, Toy).epochs == 7


def test_flags_win_where_they_may(folder):
    assert stored_config(folder, Toy, {"epochs": 9}, free=("epochs",)) == Toy(epochs=9)
    with pytest.raises(ValueError, match=r"another config \(epochs: 3 in the run, 9 now\)"):
        stored_config(folder, Toy, {"epochs": 9})


# ---- metrics and results -------------------------------------------------------------------------


def lines(folder: RunFolder) -> list[str]:
    return folder.metrics.read_text().splitlines(keepends=True)


def test_rows_go_by_epoch(folder):
    rows = [row(1), row(2), row(3)]
    one, two, three = lines(folder)
    # In any order and said twice they are the same rows.
    folder.metrics.write_text(three + one + two + one)
    assert folder.rows() == folder.rows(through=3) == rows
    assert folder.rows(through=2) == rows[:2] and folder.row(2) == row(2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lambda a, b, c: a + c, "no row of epoch 2"),
        (lambda a, b, c: c, "no row of epochs 1-2"),
        (lambda a, b, c: "", "no row of epochs 1-3"),
        (lambda a, b, c: a + b + c[:-20], "line 3 is cut off; no row of epoch 3"),
        (lambda a, b, c: a + b[:30] + c, "line 2 is not as it was written; no row of epochs 2-3"),
        (lambda a, b, c: a + b.replace("0.2", "0.3") + c, "line 2 is not as it was written"),
        (lambda a, b, c: a + b"\0".decode() + b + c, "line 2 is not as it was written"),
        (lambda a, b, c: a + b + '{"epoch": 3}\n', "line 3 is not as it was written"),
        (lambda a, b, c: a + b + c + "\n", "line 4 is not as it was written"),
    ],
)
def test_lost_and_damaged_lines_are_named(folder, text, message):
    folder.metrics.write_text(text(*lines(folder)))
    with pytest.raises(ValueError, match=rf"metrics\.jsonl is damaged: .*{message}"):
        folder.rows(through=3)
    # The checkpoint knows them, and says what it put back.
    said = folder.rewind([row(1), row(2), row(3)])
    assert said is None or "put back from the checkpoint" in said
    assert folder.rows(through=3) == [row(1), row(2), row(3)]


def test_two_rows_of_one_epoch_are_refused(folder):
    folder.append({**row(3), "loss": 7.0})
    with pytest.raises(ValueError, match="line 4 is a second row of epoch 3"):
        folder.rows()


def test_a_row_that_is_not_there(folder):
    with pytest.raises(ValueError, match="no row of epoch 4"):
        folder.row(4)


def test_rewinding_says_what_it_puts_back(folder):
    before = folder.metrics.read_bytes()
    assert folder.rewind([row(1), row(2), row(3)]) is None
    assert folder.metrics.read_bytes() == before
    assert folder.rewind([row(1), row(2)]) is None
    assert folder.rows() == [row(1), row(2)]
    # Half a line of an epoch that is to come again is no loss.
    folder.metrics.write_text(before.decode()[:-5])
    assert folder.rewind([row(1), row(2)]) is None
    folder.metrics.unlink()
    said = folder.rewind([row(1), row(2)])
    assert said == f"{folder.metrics}: put back from the checkpoint, epochs 1-2 (missing)"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"accuracy": 0.5}', '{"accuracy": 0.5, "sha256": "0"}', "nul", "\xff{"],
)
def test_a_damaged_result_is_named(folder, text):
    folder.write(folder.result, {"accuracy": 0.5})
    assert folder.read(folder.result) == {"accuracy": 0.5}
    folder.result.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        folder.read(folder.result)


# ---- on disk before what relies on it ------------------------------------------------------------


def test_a_name_comes_after_its_content_and_before_what_follows(folder, monkeypatch):
    """fsync of the file, then its name, then fsync of the folder that the name is in."""
    events = []
    rename, fsync = os.replace, os.fsync

    def renamed(source, target):
        events.append(f"rename {Path(target).name}")
        rename(source, target)

    def synced(handle):
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to know what a descriptor is")
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    folder.write(folder.result, {})
    assert events == ["fsync result.partial", "rename result.json", "fsync run"]
    events.clear()
    folder.sync()
    assert events == ["fsync metrics.jsonl", "fsync run"]
