"""CIFAR10-DVS: CIFAR-10 images moved before an event camera."""

from __future__ import annotations

from jsnn.data._cache import Cache
from jsnn.data._files import Folder
from jsnn.data._tonic import ensure, read_aedat4
from jsnn.data.dataset import Dataset, hold_out
from jsnn.data.event_files import camera_frames, class_files

SIDE = 128
OBJECTS = {
    name: number
    for number, name in enumerate(
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    )
}


def load_cifar10_dvs(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 10,
    window_s: float | None = None,
    downsample: int = 4,
    binary: bool = True,
    test: float = 0.1,
    validation: float = 0.1,
) -> Dataset:
    """CIFAR10-DVS: moving CIFAR-10 images, uint8 `[N, T, 128/d, 128/d, 2]` (y, x, polarity).

    Args:
        folder: holds `airplane/*.aedat4` and nine folders like it.
        cache: binned arrays.
        seed: seed of the stratified test and validation splits: none is published.
        steps: time bins T.
        window_s: seconds that are binned, from the first event; None: each recording is cut into
            `steps` equal bins of its own duration, and the data set has no clock.
        downsample: side d of the pixel blocks that are joined.
        binary: a bin holds 1 if anything happened, False: the number of events.
        test: share of all samples.
        validation: share of the rest.

    Raises:
        ValueError: for damaged files or options out of range.
        FileNotFoundError: if files are missing.
        ImportError: without the package aedat, which tonic reads AEDAT4 with.

    Source: Li, Liu, Ji, Li & Shi (2017).

    Example:
        >>> from jsnn.data import load
        >>> load("cifar10-dvs").classes  # doctest: +SKIP
        10
    """
    present = any((folder.path / name).is_dir() for name in OBJECTS)
    ensure(folder, "CIFAR10DVS", "CIFAR10DVS", "<class>/*.aedat4", present, {})
    samples = camera_frames(
        cache,
        "cifar10-dvs",
        class_files(folder, folder.path, OBJECTS, ".aedat4"),
        read_aedat4,
        side=SIDE,
        steps=steps,
        window_s=window_s,
        downsample=downsample,
        binary=binary,
    )
    pool, tested = hold_out(samples, test, seed)
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "cifar10-dvs",
        train=train,
        validation=held_out,
        test=tested,
        classes=10,
        timed=True,
        dt_s=None if window_s is None else float(window_s) / steps,
        source="CIFAR10-DVS (Li, Liu, Ji, Li & Shi 2017)",
        notes="No published split: test and validation stratified at random.",
    )
