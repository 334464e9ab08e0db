"""Recordings of events: found by class, checked one by one, binned, and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jsnn.data._binning import as_events, bin_events, microseconds, whole_numbers
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, digest_of, naming, settled
from jsnn.data.dataset import Split


class Recording(NamedTuple):
    """Events of one sample.

    Attributes:
        name: file it comes from, and where that holds many, its number there; for messages.
        times: `[E]` whole microseconds.
        sites: `[E]` flat addresses.
        label: class number.
    """

    name: str
    times: np.ndarray
    sites: np.ndarray
    label: int


def class_files(
    folder: Folder, below: Path, classes: Mapping[str, int], suffix: str
) -> list[tuple[Path, int]]:
    """Files of a folder of class folders, with their labels, in the order of their paths.

    The label of a file is what the whole name of its folder stands for. Folders may be links.

    Args:
        folder: of the data set, for messages.
        below: the folder that holds the class folders and no others.
        classes: class number by name of folder.
        suffix: of the files, with the dot; other files beside them are left out.

    Raises:
        FileNotFoundError: if there is no class folder at all.
        ValueError: naming the path, for a folder that is no class, a class without a folder or
            without a file, or a file in no class.
    """
    expected = f"one folder for each class, {', '.join(classes)}"
    entries = sorted(below.iterdir()) if below.is_dir() else []
    folders = {path.name: path for path in entries if path.is_dir()}
    if not folders.keys() & classes.keys():
        raise folder.missing([f"{below.relative_to(folder.path)}/<class>/*{suffix}"])
    for path in entries:
        if path.is_dir() and path.name not in classes:
            raise ValueError(f"{path}: this folder is no class; {below} should hold {expected}")
        if not path.is_dir() and path.suffix == suffix:
            raise ValueError(f"{path}: this file lies in no class; {below} should hold {expected}")
    files = []
    for name, label in classes.items():
        if name not in folders:
            raise ValueError(f"{below / name}: class missing; {below} should hold {expected}")
        files += [(path, label) for path in _files_of_class(folders[name], suffix)]
    return sorted(files)


def _files_of_class(folder: Path, suffix: str) -> list[Path]:
    inside = sorted(folder.iterdir())
    for path in inside:
        if path.is_dir():
            raise ValueError(f"{path}: expected files *{suffix} alone in a class, found a folder")
    files = [path for path in inside if path.suffix == suffix]
    if not files:
        raise ValueError(f"{folder}: expected files *{suffix} of this class, found none")
    return files


def listing_digest(paths: Iterable[Path]) -> str:
    """Digest of names, sizes and times: reading gigabytes just to look into a cache is too much.

    For files just written, which may change within the resolution of their time stamp, the contents
    as well.
    """
    total = hashlib.sha256()
    for path in paths:
        status = path.stat()
        entry = f"{path.parent.name}/{path.name} {status.st_size} {status.st_mtime_ns}\n"
        total.update(entry.encode())
        if not settled(status):
            total.update(digest_of(path).encode())
    return total.hexdigest()


def pixel_sites(columns: Mapping[str, np.ndarray], side: int, downsample: int) -> np.ndarray:
    """Flat addresses `(y · side/d + x) · 2 + polarity` of the events of a square sensor.

    Args:
        columns: `[E]` each: `x`, `y` and polarity `p`, numbers or truth values.
        side: pixels along an axis.
        downsample: side d of the pixel blocks that are joined.

    Raises:
        ValueError: for pixels off the sensor, or polarities other than 0 and 1.

    Example:
        >>> event = {"x": np.array([3]), "y": np.array([1]), "p": np.array([True])}
        >>> pixel_sites(event, side=4, downsample=2)
        array([3])
    """
    x, y, polarity = (
        whole_numbers(columns[axis], name)
        for axis, name in (("x", "columns x"), ("y", "rows y"), ("p", "polarities"))
    )
    if len(x) and max(x.max(), y.max()) >= side:
        raise ValueError(
            f"expected pixels below ({side}, {side}), found up to ({x.max()}, {y.max()})"
        )
    if len(polarity) and polarity.max() > 1:
        raise ValueError(f"expected polarities 0 or 1, found {polarity.max()}")
    return (y // downsample * (side // downsample) + x // downsample) * 2 + polarity


def check_downsample(side: int, downsample: int) -> int:
    """Pixels along an axis after downsampling.

    Raises:
        ValueError: unless whole blocks fill the sensor.
    """
    if downsample < 1 or side % downsample:
        raise ValueError(f"expected downsample to divide {side}, found {downsample}")
    return side // downsample


def binned(
    cache: Cache,
    name: str,
    key: Mapping[str, object],
    recordings: Callable[[], Iterator[Recording]],
    count: int,
    *,
    shape: tuple[int, ...],
    steps: int,
    window: Fraction | None,
    binary: bool,
    own_start: bool = False,
) -> Split:
    """Frames `[count, steps, *shape]` of recordings, from the cache where they are there.

    Args:
        cache: binned arrays.
        name: of the cached file.
        key: what the frames depend on beside the other arguments.
        recordings: reads them one by one.
        count: how many there are.
        shape: of a frame.
        steps: bins T.
        window: microseconds that are binned; None: each recording's own duration.
        binary: a bin holds 1 if anything happened, False: the number of events.
        own_start: count time from the first event of each recording.

    Raises:
        ValueError: naming the recording, for one without events or with events that cannot be
            binned.
    """

    def build() -> dict[str, np.ndarray]:
        frames = np.empty((count, steps, *shape), np.uint8)
        labels = np.empty(count, np.int32)
        for index, recording in enumerate(recordings()):
            with naming(recording.name):
                frames[index] = _frames(recording, shape, steps, window, binary, own_start)
            labels[index] = recording.label
        return {"frames": frames, "labels": labels}

    if steps < 1:
        raise ValueError(f"expected at least one time step, found steps={steps}")
    # Version 1 put some events on an edge into the preceding bin.
    full = {"version": 2, "steps": steps, "window": str(window), "binary": binary, **key}
    arrays = cache.arrays(name, full, build)
    return Split(arrays["frames"], arrays["labels"])


def _frames(
    recording: Recording,
    shape: tuple[int, ...],
    steps: int,
    window: Fraction | None,
    binary: bool,
    own_start: bool,
) -> np.ndarray:
    times = recording.times
    if len(times) == 0:
        raise ValueError("expected events, found none")
    if own_start:
        times = times - times.min()
    if window is None:
        window = int(times.max()) + 1
    counts = bin_events(
        times, recording.sites, steps=steps, size=int(np.prod(shape)), window=window
    )
    return as_events(counts, binary).reshape(steps, *shape)


def camera_frames(
    cache: Cache,
    name: str,
    files: list[tuple[Path, int]],
    read: Callable[[Path], Mapping[str, np.ndarray]],
    *,
    side: int,
    steps: int,
    window_s: float | None,
    downsample: int,
    binary: bool,
) -> Split:
    """Recordings of an event camera, a file each, as frames `[N, T, side/d, side/d, 2]`.

    Args:
        cache: binned arrays.
        name: of these in the cache.
        files: with their labels.
        read: columns `x`, `y`, `p` and `t` (whole microseconds) of a file.
        side: pixels along an axis of the sensor.
        steps: time bins T.
        window_s: seconds that are binned, from the first event; None: each recording is cut into
            `steps` equal bins of its own duration.
        downsample: side d of the pixel blocks that are joined.
        binary: a bin holds 1 if anything happened, False: the number of events.

    Raises:
        ValueError: naming the file, for damaged ones; for options out of range.
    """
    small = check_downsample(side, downsample)

    def recordings() -> Iterator[Recording]:
        for path, label in files:
            columns = read(path)
            with naming(path):
                sites = pixel_sites(columns, side, downsample)
            yield Recording(str(path), columns["t"], sites, label)

    return binned(
        cache,
        name,
        {"digest": listing_digest(path for path, _ in files), "downsample": downsample},
        recordings,
        len(files),
        shape=(small, small, 2),
        steps=steps,
        window=None if window_s is None else microseconds(window_s, "window_s"),
        binary=binary,
        own_start=True,
    )
