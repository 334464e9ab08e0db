"""N-MNIST: MNIST digits in front of a moving event camera, read natively."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jsnn.data.binning import as_events, bin_events
from jsnn.data.cache import Cache
from jsnn.data.dataset import Dataset, Split
from jsnn.data.files import Folder, SourceFile, content_digest
from jsnn.data.splitting import fraction_count, stratified_split

SIDE, POLARITIES = 34, 2
TRAIN_SAMPLES, TEST_SAMPLES = 1000, 100
BYTES_PER_EVENT = 5
OVERFLOW_ROW = 240
MICROSECONDS = 1e6
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


def load_nmnist(
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
            `train.zip` and `test.zip`, which are read without unpacking.
        cache: binned arrays.
        seed: seed of the stratified validation split.
        steps: time bins T.
        window_s: seconds that are binned; recordings last 0.30 to 0.34 s (three saccades),
            events after the window are left out.
        binary: a bin holds 1 if anything happened, False: the number of events.
        validation: share of the 1,000 training samples.

    Raises:
        ValueError: for damaged or foreign files, or options out of range.
        FileNotFoundError: if files are missing.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), CC BY-SA 4.0.

    Example:
        >>> from jsnn.data import load
        >>> load("nmnist", steps=10).train.frames.shape  # doctest: +SKIP
        (800, 10, 34, 34, 2)
    """
    recordings = dict(_recordings(folder))
    if content_digest(recordings.items()) != SUBSET_DIGEST:
        raise ValueError(
            f"{folder.path}: the contents of the first {TRAIN_SAMPLES} training and {TEST_SAMPLES} "
            "test recordings are not those of N-MNIST (digest differs): a file is truncated, "
            f"damaged or misplaced; replace them by those from {folder.upstream}"
        )
    key = {"version": 1, "source": SUBSET_DIGEST, "steps": steps, "window_s": window_s}
    arrays = cache.arrays("nmnist", key, lambda: _convert(recordings, steps, window_s))
    splits = {
        title: Split(as_events(arrays[f"{title}_counts"], binary), arrays[f"{title}_labels"])
        for title in ("Train", "Test")
    }
    pool = splits["Train"]
    train, held = stratified_split(pool.labels, fraction_count(len(pool), validation), seed)
    return Dataset(
        "nmnist",
        train=pool[train],
        validation=pool[held],
        test=splits["Test"],
        classes=10,
        timed=True,
        dt_s=window_s / steps,
        source="N-MNIST (Orchard, Jayawant, Cohen & Thakor 2015, CC BY-SA 4.0)",
        notes=f"First {TRAIN_SAMPLES} training and {TEST_SAMPLES} test recordings: a test accuracy "
        "carries about 5 points of error either way; use folds() for a figure.",
    )


def read_events(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode one recording.

    Layout: 5 bytes an event: x, y, then polarity (1 bit) and time in µs (23 bits, big-endian).
    Rows of 240 carry no event; each adds 2^13 µs to the times from there on.

    Args:
        content: bytes of a `.bin` file.
        name: name of the file, for messages.

    Returns:
        `[E]` times in µs, and `[E]` flat addresses `(y · 34 + x) · 2 + polarity`.

    Raises:
        ValueError: naming the file, for a cut event, an empty file or a pixel off the sensor.

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


def _recordings(folder: Folder) -> Iterator[tuple[str, bytes]]:
    for split, count in (("Train", TRAIN_SAMPLES), ("Test", TEST_SAMPLES)):
        wanted = {f"{index:05d}.bin" for index in range(1, count + 1)}
        if (folder.path / split).is_dir():
            found = dict(_from_folder(folder.path / split, wanted))
        elif (folder.path / ARCHIVES[split].name).is_file() or folder.may_download:
            (archive,) = folder.fetch(ARCHIVES[split])
            found = dict(_from_archive(archive, split, wanted))
        else:
            raise folder.missing([f"{split}/<label>/<index>.bin (or {ARCHIVES[split].name})"])
        if len(found) != count:
            raise ValueError(
                f"{folder.path}: expected {count} recordings {split}/<label>/00001.bin to "
                f"{count:05d}.bin, found {len(found)}"
            )
        yield from sorted(found.items())


def _from_folder(folder: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    for path in folder.glob("[0-9]/*.bin"):
        if path.name in wanted:
            yield f"{folder.name}/{path.parent.name}/{path.name}", path.read_bytes()


def _from_archive(path: Path, split: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            parts = name.split("/")
            if len(parts) == 3 and parts[0] == split and parts[2] in wanted:
                yield name, archive.read(name)


def _convert(recordings: dict[str, bytes], steps: int, window_s: float) -> dict[str, np.ndarray]:
    shape = (steps, SIDE, SIDE, POLARITIES)
    arrays = {}
    for split in ("Train", "Test"):
        named = [(name, data) for name, data in recordings.items() if name.startswith(split)]
        counts = np.empty((len(named), *shape), np.uint8)
        for frames, (name, data) in zip(counts, named, strict=True):
            times, sites = read_events(data, name)
            binned = bin_events(
                times,
                sites,
                steps=steps,
                size=SIDE * SIDE * POLARITIES,
                window=window_s * MICROSECONDS,
            )
            frames[...] = as_events(binned, binary=False).reshape(shape)
        arrays[f"{split}_counts"] = counts
        arrays[f"{split}_labels"] = np.array([name.split("/")[1] for name, _ in named], np.int32)
    return arrays
