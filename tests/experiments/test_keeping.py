"""Freed memory kept in the process: page faults, and who is left alone."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import memory, train
from experiments.benchmarks.contest import Entry, Worker
from experiments.memory import KEEPING, keep_memory

ROOT = Path(train.__file__).parents[1]
GLIBC = memory._c_library() is not None and hasattr(memory._c_library(), "gnu_get_libc_version")

# Page faults of a block that is taken, written and freed again: 32 MiB in a thread of its own,
# beyond which a heap that is not the first one cannot go.
FAULTS = """
import resource, sys, threading
if sys.argv[1:]:
    from experiments.memory import keep_memory
    assert keep_memory().kept

def use(times):
    for _ in range(times):
        bytearray(2**25)

def twice():
    use(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(4)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 4)

for run in (twice, lambda: (thread := threading.Thread(target=twice)).start() or thread.join()):
    run()
"""


def clean():
    kept = (*KEEPING, "GLIBC_TUNABLES")
    return {name: word for name, word in os.environ.items() if name not in kept}


def faults(*words, **environment):
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS, *words],
        cwd=ROOT,
        env=clean() | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return [float(line) for line in ran.stdout.split()]


@pytest.mark.skipif(not GLIBC, reason="only glibc has these switches")
def test_a_block_freed_and_taken_again_is_not_fetched_anew():
    pages = 2**25 / os.sysconf("SC_PAGE_SIZE")
    # Without it the test would say nothing.
    assert min(faults()) > pages / 2
    assert max(faults("keep")) < pages / 100
    assert max(faults(**KEEPING)) < pages / 100


class Library:
    """A C library with the functions that are given."""

    def __init__(self, **functions):
        vars(self).update(functions)


@pytest.fixture
def library(monkeypatch):
    """Puts a library in the place of this process's own, in an environment without a choice."""
    for name in (*KEEPING, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    return lambda result: monkeypatch.setattr(memory, "_c_library", lambda: result)


def test_what_glibc_is_told(library):
    told = {}

    def mallopt(number, value):
        told[number] = value
        return 1

    library(Library(gnu_get_libc_version=None, mallopt=mallopt))
    assert keep_memory().kept is True
    # malloc.h: M_TRIM_THRESHOLD, M_MMAP_MAX and M_ARENA_MAX; -1 is the largest size there is.
    assert told == {-1: -1, -4: 0, -8: 1}


def test_glibc_may_refuse(library):
    refusing = Library(gnu_get_libc_version=None, mallopt=lambda number, value: number != -8)
    library(refusing)
    assert keep_memory() == (False, "glibc refused MALLOC_ARENA_MAX")


@pytest.mark.parametrize(
    "other", [None, Library(), Library(mallopt=lambda number, value: pytest.fail("called"))]
)
def test_other_libraries_are_left_alone(other, library):
    library(other)
    assert keep_memory() == (False, "the C library is not glibc")


@pytest.mark.parametrize("name", [*KEEPING, "GLIBC_TUNABLES"])
def test_a_choice_of_the_environment_stays(name, library, monkeypatch):
    library(Library(gnu_get_libc_version=None, mallopt=lambda *_: pytest.fail("called")))
    monkeypatch.setenv(name, "7")
    assert keep_memory() == (False, f"as {name} says")


def test_it_is_no_part_of_a_run_but_of_where_it_runs():
    assert "keep_memory" not in {field.name for field in dataclasses.fields(train.Config)}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_worker_says_whether_it_keeps_memory(keeps, monkeypatch):
    for name in KEEPING:
        monkeypatch.delenv(name, raising=False)
    sizes = {"steps": 1, "batch": 1}
    worker = Worker(Entry("jsnn", "default", keeps_memory=keeps), "stream", sizes)
    try:
        own = Path(f"/proc/{worker.process.pid}/environ")
        if own.exists():
            started_with = own.read_text().split("\0")
            assert ("MALLOC_MMAP_MAX_=0" in started_with) is keeps
        assert worker.keeps_memory is keeps
    finally:
        worker.close()
