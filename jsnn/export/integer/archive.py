"""Archive of arrays with a record about them, sealed by the digest of its bytes."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jsnn._checks import shown

__all__ = ["DIGEST", "read", "sealed"]

# Errors that NumPy and the zip module raise on an unexpected file.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# Name of the record among the arrays.
RECORD = "about"
# Characters of a SHA-256 in hexadecimal.
DIGEST = 64


def sealed(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an `.npz` archive whose comment is the SHA-256 of everything before it.

    Args:
        record: what JSON can store.
        arrays: by name; stored beside the record, which is named `about`.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{RECORD: np.array(json.dumps(record)), **arrays})
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * DIGEST
    body = buffer.getvalue()[:-DIGEST]
    return body + hashlib.sha256(body).hexdigest().encode()


def read(path: str | Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Record and arrays of a file that holds what `sealed` returned.

    Raises:
        ValueError: naming the file: it cannot be read, is damaged, or is no such archive.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError(
            f"{path}: its digest is not that of its content: the file is damaged, or was "
            "written by an older version of jsnn, without a digest; export the network again"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return json.loads(str(arrays.pop(RECORD))), arrays
    except _UNREADABLE as error:
        raise ValueError(
            f"{path}: is no archive of arrays with a record about them: {shown(str(error))}"
        ) from error
