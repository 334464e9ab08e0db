"""Number of examples of a property test, and figures of longer campaigns."""

import atexit
import collections
import importlib.metadata
import json
import os
import platform
import shlex
from pathlib import Path

import jsnn

EXAMPLES, FIGURES = "JSNN_FUZZ_EXAMPLES", "JSNN_FUZZ_FIGURES"
_PACKAGES = ("hypothesis", "numpy", "jax", "jaxlib", "flax", "scipy", "orbax-checkpoint")


def examples(n: int) -> int:
    """`n`, or what the environment variable JSNN_FUZZ_EXAMPLES says."""
    return int(os.environ.get(EXAMPLES, n))


class Outcomes:
    """What became of the examples of each target of one test file.

    Where the environment variable JSNN_FUZZ_FIGURES names a folder, they are written there when the
    process ends, as `<name>.json`.

    Args:
        name: of the file of figures; the tests are in `tests/properties/test_fuzz_<name>.py`.
        packages: whose versions are kept beside the usual ones.
    """

    def __init__(self, name: str, packages: tuple[str, ...] = ()):
        self._name, self._packages = name, packages
        self._counts: dict[str, collections.Counter] = {}
        if FIGURES in os.environ:
            atexit.register(self._keep, Path(os.environ[FIGURES]) / f"{name}.json")

    def add(self, target: str, outcome: str) -> None:
        """One example of a target."""
        self._counts.setdefault(target, collections.Counter())[outcome] += 1

    def _keep(self, path: Path) -> None:
        given = (name for name in (EXAMPLES, FIGURES) if name in os.environ)
        command = " ".join(f"{name}={shlex.quote(os.environ[name])}" for name in given)
        total = sum(self._counts.values(), collections.Counter())
        figures = {
            "command": f"{command} python -m pytest tests/properties/test_fuzz_{self._name}.py",
            "seed": "hypothesis, derandomize=True: from the code of the test",
            "examples": total.total(),
            "outcomes": dict(sorted(total.items())),
            "by_target": {name: dict(sorted(c.items())) for name, c in self._counts.items()},
            "versions": {"python": platform.python_version(), "jsnn": jsnn.__version__}
            | {name: importlib.metadata.version(name) for name in (*_PACKAGES, *self._packages)},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")
