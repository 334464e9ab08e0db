"""Compiled programs kept on disk, so that a second run of an experiment starts at once."""

from __future__ import annotations

import platform
from pathlib import Path

import jax

from jsnn.data.files import user_cache


def keep_compiled() -> Path:
    """Let JAX keep what it compiles; the folder it does so in.

    `$XDG_CACHE_HOME/jsnn/compiled/<host>`, `~/.cache` without that variable: a program made for
    one processor may not run on the next. A folder chosen before, as by JAX_COMPILATION_CACHE_DIR,
    stays. To be called before anything is compiled.
    """
    chosen = jax.config.jax_compilation_cache_dir
    if chosen:
        return Path(chosen)
    folder = user_cache() / "compiled" / (platform.node() or "host")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The step of a small network compiles in less than JAX's least time.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder
