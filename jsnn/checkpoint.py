"""Checkpoints that survive a kill and know when they are damaged: the only door to orbax.

A checkpoint is a pytree of arrays plus a JSON record. Orbax writes into a temporary folder and
renames it, so a folder that has its final name is whole; a torn one is ignored and removed by the
next save. The record holds a sha256 of every array and one of all that it says, so that what comes
back is what was written or is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

FORMAT = 2


class Checkpoints:
    """The checkpoints of one run, newest kept. Reading changes nothing.

    Args:
        folder: where they live; made by the first `save`.
        keep: how many of the newest to keep.
        say: called with a line on each damaged checkpoint that was passed over; None: it goes to
            standard error.

    >>> import tempfile, jax.numpy as jnp
    >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
    ...     checkpoints.save(3, {"w": jnp.arange(2.0)}, {"epoch": 3})
    ...     checkpoints.latest(), checkpoints.restore({"w": jnp.zeros(2)})[0]["w"].tolist()
    (3, [0.0, 1.0])
    """

    def __init__(self, folder: str | Path, keep: int = 2, say: Callable[[str], None] | None = None):
        self._folder, self._keep, self._say = Path(folder).resolve(), keep, say or _to_stderr
        self._manager: ocp.CheckpointManager | None = None
        self._said: set[str] = set()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, damaged or not, oldest first."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        # Not 007 and not ²: a name is the one that the step was saved under.
        return sorted(int(n) for n in names if n.isascii() and n.isdecimal() and str(int(n)) == n)

    def latest(self) -> int | None:
        """Step of the newest checkpoint, None if there is none."""
        return max(self.steps(), default=None)

    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Write `tree` (arrays; PRNG keys as data) and `record` (JSON) as checkpoint `step`.

        It is on disk when this returns.
        """
        content = {
            "format": FORMAT,
            "step": step,
            "record": json.loads(json.dumps(record)),
            "arrays": {path: _array_digest(leaf) for path, leaf in _leaves(tree).items()},
        }
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._keep,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
            )
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                tree=ocp.args.StandardSave(tree),
                record=ocp.args.JsonSave({**content, "sha256": _digest(content)}),
            ),
        )
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            _sync(self._folder / str(step))

    def record(self, step: int | None = None) -> dict[str, Any]:
        """The JSON record of `step` (of the newest that can be read if None).

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged, or was written by another version.
        """
        return self._newest(step, lambda at: self._content(at)["record"])

    def restore(self, like: Any = None, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Tree and record of `step` (of the newest that can be read if None).

        Args:
            like: gives structure, shapes, dtypes and placement; None: arrays of NumPy in dicts and
                lists, as they lie.
            step: which one; with a step nothing is passed over.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged, was written by another version, or does not fit `like`.
        """
        tree, record, step = self._newest(step, self._read)
        if like is None:
            return tree, record
        found, (expected, structure) = _leaves(tree), _flat(like)
        self._check_fit(step, found, expected)
        placed = [_placed(found[path], leaf) for path, leaf in expected.items()]
        return jax.tree.unflatten(structure, placed), record

    def forget_after(self, step: int | None) -> None:
        """Remove newer checkpoints, which the run will write again; None: all of them."""
        if jax.process_index() == 0:
            for newer in self.steps():
                if step is None or newer > step:
                    shutil.rmtree(self._folder / str(newer))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("checkpoints")

    # ---- one checkpoint --------------------------------------------------------------------------

    def _newest(self, step: int | None, read: Callable[[int], Any]) -> Any:
        """What `read` gives of `step`, or of the newest that is not damaged."""
        if step is not None:
            return read(step)
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(
                f"no checkpoint in {self._folder}: the run stopped before its first one"
            )
        complaints = []
        for number in reversed(steps):
            try:
                found = read(number)
            except Damaged as error:
                complaints.append(str(error))
                continue
            for complaint in complaints:
                if complaint not in self._said:
                    self._said.add(complaint)
                    self._say(f"{complaint}; going back to checkpoint {number}")
            return found
        raise ValueError(
            f"no checkpoint in {self._folder} can be read, so the run must start again in another "
            f"folder: {'; '.join(complaints)}"
        )

    def _content(self, step: int) -> dict[str, Any]:
        """What was written beside the arrays of `step`."""
        folder = self._folder / str(step)
        if not folder.is_dir():
            raise FileNotFoundError(f"no checkpoint {step} in {self._folder}")
        content = _from_orbax(folder / "record", ocp.JsonCheckpointHandler())
        written = content.get("format") if isinstance(content, dict) else None
        if type(written) is int and written != FORMAT:
            newer = written > FORMAT
            advice = "update jsnn" if newer else "use the version of jsnn that wrote it"
            raise ValueError(
                f"checkpoint {step} in {self._folder} has format {written}, this version of jsnn "
                f"reads {'up to ' * newer}{FORMAT}: {advice} to resume this run"
            )
        signed = content.pop("sha256", None) if isinstance(content, dict) else None
        if signed != _digest(content):
            raise Damaged(f"{folder / 'record'} is damaged: its sha256 does not match")
        if content["step"] != step:
            raise Damaged(f"{folder} is damaged: it was written as checkpoint {content['step']}")
        return content

    def _read(self, step: int) -> tuple[Any, dict[str, Any], int]:
        """Tree as it lies, record and step."""
        content, folder = self._content(step), self._folder / str(step) / "tree"
        tree = _from_orbax(folder, ocp.PyTreeCheckpointHandler())
        found = {path: _array_digest(leaf) for path, leaf in _leaves(tree).items()}
        unlike = sorted(
            path
            for path in found.keys() | content["arrays"].keys()
            if found.get(path) != content["arrays"].get(path)
        )
        if unlike:
            more = f" and {len(unlike) - 3} more" if len(unlike) > 3 else ""
            raise Damaged(f"{folder} is damaged: not as written are {', '.join(unlike[:3])}{more}")
        return tree, content["record"], step

    def _check_fit(self, step: int, found: dict[str, Any], expected: dict[str, Any]) -> None:
        there, wanted = ({p: _form(leaf) for p, leaf in d.items()} for d in (found, expected))
        if there == wanted:
            return
        odd = [
            f"{path} ({there.get(path, 'nothing')} there, {wanted.get(path, 'nothing')} here)"
            for path in sorted(there.keys() | wanted.keys())
            if there.get(path) != wanted.get(path)
        ]
        raise ValueError(
            f"checkpoint {step} in {self._folder} does not fit this network: {len(odd)} arrays "
            f"differ, among them {', '.join(odd[:3])}"
        )


class Damaged(ValueError):
    """A checkpoint that is not as it was written."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


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


def _leaves(tree: Any) -> dict[str, Any]:
    return _flat(tree)[0]


def _form(leaf: Any) -> str:
    return f"{leaf.dtype} {list(leaf.shape)}"


def _array_digest(leaf: Any) -> str:
    """sha256 of bytes, shape and dtype."""
    values = np.asarray(leaf)
    head = f"{values.dtype} {values.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _placed(values: np.ndarray, like: Any) -> Any:
    """Values where and as what `like` is."""
    if isinstance(like, np.ndarray | np.generic):
        return values
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return jnp.asarray(values)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


# ---- files ---------------------------------------------------------------------------------------


def _from_orbax(folder: Path, handler: Any) -> Any:
    """What lies in a folder: JSON, or arrays of NumPy, wherever they were when they were saved."""
    try:
        with ocp.Checkpointer(handler) as reader:
            if isinstance(handler, ocp.JsonCheckpointHandler):
                return reader.restore(folder)
            tree = handler.metadata(folder).tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            return reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    # What orbax and tensorstore raise on a damaged byte is as varied as the bytes.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Damaged(f"{folder} is damaged: {reason[:200]}") from error


def _sync(folder: Path) -> None:
    """See that a folder and its name are on disk; tensorstore does so for arrays only."""
    paths = [folder.parent, folder, *folder.rglob("*")]
    for path in paths:
        # Windows cannot open folders, and need not.
        if os.name == "nt" and path.is_dir():
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
