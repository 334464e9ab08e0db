"""Files of integer networks damaged at random: the network that was saved, or a refusal by name."""

import dataclasses
import hashlib
import io
import json
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jsnn.export.integer import READOUTS, IntegerLayer, IntegerNetwork
from jsnn.export.integer.archive import DIGEST, sealed
from jsnn.export.integer.layer import ARRAYS
from tests.fuzzing import Outcomes, examples

OUTCOMES = Outcomes("integer")


def layer(rng, name, shape, *, spiking=True, recurrent=False, leaky=True, wide=False, pool=1):
    """A legal layer of random integers."""
    n, weight_bits, state_bits = shape[-1], 9 if wide else 4, 12
    kind = np.int32 if wide else np.int8

    def drawn(kind, low, high, shape=(n,)):
        return rng.integers(low, high + 1, shape).astype(kind)

    half = 2 ** (state_bits - 1)
    return IntegerLayer(
        name=name,
        weights=drawn(kind, -8, 7, shape),
        recurrent=drawn(kind, -8, 7, (n, n)) if recurrent else None,
        bias=drawn(np.int32, -20, 20) if leaky else None,
        decay=drawn(np.int32, 0, 7) if leaky else None,
        threshold=drawn(np.int32, 1, 30) if spiking else None,
        reset_to=drawn(np.int32, -3, 0) if spiking else None,
        start=drawn(np.int32, -half, half - 1),
        weight_bits=weight_bits,
        state_bits=state_bits,
        decay_bits=3 if leaky else 0,
        weight_exponent=int(rng.integers(-3, 3)),
        recurrent_exponent=-1 if recurrent else 0,
        state_exponent=-2,
        reset="zero" if recurrent else "subtract" if spiking else "none",
        strict=recurrent,
        pool=pool,
    )


def networks():
    rng = np.random.default_rng(0)
    dense = (
        layer(rng, "hidden_0", (4, 6), recurrent=True),
        layer(rng, "hidden_1", (6, 5), leaky=False, wide=True),
        layer(rng, "readout", (5, 3), spiking=False),
    )
    conv = (
        layer(rng, "conv_0", (3, 3, 2, 4), pool=2),
        layer(rng, "readout", (16, 3), spiking=False),
    )
    return {
        "dense": IntegerNetwork(dense, "MeanMembrane", 0, 3, False),
        "conv": IntegerNetwork(conv, "PerStep", -1, 2, True),
    }


NETWORKS = networks()
FRAMES = {"dense": np.ones((3, 2, 4)), "conv": np.ones((3, 1, 4, 4, 2)) / 2}


def fields(network):
    """Everything that a network is, for comparison."""
    plain = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    layers = [
        {
            f.name: None if (v := getattr(one, f.name)) is None
            # The type of an array counts, too.
            else (str(v.dtype), v.tolist()) if isinstance(v, np.ndarray)
            else v
            for f in dataclasses.fields(one)
        }
        for one in plain.pop("layers")
    ]  # fmt: skip
    return plain, layers


def contents(network, folder):
    """Bytes, record and arrays of its file."""
    network.save(folder / "saved.npz")
    content = (folder / "saved.npz").read_bytes()
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    return content, json.loads(str(arrays.pop("about"))), arrays


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("integer")
    return folder / "mine.npz", {
        name: contents(network, folder) for name, network in NETWORKS.items()
    }


def outcome(path):
    """The words of a refusal, or None and the network."""
    try:
        return None, IntegerNetwork.load(path)
    except ValueError as error:
        return str(error), None


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    match rng.choice(("flip", "flip", "cut", "zeros", "insert", "twice", "start")):
        case "flip":
            return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        case "cut":
            return content[:at]
        case "zeros":
            length = min(rng.choice((1, 16, 512)), len(content) - at)
            return content[:at] + bytes(length) + content[at + length :]
        case "insert":
            return content[:at] + bytes(rng.randrange(256) for _ in range(3)) + content[at:]
        case "twice":
            return content + content[at:]
        case _:
            return content[at:]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_as_it_was(name, files):
    path, saved = files
    path.write_bytes(saved[name][0])
    loaded = IntegerNetwork.load(path)
    assert fields(loaded) == fields(NETWORKS[name])
    before, after = (n.run(FRAMES[name]) for n in (NETWORKS[name], loaded))
    np.testing.assert_array_equal(before.units, after.units)
    assert before.units.any()


def test_damaged_bytes_are_refused_with_the_name_of_the_file(files):
    path, saved = files

    @settings(max_examples=examples(300))
    @given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 2**64), st.booleans())
    def check(name, seed, with_digest):
        content = saved[name][0]
        rng = random.Random(seed)
        if with_digest:
            # As if the damage had come before the digest: the archive itself must be whole, too.
            body = damaged_bytes(content[:-DIGEST], rng)
            path.write_bytes(_resealed(body))
        else:
            path.write_bytes(damaged_bytes(content, rng))
        same = path.read_bytes() == content
        refusal, network = outcome(path)
        if refusal is None:
            assert same or with_digest
            assert fields(network) == fields(NETWORKS[name])
            OUTCOMES.add("bytes", "read, the same network")
            return
        assert not same
        assert refusal.startswith(f"{path}: ") and len(refusal) < 1000
        assert with_digest or "digest" in refusal
        OUTCOMES.add("bytes", "refused by name")

    check()


def _resealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).hexdigest().encode()


VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 8, 24, 25, 61, 10**30, 0.5, 1e308, float("nan"), "", "8"),
    *([], [1], ["weights"], ["weights", "start"], list(ARRAYS), {}, {"a": 1}, *READOUTS, "zero"),
)


def damaged_fields(record, arrays, rng: random.Random):
    """The record and the arrays with one to three wrong entries."""
    record, arrays = json.loads(json.dumps(record)), dict(arrays)
    for _ in range(rng.choice((1, 1, 2, 3))):
        layers = record.get("layers")
        inner = [one for one in layers if isinstance(one, dict)] if isinstance(layers, list) else []
        match rng.choice(("entry", "entry", "layers", "array", "array", "array")):
            case "entry":
                where = rng.choice([record, *inner, *inner])
                key = rng.choice([*where, "extra"])
                if rng.random() < 0.2:
                    where.pop(key, None)
                else:
                    where[key] = rng.choice(VALUES)
            case "layers" if inner:
                changed = rng.choice((layers[:-1], layers[::-1], [*layers, layers[0]]))
                record["layers"] = changed
            case _ if arrays:
                key = rng.choice(sorted(arrays))
                array = arrays.pop(key)
                if array.dtype.kind != "i":
                    # Already wrong.
                    continue
                changed = rng.choice(
                    (
                        None,
                        array.astype(np.float32),
                        array.astype(np.int64),
                        array.astype(array.dtype.newbyteorder()),
                        array[..., :-1],
                        array[None],
                        array.ravel(),
                        array * 0 + 127,
                        np.full_like(array, -(2**7)),
                        array.astype(np.int32) * 2**20,
                        np.full(array.shape, np.nan),
                        np.array("text"),
                        np.zeros(0, array.dtype),
                        array[..., ::-1],
                    )
                )
                if changed is not None:
                    arrays[key if rng.random() < 0.9 else "other"] = changed
            case _:
                pass
    return record, arrays


def test_damaged_fields_are_refused_or_mean_what_they_say(files):
    path, saved = files

    @settings(max_examples=examples(400))
    @given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 2**64))
    @example("dense", 0)
    def check(name, seed):
        record, arrays = damaged_fields(*saved[name][1:], random.Random(seed))
        path.write_bytes(sealed(record, arrays))
        refusal, network = outcome(path)
        if refusal is not None:
            assert refusal.startswith(f"{path}: ") and "\n" not in refusal
            assert len(refusal) < 1000
            OUTCOMES.add("fields", "refused by name")
            return
        plain, layers = fields(network)
        assert plain == {k: v for k, v in record.items() if k not in ("layers", "format")}
        assert len(layers) == len(record["layers"])
        stored = set()
        for own, said in zip(layers, record["layers"], strict=True):
            for entry, value in own.items():
                if entry not in ARRAYS:
                    assert value == said[entry] and type(value) is type(said[entry])
                elif entry in said["arrays"]:
                    array = arrays[f"{own['name']}.{entry}"]
                    assert value == (str(array.dtype), array.tolist())
                    stored.add(f"{own['name']}.{entry}")
                else:
                    assert value is None
        assert stored == set(arrays)
        # And it runs on what fits it.
        first = network.layers[0].weights
        shape = (2, 1, 4, 4, first.shape[-2]) if first.ndim == 4 else (2, 1, first.shape[-2])
        try:
            assert np.isfinite(network.run(np.zeros(shape)).outputs).all()
        except ValueError as error:
            # How large images are is not said in the file.
            assert first.ndim == 4 and "inputs, found" in str(error)  # noqa: PT017
        unchanged = fields(network) == fields(NETWORKS[name])
        OUTCOMES.add("fields", f"read, the {'same network' if unchanged else 'network it says'}")

    check()


def test_an_older_file_and_no_file_say_so(files, tmp_path):
    _, saved = files
    record, arrays = saved["dense"][1:]
    old = tmp_path / "old.npz"
    np.savez_compressed(old, about=np.array(json.dumps(record)), **arrays)
    with pytest.raises(ValueError, match=r"old\.npz: .*older version of jsnn, without a digest"):
        IntegerNetwork.load(old)
    old.write_bytes(sealed(record | {"format": "1"}, arrays))
    with pytest.raises(ValueError, match=r"old\.npz: format: expected .*; export it again"):
        IntegerNetwork.load(old)
    for path in (tmp_path / "absent.npz", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            IntegerNetwork.load(path)


def test_a_missing_array_is_not_taken_for_none(files):
    path, saved = files
    record, arrays = saved["dense"][1:]
    for name in ("hidden_0.bias", "hidden_0.recurrent", "hidden_0.decay"):
        fewer = {k: v for k, v in arrays.items() if k != name}
        path.write_bytes(sealed(record, fewer))
        with pytest.raises(ValueError, match=rf"layer 0: the array '{name}' is missing"):
            IntegerNetwork.load(path)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.full((3, 2, 4), np.nan), "finite frames"),
        (np.ones((3, 2, 5)), r"'hidden_0' takes 4 inputs, found \(3, 2, 5\)"),
        (np.ones((0, 2, 4)), "at least one step and sample"),
        (np.ones((3, 0, 4)), "at least one step and sample"),
        (np.full((3, 2, 4), 4.0), r"at most 3\.0 in size, found 4\.0"),
        (np.full((3, 2, 4), 0.5), r"multiples of 1\.0"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        NETWORKS["dense"].run(frames)


@pytest.mark.parametrize("size", [3, 5, 6, 1])
def test_images_of_another_size_are_refused(size):
    network = NETWORKS["conv"]
    if size == 5:
        # A row and a column that no pool takes are cut off.
        assert network.run(np.ones((3, 1, 5, 5, 2))).units.any()
        return
    with pytest.raises(ValueError, match=r"'readout' takes 16 inputs, found .* as large as"):
        network.run(np.ones((3, 1, size, size, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "a name, found ''"),
        ({"weight_bits": 1}, "'hidden_0'.*weight_bits to be a whole number of 2 to 24"),
        ({"weight_bits": 4.0}, "weight_bits: expected a whole number"),
        ({"weight_bits": 12}, "weights: expected int32 of shape"),
        ({"weight_bits": 2}, "weights: expected -2 to 1"),
        ({"weights": np.zeros((4, 0), np.int8)}, "weights: expected .K, N."),
        ({"recurrent": np.zeros((6, 5), np.int8)}, r"recurrent: expected int8 of shape \(6, 6\)"),
        ({"start": None}, "start: expected int32"),
        ({"decay": None}, "decay and decay_bits"),
        ({"decay_bits": 2}, "decay: expected 0 to 3"),
        ({"state_bits": 23}, "state_bits: a membrane of 23 bits"),
        ({"threshold": None}, "threshold and reset_to"),
        ({"threshold": np.zeros(6, np.int32)}, "threshold: expected 1 to"),
        ({"threshold": None, "reset_to": None}, "threshold: a layer that feeds back"),
        ({"pool": 2}, "pool: a dense layer"),
        ({"reset": "hard"}, "reset to be one of"),
        ({"strict": 1}, "strict to be True or False"),
        ({"state_exponent": 61}, "state_exponent to be a whole number of -60 to 60"),
    ],
)
def test_a_layer_that_contradicts_itself(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(NETWORKS["dense"].layers[0], **change)


def changed_layer(number, **change):
    layers = list(NETWORKS["dense"].layers)
    layers[number] = dataclasses.replace(layers[number], **change)
    return {"layers": tuple(layers)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readout": "Mean"}, "'Mean' is no sum"),
        ({"readout": "SpikeCount"}, "threshold: SpikeCount"),
        ({"layers": ()}, "layers: expected at least one"),
        ({"layers": NETWORKS["dense"].layers[:2][::-1]}, "'hidden_0': weights: expected to take"),
        ({"layers": NETWORKS["dense"].layers[:1] * 2}, "names of their own"),
        ({"input_exponent": 0.0}, "input_exponent"),
        ({"constant": 1}, "constant to be True or False"),
        ({"largest_input": 2**22}, "hidden_0: sums of up to"),
        # A shift of 64 bits and more made such a sum zero.
        (changed_layer(1, weight_exponent=60), r"hidden_1: sums of up to \d{15,} units leave"),
    ],
)
def test_layers_that_do_not_make_a_network(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(NETWORKS["dense"], **change)
