"""Converted arrays on disk, so that a recording is binned once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jsnn.data._files import decoding

# Files of an earlier form are not looked at: they have other names.
FORM = 2
DIGEST = "digest"


@dataclasses.dataclass(frozen=True)
class Cache:
    """`.npz` files named by what made them, each with a digest of its arrays.

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
            ValueError: naming a cached file that cannot be read, or holds other arrays than were
                written.

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
                save = np.savez_compressed if compress else np.savez
                save(out, **arrays, **{DIGEST: _digest(arrays)})
            Path(partial).replace(target)
        finally:
            Path(partial).unlink(missing_ok=True)
        return arrays


def _hash(key: Mapping[str, object]) -> str:
    text = json.dumps({"form": FORM, **key}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _digest(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """sha256 over names, types, shapes and values.

    The checksum that a zip archive keeps of a member is compared only when the member is read to
    its end, which does not happen where the shape of an array is damaged; the names and the list of
    members have no checksum.
    """
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return np.frombuffer(total.digest(), np.uint8)


def _read(path: Path) -> dict[str, np.ndarray]:
    remedy = "delete it, and it is made again"
    try:
        # numpy leaves a file open that it opened itself and could not read.
        with (
            decoding(path.name, "npz file"),
            open(path, "rb") as handle,
            np.load(handle, allow_pickle=False) as stored,
        ):
            arrays = {name: stored[name] for name in stored.files}
    except ValueError as error:
        raise ValueError(f"cached file {path} cannot be read ({error}): {remedy}") from error
    digest = arrays.pop(DIGEST, None)
    # A member that has lost the header of an array comes back as bytes.
    whole = all(isinstance(array, np.ndarray) for array in arrays.values())
    if not whole or not np.array_equal(digest, _digest(arrays)):
        raise ValueError(
            f"cached file {path} cannot be read (its arrays are not those that were written): "
            f"{remedy}"
        )
    return arrays
