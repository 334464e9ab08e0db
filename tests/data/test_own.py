"""Data of a user's own: arrays, files, registered functions, modules."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn import data
from jsnn.data import from_arrays, load_npz, registry
from tests.fuzzing import examples

DRAW = np.random.default_rng(0)
STILL = DRAW.random((40, 6))
LABELS = np.arange(40) % 4
EVENTS = DRAW.integers(0, 3, (40, 5, 6))


def test_missing_splits_are_drawn_stratified_and_said():
    mine = from_arrays("mine", STILL, LABELS, seed=3)
    sizes = {title: len(split) for title, split in mine.splits.items()}
    assert sizes == {"train": 29, "validation": 3, "test": 8}
    assert np.bincount(mine.test.labels).tolist() == [2, 2, 2, 2]
    assert mine.notes == "Drawn from the samples, seed 3: test 0.2, validation 0.1."
    rows = np.concatenate([split.frames for split in mine.splits.values()])
    np.testing.assert_array_equal(
        np.unique(rows, axis=0), np.unique(STILL.astype(np.float32), axis=0)
    )
    other = from_arrays("mine", STILL, LABELS, seed=4)
    assert not np.array_equal(mine.test.frames, other.test.frames)


def test_given_splits_stay_as_they_are():
    mine = from_arrays(
        "mine", STILL[:20], LABELS[:20], validation=(STILL[20:25], LABELS[20:25]),
        test=(STILL[25:], LABELS[25:]),
    )  # fmt: skip
    np.testing.assert_array_equal(mine.test.frames, STILL[25:].astype(np.float32))
    assert len(mine.train) == 20 and mine.notes == ""


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from([bool, np.int8, np.uint8, np.int16, np.int64, np.float16, np.float32, float]),
    st.integers(1, 3),
    st.integers(-3, 300),
    st.sampled_from([0.0, 0.5]),
)
def test_recordings_come_back_as_they_were_or_are_refused(kind, time_axis, top, rest):
    low, high = min(top, 0), max(top, 1)
    values = np.random.default_rng(0).integers(low, high, (6, 3, 4, 2)).astype(float)
    values.flat[0] += rest
    frames = values.astype(kind)
    expected = np.moveaxis(frames.astype(float), time_axis, 1)
    least, most = frames.astype(float).min(), frames.astype(float).max()
    fits = (frames == np.floor(frames.astype(float))).all()
    fits &= least >= -128 and most <= (127 if least < 0 else 255)
    splits = {"validation": (frames, np.arange(6) % 2), "test": (frames, np.arange(6) % 2)}
    if not fits:
        with pytest.raises(ValueError, match="whole numbers of events"):
            from_arrays("mine", frames, np.arange(6) % 2, time_axis=time_axis, **splits)
        return
    mine = from_arrays("mine", frames, np.arange(6) % 2, time_axis=time_axis, **splits)
    np.testing.assert_array_equal(mine.train.frames.astype(float), expected)
    assert mine.timed and not mine.analog


@pytest.mark.parametrize("signed", ["train", "validation", "test"])
def test_one_type_serves_splits_of_which_only_one_has_negative_events(signed):
    pairs = {title: (EVENTS, LABELS) for title in ("train", "validation", "test")}
    pairs[signed] = (EVENTS - 1, LABELS)
    frames, labels = pairs.pop("train")
    mine = from_arrays("mine", frames, labels, time_axis=1, **pairs)
    assert {split.frames.dtype.name for split in mine.splits.values()} == {"int8"}
    assert mine.splits[signed].frames.min() == -1
    pairs["test"] = (EVENTS + 200, LABELS)
    if signed != "test":
        with pytest.raises(ValueError, match="test: expected whole numbers of events"):
            from_arrays("mine", frames, labels, time_axis=1, **pairs)


FACTS = {
    "time_axis": [1.5, "1", np.nan, True, -1, 0, 3, [1]],
    "step_s": [0, -1e-3, np.nan, np.inf, "1e-3"],
    "input_bits": [0, -1, 2.5, np.nan, "8", 10**6],
    "validation": [0, 1, -0.1, np.nan, "0.1", None, (EVENTS,), (EVENTS, LABELS, LABELS)],
    "test": [0, 1, 1.5, np.inf, [], {}],
}


@pytest.mark.parametrize(
    ("fact", "value"), [(fact, value) for fact, values in FACTS.items() for value in values]
)
def test_facts_that_nobody_can_mean_are_refused(fact, value):
    with pytest.raises(ValueError, match="data set 'mine': "):
        from_arrays("mine", EVENTS, LABELS, **{"time_axis": 1, fact: value})


def test_real_recordings_keep_their_clock_and_width():
    mine = from_arrays(
        "mine", DRAW.normal(size=(40, 6, 5)), LABELS, time_axis=2, analog=True, step_s=1e-3,
        input_bits=12,
    )  # fmt: skip
    assert mine.analog and mine.frame_shape == (6,) and mine.steps == 5
    assert mine.dt_s == 1e-3 and mine.input_bits == 12


def test_labels_of_every_step():
    mine = from_arrays("mine", EVENTS, np.tile(LABELS[:, None], (1, 5)), time_axis=1)
    assert mine.per_step and mine.train.labels.shape[1] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS[:39]}, r"'mine': train: expected a label for each sample, found 39"),
        ({"labels": LABELS - 1}, "class numbers 0, 1"),
        ({"labels": LABELS + 0.5}, "class numbers 0, 1"),
        ({"labels": LABELS.astype(str)}, "class numbers 0, 1"),
        ({"labels": LABELS + 2**32}, "class numbers 0, 1"),
        ({"labels": LABELS * np.nan}, "class numbers 0, 1"),
        ({"labels": 3}, "expected a label for each sample"),
        ({"labels": np.zeros(40)}, "2 classes or more, found 1"),
        ({"frames": STILL.astype(str)}, "expected numbers as frames"),
        ({"frames": (255 * STILL).astype(np.uint8)}, "scale them .* frames / 255"),
        ({"frames": np.full((40, 6), np.nan)}, "finite frames"),
        ({"frames": STILL[0:0], "labels": LABELS[0:0]}, "mine"),
        ({"time_axis": 0}, "time_axis to be a whole number of 1 to 1, found 0"),
        ({"time_axis": 2}, "time_axis to be a whole number of 1 to 1, found 2"),
        ({"analog": True}, "say which axis is time"),
        ({"test": 1.5}, "mine"),
        ({"test": (STILL, LABELS[:3])}, "test: expected a label for each sample"),
        ({"test": (STILL[:, :3], LABELS)}, "expected frames like those of train"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**{"name": "mine", "frames": STILL, "labels": LABELS} | change)


# ---- files ---------------------------------------------------------------------------------------


def test_a_file_holds_what_from_arrays_takes(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(
        path, frames=EVENTS[:20], labels=LABELS[:20], frames_test=EVENTS[20:],
        labels_test=LABELS[20:], time_axis=1, step_s=0.01,
    )  # fmt: skip
    mine = data.load(str(path), seed=1, validation=0.2)
    assert (mine.name, len(mine.train), len(mine.validation), len(mine.test)) == ("mine", 16, 4, 20)
    assert mine.timed and mine.dt_s == 0.01
    assert data.options(str(path)) == {"validation": 0.1, "test": 0.2}
    with pytest.raises(ValueError, match="has no option 'steps'; its options: validation, test"):
        data.load(str(path), steps=3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"frames": STILL}, "missing: labels, unknown: none"),
        ({"frames": STILL, "labels": LABELS, "y": LABELS}, "missing: none, unknown: y"),
        ({"frames": STILL, "labels": LABELS, "frames_test": STILL}, "missing: labels_test"),
        ({"frames": STILL, "labels": LABELS, "time_axis": [1, 2]}, "time_axis to be one number"),
        ({"frames": STILL, "labels": LABELS[:3]}, "expected a label for each sample"),
        ({"frames": np.array([{}] * 40), "labels": LABELS}, "not a readable .npz file"),
    ],
)
def test_files_that_do_not_fit_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=f"{tmp_path}/mine.npz: .*{message}"):
        load_npz(tmp_path / "mine.npz")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(FileNotFoundError, match=r"no such data set file: .*mine\.npz"):
        load_npz(path)
    for content in (b"", b"no archive", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.npz: not a readable \.npz file"):
            load_npz(path)


@settings(max_examples=examples(100), deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_nothing_that_is_read(place, bit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flip")
    path = folder / "mine.npz"
    np.savez(path, frames=EVENTS.astype(np.uint8), labels=LABELS, time_axis=1)
    whole = load_npz(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        read, refusal = load_npz(path), None
    except ValueError as error:
        read, refusal = None, str(error)
    if read is None:
        assert refusal.startswith(str(path))
        return
    for title, split in read.splits.items():
        np.testing.assert_array_equal(split.frames, whole.splits[title].frames)
        np.testing.assert_array_equal(split.labels, whole.splits[title].labels)


# ---- functions -----------------------------------------------------------------------------------


def test_registered_functions_are_loaded_by_name(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})

    def blink(seed, samples=20):
        return from_arrays("blink", STILL[:samples], LABELS[:samples], seed=seed)

    data.register("blink", blink)
    assert "blink" in data.names() and data.options("blink") == {"samples": 20}
    assert len(data.load("blink", samples=30).train) == 22
    with pytest.raises(ValueError, match="did you mean 'blink'"):
        data.load("blnk")


@pytest.mark.parametrize("name", ["digits", "a:b", "a.npz", "", "nmnist-full", "a b"])
def test_names_that_mean_something_else_are_not_registered(name):
    with pytest.raises(ValueError, match="expected a name of your own"):
        data.register(name, lambda seed: None)


def test_what_is_no_function_is_not_registered():
    with pytest.raises(ValueError, match="expected a function"):
        data.register("mine", "digits")


MODULE = """
import numpy as np
from jsnn.data import from_arrays

def blink(seed, samples=20):
    return from_arrays("blink", np.eye(samples), np.arange(samples) % 2, seed=seed)

def arrays(seed):
    return np.eye(3), np.arange(3)

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_blinks.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_blinks"
    for name in ("my_blinks", "my_broken"):
        sys.modules.pop(name, None)


def test_a_function_of_a_module(module):
    assert len(data.load(f"{module}:blink", seed=2, samples=10).train) == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_blink:blink", "found no module 'my_blink'"),
        ("my_blinks:wink", "my_blinks has no 'wink'"),
        ("my_blinks:number", "expected a function, found int"),
        ("my_blinks:arrays", r"return a jsnn\.data\.Dataset .* found tuple"),
    ],
)
def test_what_a_module_has_not_is_named(module, name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name)


@settings(max_examples=examples(200))
@given(st.text(max_size=12).map(lambda text: f"{text}:x") | st.text(max_size=12).map("x:{}".format))
def test_any_text_with_a_colon_is_a_function_or_refused(name):
    with pytest.raises(ValueError, match=r"expected|found no module"):
        data.load(name)


def test_data_dir_is_of_the_sets_of_the_library(tmp_path):
    np.savez(tmp_path / "mine.npz", frames=STILL, labels=LABELS)
    with pytest.raises(ValueError, match="leave data_dir away"):
        data.load(str(tmp_path / "mine.npz"), tmp_path)


def test_errors_of_the_module_itself_are_not_hidden(module):
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        data.load("my_broken:blink")


def test_unknown_names_say_what_there_is():
    with pytest.raises(ValueError, match=re.escape("or package.module:function")):
        data.load("my-data")
