"""N-MNIST: MNIST digits seen by a moving event camera, all or the first recordings."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from jsnn.data._binning import microseconds
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, content_digest, decoding, zip_members
from jsnn.data.dataset import Dataset, hold_out
from jsnn.data.event_files import (
    Recording,
    binned,
    check_downsample,
    class_files,
    listing_digest,
    pixel_sites,
)

SIDE, POLARITIES = 34, 2
CLASSES = {str(digit): digit for digit in range(10)}
COUNTS = {"Train": 60_000, "Test": 10_000}
SMALL_COUNTS = {"Train": 1000, "Test": 100}
# sha256 of the labels, a byte each, in the order of the indices: recordings are numbered from 1 on
# as the images of MNIST, so these are the sums of MNIST's labels.
LABEL_DIGESTS = {
    "Train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "Test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
BYTES_PER_EVENT = 5
OVERFLOW_ROW = 240
NAME = re.compile(r"(\d{5})\.bin")
_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
ARCHIVES = {
    "Train": SourceFile(
        "train.zip",
        _MENDELEY + "39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
        "md5:20959b8e626244a1b502305a9e6e2031",
    ),
    "Test": SourceFile(
        "test.zip",
        _MENDELEY + "05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
        "md5:69ca8762b2fe404d9b9bad1103e97832",
    ),
}
# content_digest of Train/<label>/00001…01000.bin and Test/<label>/00001…00100.bin.
SUBSET_DIGEST = "7a2ae574acf36a66cf087cfd7021f390f4884fa08c49fbfc0d85aaf3ddcf31ca"
SOURCE = "N-MNIST (Orchard, Jayawant, Cohen & Thakor 2015, CC BY-SA 4.0)"


def load_nmnist(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 10,
    window_s: float = 0.3,
    downsample: int = 1,
    binary: bool = True,
    validation: float = 0.1,
    complete: bool = True,
) -> Dataset:
    """All 60,000 + 10,000 recordings, uint8 `[N, T, 34/d, 34/d, 2]` (y, x, polarity).

    Args:
        folder: holds `Train/<label>/<index>.bin` and `Test/…`, or the upstream archives
            `train.zip` and `test.zip`, which are read without unpacking.
        cache: binned arrays (the defaults make 1.6 GB in memory).
        seed: seed of the stratified validation split.
        steps: time bins T.
        window_s: seconds that are binned; recordings last 0.30 to 0.34 s (three saccades),
            events after the window are left out.
        downsample: side d of the pixel blocks that are joined, 1, 2, 17 or 34.
        binary: a bin holds 1 if anything happened, False: the number of events.
        validation: share of the training samples.
        complete: every recording must be there, in the class that MNIST gives it. False: any
            number of recordings, which the notes state; a result is then not one on N-MNIST.

    Raises:
        ValueError: naming the path, for folders that are no digits, missing classes or
            recordings, and damaged files; for options out of range.
        FileNotFoundError: if files are missing.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), CC BY-SA 4.0.

    Example:
        >>> from jsnn.data import load
        >>> load("nmnist").frame_shape  # doctest: +SKIP
        (34, 34, 2)
    """
    small, window = check_downsample(SIDE, downsample), microseconds(window_s, "window_s")
    splits = {}
    for title, total in COUNTS.items():
        stored = _stored(folder, title)
        if complete:
            _check_complete(stored, title, total)
        splits[title] = binned(
            cache,
            f"nmnist-{title}",
            {"digest": stored.digest, "downsample": downsample},
            lambda stored=stored: _recordings(stored.contents(stored.members), downsample),
            len(stored.members),
            shape=(small, small, POLARITIES),
            steps=steps,
            window=window,
            binary=binary,
        )
    pool, test = splits["Train"], splits["Test"]
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "nmnist",
        train=train,
        validation=held_out,
        test=test,
        classes=10,
        timed=True,
        dt_s=window_s / steps,
        source=SOURCE,
        notes="Published test split; validation stratified out of train."
        if complete
        else f"{len(pool)} of {COUNTS['Train']} training and {len(test)} of {COUNTS['Test']} test "
        "recordings, not checked for which; validation stratified out of train.",
    )


def load_nmnist_small(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 15,
    window_s: float = 0.3,
    binary: bool = True,
    validation: float = 0.2,
) -> Dataset:
    """First 1,000 training and 100 test recordings, uint8 `[N, T, 34, 34, 2]` (y, x, polarity).

    Args:
        folder: holds `Train/<label>/<index>.bin` and `Test/…`, or the upstream archives
            `train.zip` and `test.zip`, which are read without unpacking; recordings beyond the
            first are left out.
        cache: binned arrays.
        seed: seed of the stratified validation split.
        steps: time bins T.
        window_s: seconds that are binned; recordings last 0.30 to 0.34 s (three saccades),
            events after the window are left out.
        binary: a bin holds 1 if anything happened, False: the number of events.
        validation: share of the 1,000 training samples.

    Raises:
        ValueError: naming the path, for folders that are no digits, missing classes, and damaged
            or foreign files; for options out of range.
        FileNotFoundError: if files are missing.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), CC BY-SA 4.0.

    Example:
        >>> from jsnn.data import load
        >>> load("nmnist-small", steps=10).train.frames.shape  # doctest: +SKIP
        (800, 10, 34, 34, 2)
    """
    window = microseconds(window_s, "window_s")
    contents = {title: _first(folder, title, count) for title, count in SMALL_COUNTS.items()}
    named = ((member, content) for part in contents.values() for member, _, content in part)
    if content_digest(named) != SUBSET_DIGEST:
        raise ValueError(
            f"{folder.path}: the contents of the first {SMALL_COUNTS['Train']} training and "
            f"{SMALL_COUNTS['Test']} test recordings are not those of N-MNIST (digest differs): a "
            f"file is truncated, damaged or misplaced; replace them by those from {folder.upstream}"
        )
    splits = {
        title: binned(
            cache,
            f"nmnist-small-{title}",
            {"source": SUBSET_DIGEST},
            lambda part=part: _recordings(part, 1),
            len(part),
            shape=(SIDE, SIDE, POLARITIES),
            steps=steps,
            window=window,
            binary=binary,
        )
        for title, part in contents.items()
    }
    pool = splits["Train"]
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "nmnist-small",
        train=train,
        validation=held_out,
        test=splits["Test"],
        classes=10,
        timed=True,
        dt_s=window_s / steps,
        source=SOURCE,
        notes=f"First {SMALL_COUNTS['Train']} training and {SMALL_COUNTS['Test']} test recordings: "
        "a test accuracy carries about 5 points of error either way; use folds() for a figure.",
    )


def read_events(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode one recording.

    Layout: 5 bytes per event: x, y, then polarity (1 bit) and time in µs (23 bits, big-endian).
    Rows of 240 carry no event; each adds 2^13 µs to the times from there on.

    Args:
        content: bytes of a `.bin` file.
        name: name of the file, for messages.

    Returns:
        `[E]` times in µs, and `[E]` flat addresses `(y · 34 + x) · 2 + polarity`.

    Raises:
        ValueError: naming the file, for a truncated event, an empty file or a pixel off the sensor.

    Example:
        >>> read_events(bytes([1, 2, 128, 1, 0]), "toy")
        (array([256]), array([139]))
    """
    if not content or len(content) % BYTES_PER_EVENT:
        raise ValueError(
            f"{name}: expected a multiple of {BYTES_PER_EVENT} bytes, found {len(content)}; "
            "the file is truncated"
        )
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, 5).T.astype(np.int64)
    overflow = y == OVERFLOW_ROW
    times = ((high & 127) << 16 | middle << 8 | low) + (1 << 13) * np.cumsum(overflow)
    x, y, times, polarity = x[~overflow], y[~overflow], times[~overflow], high[~overflow] >> 7
    if len(x) and (x.max() >= SIDE or y.max() >= SIDE):
        raise ValueError(
            f"{name}: expected pixels below ({SIDE}, {SIDE}), found ({x.max()}, {y.max()})"
        )
    return times, (y * SIDE + x) * POLARITIES + polarity


@dataclasses.dataclass(frozen=True)
class _Stored:
    """Recordings of one split, in class folders or in an archive.

    Attributes:
        place: the folder of the split, or the archive.
        members: `split/label/file`, in order.
        digest: of the contents, or of what the file system says of them.
        contents: reads members: each with its path, for messages, and its bytes.
    """

    place: Path
    members: list[str]
    digest: str
    contents: Callable[[Iterable[str]], Iterator[tuple[str, str, bytes]]]


def _stored(folder: Folder, title: str) -> _Stored:
    place, archive = folder.path / title, ARCHIVES[title]
    if place.is_dir():
        return _of_folder(folder, place)
    if (folder.path / archive.name).is_file() or folder.may_download:
        (path,) = folder.fetch(archive)
        return _of_archive(path, title)
    raise folder.missing([f"{title}/<label>/<index>.bin (or {archive.name})"])


def _of_folder(folder: Folder, place: Path) -> _Stored:
    paths = [path for path, _ in class_files(folder, place, CLASSES, ".bin")]

    def contents(members: Iterable[str]) -> Iterator[tuple[str, str, bytes]]:
        for member in members:
            path = folder.path / member
            yield member, str(path), path.read_bytes()

    members = [path.relative_to(folder.path).as_posix() for path in paths]
    return _Stored(place, members, listing_digest(paths), contents)


def _of_archive(path: Path, title: str) -> _Stored:
    with decoding(path, "zip archive"), zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())
    members = [name for name in names if name.startswith(f"{title}/") and name.endswith(".bin")]
    for member in members:
        parts = member.split("/")
        if len(parts) != 3 or parts[1] not in CLASSES:
            raise ValueError(
                f"{path}, {member}: expected recordings {title}/<label>/<index>.bin, labels 0 to 9"
            )

    def contents(members: Iterable[str]) -> Iterator[tuple[str, str, bytes]]:
        for member, content in zip_members(path, ".bin", frozenset(members)):
            yield member, f"{path}, {member}", content

    return _Stored(path, members, ARCHIVES[title].checksum, contents)


def _first(folder: Folder, title: str, count: int) -> list[tuple[str, str, bytes]]:
    stored = _stored(folder, title)
    wanted = {f"{index:05d}.bin" for index in range(1, count + 1)}
    members = [member for member in stored.members if member.rpartition("/")[2] in wanted]
    if len(members) != count:
        raise ValueError(
            f"{stored.place}: expected {count} recordings {title}/<label>/00001.bin to "
            f"{count:05d}.bin, found {len(members)}"
        )
    return list(stored.contents(members))


def _check_complete(stored: _Stored, title: str, total: int) -> None:
    """Refuse anything but the recordings 00001 to `total`, each in the class MNIST gives it."""
    labels = np.zeros(total, np.uint8)
    seen = np.zeros(total, bool)
    for member in stored.members:
        match = NAME.fullmatch(member.rpartition("/")[2])
        number = int(match[1]) if match else 0
        if not 1 <= number <= total:
            raise ValueError(
                f"{stored.place}: expected recordings 00001.bin to {total:05d}.bin, found {member}"
            )
        if seen[number - 1]:
            raise ValueError(f"{stored.place}: {member} is there in another class too")
        seen[number - 1], labels[number - 1] = True, int(member.split("/")[1])
    if not seen.all():
        first = SMALL_COUNTS[title]
        small = len(stored.members) == first and seen[:first].all()
        hint = (
            "these are the recordings of 'nmnist-small', the set that had this name before"
            if small
            else "'nmnist-small' takes the first 1,000 and 100; complete=False whatever is there"
        )
        raise ValueError(
            f"{stored.place}: 'nmnist' is the whole of N-MNIST, expected {total} recordings, found "
            f"{seen.sum()}; {hint}"
        )
    if hashlib.sha256(labels).hexdigest() != LABEL_DIGESTS[title]:
        raise ValueError(
            f"{stored.place}: expected every recording in the class that MNIST gives its index, "
            "found some in others; unpack the archive again"
        )


def _recordings(contents: Iterable[tuple[str, str, bytes]], downsample: int) -> Iterator[Recording]:
    for member, path, content in contents:
        times, sites = read_events(content, path)
        pixel, polarity = sites // POLARITIES, sites % POLARITIES
        columns = {"x": pixel % SIDE, "y": pixel // SIDE, "p": polarity}
        label = CLASSES[member.split("/")[1]]
        yield Recording(path, times, pixel_sites(columns, SIDE, downsample), label)
