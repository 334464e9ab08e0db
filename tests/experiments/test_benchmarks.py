"""The benchmarks at tiny sizes: what they compute and report; nothing here looks at a clock."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import measuring, ours, regime_map, table, workloads
from experiments.benchmarks.ceilings import ceilings, fractions
from experiments.benchmarks.contest import Entry, Missing, Worker, compete
from experiments.benchmarks.peers import PEERS
from experiments.table import place


@pytest.mark.parametrize("name", workloads.NAMES)
def test_shapes_weights_and_flops_of_a_workload(name):
    small = workloads.get(name, steps=2, batch=2)
    if name != "onm2048":
        frames, labels = workloads.inputs(small)
        assert frames.shape == (*(() if small.still else (2,)), 2, *small.frame)
        assert labels.shape == (2,) and labels.max() < small.classes
    arrays = workloads.weights(small)
    flops, dense = workloads.flops(small), 0
    if not any(stage.kind == "conv" for stage in small.stages):
        dense = sum(2 * 4 * array.size for array in arrays)
        assert flops["forward"] == dense
    assert flops["forward"] < flops["step"] < 3 * flops["forward"]


def test_flops_of_shd_by_hand():
    layers = 700 * 128, 128 * 128, 128 * 20
    forward = 2 * 100 * 128 * sum(layers)
    result = workloads.flops(workloads.get("shd"))
    assert result == {"forward": forward, "step": 3 * forward - 2 * 100 * 128 * layers[0]}


def test_what_a_workload_has_not_is_refused():
    with pytest.raises(ValueError, match="unknown workload"):
        workloads.get("mnist")
    with pytest.raises(ValueError, match="no \\['width'\\]"):
        workloads.get("conv", width=3)


def small_loss(steps=6):
    """Loss of `shd` in plain NumPy: membrane, threshold, subtraction, leaky mean."""
    workload = workloads.get("shd", steps=steps, batch=4, width=8)
    frames, labels = workloads.inputs(workload)
    spikes = frames
    *hidden, last = workloads.weights(workload)
    for array in hidden:
        membrane, sent = 0.0, []
        for current in spikes @ array:
            membrane = workloads.BETA * membrane + current
            fired = (membrane > workloads.THRESHOLD).astype(np.float32)
            membrane = membrane - workloads.THRESHOLD * fired
            sent.append(fired)
        spikes = np.stack(sent)
    membrane, total = 0.0, 0.0
    for current in spikes @ last:
        membrane = workloads.BETA * membrane + current
        total = total + membrane / steps
    logits = total - np.log(np.exp(total).sum(-1, keepdims=True))
    return workload, -logits[np.arange(4), labels].mean()


@pytest.mark.parametrize(
    "plan", ["scan", "fused", "chunked:4", "fused+chunked:3", "events", "events+chunked:3"]
)
def test_every_plan_computes_the_same(plan):
    workload, wanted = small_loss()
    contestant = ours.make(workload, plan, "cpu")
    first = contestant.calls["step"]()
    assert first == pytest.approx(wanted + ours.ENERGY_WEIGHT, rel=1e-4)
    assert contestant.calls["step"]() != first


def test_events_train_the_network_that_dense_frames_train():
    workload, _ = small_loss()
    losses = {}
    for plan in ("default", "events"):
        calls = ours.make(workload, plan, "cpu").calls
        losses[plan] = [calls["step"]() for _ in range(4)] + [calls["bare"]() for _ in range(4)]
    assert losses["events"] == pytest.approx(losses["default"], rel=1e-5)
    assert len(set(losses["events"])) == 8


@pytest.mark.parametrize("name", ["conv", "onm8", "vgg", "stream"])
def test_what_has_no_events_for_a_dense_layer_says_so(name):
    with pytest.raises(ValueError, match="leave events away"):
        ours.make(workloads.get(name, steps=2, batch=2), "events", "cpu")


def test_ours_computes_the_workload_and_learns_from_it():
    workload, wanted = small_loss()
    contestant = ours.make(workload, "default", "cpu")
    assert contestant.calls["forward"]() == pytest.approx(wanted, rel=1e-5)
    first = contestant.calls["bare"]()
    assert first == pytest.approx(wanted, rel=1e-5)
    assert contestant.calls["bare"]() < first
    # At the start the energy is its own reference: the term adds its weight.
    assert contestant.calls["step"]() == pytest.approx(wanted + ours.ENERGY_WEIGHT, abs=0.02)
    assert contestant.info["step_temporaries_mb"] >= 0
    with pytest.raises(ValueError, match="unknown plan"):
        ours.make(workload, "fastest", "cpu")


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_computes_the_workload(peer):
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed in this interpreter")
    workload, wanted = small_loss()
    library = importlib.import_module(f"experiments.benchmarks.peers.{peer}")
    result = library.make(workload, "", "cpu").calls["forward"]()
    # Some reset at another moment: see their files.
    assert result == pytest.approx(wanted, rel=0.1)


def test_a_contest_of_one_reports_everything_and_says_who_is_missing(tmp_path):
    sizes = {"steps": 3, "batch": 2, "width": 4}
    nobody = Entry("norse", python=str(tmp_path / "python"))
    result = compete([Entry("jsnn", "default"), nobody], "shd", 1, sizes=sizes)
    assert set(result["missing"]) == {"norse"} and "No such file" in result["missing"]["norse"]
    (figures,) = result["contestants"].values()
    for call in ("step", "forward"):
        assert figures[call]["seconds"]["min"] > 0
        assert figures[call]["over_reference"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert figures["energy_term"]["median"] > 0
    assert figures["memory"]["peak_mb"] > 0
    assert {"step_compile_s", "step_temporaries_mb"} <= set(figures["info"])


def test_a_worker_that_fails_says_why():
    with pytest.raises(Missing, match="unknown plan"):
        Worker(Entry("jsnn", "fastest"), "shd", {"steps": 1, "batch": 1})


def test_the_command_line():
    words = ["--workload", "shd,onm8", "--rounds", "2", "--peers", "--peer-python", "norse=/x/y"]
    given = command.flags(words)
    assert given.workload == ("shd", "onm8")
    result = command.entries(given, "shd")
    assert result[0].label == "jsnn:default"
    pythons = {entry.library: entry.python for entry in result[1:]}
    assert pythons["norse"] == "/x/y" and pythons["spyx"] == sys.executable
    assert "snntorch:compile" not in [entry.label for entry in command.entries(given, "stream")]
    assert [entry.keeps_memory for entry in result] == [True] + [False] * (len(result) - 1)
    kept = command.entries(command.flags(["--peers", "norse", "--peer-keep-memory"]), "shd")
    assert [entry.keeps_memory for entry in kept] == [True, True]
    assert not command.entries(command.flags(["--no-keep-memory"]), "shd")[0].keeps_memory
    some = command.entries(command.flags(["--peers", "spyx,snntorch:compile"]), "shd")
    assert [entry.label for entry in some[1:]] == ["spyx", "snntorch:compile"]
    for wrong in (
        ["--peers", "keras"],
        ["--workload", "mnist"],
        ["--rounds", "0"],
        ["--peer-python", "keras=/x"],
    ):
        with pytest.raises(SystemExit):
            command.flags(wrong)


def test_another_checkout_is_compared_with(tmp_path, capsys):
    worker = tmp_path / "experiments/benchmarks/worker.py"
    worker.parent.mkdir(parents=True)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    # Neither a plain folder nor a repository without a commit.
    for words in ([], ["init", "-q"]):
        if words:
            subprocess.run([*git, *words], check=True)
        with pytest.raises(SystemExit):
            command.flags(["--against", str(tmp_path)])
        assert "no git checkout" in capsys.readouterr().err
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "."], check=True)
    with pytest.raises(SystemExit):
        command.flags(["--against", str(tmp_path)])
    assert "has no experiments/benchmarks" in capsys.readouterr().err
    worker.touch()
    given = command.flags(["--against", str(tmp_path), "--plans", "scan,fused"])
    result = command.entries(given, "shd")
    version = given.against[1]
    assert [entry.label for entry in result] == [
        f"jsnn {version}:scan",
        f"jsnn {version}:fused",
        "jsnn:scan",
        "jsnn:fused",
    ]
    assert [entry.root == tmp_path for entry in result] == [True, True, False, False]


def test_main_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    small = {"gemm_flop_per_s": 1e9, "triad_byte_per_s": 1e9}
    monkeypatch.setattr(command, "ceilings", lambda: small)
    out = tmp_path / "benchmarks.json"
    command.main(command.flags(["--workload", "stream", "--rounds", "1", "--json", str(out)]))
    result = json.loads(out.read_text())
    assert result["ceilings"] == small and result["machine"]["cores"] >= 1
    assert "stream" in result["workloads"]["stream"]["contestants"]["jsnn:default"]
    assert str(tmp_path) not in out.read_text()
    assert "us" in capsys.readouterr().out


def test_ceilings_and_fractions():
    top = ceilings(side=64, words=1024, rounds=1)
    assert min(top.values()) > 0
    workload = workloads.get("onm4", steps=2, batch=1)
    top = {"gemm_flop_per_s": 32.0, "triad_byte_per_s": 1e9}
    result = fractions(workload, "forward", 4.0, top)
    assert result == {"flops": 64.0, "of_gemm": 0.5, "of_roofline": 0.5}


def test_spreads_and_ratios_are_those_of_each_round():
    rows = measuring.in_turns({"a": iter([2.0, 6.0]).__next__, "b": lambda: 2.0}, 2)
    assert measuring.ratio(rows, "a", "b") == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_maps_of_design_points_are_timed(tmp_path):
    out = tmp_path / "map.json"
    result = regime_map.main(regime_map.Config(side=3, rounds=1, out=str(out)))
    assert result["points"] == 9
    assert set(json.loads(out.read_text())["machines"]) == set(regime_map.MACHINES)


def test_readme_holds_the_table_of_times():
    readme = (table.ROOT / "experiments/benchmarks/README.md").read_text()
    now = table.main(table.Flags(json=str(table.ROOT / table.Flags().json)))
    assert readme == place(readme, now, table.BEGIN, table.END), (
        "these times are not the stored ones: run `python -m experiments.benchmarks.table --write`"
    )


def test_a_table_of_times_says_who_is_faster():
    def one(seconds, ratio, **more):
        times = {"seconds": {"median": seconds}, "over_reference": {"median": ratio}}
        return {"forward": times} | more

    contestants = {
        "jsnn:default": one(0.002, 1.0, keeps_memory=True)
        | {"step": one(0.5, 1.0)["forward"], "energy_term": {"median": 1.0251}},
        "other": one(0.001, 0.5, info={"versions": {"other": "1.2"}}),
    }
    result = {
        "command": "benchmark",
        "rounds": 3,
        "machine": {"cores": 2, "processor": "one", "versions": {"jsnn": "0.0.1", "jax": "0"}},
        "workloads": {"tiny": {"contestants": contestants}},
    }
    header, _, step, forward, _, caption = table.render(result).splitlines()
    assert header == "| workload | what | jsnn | of it the energy | other |"
    assert step == "| tiny | training step | 500.0 ms | +2.5 % | – |"
    assert forward == "| tiny | forward pass | 2.0 ms | – | 0.50x |"
    assert "other 1.2" in caption and "kept by jsnn:default" in caption
