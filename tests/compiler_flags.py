"""Flags of XLA under which the workers of pytest-xdist and the quick tests compile."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence

# Workers share the cores: one thread each. Most of their time goes into compiling, so LLVM
# leaves its optimisations away and gets each program in one piece.
WANTED = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
if platform.machine() in ("x86_64", "AMD64"):
    # Loops without the detour over MLIR compile in half the time, but multiply and add in one go,
    # so that two programs round differently; AVX has no such instruction.
    WANTED = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_max_isa=AVX", *WANTED)


def known(flags: Sequence[str]) -> tuple[str, ...]:
    """Those of `flags` that the installed jaxlib knows, asked for in processes of their own.

    Releases drop flags, patch releases too (0.11.2 the fusion emitters), and XLA ends a process at
    one that it does not know; of a worker that ends so, xdist says "node down" and nothing else.
    """

    def starts(*flags: str) -> bool:
        environment = {**os.environ, "XLA_FLAGS": " ".join(flags)}
        program = [sys.executable, "-c", "import jax; jax.devices()"]
        return not subprocess.run(program, env=environment, capture_output=True).returncode

    return tuple(flags) if starts(*flags) else tuple(flag for flag in flags if starts(flag))


def joined(flags: Sequence[str], given: str) -> str:
    """`flags`, then what `XLA_FLAGS` holds already: of two values XLA takes the last.

    >>> joined(["--xla_backend_optimization_level=0"], "--xla_backend_optimization_level=2")
    '--xla_backend_optimization_level=0 --xla_backend_optimization_level=2'

    The name of a file of flags stays alone, as XLA reads it.

    >>> joined(["--xla_backend_optimization_level=0"], "flags.txt")
    'flags.txt'
    """
    if given and not given.startswith("-"):
        return given
    return " ".join([*flags, *given.split()])
