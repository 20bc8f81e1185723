"""docs/terms.md has the words of the terminal, the figures, the page and ``diagnosis.json``."""

import itertools
import re
from pathlib import Path

import pytest

from diagnosis import compare, diagnose
from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.compare import HEADLINES, quantity_name
from diagnosis.demo import read_demo
from diagnosis.figures import FIGURES
from diagnosis.flow import FATES
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.tide import TIDE_ERRORS
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json
from diagnosis.words import brief, summary

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(r"^\| ([^|`]+) \| (`[^|]+) \|", (ROOT / "docs" / "terms.md").read_text(), re.MULTILINE)
TERMS = {term: re.findall(r"`(\w+)`", keys) for term, keys in ROWS}
PAGE = (ROOT / "diagnosis" / "report" / "assets" / "page.js").read_text()


@pytest.fixture(scope="module")
def found(demo_folder):
    truth, plain, shuffled, similar = read_demo(demo_folder)
    both = [diagnose(truth, one, name, similar) for name, one in (("plain", plain), ("shuffled", shuffled))]
    return both, compare(both, replicates=20)


def keys_of(content):
    values = content.values() if isinstance(content, dict) else content
    own = set(content) if isinstance(content, dict) else set()
    return own.union(*(keys_of(value) for value in values if isinstance(value, dict | list)))


def test_every_key_of_the_table_is_in_the_json(found):
    diagnoses, comparison = found
    content = to_json(diagnoses, {}, comparison_to_json(comparison), intervals_to_json(comparison))
    named = {key for keys in TERMS.values() for key in keys}
    assert len(TERMS) == len(ROWS) > 30
    assert content["detectors"][0]["confusion"]["columns"][-1] in TERMS
    assert content["detectors"][0]["tide"]["confusion"]["rows"][-1] in TERMS
    assert named <= keys_of(content)
    # And the other way round: no error type, AP or cost without a row.
    variants = {variant.name for variant in IMPACT_VARIANTS} - {"all"}
    assert named >= {error.name for error in (*ERROR_TYPES, *TIDE_ERRORS, *FATES)} | {*AP_KINDS} | variants
    for quantity in comparison.quantities:
        assert quantity.split("/")[1] in named, quantity


def test_the_words_shown_are_those_of_the_table(found):
    rows = [(error.name, error.label) for error in (*ERROR_TYPES, *TIDE_ERRORS)]
    rows += [(name, kind.heading) for name, kind in AP_KINDS.items()]
    rows += [(key.split("/")[1], name) for key, name in HEADLINES.items()]
    quantities = [key for key in found[1].quantities if key.split("/")[0] in ("share", "dap", "objects")]
    rows += [(key.split("/")[1], quantity_name(key)) for key in quantities]
    for key, word in rows:
        term = next(term for term, keys in TERMS.items() if key in keys)
        assert term.removesuffix(" (TIDE)") == word, key


def test_terminal_and_page_call_the_means_and_scores_the_same(found):
    page = (ROOT / "diagnosis" / "report" / "page.py").read_text()
    texts = {"terminal": brief(*found), "summary": summary(*found), "page": PAGE, "page.py": page}
    for where, text in texts.items():
        assert "class mean" in text.lower(), where
        assert not re.search(r"(mean|averaged) over (the |all )?classes[;,.\")]", text), where
        assert not re.search(r"\bmAP\b|mean average precision|VOC 2007", text), where
    assert "AP50" not in PAGE  # the names come from AP_KINDS
    assert all("pooled" in texts[where] for where in ("summary", "page", "page.py"))


PLAIN_WORDS = set(
    re.findall(
        r"\w+",
        "and by costs each error errors finds fixing for from gain group is mix of over "
        "precision rank recall score sensitive shares size takes the "
        "their to type types what which with would",
    )
)
"""Words of titles that the table does not name; another name for one of its terms is not among them."""


def test_titles_of_figures_use_the_words_of_the_table():
    words = set(re.findall(r"[a-z]+", " ".join(TERMS).lower()))
    words |= PLAIN_WORDS | {f"{word}s" for word in words} | {f"{word}es" for word in words}
    for figure in FIGURES:
        title = re.sub(r"\{.*?\}", "", figure.title).lower()
        assert set(re.findall(r"[a-z]+", title)) <= words, figure.file


def lightness(colour: str) -> float:
    """CIE's L* of ``#rrggbb``, 0 (black) to 100."""
    light = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in light]
    return 116 * (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) ** (1 / 3) - 16


@pytest.mark.parametrize("table", [ERROR_TYPES, TIDE_ERRORS, FATES], ids=["types", "tide", "fates"])
def test_colours_differ_in_grey(table):
    greys = sorted((lightness(kind.colour), kind.name) for kind in table)
    for (dark, one), (light, other) in itertools.pairwise(greys):
        assert light - dark >= 8.5, (one, other)


def test_correct_and_other_are_far_apart_in_grey():
    grey = {kind.name: lightness(kind.colour) for kind in ERROR_TYPES}
    assert abs(grey["correct"] - grey["other"]) >= 19
