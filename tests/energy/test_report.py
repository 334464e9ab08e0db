"""Reports: their numbers against the energies, their text, batteries, and the command."""

import dataclasses
import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from experiments import energy_report
from jsnn.energy import estimate_energy, op_count_proxy, spike_independent_energy
from jsnn.energy.qnn import estimate_qnn_energy
from jsnn.energy.report import battery_life_s, compare, report
from jsnn.hardware import get
from jsnn.train.run_folder import RunFolder
from jsnn.viz import plots
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

MACHINES = ("compute-only-45nm", "hierarchy-45nm", "neuromorphic-22nm")


def network(rate=0.1):
    hidden = dense(40, 30, steps=4, rate=[rate, 3 * rate], name="hidden", multiplies=1)
    out = dense(30, 5, steps=4, rate=[0.2, 0.05], spiking=False, name="out")
    return Workload((hidden, out))


@pytest.fixture(scope="module")
def reports():
    return {one.hardware: one for one in compare(network(), map(get, MACHINES), draws=50).reports}


@pytest.mark.parametrize("name", MACHINES)
def test_a_report_holds_the_means_of_the_energies(reports, name):
    one, machine, workload = reports[name], get(name), network()
    whole, other = estimate_energy(workload, machine), estimate_qnn_energy(workload, machine)
    assert one.snn_pj == pytest.approx(float(whole.total_pj().mean()), rel=1e-5)
    assert one.qnn_pj == pytest.approx(float(other.total_pj().mean()), rel=1e-5)
    assert one.ratio == pytest.approx(one.snn_pj / one.qnn_pj)
    assert one.spike_independent_pj == pytest.approx(
        float(spike_independent_energy(workload, machine).total_pj().mean()), rel=1e-5
    )
    assert one.spike_dependent_pj == pytest.approx(one.snn_pj - one.spike_independent_pj)
    assert one.op_count_pj == pytest.approx(float(op_count_proxy(workload).mean()), rel=1e-5)
    by_layer = np.asarray(whole.layers_pj().mean(0) / other.layers_pj().mean(0))
    np.testing.assert_allclose(one.layer_ratios, by_layer, rtol=1e-5)
    assert one.spike_rates == pytest.approx((0.2, 0.0))
    assert (one.samples, one.steps) == (2, 4)


def test_the_verdict_comes_with_its_draws(reports):
    for one in reports.values():
        for what, value in (("snn_pj", one.snn_pj), ("qnn_pj", one.qnn_pj), ("ratio", one.ratio)):
            low, high = one.intervals[what]
            assert low < value < high
        assert 0 <= one.wins <= 1 and one.draws == 50
    assert reports["hierarchy-45nm"].wins == 0


def test_large_counts_are_exact():
    """Beyond 2^24 a float32 no longer counts; 16,777,217 = 97 · 257 · 673."""
    workload = Workload((dense(97 * 257, 673, steps=1, rate=1.0, spiking=False),))
    add = get("compute-only-45nm")
    assert report(workload, add, draws=2).op_count_pj == pytest.approx(16_777_217 * 0.9, abs=1e-3)


def test_text_has_three_numbers_side_by_side_and_what_is_not_known(reports):
    for name, one in reports.items():
        text = str(one)
        line = next(l for l in text.splitlines() if "Operation count" in l)
        count, whole, ratio = line.split(" | ")
        assert count.startswith("Operation count") and whole.startswith("energy estimate")
        assert ratio.startswith("energy ratio to the QNN")
        assert all(provenance in text for provenance in one.snn.provenances)
        assert all(reason in text for _, reason in one.snn.unpriced)
        assert ("it loses" if one.ratio > 1 else "it wins") in text
        assert f"costs less in {one.wins:.1%}" in text
        shown = "targets_per_message = 1" if "neuromorphic" in name else "no targets_per_message"
        assert shown in text
        assert all(layer in text for layer in ("hidden", "out"))
    assert reports["neuromorphic-22nm"].targets_per_message == 1
    assert reports["hierarchy-45nm"].targets_per_message is None


def test_targets_a_message_serves_are_those_of_the_machine():
    one = report(network(), get("neuromorphic-22nm").with_design(targets_per_message=16), draws=2)
    assert one.targets_per_message == one.to_json()["targets_per_message"] == 16
    assert "targets_per_message = 16" in str(one)


def test_json_says_what_the_report_says(reports):
    for one in reports.values():
        content = json.loads(json.dumps(one.to_json(), allow_nan=False))
        assert content["energy_pj"] == one.snn_pj
        assert content["energy_ratio"] == one.ratio
        assert content["probability_snn_wins"] == one.wins
        assert content["unpriced"] == dict(one.snn.unpriced)
        layers = content["layers"]
        assert [l["layer"] for l in layers] == ["hidden", "out"]
        assert sum(l["energy_pj"] for l in layers) == pytest.approx(one.snn_pj)
        parts = sum(sum(l["qnn_parts_pj"].values()) for l in layers)
        assert parts == pytest.approx(one.qnn_pj)
        named = {s["name"] for s in content["sensitivities"]}
        machine = get(one.hardware)
        assert named == {*machine.technology.constants, *machine.design.parameters}


def test_a_network_without_a_spike_has_no_qnn_to_lose_to():
    silent = Workload((dense(10, 5, steps=3, rate=0.0),))
    one = report(silent, get("compute-only-45nm"), draws=2)
    assert one.qnn_pj == 0 < one.snn_pj and one.ratio == math.inf and one.wins == 0
    assert json.loads(json.dumps(one.to_json(), allow_nan=False))["energy_ratio"] is None
    assert "it loses" in str(one)
    still = Workload((dense(10, 5, steps=3, rate=0.0, spiking=False),))
    nothing = report(still, get("compute-only-45nm"), draws=2)
    assert math.isnan(nothing.ratio) and "neither costs anything" in str(nothing)
    with pytest.raises(ValueError, match="finite ratios"):
        plots.ratios([one])


def test_equal_costs_are_a_draw():
    constant = Workload((dense(10, 5, steps=1, rate=1.0, input_kind="constant", spiking=False),))
    one = report(constant, get("compute-only-45nm"), draws=2)
    assert one.qnn_pj > 0
    equal = dataclasses.replace(one, snn=one.qnn)
    assert "it is a draw" in str(equal)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_counts_that_cannot_be_are_refused(value):
    layer = network()["hidden"]
    bad = Workload(
        (
            dataclasses.replace(
                layer, events_by_fan_out=jnp.full_like(layer.events_by_fan_out, value)
            ),
        )
    )
    for ask in (report, lambda w, m: compare(w, [m])):
        with pytest.raises(ValueError, match=r"'hidden'.*(declares|of at least 0)"):
            ask(bad, get("hierarchy-45nm"))


def test_nothing_to_report_on_is_refused():
    machine = get("hierarchy-45nm")
    empty = jax.tree.map(lambda x: x[:0], Workload((dense(4, 3, steps=2, rate=0.5),)))
    for workload, message in ((Workload(()), "at least one layer"), (empty, "at least one sample")):
        with pytest.raises(ValueError, match=message):
            report(workload, machine)
    for machines in ([], [machine, machine]):
        with pytest.raises(ValueError, match="different names"):
            compare(network(), machines)


class Refusing:
    """An architecture that no network fits."""

    name, constants, parameters, unpriced = "refusing", (), (), ()

    def prices(self, technology, design, geometry, temperature=0.0):
        raise ValueError(f"layer {geometry.name!r} does not fit")


def test_a_machine_that_refuses_is_listed_with_the_reason():
    odd = dataclasses.replace(get("compute-only-45nm"), name="odd", architecture=Refusing())
    result = compare(network(), [odd, get("compute-only-45nm")], draws=2)
    assert [one.hardware for one in result.reports] == ["compute-only-45nm"]
    assert result.refused == (("odd", "layer 'hidden' does not fit"),)
    assert "odd: refused, layer 'hidden' does not fit" in str(result)
    assert result.to_json()["refused"] == {"odd": "layer 'hidden' does not fit"}
    with pytest.raises(ValueError, match=r"no machine can run.*odd: layer 'hidden'"):
        compare(network(), [odd])


def test_the_table_has_a_line_for_each_machine(reports):
    result = compare(network(), map(get, MACHINES), draws=2)
    head, *lines = result.table().splitlines()
    assert (
        head.index("operation count") < head.index("energy estimate") < head.index("energy ratio")
    )
    assert "targets/message" in head
    assert [line.split()[0] for line in lines] == list(MACHINES)
    assert lines[2].endswith("1  DERIVED, SECONDARY") and "–" in lines[0]


def test_the_ratio_plot_marks_who_wins(reports, tmp_path):
    shown = list(reports.values())
    (axes,) = plots.ratios(shown, tmp_path / "ratios.png").axes
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([one.ratio for one in shown])
    assert [line.get_marker() for line in points] == [
        "o" if one.ratio < 1 else "s" for one in shown
    ]
    spans = [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2][:-1]
    np.testing.assert_allclose(spans, [one.intervals["ratio"] for one in shown])
    assert "1 target/message" in axes.get_yticklabels()[2].get_text()
    assert imread(tmp_path / "ratios.png").size


def test_a_breakdown_can_name_its_two_energies(reports):
    one = reports["hierarchy-45nm"]
    (axes,) = plots.breakdown(one.snn, one.qnn, names=("spiking", "QNN")).axes
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [
        "whole network  spiking",
        "whole network  QNN",
    ]


# ---- batteries -----------------------------------------------------------------------------------


@given(*[st.floats(1e-3, 1e3)] * 5)
def test_a_battery_gives_what_it_holds(battery, energy, rate, sensor, idle):
    life = battery_life_s(battery, energy, rate, sensor, idle)
    assert life * energy * rate + life * sensor + life * idle == pytest.approx(battery)
    assert battery_life_s(battery, energy, rate) > life


def test_batteries_are_arrays_too():
    lives = battery_life_s(10.0, np.array([1.0, 2.0]), 5.0)
    assert lives.tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"battery_j": 0.0}, "battery_j above 0"),
        ({"battery_j": math.inf}, "battery_j"),
        ({"energy_j": -1.0}, "energy_j of at least 0"),
        ({"rate_hz": math.nan}, "rate_hz"),
        ({"sensor_w": -1e-9}, "sensor_w"),
        ({"idle_w": np.array([0.0, -1.0])}, "idle_w"),
        ({"rate_hz": 0.0, "sensor_w": 0.0, "idle_w": 0.0}, "nothing drains"),
    ],
)
def test_batteries_that_cannot_be_are_refused(change, message):
    given_ = {"battery_j": 1.0, "energy_j": 1e-6, "rate_hz": 1.0, "sensor_w": 0.1, "idle_w": 0.1}
    with pytest.raises(ValueError, match=message):
        battery_life_s(**given_ | change)


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reported(finished, tmp_path_factory):
    """A report on a tiny run, its folder and its JSON."""
    out = tmp_path_factory.mktemp("reported") / "energy"
    words = f"--hardware {','.join(MACHINES)} --draws 2 --battery-j 100 --sensor-w 1e-3 --out {out}"
    result = energy_report.run([str(finished), *words.split()])
    return result, out, json.loads((out / "energy.json").read_text())


def test_the_command_finds_the_figures_of_the_run(finished, reported):
    actual, _, _ = reported
    result = json.loads(RunFolder(finished).result.read_text())
    own = next(one for one in actual.reports if one.hardware == result["config"]["hardware"])
    for mine, theirs in (
        (own.snn_pj, "total_pj"),
        (own.qnn_pj, "qnn_pj"),
        (own.spike_independent_pj, "spike_independent_pj"),
        (own.op_count_pj, "op_count_pj"),
        (own.ratio, "energy_ratio"),
    ):
        assert mine == pytest.approx(result[theirs], rel=1e-5), theirs
    assert own.spike_rates == pytest.approx(result["spike_rates"], rel=1e-5)
    assert list(own.snn.layers) == result["layers"]


def test_the_command_writes_json_and_pictures(reported):
    result, out, content = reported
    assert list(content["machines"]) == list(MACHINES)
    assert content["flags"]["draws"] == 2
    names = {f"{kind}-{name}.png" for kind in ("breakdown", "tornado") for name in MACHINES}
    assert {path.name for path in out.iterdir()} == {"energy.json", "ratios.png", *names}
    for one in result.reports:
        life = content["battery_life_s"][one.hardware]["snn"]
        assert life == pytest.approx(100 / (one.snn_pj * 1e-12 + 1e-3))


def test_the_command_runs_over_the_samples_asked_for(finished, tmp_path, capsys):
    words = f"--split validation --limit 5 --draws 2 --out {tmp_path / 'e'}"
    result = energy_report.run([str(finished), *words.split()])
    (one,) = result.reports
    assert one.samples == 5 and one.hardware == "neuromorphic-22nm"
    printed = capsys.readouterr().out
    assert "5 validation samples" in printed and "WARNING" not in printed
    assert "Operation count" in printed and "targets_per_message = 1" in printed
    assert json.loads((tmp_path / "e/energy.json").read_text())["battery_life_s"] is None


def test_a_run_whose_figures_changed_is_named(finished, tmp_path, capsys):
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    folder = RunFolder(copied)
    result = folder.read(folder.result)
    folder.write(folder.result, {**result, "total_pj": 2 * result["total_pj"]})
    energy_report.run([str(copied), "--draws", "2"])
    assert "WARNING: the run itself found" in capsys.readouterr().out
    assert (copied / "energy/energy.json").exists()


def test_every_machine_is_meant_by_all(finished):
    _, config = energy_report.stored(str(finished))
    assert energy_report.machine_names("all", config, None) == list(
        energy_report.jsnn.hardware.machines()
    )
    assert energy_report.machine_names(None, config, None) == [config.hardware]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run folder first"),
        (["--draws", "2"], "run folder first"),
        (["RUN", "--hardware", "hierarchy-45m"], "hierarchy-45nm"),
        (["RUN", "--hardware", "hierarchy-45nm,hierarchy-45nm"], "different names"),
        (["RUN", "--split", "train"], "--split must be test or validation"),
        (["RUN", "--density", "half"], "--density must be measured or average"),
        (["RUN", "--draws", "0"], "--draws must be at least 1"),
        (["RUN", "--battery-j", "0"], "--battery-j must be greater than 0"),
        (["RUN", "--rate-hz", "nan"], "--rate-hz"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(finished, words, message):
    with pytest.raises(ValueError, match=message):
        energy_report.run([str(finished) if word == "RUN" else word for word in words])


def test_a_folder_that_is_no_run_is_refused(tmp_path, finished):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"holds no config.json"):
            energy_report.run([str(folder)])
    shutil.copy(RunFolder(finished).config, tmp_path / "config.json")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        energy_report.run([str(tmp_path)])
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        energy_report.run([str(tmp_path)])


def test_a_config_of_another_network_is_refused(tmp_path, finished):
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    folder = RunFolder(copied)
    config = json.loads(folder.config.read_text())
    folder.config.write_text(json.dumps(config | {"widths": [9]}))
    with pytest.raises(ValueError, match=r"widths: \[8\] in the checkpoint, \[9\] in config\.json"):
        energy_report.run([str(copied), "--draws", "2"])
    folder.config.write_text(json.dumps(config | {"widht": [9]}))
    with pytest.raises(ValueError, match="widht"):
        energy_report.run([str(copied)])


def test_an_output_folder_that_cannot_be_is_refused(tmp_path, finished):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another --out"):
        energy_report.run([str(finished), "--draws", "2", "--out", str(tmp_path / "file/energy")])


def test_latency_and_energy_delay_where_cycles_are_counted():
    """64 spikes, 2,048 synops and 128 neuron-steps; the QNN reads 32 words of 32 connections."""
    work = Workload((dense(64, 32, steps=4, rate=0.25, active=0.5),))
    result = report(work, get("classical-45nm"), draws=50)
    cycles = {"snn": 64 + 32 + (2048 + 128) / 256, "qnn": (1024 + 32) / 256}
    assert result.latency_s == pytest.approx({name: n / 200e6 for name, n in cycles.items()})
    product = result.snn_pj * 1e-12 * cycles["snn"] / 200e6
    assert result.energy_delay_js["snn"] == pytest.approx(product)
    assert result.to_json()["latency_s"] == result.latency_s
    assert "energy x delay" in str(result)
    other = report(work, get("hierarchy-45nm"), draws=50)
    assert other.latency_s is None and other.energy_delay_js is None
    assert "delay" not in str(other)


def test_the_command_keeps_what_events_save_apart_from_what_memory_saves(
    finished, tmp_path, capsys
):
    words = f"--hardware classical-45nm,spatial-45nm --draws 2 --limit 5 --out {tmp_path / 'e'}"
    result = energy_report.run([str(finished), *words.split()])
    (gain,) = json.loads((tmp_path / "e" / "energy.json").read_text())["gains"]
    assert (gain["far"], gain["near"]) == ("classical-45nm", "spatial-45nm")
    far, near = result.reports
    # Means of quotients of samples, against quotients of means.
    assert gain["by_memory"] == pytest.approx(far.qnn_pj / near.qnn_pj, rel=0.05)
    assert gain["by_events"] == pytest.approx(near.qnn_pj / near.snn_pj, rel=0.05)
    assert "of which local memory gives" in capsys.readouterr().out
