"""The training experiment: command line, files of a run, their numbers, compilations."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from PIL import Image

from experiments import build, train
from experiments.config import check, option, parse
from experiments.recipes import RECIPES
from jsnn.data import ENCODERS, Dataset
from jsnn.export.integer import IntegerNetwork
from jsnn.neurons import NEURONS
from jsnn.readouts import READOUTS
from jsnn.surrogate import SURROGATES
from jsnn.train import program
from jsnn.train.run_folder import RunFolder

ROOT = Path(train.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Toy:
    """One field of each type."""

    name: str = option("a", "a name")
    width: int = option(3, "an integer", least=1)
    rate_scale: float = option(0.5, "a number", above=0, below=1)
    widths: tuple[int, ...] = option((4, 5), "integers")
    limit: int | None = option(None, "an integer or none", least=2)
    pair: tuple[int, ...] | None = option((1, 2), "integers or none")
    norm: bool = option(False, "a switch")


def test_flags_are_read_by_type():
    words = "--name b --width 7 --rate-scale 1e-3 --widths 8,9,10 --limit 4 --pair none --norm"
    assert parse(Toy, words.split()) == {
        "name": "b",
        "width": 7,
        "rate_scale": 1e-3,
        "widths": (8, 9, 10),
        "limit": 4,
        "pair": None,
        "norm": True,
    }


def test_only_given_flags_are_returned():
    assert parse(Toy, []) == {}
    assert parse(Toy, ["--no-norm", "--limit", "none"]) == {"norm": False, "limit": None}
    assert parse(Toy, ["--pair", "6"]) == {"pair": (6,)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--widht", "3"], "unrecognized arguments: --widht 3"),
        (["--rate", "3"], "unrecognized arguments: --rate 3"),  # no abbreviation
        (["--rate_scale", "3"], "unrecognized arguments: --rate_scale 3"),
        (["stray"], "unrecognized arguments: stray"),
        (["--width", "x"], "argument --width: invalid int value: 'x'"),
        (["--width", "none"], "argument --width: invalid int value: 'none'"),
        (["--width", "1.5"], "argument --width: invalid int value: '1.5'"),
        (["--width"], "argument --width: expected one argument"),
        (["--limit", "x"], "argument --limit: invalid int value: 'x'"),
        (["--widths", "8,x"], "argument --widths: invalid numbers a,b,c value: '8,x'"),
        (["--norm=yes"], "argument --norm/--no-norm: ignored explicit argument 'yes'"),
    ],
)
def test_a_typo_is_an_error(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Toy, words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(train.Flags, ["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(train.Flags):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "(default: 256,256)" in text and "(default: none)" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "--width must be at least 1, got 0"),
        ({"rate_scale": 0.0}, "--rate-scale must be greater than 0, got 0.0"),
        ({"rate_scale": 1.0}, "--rate-scale must be less than 1, got 1.0"),
        ({"rate_scale": math.nan}, "--rate-scale must be greater than 0, got nan"),
        ({"limit": 1}, "--limit must be at least 2, got 1"),
    ],
)
def test_ranges(options, message):
    check(Toy())
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(Toy(**options))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recipes_are_configs(recipe):
    build.check_names(train.Config(**recipe))


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_is_built(name):
    config = train.Config(neuron=name, tau_steps=3.0)
    neuron = build.neuron(config, 2e-3)
    assert type(neuron) is NEURONS[name]
    if name == "lif":
        assert neuron.tau_mem == pytest.approx(6e-3) and neuron.dt == 2e-3


@pytest.mark.parametrize("name", READOUTS)
def test_every_readout_is_built(name):
    config = train.Config(readout=name.replace("_", "-"))
    assert type(build.readout(config)) is READOUTS[name]


@pytest.mark.parametrize("name", sorted(set(SURROGATES) - {"custom"}))
def test_every_surrogate_is_built(name):
    config = train.Config(surrogate=name.replace("_", "-"))
    assert type(build.neuron(config, 1e-3).surrogate) is SURROGATES[name]


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_is_built(name):
    still = build.dataset(train.Config(limit=20))
    timed = dataclasses.replace(
        still,
        timed=True,
        **{
            title: dataclasses.replace(split, frames=split.frames.reshape(-1, 8, 8))
            for title, split in still.splits.items()
        },
    )
    fitting, other = (timed, still) if name in ("recorded", "delta") else (still, timed)
    steps = {} if fitting.timed else {"steps": 4}
    config = train.Config(encoder=name, delta_threshold=0.25, **steps)
    encoder = build.encoder(config, fitting)
    frames = jax.eval_shape(encoder, jax.random.key(0), fitting.train.frames[:3])
    assert frames.shape[:2] == ((8 if fitting.timed else 4), 3)
    if name == "delta":
        assert encoder.threshold == 0.25
    with pytest.raises(ValueError, match=f"use --encoder .*, not {name}"):
        build.encoder(config, other)


def test_limit_shortens_every_split():
    loaded: Dataset = build.dataset(train.Config(limit=20))
    assert [len(split) for split in loaded.splits.values()] == [20, 20, 20]


RESULT = {
    "config",
    "chosen_epoch",
    "validation_accuracy",
    "test_accuracy",
    "test_accuracy_at_weight_bits",
    "initial_pj",
    "total_pj",
    "spike_independent_pj",
    "spike_dependent_pj",
    "qnn_pj",
    "energy_ratio",
    "op_count_pj",
    "energy_by_layer_pj",
    "spikes",
    "spike_rates",
    "silent_layers",
    "layers",
    "constants",
    "unpriced",
    "versions",
    "device",
    "platform",
    "seconds",
}


@pytest.fixture(scope="module")
def smoke(tiny_run, tmp_path_factory):
    """Result and folder of a smoke run, whose other flags still count."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    words = "--smoke --widths 8 --steps 2 --seed 5 --split-seed 4 --limit 64 --batch 16".split()
    # Without a ramp the weight of the energy is one number for a whole epoch.
    words += ["--energy-ramp", "0"]
    return train.run([*words, "--out", str(folder)]), folder


@pytest.fixture
def epochs(smoke):
    """Rows of the smoke run, one an epoch."""
    _, folder = smoke
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_smoke_run_writes_its_files(smoke, epochs):
    result, folder = smoke
    assert RunFolder(folder).content() == json.loads(json.dumps(result["config"]))
    assert result["config"]["epochs"] == 2
    assert result["config"]["limit"] == 64  # a flag beats --smoke
    assert (result["config"]["seed"], result["config"]["split_seed"]) == (5, 4)
    assert [row["epoch"] for row in epochs] == [1, 2]
    for name in ("curves.png", "breakdown.png", "raster.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 100
            assert len(image.convert("L").getcolors()) > 2  # not blank
    assert not list(folder.glob("*.partial"))


def test_result_is_whole_and_on_disk(smoke):
    result, folder = smoke
    assert RESULT <= result.keys()
    assert RunFolder(folder).read(folder / "result.json") == json.loads(json.dumps(result))
    assert {"python", "jsnn", "jax", "jaxlib", "flax", "optax", "numpy"} <= result[
        "versions"
    ].keys()
    assert result["versions"]["jax"] == jax.__version__
    assert result["device"] and result["seconds"] > 0


def test_energies_of_a_result_add_up(smoke):
    result, _ = smoke
    assert result["layers"] == ["hidden_0", "readout"] == list(result["energy_by_layer_pj"])
    cells = [pj for row in result["energy_by_layer_pj"].values() for pj in row.values()]
    assert all(pj >= 0 for pj in cells)
    assert sum(cells) == pytest.approx(result["total_pj"], rel=1e-6)
    assert result["total_pj"] - result["spike_independent_pj"] == pytest.approx(
        result["spike_dependent_pj"]
    )
    assert 0 < result["spike_independent_pj"] <= result["total_pj"]
    assert result["total_pj"] / result["qnn_pj"] == pytest.approx(result["energy_ratio"])


def test_what_a_machine_does_not_price_costs_nothing(smoke):
    result, _ = smoke
    assert result["unpriced"]
    for name in result["unpriced"]:
        assert all(row[name] == 0 for row in result["energy_by_layer_pj"].values())


def test_rates_and_parameters_are_those_of_the_network(smoke):
    result, _ = smoke
    hidden, steps = 8, result["steps"]
    assert result["spike_rates"][0] == pytest.approx(result["spikes"][0] / (hidden * steps))
    # Weights and biases: constants of neurons are not trained.
    assert result["parameters"] == (64 * 8 + 8) + (8 * 10 + 10)


def test_the_result_is_that_of_the_chosen_epoch(smoke, epochs):
    result, _ = smoke
    chosen = epochs[result["chosen_epoch"] - 1]
    assert chosen["validation_accuracy"] == result["validation_accuracy"]


def test_the_loss_is_the_sum_of_its_terms(smoke, epochs):
    result, _ = smoke
    config = result["config"]
    for row in epochs:
        cost = row["train_energy"] + config["dead_neuron_weight"] * row["train_dead_neurons"]
        loss = row["train_task"] + config["energy_weight"] * cost
        assert row["train_loss"] == pytest.approx(loss, rel=1e-5)
        energy = row["train_pj"] / result["initial_pj"]
        assert row["train_energy"] == pytest.approx(energy, rel=1e-5)


def test_the_chosen_epoch_trades_accuracy_for_energy(finished):
    result = json.loads((finished / "result.json").read_text())
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    weight, unit = result["config"]["energy_weight"], result["initial_pj"]
    scores = [r["validation_accuracy"] - weight * r["validation_pj"] / unit for r in rows]
    assert scores[result["chosen_epoch"] - 1] == pytest.approx(max(scores))


def test_same_seed_same_run(finished, tiny_run, tmp_path):
    tiny_run(tmp_path / "again")
    first, second = (
        [row | {"seconds": None} for row in RunFolder(folder).rows()]
        for folder in (finished, tmp_path / "again")
    )
    assert first == second


def test_a_run_that_trained_on_its_validation_samples_claims_nothing_of_them(
    finished, tiny_run, tmp_path
):
    tiny_run(tmp_path / "all", "--refit", "--select", "last")
    result = json.loads((tmp_path / "all" / "result.json").read_text())
    before = json.loads((finished / "result.json").read_text())
    assert result["validation_accuracy"] is None and before["validation_accuracy"] is not None
    assert "validation samples too" in result["data_notes"]


@pytest.mark.parametrize(
    ("loop", "made"),
    [("auto", "make_epoch"), ("step", "make_train_step"), ("host", "make_train_step")],
)
def test_each_jitted_function_compiles_once(
    loop, made, finished, tiny_run, tmp_path, monkeypatch, compilations
):
    traced = []
    for name in ("make_train_step", "make_epoch", "make_eval_step"):
        make = getattr(program, name)

        def keep(*args, make=make, name=name, **options):
            *others, encoder = args

            def counted(key, batch):
                traced.append(name)
                return encoder(key, batch)

            return make(*others, counted, **options)

        monkeypatch.setattr(program, name, keep)
    # Splits of one size: a function of a whole set is compiled for each size of set.
    with compilations() as compiled:
        tiny_run(tmp_path / "run", "--loop", loop)
    assert sorted(traced) == sorted(["make_eval_step", made])
    # Training in single steps, evaluating.
    assert compiled.count("step") == (1 if loop == "auto" else 2)
    assert compiled.count("epoch") == (1 if loop == "auto" else 0)
    # Loops differ in time, not in one bit of what is learned.
    rows, expected = (
        [row | {"seconds": None} for row in RunFolder(folder).rows()]
        for folder in (tmp_path / "run", finished)
    )
    assert rows == expected


def test_new_runs_get_new_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = train.Config()
    folders = [train.RunFolder.create(None, "digits", config).path for _ in range(2)]
    assert folders == [Path("runs/digits-1"), Path("runs/digits-2")]
    (tmp_path / "empty").mkdir()
    assert train.RunFolder.create("empty", "digits", config).config.exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--neuron", "lfi"], 1, "error: unknown neuron 'lfi'; valid:"),
        (["--neurn", "lif"], 2, "unrecognized arguments: --neurn lif"),
    ],
)
def test_command_line_ends_without_a_traceback(words, code, message, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "experiments.train", *words, "--out", str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == code
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_bits_are_learned_and_exported(tiny_run, tmp_path):
    flags = "--weight-bits learned --state-bits 6 --bits-scale 100 --energy-weight 5 --epochs 2"
    result = tiny_run(tmp_path / "run", *flags.split())
    assert result["bits"].keys() == {"hidden_0", "readout"}
    for widths in result["bits"].values():
        assert 2 <= widths["weight_bits"] < 8
        assert widths["state_bits"] == 6
    assert result["total_pj"] < result["initial_pj"]
    assert result["integers"] == {
        "accuracy": result["test_accuracy"],
        "outputs_unlike_float": 0,
    }
    network = IntegerNetwork.load(tmp_path / "run" / "integers.npz")
    assert [layer.weight_bits for layer in network.layers] == [
        widths["weight_bits"] for widths in result["bits"].values()
    ]


def test_membranes_in_floating_point_have_no_integers(tiny_run, tmp_path):
    result = tiny_run(tmp_path / "run", "--weight-bits", "4")
    assert result["bits"] == {name: {"weight_bits": 4} for name in ("hidden_0", "readout")}
    assert "computes in floating point" in result["integers"]["refused"]
    assert not (tmp_path / "run" / "integers.npz").exists()
