"""The campaign of mutations: what it draws from and what it makes of the tests' answers."""

import sys

import pytest

from experiments.mutations import (
    AREAS,
    OPERATORS,
    ROOT,
    Flags,
    annotations,
    files_of,
    known_rows,
    run_tests,
    summary,
)
from jsnn.train.json_files import keep


@pytest.mark.parametrize("area", AREAS)
def test_every_area_has_modules_and_tests(area):
    modules = list(ROOT.glob(AREAS[area][0]))
    assert modules
    files = files_of(area, modules[0].relative_to(ROOT).as_posix())
    assert all((ROOT / file).is_file() for file in files), files


def test_only_changes_that_keep_their_types_are_drawn():
    taken = ("NumberReplacer", "ReplaceBinaryOperator_Add_Sub", "ReplaceComparisonOperator_Lt_LtE")
    left = (
        "ReplaceBinaryOperator_Add_BitOr",
        "ReplaceComparisonOperator_Eq_Is",
        "VariableReplacer",
    )
    assert all(OPERATORS.fullmatch(f"core/{name}") for name in taken)
    assert not any(OPERATORS.fullmatch(f"core/{name}") for name in left)


def test_annotations_are_found_wherever_they_stand():
    source = "x: int | None = 1\n\ndef f(a: 'A', *b: int) -> str | None:\n    return a | b\n"
    lines = source.splitlines()
    result = {lines[begin[0] - 1][begin[1] : end[1]] for begin, end in annotations(source)}
    assert result == {"int | None", "'A'", "int", "str | None"}


@pytest.mark.parametrize(
    ("body", "seconds", "expected"),
    [
        ("assert True", 60, {"outcome": "survived"}),
        ("assert False", 60, {"outcome": "killed", "by": "test_it.py::test_it"}),
        ("import time; time.sleep(600)", 0.1, {"outcome": "timeout"}),
    ],
)
def test_an_answer_of_the_tests_is_read(tmp_path, body, seconds, expected):
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    report = run_tests(tmp_path, sys.executable, ["test_it.py"], seconds)
    assert report.pop("seconds") >= 0
    assert report == expected


def test_equivalent_mutations_are_left_out_of_the_share():
    rows = [{"outcome": outcome} for outcome in ("killed", "killed", "timeout", "survived")]
    rows.append({"outcome": "survived", "equivalent": "the sum of nothing"})
    assert summary(rows)["noticed"] == 0.75
    assert summary([])["noticed"] is None


def test_a_list_is_gone_on_with_and_what_survived_is_repeated(tmp_path):
    file = tmp_path / "list.json"
    assert known_rows(file, Flags()) == {}
    names = ("noticed", "missed", "same")
    rows = [
        {"file": name, "operator": "o", "diff": [], "outcome": "survived", "seconds": 1}
        for name in names
    ]
    rows[0]["outcome"] = "killed"
    rows[2]["equivalent"] = "no difference"
    keep(file, {"seed": 0, "areas": list(AREAS), "mutations": rows})
    assert [*known_rows(file, Flags()).values()] == rows
    again = known_rows(file, Flags(again=True))
    assert [row["file"] for row in again.values()] == ["noticed", "same"]
    with pytest.raises(ValueError, match="mutations of seed 0, asked for is 1"):
        known_rows(file, Flags(seed=1))
    with pytest.raises(ValueError, match=r"no area \['layers'\]"):
        Flags(areas=("layers",))
