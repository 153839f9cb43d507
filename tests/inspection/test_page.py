"""The page: what it contains, decoded; harmless text; bounds; colours that can be read."""

import base64
import json
import math
import re
import zlib
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq.inspection import inspect, inspector
from fastseq.lm import LanguageModel
from fastseq.text import Vocabulary

TEXT = 'The cat “sat” on (the) mat.\n  And "so" on, 42 times.\n' * 10
CELLS = ["rnn", "gru", "lstm"]
LEVELS = {
    "char": Vocabulary.characters(TEXT),
    "byte": Vocabulary.bytes(),
    "word": Vocabulary.words(TEXT, max_size=10, eos=True),
}


def make(cell="lstm", level="char", vocabulary=None, **options):
    options = {"hidden_size": 6, "num_layers": 2, "seed": 3} | options
    return LanguageModel(vocabulary or LEVELS[level], cell=cell, **options)


class Elements(HTMLParser):
    """The contents of all script elements by id, and the names and attributes of all others."""

    def __init__(self, page):
        super().__init__()
        self.scripts, self.others, self._id = {}, [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self._id = dict(attributes).get("id", "")
            self.scripts[self._id] = ""
        else:
            self.others.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag == "script":
            self._id = None

    def handle_data(self, data):
        if self._id is not None:
            self.scripts[self._id] += data

    def array(self, name, dtype, shape):
        raw = zlib.decompress(base64.b64decode(self.scripts[name]))
        return np.frombuffer(raw, dtype).reshape(shape)

    @property
    def facts(self):
        return json.loads(self.scripts["facts"])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_page_holds_the_recording(cell, level):
    lm = make(cell, level)
    found = inspect(lm, TEXT)
    page = Elements(found.html())
    n, H = len(found.tokens), 6
    kinds = {name: kind for name, _, kind in page.facts["quantities"]}
    assert tuple(kinds) == found.recording.names
    for name, layers in (found.recording.states | found.recording.gates).items():
        fine = name in found.recording.states
        for layer, values in enumerate(layers):
            numbers = page.array(f"{name}-{layer}", np.uint8, (H, n)).T.astype(float)
            if kinds[name] == "unsigned":
                decoded, error = numbers / 255, 5 / 510
            else:
                decoded, error = (numbers - 128) / 126, (1 if fine else 3) / 252
            if kinds[name] == "scaled":
                scale = page.array(f"{name}-{layer}-scale", "<f4", (H,))
                np.testing.assert_allclose(scale, np.abs(values[:n]).max(axis=0), rtol=1e-6)
                decoded, error = decoded * scale, error * scale
            assert (np.abs(decoded - values[:n]) <= error + 1e-6).all()
    np.testing.assert_allclose(page.array("bits", "<f4", (n,)), found.recording.bits, rtol=1e-6)
    k = page.facts["k"]
    ids = page.array("next-ids", "<u4", (n, k))
    np.testing.assert_array_equal(ids, found.recording.next_ids)
    probabilities = page.array("next-probabilities", "<f4", (n, k))
    np.testing.assert_allclose(probabilities, found.recording.next_probabilities, rtol=1e-6)
    assert (np.diff(probabilities) <= 0).all()
    used = {*map(str, ids.ravel()), *map(str, found.tokens.ids)}
    assert set(page.facts["labels"]) == used


@pytest.mark.parametrize("level", LEVELS)
def test_the_page_holds_the_text(level):
    facts = Elements(inspect(make(level=level), TEXT).html()).facts
    gaps = facts["gaps"] or [""] * len(facts["pieces"])
    assert "".join(gap + piece for gap, piece in zip(gaps, facts["pieces"], strict=True)) == TEXT
    assert facts["ids"] == LEVELS[level].encode(TEXT).tolist()


HARMFUL = [
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "&lt;&amp;", "\"'`${1}\\",
    "\x00\x01\x1b\x7f\x85", "\u2028\u2029\ufeff\u202e", "\udcff\udc80", "$facts $$ ${title}",
    "</style><img src=x onerror=alert(1)>", "😀é",
]  # fmt: skip


@pytest.mark.parametrize("text", HARMFUL)
@pytest.mark.parametrize("level", ["char", "byte", "word"])
def test_any_text_is_harmless(text, level, tmp_path):
    if level == "byte":
        vocabulary = Vocabulary.bytes()
    else:
        vocabulary = (Vocabulary.characters if level == "char" else Vocabulary.words)(text + " a")
    plain = Elements(inspect(make(level=level), "a").html("a"))
    path = tmp_path / "page.html"
    inspect(make(vocabulary=vocabulary), text).write(path, title=text)
    page = Elements(path.read_bytes().decode())
    assert page.others == plain.others  # no element and no attribute comes from the text
    assert page.scripts.keys() == plain.scripts.keys()
    assert page.scripts[""] == plain.scripts[""]
    facts = page.facts
    gaps = facts["gaps"] or [""] * len(facts["pieces"])
    joined = "".join(gap + piece for gap, piece in zip(gaps, facts["pieces"], strict=True))
    assert joined == text.strip() if level == "word" else joined == text
    raw = page.scripts["facts"]
    assert raw.isascii()
    assert not set("<>&") & set(raw)


@settings(max_examples=30)
@given(text=st.text(min_size=1, max_size=20).filter(lambda text: max(text) < "\ud800"))
def test_any_text_comes_back(text):
    facts = Elements(inspect(make(vocabulary=Vocabulary.characters(text)), text).html()).facts
    assert "".join(facts["pieces"]) == text


def test_the_page_needs_no_network():
    page = Elements(inspect(make(), TEXT).html())
    for _, attributes in page.others:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    policy = next(
        a["content"] for _, a in page.others if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    for name in ("page.html", "page.css", "page.js"):
        assert "//" not in re.sub(r"^// .*|[^:]// .*", "", source(name), flags=re.M), name


def source(name):
    return files("fastseq.inspection").joinpath(name).read_text("utf-8")


# -- what is left out ------------------------------------------------------------------------


def test_a_long_text_is_cut_and_the_page_says_so():
    found = inspect(make(), TEXT, max_tokens=50, ranked_tokens=300)
    assert len(found.tokens) == 50
    assert found.recording.states["h"].shape[1] == 300
    assert found.recording.gates["i"].shape[1] == 50
    assert found.notes == (
        f"the first 50 of {len(TEXT)} tokens are shown (max_tokens)",
        "units are ranked by 300 tokens",
    )
    assert Elements(found.html()).facts["notes"] == list(found.notes)


def test_the_page_is_bounded(monkeypatch):
    monkeypatch.setattr(inspector, "MAX_PAGE_NUMBERS", 6 * 2 * 6 * 40)
    found = inspect(make(), TEXT)
    assert len(found.tokens) == 40
    assert "the first 40 of" in found.notes[0]
    assert "(a page holds 2,880 numbers, more tokens without gates)" in found.notes[0]
    assert len(inspect(make(), TEXT, gates=False).tokens) == 120  # two numbers instead of six
    monkeypatch.setattr(inspector, "MAX_PAGE_NUMBERS", 71)
    with pytest.raises(ValueError, match="expected at most 71 numbers for a token, got 72"):
        inspect(make(), TEXT)


def test_the_largest_page_has_a_few_megabytes():
    """Numbers that do not compress: the bound holds for any model."""
    count = inspector.MAX_PAGE_NUMBERS // 100
    raw = np.random.default_rng(0).integers(0, 256, count, np.uint8)
    assert len(zlib.compress(raw, 9)) * 4 / 3 * 100 < 8.1e6


def test_the_start_is_read_with_context():
    lm = make(dtype="float64")
    whole, part = inspect(lm, TEXT), inspect(lm, TEXT, start=100)
    assert part.start == 100
    rest = len(TEXT) - 100
    for name, array in whole.recording.states.items():
        np.testing.assert_allclose(part.recording.states[name], array[:, 100:], rtol=1e-9)
    assert part.recording.bits.shape == (rest,)
    assert Elements(part.html()).facts["start"] == 100


@pytest.mark.parametrize(("options", "message"), [
    ({"start": -1}, "start: expected at least 0"),
    ({"start": len(TEXT)}, f"text: expected more than {len(TEXT)} tokens, got {len(TEXT)}"),
    ({"max_tokens": 0}, "max_tokens: expected at least 1"),
    ({"ranked_tokens": 0}, "ranked_tokens: expected at least 1"),
])  # fmt: skip
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        inspect(make(), TEXT, **options)


@pytest.mark.parametrize(("options", "message"), [
    ({"layer": 2}, "layer: expected at most 1, got 2"),
    ({"unit": 6}, "unit: expected at most 5, got 6"),
    ({"quantity": "z"}, "quantity: expected one of h, c, i, f, g, o, got 'z'"),
])  # fmt: skip
def test_a_view_that_the_model_does_not_have(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        inspect(make(), "a").write(tmp_path / "page.html", **options)
    assert not [*tmp_path.iterdir()]


def test_what_the_page_shows_at_first():
    found = inspect(make(), TEXT)

    def first(**options):
        return Elements(found.html(**options)).facts["first"]

    assert first(layer=1) == {"layer": 1, "unit": 0, "show": "h"}
    assert first(unit=5, quantity="f") == {"layer": 0, "unit": 5, "show": "f"}
    assert first() in [
        {"layer": one.units[0].layer, "unit": one.units[0].unit, "show": one.quantity}
        for one in found.best_units()
    ]


# -- colours ---------------------------------------------------------------------------------

LIGHT, DARK = source("page.css").split("@media (prefers-color-scheme: dark)")[:2]
COLOURS = {
    "light": dict(re.findall(r"--([a-z]+): #([0-9a-f]{6})", LIGHT)),
    "dark": dict(re.findall(r"--([a-z]+): #([0-9a-f]{6})", DARK)),
}


def luminance(colour):
    """Relative luminance by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", COLOURS)
def test_text_on_every_colour_has_the_contrast_of_wcag_aa(scheme):
    colours = COLOURS[scheme]
    assert len(colours) == 14
    for name in ("negative", "middle", "positive", "shut", "open", "expected", "surprising"):
        assert contrast(colours["ink"], colours[name]) >= 4.5, name
    for ground in ("paper", "wash"):
        for name in ("ink", "muted", "accent"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def test_bits_are_those_of_evaluation():
    lm = make()
    found = inspect(lm, TEXT)
    assert found.recording.bits.sum() == pytest.approx(-lm.score(TEXT).sum() / math.log(2), 1e-6)
