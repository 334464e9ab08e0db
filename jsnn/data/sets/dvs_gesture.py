"""DVS128 Gesture: hand gestures before an event camera."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jsnn.data._binning import whole_numbers
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, naming, read_npy
from jsnn.data._tonic import ensure
from jsnn.data.dataset import Dataset, hold_out
from jsnn.data.event_files import camera_frames

SIDE = 128
USER = re.compile(r"user\d+_[a-z_]+")
GESTURES = {str(number): number for number in range(11)}


def load_dvs_gesture(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 20,
    window_s: float | None = None,
    downsample: int = 4,
    binary: bool = True,
    validation: float = 0.1,
) -> Dataset:
    """DVS128 Gesture: 11 hand gestures, uint8 `[N, T, 128/d, 128/d, 2]` (y, x, polarity).

    Args:
        folder: holds `ibmGestureTrain` and `ibmGestureTest`.
        cache: binned arrays.
        seed: seed of the stratified validation split.
        steps: time bins T.
        window_s: seconds that are binned, from the first event; None: each recording is cut into
            `steps` equal bins of its own duration, and the data set has no clock.
        downsample: side d of the pixel blocks that are joined.
        binary: a bin holds 1 if anything happened, False: the number of events.
        validation: share of the training samples.

    Raises:
        ValueError: for damaged files or options out of range.
        FileNotFoundError: if files are missing.

    Source: Amir et al. (2017), in the preprocessed form tonic distributes.

    Example:
        >>> from jsnn.data import load
        >>> load("dvs-gesture").classes  # doctest: +SKIP
        11
    """
    parts = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}
    splits = {}
    for title, name in parts.items():
        below = folder.path / name
        wanted = f"{name}/user<number>_<light>/<gesture>.npy"
        ensure(folder, "DVSGesture", name, wanted, below.is_dir(), {"train": title == "train"})
        splits[title] = camera_frames(
            cache,
            f"dvs-gesture-{title}",
            _gesture_files(folder, below),
            _read_gesture,
            side=SIDE,
            steps=steps,
            window_s=window_s,
            downsample=downsample,
            binary=binary,
        )
    pool = splits["train"]
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "dvs-gesture",
        train=train,
        validation=held_out,
        test=splits["test"],
        classes=11,
        timed=True,
        dt_s=None if window_s is None else float(window_s) / steps,
        source="DVS128 Gesture (Amir et al. 2017), preprocessed by tonic",
        notes="Published test split (other users); validation stratified out of train.",
    )


def _gesture_files(folder: Folder, below: Path) -> list[tuple[Path, int]]:
    users = sorted(path for path in below.iterdir() if path.is_dir()) if below.is_dir() else []
    files = []
    for user in users:
        if not USER.fullmatch(user.name):
            raise ValueError(f"{user}: expected folders named user<number>_<light> alone")
        for path in sorted(user.iterdir()):
            if path.is_dir():
                raise ValueError(f"{path}: expected files *.npy alone, found a folder")
            if path.suffix == ".npy":
                if path.stem not in GESTURES:
                    raise ValueError(f"{path}: expected files named 0.npy to 10.npy alone")
                files.append((path, GESTURES[path.stem]))
    if not files:
        raise folder.missing([f"{below.name}/user<number>_<light>/<gesture>.npy"])
    if absent := GESTURES.keys() - {path.stem for path, _ in files}:
        raise ValueError(f"{below}: no recording of the gestures {', '.join(sorted(absent))}")
    return sorted(files)


def _read_gesture(path: Path) -> dict[str, np.ndarray]:
    events = read_npy(path.read_bytes(), path)
    if events.ndim != 2 or events.shape[1] != 4:
        raise ValueError(
            f"{path}: expected events [E, 4] (x, y, polarity, time), found {events.shape}"
        )
    with naming(path):
        # Times are milliseconds.
        times = whole_numbers(events[:, 3], "event times", 1000)
    return {"x": events[:, 0], "y": events[:, 1], "p": events[:, 2], "t": times}
