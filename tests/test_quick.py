"""The quick tests reach every package of jsnn."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

from tests.quick import FILES, PACKAGE, SLOW_EXAMPLES

TESTS = Path(__file__).parent
PACKAGES = sorted(file.parent for file in PACKAGE.rglob("__init__.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def examples(package: Path) -> set[str]:
    """Names of the docstrings with an example in the modules of `package` itself."""
    modules = [importlib.import_module(dotted(file)) for file in package.glob("*.py")]
    result = (test for module in modules for test in doctest.DocTestFinder().find(module))
    return {test.name for test in result if test.examples}


def imported(file: Path) -> set[str]:
    """Modules that `file` imports from, and what it imports of them as if modules too."""
    froms = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
    return {n.module for n in froms} | {f"{n.module}.{a.name}" for n in froms for a in n.names}


@pytest.mark.parametrize("package", PACKAGES, ids=dotted)
def test_every_package_has_a_quick_test(package):
    """An example in one of its modules, or a quick file that imports one of its modules."""
    modules = {dotted(file) for file in package.glob("*.py")}
    files = [file for file in FILES if imported(TESTS / file) & modules]
    assert examples(package) - SLOW_EXAMPLES or files


def test_what_is_listed_is_there():
    assert set().union(*map(examples, PACKAGES)) >= SLOW_EXAMPLES
    assert [file for file in FILES if not (TESTS / file).is_file()] == []
