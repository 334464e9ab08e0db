"""Event data sets that tonic downloads; tonic is imported only here, lazily.

Folders are those tonic uses (`SHD`, `SSC`, `DVSGesture`, `CIFAR10DVS`). In a folder somebody
named, unpacked files are enough: the archives tonic would ask for are not needed, but checked
where they are present. Files are read here, not by tonic, which casts times and addresses to
integers before they could be checked; it decodes AEDAT4 and encodes SMNIST.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from jsnn.data._binning import microseconds, whole_microseconds, whole_numbers
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, decoding, digest_of, read_npy, verify
from jsnn.data._splitting import fraction_count, stratified_split
from jsnn.data.dataset import Dataset, Split
from jsnn.data.event_files import (
    Recording,
    binned,
    check_downsample,
    class_files,
    listing_digest,
    pixel_sites,
)
from jsnn.data.sets.idx import MNIST

COCHLEA_CHANNELS = 700
SHD_CLASSES, SSC_CLASSES = 20, 35
CAMERA_SIDE = 128
USER = re.compile(r"user\d+_[a-z_]+")
GESTURES = {str(number): number for number in range(11)}
OBJECTS = {
    name: number
    for number, name in enumerate(
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    )
}
_ZENKE = "https://zenkelab.org/datasets/"
_FIGSHARE = "https://figshare.com/ndownloader/files/"
# Address and md5 sum of the archives, by what is unpacked from them.
ARCHIVES = {
    part: SourceFile(name, url, f"md5:{md5}")
    for part, name, url, md5 in (
        ("shd_train.h5", "shd_train.h5.zip", _ZENKE, "f3252aeb598ac776c1b526422d90eecb"),
        ("shd_test.h5", "shd_test.h5.zip", _ZENKE, "1503a5064faa34311c398fb0a1ed0a6f"),
        ("ssc_train.h5", "ssc_train.h5.zip", _ZENKE, "d102be95e7144fcc0553d1f45ba94170"),
        ("ssc_valid.h5", "ssc_valid.h5.zip", _ZENKE, "b4eee3516a4a90dd0c71a6ac23a8ae43"),
        ("ssc_test.h5", "ssc_test.h5.zip", _ZENKE, "a35ff1e9cffdd02a20eb850c17c37748"),
        (
            "ibmGestureTrain",
            "ibmGestureTrain.tar.gz",
            f"{_FIGSHARE}38022171",
            "3a8f0d4120a166bac7591f77409cb105",
        ),
        (
            "ibmGestureTest",
            "ibmGestureTest.tar.gz",
            f"{_FIGSHARE}38020584",
            "56070e45dadaa85fff82e0fbfbc06de5",
        ),
        (
            "CIFAR10DVS",
            "CIFAR10DVS.zip",
            f"{_FIGSHARE}38023437",
            "ce3a4a0682dc0943703bd8f749a7701c",
        ),
    )
}
SMNIST_NEURONS = 99
SMNIST_PIXELS = 784


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
    train, held = stratified_split(pool.labels, fraction_count(len(pool), validation), seed)
    return Dataset(
        "shd",
        train=pool[train],
        validation=pool[held],
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
        _ensure(folder, "DVSGesture", name, wanted, below.is_dir(), {"train": title == "train"})
        splits[title] = _camera(
            cache,
            f"dvs-gesture-{title}",
            _gesture_files(folder, below),
            _read_gesture,
            steps=steps,
            window_s=window_s,
            downsample=downsample,
            binary=binary,
        )
    pool = splits["train"]
    train, held = stratified_split(pool.labels, fraction_count(len(pool), validation), seed)
    return Dataset(
        "dvs-gesture",
        train=pool[train],
        validation=pool[held],
        test=splits["test"],
        classes=11,
        timed=True,
        dt_s=None if window_s is None else float(window_s) / steps,
        source="DVS128 Gesture (Amir et al. 2017), preprocessed by tonic",
        notes="Published test split (other users); validation stratified out of train.",
    )


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
    _ensure(folder, "CIFAR10DVS", "CIFAR10DVS", "<class>/*.aedat4", present, {})
    samples = _camera(
        cache,
        "cifar10-dvs",
        class_files(folder, folder.path, OBJECTS, ".aedat4"),
        _read_aedat4,
        steps=steps,
        window_s=window_s,
        downsample=downsample,
        binary=binary,
    )
    rest, tested = stratified_split(samples.labels, fraction_count(len(samples), test), seed)
    wanted = fraction_count(len(rest), validation)
    train, held = stratified_split(samples.labels[rest], wanted, seed)
    return Dataset(
        "cifar10-dvs",
        train=samples[rest[train]],
        validation=samples[rest[held]],
        test=samples[tested],
        classes=10,
        timed=True,
        dt_s=None if window_s is None else float(window_s) / steps,
        source="CIFAR10-DVS (Li, Liu, Ji, Li & Shi 2017)",
        notes="No published split: test and validation stratified at random.",
    )


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
    arrays = cache.arrays("smnist", key, lambda: _encode_smnist(paths, counts))
    pool = Split(arrays["train_frames"], arrays["train_labels"])
    train, held = stratified_split(pool.labels, fraction_count(len(pool), validation), seed)
    return Dataset(
        "smnist",
        train=pool[train],
        validation=pool[held],
        test=Split(arrays["test_frames"], arrays["test_labels"]),
        classes=10,
        timed=True,
        source="MNIST (LeCun, Bottou, Bengio & Haffner 1998), spikes as by tonic's SMNIST",
        notes=f"First {train_samples} training and {test_samples} test images.",
    )


def _encode_smnist(paths: list[Path], counts: dict[str, int]) -> dict[str, np.ndarray]:
    from tonic import datasets

    arrays = {}
    with tempfile.TemporaryDirectory() as name:
        # tonic wants the four files unpacked, in a folder of this name.
        unpacked = Path(name) / "smnist"
        unpacked.mkdir()
        for path in paths:
            (unpacked / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        for title, count in counts.items():
            source = datasets.SMNIST(
                name, train=title == "train", duplicate=False, num_neurons=SMNIST_NEURONS, dt=1.0
            )
            if not 1 <= count <= len(source):
                raise ValueError(f"expected 1 to {len(source)} {title} samples, found {count}")
            frames = np.zeros((count, SMNIST_PIXELS, SMNIST_NEURONS), np.uint8)
            labels = np.empty(count, np.int32)
            for index in range(count):
                events, labels[index] = source[index]
                frames[index, events["t"], np.maximum(events["x"] - 1, 0)] = 1
            arrays |= {f"{title}_frames": frames, f"{title}_labels": labels}
    return arrays


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
    _ensure(folder, class_name, path.name, path.name, path.is_file(), arguments)
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
    try:
        numbers = whole_numbers(labels, "labels")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
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
            try:
                whole, sites = whole_microseconds(times), whole_numbers(sites, "units")
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if len(sites) and sites.max() >= COCHLEA_CHANNELS:
                raise ValueError(
                    f"{name}: expected units below {COCHLEA_CHANNELS}, found {sites.max()}"
                )
            yield Recording(name, whole, sites // (COCHLEA_CHANNELS // channels), int(label))


def _camera(
    cache: Cache,
    name: str,
    files: list[tuple[Path, int]],
    read: Callable[[Path], Mapping[str, np.ndarray]],
    *,
    steps: int,
    window_s: float | None,
    downsample: int,
    binary: bool,
) -> Split:
    small = check_downsample(CAMERA_SIDE, downsample)

    def recordings() -> Iterator[Recording]:
        for path, label in files:
            columns = read(path)
            try:
                sites = pixel_sites(columns, CAMERA_SIDE, downsample)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
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
    try:
        # Times are milliseconds.
        times = whole_numbers(events[:, 3], "event times", 1000)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return {"x": events[:, 0], "y": events[:, 1], "p": events[:, 2], "t": times}


def _read_aedat4(path: Path) -> dict[str, np.ndarray]:
    from tonic.datasets import cifar10dvs

    try:
        with decoding(path, "AEDAT4 file"):
            events = cifar10dvs.read_aedat4(str(path))
            columns = {name: np.asarray(events[name]) for name in ("x", "y", "on", "t")}
    except ValueError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            package = error.__cause__.name
            raise ImportError(
                f"{path}: tonic reads these files with the package {package!r}, which is not "
                f"installed: pip install {package}"
            ) from error
        raise
    try:
        times = whole_numbers(columns["t"], "event times")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return {"x": columns["x"], "y": columns["y"], "p": columns["on"], "t": times}


def _ensure(
    folder: Folder,
    class_name: str,
    part: str,
    wanted: str,
    present: bool,
    arguments: Mapping[str, object],
) -> None:
    """Let tonic download a part that is not there, where that is allowed; check its archive."""
    if not present and not folder.may_download:
        raise folder.missing([wanted])
    if not present:
        from tonic import datasets

        original = getattr(datasets, class_name)
        # tonic may take part of a set for the whole of it.
        kind = type(class_name, (original,), {"_check_exists": lambda self: False})
        try:
            kind(str(folder.path.parent), **arguments)
        except (urllib.error.URLError, TimeoutError, ConnectionError, RuntimeError) as error:
            raise folder.missing([wanted], f"tonic's download failed: {error}") from error
    archive = ARCHIVES[part]
    if (folder.path / archive.name).is_file():
        verify(folder.path / archive.name, archive)
