"""Readers on small files that the tests write themselves; no data folder, no network."""

import gzip
import hashlib
import io
import re
import struct
import tarfile
import zipfile
from fractions import Fraction

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import io as scipy_io
from scipy.io import wavfile
from tonic import io as tonic_io
from tonic import transforms

from jsnn.data import _files, load
from jsnn.data._binning import bin_events
from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile
from jsnn.data.event_files import class_files
from jsnn.data.sets import cifar10, ev_objects, fsdd, idx, nmnist, qtdb
from tests.fuzzing import examples

RANDOM = np.random.default_rng(0)


def zipfile_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def checksum_of(path):
    return f"sha256:{_files.digest_of(path)}"


# ---- idx


def idx_bytes(array):
    return (
        b"\0\0\x08"
        + bytes([array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + (array.tobytes())
    )


@pytest.mark.parametrize("packed", [True, False])
def test_idx_round_trip(tmp_path, packed):
    array = RANDOM.integers(0, 256, (3, 4, 5), np.uint8)
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    np.testing.assert_array_equal(idx.read_idx(path), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "idx file of unsigned bytes"),
        (b"\0\0\x0d\x01\0\0\0\1aaaa", "idx file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0\0\1", "header is cut"),
        (b"\0\0\x08\x01\0\0\0\4abc", "expected 4 values .* found 3"),
        (b"\0\0\x08\x01\0\0\0\2abc", "expected 2 values .* found 3"),
    ],
)
def test_damaged_idx_is_named(tmp_path, content, message):
    path = tmp_path / "a-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a-idx: .*{message}"):
        idx.read_idx(path)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: b"no gzip"])
def test_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "a.gz"
    path.write_bytes(damage(gzip.compress(idx_bytes(RANDOM.integers(0, 9, 500, np.uint8)))))
    with pytest.raises(ValueError, match=r"a\.gz: not a readable gzip"):
        idx.read_idx(path)


def test_mnist_of_written_files(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    images = RANDOM.integers(0, 256, (60, 4, 4), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 10
    sources = []
    for name in idx.FILES:
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(idx_bytes(images if "images" in name else labels)))
        sources.append(SourceFile(path.name, None, checksum_of(path)))
    monkeypatch.setattr(idx, "MNIST", sources)
    data = load("mnist", tmp_path, validation=0.2)
    assert [len(split) for split in data.splits.values()] == [48, 12, 60]
    np.testing.assert_array_equal(data.test.frames, images.reshape(60, 16))
    np.testing.assert_array_equal(data.test.labels, labels)
    assert sorted(np.bincount(data.validation.labels)) == [1] * 8 + [2] * 2
    (folder / sources[0].name).write_bytes(gzip.compress(b"other"))
    with pytest.raises(ValueError, match="truncated, damaged"):
        load("mnist", tmp_path)


# ---- QTDB


def write_qtdb(folder, monkeypatch, change=None):
    folder.mkdir(exist_ok=True)
    for name, count in (("TRAIN", 10), ("TEST", 4)):
        x = RANDOM.integers(0, 2, (count, 8, 4)).astype(np.int16)
        x[:, -1, 0] = -1
        y = np.eye(6, dtype=np.uint8)[RANDOM.integers(0, 6, (count, 8))]
        y[0, 2] = 0
        if change:
            change(x, y)
        path = folder / f"QTDB_{name.lower()}.mat"
        scipy_io.savemat(path, {"x": x, "y": y})
        monkeypatch.setattr(qtdb, name, SourceFile(path.name, None, checksum_of(path)))
    return x, y


def test_qtdb_drops_the_last_step_unless_asked(tmp_path, monkeypatch):
    x, y = write_qtdb(tmp_path / "qtdb_ecg", monkeypatch)
    data = load("qtdb", tmp_path, cache_dir=tmp_path / "cache")
    assert [len(split) for split in data.splits.values()] == [9, 1, 4]
    np.testing.assert_array_equal(data.test.frames, x[:, :-1])
    np.testing.assert_array_equal(data.test.labels, y[:, :-1].argmax(-1))
    assert data.test.labels[0, 2] == 0
    assert data.per_step and data.steps == 7
    whole = load("qtdb", tmp_path, cache_dir=tmp_path / "cache", last_step=True)
    np.testing.assert_array_equal(whole.test.frames, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: x.__setitem__((0, 0, 0), 2), "events in"),
        (lambda x, y: y.__setitem__((0, 0), 1), "at most one label"),
    ],
)
def test_qtdb_refuses_foreign_values(tmp_path, monkeypatch, change, message):
    write_qtdb(tmp_path / "qtdb_ecg", monkeypatch, change)
    with pytest.raises(ValueError, match=f"QTDB_train.mat: .*{message}"):
        load("qtdb", tmp_path, cache_dir=tmp_path / "cache")


def test_qtdb_refuses_a_wrong_checksum_even_with_a_warm_cache(tmp_path, monkeypatch):
    write_qtdb(tmp_path / "qtdb_ecg", monkeypatch)
    load("qtdb", tmp_path, cache_dir=tmp_path / "cache")
    path = tmp_path / "qtdb_ecg" / "QTDB_test.mat"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"QTDB_test\.mat should be"):
        load("qtdb", tmp_path, cache_dir=tmp_path / "cache")


# ---- Ev-Objects


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_tactile(path, sample, count=40):
    with zipfile.ZipFile(path, "w") as archive:
        for title in ("train", "test"):
            for number in range(count):
                name = f"Ev-Objects/{title}/sample_{number}_label_{number % 4}.npy"
                archive.writestr(name, npy(sample(number)))


def test_ev_objects_layout_and_binning(tmp_path, monkeypatch):
    folder = tmp_path / "tactile"
    folder.mkdir()
    path = folder / "Ev-Objects.zip"
    stored = RANDOM.integers(0, 2, (39, 2, 250)).astype(np.float32)
    write_tactile(path, lambda number: stored)
    monkeypatch.setattr(ev_objects, "ARCHIVE", SourceFile(path.name, None, checksum_of(path)))
    whole = load("ev-objects", tmp_path, cache_dir=tmp_path / "cache")
    assert whole.test.frames.shape == (40, 250, 78)
    assert whole.test.frames[0, 17, 2 * 5 + 1] == stored[5, 1, 17]
    summed = load("ev-objects", tmp_path, cache_dir=tmp_path / "cache", steps=50, binary=False)
    expected = stored.reshape(78, 50, 5).sum(-1).T
    np.testing.assert_array_equal(summed.test.frames[3], expected)
    joined = load("ev-objects", tmp_path, cache_dir=tmp_path / "cache", steps=50)
    np.testing.assert_array_equal(joined.test.frames[3], expected > 0)
    for steps in (0, 251):
        with pytest.raises(ValueError, match="expected steps"):
            load("ev-objects", tmp_path, cache_dir=tmp_path / "cache", steps=steps)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (np.zeros((39, 2, 249), np.float32), "expected shape"),
        (np.full((39, 2, 250), np.nan, np.float32), "NaN"),
        (np.full((39, 2, 250), 2, np.float32), "0 or 1"),
    ],
)
def test_ev_objects_names_the_bad_member(tmp_path, sample, message):
    path = tmp_path / "a.zip"
    write_tactile(path, lambda number: sample, count=1)
    with pytest.raises(ValueError, match=rf"a\.zip, Ev-Objects/test/sample_0.*{message}"):
        ev_objects.read_archive(path)


def test_ev_objects_without_samples_or_cut_is_named(tmp_path):
    path = tmp_path / "a.zip"
    write_tactile(path, lambda number: np.zeros((39, 2, 250), np.float32), count=0)
    with pytest.raises(ValueError, match="expected samples Ev-Objects/train"):
        ev_objects.read_archive(path)
    path.write_bytes(b"PK cut")
    with pytest.raises(ValueError, match="not a readable zip"):
        ev_objects.read_archive(path)


# ---- N-MNIST


def nmnist_bytes(x, y, p, t):
    columns = [x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255]
    return np.stack(columns, 1).astype(np.uint8).tobytes()


def some_events(count, seed=0):
    random = np.random.default_rng(seed)
    x, y, p = (random.integers(0, top, count) for top in (34, 34, 2))
    return x, y, p, np.sort(random.integers(0, 300_000, count))


def test_nmnist_events_are_those_tonic_reads(tmp_path):
    x, y, p, t = some_events(500)
    y = y.copy()
    y[[100, 200]] = nmnist.OVERFLOW_ROW
    path = tmp_path / "a.bin"
    path.write_bytes(nmnist_bytes(x, y, p, t))
    kind = np.dtype([(axis, int) for axis in "xytp"])
    expected = tonic_io.read_mnist_file(str(path), kind)
    times, sites = nmnist.read_events(path.read_bytes(), "a.bin")
    np.testing.assert_array_equal(times, expected["t"])
    np.testing.assert_array_equal(sites, (expected["y"] * 34 + expected["x"]) * 2 + expected["p"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "found 0"), (b"abcd", "truncated"), (bytes([34, 0, 0, 0, 0]), "pixels below")],
)
def test_damaged_nmnist_recording_is_named(content, message):
    with pytest.raises(ValueError, match=rf"a\.bin: .*{message}"):
        nmnist.read_events(content, "a.bin")


def recordings(count):
    for number in range(1, count + 1):
        yield f"{number % 10}/{number:05d}.bin", nmnist_bytes(*some_events(20, number))


@pytest.fixture
def small_nmnist(tmp_path, monkeypatch):
    monkeypatch.setattr(nmnist, "SMALL_COUNTS", {"Train": 40, "Test": 10})
    named = {f"Train/{name}": data for name, data in recordings(40)}
    named |= {f"Test/{name}": data for name, data in recordings(10)}
    monkeypatch.setattr(nmnist, "SUBSET_DIGEST", _files.content_digest(named.items()))
    for name, data in named.items():
        path = tmp_path / "nmnist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_small_nmnist_frames_are_those_of_tonic(small_nmnist):
    data = load("nmnist-small", small_nmnist, cache_dir=small_nmnist / "c", binary=False, steps=6)
    assert [len(split) for split in data.splits.values()] == [32, 8, 10]
    assert data.frame_shape == (34, 34, 2) and data.steps == 6
    # Recording 10 is the only one of label 0, so the first of the test split.
    x, y, p, t = some_events(20, 10)
    window = transforms.ToFrame((34, 34, 2), time_window=50_000, include_incomplete=True)
    kind = np.dtype([(axis, int) for axis in "xytp"])
    events = np.array(list(zip(x, y, t - t.min(), p, strict=True)), dtype=kind)
    frames = np.zeros((6, 34, 34, 2))
    for time, column, row, polarity in zip(t, x, y, p, strict=True):
        frames[time // 50_000, row, column, polarity] += 1
    np.testing.assert_array_equal(data.test.frames[0], frames)
    assert data.test.labels.tolist() == list(range(10))
    # tonic counts from the first event; summed over time the two must agree.
    np.testing.assert_array_equal(window(events).sum(0).transpose(1, 2, 0), frames.sum(0))


def test_small_nmnist_reads_the_upstream_archives_unpacked(
    small_nmnist, tmp_path_factory, monkeypatch
):
    other = tmp_path_factory.mktemp("zips")
    (other / "nmnist").mkdir()
    archives = {}
    for split in ("Train", "Test"):
        path = other / "nmnist" / f"{split.lower()}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((small_nmnist / "nmnist" / split).rglob("*.bin")):
                archive.write(file, f"{split}/{file.parent.name}/{file.name}")
            archive.writestr(f"{split}/3/09999.bin", b"beyond the subset")
        archives[split] = SourceFile(path.name, None, checksum_of(path))
    monkeypatch.setattr(nmnist, "ARCHIVES", archives)
    first = load("nmnist-small", small_nmnist, cache_dir=small_nmnist / "c")
    second = load("nmnist-small", other, cache_dir=other / "c")
    np.testing.assert_array_equal(first.train.frames, second.train.frames)


def test_damaged_or_missing_small_nmnist_recordings_are_refused(small_nmnist):
    path = next((small_nmnist / "nmnist" / "Train" / "3").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="digest differs"):
        load("nmnist-small", small_nmnist, cache_dir=small_nmnist / "c")
    path.unlink()
    with pytest.raises(ValueError, match=r"expected 40 recordings Train/.* found 39"):
        load("nmnist-small", small_nmnist, cache_dir=small_nmnist / "c")
    path.parent.parent.rename(small_nmnist / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"Train/<label>/<index>\.bin \(or train\.zip\)"):
        load("nmnist-small", small_nmnist, cache_dir=small_nmnist / "c")


WHOLE = {"Train": 40, "Test": 10}


@pytest.fixture
def whole_nmnist(tmp_path, monkeypatch):
    """All of an N-MNIST of 40 and 10 recordings."""
    monkeypatch.setattr(nmnist, "COUNTS", WHOLE)
    monkeypatch.setattr(nmnist, "SMALL_COUNTS", {"Train": 20, "Test": 5})
    digests = {}
    for split, count in WHOLE.items():
        for name, content in recordings(count):
            path = tmp_path / "NMNIST" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        labels = bytes(number % 10 for number in range(1, count + 1))
        digests[split] = hashlib.sha256(labels).hexdigest()
    monkeypatch.setattr(nmnist, "LABEL_DIGESTS", digests)
    return tmp_path


def load_whole(root, **options):
    return load("nmnist", root, cache_dir=root / "c", steps=6, binary=False, **options)


@pytest.mark.parametrize("folder", ["NMNIST", "nmnist"])
def test_whole_nmnist_is_read_from_unpacked_files(whole_nmnist, folder):
    (whole_nmnist / "NMNIST").rename(whole_nmnist / folder)
    data = load_whole(whole_nmnist)
    assert [len(split) for split in data.splits.values()] == [36, 4, 10]
    assert data.name == "nmnist" and data.notes.startswith("Published test split")
    # Recording 10 is the only one of label 0, so the first of the test split.
    x, y, p, t = some_events(20, 10)
    expected = bin_events(t, (y * 34 + x) * 2 + p, steps=6, size=34 * 34 * 2, window=300_000)
    np.testing.assert_array_equal(data.test.frames[0].reshape(6, -1), expected)
    half = load_whole(whole_nmnist, downsample=2)
    blocks = data.test.frames.reshape(10, 6, 17, 2, 17, 2, 2).sum((3, 5))
    np.testing.assert_array_equal(half.test.frames, blocks)
    assert data.test.labels.tolist() == list(range(10))


def test_whole_nmnist_is_read_from_its_archives(whole_nmnist, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("zips")
    (other / "NMNIST").mkdir()
    archives = {}
    for split in WHOLE:
        path = other / "NMNIST" / f"{split.lower()}.zip"
        root = whole_nmnist / "NMNIST"
        members = {
            str(file.relative_to(root)): file.read_bytes() for file in (root / split).rglob("*.bin")
        }
        path.write_bytes(zipfile_bytes({"__MACOSX/Train/0/._1.bin": b""} | members))
        archives[split] = SourceFile(path.name, None, checksum_of(path))
    monkeypatch.setattr(nmnist, "ARCHIVES", archives)
    first, second = load_whole(whole_nmnist), load_whole(other)
    np.testing.assert_array_equal(first.train.frames, second.train.frames)
    np.testing.assert_array_equal(first.train.labels, second.train.labels)
    path.write_bytes(zipfile_bytes(members | {"Test/7 copy 2/1.bin": b"00000"}))
    archives["Test"] = SourceFile(path.name, None, checksum_of(path))
    with pytest.raises(ValueError, match=r"test\.zip, Test/7 copy 2/1\.bin: expected"):
        load_whole(other)


@pytest.mark.parametrize("folder", ["7 copy 2", "10", "backup1", "-1", "07", "1 ", "٧", ".7"])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", ["nmnist", "nmnist-small"])
def test_a_folder_that_is_no_digit_is_refused_by_path(whole_nmnist, folder, complete, name):
    path = whole_nmnist / "NMNIST" / "Train" / folder
    path.mkdir()
    (path / "00041.bin").write_bytes(nmnist_bytes(*some_events(5)))
    options = {"complete": complete} if name == "nmnist" else {}
    with pytest.raises(ValueError, match=re.escape(f"{path}: this folder is no class")):
        load(name, whole_nmnist, cache_dir=whole_nmnist / "c", **options)


@settings(max_examples=examples(30))
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_only_whole_names_of_digits_are_classes(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("named")
    for digit in nmnist.CLASSES:
        (root / digit).mkdir()
        (root / digit / "a.bin").write_bytes(b"")
    try:
        (root / name).mkdir()
        (root / name / "a.bin").write_bytes(b"")
    except OSError:
        # `.`, a class that is there, or a name too long for the file system.
        return
    folder = Folder("nmnist", root, "", may_download=False)
    with pytest.raises(ValueError, match=re.escape(str(root / name))):
        class_files(folder, root, nmnist.CLASSES, ".bin")


def test_missing_classes_and_stray_files_are_refused_by_path(whole_nmnist):
    train = whole_nmnist / "NMNIST" / "Train"
    stray = train / "00041.bin"
    stray.write_bytes(b"00000")
    with pytest.raises(ValueError, match=re.escape(f"{stray}: this file lies in no class")):
        load_whole(whole_nmnist)
    stray.unlink()
    (train / "notes.txt").write_text("files beside the folders are no recordings")
    load_whole(whole_nmnist)
    (train / "3" / "copy").mkdir()
    with pytest.raises(ValueError, match=re.escape(f"{train / '3' / 'copy'}: expected files")):
        load_whole(whole_nmnist)
    (train / "3" / "copy").rmdir()
    for path in (train / "3").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(ValueError, match=re.escape(f"{train / '3'}: expected files")):
        load_whole(whole_nmnist)
    (train / "3").rename(whole_nmnist / "elsewhere")
    with pytest.raises(ValueError, match=re.escape(f"{train / '3'}: class missing")):
        load_whole(whole_nmnist, complete=False)


def test_whole_nmnist_is_whole(whole_nmnist):
    train = whole_nmnist / "NMNIST" / "Train"
    first, second = train / "1" / "00011.bin", train / "2" / "00012.bin"
    first.rename(whole_nmnist / "away")
    with pytest.raises(ValueError, match=r"Train: .*expected 40 recordings, found 39; .*complete"):
        load_whole(whole_nmnist)
    part = load_whole(whole_nmnist, complete=False)
    assert len(part.train) + len(part.validation) == 39
    assert "39 of 40 training and 10 of 10 test" in part.notes
    (train / "2" / "00011.bin").write_bytes(second.read_bytes())
    first.write_bytes(b"00000")
    with pytest.raises(ValueError, match=r"Train: Train/2/00011\.bin is there in another class"):
        load_whole(whole_nmnist)
    first.unlink()
    with pytest.raises(ValueError, match="the class that MNIST gives"):
        load_whole(whole_nmnist)
    (train / "2" / "00011.bin").rename(train / "1" / "copy.bin")
    with pytest.raises(ValueError, match=r"00001\.bin to 00040\.bin, found Train/1/copy\.bin"):
        load_whole(whole_nmnist)


def test_the_subset_is_sent_to_its_new_name(whole_nmnist):
    for number in range(21, 41):
        (whole_nmnist / "NMNIST" / "Train" / str(number % 10) / f"{number:05d}.bin").unlink()
    with pytest.raises(ValueError, match=r"found 20; these are the recordings of 'nmnist-small'"):
        load_whole(whole_nmnist)


def test_a_recording_of_whole_nmnist_that_is_cut_or_empty_is_named(whole_nmnist):
    path = whole_nmnist / "NMNIST" / "Test" / "3" / "00003.bin"
    for content, message in (
        (path.read_bytes()[:-2], "multiple of 5 bytes"),
        (b"", "multiple of 5 bytes, found 0"),
        (bytes([0, nmnist.OVERFLOW_ROW, 0, 0, 0]), "expected events, found none"),
        (bytes([34, 0, 0, 0, 0]), "pixels below"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"3/00003\.bin: .*{message}"):
            load_whole(whole_nmnist)


@pytest.mark.parametrize("name", ["nmnist", "nmnist-small"])
def test_class_folders_may_be_links(whole_nmnist, tmp_path_factory, monkeypatch, name):
    monkeypatch.setattr(nmnist, "SMALL_COUNTS", WHOLE)
    named = {f"{split}/{n}": data for split in WHOLE for n, data in recordings(WHOLE[split])}
    monkeypatch.setattr(nmnist, "SUBSET_DIGEST", _files.content_digest(named.items()))
    other = tmp_path_factory.mktemp("links")
    for split in WHOLE:
        (other / "NMNIST" / split).mkdir(parents=True)
        for digit in nmnist.CLASSES:
            target = whole_nmnist / "NMNIST" / split / digit
            (other / "NMNIST" / split / digit).symlink_to(target, target_is_directory=True)
    first = load(name, whole_nmnist, cache_dir=whole_nmnist / "c")
    second = load(name, other, cache_dir=other / "c")
    np.testing.assert_array_equal(first.train.frames, second.train.frames)
    np.testing.assert_array_equal(first.test.labels, second.test.labels)


# ---- FSDD


def wav(sound, rate=8000):
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, sound)
    return buffer.getvalue()


def tone(hertz, seconds=0.3, rate=8000):
    time = np.arange(int(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def test_log_mel_finds_the_band_of_a_tone():
    filters = fsdd.mel_filters(16)
    for band in (3, 8, 14):
        peak_hertz = filters[band].argmax() * 4000 / 128
        levels = fsdd.log_mel(tone(peak_hertz) / 2.0**15, filters, 40, 80, 40.0)
        assert levels.shape == (40, 16) and levels.dtype == np.float32
        assert (levels[5:20].argmax(1) == band).all()
        assert levels.max() == pytest.approx(40, abs=1e-4) and levels.min() == 0
        assert (levels[32:] == 0).all()


def test_log_mel_does_not_hear_loudness():
    filters = fsdd.mel_filters(16)
    sound = RANDOM.normal(size=2000)
    quiet = fsdd.log_mel(sound * 1e-3, filters, 30, 80, 40.0)
    np.testing.assert_allclose(quiet, fsdd.log_mel(sound, filters, 30, 80, 40.0), atol=1e-4)


def test_mel_filters_are_triangles_that_overlap_to_one():
    filters = fsdd.mel_filters(20)
    peaks = filters.argmax(1)
    assert (np.diff(peaks) > 0).all()
    # Between the centres of the first and the last filter each frequency is shared out whole.
    between = filters[:, peaks[0] + 1 : peaks[-1]].sum(0)
    np.testing.assert_allclose(between, 1, atol=1e-12)
    with pytest.raises(ValueError, match="too many"):
        fsdd.mel_filters(129)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(tone(500))[:30], "not a readable wav"),
        (wav(tone(500))[:-101], "not a readable wav"),
        (wav(tone(500))[:-100], "not a readable wav"),
        (b"no sound", "not a readable wav"),
        (wav(tone(500), rate=16000), "16000 Hz"),
        (wav(np.stack([tone(500)] * 2, 1)), "mono"),
        (wav(tone(500).astype(np.float32)), "float32"),
        (wav(np.zeros(100, np.int16)), "silence"),
    ],
)
def test_bad_recording_is_named(content, message):
    with pytest.raises(ValueError, match=rf"a\.wav: .*{message}"):
        fsdd.read_wav(content, "a.wav")


@pytest.fixture
def small_fsdd(tmp_path, monkeypatch):
    folder = tmp_path / "fsdd"
    folder.mkdir()
    path = folder / "fsdd_recordings.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for digit in range(10):
            for speaker in fsdd.SPEAKERS[:3]:
                for take in range(7):
                    name = f"recordings/{digit}_{speaker}_{take}.wav"
                    archive.writestr(name, wav(tone(200 + 300 * digit, 0.1 + 0.1 * take)))
    digest = _files.digest_of(path, "members(.wav)")
    monkeypatch.setattr(fsdd, "ARCHIVE", SourceFile(path.name, None, f"members(.wav):{digest}"))
    return tmp_path


def test_fsdd_splits(small_fsdd):
    data = load("fsdd", small_fsdd, cache_dir=small_fsdd / "c", bands=8, steps=20)
    assert [len(split) for split in data.splits.values()] == [54, 6, 150]
    assert data.train.frames.shape[1:] == (20, 16) and data.dt_s == 0.01
    other = load(
        "fsdd", small_fsdd, cache_dir=small_fsdd / "c", bands=8, steps=20,
        holdout="speaker", speaker="jackson",
    )  # fmt: skip
    assert [len(split) for split in other.splits.values()] == [126, 14, 70]
    assert "jackson" in other.notes
    analog = load("fsdd", small_fsdd, cache_dir=small_fsdd / "c", bands=8, steps=20, analog=True)
    assert analog.train.frames.dtype == np.float32
    assert analog.train.frames.max() == pytest.approx(1) and analog.train.frames.min() == 0


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"bands": 0},
        {"hop_s": 0.0},
        {"threshold_db": 0.0},
        {"threshold_db": 41.0},
        {"holdout": "digit"},
        {"holdout": "speaker"},
        {"holdout": "speaker", "speaker": "nobody"},
        {"speaker": "theo"},
    ],
)
def test_bad_fsdd_options_are_refused(small_fsdd, options):
    with pytest.raises(ValueError, match=r"expected|needs"):
        load("fsdd", small_fsdd, cache_dir=small_fsdd / "c", **options)


def test_changed_fsdd_recording_is_refused(small_fsdd):
    path = small_fsdd / "fsdd" / "fsdd_recordings.zip"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("recordings/0_theo_0.wav", wav(tone(100)))
    with pytest.raises(ValueError, match=r"members\(\.wav\) of fsdd_recordings\.zip should be"):
        load("fsdd", small_fsdd, cache_dir=small_fsdd / "c")


# ---- Yin-Yang


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npy(np.arange(100))[:-5],
        # A shape of 10 in place of 100 leaves bytes over.
        npy(np.arange(100)).replace(b"(100,)", b"(10,) "),
        npy(np.arange(100)) + b"0",
        pickled(),
        zipfile_bytes({"a.npy": npy(np.arange(3))}),
    ],
)
def test_unreadable_npy_is_named(content):
    np.testing.assert_array_equal(_files.read_npy(npy(np.arange(9)), "a.npy"), np.arange(9))
    with pytest.raises(ValueError, match=r"a\.npy: not a readable \.npy"):
        _files.read_npy(content, "a.npy")


# ---- CIFAR-10


def batch(seed, count=20):
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (count, 32, 32, 3), np.uint8),
        np.arange(count, dtype=np.int32) % 10,
    )


def test_cifar_batch_is_planes_after_a_label():
    images, labels = batch(0)
    content = bytearray(cifar10.serialise_batch(images, labels))
    assert content[3073] == labels[1]
    assert content[3073 + 1 + 1024 + 32 * 5 + 7] == images[1, 5, 7, 1]
    found_images, found_labels = cifar10.parse_batch(bytes(content), "a.bin")
    np.testing.assert_array_equal(found_images, images)
    np.testing.assert_array_equal(found_labels, labels)
    with pytest.raises(ValueError, match=r"a\.bin: .*truncated"):
        cifar10.parse_batch(bytes(content[:-1]), "a.bin")
    content[0] = 10
    with pytest.raises(ValueError, match=r"a\.bin: expected labels 0 to 9, found 10"):
        cifar10.parse_batch(bytes(content), "a.bin")


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    monkeypatch.setattr(cifar10, "PER_BATCH", 20)
    sums = {}
    for number, name in enumerate(list(cifar10.BATCHES)):
        path = folder / name
        path.write_bytes(cifar10.serialise_batch(*batch(number)))
        sums[name] = _files.digest_of(path, "md5")
    monkeypatch.setattr(cifar10, "BATCHES", sums)
    return tmp_path


def test_cifar_protocols(small_cifar):
    data = load("cifar10", small_cifar)
    assert [len(split) for split in data.splits.values()] == [72, 8, 20]
    np.testing.assert_array_equal(data.test.frames, batch(4)[0])
    published = load("cifar10", small_cifar, test="published")
    assert [len(split) for split in published.splits.values()] == [90, 10, 20]
    np.testing.assert_array_equal(published.test.frames, batch(5)[0])
    assert "not on the published test set" in data.notes
    with pytest.raises(ValueError, match="expected test 'batch5' or 'published'"):
        load("cifar10", small_cifar, test="all")


def test_cifar_archive_holds_the_same(small_cifar, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("packed")
    path = other / "cifar10" / cifar10.ARCHIVE.name
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name in cifar10.BATCHES:
            archive.add(small_cifar / "cifar10" / name, f"cifar-10-batches-bin/{name}")
    monkeypatch.setattr(cifar10, "ARCHIVE", SourceFile(path.name, None, checksum_of(path)))
    first, second = load("cifar10", small_cifar), load("cifar10", other)
    np.testing.assert_array_equal(first.train.frames, second.train.frames)
    np.testing.assert_array_equal(first.train.labels, second.train.labels)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(small_cifar / "cifar10" / "data_batch_1.bin", "x/data_batch_1.bin")
    monkeypatch.setattr(cifar10, "ARCHIVE", SourceFile(path.name, None, checksum_of(path)))
    with pytest.raises(ValueError, match=r"expected the members data_batch_2\.bin"):
        load("cifar10", other)


def test_damaged_cifar_batch_is_refused(small_cifar):
    path = small_cifar / "cifar10" / "data_batch_3.bin"
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"data_batch_3\.bin should be"):
        load("cifar10", small_cifar)


def test_sheet_of_the_wrong_kind_is_named(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(b"RIFF cut")
    with pytest.raises(ValueError, match=r"a\.webp: not a readable image"):
        cifar10.read_sheet(path)


# ---- tonic


def write_cochlea(path, count=20, classes=20, seed=0, spikes=30):
    random = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (count,), h5py.vlen_dtype(np.float64))
        units = file.create_dataset("spikes/units", (count,), h5py.vlen_dtype(np.int64))
        for index in range(count):
            times[index] = np.sort(random.random(spikes)) * 1.2
            units[index] = random.integers(0, 700, spikes)
        file["labels"] = np.arange(count) % classes
        file["extra/keys"] = [f"word {number}".encode() for number in range(classes)]
        file["extra/speaker"] = np.zeros(count, int)


def cochlea_loop(path, index, steps, dt_us, joined):
    frames = np.zeros((steps, 700 // joined))
    with h5py.File(path) as file:
        for time, unit in zip(
            file["spikes/times"][index], file["spikes/units"][index], strict=True
        ):
            if int(time * 1e6) // dt_us < steps:
                frames[int(time * 1e6) // dt_us, unit // joined] += 1
    return frames


def test_shd_from_written_h5(tmp_path):
    folder = tmp_path / "SHD"
    folder.mkdir()
    for number, title in enumerate(("train", "test")):
        write_cochlea(folder / f"shd_{title}.h5", seed=number)
    options = {"steps": 25, "dt_s": 0.04, "channels": 140, "binary": False}
    data = load("shd", tmp_path, cache_dir=tmp_path / "c", **options)
    assert [len(split) for split in data.splits.values()] == [18, 2, 20]
    expected = cochlea_loop(folder / "shd_test.h5", 7, 25, 40_000, 5)
    np.testing.assert_array_equal(data.test.frames[7], expected)
    assert data.test.labels[7] == 7
    again = load("shd", tmp_path, cache_dir=tmp_path / "c", **options)
    np.testing.assert_array_equal(again.train.frames, data.train.frames)
    write_cochlea(folder / "shd_test.h5", seed=5)
    changed = load("shd", tmp_path, cache_dir=tmp_path / "c", **options)
    assert (changed.test.frames != data.test.frames).any()


def test_ssc_from_written_h5(tmp_path):
    folder = tmp_path / "SSC"
    folder.mkdir()
    for number, title in enumerate(("train", "valid", "test")):
        write_cochlea(folder / f"ssc_{title}.h5", count=35, classes=35, seed=number)
    data = load("ssc", tmp_path, cache_dir=tmp_path / "c")
    assert [len(split) for split in data.splits.values()] == [35, 35, 35]
    assert data.train.frames.shape[1:] == (100, 140)
    expected = cochlea_loop(folder / "ssc_valid.h5", 3, 100, 10_000, 5) > 0
    np.testing.assert_array_equal(data.validation.frames[3], expected)


@pytest.mark.parametrize(
    "options", [{"channels": 99}, {"channels": 0}, {"dt_s": 0.0}, {"steps": 0}]
)
def test_bad_shd_options_are_refused(tmp_path, options):
    (tmp_path / "SHD").mkdir()
    for title in ("train", "test"):
        write_cochlea(tmp_path / "SHD" / f"shd_{title}.h5")
    with pytest.raises(ValueError, match="expected"):
        load("shd", tmp_path, cache_dir=tmp_path / "c", **options)


def test_damaged_shd_is_refused(tmp_path):
    folder = tmp_path / "SHD"
    folder.mkdir()
    for title in ("train", "test"):
        write_cochlea(folder / f"shd_{title}.h5")
    (folder / "shd_train.h5.zip").write_bytes(b"other archive")
    with pytest.raises(ValueError, match=r"shd_train\.h5\.zip should be f3252aeb"):
        load("shd", tmp_path, cache_dir=tmp_path / "c")
    (folder / "shd_train.h5.zip").unlink()
    path = folder / "shd_test.h5"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"shd_test\.h5: not a readable HDF5 file"):
        load("shd", tmp_path, cache_dir=tmp_path / "c")


def test_shd_without_spikes_in_a_recording_is_refused(tmp_path):
    folder = tmp_path / "SHD"
    folder.mkdir()
    for title in ("train", "test"):
        write_cochlea(folder / f"shd_{title}.h5", spikes=0)
    with pytest.raises(
        ValueError, match=r"shd_train\.h5, recording 0: expected events, found none"
    ):
        load("shd", tmp_path, cache_dir=tmp_path / "c")


def shd_of(folder, columns, seconds=np.float64, labels=(0, 1)):
    """Two SHD files of two recordings each; the second one of test is `columns`."""
    folder.mkdir(exist_ok=True)
    good = ([0.01, 0.02], [3, 4])
    for title, second in (("train", good), ("test", columns)):
        with h5py.File(folder / f"shd_{title}.h5", "w") as file:
            for name, kind, part in (
                ("times", seconds, 0),
                ("units", np.asarray(second[1]).dtype, 1),
            ):
                array = file.create_dataset(f"spikes/{name}", (2,), h5py.vlen_dtype(kind))
                for index, recording in enumerate((good, second)):
                    array[index] = np.asarray(recording[part], kind)
            file["labels"] = np.array(labels)
    return folder.parent


def test_shd_events_on_edges_are_in_their_bins(tmp_path):
    """`steps · dt_s · 1e6` once was a float beside the edges of these bins."""
    for steps, dt_s, width in ((6, 0.05, 50), (3, 0.1, 100), (7, 0.1, 100), (12, 0.025, 25)):
        edges = [number * width / 1000 for number in range(steps + 1)]
        root = shd_of(tmp_path / "SHD", (edges, [699] * len(edges)))
        options = {"steps": steps, "dt_s": dt_s, "channels": 700, "binary": False}
        data = load("shd", root, cache_dir=tmp_path / "c", validation=0.5, **options)
        # One event in each bin; the one at the end of the window is left out.
        np.testing.assert_array_equal(data.test.frames[1, :, 699], np.ones(steps))
        assert data.test.frames[1].sum() == steps and data.dt_s == dt_s


@settings(max_examples=examples(25))
@given(
    st.lists(st.integers(0, 1_400_000), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(1, 200_000),
    st.sampled_from([np.float32, np.float64]),
)
def test_shd_bins_are_whole_microseconds_over_the_width(tmp_path_factory, times, steps, us, kind):
    root = tmp_path_factory.mktemp("shd")
    times = [*times, us, us * steps]
    shd_of(root / "SHD", (np.array(times) / 1e6, [0] * len(times)), kind)
    options = {"steps": steps, "dt_s": us / 1e6, "binary": False, "validation": 0.5}
    data = load("shd", root, cache_dir=root / "c", **options)
    # Above 4 s a float32 cannot tell two microseconds apart.
    told_apart = kind is np.float64
    exact = [
        time if told_apart or time < 4e6 else Fraction(float(kind(time / 1e6))) * 10**6 // 1
        for time in times
    ]
    expected = np.bincount([t // us for t in exact if t // us < steps], minlength=steps)
    np.testing.assert_array_equal(data.test.frames[1, :, 0], expected)


def test_times_of_sixteen_bits_as_shd_keeps_them_are_floored(tmp_path):
    kept = np.array([0.0, 0.05, 0.1, 0.7, 1.3], np.float16)
    root = shd_of(tmp_path / "SHD", (kept, [0] * 5), np.float16)
    options = {"steps": 28, "dt_s": 0.05, "binary": False, "validation": 0.5}
    data = load("shd", root, cache_dir=tmp_path / "c", **options)
    expected = np.bincount([Fraction(float(t)) // Fraction(1, 20) for t in kept], minlength=28)
    np.testing.assert_array_equal(data.test.frames[1, :, 0], expected)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0.1, np.nan], [1, 2]), "expected finite event times from 0 on, found nan at event 1"),
        (([np.inf, 0.1], [1, 2]), "expected finite event times from 0 on, found inf at event 0"),
        (([0.1, -0.1], [1, 2]), r"expected finite event times from 0 on, found -0\.1 at event 1"),
        (([0.1, 1e300], [1, 2]), "expected event times up to"),
        (([0.1, 0.2], [1, 700]), "expected units below 700, found 700"),
        (([0.1, 0.2], [-1, 2]), "expected finite units from 0 on, found -1 at event 0"),
        (([0.1, 0.2], [0.5, 2]), r"expected whole numbers as units, found 0\.5 at event 0"),
        (([0.1, 0.2], [1]), r"expected as many units as times, found \(1,\) beside \(2,\)"),
        (([], []), "expected events, found none"),
        (([0.1] * 256, [1] * 256), "256 events, more than 8 bits"),
    ],
)
def test_a_bad_recording_of_shd_is_named_by_file_and_number(tmp_path, columns, message):
    root = shd_of(tmp_path / "SHD", columns)
    with pytest.raises(ValueError, match=rf"shd_test\.h5, recording 1: .*{message}"):
        load("shd", root, cache_dir=tmp_path / "c", validation=0.5, binary=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__("labels"), r"expected the arrays .*, missing labels$"),
        (lambda f: f.__delitem__("spikes/units"), "missing spikes/units"),
        (lambda f: f.__delitem__("spikes"), "missing spikes/times, spikes/units"),
        (lambda f: f["labels"].resize((1,)), "one entry a recording in each array"),
        (lambda f: f["labels"].__setitem__(1, 20), "recording 1: expected a label below 20, found"),
        (lambda f: f["labels"].__setitem__(0, -1), "expected finite labels from 0 on, found -1"),
        (lambda f: f["labels"].__setitem__(0, 0.5), "whole numbers as labels"),
        (lambda f: f["labels"].__setitem__(0, np.nan), "finite labels"),
    ],
)
def test_shd_without_what_it_needs_is_named(tmp_path, change, message):
    root = shd_of(tmp_path / "SHD", ([0.1], [1]))
    with h5py.File(tmp_path / "SHD" / "shd_test.h5", "a") as file:
        labels = file["labels"][()].astype(float)
        del file["labels"]
        file.create_dataset("labels", data=labels, maxshape=(None,))
        change(file)
    with pytest.raises(ValueError, match=rf"shd_test\.h5.*{message}"):
        load("shd", root, cache_dir=tmp_path / "c", validation=0.5)


def test_shd_needs_nothing_but_spikes_and_labels(tmp_path):
    root = shd_of(tmp_path / "SHD", ([0.1], [1]))
    assert load("shd", root, cache_dir=tmp_path / "c", validation=0.5).test.labels.tolist() == [
        0,
        1,
    ]


def write_gestures(root):
    for part, users in (("ibmGestureTrain", (1, 2)), ("ibmGestureTest", (3,))):
        for user in users:
            folder = root / "DVSGesture" / part / f"user{user:02d}_led"
            folder.mkdir(parents=True)
            for label in range(11):
                random = np.random.default_rng(100 * user + label)
                x, y, p = (random.integers(0, top, 50) for top in (128, 128, 2))
                t = np.sort(random.integers(5, 900, 50))
                np.save(folder / f"{label}.npy", np.stack([x, y, p, t], 1).astype(np.float64))


def test_dvs_gesture_from_written_files(tmp_path):
    write_gestures(tmp_path)
    options = {"steps": 5, "window_s": 1.0, "binary": False}
    data = load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c", validation=0.5, **options)
    assert [len(split) for split in data.splits.values()] == [11, 11, 11]
    assert data.frame_shape == (32, 32, 2) and data.dt_s == 0.2
    # Files are taken in the order of their names: 0, 1, 10, 2, …
    assert data.test.labels.tolist() == [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9]
    x, y, p, t = np.load(tmp_path / "DVSGesture/ibmGestureTest/user03_led/10.npy").astype(int).T
    frames = np.zeros((5, 32, 32, 2))
    for column, row, polarity, time in zip(x // 4, y // 4, p, t - t.min(), strict=True):
        frames[time // 200, row, column, polarity] += 1
    np.testing.assert_array_equal(data.test.frames[2], frames)
    # A command line hands on the text of an option that has no default.
    text = load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c", steps=5, window_s="1.0")
    assert text.dt_s == 0.2
    own = load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c", steps=5, downsample=8)
    assert own.dt_s is None and own.frame_shape == (16, 16, 2)
    assert (own.test.frames.sum((2, 3, 4)) > 0).all()


def test_damaged_gesture_is_named(tmp_path):
    write_gestures(tmp_path)
    path = tmp_path / "DVSGesture/ibmGestureTrain/user02_led/4.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"user02_led/4\.npy: not a readable \.npy file"):
        load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")
    np.save(path, np.array([[128.0, 0, 1, 5]]))
    with pytest.raises(ValueError, match=r"user02_led/4\.npy: expected pixels below \(128, 128\)"):
        load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ((128, 0, 1, 5), r"expected pixels below \(128, 128\)"),
        # Cast to 16 bits, this one lay on the sensor.
        ((65536, 0, 1, 5), r"expected pixels below \(128, 128\)"),
        ((-1, 0, 1, 5), "expected finite columns x from 0 on, found -1"),
        ((0, 0.5, 1, 5), r"expected whole numbers as rows y, found 0\.5"),
        ((0, 0, 2, 5), "expected polarities 0 or 1, found 2"),
        ((0, 0, 1, np.nan), "expected finite event times from 0 on, found nan at event 1"),
        ((0, 0, 1, -np.inf), "expected finite event times from 0 on, found -inf at event 1"),
        ((0, 0, 1, -1), "expected finite event times from 0 on"),
        ((0, 0, 1, 0.0005), "expected whole numbers as event times, found 0.5 at event 1"),
        ((0, 0, 1, 1e300), "expected event times up to"),
    ],
)
def test_a_bad_event_of_a_gesture_is_named(tmp_path, event, message):
    write_gestures(tmp_path)
    path = tmp_path / "DVSGesture/ibmGestureTrain/user02_led/4.npy"
    np.save(path, np.array([[0, 0, 1, 0.001], event], np.float64))
    with pytest.raises(ValueError, match=rf"user02_led/4\.npy: {message}"):
        load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")


@pytest.mark.parametrize(
    "array", [np.zeros((0, 4)), np.zeros((3, 5)), np.zeros(4), np.array(["a"])]
)
def test_a_gesture_of_another_form_is_named(tmp_path, array):
    write_gestures(tmp_path)
    np.save(tmp_path / "DVSGesture/ibmGestureTrain/user02_led/4.npy", array)
    with pytest.raises(ValueError, match=r"user02_led/4\.npy: expected events"):
        load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("user02_led/4.npy", "user02_led/4 copy.npy"),
        ("user02_led/4.npy", "user02_led/11.npy"),
        ("user02_led/4.npy", "user02_led/04.npy"),
        ("user02_led", "user02_led copy 2"),
        ("user02_led", "backup1"),
    ],
)
def test_a_gesture_of_another_name_is_refused_by_path(tmp_path, old, new):
    write_gestures(tmp_path)
    train = tmp_path / "DVSGesture" / "ibmGestureTrain"
    (train / old).rename(train / new)
    with pytest.raises(ValueError, match=re.escape(f"{train / new}: expected")):
        load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")


def test_folders_of_gestures_may_be_links_but_none_may_miss_a_class(tmp_path):
    write_gestures(tmp_path)
    train = tmp_path / "DVSGesture" / "ibmGestureTrain"
    first = load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")
    for user in list(train.iterdir()):
        user.rename(tmp_path / user.name)
        user.symlink_to(tmp_path / user.name, target_is_directory=True)
    second = load("dvs-gesture", tmp_path, cache_dir=tmp_path / "d")
    np.testing.assert_array_equal(first.train.frames, second.train.frames)
    for user in train.iterdir():
        (user / "4.npy").unlink()
    with pytest.raises(ValueError, match="ibmGestureTrain: no recording of the gestures 4"):
        load("dvs-gesture", tmp_path, cache_dir=tmp_path / "c")


def test_cifar10_dvs_through_a_stand_in_for_the_aedat_decoder(tmp_path, monkeypatch):
    from tonic.datasets import cifar10dvs

    def decode(path):
        kind = [("t", np.uint64), ("x", np.uint16), ("y", np.uint16), ("on", bool)]
        label = sorted(cifar10dvs.CIFAR10DVS.classes).index(path.split("/")[-2])
        return np.array([(7, 127, 0, True), (106, label, 0, False)], dtype=kind)

    monkeypatch.setattr(cifar10dvs, "read_aedat4", decode)
    for name in cifar10dvs.CIFAR10DVS.classes:
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in range(10):
            (folder / f"{name}_{number}.aedat4").write_bytes(b"#!AER-DAT4.0")
    data = load("cifar10-dvs", tmp_path, cache_dir=tmp_path / "c", steps=2, downsample=1)
    assert [len(split) for split in data.splits.values()] == [81, 9, 10]
    assert np.bincount(data.test.labels).tolist() == [1] * 10
    for frames, label in zip(data.test.frames, data.test.labels, strict=True):
        assert np.argwhere(frames).tolist() == [[0, 0, 127, 1], [1, 0, label, 0]]
    cats = tmp_path / "CIFAR10DVS" / "cat"
    cats.rename(tmp_path / "cats")
    cats.symlink_to(tmp_path / "cats", target_is_directory=True)
    linked = load("cifar10-dvs", tmp_path, cache_dir=tmp_path / "d", steps=2, downsample=1)
    np.testing.assert_array_equal(linked.test.frames, data.test.frames)
    (tmp_path / "CIFAR10DVS" / "cat copy").mkdir()
    with pytest.raises(ValueError, match="cat copy: this folder is no class"):
        load("cifar10-dvs", tmp_path, cache_dir=tmp_path / "c", steps=2, downsample=1)


def test_a_cifar10_dvs_recording_that_the_decoder_refuses_is_named(tmp_path, monkeypatch):
    from tonic.datasets import cifar10dvs

    def decode(path):
        raise RuntimeError("no header")

    monkeypatch.setattr(cifar10dvs, "read_aedat4", decode)
    for name in cifar10dvs.CIFAR10DVS.classes:
        (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True)
        (tmp_path / "CIFAR10DVS" / name / "a.aedat4").write_bytes(b"#!AER-DAT4.0")
    with pytest.raises(ValueError, match=r"airplane/a\.aedat4: not a readable AEDAT4 file"):
        load("cifar10-dvs", tmp_path, cache_dir=tmp_path / "c")


def test_cifar10_dvs_says_which_package_is_missing(tmp_path, monkeypatch):
    from tonic.datasets import cifar10dvs

    def decode(path):
        raise ModuleNotFoundError("No module named 'aedat'", name="aedat")

    monkeypatch.setattr(cifar10dvs, "read_aedat4", decode)
    for name in cifar10dvs.CIFAR10DVS.classes:
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_0.aedat4").write_bytes(b"#!AER-DAT4.0")
    with pytest.raises(ImportError, match="pip install aedat"):
        load("cifar10-dvs", tmp_path, cache_dir=tmp_path / "c")


def test_spiking_mnist_from_written_files(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    images = RANDOM.integers(0, 256, (20, 28, 28), np.uint8)
    sources = []
    for name in idx.FILES:
        array = images if "images" in name else np.arange(20, dtype=np.uint8) % 10
        path = folder / f"{name}-idx{3 if 'images' in name else 1}-ubyte.gz"
        path.write_bytes(gzip.compress(idx_bytes(array)))
        sources.append(SourceFile(path.name, None, checksum_of(path)))
    monkeypatch.setattr("jsnn.data.sets.smnist.MNIST", sources)
    data = load("smnist", tmp_path, cache_dir=tmp_path / "c", train_samples=20, test_samples=5)
    assert data.test.frames.shape == (5, 784, 99)
    pixels = images[2].reshape(-1).astype(int)
    np.testing.assert_array_equal(data.test.frames[2, :, 0], pixels == 255)
    # Rising channels are 50 to 98.
    thresholds = np.linspace(0, 254, 49).astype(np.uint8)
    rising = (pixels[0] < thresholds) & (pixels[1] >= thresholds)
    assert data.test.frames[2, 0, 50:].sum() == rising.sum()
    with pytest.raises(ValueError, match="expected 1 to 20 test samples, found 21"):
        load("smnist", tmp_path, cache_dir=tmp_path / "c", train_samples=20, test_samples=21)


def test_failed_tonic_download_says_where_the_files_belong(tmp_path):
    folder = Folder("shd", tmp_path / "SHD", "https://zenkelab.org", may_download=True)
    import urllib.error

    from tonic import datasets

    from jsnn.data.sets.shd import load_shd

    class Offline(datasets.SHD):
        def download(self):
            raise urllib.error.URLError("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "SHD", Offline)
        with pytest.raises(FileNotFoundError, match="tonic's download failed"):
            load_shd(folder, Cache(tmp_path / "c"), 0)
