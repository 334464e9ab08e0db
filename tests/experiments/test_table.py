"""README's table: its arithmetic on results made by hand, and that it is the one of the results."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments import table, train
from experiments.config import parse
from experiments.recipes import RECIPES
from experiments.reproduce import CASES, Case, command, result_file, seeds

ROOT = Path(table.__file__).parents[1]
STORED = table.load(ROOT / table.RESULTS)


def made(accuracy, total_pj, spike_independent_pj, *, rounded=None, hardware="machine-a", **more):
    """A result with the entries that the table reads, of a network of one hidden layer."""
    return {
        "config": {
            "dataset": "toy",
            "model": "mlp",
            "widths": [8, 4],
            "hidden": 0,
            "neuron": "lif",
            "hardware": hardware,
        },
        "network": "mlp 8-4, lif",
        "test_accuracy": accuracy,
        "test_accuracy_at_weight_bits": {"weight_bits": 8, "accuracy": rounded or accuracy},
        "total_pj": total_pj,
        "spike_independent_pj": spike_independent_pj,
        "spike_dependent_pj": total_pj - spike_independent_pj,
        "energy_ratio": total_pj / 10_000,
        "op_count_pj": total_pj / 2,
        "layers": ["one", "two", "readout"],
        "silent_layers": {"one": {}, "two": {}},
        "spike_rates": [0.1, 0.25, 0.0],
        "steps": 6,
        "seconds": 40.0,
        "constants": ["DERIVED", "SECONDARY"],
        "unpriced": {"static": "nothing published"},
        "data_notes": "Split by hand.",
        "versions": {"jsnn": "0.0.1", "jax": "0.1"},
        "device": "cpu",
        **more,
    }


RESULTS = {
    "toy-w0": {
        "0": made(0.98, 60_000.0, 10_000.0),
        "1": made(0.96, 50_000.0, 10_000.0),
        "2": made(0.97, 99_000.0, 10_000.0),
    },
    "toy-energy": {
        "0": made(0.97, 12_000.0, 10_000.0, rounded=0.95, seconds=50.0),
        "1": made(0.97, 20_000.0, 10_000.0, rounded=0.93, spike_rates=[0.2, 0.05, 0.0]),
    },
    "alone": {"0": made(0.5, 4.0, 1.0, hardware="machine-b", silent_layers={})},
}
BASELINES = {"toy-energy": "toy-w0"}


def cells(text):
    """`{case: {column: cell}}` of all tables in the text."""
    result, header = {}, None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = row
        elif set(row) != {"---"}:
            assert len(row) == len(header)
            result.setdefault(row[0], {}).update(zip(header, row, strict=True))
    return result


def test_means_and_spreads():
    rows = cells(table.render(RESULTS, BASELINES, {}))
    assert list(rows) == list(RESULTS)
    # Sample deviations: of 98, 96, 97 it is 1; of 12, 20 it is sqrt(32); of 95, 93 sqrt(2).
    assert (
        rows["toy-w0"]
        | {
            "test accuracy": "97.00 ± 1.00 %",
            "runs": "3",
            "energy estimate": "69.7 ± 25.9 nJ",
            "spike-independent": "10 nJ",
            "spike-dependent": "59.7 nJ",
            "less in total": "–",
            "spike-dependent gone": "–",
            "accuracy loss, points": "–",
            "energy ratio": "6.97 ± 2.59",
        }
        == rows["toy-w0"]
    )
    assert (
        rows["toy-energy"]
        | {
            "network": "mlp 8-4, lif",
            "machine": "machine-a",
            "T": "6",
            "test accuracy": "97.00 ± 0.00 %",
            "weights at the machine's bits": "94.00 ± 1.41 % (8)",
            "spikes per neuron and step": "0.150, 0.150",
            "seconds": "45",
            "energy estimate": "16.0 ± 5.7 nJ",
            "spike-dependent": "6,000 pJ",
            "operation count": "8,000 pJ",
        }
        == rows["toy-energy"]
    )
    assert (
        rows["alone"]
        | {
            "test accuracy": "50.00 %",
            "spikes per neuron and step": "–",
            "energy estimate": "4.0 pJ",
        }
        == rows["alone"]
    )


def test_reductions_are_paired_by_seed():
    row = cells(table.render(RESULTS, BASELINES, {}))["toy-energy"]
    # 60 / 12 and 50 / 20; 1 - 2 / 50 and 1 - 10 / 40; 98 - 97 and 96 - 97. Seed 2 has no partner.
    assert row["less in total"] == "3.8 ± 1.8x"
    assert row["spike-dependent gone"] == "85.5 ± 14.8 %"
    assert row["accuracy loss, points"] == "0.00 ± 1.41"


def test_runs_without_a_partner_are_not_counted_in():
    results = {**RESULTS, "toy-w0": {"1": RESULTS["toy-w0"]["1"]}}
    row = cells(table.render(results, BASELINES, {}))["toy-energy"]
    assert row["runs"] == "2"
    assert row["less in total"] == "2.5x (n = 1)"
    del results["toy-w0"]
    assert cells(table.render(results, BASELINES, {}))["toy-energy"]["less in total"] == "–"


def test_a_pair_is_of_one_machine():
    other = {"0": made(0.9, 5.0, 1.0, hardware="machine-b")}
    with pytest.raises(ValueError, match=r"one machine, found \['machine-a', 'machine-b'\]"):
        table.render({**RESULTS, "toy-w0": other}, BASELINES, {})


def test_full_precision_machines_round_nothing():
    run = made(0.5, 4.0, 1.0)
    run["test_accuracy_at_weight_bits"] = {"weight_bits": 32, "accuracy": 0.5}
    row = cells(table.render({"alone": {"0": run}}, {}, {}))["alone"]
    assert row["weights at the machine's bits"] == "–"


def test_caption():
    folds = {"0": made(0.5, 4.0, 1.0, data_notes="Fold 0."), "1": made(0.5, 4.0, 1.0)}
    text = table.render({**RESULTS, "folds": folds}, BASELINES, {"folds": "cross-validated"})
    assert "- machine-a: DERIVED, SECONDARY constants; unpriced: static.\n" in text
    assert "- machine-b: DERIVED, SECONDARY constants; unpriced: static.\n" in text
    assert "- folds: cross-validated.\n" in text
    assert text.count("- toy: Split by hand.\n") == 1
    assert "Fold 0" not in text
    assert "(cpu), made with jsnn 0.0.1 and jax 0.1;" in text


def test_place_keeps_what_is_around_the_markers():
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.place(text, "new") == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    assert table.place(table.place(text, "new"), "new") == table.place(text, "new")


@pytest.mark.parametrize(
    "text",
    [
        "",
        table.BEGIN,
        f"{table.END}{table.BEGIN}",
        f"{table.END}{table.BEGIN}{table.END}",
        f"{table.BEGIN}{table.BEGIN}{table.END}",
        f"{table.BEGIN}{table.END}{table.END}",
    ],
)
def test_markers_come_in_one_pair(text):
    with pytest.raises(ValueError, match="expected one <!-- results:begin -->"):
        table.place(text, "new")


def test_results_are_read_case_by_case(tmp_path):
    cases = (Case("first", {}, seeds(0, 1)), Case("second", {}, seeds(0)))
    assert table.load(tmp_path, cases) == {}
    file = result_file(cases[0], "1", tmp_path)
    file.parent.mkdir()
    file.write_text('{"seconds": 1.0}')
    (file.parent / "7.json").write_text("{}")  # of a seed that the case no longer has
    assert table.load(tmp_path, cases) == {"first": {"1": {"seconds": 1.0}}}


def test_without_results_the_table_says_so(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{table.BEGIN}{table.END}")
    page = tmp_path / "front.md"
    page.write_text(readme.read_text())
    flags = table.Flags(str(tmp_path / "none"), str(readme), str(page), write=True)
    assert table.main(flags) == table.NONE_YET
    assert table.NONE_YET in readme.read_text() and table.NONE_YET in page.read_text()


def test_readme_holds_the_table_of_the_results():
    readme = ROOT / "experiments/README.md"
    now = table.main(table.Flags(results=str(ROOT / table.RESULTS)))
    assert readme.read_text() == table.place(readme.read_text(), now), (
        "the table is not that of the results: run `python -m experiments.table --write`"
    )
    page = (ROOT / "README.md").read_text()
    assert page == table.place(page, table.render_first_page(table.load(ROOT / table.RESULTS)))


# Scales of constants were absolute then, and are relative now.
CHANGED = {"0.1.0.dev0": {"time_constant_scale", "frequency_scale", "threshold_scale"}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_stored_results_are_of_the_commands_as_they_are_now(case):
    for name, result in STORED.get(case.name, {}).items():
        assert result["command"] == command(case, name)
        flags = parse(train.Flags, result["command"].split()[3:])
        recipe = RECIPES.get(case.flags["dataset"], {})
        config = json.loads(json.dumps(dataclasses.asdict(train.Config(**{**recipe, **flags}))))
        # Design parameters that came later are not in it, and some meant something else before.
        changed = CHANGED.get(result["versions"]["jsnn"], set())
        kept = {k: v for k, v in result["config"].items() if k not in changed}
        assert {k: config[k] for k in kept} == kept
