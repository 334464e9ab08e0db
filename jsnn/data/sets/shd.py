"""Spiking Heidelberg Digits and Spiking Speech Commands: speech through a model of the cochlea."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from jsnn.data._binning import microseconds, whole_microseconds, whole_numbers
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, decoding, digest_of, naming
from jsnn.data._tonic import ensure
from jsnn.data.dataset import Dataset, Split, hold_out
from jsnn.data.event_files import Recording, binned

COCHLEA_CHANNELS = 700
SHD_CLASSES, SSC_CLASSES = 20, 35


def load_shd(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 100,
    dt_s: float = 0.01,
    channels: int = 140,
    binary: bool = True,
    validation: float = 0.1,
) -> Dataset:
    """Spiking Heidelberg Digits: 20 digits through a cochlea model, uint8 `[N, T, channels]`.

    Args:
        folder: holds `shd_train.h5` and `shd_test.h5`.
        cache: binned arrays.
        seed: seed of the stratified validation split: the data set has none of its own.
        steps: time bins T; events after `steps · dt_s` are left out.
        dt_s: seconds of a bin. Yin et al. take 250 bins of 4 ms and all 700 channels (1.4 GB).
        channels: neighbouring cochlea channels are joined, 700 / channels at a time.
        binary: a bin holds 1 if anything happened, False: the number of events.
        validation: share of the training samples.

    Raises:
        ValueError: for damaged files or options out of range.
        FileNotFoundError: if files are missing.

    Source: Cramer, Stradmann, Schemmel & Zenke (2020).

    Example:
        >>> from jsnn.data import load
        >>> load("shd").train.frames.shape[1:]  # doctest: +SKIP
        (100, 140)
    """
    pool, test = (
        _cochlea(
            folder,
            cache,
            "SHD",
            title,
            {"train": title == "train"},
            SHD_CLASSES,
            steps=steps,
            dt_s=dt_s,
            channels=channels,
            binary=binary,
        )
        for title in ("train", "test")
    )
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "shd",
        train=train,
        validation=held_out,
        test=test,
        classes=SHD_CLASSES,
        timed=True,
        dt_s=dt_s,
        source="Spiking Heidelberg Digits (Cramer, Stradmann, Schemmel & Zenke 2020)",
        notes="Published test split; validation stratified out of train. Many published figures "
        "choose the model on the test split.",
    )


def load_ssc(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 100,
    dt_s: float = 0.01,
    channels: int = 140,
    binary: bool = True,
) -> Dataset:
    """Spiking Speech Commands: 35 words through a cochlea model, uint8 `[N, T, channels]`.

    Args:
        folder: holds `ssc_train.h5`, `ssc_valid.h5` and `ssc_test.h5`.
        cache: binned arrays (the defaults make 1.5 GB in memory).
        seed: not used: all three splits are published.
        steps: time bins T; events after `steps · dt_s` are left out.
        dt_s: seconds of a bin.
        channels: neighbouring cochlea channels are joined, 700 / channels at a time.
        binary: a bin holds 1 if anything happened, False: the number of events.

    Raises:
        ValueError: for damaged files or options out of range.
        FileNotFoundError: if files are missing.

    Source: Cramer, Stradmann, Schemmel & Zenke (2020).

    Example:
        >>> from jsnn.data import load
        >>> load("ssc").classes  # doctest: +SKIP
        35
    """
    train, validation, test = (
        _cochlea(
            folder,
            cache,
            "SSC",
            title,
            {"split": title},
            SSC_CLASSES,
            steps=steps,
            dt_s=dt_s,
            channels=channels,
            binary=binary,
        )
        for title in ("train", "valid", "test")
    )
    return Dataset(
        "ssc",
        train=train,
        validation=validation,
        test=test,
        classes=SSC_CLASSES,
        timed=True,
        dt_s=dt_s,
        source="Spiking Speech Commands (Cramer, Stradmann, Schemmel & Zenke 2020)",
        notes="All splits published.",
    )


def _cochlea(
    folder: Folder,
    cache: Cache,
    class_name: str,
    title: str,
    arguments: Mapping[str, object],
    classes: int,
    *,
    steps: int,
    dt_s: float,
    channels: int,
    binary: bool,
) -> Split:
    if channels < 1 or COCHLEA_CHANNELS % channels:
        raise ValueError(f"expected channels to divide {COCHLEA_CHANNELS}, found {channels}")
    bin_width = microseconds(dt_s, "dt_s")
    path = folder.path / f"{class_name.lower()}_{title}.h5"
    ensure(folder, class_name, path.name, path.name, path.is_file(), arguments)
    labels = _cochlea_labels(path, classes)
    return binned(
        cache,
        f"{class_name.lower()}-{title}",
        {"digest": digest_of(path), "channels": channels},
        lambda: _cochlea_recordings(path, labels, channels),
        len(labels),
        shape=(channels,),
        steps=steps,
        window=steps * bin_width,
        binary=binary,
    )


def _cochlea_labels(path: Path, classes: int) -> np.ndarray:
    import h5py

    columns = ("spikes/times", "spikes/units", "labels")
    with decoding(path, "HDF5 file"), h5py.File(path, "r") as file:
        absent = [name for name in columns if name not in file]
        shapes = {name: file[name].shape for name in columns if name in file}
        labels = np.asarray(file["labels"][()]) if "labels" in file else np.empty(0)
    if absent:
        raise ValueError(
            f"{path}: expected the arrays {', '.join(columns)}, missing {', '.join(absent)}"
        )
    if len(set(shapes.values())) > 1 or labels.ndim != 1:
        raise ValueError(f"{path}: expected one entry a recording in each array, found {shapes}")
    if not len(labels):
        raise ValueError(f"{path}: expected recordings, found none")
    with naming(path):
        numbers = whole_numbers(labels, "labels")
    if numbers.max() >= classes:
        first = int(np.flatnonzero(numbers >= classes)[0])
        raise ValueError(
            f"{path}, recording {first}: expected a label below {classes}, found {numbers[first]}"
        )
    return numbers


def _cochlea_recordings(path: Path, labels: np.ndarray, channels: int) -> Iterator[Recording]:
    import h5py

    with ExitStack() as stack:
        with decoding(path, "HDF5 file"):
            file = stack.enter_context(h5py.File(path, "r"))
            seconds, units = file["spikes/times"], file["spikes/units"]
        for index, label in enumerate(labels):
            name = f"{path}, recording {index}"
            with decoding(name, "part of an HDF5 file"):
                times, sites = np.asarray(seconds[index]), np.asarray(units[index])
            if times.ndim != 1 or times.shape != sites.shape:
                raise ValueError(
                    f"{name}: expected as many units as times, found {sites.shape} beside "
                    f"{times.shape}"
                )
            with naming(name):
                whole, sites = whole_microseconds(times), whole_numbers(sites, "units")
            if len(sites) and sites.max() >= COCHLEA_CHANNELS:
                raise ValueError(
                    f"{name}: expected units below {COCHLEA_CHANNELS}, found {sites.max()}"
                )
            yield Recording(name, whole, sites // (COCHLEA_CHANNELS // channels), int(label))
