"""Source files of a data set: their origin, and the check of their contents."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0
# Coarsest step of a file system's clock: within it a file can change and keep its time.
CLOCK_STEP_NS = 2_000_000_000
MEMBERS = re.compile(r"members\((\.\w+)\)")


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One upstream file: its name in the folder, its address, and the checksum it must have.

    Attributes:
        name: path below the folder of the data set.
        url: upstream address; None where the file is made, not published.
        checksum: `algorithm:hexadecimal digest`. Algorithms: sha256, md5, and `members(.suffix)`,
            the `content_digest` of the members of a zip archive with that suffix, by base name
            (for archives that a server packs anew at each request).

    Raises:
        ValueError: for another algorithm.
    """

    name: str
    url: str | None
    checksum: str

    def __post_init__(self):
        if self.algorithm not in ("sha256", "md5") and not MEMBERS.fullmatch(self.algorithm):
            raise ValueError(
                f"{self.name}: expected sha256:…, md5:… or members(.suffix):…, "
                f"found {self.checksum!r}"
            )

    @property
    def algorithm(self) -> str:
        """`sha256` or `md5`."""
        return self.checksum.partition(":")[0]

    @property
    def digest(self) -> str:
        """The expected hexadecimal digest."""
        return self.checksum.partition(":")[2]


@dataclasses.dataclass(frozen=True)
class Folder:
    """Place of the files of one data set.

    Attributes:
        dataset: name of the data set, for messages.
        path: folder that holds its files.
        upstream: address a person can open.
        may_download: True only for jsnn's own cache folder: a folder somebody named is never
            written to.
    """

    dataset: str
    path: Path
    upstream: str
    may_download: bool

    def fetch(self, *files: SourceFile) -> list[Path]:
        """Paths of verified files, downloaded first where that is allowed.

        Raises:
            FileNotFoundError: naming folder, files, upstream address, and what to do.
            ValueError: naming the file and the check it failed.
        """
        missing = [file for file in files if not (self.path / file.name).is_file()]
        if missing and self.may_download:
            for file in missing:
                self._download(file)
        elif missing:
            raise self.missing([file.name for file in missing])
        paths = [self.path / file.name for file in files]
        for path, file in zip(paths, files, strict=True):
            verify(path, file)
        return paths

    def missing(self, names: Iterable[str], cause: str = "") -> FileNotFoundError:
        """The error for files that are not there."""
        return FileNotFoundError(
            f"data set {self.dataset!r}: {', '.join(names)} not found in {self.path}"
            f"{f' ({cause})' if cause else ''}. Upstream: {self.upstream}. Put the files there, or "
            f"name the folder above {self.path.name!r} with data_dir=, --data-dir or the "
            "environment variable JSNN_DATA; with none of these, jsnn downloads to its own cache "
            "folder when there is a network"
        )

    def _download(self, file: SourceFile) -> None:
        if file.url is None:
            raise self.missing([file.name], "upstream does not publish this file")
        try:
            download(file, self.path)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise self.missing([file.name], f"download of {file.url} failed: {error}") from error


def download(file: SourceFile, folder: Path) -> Path:
    """Fetch one file: to a temporary name, verified, then renamed in one step.

    Raises:
        ValueError: if what arrived has another checksum; nothing is kept.
        urllib.error.URLError: if the address cannot be reached.
    """
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(file.url, headers={"User-Agent": "jsnn"})
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                while chunk := response.read(CHUNK_BYTES):
                    out.write(chunk)
        verify(partial, dataclasses.replace(file, name=f"{file.name} (from {file.url})"))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def verify(path: Path, file: SourceFile) -> None:
    """Compare a file with its checksum.

    Raises:
        ValueError: naming the file, the expected and the found digest.
    """
    digest = digest_of(path, file.algorithm)
    if digest != file.digest:
        raise ValueError(
            f"{path}: {file.algorithm} of {file.name} should be {file.digest}, is {digest} "
            f"({path.stat().st_size} bytes); the file is truncated, damaged or another version: "
            f"replace it by the one from {file.url or 'its source'}"
        )


@contextlib.contextmanager
def decoding(name: str | Path, kind: str) -> Iterator[None]:
    """One sentence that names the file, for whatever a decoder raises or warns about inside.

    On damaged bytes a decoder raises anything: zlib.error, NotImplementedError for an unknown
    compression method, MemoryError for an impossible shape. A list of them is never
    complete, so every exception counts as damage, and so does a warning that is no deprecation.

    Args:
        name: file, and the part of it.
        kind: what it should be, such as "zip archive".

    Raises:
        ValueError: for anything raised inside.

    Example:
        >>> with decoding("a.gz", "gzip file"):
        ...     raise EOFError("cut short")
        Traceback (most recent call last):
        ValueError: a.gz: not a readable gzip file (EOFError: cut short)
    """
    try:
        with warnings.catch_warnings():
            for category in (UserWarning, RuntimeWarning, SyntaxWarning):
                warnings.simplefilter("error", category)
            warnings.simplefilter("default", np.exceptions.VisibleDeprecationWarning)
            yield
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{name}: not a readable {kind} ({cause})") from error


@contextlib.contextmanager
def naming(place: str | Path) -> Iterator[None]:
    """Puts the place in front of the message of a ValueError that is raised inside.

    Example:
        >>> with naming("a.npy"):
        ...     raise ValueError("expected recordings, found none")
        Traceback (most recent call last):
        ValueError: a.npy: expected recordings, found none
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def read_npy(content: bytes, name: str | Path) -> np.ndarray:
    """The array of a `.npy` file, which must fill the file to its last byte.

    Raises:
        ValueError: naming the file, if it is not a plain array or bytes are left over.
    """
    stream = io.BytesIO(content)
    with decoding(name, ".npy file"):
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if left := len(content) - stream.tell():
        raise ValueError(
            f"{name}: not a readable .npy file (expected its end behind an array of shape "
            f"{array.shape}, found {left} more bytes)"
        )
    return array


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file; remembered in the process until size or time change."""
    status = path.stat()
    digest = _digest if settled(status) else _digest.__wrapped__
    return digest(str(path), algorithm, status.st_size, status.st_mtime_ns)


def settled(status: os.stat_result) -> bool:
    """Whether the next change of a file will change its time; one just written may keep it."""
    return time.time_ns() - status.st_mtime_ns > CLOCK_STEP_NS


@functools.lru_cache(maxsize=4096)
def _digest(path: str, algorithm: str, size: int, mtime_ns: int) -> str:
    if members := MEMBERS.fullmatch(algorithm):
        parts = zip_members(Path(path), members[1])
        return content_digest((name.rpartition("/")[2], content) for name, content in parts)
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def content_digest(items: Iterable[tuple[str, bytes]]) -> str:
    """One sha256 over named contents, whatever archive or folder they came from.

    The digest of `name NUL sha256(content) newline` for each item, in the order of names.

    Example:
        >>> content_digest([("b", b"2"), ("a", b"1")]) == content_digest([("a", b"1"), ("b", b"2")])
        True
    """
    total = hashlib.sha256()
    for name, content in sorted(items):
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def zip_members(
    path: Path, suffix: str, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Full name and content of the members of a zip archive with a suffix, in order of names.

    Args:
        path: of the archive.
        suffix: end of the names.
        wanted: names of the members to read; None: all with the suffix.

    Raises:
        ValueError: naming the archive, if it is damaged.
    """
    with contextlib.ExitStack() as stack:
        with decoding(path, "zip archive"):
            archive = stack.enter_context(zipfile.ZipFile(path))
            names = sorted(archive.namelist())
        for name in names:
            if name.endswith(suffix) and (wanted is None or name in wanted):
                with decoding(f"{path}, {name}", "member of a zip archive"):
                    content = archive.read(name)
                yield name, content


def user_cache() -> Path:
    """jsnn's own folder: `$XDG_CACHE_HOME/jsnn`, or `~/.cache/jsnn`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jsnn"
