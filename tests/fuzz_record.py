"""What a fuzz target tried and what came of it, kept where JSNN_FUZZ_RECORD says."""

import atexit
import collections
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from tests.fuzzing import examples

PACKAGES = ("jsnn", "jax", "flax", "numpy", "hypothesis")


def outcomes(name: str) -> collections.Counter:
    """Counts by outcome; added to `$JSNN_FUZZ_RECORD/<name>.json` at the end of the process."""
    counts = collections.Counter()
    folder = os.environ.get("JSNN_FUZZ_RECORD")
    if folder:
        atexit.register(_write, Path(folder) / f"{name}.json", counts)
    return counts


def _write(path: Path, counts: collections.Counter) -> None:
    record = {
        "command": f"JSNN_FUZZ_EXAMPLES={examples(0)} JSNN_FUZZ_RECORD={path.parent} "
        f"python -m pytest {' '.join(sys.argv[1:])}",
        "seed": "hypothesis derandomised: the same examples for the same test",
        "examples": counts.total(),
        "outcomes": dict(sorted(counts.items())),
        "versions": {name: metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version(), "platform": sys.platform},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*before, record], indent=2) + "\n")
