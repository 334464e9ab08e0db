"""Many devices and many processes learn what one device learns."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import train
from experiments.hosts import Hosts
from jsnn.train.devices import join, take
from jsnn.train.run_folder import RunFolder

ROOT = Path(train.__file__).parents[1]
# Sums in another order.
ROUNDING = 1e-6

# A run, and then what the two processes of a run can say of themselves.
PROCESS = """
import json, sys
import jax, numpy as np
from experiments import train
from jsnn.train.devices import take
result = train.run(sys.argv[1:])
devices = take(None, 4)
devices.agree("a constant", np.ones(2))
found = {"devices": result["devices"], "first": devices.first, "refusals": []}
for refused in (lambda: devices.agree("number", np.ones(2) * jax.process_index()),
                lambda: take(1, 4), lambda: take(2, 3)):
    try:
        refused()
    except ValueError as error:
        found["refusals"].append(str(error))
cut = devices.cut(np.arange(8).reshape(4, 2))
found["own"] = [shard.data.tolist() for shard in cut.addressable_shards]
print("\\n" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def environment(compiled):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return kept | compiled | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def eight(environment, tmp_path_factory):
    """What `spread_cases.py` found on eight devices that share a processor."""
    script = Path(__file__).parents[1] / "spread_cases.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("moved"))],
        env=environment | {"JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expect_close(result, expected, rounding=ROUNDING):
    assert len(result) == len(expected)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding / 10)


@pytest.mark.parametrize("name", ["mlp", "srnn", "conv"])
class TestSteps:
    def test_terms_are_those_of_one_device(self, eight, name):
        expect_close(eight[name]["eight"], eight[name]["one"])

    def test_a_step_compiles_once(self, eight, name):
        assert eight[name]["compiled"] == 1

    def test_samples_stay_where_they_are(self, eight, name):
        assert eight[name]["gathers"] == 0


@pytest.mark.parametrize("loop", ["epoch", "host"])
def test_loops_learn_the_same(eight, loop):
    expect_close(eight["loops"][loop], eight["loops"]["step"])


def test_evaluation_sums_over_all_devices(eight):
    one, spread = eight["sums"]
    expect_close(spread, one)


def test_checkpoints_move_between_numbers_of_devices(eight):
    for moved in (eight["moved"], eight["cut"]):
        assert moved[0] == moved[1] == moved[2]


def test_numbers_that_do_not_fit_are_refused(eight):
    too_many, none, uneven, too_few = eight["refusals"]
    assert "devices must lie in 1 to 8, the number of cpu devices here, got 9" in too_many
    assert "JAX_NUM_CPU_DEVICES=N" in too_many and "got 0" in none
    assert "a batch of 12 cannot be shared by 8 devices" in uneven and "as 16" in uneven
    assert "a batch of 1 cannot be shared by 3 devices" in too_few and "as 3" in too_few


def test_one_device_is_left_as_it_was():
    devices, step = take(None, 7), jax.jit(lambda x: x)
    assert devices.count == 1 and devices.first and devices.alone
    assert devices.training(step) is step and devices.evaluation(step) is step
    devices.wait("nobody")
    devices.agree("nothing", [np.ones(1)])


def test_a_run_on_more_devices_than_there_are(tmp_path):
    there = len(jax.devices())
    with pytest.raises(ValueError, match=f"devices must lie in 1 to {there}, .* got {there + 1}"):
        train.run(["--devices", str(there + 1), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("somewhere",), "a coordinator is address:port, as 10.0.0.1:8476, got 'somewhere'"),
        ((":80", 2, 0), "a coordinator is address:port"),
        (("here:80",), "beside a coordinator stand .* got None and None"),
        (("here:80", 2), "got 2 and None"),
        (("here:80", 2, 2), "process must lie in 0 to 1, got 2"),
        (("auto", 2, 0), "the scheduler numbers the processes"),
    ],
)
def test_joining_with_wrong_numbers(given, message):
    with pytest.raises(ValueError, match=message):
        join(*given)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"distributed": "yes"}, "--distributed must be auto or none, got 'yes'"),
        ({"distributed": "auto", "coordinator": "here:80"}, "finds the coordinator"),
        ({"processes": 2}, "--processes and --process need --coordinator"),
        ({"process": 0}, "--processes and --process need --coordinator"),
    ],
)
def test_parameters_that_do_not_go_together(parameters, message):
    with pytest.raises(ValueError, match=message):
        Hosts(**parameters).join()


def test_without_a_scheduler_auto_is_refused(environment):
    done = subprocess.run(
        [sys.executable, "-c", "from jsnn.train.devices import join; join('auto')"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "no SLURM, TPU pod or other scheduler" in done.stderr


@pytest.fixture(scope="module")
def pair(environment, tiny_flags, tmp_path_factory):
    """Folder and last words of a run by two processes of one device each."""
    try:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
    except OSError as error:
        pytest.skip(f"needs a socket on localhost: {error}")
    folder = tmp_path_factory.mktemp("pair") / "run"
    flags = [*tiny_flags, "--out", str(folder), "--coordinator", f"localhost:{port}"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *flags, "--processes", "2", "--process", str(number)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        said = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, complaint) in zip(started, said, strict=True):
        assert process.returncode == 0, complaint
    return folder, [out for out, _ in said]


def rows(folder: Path) -> list[dict]:
    result = RunFolder(folder).rows()
    for row in result:
        del row["seconds"]
    return result


def test_two_processes_learn_what_one_learns(pair, finished):
    actual, expected = rows(pair[0]), rows(finished)
    assert len(actual) == len(expected) == 3
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        expect_close(list(one.values()), list(other.values()))
    result = json.loads((pair[0] / "result.json").read_text())
    alone = json.loads((finished / "result.json").read_text())
    assert (result["devices"], alone["devices"]) == (2, 1)
    assert result["config"] == alone["config"]
    assert result["total_pj"] == pytest.approx(alone["total_pj"], rel=ROUNDING)


def test_only_the_first_process_speaks(pair):
    first, second = (out.splitlines() for out in pair[1])
    assert any("After training" in line for line in first)
    assert not any("training" in line for line in second)
    words = [json.loads(out[-1]) for out in (first, second)]
    assert [word["first"] for word in words] == [True, False]
    assert [word["own"] for word in words] == [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]]]
    assert (pair[0] / "curves.png").exists()


def test_what_two_processes_refuse(pair):
    for out in pair[1]:
        unlike, one, uneven = json.loads(out.splitlines()[-1])["refusals"]
        assert unlike.startswith("number: other bytes in process [1] than in process 0")
        assert one.startswith("1 devices cannot be shared by 2 processes")
        assert uneven.startswith("a batch of 3 cannot be shared by 2 devices")


def test_one_process_goes_on_with_the_run_of_two(pair, tmp_path):
    folder = shutil.copytree(pair[0], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "3")
    (folder / "result.json").unlink()
    train.run(["--resume", str(folder)])
    result, expected = rows(folder), rows(pair[0])
    assert result[:2] == expected[:2]
    expect_close(list(result[2].values()), list(expected[2].values()))
    assert json.loads((folder / "result.json").read_text())["devices"] == 1
