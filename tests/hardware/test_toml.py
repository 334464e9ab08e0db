"""A machine from a TOML file: what is read, and what every mistake is told."""

import re
import textwrap

import jax.numpy as jnp
import pytest

from jsnn.energy import COMPONENTS, estimate_energy
from jsnn.hardware import get, machines, toml
from jsnn.hardware.toml import ARCHITECTURES, dump, load
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

DOC = toml.__doc__
EXAMPLE = textwrap.dedent(DOC[DOC.index("    name =") : DOC.index("* `name`")])
WORK = Workload((dense(10, 6, steps=4, rate=0.5, rate_out=0),))


@pytest.fixture
def written(tmp_path):
    """Write a file, the example with replacements: `(*(old, new)) -> path`."""

    def write(*changes, text=EXAMPLE):
        for old, new in changes:
            assert text.count(old) >= 1, old
            text = text.replace(old, new, 1)
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_example_of_the_module(written):
    machine = load(written())
    assert machine.name == "my-chip-28nm" and machine.architecture.name == "chip"
    assert machine.design.parameters == {"hops": 2.5, "targets_per_message": 64.0}
    synop = machine.technology.constants["synop_pj"]
    assert (synop.value, synop.low, synop.high, synop.provenance) == (6.5, 5.9, 8.1, "SECONDARY")
    assert synop.note == "measured" and "ISSCC 2030" in synop.source
    neuron = machine.technology.constants["neuron_pj"]
    assert neuron.value == 14.0 and neuron.low is None and neuron.note == ""
    assert dict(machine.unpriced).keys() >= {"weight_memory", "state_memory", "static"}
    parts = dict(
        zip(COMPONENTS, estimate_energy(WORK, machine).components_pj()[0].tolist(), strict=True)
    )
    spikes = 10 * 4 * 0.5
    assert parts["synapse"] == pytest.approx(spikes * 6 * 6.5)
    assert parts["neuron"] == pytest.approx(6 * 4 * 14)
    assert parts["routing"] == pytest.approx(spikes * 2.5 * 1.2)
    assert estimate_energy(WORK, machine).provenances == ("DERIVED", "SECONDARY")


def test_get_takes_the_path(written):
    path = written()
    assert get(str(path)) == load(path) == load(str(path))
    with pytest.raises(ValueError, match=r"no such hardware file: .*absent\.toml"):
        get(str(path.parent / "absent.toml"))
    with pytest.raises(ValueError, match=r"or a \.toml file"):
        get("absent")


def _toml(machine):
    """A preset written as a file."""
    lines = [f'name = "copy of {machine.name}"', "[architecture]"]
    architecture = machine.architecture
    lines += [f'name = "{architecture.name}"']
    if architecture.name != "chip":
        options = vars(architecture)
        lines += [
            f"{k} = {str(v).lower() if isinstance(v, bool) else repr(getattr(v, 'name', v))}"
            for k, v in options.items()
        ]
    for name, c in machine.technology.constants.items():
        lines += [f"[constants.{name}]", f"value = {c.value!r}"]
        lines += [
            f'unit = "{c.unit}"',
            f"source = '''{c.source}'''",
            f'provenance = "{c.provenance}"',
        ]
        lines += [f"note = '''{c.note}'''"] if c.note else []
        lines += [f"low = {c.low!r}", f"high = {c.high!r}"] if c.low is not None else []
    if architecture.name == "chip":
        lines += ["[unpriced]", *(f"{k} = '''{v}'''" for k, v in architecture.reasons)]
    return "\n".join(
        [*lines, "[design]", *(f"{k} = {v}" for k, v in machine.design.parameters.items())]
    )


@pytest.mark.parametrize("name", machines())
def test_every_preset_can_be_written_as_a_file(name, written):
    """The same constants, design parameters and energy; only the name is another."""
    machine = get(name)
    text = _toml(machine)
    # The reset of Loihi is no component; a file has reasons for components only.
    text = re.sub(r"^reset = .*\n", "", text, flags=re.MULTILINE)
    copy = load(written(text=text))
    assert copy.technology == machine.technology and copy.design == machine.design
    assert copy.name == f"copy of {name}"
    result, expected = (estimate_energy(WORK, m).parts_pj.tolist() for m in (copy, machine))
    assert result == expected


STATIC = """
[constants.static_power_w]
value = 2e-6
unit = "W"
source = "Doe et al."
provenance = "RECALLED"
[constants.step_latency_s]
value = 1e-3
unit = "s"
source = "Doe et al."
provenance = "RECALLED"
[unpriced]"""


@pytest.mark.parametrize("text", [EXAMPLE, _toml(get("spikesim-rram")), _toml(get("sata"))])
def test_static_power_comes_on_top(written, text):
    """Of a chip and of machines that charge for steps themselves."""
    plain = load(written(text=text))
    section = "[unpriced]" if "[unpriced]" in text else "[design]"
    static = STATIC.replace("[unpriced]", section)
    machine = load(written((section, static), text=text))
    before, after = (
        dict(zip(COMPONENTS, estimate_energy(WORK, m).components_pj()[0].tolist(), strict=True))
        for m in (plain, machine)
    )
    assert before.pop("static") == 0 and after.pop("static") == pytest.approx(4 * 2e3)
    assert before == after
    assert "static" in dict(plain.unpriced) and "static" not in dict(machine.unpriced)


SYNOP = EXAMPLE[EXAMPLE.index("[constants.synop_pj]") : EXAMPLE.index("[constants.neuron_pj]")]
MISTAKES = {
    "no TOML": ((("[architecture]", "[architecture"),), "no valid TOML"),
    "no name": ((('name = "my-chip-28nm"', ""),), "name: expected a text"),
    "empty name": ((("my-chip-28nm", " "),), "name: expected a text"),
    "unknown section": ((("[design]", "[desing]"),), r"unknown \['desing'\]; valid: \['arch"),
    "section no table": ((("[design]", "[[design]]"),), r"design: expected a table \[design\]"),
    "no architecture": ((('name = "chip"', ""),), "architecture.name: expected a text"),
    "architecture": ((('"chip"', '"chips"'),), r"unknown architecture 'chips'; valid: \['chip'"),
    "missing constant": (((SYNOP, ""), ("[constants.neuron_pj]", "[constants.spike_pj]")), "synap"),
    "unknown constant": ((("constants.hop_pj", "constants.hops_pj"),), "hops_pj"),
    "no value": ((("value = 6.5\n", ""),), r"constants\.synop_pj: \['value'\] missing"),
    "no unit": ((('unit = "pJ"\n', ""),), r"constants\.synop_pj: \['unit'\] missing"),
    "empty unit": ((('unit = "pJ"', 'unit = ""'),), r"constants\.synop_pj\.unit: expected a text"),
    "other unit": ((('unit = "pJ"', 'unit = "nJ"'),), r"synop_pj\.unit: expected 'pJ'.*'nJ'"),
    "no source": (
        (('source = "Doe et al., ISSCC 2030, table 2 (28 nm, 0.6 V)"\n', ""),),
        r"constants\.synop_pj: \['source'\] missing",
    ),
    "no provenance": (
        (('provenance = "SECONDARY"\n', ""),),
        r"constants\.synop_pj: \['provenance'\] missing",
    ),
    "unknown provenance": ((('"SECONDARY"', '"SURE"'),), r"constants\.synop_pj: .*'SURE'"),
    "negative": (
        (("value = 6.5", "value = -6.5"),),
        r"constants\.synop_pj: expected 0 <= value.*-6.5 pJ: check",
    ),
    "not finite": ((("value = 6.5", "value = nan"),), r"constants\.synop_pj\.value: .*finite"),
    "no number": ((("value = 6.5", 'value = "6.5"'),), r"synop_pj\.value: expected a number"),
    "truth value": ((("value = 6.5", "value = true"),), r"synop_pj\.value: expected a number"),
    "half a range": ((("low = 5.9\n", ""),), r"constants\.synop_pj: a range needs both ends"),
    "unknown field": ((("low = 5.9", "lowest = 5.9"),), r"synop_pj: unknown \['lowest'\]"),
    "constant no table": (((SYNOP, "[constants]\nsynop_pj = 6.5\n"),), "expected a table with"),
    "no reason": ((("weight_memory =", "#"),), r"architecture 'chip': .*weight_memory"),
    "empty reason": (
        (('"all movement is by messages, under routing"', '""'),),
        r"unpriced\.activation_movement: expected a text",
    ),
    "reason of nothing": ((("weight_memory =", "weights ="),), r"unpriced: unknown \['weights'\]"),
    "both": ((("[unpriced]", '[unpriced]\nsynapse = "free"'),), "synapse.*both"),
    "missing design parameter": ((("hops = 2.5", ""),), r"design: .*missing: \['hops'\]"),
    "unknown design parameter": (
        (("hops = 2.5", "hops = 2.5\nhopes = 1"),),
        r"unknown: \['hopes'\]",
    ),
    "design parameter of others": (
        (("hops = 2.5", "hops = 2.5\nclock_hz = 1e6"),),
        r"\['clock_hz'\]",
    ),
    "design parameter out of bounds": (
        (("hops = 2.5", "hops = -1"),),
        r"design: expected 0 <= hops",
    ),
    "design parameter no number": (
        (("hops = 2.5", 'hops = "two"'),),
        r"design\.hops: expected a number",
    ),
    "static alone": (
        (("[unpriced]", STATIC[: STATIC.index("[constants.step")] + "[unpriced]"),),
        "static_power_w.*belong together",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_file_and_field(written, mistake):
    changes, message = MISTAKES[mistake]
    path = written(*changes)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_options_of_architectures(written):
    text = _toml(get("sata-published"))
    assert load(written(text=text)).architecture.published_bugs
    with pytest.raises(ValueError, match=r"mine\.toml: .*published_bugs"):
        load(written(("published_bugs = true", 'published_bugs = "no"'), text=text))
    with pytest.raises(ValueError, match=r"unknown \['bugs'\]; valid: \['published_bugs'\]"):
        load(written(("published_bugs = true", "bugs = true"), text=text))
    with pytest.raises(ValueError, match="knows by itself"):
        load(written(("[design]", '[unpriced]\nrouting = "no"\n[design]'), text=text))
    levels = _toml(get("event-45nm"))
    with pytest.raises(ValueError, match=r"mine\.toml: .*'memory'"):
        load(written((re.search(r"memory = .*\n", levels)[0], ""), text=levels))
    memory = re.search(r"memory = .*", levels)[0]
    with pytest.raises(ValueError, match=r"mine\.toml: architecture 'event-driven': .*attic"):
        load(written((memory, 'memory = "attic"'), text=levels))


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as text"):
        load(path)
    with pytest.raises(ValueError, match="cannot be read as text"):
        load(tmp_path)


def test_architectures_are_those_of_the_package():
    committed = {"spatial-committed", "neuromorphic-committed"}
    assert {get(name).architecture.name for name in machines()} | committed == set(ARCHITECTURES)


# Their remarks about what is no component have no place in a file.
REMARKS = {"loihi-14nm", "loihi-sanafe"}


@pytest.mark.parametrize("name", [name for name in machines() if name not in REMARKS])
def test_a_machine_written_down_is_read_back(name, tmp_path):
    (tmp_path / "mine.toml").write_text(dump(get(name)), encoding="utf-8")
    assert load(tmp_path / "mine.toml") == get(name)


def test_what_a_file_cannot_hold_is_refused():
    for name in REMARKS:
        with pytest.raises(ValueError, match="reset"):
            dump(get(name))
    machine = get("neuromorphic-22nm").with_design(weight_bits=jnp.array([4.0, 8.0]))
    with pytest.raises(ValueError, match="weight_bits: expected one number"):
        dump(machine)
