"""Names and commands in texts: those of a reader who types what he reads."""

import argparse
import ast
import dataclasses
import importlib.util
import json
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

import experiments.config
from experiments.runconfig import Config, configured

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"(?<![\w/.@-])(jsnn|experiments)((?:\.[A-Za-z_]\w*)+)")
COMMAND = re.compile(r"python -m (experiments[\w.]*)([^`\n#]*)")
# No name of a module: a placeholder.
PLACEHOLDERS = {"experiments.NAME"}
# Started by other experiments, which write to their standard input.
WORKERS = {"experiments.swept", "experiments.benchmarks.worker"}
MODULES = [*(ROOT / "jsnn").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]


def docstrings(path: Path) -> str:
    """Docstrings and comments."""
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))
    return "\n".join([*comments, *(ast.get_docstring(node) or "" for node in nodes)])


def notebook(path: Path) -> str:
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def today(changelog: str) -> str:
    """Without the old names: what the table of renames has in its first column."""
    lines = changelog.splitlines()
    return "\n".join(line.split("|")[2] if line.startswith("|") else line for line in lines)


def texts() -> dict[str, str]:
    result = {}
    for path in [*ROOT.glob("*.md"), *ROOT.glob("jsnn/**/*.md"), *ROOT.glob("experiments/**/*.md")]:
        text = path.read_text()
        result[str(path.relative_to(ROOT))] = today(text) if path.name == "CHANGELOG.md" else text
    for path in ROOT.glob("notebooks/*.ipynb"):
        result[str(path.relative_to(ROOT))] = notebook(path)
    for path in MODULES:
        result[str(path.relative_to(ROOT))] = docstrings(path)
    return result


TEXTS = texts()


def names() -> dict[str, str]:
    """Dotted names with one text that has each."""
    result = {}
    for where, text in TEXTS.items():
        for package, rest in NAME.findall(text):
            result[package + rest] = where
    return {name: where for name, where in result.items() if name not in PLACEHOLDERS}


def commands() -> list[tuple[str, str]]:
    result = {}
    for text in TEXTS.values():
        for module, words in COMMAND.findall(text):
            result[module.rstrip("."), words.strip()] = None
    return sorted(command for command in result if command[0] not in PLACEHOLDERS | WORKERS)


def test_names_are_reached_by_attribute_access():
    """After `import jsnn` alone, in a fresh interpreter; nothing is imported on first use."""
    named = sorted(name for name in names() if name.startswith("jsnn."))
    assert len(named) > 150
    script = """
import functools, sys, jsnn
for name in sys.stdin.read().split():
    try:
        functools.reduce(getattr, name.split(".")[1:], jsnn)
    except AttributeError:
        print(name)
"""
    run = [sys.executable, "-c", script]
    missing = subprocess.run(run, input=" ".join(named), capture_output=True, text=True, check=True)
    assert not [(name, names()[name]) for name in missing.stdout.split()]


@pytest.mark.parametrize("name", sorted(n for n in names() if n.startswith("experiments.")))
def test_experiments_that_are_named_are_there(name):
    pkgutil.resolve_name(name)


class Parsed(Exception):
    """A command has reached the end of its options."""


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A folder with the data and the network that texts name as the reader's own."""
    folder = tmp_path_factory.mktemp("things")
    labels = np.arange(40) % 4
    np.savez(folder / "mine.npz", frames=np.ones((40, 5, 3)), labels=labels, time_axis=1)
    (folder / "my_things.py").write_text(
        "import flax.linen, numpy as np\n"
        "from jsnn.data import load_npz\n"
        "blink = lambda seed: load_npz('mine.npz', seed)\n"
        "Tiny = flax.linen.Dense\n"
    )
    yield folder
    sys.modules.pop("my_things", None)


@pytest.mark.parametrize(("module", "words"), commands())
def test_commands_are_accepted_as_far_as_their_options(module, words, things, monkeypatch):
    """Options parsed and validated, with the recipe of their data set; nothing runs."""
    parse, parse_args = experiments.config.parse, argparse.ArgumentParser.parse_args

    def parse_only(cls, argv=None, description=""):
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
            values = parse(cls, argv, description)
        named = {field.name for field in dataclasses.fields(Config)}
        if issubclass(cls, Config):
            of_run = {key: value for key, value in values.items() if key in named}
            configured(of_run, values.get("smoke", False))
        else:
            cls(**values)
        raise Parsed

    def stop(parser, args=None, namespace=None):
        parse_args(parser, args, namespace)
        raise Parsed

    monkeypatch.chdir(things)
    monkeypatch.syspath_prepend(things)
    monkeypatch.setattr(experiments.config, "parse", parse_only)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    # The folder of another checkout is looked at while options are parsed.
    words = [str(ROOT) if word == "FOLDER" else word for word in shlex.split(words)]
    monkeypatch.setattr(sys, "argv", [module, *words])
    path = Path(importlib.util.find_spec(module).origin)
    path = path.with_name("__main__.py") if path.name == "__init__.py" else path
    with pytest.raises((Parsed, SystemExit)) as ended:
        runpy.run_path(str(path), run_name="__main__")
    # `--help` ends by itself.
    assert ended.type is Parsed or ended.value.code == 0
