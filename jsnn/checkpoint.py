"""Checkpoints that survive a kill: the only module that imports orbax.

A checkpoint is a pytree of arrays plus a JSON record. Orbax writes into a temporary folder and
renames it, so a folder that has its final name is whole; a torn one is ignored and removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

FORMAT = 1


class Checkpoints:
    """The checkpoints of one run, newest kept.

    Args:
        folder: where they live; made if it does not exist.
        keep: how many of the newest to keep.

    >>> import tempfile, jax.numpy as jnp
    >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
    ...     checkpoints.save(3, {"w": jnp.arange(2.0)}, {"epoch": 3})
    ...     checkpoints.latest(), checkpoints.restore({"w": jnp.zeros(2)})[0]["w"].tolist()
    (3, [0.0, 1.0])
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(Path(folder).resolve(), options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Write `tree` (arrays; PRNG keys as data) and `record` (JSON) as checkpoint `step`."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                tree=ocp.args.StandardSave(tree),
                record=ocp.args.JsonSave({"format": FORMAT, **record}),
            ),
        )
        self._manager.wait_until_finished()

    def record(self, step: int | None = None) -> dict[str, Any]:
        """The JSON record of `step` (the newest if None).

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: the checkpoint was written by a newer version.
        """
        step = self._step(step)
        found = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))
        record = dict(found["record"])
        written = record.pop("format", None)
        if not isinstance(written, int) or written > FORMAT:
            raise ValueError(
                f"checkpoint {step} in {self._manager.directory} has format {written}, this "
                f"version of jsnn reads up to {FORMAT}: update jsnn to resume this run"
            )
        return record

    def restore(self, like: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Tree and record of `step` (the newest if None); `like` gives structure, shapes, dtypes.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: written by a newer version, or the tree does not fit `like`.
        """
        step = self._step(step)
        record = self.record(step)
        self._check_shapes(step, like)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            found = self._manager.restore(
                step, args=ocp.args.Composite(tree=ocp.args.StandardRestore(abstract))
            )
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"checkpoint {step} in {self._manager.directory} does not fit this network: {error}"
            ) from error
        return found["tree"], record

    def _check_shapes(self, step: int, like: Any) -> None:
        # Before anything is read: a read that fails half-way leaves others running behind it.
        folder = self._manager.directory / str(step) / "tree"
        written = jax.tree.leaves(ocp.StandardCheckpointHandler().metadata(folder).tree)
        found = sorted(tuple(leaf.shape) for leaf in written)
        expected = sorted(tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(like))
        if found != expected:
            odd = [shape for shape in expected if shape not in found]
            raise ValueError(
                f"checkpoint {step} in {self._manager.directory} does not fit this network: it "
                f"holds {len(found)} arrays, {len(expected)} are expected, among them {odd[:3]}, "
                "which it has not"
            )

    def _step(self, step: int | None) -> int:
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(
                f"no checkpoint in {self._manager.directory}: the run stopped before its first one"
            )
        return step
