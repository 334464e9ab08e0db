"""Compiled programs kept on disk, so that a second run of an experiment starts at once."""

from __future__ import annotations

import hashlib
import importlib
import platform
import zlib
from pathlib import Path

import jax

from jsnn.data._files import user_cache

# End of the names that JAX gives to entries.
ENTRY = "-cache"
# Our file beside it: the SHA-256 of an entry that was found to be complete.
SEAL = "-sha256"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def keep_compiled() -> Path:
    """Let JAX keep what it compiles; returns the folder, cleared of torn entries.

    `$XDG_CACHE_HOME/jsnn/compiled/<host>`, or in `~/.cache` without that variable; by host, since a
    program compiled for one processor may not run on another. A folder chosen before, as by
    JAX_COMPILATION_CACHE_DIR, stays. To be called before anything is compiled.
    """
    chosen = jax.config.jax_compilation_cache_dir
    if chosen:
        folder = Path(chosen)
    else:
        folder = user_cache() / "compiled" / (platform.node() or "host")
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # The step of a small network compiles faster than JAX's minimum for keeping it.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    delete_torn(folder)
    return folder


def delete_torn(folder: Path) -> None:
    """Delete every entry that is not as JAX wrote it, so that JAX writes it anew.

    JAX warns of an entry that it cannot read, but never replaces it. An entry seen before must have
    the same digest; a new one must unpack to its end, and its digest is kept.
    """
    for entry in folder.glob(f"*{ENTRY}"):
        seal = entry.with_name(entry.name.removesuffix(ENTRY) + SEAL)
        try:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            stored = seal.read_text(errors="replace") if seal.exists() else None
            if stored is None and _unpacks(content):
                seal.write_text(digest)
            elif stored != digest:
                entry.unlink()
                seal.unlink(missing_ok=True)
        except OSError:
            # Another process deleted it meanwhile, or it is another user's: JAX handles that.
            continue


def _unpacks(content: bytes) -> bool:
    """Whether an entry is a complete stream of zlib or zstandard; JAX packs with one of them."""
    if not content.startswith(_ZSTANDARD):
        try:
            zlib.decompress(content)
        except zlib.error:
            return False
        return True
    for name in ("compression.zstd", "zstandard"):
        try:
            codec = importlib.import_module(name)
        except ImportError:
            continue
        try:
            codec.decompress(content)
        except codec.ZstdError:
            return False
    # Without either, JAX never looks at this entry.
    return True
