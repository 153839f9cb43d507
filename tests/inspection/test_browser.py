"""The page in a headless Chromium: colours, keys, touch, phone width, dark mode, no network."""

import io
import json
import re

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from matplotlib.image import imread
from planted import UNIT, model_with_a_quote_unit, quoted_text

from fastseq.inspection import inspect
from fastseq.lm import LanguageModel
from fastseq.text import Vocabulary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium"),
]
TEXT = quoted_text(200)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def _no_errors(browser):
    """No test may leave an error or a request behind, but for the page itself."""
    browser.events.clear()
    yield
    wrong = [
        e for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert not wrong
    urls = {
        event["params"]["request"]["url"].partition("#")[0]
        for event in browser.events if event["method"] == "Network.requestWillBeSent"
    }  # fmt: skip
    assert all(
        url.startswith(("file://", "data:,")) and url.endswith((".html", ",")) for url in urls
    )
    assert len(urls - {"data:,"}) == 1


@pytest.fixture(scope="module")
def quotes(tmp_path_factory):
    """The inspection of a model with a unit that follows quotes, and its page's address."""
    path = tmp_path_factory.mktemp("quotes") / "page.html"
    inspection = inspect(model_with_a_quote_unit(TEXT, layers=2), TEXT)
    inspection.write(path, title="Quotes")
    return inspection, path.as_uri()


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    path = tmp_path_factory.mktemp("lstm") / "page.html"
    lm = LanguageModel(Vocabulary.characters(TEXT), hidden_size=5, num_layers=2)
    lm.load_state_dict({name: 6 * array for name, array in lm.state_dict().items()})
    inspection = inspect(lm, TEXT)
    inspection.write(path)
    return inspection, path.as_uri()


def colours(browser):
    """Background of each token, of shape (n, 3)."""
    found = browser.evaluate(
        "[...document.querySelectorAll('#text span')].map(s => s.style.backgroundColor)"
    )
    return np.array([[int(part) for part in re.findall(r"\d+", colour)] for colour in found])


def shown(browser):
    """The view that the address holds."""
    browser.wait("location.hash === document.documentElement.dataset.ready")
    text = browser.evaluate("location.hash.slice(1)")
    return dict(part.split("=") for part in text.split("&"))


def wait_for(browser, **values):
    """Wait until the page is drawn with these values in its address."""
    for name, value in values.items():
        pattern = json.dumps(f"{name}={value}")
        browser.wait(
            f"document.documentElement.dataset.ready.slice(1).split('&').includes({pattern})"
        )


def palette_colour(browser, names, part):
    """A mixture of the colours that the style sheet gives, as the page should compute it."""
    ends = [
        browser.evaluate(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')"
        )
        for name in names
    ]
    ends = np.array([[int(end.strip()[i : i + 2], 16) for i in (1, 3, 5)] for end in ends])
    places = np.linspace(0, 1, len(ends))
    return np.stack([np.interp(part, places, channel) for channel in ends.T], axis=-1)


def overflow(browser):
    return browser.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


@SIZES
@SCHEMES
def test_the_screenshot_shows_the_chosen_unit(browser, quotes, size, dark):
    inspection, url = quotes
    browser.open(f"{url}#show=h&layer=0&unit={UNIT}", **size, dark=dark)
    assert overflow(browser) == 0
    values = inspection.recording.states["h"][0, :, UNIT]
    expected = palette_colour(browser, ["negative", "middle", "positive"], (values + 1) / 2)
    assert np.abs(colours(browser) - expected).max() <= 2
    browser.evaluate("document.getElementById('text').scrollIntoView({behavior: 'instant'})")
    picture = imread(io.BytesIO(browser.screenshot()), format="png")[:, :, :3] * 255
    assert picture.shape == (size["height"], size["width"], 3)
    # A row of pixels through each visible token's upper edge has its colour.
    places = browser.evaluate("""
        [...document.querySelectorAll('#text span')].map((span, t) => {
            const box = span.getClientRects()[0];
            return [t, box.left + box.width / 2, box.top + 1.5, box.width];
        }).filter(([t, x, y, width]) => width > 5 &&
            document.elementFromPoint(x, y)?.dataset.t == t)
    """)
    assert len(places) > 100
    t, x, y, _ = np.array(places).T
    seen = picture[y.astype(int), x.astype(int)]
    close = np.abs(seen - expected[t.astype(int)]).max(axis=1) <= 4
    assert close.mean() > 0.97  # a capital or a quotation mark may reach the edge
    assert len(np.unique(expected[t.astype(int)].round(), axis=0)) > 2
    ground = palette_colour(browser, ["wash", "wash"], 0.0)
    assert (np.abs(picture - ground).max(axis=2) <= 2).mean() > 0.02


@SCHEMES
@pytest.mark.parametrize("quantity", ["h", "c", "i", "f", "g", "o", "bits"])
@pytest.mark.parametrize("stretch", [0, 1])
def test_colours_of_every_quantity(browser, lstm, quantity, stretch, dark):
    inspection, url = lstm
    browser.open(f"{url}#show={quantity}&layer=1&unit=4&stretch={stretch}", dark=dark)
    recording = inspection.recording
    if quantity == "bits":
        values, low, high = recording.bits, 0, recording.bits.max() if stretch else 10
        names = ["expected", "surprising"]
    else:
        values = (recording.states | recording.gates)[quantity][1, :, 4]
        if quantity in "ifo":
            low, high = (values.min(), values.max()) if stretch else (0, 1)
            names = ["shut", "open"]
        else:
            high = np.abs(values).max() if stretch or quantity == "c" else 1
            low, names = -high, ["negative", "middle", "positive"]
    expected = palette_colour(browser, names, np.clip((values - low) / (high - low), 0, 1))
    # Half a step of quantisation, which full contrast may magnify.
    step = 0 if quantity == "bits" else (5 / 510 if quantity in "ifo" else 3 / 252)
    tolerance = 2 + 255 * 2 * len(names) * step / (high - low) * (high if quantity == "c" else 1)
    assert np.abs(colours(browser) - expected).max() <= tolerance
    assert np.ptp(colours(browser), axis=0).max() > (20 if stretch else 0)


def test_keys_choose_the_unit_and_the_quantity(browser, lstm):
    browser.open(f"{lstm[1]}#show=h&layer=0&unit=0")
    for key, text, change in [
        ("ArrowRight", None, {"unit": 1}), ("ArrowLeft", None, {"unit": 0}),
        ("ArrowLeft", None, {"unit": 4}), ("ArrowRight", None, {"unit": 0}),
        ("l", "l", {"layer": 1}), ("l", "l", {"layer": 0}), ("q", "q", {"show": "c"}),
        ("q", "q", {"show": "i"}), ("b", "b", {"show": "bits"}), ("b", "b", {"show": "i"}),
        ("s", "s", {"stretch": 1}), ("j", "j", {"token": 0}), ("j", "j", {"token": 1}),
        ("k", "k", {"token": 0}),
    ]:  # fmt: skip
        browser.press(key, text)
        wait_for(browser, **change)
    browser.press("Escape")
    browser.wait("!document.documentElement.dataset.ready.includes('token')")
    browser.press("?", "?")
    browser.wait("document.getElementById('keys').open")
    browser.press("ArrowRight")  # not while the list of keys is open
    browser.evaluate("document.getElementById('letters').click()")
    browser.evaluate("document.getElementById('keys').close()")
    browser.press("l", "l")  # letters are switched off
    browser.press("ArrowRight")
    wait_for(browser, unit=1)
    assert shown(browser) == {"show": "i", "layer": "0", "unit": "1", "stretch": "1"}


def test_controls_choose_the_unit(browser, lstm):
    browser.open(f"{lstm[1]}#show=h&layer=0&unit=0")
    for control, value in [("unit", 3), ("slider", 2), ("layer", 1), ("show", "f")]:
        browser.evaluate(f"""(() => {{
            const control = document.getElementById("{control}");
            control.value = "{value}";
            control.dispatchEvent(new Event("input", {{bubbles: true}}));
        }})()""")
        wait_for(browser, **{"unit" if control == "slider" else control: value})
    browser.evaluate("document.getElementById('unit').focus()")
    browser.press("ArrowRight")  # moves the cursor in the field
    browser.wait("location.hash.includes('unit=2')")
    browser.evaluate("location.hash = '#show=g&layer=0&unit=1&token=5'")
    wait_for(browser, show="g", token=5)
    browser.evaluate("location.hash = '#show=x&layer=7&unit=-1&token=1e9'")
    browser.wait("location.hash.includes('unit=-1')")
    assert browser.evaluate("document.getElementById('show').value") == "g"


def test_a_unit_of_the_ranking_is_a_click_away(browser, quotes):
    browser.open(f"{quotes[1]}#show=h&layer=1&unit=0")
    browser.evaluate("document.querySelector('.follower').click()")
    wait_for(browser, show="h", layer=0, unit=UNIT)
    assert browser.evaluate("document.querySelector('.follower').ariaPressed") == "true"
    text = browser.evaluate("document.querySelector('.follower').innerText")
    assert re.sub(r"\s+", " ", text) == f"h · layer 0 · unit {UNIT} +1.00"


def table(browser):
    """Rows of the table of expected tokens: text, probability, whether it came."""
    return browser.evaluate("""[...document.querySelectorAll("#detail tr")].map(row =>
        [row.cells[0].firstChild.textContent, row.cells[2].textContent,
         row.className === "came"])""")


@pytest.mark.parametrize("how", ["mouse", "touch", "keyboard"])
def test_expected_tokens(browser, lstm, how):
    inspection, url = lstm
    browser.open(f"{url}#show=h&layer=0&unit=0", **(PHONE if how == "touch" else DESKTOP))
    t = 0 if how == "keyboard" else 12
    x, y = browser.evaluate(f"""(() => {{
        const box = document.querySelectorAll("#text span")[{t}].getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2];
    }})()""")
    if how == "mouse":
        browser.point(x, y)
    elif how == "touch":
        browser.touch(x, y)
        wait_for(browser, token=t)
    else:
        browser.evaluate("document.getElementById('text').focus()")
        wait_for(browser, token=t)
        assert browser.evaluate("document.getElementById('detail').ariaLive") == "polite"
    browser.wait("document.querySelector('#detail table') !== null")
    recording, labels = inspection.recording, {" ": "␣", "\n": "↵"}
    tokens = inspection.lm.vocabulary.tokens
    names = [labels.get(tokens[n], tokens[n]) for n in recording.next_ids[t]]
    rows = table(browser)
    assert [name for name, *_ in rows[: len(names)]] == names
    expected = [f"{100 * p:.1f}%" for p in recording.next_probabilities[t]]
    assert [p for _, p, _ in rows[: len(names)]] == expected
    came = [name for name, _, came in rows if came]
    assert came == [labels.get(TEXT[t + 1], TEXT[t + 1])]


@SIZES
def test_copied_text_is_the_text(browser, lstm, size):
    browser.open(lstm[1], **size)
    copied = browser.evaluate("""(() => {
        getSelection().selectAllChildren(document.getElementById("text"));
        return String(getSelection());
    })()""")
    assert copied == TEXT


@pytest.mark.parametrize("level", ["byte", "word"])
@SIZES
def test_bytes_and_words(browser, tmp_path, level, size):
    text = "“Né\tt!”\n</script><b>\x00\x1b " + "wide" * 30 + "\n  42 times\n"
    vocabulary = Vocabulary.bytes() if level == "byte" else Vocabulary.words(text, eos=True)
    path = tmp_path / "page.html"
    inspect(LanguageModel(vocabulary, cell="gru", hidden_size=4), text).write(path, title=text)
    browser.open(path.as_uri(), **size)
    assert overflow(browser) == 0
    assert len(colours(browser)) == len(vocabulary.encode(text))
    shown = browser.evaluate("document.getElementById('text').textContent")
    assert shown == (text if level == "byte" else text.rstrip(" "))


def test_everything_that_can_be_used_has_a_name(browser, lstm):
    browser.open(lstm[1])
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "combobox", "slider", "spinbutton", "checkbox", "region", "link", "image"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes if not node["ignored"] and node["role"]["value"] in roles
    ]  # fmt: skip
    assert {"combobox", "slider", "spinbutton", "checkbox", "region"} <= {
        role for role, _ in found
    }
    assert all(name for _, name in found), found
