"""Yin-Yang: a small synthetic task with a wide gap between linear and deep networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, read_npy
from jsnn.data.dataset import Dataset, Split

_RAW = (
    "https://raw.githubusercontent.com/lkriener/yin_yang_data_set/"
    "a99d0f83c6874600e00d2b161b4b0d6037839bf2/publication_data/"
)
_SHA256 = {
    "train_samples": "88ce43d8e7620b4dcd0712a582882325e609183eb71f2368cce8e87930e122d5",
    "train_labels": "d38863599b41c3d67d5e606b21c3ea10f7956758471e946adcb120c4e5ae31c9",
    "validation_samples": "88f7e23daf578da390fe3ca10370d38fdb6060a08249ecb1be832e3e6cce75d3",
    "validation_labels": "abd956deb8e62f528a271d323c7498e6d331cd261f143b539b1219d274936008",
    "test_samples": "1559e64b45a5e28df8a9d1158d891383d5745b0af2edbbca31ca4e2faeb95b4c",
    "test_labels": "b4337aa983ea3928d1d8ee78268e8e266ede6ca3a401ade7b02eb47c9d90be93",
}
FILES = {
    key: SourceFile(f"{key}.npy", f"{_RAW}{key}.npy", f"sha256:{digest}")
    for key, digest in _SHA256.items()
}


def load_yinyang(folder: Folder, cache: Cache, seed: int) -> Dataset:
    """Points `(x, y, 1 - x, 1 - y)` in the unit square, float32 `[N, 4]`; yin, yang or dot.

    Args:
        folder: where the six `.npy` files lie.
        cache: not used.
        seed: not used: all three splits are published.

    Raises:
        ValueError: for damaged files.
        FileNotFoundError: if files are missing.

    Source: Kriener, Göltz & Petrovici (2021), arXiv 2102.08211.

    Example:
        >>> from jsnn.data import load
        >>> load("yinyang").classes  # doctest: +SKIP
        3
    """
    paths = dict(zip(FILES, folder.fetch(*FILES.values()), strict=True))
    splits = {
        title: Split(
            _array(paths[f"{title}_samples"]).astype(np.float32),
            _array(paths[f"{title}_labels"]).astype(np.int32),
        )
        for title in ("train", "validation", "test")
    }
    return Dataset(
        "yinyang",
        **splits,
        classes=3,
        timed=False,
        source="Yin-Yang (Kriener, Göltz & Petrovici 2021, MIT), publication_data",
        notes="All splits published. Reference: 4-120-3 network 98.7 %, linear 64.3 %.",
    )


def _array(path: Path) -> np.ndarray:
    return read_npy(path.read_bytes(), path)
