"""The real data: counts, shapes and known facts of every set in the folder JSNN_DATA names."""

import os
from pathlib import Path

import numpy as np
import pytest

from jsnn.data import folds, load
from jsnn.data.registry import ENTRIES
from jsnn.data.sets.fsdd import SPEAKERS
from jsnn.data.sets.nmnist import read_events

pytestmark = pytest.mark.skipif(
    "JSNN_DATA" not in os.environ, reason="JSNN_DATA does not name a folder with the data"
)


@pytest.fixture(scope="module")
def get(tmp_path_factory):
    cache = tmp_path_factory.mktemp("arrays")

    def loaded(name, **options):
        if not (Path(os.environ["JSNN_DATA"]) / ENTRIES[name].folder).is_dir():
            pytest.skip(f"no folder of {name} below JSNN_DATA")
        return load(name, cache_dir=cache, **options)

    return loaded


# name, options, sizes of train, validation and test, frame shape, steps, dtype, classes
FACTS = [
    ("yinyang", {}, (5000, 1000, 1000), (4,), None, np.float32, 3),
    ("mnist", {}, (54000, 6000, 10000), (784,), None, np.uint8, 10),
    ("fashion-mnist", {"image": True}, (54000, 6000, 10000), (28, 28, 1), None, np.uint8, 10),
    ("qtdb", {}, (557, 61, 141), (4,), 1300, np.int8, 6),
    ("qtdb", {"last_step": True}, (557, 61, 141), (4,), 1301, np.int8, 6),
    ("ev-objects", {}, (519, 57, 144), (78,), 250, np.uint8, 36),
    ("ev-objects", {"steps": 50}, (519, 57, 144), (78,), 50, np.uint8, 36),
    ("nmnist-small", {}, (800, 200, 100), (34, 34, 2), 15, np.uint8, 10),
    ("fsdd", {}, (2430, 270, 300), (64,), 64, np.uint8, 10),
    ("fsdd", {"analog": True}, (2430, 270, 300), (32,), 64, np.float32, 10),
    ("cifar10", {}, (36000, 4000, 10000), (32, 32, 3), None, np.uint8, 10),
    ("smnist", {"train_samples": 50, "test_samples": 20}, (45, 5, 20), (99,), 784, np.uint8, 10),
]


@pytest.mark.parametrize(("name", "options", "sizes", "shape", "steps", "dtype", "classes"), FACTS)
def test_counts_shapes_and_dtypes(get, name, options, sizes, shape, steps, dtype, classes):
    data = get(name, **options)
    assert tuple(len(split) for split in data.splits.values()) == sizes
    assert (data.frame_shape, data.steps, data.classes) == (shape, steps, classes)
    assert data.train.frames.dtype == dtype
    assert set(np.unique(data.train.labels)) == set(range(classes))
    assert data.source


@pytest.mark.parametrize(
    ("name", "options"),
    [("qtdb", {}), ("ev-objects", {}), ("nmnist-small", {}), ("fsdd", {}), ("fashion-mnist", {})],
)
def test_same_seed_same_arrays_other_seed_other_validation(get, name, options):
    first, again, other = (get(name, seed=seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.validation.frames, again.validation.frames)
    np.testing.assert_array_equal(first.train.labels, again.train.labels)
    np.testing.assert_array_equal(first.test.frames, other.test.frames)
    assert (first.validation.frames != other.validation.frames).any()


def test_qtdb_majority_class_and_padding(get):
    data = get("qtdb", last_step=True)
    labels = np.concatenate([data.train.labels, data.validation.labels])
    assert np.bincount(labels.reshape(-1)).max() / labels.size == pytest.approx(0.327, abs=5e-4)
    assert data.test.majority == pytest.approx(0.305, abs=5e-4)
    for split in data.splits.values():
        assert (split.frames[:, :-1] >= 0).all()
        assert ((split.frames[:, -1] == -1).sum(-1) == 1).all()
    assert data.dt_s == 1 / 250


def test_ev_objects_is_balanced_and_or_differs_from_sum(get):
    data = get("ev-objects")
    assert np.bincount(data.test.labels).tolist() == [4] * 36
    labels = np.concatenate([data.train.labels, data.validation.labels])
    assert np.bincount(labels).tolist() == [16] * 36
    joined, summed = get("ev-objects", steps=25), get("ev-objects", steps=25, binary=False)
    np.testing.assert_array_equal(joined.test.frames, summed.test.frames > 0)
    assert summed.test.frames.sum() == data.test.frames.sum(dtype=np.int64)


@pytest.mark.parametrize(("name", "per_class"), [("mnist", 980), ("fashion-mnist", 1000)])
def test_published_image_test_sets(get, name, per_class):
    data = get(name)
    assert np.bincount(data.test.labels)[0] == per_class
    assert (data.train.frames.min(), data.train.frames.max()) == (0, 255)
    mean = np.concatenate([data.train.frames, data.validation.frames]).mean() / 255
    # Known means of the 60,000 training images, as used for normalising.
    assert mean == pytest.approx({"mnist": 0.1307, "fashion-mnist": 0.2860}[name], abs=5e-5)


def test_nmnist_counts_and_sample_file(get):
    data = get("nmnist-small", binary=False)
    assert data.dt_s == pytest.approx(0.02)
    # About 4,100 events a recording, most of them within 0.3 s.
    assert 3500 < data.train.frames.sum((1, 2, 3, 4)).mean() < 4200
    sample = Path(os.environ["JSNN_DATA"]) / "event_samples" / "sample_nmnist.bin"
    if sample.is_file():
        times, sites = read_events(sample.read_bytes(), sample.name)
        assert len(times) == 4325 and (np.diff(times) >= 0).all()
        assert sites.max() < 34 * 34 * 2


def test_nmnist_folds_use_every_training_recording(get):
    data = get("nmnist-small")
    assert [len(folds(data, k, of=5).test) for k in range(5)] == [200] * 5


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_fsdd_leaves_one_speaker_out(get, speaker):
    data = get("fsdd", holdout="speaker", speaker=speaker)
    assert [len(split) for split in data.splits.values()] == [2250, 250, 500]
    assert np.bincount(data.test.labels).tolist() == [50] * 10


def test_fsdd_events_are_sparse_and_tell_the_digits_apart(get):
    data = get("fsdd")
    assert 0.05 < data.train.frames.mean() < 0.09

    def windows(split):
        counts = split.frames.reshape(len(split), 8, 8, -1).sum(2).reshape(len(split), -1)
        return np.concatenate([counts, np.ones((len(split), 1))], axis=1).astype(np.float64)

    x, target = windows(data.train), np.eye(10)[data.train.labels]
    weights = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ target)
    accuracy = (windows(data.validation) @ weights).argmax(1) == data.validation.labels
    assert accuracy.mean() > 0.85


def test_cifar_test_set_is_marked_and_complete_where_it_can_be(get):
    data, published = get("cifar10"), get("cifar10", test="published")
    assert len(published.train) + len(published.validation) == 50000
    assert len(published.test) in (1017, 10000)
    assert "not on the published test set" in data.notes
    # First published test labels: cat, ship, ship, airplane, frog.
    assert published.test.labels[:5].tolist() == [3, 8, 8, 0, 6]
    mean = np.concatenate([published.train.frames, published.validation.frames]).mean((0, 1, 2))
    np.testing.assert_allclose(mean / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)


def test_yinyang_mirrors_its_inputs(get):
    frames = get("yinyang").train.frames
    np.testing.assert_allclose(frames[:, :2] + frames[:, 2:], 1, atol=1e-6)
