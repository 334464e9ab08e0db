"""Damaged data files: each loads as before or is refused by an error that names it.

Every target writes a valid file, damages it byte by byte, and reads it again. Where a checksum or
the structure of the format stands over the bytes, another content must never come back. Where
nothing does, what comes back must be what an independent reading of the damaged bytes gives.

By hand, with the figures kept:

    JSNN_FUZZ_EXAMPLES=2800 JSNN_FUZZ_FIGURES=experiments/results/fuzz
    python -m pytest tests/properties/test_fuzz_data.py
"""

import dataclasses
import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import io as scipy_io
from scipy.io import wavfile

from jsnn.data import _files, load
from jsnn.data._cache import Cache
from jsnn.data._files import SourceFile
from jsnn.data.sets import cifar10, ev_objects, fsdd, idx, nmnist, qtdb, yinyang
from tests.fuzzing import Outcomes, examples

EXAMPLES = 25
RANDOM = np.random.default_rng(0)
OUTCOMES = Outcomes("data", packages=("h5py", "pillow"))

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        path: file that is damaged.
        read: reads it.
        says: what the damaged bytes hold, None where they hold nothing valid; where this is None,
            a checksum or the structure stands over every byte.
        names: what an error must name, if it is not the file.
    """

    path: Path
    read: Callable[[], Arrays]
    says: Callable[[bytes], Arrays | None] | None = None
    names: Path | None = None


# ---- damage


def edits(size):
    """One change of `size` bytes: kind, place, length, value."""
    near_an_end = st.integers(0, min(96, size - 1))
    place = st.integers(0, size - 1) | near_an_end | near_an_end.map(lambda n: size - 1 - n)
    kinds = ("flip", "set", "cut", "drop", "insert", "repeat", "blank", "append")
    length = st.integers(1, 8) | st.integers(1, size)
    return st.tuples(st.sampled_from(kinds), place, length, st.integers(0, 255))


def damaged(raw, changes):
    """The bytes after all changes."""
    data = bytearray(raw)
    for kind, place, length, value in changes:
        place = min(place, max(0, len(data) - 1))
        if kind == "flip" and data:
            data[place] ^= 1 << value % 8
        elif kind == "set" and data:
            data[place] = value
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + length]
        elif kind == "insert":
            data[place:place] = bytes([value]) * min(length, 64)
        elif kind == "repeat":
            data[place:place] = data[place : place + length]
        elif kind == "blank":
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif kind == "append":
            data += bytes([value]) * min(length, 64)
    return bytes(data)


# ---- targets


def of(path, monkeypatch, module, name):
    """Give a loader the checksum of the file that stands for the upstream one."""
    monkeypatch.setattr(module, name, SourceFile(path.name, None, sum_of(path)))


def sum_of(path, algorithm="sha256"):
    return f"{algorithm}:{_files.digest_of(path, algorithm)}"


def loaded(name, root, **options):
    def read():
        data = load(name, root, cache_dir=root / "arrays", **options)
        return {
            f"{title}_{part}": getattr(split, part)
            for title, split in data.splits.items()
            for part in ("frames", "labels")
        }

    return read


def idx_bytes(array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def cached(root, monkeypatch, compress):
    arrays = {"frames": RANDOM.integers(0, 2, (3, 4, 5), np.uint8), "labels": np.arange(3)}
    cache = Cache(root)
    cache.arrays("toy", {}, lambda: arrays, compress=compress)
    (path,) = root.iterdir()
    return Target(path, lambda: cache.arrays("toy", {}, dict))


def cache_packed(root, monkeypatch):
    return cached(root, monkeypatch, True)


def cache_plain(root, monkeypatch):
    return cached(root, monkeypatch, False)


def mnist(root, monkeypatch):
    folder = root / "mnist"
    folder.mkdir()
    sources = []
    for name in idx.FILES:
        array = RANDOM.integers(0, 256, (30, 4, 4), np.uint8) if "images" in name else LABELS
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(idx_bytes(array)))
        sources.append(SourceFile(path.name, None, sum_of(path)))
    monkeypatch.setattr(idx, "MNIST", sources)
    return Target(folder / "train-images.gz", loaded("mnist", root))


LABELS = np.arange(30, dtype=np.uint8) % 10


def idx_packed(root, monkeypatch):
    path = root / "a-idx.gz"
    path.write_bytes(gzip.compress(idx_bytes(RANDOM.integers(0, 256, (3, 4, 5), np.uint8))))
    return Target(path, lambda: {"array": idx.read_idx(path)})


def idx_plain(root, monkeypatch):
    path = root / "a-idx"
    path.write_bytes(idx_bytes(RANDOM.integers(0, 256, (3, 4, 5), np.uint8)))

    def says(raw):
        axes = raw[3]
        shape = struct.unpack_from(f">{axes}I", raw, 4)
        return {"array": np.array(list(raw[4 + 4 * axes :]), np.uint8).reshape(shape)}

    return Target(path, lambda: {"array": idx.read_idx(path)}, says)


def write_mat(path, count):
    x = RANDOM.integers(0, 2, (count, 5, 4)).astype(np.int16)
    y = np.eye(6, dtype=np.uint8)[RANDOM.integers(0, 6, (count, 5))]
    scipy_io.savemat(path, {"x": x, "y": y}, do_compression=True)


def qtdb_files(root, monkeypatch):
    # Its reader alone is no target: on some damaged bytes scipy's ends the process. What `load`
    # gives it has passed a checksum.
    folder = root / "qtdb_ecg"
    folder.mkdir()
    for name in ("TRAIN", "TEST"):
        path = folder / f"QTDB_{name.lower()}.mat"
        write_mat(path, 10)
        of(path, monkeypatch, qtdb, name)
    return Target(folder / "QTDB_test.mat", loaded("qtdb", root))


def touch_archive(path):
    sample = RANDOM.integers(0, 2, (39, 2, 250)).astype(np.float32)
    zip_of(
        path,
        {
            f"Ev-Objects/{title}/sample_{number}_label_{number % 2}.npy": npy(sample)
            for title in ("train", "test")
            for number in range(4)
        },
    )


def ev_objects_archive(root, monkeypatch):
    folder = root / "tactile"
    folder.mkdir()
    path = folder / "Ev-Objects.zip"
    touch_archive(path)
    of(path, monkeypatch, ev_objects, "ARCHIVE")
    return Target(path, loaded("ev-objects", root, steps=25))


def ev_objects_reader(root, monkeypatch):
    path = root / "a.zip"
    touch_archive(path)

    def valid(raw):
        result = ev_objects.read_archive(path)
        for title in ("train", "test"):
            assert result[f"{title}_frames"].shape[1:] == (250, 78)
            assert result[f"{title}_frames"].max() <= 1
        return result

    # Sums stand over the members, not over their list.
    return Target(path, lambda: ev_objects.read_archive(path), valid)


def wav_bytes(seed):
    buffer = io.BytesIO()
    sound = np.random.default_rng(seed).integers(-9000, 9000, 600).astype(np.int16)
    wavfile.write(buffer, fsdd.RATE_HZ, sound)
    return buffer.getvalue()


def fsdd_archive(root, monkeypatch):
    folder = root / "fsdd"
    folder.mkdir()
    path = folder / "fsdd_recordings.zip"
    zip_of(
        path,
        {
            f"recordings/{digit}_theo_{take}.wav": wav_bytes(10 * digit + take)
            for digit in range(10)
            for take in (4, 5, 6)
        },
    )
    digest = sum_of(path, "members(.wav)")
    monkeypatch.setattr(fsdd, "ARCHIVE", SourceFile(path.name, None, digest))
    return Target(path, loaded("fsdd", root, steps=5, bands=4))


def fsdd_wav(root, monkeypatch):
    path = root / "a.wav"
    path.write_bytes(wav_bytes(0))

    def says(raw):
        at = 12
        while at + 8 <= len(raw):
            name, size = struct.unpack_from("<4sI", raw, at)
            if name == b"data":
                held = raw[at + 8 : at + 8 + size // 2 * 2]
                whole = len(held) == size // 2 * 2
                return {"sound": np.frombuffer(held, "<i2") / 2.0**15} if whole else None
            # Chunks begin at even places.
            at += 8 + size + size % 2
        return None

    return Target(path, lambda: {"sound": fsdd.read_wav(path.read_bytes(), str(path))}, says)


def cifar_batches(root, monkeypatch):
    folder = root / "cifar10"
    folder.mkdir()
    monkeypatch.setattr(cifar10, "PER_BATCH", 10)
    sums = {}
    for name in list(cifar10.BATCHES):
        path = folder / name
        path.write_bytes(cifar10.serialise_batch(images(10), np.arange(10)))
        sums[name] = _files.digest_of(path, "md5")
    monkeypatch.setattr(cifar10, "BATCHES", sums)
    return Target(folder / "data_batch_2.bin", loaded("cifar10", root))


def images(count):
    return RANDOM.integers(0, 256, (count, 32, 32, 3), np.uint8)


def cifar_batch(root, monkeypatch):
    path = root / "batch.bin"
    path.write_bytes(cifar10.serialise_batch(images(3), np.arange(3)))

    def says(raw):
        records = [raw[start : start + 3073] for start in range(0, len(raw), 3073)]
        planes = np.array([list(record[1:]) for record in records], np.uint8)
        pixels = np.empty((len(records), 32, 32, 3), np.uint8)
        for colour in range(3):
            part = planes[:, 1024 * colour : 1024 * (colour + 1)]
            pixels[..., colour] = part.reshape(-1, 32, 32)
        return {"images": pixels, "labels": np.array([record[0] for record in records], np.int32)}

    def read():
        result, labels = cifar10.parse_batch(path.read_bytes(), str(path))
        return {"images": result, "labels": labels}

    return Target(path, read, says)


def cifar_sheet(root, monkeypatch):
    monkeypatch.setattr(cifar10, "SHEET_SHAPE", (64, 64, 3))
    path = root / "a.webp"
    Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), np.uint8)).save(path, lossless=True)

    def valid(raw):
        with Image.open(io.BytesIO(raw)) as opened:
            assert opened.size == (64, 64)
        return {"images": cifar10.read_sheet(path)}

    return Target(path, lambda: {"images": cifar10.read_sheet(path)}, valid)


def yinyang_files(root, monkeypatch):
    folder = root / "yinyang"
    folder.mkdir()
    sources = {}
    for key in yinyang.FILES:
        array = RANDOM.random((6, 4)) if "samples" in key else np.arange(6) % 3
        (folder / f"{key}.npy").write_bytes(npy(array))
        sources[key] = SourceFile(f"{key}.npy", None, sum_of(folder / f"{key}.npy"))
    monkeypatch.setattr(yinyang, "FILES", sources)
    return Target(folder / "test_samples.npy", loaded("yinyang", root))


def digit_recordings(root, per_class):
    """Six events a recording; returns their bytes by name."""
    named = {}
    for split in ("Train", "Test"):
        for digit in range(10):
            for take in range(per_class):
                random = np.random.default_rng([digit, take, split == "Test"])
                x, y, p = (random.integers(0, top, 6) for top in (34, 34, 2))
                t = np.sort(random.integers(0, 300_000, 6))
                columns = [x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255]
                name = f"{split}/{digit}/{10 * take + digit + 1:05d}.bin"
                named[name] = np.stack(columns, 1).astype(np.uint8).tobytes()
    for name, content in named.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return named


def nmnist_small(root, monkeypatch):
    named = digit_recordings(root / "nmnist", 1)
    monkeypatch.setattr(nmnist, "SMALL_COUNTS", {"Train": 10, "Test": 10})
    monkeypatch.setattr(nmnist, "SUBSET_DIGEST", _files.content_digest(named.items()))
    path = root / "nmnist" / "Test" / "3" / "00004.bin"
    read = loaded("nmnist-small", root, steps=6, validation=0.5)
    # One digest stands over all recordings, so it is their folder that is named.
    return Target(path, read, names=path.parents[2])


def nmnist_recording(root, monkeypatch):
    digit_recordings(root / "NMNIST", 2)
    path = root / "NMNIST" / "Test" / "3" / "00004.bin"
    read = loaded("nmnist", root, complete=False, steps=6, binary=False)
    kept = read()

    def says(raw):
        """Frames of the recording, the seventh of the test split, by a loop over its events."""
        if not raw or len(raw) % 5:
            return None
        frames, overflows, events = np.zeros((6, 34, 34, 2), int), 0, 0
        for start in range(0, len(raw), 5):
            x, y, high, middle, low = raw[start : start + 5]
            if y == 240:
                overflows += 1
                continue
            if x > 33 or y > 33:
                return None
            events += 1
            time = (high % 128) * 65536 + middle * 256 + low + 8192 * overflows
            if time < 300_000:
                frames[time // 50_000, y, x, high // 128] += 1
        if not events or frames.max() > 255:
            return None
        changed = kept["test_frames"].copy()
        changed[6] = frames
        return kept | {"test_frames": changed}

    return Target(path, read, says)


def shd_recordings(root, monkeypatch):
    folder = root / "SHD"
    folder.mkdir()
    for title in ("train", "test"):
        with h5py.File(folder / f"shd_{title}.h5", "w") as file:
            times = file.create_dataset("spikes/times", (3,), h5py.vlen_dtype(np.float64))
            units = file.create_dataset("spikes/units", (3,), h5py.vlen_dtype(np.uint16))
            for index in range(3):
                times[index] = np.sort(RANDOM.integers(0, 400_000, 12)) / 1e6
                units[index] = RANDOM.integers(0, 700, 12)
            file["labels"] = np.arange(3)
    path = folder / "shd_test.h5"
    read = loaded("shd", root, steps=6, dt_s=0.05, channels=7, binary=False)
    kept = read()

    def says(raw):
        with h5py.File(path) as file:
            labels = file["labels"][()]
            frames = np.zeros((len(labels), 6, 7), int)
            for index in range(len(labels)):
                for time, unit in zip(
                    file["spikes/times"][index], file["spikes/units"][index], strict=True
                ):
                    exact = Fraction(float(time)) * 10**6
                    whole = round(exact) if round(exact) / 1e6 == time else exact // 1
                    if whole // 50_000 < 6:
                        frames[index, whole // 50_000, unit // 100] += 1
        return kept | {"test_frames": frames, "test_labels": labels}

    return Target(path, read, says)


def gesture(root, monkeypatch):
    for part in (
        "ibmGestureTrain/user01_led",
        "ibmGestureTrain/user02_led",
        "ibmGestureTest/user03_led",
    ):
        folder = root / "DVSGesture" / part
        folder.mkdir(parents=True)
        for label in range(11):
            x, y, p = (RANDOM.integers(0, top, 9) for top in (128, 128, 2))
            t = np.sort(RANDOM.integers(5, 900, 9))
            (folder / f"{label}.npy").write_bytes(npy(np.stack([x, y, p, t], 1).astype(float)))
    path = folder / "10.npy"
    options = {"steps": 4, "window_s": 1.0, "binary": False, "downsample": 32, "validation": 0.5}
    read = loaded("dvs-gesture", root, **options)
    kept = read()

    def says(raw):
        events = np.load(io.BytesIO(raw)).tolist()
        frames = np.zeros((4, 4, 4, 2), int)
        first = min(event[3] for event in events)
        for x, y, p, t in events:
            step = Fraction(t - first) // 250
            if step < 4:
                frames[step, int(y) // 32, int(x) // 32, int(p)] += 1
        changed = kept["test_frames"].copy()
        # Files are taken in the order of their names: 0, 1, 10, 2, …
        changed[2] = frames
        return kept | {"test_frames": changed}

    return Target(path, read, says)


TARGETS = {
    make.__name__: make
    for make in (
        cache_packed,
        cache_plain,
        mnist,
        idx_packed,
        idx_plain,
        qtdb_files,
        ev_objects_archive,
        ev_objects_reader,
        fsdd_archive,
        fsdd_wav,
        cifar_batches,
        cifar_batch,
        cifar_sheet,
        yinyang_files,
        nmnist_small,
        nmnist_recording,
        shd_recordings,
        gesture,
    )
}


# ---- the property


def same(first, second):
    return first.keys() == second.keys() and all(
        array.dtype == second[name].dtype and np.array_equal(array, second[name])
        for name, array in first.items()
    )


def outcome(target, whole, raw):
    """What became of damaged bytes; anything but these outcomes is an error."""
    target.path.write_bytes(raw)
    try:
        result = target.read()
    except ValueError as error:
        message = str(error)
        named = str(target.names or target.path) in message
        return "refused" if named and "\n" not in message else f"refused badly: {message}"
    if same(result, whole):
        return "same"
    if target.says is None:
        return "another content without a word"
    said = target.says(raw)
    if said is not None and all(np.array_equal(result[name], said[name]) for name in said):
        return "as the bytes say, with no sum over them"
    return "not what the bytes say"


GOOD = {"refused", "same", "as the bytes say, with no sum over them"}


@pytest.fixture(params=TARGETS)
def target(request, tmp_path, monkeypatch):
    return request.param, TARGETS[request.param](tmp_path, monkeypatch)


def test_a_damaged_file_is_refused_by_name_or_loads_as_it_was(target):
    name, made = target
    whole, raw = made.read(), made.path.read_bytes()

    @settings(
        max_examples=examples(EXAMPLES),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(edits(len(raw)), min_size=1, max_size=3))
    def check(changes):
        result = outcome(made, whole, damaged(raw, changes))
        OUTCOMES.add(name, result)
        assert result in GOOD

    check()
    made.path.write_bytes(raw)
    assert outcome(made, whole, raw) == "same"
