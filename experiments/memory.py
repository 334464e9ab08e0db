"""Freed memory kept in the process: on a CPU, XLA asks for a step's temporaries at every call.

A large block goes back to the system as soon as glibc's `free` has it, and the next call pays a
page fault for every 4 KiB of it again.
"""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

# Name in the environment of glibc, number for mallopt (malloc.h), value.
_SETTINGS = (
    # No block is mapped separately, and the top of the heap is kept.
    ("MALLOC_MMAP_MAX_", -4, 0),
    ("MALLOC_TRIM_THRESHOLD_", -1, -1),
    # The heaps of other threads end at 64 MiB and are unmapped when they are empty.
    ("MALLOC_ARENA_MAX", -8, 1),
)

# The same, for the environment of a process to be started.
KEEPING = {name: str(value) for name, _, value in _SETTINGS}


class Kept(NamedTuple):
    """Whether freed memory stays in the process, and why.

    >>> Kept(False, "no glibc").kept
    False
    """

    kept: bool
    reason: str


def keep_memory() -> Kept:
    """Let the process keep freed memory for later calls, through glibc's `mallopt`.

    To be called before other threads allocate, so before anything is computed. It costs memory:
    the process stays at its peak size, and blocks of different sizes leave gaps. Nothing is changed
    with another C library, nor what the environment sets (`MALLOC_...`, `GLIBC_TUNABLES`). An
    allocator preloaded in place of glibc's own is not affected.

    Returns:
        Whether it was done, and the reason, to be printed.
    """
    for name in (*KEEPING, "GLIBC_TUNABLES"):
        if name in os.environ:
            return Kept(False, f"as {name} says")
    library = _c_library()
    # Other C libraries number the options differently.
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return Kept(False, "the C library is not glibc")
    refused = [name for name, number, value in _SETTINGS if not library.mallopt(number, value)]
    if refused:
        return Kept(False, f"glibc refused {', '.join(refused)}")
    return Kept(True, "what is freed stays for the next call")


def _c_library() -> ctypes.CDLL | None:
    """The C library of this process; Windows has none to name."""
    return ctypes.CDLL(None) if os.name == "posix" else None
