"""Chip files damaged at random: what loads is what the file says, all else is refused by name."""

import dataclasses
import random
import re
import textwrap
import tomllib

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jsnn.energy import estimate_energy
from jsnn.hardware import get, machines, toml
from jsnn.hardware.constant import PROVENANCES, largest
from jsnn.hardware.design import BOUNDS
from jsnn.hardware.toml import dump, load
from jsnn.workload import Workload
from jsnn.workload.analytic import dense
from tests.fuzzing import Outcomes, examples

# Their remarks about what is no component have no place in a file.
REMARKS = {"loihi-14nm", "loihi-sanafe"}
CHIPS = ("truenorth-28nm", "odin-28nm", "seneca-22nm", "spinnaker2")
# A machine of each architecture, and chips that price different things.
NAMES = sorted(
    {
        *{get(n).architecture.name: n for n in machines() if n not in REMARKS}.values(),
        *CHIPS,
    }
)
MACHINES = {name: get(name) for name in NAMES}
TEXTS = {name: dump(machine) for name, machine in MACHINES.items()}
DOC = toml.__doc__
TEXTS["example"] = textwrap.dedent(DOC[DOC.index("    name =") : DOC.index("* `name`")])
WORK = Workload((dense(10, 6, steps=4, rate=0.5), dense(6, 3, steps=4, rate=0.1, bias=True)))
VALUES = (
    *("9" * 400, "9" * 5000, "0x" + "f" * 4000, "1e308", "1e400", "inf", "-inf", "nan", "-1", "0"),
    *("1e-320", "-0.0", "1e12", "3", "0.5", "true", '""', '" "', '"8"', '"pJ"', '"\\uD800"', "''"),
    *('"\\U0001F600"', "[]", '["a"]', "[[[1]]]", "[" * 500 + "]" * 500, "[" * 20000, "{}"),
    *("{a = 1}", "{" + "a = {" * 400 + "}" * 401, "1979-05-27", "07:32:00", "1_000", "0b11", "8 8"),
)
OUTCOMES = Outcomes("chips")


def outcome(function, *args):
    """The words of a refusal, or None and what came out."""
    try:
        return None, function(*args)
    except ValueError as error:
        return str(error), None


def damaged(text: str, rng: random.Random) -> bytes:
    """The file with one to three faults in it."""
    content = text.encode()
    for _ in range(rng.choice((1, 1, 2, 3))):
        lines = content.split(b"\n")
        number = rng.randrange(len(lines))
        at = rng.randrange(max(1, len(content)))
        key, equals, _ = lines[number].partition(b" = ")
        match rng.choice(("value", "value", "value", "key", "line", "bytes", "cut")):
            case "value" if equals:
                lines[number] = key + equals + rng.choice(VALUES).encode()
                content = b"\n".join(lines)
            case "key" if equals:
                other = rng.choice(lines).partition(b" = ")[0]
                renamed = rng.choice((other, b"a" * 300, b'"\\u0000"', b"a." * 600 + b"a", b""))
                lines[number] = renamed + lines[number][len(key) :]
                content = b"\n".join(lines)
            case "line":
                moved = lines.pop(number)
                for _ in range(rng.choice((0, 1, 2))):
                    lines.insert(rng.randrange(len(lines) + 1), moved)
                content = b"\n".join(lines)
            case "cut":
                content = content[:at]
            case _:
                some = bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
                content = content[:at] + some + content[at + rng.randrange(4) :]
    return content


def check_that_it_is_what_the_file_says(machine, content: bytes) -> None:
    said = tomllib.loads(content.decode())
    assert machine.name == said["name"]
    assert machine.architecture.name == said["architecture"]["name"]
    options = {k: v for k, v in said["architecture"].items() if k != "name"}
    held = {k: getattr(v, "name", v) for k, v in vars(machine.architecture).items()}
    assert options.items() <= held.items()
    assert machine.design.parameters == {k: float(v) for k, v in said.get("design", {}).items()}
    constants = machine.technology.constants
    assert constants.keys() == said["constants"].keys()
    for name, entry in said["constants"].items():
        held = dataclasses.asdict(constants[name])
        assert held == {"note": "", "low": None, "high": None} | entry
    if "unpriced" in said:
        assert dict(machine.architecture.reasons) == said["unpriced"]


def energies_are_sound(machine) -> None:
    refusal, priced = outcome(estimate_energy, WORK, machine)
    if refusal is not None:
        # Of the memory or cores that the file states, or a line through prices below zero.
        assert re.search("raise|fit|is negative at", refusal)
        return
    parts_pj = np.asarray(priced.parts_pj)
    assert np.isfinite(parts_pj).all()
    # A chip may state less for a neuron that fires than for one that does not, to the rounding.
    assert (parts_pj >= -1e-6 * np.abs(parts_pj).max()).all()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("chips") / "mine.toml"


def test_a_damaged_file_is_refused_or_means_what_it_says(path):
    @settings(max_examples=examples(400))
    @given(st.sampled_from(sorted(TEXTS)), st.integers(0, 2**64))
    @example("example", 0)
    def check(name, seed):
        content = damaged(TEXTS[name], random.Random(seed))
        path.write_bytes(content)
        refusal, machine = outcome(load, path)
        if refusal is not None:
            assert refusal.startswith(f"{path}: ") and "\n" not in refusal
            assert len(refusal) < 1500
            OUTCOMES.add("files", "refused by name")
            return
        check_that_it_is_what_the_file_says(machine, content)
        energies_are_sound(machine)
        unchanged = MACHINES.get(name) == machine
        OUTCOMES.add("files", f"read, the {'same machine' if unchanged else 'machine it says'}")

    check()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("6.5", "9" * 400, r"constants\.synop_pj\.value: .*an integer of 1329 bits"),
        ("6.5", "9" * 5000, "no valid TOML"),
        ("6.5", "[" * 500 + "]" * 500, "no valid TOML: lists or tables are nested too deep"),
        ("6.5", "1e308", r"constants\.synop_pj: expected 0 <= value <= 1e\+12, found 1e\+308"),
        ("6.5", "inf", r"constants\.synop_pj\.value: expected a finite number, found inf"),
        ("8.1", "inf", r"constants\.synop_pj\.high: expected a finite number, found inf"),
        ("hops = 2.5", "hops = 1e308", r"design: expected 0 <= hops <= 1e\+06"),
        ('name = "chip"', 'name = "chip"\nmemory = ["a"]', r"architecture: unknown \['memory'\]"),
        ('"pJ"', '"pJoules"', r"constants\.synop_pj\.unit: expected 'pJ' as the name says"),
    ],
)
def test_what_was_a_traceback_or_no_number(path, old, new, message):
    path.write_text(TEXTS["example"].replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_options_have_types(path):
    for name, option, value in (
        ("spatial-45nm", "memory", '["a"]'),
        ("spatial-45nm", "memory", "8"),
        ("sata", "published_bugs", '"yes"'),
    ):
        lines = dump(get(name)).splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{option} = "))
        lines[at] = f"{option} = {value}"
        path.write_text("\n".join(lines))
        with pytest.raises(ValueError, match=rf"mine\.toml: architecture\.{option}: expected"):
            load(path)


# Every character; now and then half of one, or nothing to read at all.
WHOLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda text: text + "x")
WHOLE |= st.sampled_from(["\x7f", "\U0001f600", '"""', "\\", "-\r\n\0"])
WORDS = st.integers(0, 79).flatmap(lambda n: WHOLE if n else st.text("\ud800 \n", max_size=3))


def numbers_up_to(most: float, least: float = 0.0):
    return st.floats(-12, 0).map(lambda share: max(least, most * 10**share)) | st.just(most)


@st.composite
def machines(draw):
    """Any machine that can be: each word, constant and design parameter drawn anew."""
    machine = MACHINES[draw(st.sampled_from(NAMES))]
    constants = {}
    for name, constant in machine.technology.constants.items():
        low, value, high = sorted(draw(numbers_up_to(largest(constant.unit))) for _ in range(3))
        ends = {"low": low, "high": high} if draw(st.booleans()) else {"low": None, "high": None}
        source = draw(WORDS) + "x"
        provenance = draw(st.sampled_from(sorted(PROVENANCES)))
        constants[name] = dataclasses.replace(
            constant, value=value, source=source, provenance=provenance, note=draw(WORDS), **ends
        )
    parameters = {
        n: draw(numbers_up_to(BOUNDS[n][1], BOUNDS[n][0])) for n in machine.design.parameters
    }
    machine = dataclasses.replace(
        machine,
        name=draw(WORDS),
        technology=dataclasses.replace(machine.technology, constants=constants),
    )
    return machine.with_design(**parameters)


def words_of(machine):
    yield machine.name
    for constant in machine.technology.constants.values():
        yield constant.source
        if constant.note:
            yield constant.note


def test_what_is_written_is_read_back_and_costs_something_finite(path):
    @settings(max_examples=examples(40))
    @given(machines())
    def check(machine):
        words = list(words_of(machine))
        writable = all(word.strip() and not has_half_characters(word) for word in words)
        refusal, text = outcome(dump, machine)
        assert writable == (refusal is None), refusal
        if refusal is not None:
            OUTCOMES.add("written", "refused by name")
        else:
            assert text.isascii()
            path.write_text(text)
            assert load(path) == machine
            OUTCOMES.add("written", "read back")
        energies_are_sound(machine)

    check()


def has_half_characters(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return True
    return False


def test_what_no_file_holds_is_refused_by_name():
    machine = get("neuromorphic-22nm")
    endless = jax.tree.map(lambda leaf: leaf * np.inf, machine)
    with pytest.raises(ValueError, match=r"accumulate_pj\.value: expected a finite number.*inf"):
        dump(endless)
    with pytest.raises(ValueError, match="name: half a character"):
        dump(dataclasses.replace(machine, name="\ud83d"))
    with pytest.raises(ValueError, match="name: expected a text that is not empty"):
        dump(dataclasses.replace(machine, name=" "))


@pytest.mark.parametrize("machine", ["hierarchy-45nm", "classical-45nm", "spatial-45nm"])
def test_adders_whose_line_falls_below_zero_are_refused(machine):
    """0.03 pJ at 8 bits and 0.2 at 32 make -0.02 at one: it was a negative energy."""
    steep = get(machine).with_constants(add_int32_pj=0.2)
    assert (np.asarray(estimate_energy(WORK, steep).parts_pj) >= 0).all()
    narrow = steep.with_design(state_bits=1)
    with pytest.raises(ValueError, match="8- and 32-bit adders is negative at 1"):
        estimate_energy(WORK, narrow)
    # Not known while it is traced, and then nothing rather than less.
    parts_pj = jax.jit(lambda machine: estimate_energy(WORK, machine).parts_pj)(narrow)
    assert (np.asarray(parts_pj) >= 0).all()
