"""Ev-Objects: 36 objects touched by an event-based tactile fingertip."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jsnn.data._binning import as_events, rebin
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, read_npy, zip_members
from jsnn.data.dataset import Dataset, Split, hold_out

ARCHIVE = SourceFile(
    "Ev-Objects.zip",
    "https://raw.githubusercontent.com/clear-nus/TactileSGNet/"
    "bdb527b785a3714a482969499bdf771696244198/Ev-Objects.zip",
    "sha256:bd8e828064a85c4fc6567789283198ff0b92384ef58aeb2366fa36a963ded867",
)
CLASSES = 36
TAXELS, POLARITIES, STEPS = 39, 2, 250
MEMBER = re.compile(r"Ev-Objects/(train|test)/sample_\d+_label_(\d+)\.npy")


def load_ev_objects(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = STEPS,
    binary: bool = True,
    validation: float = 0.1,
) -> Dataset:
    """Touch events `[N, T, 78]` uint8: 39 taxels, each with two polarities (taxel · 2 + polarity).

    Args:
        folder: where `Ev-Objects.zip` lies.
        cache: converted arrays.
        seed: seed of the stratified validation split.
        steps: time bins; below 250 neighbouring bins are joined.
        binary: joined bins hold 1 if anything happened (or), False: the number of events (sum).
        validation: share of the 576 training samples.

    Raises:
        ValueError: for a damaged file, steps outside 1…250 or a share outside (0, 1).
        FileNotFoundError: if the file is missing.

    Source: Gu et al. (2020), TactileSGNet, IROS.

    Example:
        >>> from jsnn.data import load
        >>> load("ev-objects", steps=50).frame_shape  # doctest: +SKIP
        (78,)
    """
    (path,) = folder.fetch(ARCHIVE)
    arrays = cache.arrays(
        "ev-objects", {"version": 1, "source": ARCHIVE.checksum}, lambda: read_archive(path)
    )
    splits = {}
    for title in ("train", "test"):
        counts = rebin(arrays[f"{title}_frames"], steps)
        splits[title] = Split(as_events(counts, binary), arrays[f"{title}_labels"])
    pool = splits["train"]
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "ev-objects",
        train=train,
        validation=held_out,
        test=splits["test"],
        classes=CLASSES,
        timed=True,
        source="Ev-Objects (Gu, Sng, Taunyazov & Soh 2020), clear-nus/TactileSGNet",
        notes="Published test split; validation stratified out of train. The files do not state "
        f"the duration of a bin. {steps} of {STEPS} steps, "
        + ("joined by or." if binary else "joined by sum."),
    )


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read the samples of both splits, in the order of their names.

    Returns:
        `train_frames`, `test_frames` `[N, 250, 78]` uint8, and `…_labels` `[N]` int32.

    Raises:
        ValueError: naming archive and member, for anything but 0/1 arrays `[39, 2, 250]`.
    """
    recordings: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "test": []}
    for name, content in zip_members(path, ".npy"):
        if match := MEMBER.fullmatch(name):
            recordings[match[1]].append((_sample(path, name, content), int(match[2])))
    arrays = {}
    for title, samples in recordings.items():
        if not samples:
            raise ValueError(f"{path}: expected samples Ev-Objects/{title}/sample_*_label_*.npy")
        arrays[f"{title}_frames"] = np.stack([frames for frames, _ in samples])
        arrays[f"{title}_labels"] = np.array([label for _, label in samples], np.int32)
    return arrays


def _sample(path: Path, name: str, content: bytes) -> np.ndarray:
    stored = read_npy(content, f"{path}, {name}")
    if stored.shape != (TAXELS, POLARITIES, STEPS):
        raise ValueError(
            f"{path}, {name}: expected shape {(TAXELS, POLARITIES, STEPS)}, found {stored.shape}"
        )
    if not np.isin(stored, (0, 1)).all():
        raise ValueError(f"{path}, {name}: expected events 0 or 1, found others (or NaN)")
    return stored.reshape(TAXELS * POLARITIES, STEPS).T.astype(np.uint8)
