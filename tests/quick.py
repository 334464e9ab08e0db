"""The tests of `pytest -m quick`: two minutes on a core, every package of jsnn."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "jsnn"
# Files of tests that hardly compile; of the rest, tests that carry the mark themselves.
FILES = (
    "test_architecture.py",
    "test_compiler_flags.py",
    "data/test_datasets.py",
    "data/test_formats.py",
    "hardware/test_hardware.py",
    "hardware/test_memory.py",
    "test_quick.py",
    "hardware/test_toml.py",
)
# Every example of a docstring but these, which compile for more than two seconds each.
SLOW_EXAMPLES = {
    "jsnn.nn.attention.Mixer",
    "jsnn.codesign.early_exit.energy_by_step",
    "jsnn.codesign.early_exit.answers_by_step",
    "jsnn.codesign.bit_widths.Bits",
    "jsnn.export.integer.conversion.export",
    "jsnn.codesign.hardware.search.search",
    "jsnn.models.conv.ConvNet",
    "jsnn.energy.report.compare",
    "jsnn.energy.report.report",
    "jsnn.nn.stream.make_stream",
}


def is_quick(file: Path, name: str) -> bool:
    """Whether the test `name` of `file` is quick by its place.

    >>> is_quick(PACKAGE / "models/mlp.py", "jsnn.models.mlp.MLP")
    True
    >>> is_quick(PACKAGE / "models/conv.py", "jsnn.models.conv.ConvNet")
    False
    """
    listed = file in {PACKAGE.parent / "tests" / name for name in FILES}
    return listed or (PACKAGE in file.parents and name not in SLOW_EXAMPLES)
