"""What `pytest -m quick` runs: two minutes on a core, every package of jsnn."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "jsnn"
# Files of tests that hardly compile; of the rest, tests with the mark on themselves.
FILES = (
    "test_architecture.py",
    "test_compiler_flags.py",
    "test_data_core.py",
    "test_data_formats.py",
    "test_hardware.py",
    "test_memory.py",
    "test_quick.py",
    "test_userfile.py",
)
# Every example of a docstring but these, which compile for more than two seconds each.
SLOW_EXAMPLES = {
    "jsnn.attention.Mixer",
    "jsnn.codesign.anytime.prefix_bills",
    "jsnn.codesign.anytime.prefixes",
    "jsnn.codesign.bits.Bits",
    "jsnn.codesign.integer.export",
    "jsnn.codesign.search.search",
    "jsnn.models.conv.ConvNet",
    "jsnn.report.compare",
    "jsnn.report.report",
    "jsnn.stream.make_stream",
}


def is_quick(file: Path, name: str) -> bool:
    """Whether the test `name` of `file` is quick by its place.

    >>> is_quick(PACKAGE / "models/mlp.py", "jsnn.models.mlp.MLP")
    True
    >>> is_quick(PACKAGE / "models/conv.py", "jsnn.models.conv.ConvNet")
    False
    """
    return file.name in FILES or (PACKAGE in file.parents and name not in SLOW_EXAMPLES)
