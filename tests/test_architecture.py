"""The house: who may import whom, and what an import brings along."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jsnn"

# From the top of the house down; a module imports only from those above it.
ORDER = [
    "surrogate",
    "quantise",
    "precision",
    "timeaxis",
    "neurons",
    "unroll",
    "readouts",
    "workload",
    "events",
    "hardware",
    "hypothetical",
    "timeplan",
    "units",
    "counting",
    "latency",
    "energy",
    "area",
    "twin",
    "window",
    "attribution",
    "audit",
    "breakeven",
    "uncertainty",
    "report",
    "convolution",
    "pooling",
    "devices",
    # ---- above: the core, no flax; below: flax
    "synapses",
    "arrivals",
    "products",
    "layers",
    "attention",
    "models",
    "causal",
    "chunked",
    "run",
    "stream",
    "recording",
    "levers",
    "objectives",
    "training",
    "codesign",
    "checkpoint",
    "data",
    "diagnose",
    "plots",
]
CORE = ORDER[: ORDER.index("synapses")]
LEAVES = {"diagnose", "plots", "checkpoint", "data"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


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
    doors = {"orbax": "checkpoint.py", "tonic": "data/tonic_sets.py"}
    for library, door in doors.items():
        found = {
            str(path.relative_to(PACKAGE))
            for path in MODULES
            if any(name.split(".")[0] == library for name in imports(path))
        }
        assert found == {door}


def test_import_is_light_and_makes_no_array():
    script = """
import sys, jax, jsnn
heavy = {"tonic", "orbax", "sklearn", "matplotlib", "scipy", "flax.nnx"} & set(sys.modules)
assert not heavy - preloaded, heavy
assert not jax.live_arrays(), jax.live_arrays()
"""
    before = "import sys, jax, flax.linen, optax\npreloaded = set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", before + script], check=True, timeout=120)


def test_a_module_is_there_once_it_is_asked_for():
    script = """
import sys, jsnn
assert "jsnn.report" not in sys.modules
assert jsnn.report.compare and jsnn.data.names()
try:
    jsnn.repart
except AttributeError as error:
    assert "repart" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
