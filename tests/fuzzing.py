"""How many examples a property is tried with: few in CI, as many as asked for by hand."""

import os


def examples(count: int) -> int:
    """`count`, or what the environment variable JSNN_FUZZ_EXAMPLES says."""
    return int(os.environ.get("JSNN_FUZZ_EXAMPLES", count))
