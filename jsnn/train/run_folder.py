"""Folder of one run: config, metrics, checkpoints, result; a kill loses nothing saved.

Every file that is read again carries the sha256 of its content (of each row, for the metrics), is
replaced as a whole, and is on disk before files that rely on it. One process at a time may use it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import platform
import sys
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsnn.train.json_files import (
    DIGEST,
    as_json,
    digest_of,
    loaded,
    opened,
    parsed,
    replace,
    saying,
    sealed,
    sync,
    sync_folder,
)

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

CHANGES = "epochs_changed"
ROW = "row"
_ELSEWHERE = "choose another folder (--out)"
# Errors of flock on a file system without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RunFolder:
    """Files of a run below `path`.

    `create` and `lock` keep other processes out until the `with` block, or the process, ends.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"
        self.lock_file = path / "lock"
        self._unlock: weakref.finalize | None = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_):
        self.release()

    @classmethod
    def create(
        cls, out: str | Path | None = None, name: str = "run", config: Any = None
    ) -> RunFolder:
        """A new folder, locked: `out`, or the first free `runs/name-N`.

        Args:
            out: its path.
            name: of a folder that is numbered.
            config: what the run is made with: a mapping that JSON can hold, or a dataclass.

        Raises:
            FileExistsError: `out` holds files already, of another run or of something else.
            BlockingIOError: another process is creating it.
            OSError: it cannot be written to.
        """
        folder = cls._numbered(Path("runs"), name) if out is None else cls._named(Path(out))
        fields = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config or {}
        with saying(f"output folder {folder.path} cannot be written to", _ELSEWHERE):
            sync_folder(folder.path.parent)
            replace(folder.config, as_json(sealed(dict(fields), folder.config.name)))
        return folder

    @classmethod
    def _named(cls, path: Path) -> RunFolder:
        folder = cls(path)
        folder._refuse_taken()
        with saying(f"output folder {path} cannot be written to", _ELSEWHERE):
            path.mkdir(parents=True, exist_ok=True)
        folder.lock(_ELSEWHERE)
        try:
            # Another process may have created and left the folder meanwhile.
            folder._refuse_taken()
        except FileExistsError:
            folder.release()
            raise
        return folder

    @classmethod
    def _numbered(cls, root: Path, name: str) -> RunFolder:
        number = 0
        while True:
            number += 1
            folder = cls(root / f"{name}-{number}")
            with saying(f"output folder {folder.path} cannot be made", _ELSEWHERE):
                root.mkdir(parents=True, exist_ok=True)
                try:
                    folder.path.mkdir()
                except FileExistsError:
                    continue
            with contextlib.suppress(BlockingIOError):
                folder.lock()
                return folder

    def _refuse_taken(self) -> None:
        # A process killed while creating the folder leaves at most these files.
        unborn = {self.lock_file.name, self.config.with_suffix(".partial").name}
        path = self.path
        if path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - unborn):
            owner = "another run" if self.config.exists() else "something else"
            raise FileExistsError(
                f"output folder {path} belongs to {owner}: choose another folder (--out), or "
                f"continue with that run (--resume {path})"
            )

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of an earlier run; FileNotFoundError if there is none."""
        folder = cls(Path(path))
        if not folder.config.exists():
            begun = folder.config.with_suffix(".partial").exists()
            advice = f"start it again (--out {path})" if begun else "start one (--out)"
            raise FileNotFoundError(
                f"{path} holds no config.json, so there is no run to resume; {advice}"
            )
        return folder

    # ---- one process at a time -------------------------------------------------------------------

    def lock(self, advice: str = "wait for it to end, or stop it") -> None:
        """Keep other processes out; does nothing if this object has the lock already.

        The system releases the lock when the process ends, however it ends. Where there are no
        locks, a line on standard error says so.

        Raises:
            BlockingIOError: another process has the folder.
            OSError: the lock file cannot be written.
        """
        if self._unlock is not None and self._unlock.alive:
            return
        if fcntl is None:
            self._say_unlocked("this system has no flock")
            return
        with saying(f"{self.lock_file} cannot be written", "see that the folder is writable"):
            handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(handle, 200).decode(errors="replace").strip()
            os.close(handle)
            raise BlockingIOError(
                f"{self.path} is in use by {owner or 'another process'}: {advice}"
            ) from error
        except OSError as error:
            os.close(handle)
            if error.errno not in NO_LOCKS:
                raise
            self._say_unlocked(error.strerror)
            return
        self._unlock = weakref.finalize(self, os.close, handle)
        with saying(f"{self.lock_file} cannot be written", "make room"):
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {platform.node()}\n".encode())

    def release(self) -> None:
        """Let other processes in."""
        if self._unlock is not None:
            self._unlock()

    def _say_unlocked(self, reason: str) -> None:
        print(
            f"note: {self.path} cannot be locked ({reason}): see that no other process uses it",
            file=sys.stderr,
        )

    # ---- config ----------------------------------------------------------------------------------

    def stored_config(
        self, given: Mapping[str, Any] | None = None, free: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The config of the run as JSON holds it: lists in place of tuples.

        Args:
            given: values that the run shall have now.
            free: names of values that may differ from those of the run; they win.

        Raises:
            ValueError: the file is damaged, or a value differs from that of the run.
        """
        stored, _ = self._stored()
        stored.pop(CHANGES, None)
        given = json.loads(json.dumps(dict(given or {})))
        changed = [
            f"{name}: {stored.get(name)!r} in the run, {value!r} now"
            for name, value in given.items()
            if name not in free and (name not in stored or stored[name] != value)
        ]
        if changed:
            raise ValueError(
                f"{self.path} was run with another config ({'; '.join(changed)}): leave these "
                "values away to resume it, or start a new run (--out)"
            )
        return stored | {name: given[name] for name in free if name in given}

    def content(self) -> dict[str, Any]:
        """Content of config.json: the config, and later changes of its epochs."""
        return self._stored()[0]

    def refuse_edited(self) -> None:
        """Raise ValueError if config.json was edited; used where no checkpoint holds a copy."""
        stored, digest = self._stored()
        if digest != digest_of(stored, self.config.name):
            raise ValueError(
                f"{self.config} is not as the run wrote it (its {DIGEST} does not match): start a "
                "new run (--out)"
            )

    def refuse_unlike(self, known: Any) -> None:
        """Compare config.json with the copy in a checkpoint.

        A checkpoint from before a change of the epochs holds the earlier config.

        Args:
            known: `content` when the checkpoint was written.

        Raises:
            ValueError: naming the fields that differ.
        """
        stored = self.content()
        if not isinstance(known, dict):
            raise ValueError(f"the checkpoint in {self.path} does not say which config it is of")
        before, changes = stored, _changes(stored, self.config)
        while before != known and changes and before["epochs"] == changes[-1]["to"]:
            # Changes that no checkpoint holds yet are checked by the digest.
            self.refuse_edited()
            *changes, last = changes
            before = {**before, "epochs": last["from"], CHANGES: changes}
            if not changes:
                del before[CHANGES]
        if before == known:
            return
        unlike = [
            f"{name}: {known.get(name, 'nothing')!r} in the checkpoint, "
            f"{stored.get(name, 'nothing')!r} in config.json"
            for name in sorted(known.keys() | stored.keys())
            if known.get(name) != stored.get(name) or (name in known) != (name in stored)
        ]
        raise ValueError(
            f"{self.config} is not the config that made the checkpoint ({'; '.join(unlike)}): put "
            "it back as it was, or start a new run (--out)"
        )

    def change_epochs(self, epochs: int, done: int) -> str | None:
        """Change the number of epochs of the run; returns a line that says so.

        The result of the run as it was is kept as `result-after-N.json`.

        Args:
            epochs: number the run shall have, at least `done`.
            done: number already done.
        """
        stored = self.content()
        before = stored["epochs"]
        if epochs == before:
            return None
        changed = {**stored, "epochs": epochs}
        if done:
            change = {"after": done, "from": before, "to": epochs}
            changed[CHANGES] = [*_changes(stored, self.config), change]
        with self._saying_what(self.config):
            if self.result.exists():
                os.replace(self.result, self.path / f"result-after-{before}.json")
                sync_folder(self.path)
            replace(self.config, as_json(sealed(changed, self.config.name)))
        return f"{epochs} epochs instead of {before}, changed after epoch {done}"

    def _stored(self) -> tuple[dict[str, Any], Any]:
        """Content of config.json and the digest that it carries."""
        stored = parsed(self.config)
        if not isinstance(stored, dict):
            raise ValueError(f"{self.config} is damaged: it holds no object of named values")
        digest = stored.pop(DIGEST, None)
        return stored, digest

    # ---- what the run writes ---------------------------------------------------------------------

    def write(self, file: Path, content: Any) -> None:
        """Write JSON with its digest, completely or not at all; OSError if the disk refuses."""
        with self._saying_what(file):
            replace(file, as_json(sealed(content, file.name)))

    def read(self, file: Path) -> dict[str, Any]:
        """JSON that `write` wrote.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it was changed since it was written.
        """
        return opened(
            parsed(file),
            file.name,
            file,
            f"continuing the run (--resume {self.path}) writes it again",
        )

    def append(self, row: dict[str, Any]) -> None:
        """Add one line to the metrics, or none; OSError if the disk refuses."""
        with self._saying_what(self.metrics):
            self.metrics.touch()
            before = self.metrics.stat().st_size
            try:
                with self.metrics.open("a") as file:
                    file.write(_line(row))
            except OSError:
                os.truncate(self.metrics, before)
                raise

    def sync(self) -> None:
        """Force the metrics to disk, before a checkpoint that relies on them."""
        with self._saying_what(self.metrics):
            sync(self.metrics)
            sync_folder(self.path)

    def rows(self, through: int | None = None) -> list[dict[str, Any]]:
        """The metrics so far, by epoch.

        Args:
            through: last epoch up to which all rows must exist; None: whichever exist.

        Raises:
            ValueError: damaged lines, two rows of one epoch, or epochs without a row, all named.
        """
        by_epoch, wrong = self._lines()
        if through is not None:
            if missing := [e for e in range(1, through + 1) if e not in by_epoch]:
                wrong.append(f"no row of epoch{'s' * (len(missing) > 1)} {_numbers(missing)}")
        if wrong:
            raise ValueError(
                f"{self.metrics} is damaged: {'; '.join(wrong)}. Continuing the run "
                f"(--resume {self.path}) puts back what its checkpoint knows"
            )
        last = max(by_epoch, default=0) if through is None else through
        return [by_epoch[epoch] for epoch in sorted(by_epoch) if epoch <= last]

    def row(self, epoch: int) -> dict[str, Any]:
        """The metrics of one epoch; ValueError if they are missing or damaged."""
        for row in self.rows():
            if row["epoch"] == epoch:
                return row
        raise ValueError(
            f"{self.metrics} is damaged: no row of epoch {epoch}. Continuing the run "
            f"(--resume {self.path}) puts back what its checkpoint knows"
        )

    def rewind(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """Reset the metrics to these rows; returns a line on what was wrong with them.

        Later rows, which the run will write again, are dropped.

        Args:
            rows: of all epochs so far, as stored in the checkpoint.
        """
        by_epoch, wrong = self._lines()
        unlike = [
            row["epoch"]
            for row in rows
            if digest_of(by_epoch.get(row["epoch"]), ROW) != digest_of(row, ROW)
        ]
        text = "".join(map(_line, rows))
        with self._saying_what(self.metrics):
            if not self.metrics.exists() or self.metrics.read_bytes() != text.encode():
                replace(self.metrics, text)
        if not unlike:
            return None
        return (
            f"{self.metrics}: put back from the checkpoint, epoch{'s' * (len(unlike) > 1)} "
            f"{_numbers(unlike)} ({'; '.join(wrong) or 'missing'})"
        )

    def _lines(self) -> tuple[dict[int, dict[str, Any]], list[str]]:
        """Rows by epoch, and what is wrong with the lines."""
        by_epoch: dict[int, dict[str, Any]] = {}
        wrong = []
        *lines, rest = self.metrics.read_bytes().split(b"\n") if self.metrics.exists() else [b""]
        if rest:
            wrong.append(f"line {len(lines) + 1} is cut off")
        for number, line in enumerate(lines, 1):
            try:
                row = opened(loaded(line), ROW, f"line {number}", "")
            except ValueError:
                wrong.append(f"line {number} is not as it was written")
                continue
            # A repeated identical row is harmless.
            if digest_of(by_epoch.setdefault(row["epoch"], row), ROW) != digest_of(row, ROW):
                wrong.append(f"line {number} is a second row of epoch {row['epoch']}")
        return by_epoch, wrong

    def _saying_what(self, file: Path):
        return saying(
            f"{file} could not be written", f"make room and continue the run (--resume {self.path})"
        )


def _line(row: dict[str, Any]) -> str:
    return json.dumps(sealed(row, ROW)) + "\n"


def _changes(stored: dict[str, Any], file: Path) -> list[dict[str, int]]:
    """Changes of the epochs of a run."""
    changes = stored.get(CHANGES, [])
    whole = isinstance(changes, list) and all(
        isinstance(one, dict)
        and one.keys() == {"after", "from", "to"}
        and all(type(number) is int for number in one.values())
        for one in changes
    )
    if not whole:
        raise ValueError(f"{file}: {CHANGES} must list after, from and to, got {changes!r}")
    return changes


def _numbers(epochs: Iterable[int]) -> str:
    """Epochs as ranges.

    >>> _numbers([1, 2, 3, 7])
    '1-3, 7'
    """
    ranges: list[list[int]] = []
    for epoch in epochs:
        if ranges and epoch == ranges[-1][1] + 1:
            ranges[-1][1] = epoch
        else:
            ranges.append([epoch, epoch])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
