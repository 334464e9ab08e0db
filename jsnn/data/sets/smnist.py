"""Spiking sequential MNIST: grey values crossing thresholds, pixel by pixel."""

from __future__ import annotations

from jsnn.data._cache import Cache
from jsnn.data._files import Folder
from jsnn.data._tonic import encode_smnist
from jsnn.data.dataset import Dataset, Split, hold_out
from jsnn.data.sets.idx import MNIST


def load_smnist(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    train_samples: int = 5000,
    test_samples: int = 1000,
    validation: float = 0.1,
) -> Dataset:
    """Spiking sequential MNIST: one pixel per step, threshold crossings, uint8 `[N, 784, 99]`.

    49 channels fire when the grey value rises through their threshold from one pixel to the next,
    49 when it falls, one while it is 255.

    Args:
        folder: where the four `.gz` files of MNIST lie.
        cache: encoded arrays.
        seed: seed of the stratified validation split.
        train_samples: first training images, 78 kB each; 60,000 of them are 4.7 GB.
        test_samples: first test images.
        validation: share of the training samples.

    Raises:
        ValueError: for damaged files, or more samples than there are.
        FileNotFoundError: if files are missing.

    Source: encoder of tonic 1.7.0, SMNIST; it numbers its 99 neurons 0, 2 … 99, here 0 … 98.

    Example:
        >>> from jsnn.data import load
        >>> load("smnist", train_samples=100, test_samples=10).steps  # doctest: +SKIP
        784
    """
    paths = folder.fetch(*MNIST)
    counts = {"train": train_samples, "test": test_samples}
    key = {"version": 1, "sources": [file.checksum for file in MNIST], **counts}
    arrays = cache.arrays("smnist", key, lambda: encode_smnist(paths, counts))
    pool = Split(arrays["train_frames"], arrays["train_labels"])
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "smnist",
        train=train,
        validation=held_out,
        test=Split(arrays["test_frames"], arrays["test_labels"]),
        classes=10,
        timed=True,
        source="MNIST (LeCun, Bottou, Bengio & Haffner 1998), spikes as by tonic's SMNIST",
        notes=f"First {train_samples} training and {test_samples} test images.",
    )
