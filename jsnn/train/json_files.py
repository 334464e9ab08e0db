"""JSON files with a digest of their content, replaced as a whole and forced to disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DIGEST = "sha256"


def sealed(content: dict[str, Any], kind: str) -> dict[str, Any]:
    """Content and its digest, which includes the kind: no file passes for another kind."""
    return {**content, DIGEST: digest_of(content, kind)}


def opened(stored: Any, kind: str, where: Any, advice: str) -> dict[str, Any]:
    """Content that `sealed` sealed; ValueError if it was changed."""
    advice = f": {advice}" if advice else ""
    if not isinstance(stored, dict) or DIGEST not in stored:
        raise ValueError(f"{where} is damaged, or of an older version: it has no {DIGEST}{advice}")
    content = {name: value for name, value in stored.items() if name != DIGEST}
    if stored[DIGEST] != digest_of(content, kind):
        raise ValueError(
            f"{where} is damaged: it is not as it was written, its {DIGEST} does not match{advice}"
        )
    return content


def digest_of(content: Any, kind: str) -> str:
    """Sha256 of a content and its kind."""
    text = json.dumps([kind, _plain(content)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(content: Any) -> Any:
    """Content as it is after a round trip through JSON."""
    return json.loads(json.dumps(content))


def parsed(file: Path) -> Any:
    """Content of a JSON file; ValueError naming it if it is damaged."""
    try:
        return loaded(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def loaded(text: bytes) -> Any:
    """Content of a JSON text; ValueError if it is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists within lists beyond all use") from error


def replace(file: Path, text: str) -> None:
    """Write a file completely or not at all; its content is on disk before its name."""
    partial = file.with_suffix(".partial")
    try:
        with partial.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, file)
    sync_folder(file.parent)


def keep(file: Path, content: Any) -> None:
    """Write JSON completely or not at all; a missing folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace(file, as_json(content))


def sync(path: Path) -> None:
    """Force a file to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Force the names in a folder to disk; Windows cannot open folders and need not."""
    if os.name != "nt":
        sync(path)


def as_json(content: Any) -> str:
    """Indented JSON."""
    return json.dumps(content, indent=2) + "\n"


@contextlib.contextmanager
def saying(what: str, advice: str) -> Iterator[None]:
    """Says in an OSError raised inside what failed and what to do."""
    try:
        yield
    except OSError as error:
        # Given an errno, OSError creates the matching subclass.
        reason = error.strerror or error
        raise OSError(error.errno, f"{what} ({reason}): {advice}") from error
