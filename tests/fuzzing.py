"""How many examples a property test tries."""

import os


def examples(n: int) -> int:
    """`n`, or what the environment variable JSNN_FUZZ_EXAMPLES says."""
    return int(os.environ.get("JSNN_FUZZ_EXAMPLES", n))
