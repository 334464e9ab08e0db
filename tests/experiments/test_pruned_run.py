"""A training run that prunes: what it writes down and what it writes out."""

import json
import math

import jax
import numpy as np
import pytest

from experiments import build, energy_report, pruned, train
from experiments.runconfig import Config
from jsnn.codesign.pruning.compact import Sparse, with_widths
from jsnn.hardware import get
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.run_folder import RunFolder

SMALL = "--limit 64 --epochs 2 --batch 16 --widths 12,8 --prune-rate 300 --no-compile-cache".split()


@pytest.fixture(scope="module", params=["units", "weights"])
def pruned_run(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "run"
    result = train.run([*SMALL, "--prune", request.param, "--out", str(out)])
    assert RunFolder(out).read(out / "result.json") == json.loads(json.dumps(result))
    return request.param, out, result


def test_the_result_holds_both_energies_and_what_is_left(pruned_run):
    kind, _, result = pruned_run
    entry = result["pruned"]
    assert entry["prune"] == kind
    assert result["parameters"] == 64 * 12 + 12 * 8 + 8 * 10 + 30
    np.testing.assert_allclose(entry["test_accuracy"], result["test_accuracy"], atol=0.02)
    if kind == "units":
        # What training was priced for is what the smaller network costs.
        np.testing.assert_allclose(entry["dense_pj"], result["total_pj"], rtol=1e-5)
        (first, _), (second, _) = entry["units"].values()
        assert (first, second) < (12, 8)
        assert entry["weights"] == 64 * first + first * second + second * 10
        # Of those that stay, some may be silent; those that went are not counted.
        counted = [one["neurons"] for one in result["silent_layers"].values()]
        assert counted == [first, second]
    else:
        # What training was priced for is what its lists cost.
        np.testing.assert_allclose(entry["skipping_pj"], result["total_pj"], rtol=1e-5)
        assert entry["skipping_pj"] < entry["dense_pj"]
        assert entry["weights"] < 64 * 12 + 12 * 8 + 8 * 10
        # A byte of value and the address of 12, 8 or 10 targets, whole bytes a tensor.
        sizes = {"hidden_0": (64 * 12, 4), "hidden_1": (12 * 8, 3), "readout": (8 * 10, 4)}
        lists = [
            math.ceil(round(entry["density"][name]["kernel"] * size) * (8 + address) / 8)
            for name, (size, address) in sizes.items()
        ]
        assert entry["weight_bytes_lists"] == sum(lists)
        assert entry["weight_bytes_dense"] == sum(size for size, _ in sizes.values())
    said = "\n".join(pruned.lines(entry))
    assert "every stored weight walked" in said
    assert "zero weights skipped" in said


def test_the_exported_lists_are_within_the_budget(tmp_path):
    words = [*SMALL, "--prune", "weights", "--energy-budget", "5nJ"]
    result = train.run([*words, "--out", str(tmp_path / "run")])
    limit = result["budget"]["limits"]["energy_pj"]
    assert limit["feasible"]["train"]
    np.testing.assert_allclose(result["pruned"]["skipping_pj"], limit["test"], rtol=1e-5)


def test_what_was_written_out_can_be_read(pruned_run):
    kind, out, result = pruned_run
    config = Config(**result["config"] | {"widths": tuple(result["config"]["widths"])})
    data = build.dataset(config)
    model = build.network(config, data, "constant")
    checkpoints = Checkpoints(out / "pruned")
    record = checkpoints.record()
    assert record["prune"] == kind
    if kind == "units":
        small = with_widths(model, tuple(left for left, _ in record["units"].values()))
        like = dict(jax.jit(small.init)(jax.random.key(0), np.zeros((6, 1, 64), np.float32)))
        tree, _ = checkpoints.restore(jax.tree.map(np.zeros_like, like))
        assert sum(leaf.size for leaf in jax.tree.leaves(tree)) < result["parameters"]
    folder = RunFolder.existing(str(out))
    assert folder.rows()


def test_a_report_on_it_says_where_its_energies_are(pruned_run):
    _, out, _ = pruned_run
    with pytest.raises(ValueError, match="was pruned"):
        energy_report.stored(str(out))


def test_weights_on_a_machine_that_walks_every_one_are_refused():
    with pytest.raises(ValueError, match="does not skip weights"):
        pruned.lever("weights", get("sata"))
    with pytest.raises(ValueError, match="--prune must be one of"):
        pruned.lever("layers", get("sata"))
    assert pruned.lever("none", get("sata")) is None
    assert pruned.lines(None) == []


def test_a_machine_without_skipping_says_so():
    entry = {
        "prune": "units",
        "units": {"hidden_0": [1, 4]},
        "held": ["hidden_0"],
        "test_accuracy": 0.5,
        "dense_pj": 1e3,
        "skipping_pj": None,
    }
    assert pruned.lines(entry)[1:] == [
        "  hidden_0: 1 of 4 units",
        "  hidden_0 would be empty: its best element was kept",
        "  every stored weight walked: 1.00 nJ",
        "  zero weights skipped: this machine does not",
    ]


def test_lists_and_the_rest_make_up_the_network():
    tensor = Sparse(np.float32([2.0]), np.array([3]), (2, 2))
    np.testing.assert_array_equal(tensor.dense(), [[0, 0], [0, 2]])
