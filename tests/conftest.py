"""Fixtures and set-up shared by all tests."""

import contextlib
import gc
import logging
import os
import re
import signal
from pathlib import Path

from tests.compiler_flags import WANTED, joined, known
from tests.quick import is_quick

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from hypothesis import HealthCheck, settings

# Before pytest imports a module for its examples: where nothing has imported it yet, that one is a
# second copy, with notes on arrays (`jsnn.events.event_value`) that the others do not see.
import jsnn  # noqa: F401

# The first example of a property compiles; a deadline, or a limit for draws, would time the
# compiler and whatever else the machine does.
settings.register_profile(
    "jsnn", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("jsnn")

# Walks over all that jax keeps took 4 % of the time.
gc.set_threshold(20_000, 10, 10)


def pytest_configure(config):
    """Let XLA, which reads its flags when it starts, compile fast in workers and for `-m quick`."""
    workers = getattr(config.option, "numprocesses", None)
    alone = config.option.markexpr == "quick" and not workers
    if alone or "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["XLA_FLAGS"] = joined(known(WANTED), os.environ.get("XLA_FLAGS", ""))


def pytest_collection_modifyitems(items):
    for item in items:
        if is_quick(item.path, item.name):
            item.add_marker("quick")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def compilations(caplog):
    """Names of the functions that jax compiles meanwhile: `with compilations() as names:`.

    A trace can serve several compilations, such as those for other placements of the arguments.
    """

    @contextlib.contextmanager
    def watch():
        names = []
        with caplog.at_level(logging.WARNING, logger="jax"), jax.log_compiles():
            caplog.clear()
            yield names
        result = (re.match(r"Compiling jit\((.+?)\) with", m) for m in caplog.messages)
        names += [match[1] for match in result if match]

    return watch


@pytest.fixture
def data_dir():
    """The folder of real data, or a skip that says how to have one."""
    folder = os.environ.get("JSNN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip(
            "needs real data: set JSNN_DATA to a folder that holds it (see jsnn/data/README.md)"
        )
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory):
    """A compilation cache for all tests, and the environment that shares it with a command.

    Much is compiled again: every loop over time that runs outside a jit, each run in a test. A
    folder named in JAX_COMPILATION_CACHE_DIR serves many runs of the tests.
    """
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    base = tmp_path_factory.getbasetemp()
    # The folder of a worker lies in that of all of them.
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = named or str(base / "compiled")
    settings = {
        "jax_compilation_cache_dir": folder,
        # What compiles sooner costs more to keep than it gives back.
        "jax_persistent_cache_min_compile_time_secs": 0.03,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield {name.upper(): str(value) for name, value in settings.items()}
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def tiny_flags():
    """Flags of a run on 64 digits and 8 neurons, 3 epochs of 4 steps, a checkpoint after each."""
    return "--epochs 3 --limit 64 --widths 8 --steps 2 --batch 16 --checkpoint-seconds 0".split()


@pytest.fixture(scope="session")
def tiny_run(compiled, tiny_flags):
    """Run the experiment with `tiny_flags`: `(folder, *more flags) -> result`."""
    from experiments import train

    return lambda folder, *more: train.run([*tiny_flags, "--out", str(folder), *more])


@pytest.fixture(scope="session")
def finished(tiny_run, tmp_path_factory):
    """The folder of a tiny run that nothing interrupted; only to be read."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    tiny_run(folder)
    return folder


@pytest.fixture
def ctrl_c_is_heard():
    """Python's own answer to SIGINT, which what starts pytest in the background has it ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
