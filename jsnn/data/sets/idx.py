"""MNIST and Fashion-MNIST: the idx format."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, decoding
from jsnn.data.dataset import Dataset, Split, hold_out

_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FILES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
# Published md5 sums, in the order of FILES.
MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
UNSIGNED_BYTE = 8


def source_files(base: str, sums: tuple[str, ...]) -> list[SourceFile]:
    """The four files of a data set in idx format, in the order of FILES."""
    names = [f"{name}-idx{3 if 'images' in name else 1}-ubyte.gz" for name in FILES]
    return [
        SourceFile(name, base + name, f"md5:{md5}") for name, md5 in zip(names, sums, strict=True)
    ]


MNIST = source_files(_MNIST, MNIST_MD5)
FASHION = source_files(_FASHION, FASHION_MD5)


def load_mnist(
    folder: Folder, cache: Cache, seed: int, *, image: bool = False, validation: float = 0.1
) -> Dataset:
    """Handwritten digits, 60,000 + 10,000 grey images, uint8 `[N, 784]`.

    Encoders divide uint8 pixels by 255.

    Args:
        folder: where the four `.gz` files lie.
        cache: not used: reading the originals is as fast.
        seed: seed of the stratified validation split.
        image: frames `[N, 28, 28, 1]` instead.
        validation: share of the training images.

    Raises:
        ValueError: for damaged files or a share outside (0, 1).
        FileNotFoundError: if files are missing.

    Source: LeCun, Bottou, Bengio & Haffner (1998).

    Example:
        >>> from jsnn.data import load
        >>> load("mnist").frame_shape  # doctest: +SKIP
        (784,)
    """
    source = "MNIST (LeCun, Bottou, Bengio & Haffner 1998)"
    return _load("mnist", folder, MNIST, seed, image, validation, source)


def load_fashion_mnist(
    folder: Folder, cache: Cache, seed: int, *, image: bool = False, validation: float = 0.1
) -> Dataset:
    """Clothes, 60,000 + 10,000 grey images, uint8 `[N, 784]`.

    Encoders divide uint8 pixels by 255.

    Args:
        folder: where the four `.gz` files lie.
        cache: not used: reading the originals is as fast.
        seed: seed of the stratified validation split.
        image: frames `[N, 28, 28, 1]` instead.
        validation: share of the training images.

    Raises:
        ValueError: for damaged files or a share outside (0, 1).
        FileNotFoundError: if files are missing.

    Source: Xiao, Rasul & Vollgraf (2017).

    Example:
        >>> from jsnn.data import load
        >>> load("fashion-mnist", image=True).frame_shape  # doctest: +SKIP
        (28, 28, 1)
    """
    source = "Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, Zalando, MIT)"
    return _load("fashion-mnist", folder, FASHION, seed, image, validation, source)


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped or not.

    Layout: two zero bytes, type (8), number of axes, big-endian uint32 sizes, values.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        with decoding(path, "gzip file"):
            content = gzip.decompress(content)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE:
        raise ValueError(f"{path}: expected an idx file of unsigned bytes, found {content[:4]!r}")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path}: the idx header is cut short")
    shape = tuple(np.frombuffer(content, ">u4", count=content[3], offset=4).tolist())
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path}: expected {math.prod(shape)} values for shape {shape}, "
            f"found {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _load(
    name: str,
    folder: Folder,
    files: list[SourceFile],
    seed: int,
    image: bool,
    validation: float,
    source: str,
) -> Dataset:
    images, labels, test_images, test_labels = map(read_idx, folder.fetch(*files))
    pool, test = _split(images, labels, image), _split(test_images, test_labels, image)
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        name,
        train=train,
        validation=held_out,
        test=test,
        classes=10,
        timed=False,
        input_bits=8,
        source=source,
        notes="Published test split; validation stratified out of train.",
    )


def _split(images: np.ndarray, labels: np.ndarray, image: bool) -> Split:
    shape = (*images.shape, 1) if image else (len(images), -1)
    return Split(images.reshape(shape), labels.astype(np.int32))
