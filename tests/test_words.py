"""Vocabulary: one word for one thing, and words that were given up stay away."""

import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Words given up, and what is said in their place.
GIVEN_UP = {
    "bill": "energy, energy estimate",
    "twin": "QNN",
    "avoidable": "spike-dependent",
    "knob": "design parameter; option",
    "duel": "comparison of regularisers",
    "crew": "pool",
    "ladder": "ablation",
    "rung": "stage",
    "anytime": "early exit",
    "afterwards": "post-training; after training",
    "prefixes": "answers by step",
    "carry_out": "apply_pruning",
}
# Words given up as names in code; in a sentence most of them mean what they say.
NAMES_GIVEN_UP = {
    "law": "neuron, dynamics",
    "goal": "targets",
    "spent": "usage",
    "built": "feasible; initial",
    "member": "run",
    "arrivals": "events",
    "Hold": "budget",
}
# The members of an archive are what its format calls them.
ARCHIVES = re.compile(r"^(jsnn|tests)/data/|^tests/properties/test_fuzz_data")
# Where such a word is no name of ours.
EXCEPTIONS = {
    "CHANGELOG.md": "the table of renames",
    "tests/test_words.py": "the words themselves",
    "jsnn/nn/_run.py": "prefixes of paths",
    "jsnn/workload/geometry.py": "prefixes of paths",
}
SUFFIXES = {".py", ".md", ".toml", ".ipynb"}


def texts() -> list[Path]:
    """Code and texts under version control, or all there are where there is none."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")]
    return [ROOT / n for n in names if Path(n).suffix in SUFFIXES and (ROOT / n).is_file()]


@pytest.mark.parametrize("word", GIVEN_UP)
def test_words_that_were_given_up_stay_away(word):
    """As a word or as a part of a name, in any case."""
    pattern = re.compile(rf"(?<![a-z]){word}(?:s|ed|ing)?(?![a-z])", re.IGNORECASE)
    result = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in texts()
        if str(path.relative_to(ROOT)) not in EXCEPTIONS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not result, f"{word}: say {GIVEN_UP[word]}\n" + "\n".join(result)


def names(path: Path) -> list[tuple[int, list[str]]]:
    """Line and parts of every name in a file, `on_front` as `on` and `front`; no test functions."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    parts = re.compile(r"_+|(?<=[a-z])(?=[A-Z])")
    return [
        (token.start[0], parts.split(token.string))
        for token in tokens
        if token.type == tokenize.NAME and not token.string.startswith("test_")
    ]


def test_names_that_were_given_up_stay_away():
    used = [
        f"{path.relative_to(ROOT)}:{line}: {word}: say {NAMES_GIVEN_UP[word]}"
        for path in texts()
        if path.suffix == ".py" and not ARCHIVES.search(str(path.relative_to(ROOT)))
        for line, parts in names(path)
        for word in NAMES_GIVEN_UP
        if {word, f"{word}s", word.upper(), f"{word.upper()}S"} & set(parts)
        if not {"power", "POWER"} & set(parts)  # the power law of a memory's energy
    ]
    assert not used, "\n".join(used)
