"""CIFAR-10, from the upstream binary files or from lossless WebP sheets; never from pickles."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, decoding, digest_of, read_npy, verify
from jsnn.data.dataset import Dataset, Split, hold_out

ARCHIVE = SourceFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
)
BATCH_FOLDER = "cifar-10-batches-bin"
# md5 sums of the members of the upstream archive.
BATCHES = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
PER_BATCH = 10000
IMAGE = (32, 32, 3)
RECORD_BYTES = 1 + 32 * 32 * 3

TRAIN_SHEETS = tuple(f"cifar10_batch_{number:02d}.webp" for number in range(50))
TEST_SHEET = SourceFile(
    "cifar10_batch_50.webp",
    None,
    "sha256:5e3e1110dc9ed1bec11d9c95c21681c2bfaa690ff3f80a24fa3bd753a4d564e8",
)
SHEET_LABELS = SourceFile(
    "labels_51000.u8",
    None,
    "sha256:d0114f567637ddfb56ec887627543d3a898c4167ce8628fa3d253669de666b32",
)
TEST_LABELS = SourceFile(
    "test_labels_full.npy",
    None,
    "sha256:19004b019bd095265b4ce6637c9ff979c66abcbc8e658a665f791b487cdea5eb",
)
TEST_EXTRA = SourceFile(
    "test_images_1000_1016_exact.npy",
    None,
    "sha256:612ea7fa2bc3a3d8f7c365b5fda410760913a772a5c8539f0482ab62af081b79",
)
SHEET_SHAPE = (16000, 64, 3)


def load_cifar10(
    folder: Folder, cache: Cache, seed: int, *, test: str = "batch5", validation: float = 0.1
) -> Dataset:
    """Ten kinds of objects, colour images, uint8 `[N, 32, 32, 3]`.

    Encoders divide uint8 pixels by 255. The folder holds one of: the upstream batches
    `data_batch_1.bin` … (also below `cifar-10-batches-bin`), the upstream archive
    `cifar-10-binary.tar.gz`, or lossless WebP sheets `cifar10_batch_NN.webp`, whose training images
    are checked against the upstream batches and whose test images are the first 1,017 alone.

    Args:
        folder: where the files lie.
        cache: decoded images.
        seed: seed of the stratified validation split.
        test: `batch5` trains on data_batch_1–4 and tests on data_batch_5 (10,000 images, present in
            every layout); `published` trains on all five and tests on what there is of the
            published test set. For a figure on `batch5`, print the accuracy of the same network on
            the test split of `published` beside it.
        validation: share of the training images.

    Raises:
        ValueError: for damaged files or options out of range.
        FileNotFoundError: if files are missing.

    Source: Krizhevsky (2009).

    Example:
        >>> from jsnn.data import load
        >>> load("cifar10").test.frames.shape  # doctest: +SKIP
        (10000, 32, 32, 3)
    """
    if test not in ("batch5", "published"):
        raise ValueError(f"expected test 'batch5' or 'published', found {test!r}")
    images, labels = _read(folder, cache)
    pool_size = 4 * PER_BATCH if test == "batch5" else 5 * PER_BATCH
    pool = Split(images[:pool_size], labels[:pool_size])
    last = slice(pool_size, pool_size + PER_BATCH)
    tested = Split(images[last], labels[last])
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "cifar10",
        train=train,
        validation=held_out,
        test=tested,
        classes=10,
        timed=False,
        input_bits=8,
        source="CIFAR-10 (Krizhevsky 2009)",
        notes=(
            "Trained on data_batch_1-4, tested on data_batch_5, not on the published test set."
            if test == "batch5"
            else f"Trained on data_batch_1-5, tested on {len(tested)} of the 10000 published test "
            "images."
        ),
    )


def parse_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode a binary batch: records of one label byte and 3,072 bytes, red, green, blue planes.

    Returns:
        `[N, 32, 32, 3]` uint8 images and `[N]` int32 labels.

    Raises:
        ValueError: naming the file, for a truncated record or a label above 9.
    """
    if not content or len(content) % RECORD_BYTES:
        raise ValueError(
            f"{name}: expected a multiple of {RECORD_BYTES} bytes, found {len(content)}; "
            "the file is truncated"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0].astype(np.int32)
    if labels.max() > 9:
        raise ValueError(f"{name}: expected labels 0 to 9, found {labels.max()}")
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def serialise_batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The binary batch of images and labels: the inverse of `parse_batch`."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tobytes()


def _read(folder: Folder, cache: Cache) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels: 50,000 of train, then those of test."""
    for parent in (folder.path, folder.path / BATCH_FOLDER):
        if (parent / "data_batch_1.bin").is_file():
            return _from_batches(Folder(folder.dataset, parent, folder.upstream, False))
    if (folder.path / ARCHIVE.name).is_file() or folder.may_download:
        return _from_archive(*folder.fetch(ARCHIVE))
    if (folder.path / TRAIN_SHEETS[0]).is_file():
        return _from_sheets(folder, cache)
    raise folder.missing(
        [f"{ARCHIVE.name} (or data_batch_1.bin … test_batch.bin, or {TRAIN_SHEETS[0]} …)"]
    )


def _join(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _from_batches(folder: Folder) -> tuple[np.ndarray, np.ndarray]:
    files = [SourceFile(name, ARCHIVE.url, f"md5:{md5}") for name, md5 in BATCHES.items()]
    return _join(parse_batch(path.read_bytes(), str(path)) for path in folder.fetch(*files))


def _from_archive(path: Path) -> tuple[np.ndarray, np.ndarray]:
    contents = {}
    with decoding(path, "tar archive"), tarfile.open(path) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in BATCHES:
                contents[name] = archive.extractfile(member).read()
    absent = [name for name in BATCHES if name not in contents]
    if absent:
        raise ValueError(f"{path}: expected the members {', '.join(absent)}")
    return _join(parse_batch(contents[name], f"{path}, {name}") for name in BATCHES)


def _from_sheets(folder: Folder, cache: Cache) -> tuple[np.ndarray, np.ndarray]:
    sheets = [folder.path / name for name in TRAIN_SHEETS]
    absent = [path.name for path in sheets if not path.is_file()]
    if absent:
        raise folder.missing(absent)
    expected = [TEST_SHEET, SHEET_LABELS, TEST_LABELS, TEST_EXTRA]
    for file in expected:
        if not (folder.path / file.name).is_file():
            raise folder.missing([file.name])
        verify(folder.path / file.name, file)
    # A changed sheet changes the key, so it is decoded and compared again.
    key = {
        "version": 1,
        "sheets": [digest_of(path) for path in sheets],
        "others": [file.checksum for file in expected],
    }

    def build() -> dict[str, np.ndarray]:
        labels = np.fromfile(folder.path / SHEET_LABELS.name, np.uint8).astype(np.int32)
        images = np.empty((51 * 1000, *IMAGE), np.uint8)
        for number, path in enumerate([*sheets, folder.path / TEST_SHEET.name]):
            images[1000 * number :][:1000] = read_sheet(path)
        for number, (name, md5) in enumerate(list(BATCHES.items())[:5]):
            part = slice(PER_BATCH * number, PER_BATCH * (number + 1))
            batch = serialise_batch(images[part], labels[part])
            if hashlib.md5(batch).hexdigest() != md5:
                raise ValueError(
                    f"{folder.path}: the images of {TRAIN_SHEETS[10 * number]} to "
                    f"{TRAIN_SHEETS[10 * number + 9]} are not those of {name} (md5 differs): a "
                    "sheet is damaged or not lossless"
                )
        extra, truth = (
            read_npy((folder.path / file.name).read_bytes(), folder.path / file.name)
            for file in (TEST_EXTRA, TEST_LABELS)
        )
        count = 1000 + len(extra)
        return {
            "images": np.concatenate([images, extra]),
            "labels": np.concatenate([labels[: 5 * PER_BATCH], truth[:count].astype(np.int32)]),
        }

    arrays = cache.arrays("cifar10", key, build, compress=False)
    return arrays["images"], arrays["labels"]


def read_sheet(path: Path) -> np.ndarray:
    """Decode a WebP sheet of two columns of 500 images.

    Returns:
        `[1000, 32, 32, 3]` uint8.

    Raises:
        ValueError: naming the file, if it cannot be decoded or has another size.
    """
    from PIL import Image

    with decoding(path, "image"), Image.open(path) as opened:
        sheet = np.asarray(opened.convert("RGB"))
    if sheet.shape != SHEET_SHAPE:
        raise ValueError(f"{path}: expected an image of {SHEET_SHAPE}, found {sheet.shape}")
    return np.concatenate([sheet[:, :32].reshape(-1, *IMAGE), sheet[:, 32:].reshape(-1, *IMAGE)])
