"""Source files of a data set: where they come from, and whether they are what they should be."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0
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
    """Where the files of one data set lie.

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
    found = digest_of(path, file.algorithm)
    if found != file.digest:
        raise ValueError(
            f"{path}: {file.algorithm} of {file.name} should be {file.digest}, is {found} "
            f"({path.stat().st_size} bytes); the file is truncated, damaged or another version: "
            f"replace it by the one from {file.url or 'its source'}"
        )


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file; remembered in the process until size or time change."""
    status = path.stat()
    return _digest(str(path), algorithm, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _digest(path: str, algorithm: str, size: int, mtime_ns: int) -> str:
    if members := MEMBERS.fullmatch(algorithm):
        return content_digest(zip_members(Path(path), members[1]))
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


def zip_members(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Base name and content of the members of a zip archive with a suffix, in order of names.

    Raises:
        ValueError: naming the archive, if it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(suffix):
                    yield name.rpartition("/")[2], archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: not a readable zip archive ({error})") from error


def user_cache() -> Path:
    """jsnn's own folder: `$XDG_CACHE_HOME/jsnn`, or `~/.cache/jsnn`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jsnn"
