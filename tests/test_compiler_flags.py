"""Flags of XLA that reach a worker of pytest-xdist."""

import pytest

from tests.compiler_flags import WANTED, joined, known

SHIPPED = "--xla_cpu_multi_thread_eigen=false"


def test_a_flag_that_the_installed_jaxlib_does_not_know_is_left_out():
    assert known(["--xla_no_such_flag=true", SHIPPED]) == (SHIPPED,)


@pytest.mark.parametrize("given", ["", SHIPPED, f"{SHIPPED} --xla_dump_to=here"])
def test_what_is_given_stays_and_comes_last(given):
    assert joined(WANTED, given) == " ".join(WANTED) + f" {given}".rstrip()
