"""The rooms of the package: who may import whom, and what an import brings along."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jsnn"

# From the top of the house down; a room (a package, or a module beside them) imports only from
# those above it.
ORDER = [
    "_pytree",
    "_straight_through",
    "_checks",
    "_time_axis",
    "units",
    "surrogate",
    "quantise",
    "neurons",
    "unroll",
    "readouts",
    "events",
    "_ops",
    "workload",
    "hardware",
    "energy",
    "data",
    # ---- above: the core, no flax; below: flax
    "nn",
    "models",
    "train",
    "codesign",
    "export",
    "viz",
]
CORE = ORDER[: ORDER.index("nn")]
# Packages from which no other one imports.
LEAVES = {"codesign", "data", "export", "viz"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    result = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            result |= {f"{node.module}.{alias.name}" for alias in node.names}
    return result


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_its_place():
    assert {room(path) for path in MODULES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_above(path):
    here = room(path)
    if here == "__init__":
        return
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("jsnn.")}
    below = {name for name in rooms - {here} if ORDER.index(name) > ORDER.index(here)}
    assert not below, f"{here} imports from below: {sorted(below)}"
    assert not (rooms - {here}) & LEAVES
    if here in CORE:
        assert not {name for name in imports(path) if name.split(".")[0] == "flax"}


def test_orbax_and_tonic_each_have_one_door():
    doors = {"orbax": "train/checkpoint.py", "tonic": "data/_tonic.py"}
    for library, door in doors.items():
        result = {
            str(path.relative_to(PACKAGE))
            for path in MODULES
            if any(name.split(".")[0] == library for name in imports(path))
        }
        assert result == {door}


def test_import_is_light_and_makes_no_array():
    script = """
import sys, jax, jsnn
heavy = {"tonic", "orbax", "sklearn", "matplotlib", "scipy", "flax.nnx"} & set(sys.modules)
assert not heavy - preloaded, heavy
assert not jax.live_arrays(), jax.live_arrays()
"""
    before = "import sys, jax, flax.linen, optax\npreloaded = set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", before + script], check=True, timeout=120)


def test_the_front_door_names_all_rooms_and_makes_no_other():
    """By attribute access, in a fresh interpreter; nothing is imported on first use."""
    script = """
import jsnn
assert jsnn.energy.report.compare and jsnn.data.names() and jsnn.viz.plots.curves
for name in jsnn.__all__:
    assert getattr(jsnn, name) is not None
assert not hasattr(jsnn, "__getattr__") and not hasattr(jsnn, "repart")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_no_function_hides_its_module():
    """Every module is reached by attribute access from the package that it lies in."""
    script = """
import importlib, pkgutil, types, jsnn
for info in pkgutil.walk_packages(jsnn.__path__, "jsnn."):
    module, (package, _, name) = importlib.import_module(info.name), info.name.rpartition(".")
    assert getattr(importlib.import_module(package), name) is module, info.name
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def floors() -> dict[str, int]:
    """Level of each package: one more than the highest level that it imports from."""
    above = {name: set() for name in ORDER}
    for path in MODULES:
        if (here := room(path)) in above:
            names = {name.split(".")[1] for name in imports(path) if name.startswith("jsnn.")}
            above[here] |= names - {here}
    height = {}
    for name in ORDER:
        height[name] = 1 + max((height[other] for other in above[name]), default=0)
    return height


def test_there_are_few_floors():
    assert max(floors().values()) <= 9


QUESTION = re.compile(r"(What|How|Where|Which|Whether|When|Who|Whose|Why|Do|Does|Did)\w*\b")
ROOT = PACKAGE.parent
SCRIPTS = sorted(
    path for part in ("jsnn", "experiments", "tests") for path in (ROOT / part).rglob("*.py")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_begins_with_a_noun_phrase(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text and not QUESTION.match(text), text and text.splitlines()[0]
