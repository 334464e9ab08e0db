"""The door to tonic: what it downloads, decodes and encodes. It is imported lazily, here alone.

Folders are those that tonic uses (`SHD`, `SSC`, `DVSGesture`, `CIFAR10DVS`). In a folder somebody
named, unpacked files are enough: the archives tonic would ask for are not needed, but checked
where they are present. Other files are read elsewhere, not by tonic, which casts times and
addresses to integers before they could be checked.
"""

from __future__ import annotations

import gzip
import tempfile
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jsnn.data._binning import whole_numbers
from jsnn.data._files import Folder, SourceFile, decoding, naming, verify

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


def ensure(
    folder: Folder,
    class_name: str,
    part: str,
    wanted: str,
    present: bool,
    arguments: Mapping[str, object],
) -> None:
    """Let tonic download a part that is not there, where that is allowed; check its archive.

    Args:
        folder: of the data set.
        class_name: of tonic's data set.
        part: what is unpacked from one archive (`ARCHIVES`).
        wanted: pattern of the files, for the message.
        present: whether it is there.
        arguments: of tonic's class.

    Raises:
        FileNotFoundError: if it is not there and cannot be downloaded.
        ValueError: for a damaged archive.
    """
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


def read_aedat4(path: Path) -> dict[str, np.ndarray]:
    """Events of an AEDAT4 file as columns `x`, `y`, `p` and `t` in whole microseconds.

    Raises:
        ValueError: naming the file, if it is damaged.
        ImportError: without the package aedat, which tonic reads AEDAT4 with.
    """
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
    with naming(path):
        times = whole_numbers(columns["t"], "event times")
    return {"x": columns["x"], "y": columns["y"], "p": columns["on"], "t": times}


def encode_smnist(paths: list[Path], counts: dict[str, int]) -> dict[str, np.ndarray]:
    """Spikes of the first images of MNIST, pixel by pixel.

    Args:
        paths: the four `.gz` files of MNIST.
        counts: images to take of `train` and of `test`.

    Returns:
        `<split>_frames` `[N, 784, 99]` uint8 and `<split>_labels` `[N]` int32.

    Raises:
        ValueError: for more images than there are.
    """
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
