"""The published figures: those that should be reproduced are, the misses stay misses."""

import dataclasses
import json

import pytest

from experiments import published
from experiments.figures.row import Row


@pytest.fixture(scope="module")
def figures():
    return published.rows()


def test_all_but_the_known_misses_are_within_their_error(figures):
    off = [(r.section, r.what, r.model, r.published) for r in figures if not (r.miss or r.within)]
    assert not off


def test_a_miss_is_one_and_says_why(figures):
    misses = {row.what: row for row in figures if row.miss}
    assert len(misses) == 7 and not any(row.within for row in misses.values())
    first = misses["T = 1, 8-bit weights"]
    assert first.published == 0.297 and first.model == pytest.approx(0.171, abs=5e-4)


def test_no_figure_twice_and_every_section_there(figures):
    assert len({(row.section, row.what) for row in figures}) == len(figures)
    assert {row.section for row in figures} == {
        "operation counts",
        "Spikformer",
        "memory by size",
        "Lemaire et al. 2022",
        "Yin et al.",
        "Panda et al. 2020",
        "2409.08290 break-even",
        "2409.08290 ratios",
        "2409.08290 dense limit",
        "reconstruction R",
        "KerasSpiking",
        "SENECA",
        "TrueNorth",
        "ODIN",
        "Loihi against Atom, LASSO",
        "SATA",
        "SpikeSim",
        "Davidson and Furber 2021",
        "Blouw et al. 2019",
    }


# By an independent evaluation of the closed forms, or as printed by their source.
GOLDEN = {
    ("2409.08290 break-even", "T = 5, 4-bit weights"): (0.057, "EXACT", 0.05715),
    ("2409.08290 break-even", "T = 5, 8-bit weights"): (0.064, "EXACT", 0.06473),
    ("2409.08290 break-even", "T = 2, 8-bit weights"): (0.123, "SECONDARY", 0.12485),
    ("2409.08290 ratios", "VGG16, CIFAR-10, T = 3, rate 0.0549"): (0.987, "SECONDARY", 1.0048),
    ("2409.08290 dense limit", "transformer, T = 15"): (3.762, "SECONDARY", 3.75),
    ("operation counts", "24 MACs"): (110.4, "EXACT", 110.4),
    ("operation counts", "ANN / SNN of PMC10242054, rate applied twice"): (
        273.77,
        "SECONDARY",
        18.39 * 4.6 / (2.51 * 0.9 * 0.1366),
    ),
    ("Spikformer", "camera-ready, 6.82 G SOPs"): (7.734, "EXACT", 4.6 * 0.346816512 + 0.9 * 6.82),
    ("Spikformer", "arXiv v1, 11.09 G SOPs"): (0.854, "EXACT", 0.077 * 11.09),
    ("Lemaire et al. 2022", "conv 3 to 64, 32 x 32, 3 x 3: all"): (58.582, "DERIVED", 58.582),
    ("Panda et al. 2020", "spikes per neuron behind 104.8 x"): (0.305, "DERIVED", 32 / 104.8),
    ("TrueNorth", "one more event"): (2.297, "DERIVED", 2.2966),
    ("ODIN", "power at 75 MHz, 37.5 M events/s"): (477, "SECONDARY", 476.925),
    ("SpikeSim", "cycle, 3 x 3"): (828.4861, "EXACT", 828.4861),
    ("SpikeSim", "cycles of VGG9 in a step"): (3840, "EXACT", 3840),
    ("SATA", "operation pgu"): (0.27216, "EXACT", 0.239 + 2 * 0.00967 + 0.00172 + 2 * 0.00605),
    ("Davidson and Furber 2021", "break-even, spikes per output that is sent"): (
        1.72,
        "SECONDARY",
        12 / 7,
    ),
    ("Blouw et al. 2019", "GPU Quadro K4000 / Loihi, dynamic"): (
        110,
        "EXACT",
        (37.83 - 14.97) / 770.39 / ((0.110 - 0.029) / 296),
    ),
}


@pytest.mark.parametrize("key", GOLDEN, ids=lambda key: key[1])
def test_golden_rows(figures, key):
    row = next(row for row in figures if (row.section, row.what) == key)
    figure, provenance, model = GOLDEN[key]
    assert (row.published, row.provenance) == (pytest.approx(figure), provenance)
    assert row.model == pytest.approx(model, rel=1e-4)


def test_the_fitted_break_even_says_so(figures):
    fitted = [
        r for r in figures if r.section == "2409.08290 break-even" and r.provenance != "DERIVED"
    ]
    assert all("by fit" in row.note or "range" in row.note or row.miss for row in fitted)


def test_table_holds_every_row_with_mark_and_verdict(figures, capsys):
    text = published.render(figures)
    lines = text.splitlines()
    for row in figures:
        (line,) = [x for x in lines if x.startswith(f"{row.what}  ") and row.provenance in x][:1]
        assert row.verdict in line and (row.miss or row.note) in line
    assert "7 known misses" in text and "Not recomputed:" in text
    assert all(what in text and why in text for what, why in published.MISSING)


def test_command_writes_json(figures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(published, "rows", lambda: figures)
    path = tmp_path / "deep" / "figures.json"
    published.main(published.Flags(json=str(path)))
    assert capsys.readouterr().out.startswith("figure")
    saved = json.loads(path.read_text())
    assert len(saved["figures"]) == len(figures)
    first, row = saved["figures"][0], figures[0]
    assert first["model"] == row.model and first["verdict"] == "yes"
    ranges = [f["published"] for f in saved["figures"] if isinstance(f["published"], list)]
    assert [0.12, 0.17] in ranges


def test_a_row_knows_how_far_off_it_is():
    row = Row("s", "w", 2.0, "pJ", "EXACT", 2.1, 0.04)
    assert row.error == pytest.approx(0.05) and not row.within and row.verdict == "NO"
    assert dataclasses.replace(row, allowed=0.06).verdict == "yes"
    assert dataclasses.replace(row, miss="because").verdict == "miss"
    between = dataclasses.replace(row, published=(1.0, 3.0), allowed=0.0)
    assert between.error == 0 and between.within
    assert dataclasses.replace(between, model=3.3).error == pytest.approx(0.1)
    assert dataclasses.replace(between, model=0.5).error == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="expected one of"):
        dataclasses.replace(row, provenance="SURE")
    with pytest.raises(ValueError, match="range"):
        dataclasses.replace(row, published=(3.0, 1.0))
