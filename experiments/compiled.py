"""Compiled programs kept on disk, so that a second run of an experiment starts at once."""

from __future__ import annotations

import hashlib
import importlib
import platform
import zlib
from pathlib import Path

import jax

from jsnn.data._files import user_cache

# The name JAX gives to an entry ends so.
ENTRY = "-cache"
# Ours beside it: the SHA-256 of an entry that was found to be whole.
SEAL = "-sha256"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def keep_compiled() -> Path:
    """Let JAX keep what it compiles; the folder it does so in, without what is torn.

    `$XDG_CACHE_HOME/jsnn/compiled/<host>`, `~/.cache` without that variable: a program made for
    one processor may not run on the next. A folder chosen before, as by JAX_COMPILATION_CACHE_DIR,
    stays. To be called before anything is compiled.
    """
    chosen = jax.config.jax_compilation_cache_dir
    if chosen:
        folder = Path(chosen)
    else:
        folder = user_cache() / "compiled" / (platform.node() or "host")
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # The step of a small network compiles in less than JAX's least time.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    delete_torn(folder)
    return folder


def delete_torn(folder: Path) -> None:
    """Delete every entry that is not as JAX wrote it, so that JAX writes it anew.

    JAX warns of an entry that it cannot read, but never replaces it. One that was seen before must
    have the digest of then; a new one must unpack to its end, and its digest is kept.
    """
    for entry in folder.glob(f"*{ENTRY}"):
        seal = entry.with_name(entry.name.removesuffix(ENTRY) + SEAL)
        try:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            known = seal.read_text(errors="replace") if seal.exists() else None
            if known is None and _unpacks(content):
                seal.write_text(digest)
            elif known != digest:
                entry.unlink()
                seal.unlink(missing_ok=True)
        except OSError:
            # Another process deleted it meanwhile, or it belongs to another user: JAX sees to it.
            continue


def _unpacks(content: bytes) -> bool:
    """Whether an entry is a whole stream of zlib or zstandard, one of which JAX packs it with."""
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
