"""The cache of compiled programs: what is torn in it is replaced, what is whole stays."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.compiled import ENTRY, SEAL, delete_torn
from tests.fuzzing import examples

PROGRAM = """
import collections, warnings
import jax, jax.numpy as jnp
from experiments.compiled import keep_compiled
warnings.simplefilter("error")
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.split("/")[-1]]))
keep_compiled()
x = jnp.arange(8.0)
for factor in range(5):
    assert float(jax.jit(lambda x: jnp.tanh(x * factor).sum() + factor)(x)) >= factor
print(seen["cache_hits"], seen["cache_misses"])
"""


def test_torn_entries_are_replaced_and_read_from_then_on(tmp_path):
    """JAX alone warns of each of them at every start, and keeps it."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def start():
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return tuple(map(int, done.stdout.split()))

    hits, misses = start()
    entries = sorted(tmp_path.glob(f"*{ENTRY}"))
    assert hits == 0 and misses == len(entries) >= 5
    damages = (
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole[:100] + bytes([whole[100] ^ 4]) + whole[101:],
    )
    for entry, damage in zip(entries, damages, strict=False):
        entry.write_bytes(damage(entry.read_bytes()))
    assert start() == (misses - len(damages), len(damages))
    assert sorted(tmp_path.glob(f"*{ENTRY}")) == entries
    assert start() == (misses, 0)
    # Seen to be whole by now, and damaged later.
    last = entries[-1]
    last.write_bytes(last.read_bytes()[::-1])
    assert start() == (misses - 1, 1)


@pytest.mark.parametrize("sealed", [True, False])
def test_whatever_is_damaged_goes_and_the_rest_stays(sealed, tmp_path):
    @settings(max_examples=examples(100))
    @given(st.binary(max_size=300), st.data())
    def check(program, data):
        entry, other = (tmp_path / f"{name}{ENTRY}" for name in ("step", "other"))
        seal = tmp_path / f"step{SEAL}"
        for path in tmp_path.iterdir():
            path.unlink()
        whole = zlib.compress(program)
        entry.write_bytes(whole)
        other.write_bytes(whole)
        if sealed:
            delete_torn(tmp_path)
            assert seal.exists()
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = data.draw(
            st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :]])
        )
        entry.write_bytes(damaged)
        delete_torn(tmp_path)
        # Some bits of a stream mean nothing.
        same = not sealed and entry.exists() and zlib.decompress(damaged) == program
        assert same or not (entry.exists() or seal.exists())
        delete_torn(tmp_path)
        assert other.read_bytes() == whole and (tmp_path / f"other{SEAL}").exists()

    check()


def test_a_seal_that_was_torn_costs_its_entry_and_nothing_else(tmp_path):
    (tmp_path / f"step{ENTRY}").write_bytes(zlib.compress(b"program"))
    (tmp_path / f"step{SEAL}").write_bytes(b"\xff3")
    (tmp_path / "notes.txt").write_text("kept")
    delete_torn(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    delete_torn(tmp_path / "absent")
