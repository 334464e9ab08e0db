"""Checkpoints that survive a killed process and detect damage; the only module that uses orbax.

A checkpoint is a folder: a pytree of arrays, stored by orbax, and a JSON record. It gets its final
name once all of it is on disk, so an incomplete one is never read. The record holds the sha256 of
every file, of every array and of itself: a damaged checkpoint is refused before orbax reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

FORMAT = 2
UNFINISHED = ".tmp"


class Checkpoints:
    """The checkpoints of one run, of which the newest are kept. Reading changes nothing.

    Args:
        folder: where they are stored; created by the first `save`.
        keep: how many of the newest to keep.
        say: called with a line about each damaged checkpoint that was skipped; None: the line goes
            to standard error.

    >>> import tempfile, jax.numpy as jnp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoints = Checkpoints(folder)
    ...     checkpoints.save(3, {"w": jnp.arange(2.0)}, {"epoch": 3})
    ...     checkpoints.latest(), checkpoints.restore({"w": jnp.zeros(2)})[0]["w"].tolist()
    (3, [0.0, 1.0])
    """

    def __init__(self, folder: str | Path, keep: int = 2, say: Callable[[str], None] | None = None):
        self._folder, self._keep, self._say = Path(folder).resolve(), keep, say or _to_stderr
        self._said: set[str] = set()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, damaged or not, oldest first."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        # Only the exact name under which a step is saved: neither 007 nor ².
        return sorted(int(n) for n in names if n.isascii() and n.isdecimal() and str(int(n)) == n)

    def latest(self) -> int | None:
        """Step of the newest checkpoint, damaged or not; None if there is none."""
        return max(self.steps(), default=None)

    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Write `tree` (arrays; PRNG keys as data) and `record` (JSON) as checkpoint `step`.

        It is on disk when this returns. A checkpoint of the same step is replaced.
        """
        import orbax.checkpoint as ocp

        unfinished = self._folder / f"{step}{UNFINISHED}"
        first = jax.process_index() == 0
        if first:
            self._tidy()
            unfinished.mkdir(parents=True)
        _meet("checkpoint begun")
        try:
            with _quiet(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as writer:
                writer.save(unfinished / "tree", args=ocp.args.StandardSave(tree))
            if first:
                self._finish(step, unfinished, tree, record)
        except Exception:
            # Free the space of the unfinished checkpoint: the disk may be full.
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        _meet("checkpoint written")

    def record(self, step: int | None = None) -> dict[str, Any]:
        """The JSON record of `step` (None: of the newest that can be read).

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged, or was written by another version.
        """
        return self._newest(step, self._content)["record"]

    def restore(self, like: Any = None, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Tree and record of `step` (None: of the newest that can be read).

        Args:
            like: gives structure, shapes, dtypes and placement; None: NumPy arrays in dicts and
                lists, as stored.
            step: which one; with a step, no damaged checkpoint is skipped.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged, was written by another version, or does not fit `like`.
        """
        tree, content = self._newest(step, self._read)
        if like is None:
            return tree, content["record"]
        leaves, (expected, structure) = _flat(tree)[0], _flat(like)
        self._check_fit(content["step"], leaves, expected)
        placed = [_placed(leaves[path], leaf) for path, leaf in expected.items()]
        return jax.tree.unflatten(structure, placed), content["record"]

    def rewind(self, step: int) -> None:
        """Continue from `step`: remove newer checkpoints and what a killed process left behind."""
        if jax.process_index() == 0:
            self._tidy()
            for newer in self.steps():
                if newer > step:
                    self._remove(newer)
            self._remove_old()
        _meet("checkpoints rewound")

    # ---- writing ---------------------------------------------------------------------------------

    def _finish(self, step: int, unfinished: Path, tree: Any, record: dict[str, Any]) -> None:
        """Write the record of the files in `unfinished`, and rename it to its final name."""
        content = {
            "format": FORMAT,
            "step": step,
            "record": json.loads(json.dumps(record)),
            "arrays": {path: array_digest(leaf) for path, leaf in _flat(tree)[0].items()},
            "files": _file_digests(unfinished / "tree"),
        }
        signed = {**content, "sha256": _digest(content)}
        (unfinished / "record.json").write_text(json.dumps(signed))
        for path in (*unfinished.rglob("*"), unfinished):
            _sync(path)
        if step in self.steps():
            self._remove(step)
        os.rename(unfinished, self._folder / str(step))
        _sync(self._folder)
        self._remove_old()

    def _remove_old(self) -> None:
        for step in self.steps()[: -self._keep]:
            self._remove(step)

    def _remove(self, step: int) -> None:
        # Renamed before it is removed: half removed, it must not look like a damaged one.
        aside = self._folder / f"{step}.old{UNFINISHED}"
        os.rename(self._folder / str(step), aside)
        shutil.rmtree(aside)

    def _tidy(self) -> None:
        """Remove what a killed process left behind."""
        for path in self._folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(path)

    # ---- reading ---------------------------------------------------------------------------------

    def _newest(self, step: int | None, read: Callable[[int], Any]) -> Any:
        """The result of `read` for `step`, or for the newest checkpoint that is not damaged."""
        if step is not None:
            return read(step)
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(
                f"no checkpoint in {self._folder}: the run stopped before its first one"
            )
        complaints: list[str] = []
        for number in reversed(steps):
            try:
                content = read(number)
            except Damaged as error:
                complaints.append(str(error))
                continue
            for complaint in complaints:
                if complaint not in self._said:
                    self._said.add(complaint)
                    self._say(f"{complaint}; going back to checkpoint {number}")
            return content
        raise ValueError(
            f"no checkpoint in {self._folder} can be read, start a new run in another folder: "
            f"{'; '.join(complaints)}"
        )

    def _content(self, step: int) -> dict[str, Any]:
        """Content of the record of `step`."""
        file = self._folder / str(step) / "record.json"
        if not file.parent.is_dir():
            raise FileNotFoundError(f"no checkpoint {step} in {self._folder}")
        if not file.is_file():
            if (file.parent / "_CHECKPOINT_METADATA").exists():
                self._refuse_version(step, 1)
            raise Damaged(f"{file} is missing")
        try:
            content = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise Damaged(f"{file} is damaged: {error}") from error
        written = content.get("format") if isinstance(content, dict) else None
        if type(written) is int and written != FORMAT:
            self._refuse_version(step, written)
        signed = content.pop("sha256", None) if isinstance(content, dict) else None
        if signed != _digest(content):
            raise Damaged(f"{file} is damaged: its sha256 does not match")
        if content["step"] != step:
            raise Damaged(f"{file} is damaged: it was written as that of {content['step']}")
        return content

    def _refuse_version(self, step: int, written: int) -> None:
        newer = written > FORMAT
        advice = "update jsnn" if newer else "use the version of jsnn that wrote it"
        raise ValueError(
            f"checkpoint {step} in {self._folder} has format {written}, this version of jsnn reads "
            f"{'up to ' * newer}{FORMAT}: {advice} to resume this run"
        )

    def _read(self, step: int) -> tuple[Any, dict[str, Any]]:
        """Tree as stored, and content of the record."""
        import orbax.checkpoint as ocp

        content, folder = self._content(step), self._folder / str(step) / "tree"
        if unlike := _unlike(_file_digests(folder), content["files"]):
            raise Damaged(f"{folder} is damaged: {_some(unlike)} changed, gone or new")
        handler = ocp.PyTreeCheckpointHandler()
        # As NumPy arrays they do not need the devices that they were on.
        metadata = handler.metadata(folder).tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
        with ocp.Checkpointer(handler) as reader:
            tree = reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
        digests = {path: array_digest(leaf) for path, leaf in _flat(tree)[0].items()}
        if unlike := _unlike(digests, content["arrays"]):
            raise Damaged(f"{folder} is damaged: not as written are {_some(unlike)}")
        return tree, content

    def _check_fit(self, step: int, stored: dict[str, Any], expected: dict[str, Any]) -> None:
        there, wanted = (
            {path: f"{leaf.dtype} {list(leaf.shape)}" for path, leaf in leaves.items()}
            for leaves in (stored, expected)
        )
        if odd := _unlike(there, wanted):
            words = [
                f"{path} ({there.get(path, 'nothing')} there, {wanted.get(path, 'nothing')} here)"
                for path in odd
            ]
            raise ValueError(
                f"checkpoint {step} in {self._folder} does not fit this network: {_some(words)}; "
                "a run of an earlier version of jsnn is continued with that version"
            )


class Damaged(ValueError):
    """A checkpoint that differs from what was written."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence orbax, which logs tracebacks of its threads besides the error that it raises."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _meet(name: str) -> None:
    """Wait for the other processes of this run."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


# ---- trees ---------------------------------------------------------------------------------------


def _flat(tree: Any) -> tuple[dict[str, Any], Any]:
    """Leaves by path, as `state.params.kernel`, and the structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    by_path = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves
    }
    if len(by_path) < len(leaves):
        raise ValueError("two arrays of one path: keys of a tree must not contain dots")
    return by_path, structure


def _placed(values: np.ndarray, like: Any) -> Any:
    """Values with the placement and type of `like`."""
    if isinstance(like, np.ndarray | np.generic):
        return values
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return jnp.asarray(values)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


# ---- digests and files ---------------------------------------------------------------------------


def array_digest(leaf: Any) -> str:
    """sha256 of bytes, shape and dtype."""
    values = np.asarray(leaf)
    head = f"{values.dtype} {values.shape} ".encode()
    return hashlib.sha256(head + values.tobytes()).hexdigest()


def _file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unlike(stored: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names whose digests differ, or that only one of the two has."""
    names = sorted(stored.keys() | expected.keys())
    return [name for name in names if stored.get(name) != expected.get(name)]


def _some(words: list[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    # Windows cannot open folders, and does not need to.
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
