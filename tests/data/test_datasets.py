"""Dataset checks, splits, folds, registry, files and cache; no data folder needed."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.data import Dataset, Split, folds, load, names, options, refit
from jsnn.data._binning import (
    as_events,
    bin_events,
    microseconds,
    rebin,
    whole_microseconds,
    whole_numbers,
)
from jsnn.data._cache import Cache
from jsnn.data._files import (
    Folder,
    SourceFile,
    content_digest,
    decoding,
    digest_of,
    download,
    verify,
)
from jsnn.data._splitting import assign_folds, fraction_count, stratified_split
from jsnn.data.event_files import listing_digest
from tests.fuzzing import examples


def still(count=6, classes=2, dtype=np.float32, shape=(3,)):
    frames = np.arange(count * int(np.prod(shape))).reshape(count, *shape) % 100
    return Split(frames.astype(dtype), np.arange(count, dtype=np.int32) % classes)


def timed(count=4, steps=5, per_step=False):
    labels = np.zeros((count, steps) if per_step else count, np.int32)
    return Split(np.ones((count, steps, 2), np.uint8), labels)


def make(train=None, timed=False, **changes):
    parts = {"validation": still(4), "test": still(4)} | changes
    return Dataset("toy", train=train or still(), classes=2, timed=timed, **parts)


# ---- Dataset


def test_dataset_of_good_arrays_reports_its_shapes():
    data = Dataset("toy", timed(), timed(), timed(), classes=2, timed=True, dt_s=0.001)
    assert (data.frame_shape, data.steps) == ((2,), 5)
    assert make().steps is None


def bad_value(value):
    split = still()
    split.frames[2, 1] = value
    return split


@pytest.mark.parametrize(
    ("split", "check"),
    [
        (bad_value(np.nan), "NaN or infinity"),
        (bad_value(np.inf), "NaN or infinity"),
        (bad_value(-np.inf), "NaN or infinity"),
        (Split(np.zeros((0, 3), np.float32), np.zeros(0, np.int32)), "at least one sample"),
        (Split(np.zeros((4, 0), np.float32), np.zeros(4, np.int32)), "features"),
        (Split(np.zeros((4, 3), np.float32), np.zeros(3, np.int32)), "labels of shape"),
        (Split(np.zeros((4, 3), np.float32), np.full(4, 2, np.int32)), "labels in"),
        (Split(np.zeros((4, 3), np.float32), np.full(4, -1, np.int32)), "labels in"),
        (Split(np.zeros((4, 3), np.float32), np.zeros(4, np.int64)), "int32 labels"),
        (Split(np.zeros((4, 3), np.float64), np.zeros(4, np.int32)), "dtype"),
        (Split(np.zeros(4, np.float32), np.zeros(4, np.int32)), "feature axis"),
    ],
)
def test_dataset_refuses_bad_split_naming_set_split_and_check(split, check):
    with pytest.raises(ValueError, match=f"'toy', split 'test': .*{check}"):
        make(test=split)


def test_dataset_refuses_no_time_steps():
    empty = Split(np.zeros((4, 0, 2), np.uint8), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"'train': .*T = 0"):
        Dataset("toy", empty, empty, empty, classes=2, timed=True)


def test_dataset_refuses_splits_that_differ():
    with pytest.raises(ValueError, match=r"'validation': .*like those of train"):
        make(validation=still(shape=(4,)))
    with pytest.raises(ValueError, match=r"'test': .*like those of train"):
        make(test=still(dtype=np.uint8))


def test_dataset_refuses_labels_per_step_of_still_data():
    with pytest.raises(ValueError, match="timed frames"):
        make(per_step=True)


def test_dataset_wants_labels_of_every_step():
    good, bad = timed(per_step=True), timed()
    Dataset("toy", good, good, good, classes=2, timed=True, per_step=True)
    with pytest.raises(ValueError, match=r"labels of shape \(4, 5\)"):
        Dataset("toy", good, good, bad, classes=2, timed=True, per_step=True)


def test_majority_counts_every_label():
    assert Split(np.zeros((1, 4, 1), np.uint8), np.array([[0, 1, 1, 1]], np.int32)).majority == 0.75


# ---- splits and folds


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(0, 2**31), st.data())
def test_stratified_split_is_an_exact_proportional_partition(labels, seed, data):
    labels = np.array(labels)
    count = data.draw(st.integers(1, len(labels) - 1))
    rest, taken = stratified_split(labels, count, seed)
    assert len(taken) == count
    np.testing.assert_array_equal(np.sort(np.concatenate([rest, taken])), np.arange(len(labels)))
    for c in np.unique(labels):
        share = (labels == c).sum() * count / len(labels)
        assert abs((labels[taken] == c).sum() - share) < 1


def test_stratified_split_follows_its_seed():
    labels = np.zeros(100, np.int32)
    again = [stratified_split(labels, 10, seed)[1].tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize("count", [0, 6, 7])
def test_stratified_split_refuses_empty_sides(count):
    with pytest.raises(ValueError, match="expected to take"):
        stratified_split(np.zeros(6), count, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 2**31)
)
def test_folds_are_balanced_in_size_and_class(labels, of, seed):
    labels = np.array(labels)
    fold = assign_folds(labels, of, seed)
    sizes = np.bincount(fold, minlength=of)
    assert sizes.max() - sizes.min() <= 1
    for c in np.unique(labels):
        counts = np.bincount(fold[labels == c], minlength=of)
        assert counts.max() - counts.min() <= 1


def test_folds_cover_the_training_samples_once_and_never_the_test_split():
    def mark(start, count):
        values = np.arange(start, start + count, dtype=np.float32)[:, None]
        return Split(values, (values[:, 0] % 2).astype(np.int32))

    data = Dataset("toy", mark(0, 30), mark(30, 10), mark(100, 5), classes=2, timed=False)
    seen = []
    for k in range(4):
        part = folds(data, k, of=4, seed=3)
        values = [set(split.frames[:, 0].tolist()) for split in part.splits.values()]
        assert values[0] | values[1] | values[2] == set(range(40))
        assert sum(map(len, values)) == 40
        assert len(part.validation) == round(30 * 10 / 40)
        seen += sorted(values[2])
    assert sorted(seen) == list(range(40))
    assert "Fold 3 of 4" in part.notes


def test_refit_trains_on_all_but_the_test_split():
    def mark(start, count):
        values = np.arange(start, start + count, dtype=np.float32)[:, None]
        return Split(values, (values[:, 0] % 2).astype(np.int32))

    data = Dataset("toy", mark(0, 30), mark(30, 10), mark(100, 5), classes=2, timed=False)
    whole = refit(data)
    assert sorted(whole.train.frames[:, 0].tolist()) == list(range(40))
    np.testing.assert_array_equal(whole.train.labels, whole.train.frames[:, 0] % 2)
    assert (len(whole.validation), len(whole.test)) == (10, 5)
    assert "validation samples too" in whole.notes
    part = folds(data, 1, of=4)
    assert not set(refit(part).train.frames[:, 0]) & set(part.test.frames[:, 0])


@pytest.mark.parametrize(("k", "of"), [(4, 4), (-1, 4), (0, 1), (0, 11)])
def test_folds_refuse_what_does_not_exist(k, of):
    with pytest.raises(ValueError, match="expected"):
        folds(make(), k, of)


def test_folds_of_labels_per_step():
    data = Dataset(
        "toy", *(timed(n, per_step=True) for n in (6, 2, 3)), classes=2, timed=True, per_step=True
    )
    part = folds(data, 1, of=2)
    assert [len(split) for split in part.splits.values()] == [3, 1, 4]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fraction_outside_unit_interval_is_refused(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        fraction_count(10, fraction)


# ---- registry


def test_import_of_the_package_loads_no_heavy_library():
    code = (
        "import sys, jsnn.data;"
        "print([m for m in ('tonic', 'sklearn', 'librosa', 'h5py', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_unknown_name_gets_a_hint_and_the_list():
    with pytest.raises(ValueError, match=r"unknown data set 'qtbd'; did you mean 'qtdb'.*nmnist"):
        load("qtbd")


def test_a_former_name_is_refused_with_the_new_ones():
    for ask in (load, options):
        with pytest.raises(
            ValueError, match=r"'nmnist-full' is called 'nmnist' now.*'nmnist-small'"
        ):
            ask("nmnist-full")
    assert {"nmnist", "nmnist-small"} <= set(names()) and "nmnist-full" not in names()


def test_unknown_option_is_an_error():
    with pytest.raises(ValueError, match="'digits' has no option 'imgae'; its options: image"):
        load("digits", imgae=True)


@pytest.mark.parametrize("name", names())
def test_every_entry_has_a_loader_and_listed_options(name):
    assert all(isinstance(key, str) for key in options(name))


FILE_SETS = [name for name in names() if name != "digits"]


@pytest.mark.parametrize("name", FILE_SETS)
def test_missing_files_name_folder_upstream_and_remedy(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load(name, tmp_path, cache_dir=tmp_path / "cache")
    message = str(caught.value)
    assert repr(name) in message
    assert str(tmp_path) in message
    assert "http" in message
    assert "JSNN_DATA" in message


@pytest.mark.parametrize("name", FILE_SETS)
def test_missing_data_folder_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("JSNN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load(name)


def test_own_cache_folder_is_used_where_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("JSNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(FileNotFoundError, match=r"download of https?://.* failed") as caught:
        load("yinyang")
    assert str(tmp_path / "jsnn" / "data" / "yinyang") in str(caught.value)
    assert not list(tmp_path.rglob("*.npy*"))


@pytest.mark.parametrize("image", [False, True])
def test_digits_are_1797_stratified_samples_in_sixteenths(image):
    data = load("digits", image=image, seed=1)
    assert [len(split) for split in data.splits.values()] == [1294, 143, 360]
    assert data.frame_shape == ((8, 8, 1) if image else (64,))
    frames = np.concatenate([split.frames for split in data.splits.values()])
    np.testing.assert_array_equal(frames * 16, np.round(frames * 16))
    assert (frames.min(), frames.max()) == (0, 1)
    counts = np.bincount(data.test.labels)
    assert counts.min() >= 34 and counts.max() <= 37
    other = load("digits", image=image, seed=2)
    assert not np.array_equal(other.test.frames, data.test.frames)


# ---- files


def source(content, name="a.bin", algorithm="sha256", url="https://example.org/a.bin"):
    return SourceFile(name, url, f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_verify_accepts_the_right_bytes_and_refuses_others(tmp_path, algorithm):
    path = tmp_path / "a.bin"
    path.write_bytes(b"right")
    verify(path, source(b"right", algorithm=algorithm))
    path.write_bytes(b"righ")
    with pytest.raises(ValueError, match=rf"a\.bin: {algorithm} of .*truncated, damaged"):
        verify(path, source(b"right", algorithm=algorithm))


def test_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match="expected sha256"):
        SourceFile("a", None, "crc32:0")


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_member_digest_ignores_packing_and_other_files_but_not_content(tmp_path):
    expected = content_digest([("a.wav", b"1"), ("b.wav", b"2")])
    first, second, third = (tmp_path / f"{number}.zip" for number in range(3))
    first.write_bytes(zip_of({"x/a.wav": b"1", "x/b.wav": b"2"}))
    second.write_bytes(zip_of({"y/b.wav": b"2", "README": b"?", "y/a.wav": b"1"}))
    third.write_bytes(zip_of({"a.wav": b"1", "b.wav": b"3"}))
    digests = [digest_of(path, "members(.wav)") for path in (first, second, third)]
    assert digests[0] == digests[1] == expected != digests[2]


def test_cut_zip_is_named(tmp_path):
    path = tmp_path / "cut.zip"
    path.write_bytes(zip_of({"a.wav": b"1" * 1000})[:500])
    with pytest.raises(ValueError, match=r"cut\.zip: not a readable zip"):
        digest_of(path, "members(.wav)")


def answer(monkeypatch, content):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: io.BytesIO(content))


def test_download_keeps_verified_bytes_alone(tmp_path, monkeypatch):
    answer(monkeypatch, b"right")
    assert download(source(b"right"), tmp_path / "new").read_bytes() == b"right"
    answer(monkeypatch, b"rig")
    with pytest.raises(ValueError, match=r"from https://example\.org"):
        download(source(b"right", name="b.bin"), tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_fetch_downloads_only_where_it_may(tmp_path, monkeypatch):
    answer(monkeypatch, b"right")
    file = source(b"right")
    with pytest.raises(FileNotFoundError, match=r"a\.bin not found"):
        Folder("toy", tmp_path, "https://example.org", may_download=False).fetch(file)
    (path,) = Folder("toy", tmp_path, "https://example.org", may_download=True).fetch(file)
    assert path.read_bytes() == b"right"
    unpublished = source(b"x", name="c.bin", url=None)
    with pytest.raises(FileNotFoundError, match="does not publish"):
        Folder("toy", tmp_path, "https://example.org", may_download=True).fetch(unpublished)


class Odd(Exception):
    """An error that no list of errors has."""


@pytest.mark.parametrize("kind", [Odd, MemoryError, NotImplementedError, KeyError, UserWarning])
def test_whatever_a_decoder_raises_is_one_sentence(kind):
    def decode():
        if issubclass(kind, Warning):
            warnings.warn("c\n d", kind, stacklevel=1)
        raise kind("c d" if kind is KeyError else "c\n d")

    message = rf"^a: not a readable b \({kind.__name__}: '?c d'?\)$"
    with pytest.raises(ValueError, match=message), decoding("a", "b"):
        decode()


def test_an_interrupt_and_a_deprecation_are_no_damage():
    with pytest.raises(KeyboardInterrupt), decoding("a", "b"):
        raise KeyboardInterrupt
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with decoding("a", "b"):
            warnings.warn("old", DeprecationWarning, stacklevel=1)


# ---- cache


def test_cache_builds_once_per_key(tmp_path):
    calls = []

    def build():
        calls.append(1)
        return {"x": np.arange(3)}

    cache = Cache(tmp_path / "deep" / "cache")
    for key in ({"steps": 1}, {"steps": 1}, {"steps": 2}):
        np.testing.assert_array_equal(cache.arrays("toy", key, build)["x"], np.arange(3))
    assert len(calls) == 2
    assert len(list(cache.path.iterdir())) == 2


def test_failed_build_leaves_nothing(tmp_path):
    def build():
        raise ValueError("broken source")

    with pytest.raises(ValueError, match="broken source"):
        Cache(tmp_path).arrays("toy", {}, build)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"x" * len(raw)])
@pytest.mark.parametrize("compress", [True, False])
def test_damaged_cache_is_named(tmp_path, damage, compress):
    cache = Cache(tmp_path)
    cache.arrays("toy", {}, lambda: {"x": np.arange(1000)}, compress=compress)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read .*delete it"):
        cache.arrays("toy", {}, dict)


def test_flipped_byte_in_cache_is_noticed(tmp_path):
    cache = Cache(tmp_path)
    cache.arrays("toy", {}, lambda: {"x": np.arange(1000)}, compress=False)
    (path,) = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="delete it"):
        cache.arrays("toy", {}, dict)


@pytest.mark.parametrize("compress", [True, False])
def test_every_flipped_bit_of_a_cache_is_refused_or_changes_nothing(tmp_path, compress):
    """In 80 of 440 such files a byte once escaped as zlib.error or NotImplementedError."""
    cache = Cache(tmp_path)
    arrays = {"x": np.arange(12, dtype=np.int16), "y": np.ones((2, 1), np.float32)}
    cache.arrays("toy", {}, lambda: arrays, compress=compress)
    (path,) = tmp_path.iterdir()
    raw = path.read_bytes()
    same, messages = 0, []
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            result = cache.arrays("toy", {}, dict)
        except ValueError as error:
            messages.append(str(error))
        else:
            same += 1
            assert sorted(result) == ["x", "y"]
            for name, array in result.items():
                assert array.dtype == arrays[name].dtype
                np.testing.assert_array_equal(array, arrays[name])
    for message in messages:
        assert message.startswith(f"cached file {path} cannot be read (")
        assert message.endswith("): delete it, and it is made again")
        assert "\n" not in message
    # Dates, and what the archive keeps twice.
    assert same < len(raw) / 2 < len(messages)


def test_a_cache_that_lost_or_changed_an_array_is_refused(tmp_path):
    cache = Cache(tmp_path)
    arrays = {"x": np.arange(1000), "y": np.ones(3), "z": np.array(2)}
    cache.arrays("toy", {}, lambda: arrays)
    np.testing.assert_array_equal(cache.arrays("toy", {}, dict)["z"], 2)
    (path,) = tmp_path.iterdir()
    with np.load(path) as stored:
        kept = dict(stored)
    for change in (
        {"x": None},
        {"digest": None},
        {"x": np.arange(999)},
        {"x": np.arange(1000, dtype=np.int32)},
        {"y": np.ones((1, 3))},
        {"w": np.ones(1)},
    ):
        changed = {name: array for name, array in (kept | change).items() if array is not None}
        np.savez(path, **changed)
        with pytest.raises(ValueError, match="are not those that were written"):
            cache.arrays("toy", {}, dict)


def test_a_changed_file_is_hashed_again_within_one_tick_of_the_clock(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first, status = digest_of(path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_of(path) != first


def test_a_listing_tells_files_apart_by_time_size_or_content(tmp_path):
    path = tmp_path / "7" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(b"one")
    status, seen = path.stat(), {listing_digest([path])}
    for content, passed in (
        (b"two", 0),
        (b"two", -(10**10)),
        (b"two", -(2 * 10**10)),
        (b"four", 0),
    ):
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + passed))
        seen.add(listing_digest([path]))
    assert len(seen) == 5


# ---- binning


@st.composite
def event_lists(draw):
    """Steps, an exact window, and events: anywhere, on the edges, beside them and at the end."""
    steps = draw(st.integers(1, 40))
    width = draw(
        st.integers(1, 10**6)
        | st.fractions(Fraction(1, 10), 10**5, max_denominator=999)
        | st.floats(1e-6, 0.2).map(microseconds)
    )
    window = width * steps
    anywhere = st.integers(0, int(2 * window) + 1)
    edges = st.integers(0, steps).map(lambda number: int(number * width))
    beside = st.tuples(edges, st.integers(-1, 1)).map(lambda pair: max(0, sum(pair)))
    events = st.lists(st.tuples(anywhere | edges | beside, st.integers(0, 3)), max_size=40)
    return steps, window, draw(events)


@settings(max_examples=examples(200), deadline=None)
@given(event_lists())
def test_bins_are_those_of_exact_fractions(drawn):
    steps, window, events = drawn
    times, sites = np.array(events, np.int64).reshape(-1, 2).T
    expected = np.zeros((steps, 4), np.int64)
    for time, site in events:
        number = Fraction(time) * steps / window // 1
        if number < steps:
            expected[int(number), site] += 1
    result = bin_events(times, sites, steps=steps, size=4, window=window)
    np.testing.assert_array_equal(result, expected)
    for kind in (np.int32, np.uint64):
        if not len(times) or times.max() <= np.iinfo(kind).max:
            other = bin_events(times.astype(kind), sites, steps=steps, size=4, window=window)
            np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize(("steps", "dt_s"), [(6, 0.05), (3, 0.1), (7, 0.1), (12, 0.025)])
def test_events_on_edges_are_in_the_bin_that_begins_there(steps, dt_s):
    width = microseconds(dt_s)
    times = np.arange(steps + 1) * int(width)
    result = bin_events(times, np.zeros(steps + 1, int), steps=steps, size=1, window=steps * width)
    assert result[:, 0].tolist() == [1] * steps


def test_microseconds_are_those_that_were_written():
    values = (0.05, np.float32(0.05), 1, np.int64(2), "1/3", 1e-6, 0.1 + 0.2)
    expected = (50_000, 50_000, 10**6, 2 * 10**6, Fraction(10**6, 3), 1)
    assert tuple(map(microseconds, values[:-1])) == expected
    assert microseconds(values[-1]) == Fraction("300000.00000000004")
    for value in (0, 0.0, -0.1, np.nan, np.inf, None, "a", "1/0", True):
        with pytest.raises(ValueError, match=f"expected a positive dt_s in seconds, found {value}"):
            microseconds(value, "dt_s")


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.integers(0, 3 * 10**6), min_size=1), st.sampled_from([np.float32, np.float64]))
def test_seconds_give_back_the_whole_microseconds_they_stand_for(whole, kind):
    seconds = (np.array(whole) / 1e6).astype(kind)
    np.testing.assert_array_equal(whole_microseconds(seconds), whole)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.floats(0, 2000, width=16), min_size=1), st.sampled_from([np.float16, np.float64])
)
def test_seconds_between_microseconds_are_floored(values, kind):
    exact = [Fraction(value) * 10**6 for value in values]
    result = whole_microseconds(np.array(values, kind))
    for time, value, fraction in zip(result.tolist(), values, exact, strict=True):
        # Nearest only where the float cannot be told from it.
        unit = Fraction(float(np.spacing(kind(value)))) * 10**6
        near = round(fraction)
        assert time == fraction // 1 or (unit < Fraction(1, 4) and abs(near - fraction) <= unit)


def test_numbers_that_are_none_are_refused():
    for values in (np.array(["a"]), np.array([1j]), np.array([{}], object)):
        with pytest.raises(ValueError, match="expected numbers as units"):
            whole_numbers(values, "units")
    with pytest.raises(ValueError, match="expected units up to 9223372036854775807"):
        whole_numbers(np.array([2**63], np.uint64), "units")
    assert whole_numbers(np.array([True, False]), "units").tolist() == [1, 0]
    assert whole_numbers(np.array([0.1, 4.35]), "times", 1000).tolist() == [100, 4350]
    assert whole_microseconds(np.array([1, 2], np.uint8)).tolist() == [10**6, 2 * 10**6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "at least one time step"),
        ({"window": 0}, "positive time window"),
        ({"sites": np.array([4])}, "addresses"),
        ({"sites": np.array([-1])}, "addresses"),
        ({"times": np.array([-1])}, "event times from 0"),
        ({"times": np.array([0.0])}, "whole numbers as event times, found float64"),
        ({"sites": np.array([0.0])}, "whole numbers as event addresses, found float64"),
        ({"sites": np.array([0, 1])}, "as many addresses as times, found 2 beside 1"),
        ({"window": 10.0}, "a whole number or a Fraction"),
        ({"steps": 2.5}, "at least one time step"),
        ({"steps": True}, "at least one time step"),
    ],
)
def test_bin_events_refuses(changes, message):
    good = {"times": np.array([0]), "sites": np.array([0]), "steps": 2, "size": 4, "window": 10}
    with pytest.raises(ValueError, match=message):
        bin_events(**(good | changes))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_rebin_keeps_every_event(steps, total):
    frames = np.random.default_rng(0).integers(0, 3, (2, total, 3)).astype(np.uint8)
    if steps > total:
        with pytest.raises(ValueError, match="expected steps"):
            rebin(frames, steps)
        return
    result = rebin(frames, steps)
    expected = np.stack(
        [frames[:, i * total // steps : (i + 1) * total // steps].sum(1) for i in range(steps)],
        axis=1,
    )
    np.testing.assert_array_equal(result, expected)


def test_counts_above_8_bits_are_refused():
    with pytest.raises(ValueError, match="256 events, more than 8 bits"):
        as_events(np.array([256]), binary=False)
    assert as_events(np.array([256]), binary=True).tolist() == [1]


def test_gzip_of_wrong_content_is_refused_by_its_checksum(tmp_path):
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz should be 8d4fb7e6"):
        load("fashion-mnist", tmp_path)
