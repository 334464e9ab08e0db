"""A checkpoint comes back as it was written, or is refused."""

import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jsnn.train import checkpoint
from jsnn.train.checkpoint import Checkpoints


@struct.dataclass
class State:
    """A tree whose paths have attributes, names and numbers."""

    params: dict
    parts: tuple
    nothing: None = None


def tree(seed: int) -> State:
    rng = np.random.default_rng(seed)
    return State(
        {"kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "empty": {}},
        (
            jnp.asarray(rng.normal(size=5), jnp.bfloat16),
            np.int8(seed),
            [np.arange(4, dtype=np.uint32), jnp.asarray(True)],
        ),
    )


def equal(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "c"
    for step in (1, 2, 3):
        Checkpoints(folder).save(step, tree(step), {"epoch": step, "score": 0.1 * step})
    return folder


@pytest.fixture
def kept(written, tmp_path):
    folder, said = shutil.copytree(written, tmp_path / "c"), []
    return folder, Checkpoints(folder, say=said.append), said


def test_what_was_written_comes_back(kept):
    folder, checkpoints, said = kept
    assert checkpoints.steps() == [2, 3] and checkpoints.latest() == 3
    for step in (2, 3):
        result, record = checkpoints.restore(tree(0), step)
        equal(result, tree(step))
        assert record == checkpoints.record(step) == {"epoch": step, "score": 0.1 * step}
    plain, _ = checkpoints.restore()
    assert plain["parts"][1] == 3 and isinstance(plain["params"]["kernel"], np.ndarray)
    assert not said and {path.name for path in folder.iterdir()} == {"2", "3"}


def test_arrays_stand_where_they_are_asked_for(kept):
    _, checkpoints, _ = kept
    result, _ = checkpoints.restore(tree(0))
    assert isinstance(result.params["kernel"], jax.Array)
    assert isinstance(result.parts[2][0], np.ndarray)
    assert result.params["kernel"].sharding == tree(0).params["kernel"].sharding


def test_a_step_of_the_same_number_is_replaced(kept):
    _, checkpoints, _ = kept
    checkpoints.save(3, tree(9), {"epoch": 9})
    equal(checkpoints.restore(tree(0), 3)[0], tree(9))


def test_another_network_is_refused_by_what_differs(kept):
    folder, checkpoints, _ = kept
    wider = tree(0).replace(params={"kernel": jnp.zeros((3, 5))})
    match = (
        r"3 in .* does not fit this network: params\.kernel \(float32 \[3, 4\] there, .*\[3, 5\]"
    )
    with pytest.raises(ValueError, match=match):
        checkpoints.restore(wider)
    other = tree(0).replace(params={"kernel": jnp.zeros((3, 4), jnp.bfloat16), "bias": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"params\.bias \(nothing there.*bfloat16 \[3, 4\] here"):
        checkpoints.restore(other)
    equal(Checkpoints(folder).restore(tree(0))[0], tree(3))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_one_flipped_bit_of_any_file_is_found(kept, tmp_path):
    folder, _, _ = kept
    for number, file in enumerate(files(folder / "3")):
        copied = shutil.copytree(folder, tmp_path / f"copy-{number}")
        flip(copied / file.relative_to(folder))
        said = []
        result, record = Checkpoints(copied, say=said.append).restore(tree(0))
        equal(result, tree(2))
        assert record["epoch"] == 2
        (line,) = said
        part = "record.json" if file.name == "record.json" else "tree"
        assert line.startswith(f"{copied.resolve() / '3' / part} is damaged: ")
        assert line.endswith("; going back to checkpoint 2")
        if part == "tree":
            assert file.relative_to(folder / "3" / "tree").as_posix() in line


def test_every_file_that_is_gone_or_new_is_found(kept, tmp_path):
    folder, _, _ = kept
    for number, file in enumerate(files(folder / "3")):
        copied = shutil.copytree(folder, tmp_path / f"copy-{number}")
        (copied / file.relative_to(folder)).unlink()
        said = []
        assert Checkpoints(copied, say=said.append).record()["epoch"] in (2, 3)
        equal(Checkpoints(copied, say=said.append).restore(tree(0))[0], tree(2))
        assert said
    (folder / "3" / "tree" / "more").write_text("")
    with pytest.raises(ValueError, match=r"3/tree is damaged: more changed, gone or new"):
        Checkpoints(folder).restore(step=3)


def test_a_renamed_checkpoint_is_not_taken_for_another(kept):
    folder, checkpoints, said = kept
    (folder / "3").rename(folder / "7")
    equal(checkpoints.restore(tree(0))[0], tree(2))
    assert said == [
        f"{folder.resolve()}/7/record.json is damaged: it was written as that of 3; going back to "
        "checkpoint 2"
    ]
    # Once is enough.
    checkpoints.record()
    assert len(said) == 1


def test_arrays_of_another_checkpoint_are_found(kept):
    folder, checkpoints, said = kept
    shutil.rmtree(folder / "3" / "tree")
    shutil.copytree(folder / "2" / "tree", folder / "3" / "tree")
    equal(checkpoints.restore(tree(0))[0], tree(2))
    assert "3/tree is damaged" in said[0]


def test_arrays_are_checked_beyond_their_files(kept, monkeypatch):
    """What orbax makes of whole files is compared too."""
    _, checkpoints, _ = kept
    digest = checkpoint.array_digest
    monkeypatch.setattr(checkpoint, "array_digest", lambda leaf: digest(np.asarray(leaf) * 2))
    with pytest.raises(ValueError, match=r"3/tree is damaged: not as written are params\.kernel"):
        checkpoints.restore(step=3)


def test_none_that_can_be_read_is_an_error_that_names_them(kept):
    folder, checkpoints, _ = kept
    for step in "23":
        flip(folder / step / "record.json")
    match = r"no checkpoint in .* can be read.*3/record\.json is damaged.*2/record\.json is damaged"
    with pytest.raises(ValueError, match=match):
        checkpoints.restore(tree(0))
    with pytest.raises(ValueError, match=match):
        checkpoints.record()


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": 2}', "[" * 9999, "\xff"])
def test_a_record_that_is_none(kept, text):
    folder, checkpoints, said = kept
    (folder / "3" / "record.json").write_bytes(text.encode("latin-1"))
    assert checkpoints.record()["epoch"] == 2
    assert "3/record.json is damaged" in said[0]


def test_other_formats_are_refused(kept, monkeypatch):
    folder, checkpoints, _ = kept
    for written, advice in ((1, "use the version of jsnn that wrote it"), (3, "update jsnn")):
        content = json.loads((folder / "3" / "record.json").read_text())
        (folder / "3" / "record.json").write_text(json.dumps(content | {"format": written}))
        with pytest.raises(ValueError, match=rf"checkpoint 3 .* has format {written}.*{advice}"):
            checkpoints.restore(tree(0))
    # Those before the record had a file of its own.
    (folder / "3" / "record.json").unlink()
    (folder / "3" / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(ValueError, match=r"checkpoint 3 .* has format 1, .* reads 2"):
        checkpoints.restore(tree(0))


def test_there_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.latest() is None and checkpoints.steps() == []
    for read in (checkpoints.restore, checkpoints.record):
        with pytest.raises(FileNotFoundError, match="stopped before its first one"):
            read()
    with pytest.raises(FileNotFoundError, match="no checkpoint 4"):
        checkpoints.restore(step=4)
    assert not (tmp_path / "none").exists()


def test_reading_changes_nothing_and_names_that_are_no_steps_are_passed_over(kept):
    folder, checkpoints, said = kept
    for name in ("4.tmp", "007", "²", "5x", "-1"):
        (folder / name).mkdir()
    (folder / "9").write_text("a file")
    before = sorted(path.name for path in folder.iterdir())
    assert checkpoints.steps() == [2, 3]
    equal(checkpoints.restore(tree(0))[0], tree(3))
    assert sorted(path.name for path in folder.iterdir()) == before and not said


def test_going_on_removes_what_is_newer_or_half_done(kept):
    folder, checkpoints, _ = kept
    (folder / "4.tmp").mkdir()
    shutil.copytree(folder / "2", folder / "1")
    checkpoints.rewind(3)
    assert {path.name for path in folder.iterdir()} == {"2", "3"}
    checkpoints.rewind(2)
    assert {path.name for path in folder.iterdir()} == {"2"}


def test_the_name_comes_last_and_is_on_disk(tmp_path, monkeypatch):
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to know what a descriptor is")
    events, rename, fsync = [], os.rename, os.fsync

    def renamed(source, target):
        events.append(("rename", Path(target).name))
        rename(source, target)

    def synced(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        events.append(("fsync", str(path.relative_to(tmp_path.resolve()))))
        fsync(handle)

    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    Checkpoints(tmp_path / "c").save(5, {"w": jnp.ones(3)}, {})
    place = events.index(("rename", "5"))
    written = {f"5.tmp/{path.relative_to(tmp_path / 'c' / '5')}" for path in files(tmp_path / "c")}
    assert written <= {path.removeprefix("c/") for kind, path in events[:place] if kind == "fsync"}
    assert ("fsync", "c") in events[place:]


def test_keys_with_dots_that_meet_are_refused(tmp_path):
    meeting = {"a": {"b": jnp.ones(1)}, "a.b": jnp.zeros(1)}
    with pytest.raises(ValueError, match="two arrays of one path"):
        Checkpoints(tmp_path / "c").save(1, meeting, {})
    assert Checkpoints(tmp_path / "c").steps() == []


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_wait_for_each_other_where_there_are_several(processes, monkeypatch):
    met = []
    monkeypatch.setattr(checkpoint.multihost_utils, "sync_global_devices", met.append)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    checkpoint._meet("checkpoint begun")
    assert met == ["checkpoint begun"] * (processes > 1)


def test_what_a_killed_process_left_half_written_is_gone_after_the_next_save(kept):
    folder, checkpoints, _ = kept
    for step in (4, 9):
        (folder / f"{step}{checkpoint.UNFINISHED}").mkdir()
        (folder / f"{step}{checkpoint.UNFINISHED}" / "half").write_text("half")
    checkpoints.save(4, tree(4), {"epoch": 4})
    assert {path.name for path in folder.iterdir()} == {"3", "4"}
    assert not (folder / "4" / "half").exists()
    equal(checkpoints.restore(tree(0))[0], tree(4))
