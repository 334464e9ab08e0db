"""Freed memory kept in the process: on a CPU, XLA asks for a step's temporaries at every call.

A large block goes back to the system as soon as glibc's `free` has it, and the next call pays a
page fault for every 4 KiB of it again.
"""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

# What glibc calls it in the environment, its number for mallopt (malloc.h), the value.
_SETTINGS = (
    # No block is mapped by itself, and the top of the heap stays.
    ("MALLOC_MMAP_MAX_", -4, 0),
    ("MALLOC_TRIM_THRESHOLD_", -1, -1),
    # The heaps of other threads end at 64 MiB and are unmapped when they are empty.
    ("MALLOC_ARENA_MAX", -8, 1),
)

# The same for a process that is yet to start.
KEEPING = {name: str(value) for name, _, value in _SETTINGS}


class Kept(NamedTuple):
    """Whether freed memory stays in the process, and why.

    >>> Kept(False, "no glibc").kept
    False
    """

    kept: bool
    reason: str


def keep_memory() -> Kept:
    """Let the process keep what it frees, for the next call to take; through glibc's `mallopt`.

    To be called before other threads allocate, so before anything is computed. It costs memory:
    the process stays as large as it ever was, and what differs in size leaves gaps. Nothing is
    changed where the C library is another one, and nothing that the environment chose
    (`MALLOC_...`, `GLIBC_TUNABLES`). An allocator loaded before glibc's own does not listen.

    Returns:
        Whether it was done, and the reason, to be printed.
    """
    for name in (*KEEPING, "GLIBC_TUNABLES"):
        if name in os.environ:
            return Kept(False, f"as {name} says")
    library = _c_library()
    # Other libraries number the options differently.
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return Kept(False, "the C library is not glibc")
    refused = [name for name, number, value in _SETTINGS if not library.mallopt(number, value)]
    if refused:
        return Kept(False, f"glibc refused {', '.join(refused)}")
    return Kept(True, "what is freed stays for the next call")


def _c_library() -> ctypes.CDLL | None:
    """The C library of this process; Windows has none to name."""
    return ctypes.CDLL(None) if os.name == "posix" else None
