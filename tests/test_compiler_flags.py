"""Which flags of XLA reach a worker of pytest-xdist."""

import os
import subprocess
import sys

import pytest

from tests.compiler_flags import WANTED, joined, known

SHIPPED = "--xla_cpu_multi_thread_eigen=false"


def test_a_flag_that_the_installed_jaxlib_does_not_know_is_left_out():
    assert known(["--xla_no_such_flag=true", SHIPPED]) == (SHIPPED,)


def test_a_worker_starts_under_the_flags_wanted_of_it():
    environment = {**os.environ, "XLA_FLAGS": joined(known(WANTED), SHIPPED)}
    program = "import jax; print(jax.jit(lambda x: 2 * x)(21))"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize("given", ["", SHIPPED, f"{SHIPPED} --xla_dump_to=here"])
def test_what_is_given_stays_and_comes_last(given):
    assert joined(WANTED, given) == " ".join(WANTED) + f" {given}".rstrip()
