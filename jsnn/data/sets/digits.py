"""scikit-learn's digits: 1,797 images of 8 x 8 pixels, no file needed."""

from __future__ import annotations

import numpy as np

from jsnn.data._cache import Cache
from jsnn.data._files import Folder
from jsnn.data._splitting import stratified_split
from jsnn.data.dataset import Dataset, Split, hold_out

TEST_SAMPLES = 360


def load_digits(
    folder: Folder, cache: Cache, seed: int, *, image: bool = False, validation: float = 0.1
) -> Dataset:
    """Handwritten digits, grey values 0–16 divided by 16, float32.

    Equation: `x = level / 16`.

    Args:
        folder: not used.
        cache: not used.
        seed: seed of the stratified 80/20 test split and of the validation split.
        image: frames `[N, 8, 8, 1]` instead of `[N, 64]`.
        validation: share of the 80 % that is held out for validation.

    Raises:
        ValueError: for a share outside (0, 1).

    Source: Alpaydin & Kaynak (1998), UCI repository, as embedded in scikit-learn.

    Example:
        >>> from jsnn.data import load
        >>> load("digits", image=True).frame_shape
        (8, 8, 1)
    """
    from sklearn import datasets

    stored = datasets.load_digits()
    frames = (stored.data / 16).astype(np.float32)
    frames = frames.reshape(-1, 8, 8, 1) if image else frames
    samples = Split(frames, stored.target.astype(np.int32))
    rest, test = stratified_split(samples.labels, TEST_SAMPLES, seed)
    train, held_out = hold_out(samples[rest], validation, seed)
    return Dataset(
        "digits",
        train=train,
        validation=held_out,
        test=samples[test],
        classes=10,
        timed=False,
        # 17 grey levels.
        input_bits=5,
        source="UCI optical digits (Alpaydin & Kaynak 1998), embedded in scikit-learn",
        notes="Stratified random 80/20 split; in stored order the last 20 % are harder.",
    )
