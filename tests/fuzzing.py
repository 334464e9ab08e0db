"""How many examples a property test tries, and figures of longer campaigns."""

import collections
import importlib.metadata
import json
import os
import platform
import shlex
from pathlib import Path

EXAMPLES, FIGURES = "JSNN_FUZZ_EXAMPLES", "JSNN_FUZZ_FIGURES"
_PACKAGES = ("jsnn", "hypothesis", "numpy", "jax", "jaxlib", "flax", "scipy", "orbax-checkpoint")


def examples(n: int) -> int:
    """`n`, or what the environment variable JSNN_FUZZ_EXAMPLES says."""
    return int(os.environ.get(EXAMPLES, n))


class Outcomes:
    """What became of the examples of each target of one test file.

    Args:
        test_file: its path in the repository.
        packages: whose versions are kept beside the usual ones.
    """

    def __init__(self, test_file: str, packages: tuple[str, ...] = ()):
        self._test_file, self._packages = test_file, packages
        self._counts: dict[str, collections.Counter] = {}

    def add(self, target: str, outcome: str) -> None:
        """One example of a target."""
        self._counts.setdefault(target, collections.Counter())[outcome] += 1

    def keep(self) -> None:
        """Write the figures where the environment variable JSNN_FUZZ_FIGURES says, if it does."""
        if FIGURES not in os.environ:
            return
        given = (name for name in (EXAMPLES, FIGURES) if name in os.environ)
        command = " ".join(f"{name}={shlex.quote(os.environ[name])}" for name in given)
        total = sum(self._counts.values(), collections.Counter())
        figures = {
            "command": f"{command} python -m pytest {self._test_file}",
            "seed": "hypothesis, derandomize=True: from the code of the test",
            "examples": total.total(),
            "outcomes": dict(sorted(total.items())),
            "by_target": {name: dict(sorted(c.items())) for name, c in self._counts.items()},
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in (*_PACKAGES, *self._packages)},
        }
        path = Path(os.environ[FIGURES])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")
