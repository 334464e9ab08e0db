"""Converted arrays on disk, so that a recording is binned once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Cache:
    """`.npz` files named by what made them.

    Attributes:
        path: folder of the cached files.
    """

    path: Path

    def arrays(
        self,
        name: str,
        key: Mapping[str, object],
        build: Callable[[], dict[str, np.ndarray]],
        *,
        compress: bool = True,
    ) -> dict[str, np.ndarray]:
        """Arrays of an earlier call with this key, or those that `build` makes.

        Args:
            name: data set, first part of the file name.
            key: everything the arrays depend on: options, checksum of the source, version of
                the conversion.
            build: makes the arrays.
            compress: False where arrays hardly shrink (images).

        Raises:
            ValueError: naming a cached file that cannot be read.

        Example:
            >>> folder = Path(tempfile.mkdtemp())
            >>> arrays = Cache(folder).arrays("toy", {"steps": 2}, lambda: {"x": np.ones(2)})
            >>> Cache(folder).arrays("toy", {"steps": 2}, dict)["x"]
            array([1., 1.])
        """
        target = self.path / f"{name}-{_hash(key)}.npz"
        if target.is_file():
            return _read(target)
        arrays = build()
        self.path.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self.path, prefix=f".{name}-", suffix=".npz")
        try:
            with os.fdopen(handle, "wb") as out:
                (np.savez_compressed if compress else np.savez)(out, **arrays)
            Path(partial).replace(target)
        finally:
            Path(partial).unlink(missing_ok=True)
        return arrays


def _hash(key: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # numpy leaves a file open that it opened itself and could not read.
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"cached file {path} cannot be read ({error}): delete it") from error
