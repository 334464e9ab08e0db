"""Running the table of README: which runs, by which command, and what is kept of them."""

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from experiments import build, reproduce, table, train
from experiments.config import parse
from experiments.recipes import RECIPES
from experiments.reproduce import CASES, Case, Flags, command, folds, seeds, select, words
from jsnn.data.sets import fsdd

RUNS = [(case, name) for case in CASES for name in case.runs]


@pytest.mark.parametrize(("case", "name"), RUNS, ids=lambda x: getattr(x, "name", x))
def test_every_run_is_a_command_of_train(case, name):
    flags = parse(train.Flags, words(case, name))
    assert flags == {**case.flags, **case.runs[name]}
    config = train.Config(**{**RECIPES.get(case.flags["dataset"], {}), **flags})
    build.check_names(config)
    build.data_options(config)
    assert config.data_dir is None


def test_names_tell_cases_and_runs_apart():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    commands = [command(case, name) for case, name in RUNS]
    assert len(set(commands)) == len(commands), "two runs do the same"


def test_a_baseline_differs_in_the_energy_weight_alone():
    cases = {case.name: case for case in CASES}
    for name, baseline in reproduce.BASELINES.items():
        case, other = cases[name], cases[baseline]
        assert other.flags["energy_weight"] == 0
        same = {k: v for k, v in other.flags.items() if k != "energy_weight"}
        assert {k: v for k, v in case.flags.items() if k != "energy_weight"} == same
        assert case.flags.get("energy_weight", 1) > 0
        assert case.runs == other.runs


def test_speakers_are_those_of_the_data():
    assert reproduce.SPEAKERS == fsdd.SPEAKERS


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        ("", ["a-10", "a-100", "b", "b-x"]),
        ("a", ["a-10", "a-100"]),
        ("a-10", ["a-10"]),
        ("b-x,a-100", ["a-100", "b-x"]),
        ("b", ["b", "b-x"]),
    ],
)
def test_select(only, chosen):
    cases = [Case(name, {}, seeds(0)) for name in ("a-10", "a-100", "b", "b-x")]
    assert [case.name for case in select(cases, only)] == chosen


def test_unknown_case_lists_the_cases():
    with pytest.raises(ValueError, match=r"no case \['digit'\]; there are \['digits-neuro"):
        select(CASES, "digit,digits")


@dataclasses.dataclass
class Pretence:
    """Stands where `subprocess.run` stands; runs with seed 1 fail."""

    calls: list = dataclasses.field(default_factory=list)
    notes: str = "fine"

    def __call__(self, line, **options):
        self.calls.append((line, options, os.sched_getaffinity(0)))
        if self.seed(line) == "1":
            return subprocess.CompletedProcess(line, 1, "one\nerror: it broke\n")
        folder = Path(line[line.index("--out") + 1])
        folder.mkdir()
        content = {"test_accuracy": 0.5, "total_pj": 1e3, "data_notes": self.notes}
        (folder / "result.json").write_text(json.dumps(content))
        return subprocess.CompletedProcess(line, 0, "")

    @staticmethod
    def seed(line):
        return line[line.index("--seed") + 1]

    def seeds_run(self):
        """Seeds of the calls since the last time."""
        seeds = [self.seed(line) for line, *_ in self.calls]
        self.calls.clear()
        return seeds


@pytest.fixture
def pretence(monkeypatch):
    monkeypatch.setattr(reproduce, "CASES", (Case("toy", {"limit": 5}, seeds(0, 1, 2)),))
    pretence = Pretence()
    monkeypatch.setattr(reproduce.subprocess, "run", pretence)
    return pretence


def test_runs_are_kept_skipped_and_reported(pretence, tmp_path, capsys):
    flags = Flags(out=str(tmp_path / "results"), workers=1, data_dir=str(tmp_path))
    assert reproduce.main(flags) == ["toy/1: exit status 1\none\nerror: it broke"]
    kept = sorted(path.name for path in (tmp_path / "results" / "toy").iterdir())
    assert kept == ["0.json", "2.json"]
    assert "3 runs, 0 of them done before" in capsys.readouterr().out
    for _, options, affinity in pretence.calls:
        assert len(affinity) == 1
        assert options["env"]["JSNN_DATA"] == str(tmp_path)
        assert "intra_op_parallelism_threads=1" in options["env"]["XLA_FLAGS"]
    assert pretence.seeds_run() == ["0", "1", "2"]
    # Only what failed is run again, and what was run with other flags.
    reproduce.main(flags)
    assert pretence.seeds_run() == ["1"]
    reproduce.CASES[0].flags["limit"] = 6
    reproduce.main(dataclasses.replace(flags, seeds=(2,)))
    assert pretence.seeds_run() == ["2"]
    assert "--limit 6" in json.loads((tmp_path / "results/toy/2.json").read_text())["command"]


def test_paths_of_the_machine_are_not_kept(pretence, tmp_path):
    data = tmp_path / "data"
    pretence.notes = f"read from {data}"
    flags = Flags(out=str(tmp_path / "results"), workers=1, data_dir=str(data), seeds=(0,))
    (failure,) = reproduce.main(flags)
    assert re.match(r"toy/0: its result names folders of this machine: \['.*data'\]", failure)
    assert not (tmp_path / "results").exists()


def test_bad_flags_are_errors(pretence, tmp_path):
    out = str(tmp_path)
    with pytest.raises(ValueError, match=r"no run of these cases has a seed of \[7\]"):
        reproduce.main(Flags(out=out, workers=1, seeds=(7,)))
    with pytest.raises(ValueError, match=r"--workers must be at most \d+, the cores; got 4096"):
        reproduce.main(Flags(out=out, workers=4096))
    with pytest.raises(ValueError, match="--workers must be at least 1, got 0"):
        Flags(workers=0)


def test_a_run_end_to_end(compiled, tiny_flags, tmp_path, monkeypatch):
    for name, value in compiled.items():
        monkeypatch.setenv(name, value)
    tiny = {**parse(train.Flags, tiny_flags), "dataset": "digits", "epochs": 2}
    monkeypatch.setattr(reproduce, "CASES", (Case("tiny", tiny, folds(5)),))
    monkeypatch.setenv("JSNN_DATA", str(tmp_path))
    assert not reproduce.main(Flags(out=str(tmp_path / "results"), workers=1, seeds=(3,)))
    result = json.loads((tmp_path / "results/tiny/3.json").read_text())
    line = result["command"].split()
    assert line[:3] == ["python", "-m", "experiments.train"]
    config = train.Config(**RECIPES["digits"] | parse(train.Flags, line[3:]))
    assert result["config"] == json.loads(json.dumps(dataclasses.asdict(config)))
    assert (config.fold, config.folds, config.seed) == (3, 5, 3)
    assert str(tmp_path) not in json.dumps(result)
    # What a run writes is what the table reads.
    actual = table.load(tmp_path / "results", reproduce.CASES)
    row = next(r for r in table.render(actual, {}, {}).splitlines() if r.startswith("| tiny |"))
    assert row.startswith(
        f"| tiny | mlp 64-8-10 lif | 2 | 1 | {100 * result['test_accuracy']:.2f} % |"
    )
