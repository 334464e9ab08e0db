"""QT database: ECG waves coded by level crossings, one of six labels at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, decoding
from jsnn.data.dataset import Dataset, Split, hold_out

_RAW = "https://raw.githubusercontent.com/byin-cwi/Efficient-spiking-networks/"
TRAIN = SourceFile(
    "QTDB_train.mat",
    _RAW + "1331f6c052e73d48eb71a1dc62239948e874ecb2/data/QTDB_train.mat",
    "sha256:72d1a10c96f1540880447e07256835d66da419c0b34f3dff495731a7928c5bc7",
)
TEST = SourceFile(
    "QTDB_test.mat",
    _RAW + "25a29e8d1ebfef6df6a7689d76000f702a21e8d7/NMI_vis/ecg/QTDB_test.mat",
    "sha256:916f11e21679a5b61988305bbb7cd1e6df8b34f1ed4a157a7a4e295d400ef232",
)
CLASSES = 6
CHANNELS = 4


def load_qtdb(
    folder: Folder, cache: Cache, seed: int, *, last_step: bool = False, validation: float = 0.1
) -> Dataset:
    """Two ECG leads as 4 event channels, int8 `[N, T, 4]`; labels `[N, T]`.

    Events are threshold crossings of the signal's change per sample, up and down, of two leads;
    the files hold them ready made: 0 or 1, and -1 as padding in the last step only.

    About 8 % of the training and 10 % of the test steps have no label in the files (an all-zero
    row of the one-hot array). All published figures take the arg max and so count them as class
    0; so do these labels.

    Args:
        folder: where the two `.mat` files lie.
        cache: converted arrays.
        seed: seed of the validation split (random: a sequence has many labels).
        last_step: keep step 1301, which holds the padding (-1). Dropped by default (T = 1300),
            the protocol of the BRF paper; Yin et al. keep it.
        validation: share of the 618 training sequences; 0.1 gives the published 557/61.

    Raises:
        ValueError: for damaged files or a share outside (0, 1).
        FileNotFoundError: if the files are missing.

    Source: Laguna et al. (1997), 250 samples per second, coded by Yin, Corradi & Bohté (2021).

    Example:
        >>> from jsnn.data import load
        >>> load("qtdb").steps  # doctest: +SKIP
        1300
    """
    paths = folder.fetch(TRAIN, TEST)
    key = {"version": 1, "sources": [TRAIN.checksum, TEST.checksum]}
    arrays = cache.arrays("qtdb", key, lambda: _convert(*paths))
    steps = slice(None) if last_step else slice(None, -1)
    pool = Split(arrays["train_frames"][:, steps], arrays["train_labels"][:, steps])
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "qtdb",
        train=train,
        validation=held_out,
        test=Split(arrays["test_frames"][:, steps], arrays["test_labels"][:, steps]),
        classes=CLASSES,
        timed=True,
        per_step=True,
        dt_s=1 / 250,
        source="QT database (Laguna et al. 1997, ODC-BY 1.0), coded by Yin, Corradi & Bohté",
        notes="Published test split; validation random out of train. Steps without a label "
        "(8 % of train, 10 % of test) count as class 0, as in all published figures. "
        + ("All 1301 steps." if last_step else "Last of 1301 steps dropped (BRF protocol)."),
    )


def _convert(train: Path, test: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for title, path in (("train", train), ("test", test)):
        frames, onehot = _read(path)
        arrays[f"{title}_frames"] = frames.astype(np.int8)
        arrays[f"{title}_labels"] = onehot.argmax(-1).astype(np.int32)
    return arrays


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy import io

    with decoding(path, "MATLAB file"):
        stored = io.loadmat(path, variable_names=["x", "y"])
    absent = {"x", "y"} - set(stored)
    if absent:
        raise ValueError(f"{path}: expected the variables x and y, missing {sorted(absent)}")
    frames, onehot = stored["x"], stored["y"]
    for name, array in (("x", frames), ("y", onehot)):
        if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
            raise ValueError(f"{path}: expected {name} as an array of numbers, found {array!r:.60}")
    if frames.ndim != 3 or frames.shape[-1] != CHANNELS:
        raise ValueError(f"{path}: expected x of shape [N, T, {CHANNELS}], found {frames.shape}")
    if onehot.shape != (*frames.shape[:2], CLASSES):
        raise ValueError(
            f"{path}: expected y of shape {(*frames.shape[:2], CLASSES)}, found {onehot.shape}"
        )
    if not np.isin(frames, (-1, 0, 1)).all():
        raise ValueError(f"{path}: expected events in {{-1, 0, 1}}, found others")
    if not np.isin(onehot, (0, 1)).all() or (onehot.sum(-1) > 1).any():
        raise ValueError(f"{path}: expected at most one label at every step (one-hot y)")
    return frames, onehot
