"""docs/how_it_works.md and its pictures say what the sources say."""

import importlib
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import fastseq

ROOT = Path(__file__).parents[1]
DOCS, KERNELS = ROOT / "docs", ROOT / "fastseq" / "_kernels"
sys.path.append(str(DOCS))
draw = importlib.import_module("draw")
PAGE = (DOCS / "how_it_works.md").read_text("utf-8")
PICTURES = draw.pictures()


@pytest.fixture(scope="module")
def sources():
    files = [path for path in KERNELS.glob("_*") if path.suffix in (".h", ".pxi")]
    return "\n".join(path.read_text("utf-8") for path in files)


# -- sizes ----------------------------------------------------------------------------------------


def tiles():
    """BYTES, MR and NV of each branch of _simd.h, by the name of its build."""
    builds, found = {"__AVX512F__": "avx512", "__AVX2__": "avx2", "FS_NEON": "neon"}, {}
    for line in (KERNELS / "_simd.h").read_text("utf-8").splitlines():
        if line.startswith(("#if", "#elif", "#else")):
            condition = re.search(r"defined\((\w+)\)", line)
            build = builds.get(condition[1]) if condition else "generic"
        size = re.match(r"#define FS_(BYTES|MR|NV) +(\d+)", line)
        if size:
            found.setdefault(build, {})[size[1]] = int(size[2])
    return found


def test_the_table_of_tiles_has_a_row_for_each_branch_of_the_header():
    rows = []
    for name, t in tiles().items():
        floats, doubles = (t["NV"] * t["BYTES"] // size for size in (4, 8))
        rows.append(f"| {name} | {t['BYTES']} | {t['MR']} | {t['NV']} | {t['MR']} × {floats} "
                    f"| {t['MR']} × {doubles} | {t['MR'] * t['NV']} |")  # fmt: skip
    shown = re.findall(r"^\| \w+ \| \d+ \| \d+ .*$", PAGE, re.M)
    assert sorted(shown) == sorted(rows)


CONSTANTS = re.findall(r"`([A-Z_]+) = ([\d.e< ]+)`", PAGE)


def test_the_page_names_constants():
    assert len(CONSTANTS) > 15


@pytest.mark.parametrize(("name", "value"), CONSTANTS)
def test_constants_are_those_of_the_sources(sources, name, value):
    (said,) = re.findall(rf"\b{name}(?: = | \(\(size_t\)| )(\d[\d.e]*(?: << \d+)?)", sources)
    assert eval(said) == eval(value)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.(?:pxi|py|h))`", PAGE))))
def test_files_that_it_names_exist(name):
    installed = Path(fastseq.__file__).parent  # without the sources of the kernels
    folders = (KERNELS, installed, installed / "_kernels", ROOT)
    assert any((folder / name).is_file() for folder in folders)


@pytest.mark.parametrize(
    "name", ["fs_gemm", "fs_tile", "run", "PackedStack", "inner_gates", "gates"]
)
def test_names_in_the_sources(sources, name):
    assert f"`{name}`" in PAGE
    assert re.search(rf"\b{name}\b", sources)


# -- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_the_script_draws(name):
    committed = (DOCS / "pictures" / f"{name}.svg").read_text("utf-8")
    assert committed == str(PICTURES[name]), "run python docs/draw.py"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_stands_alone_and_keeps_within_its_card(name):
    svg = ElementTree.fromstring(str(PICTURES[name]))
    width, height = (float(svg.get(side)) for side in ("width", "height"))
    assert "url(" not in str(PICTURES[name])
    assert not [e for e in svg.iter() if any("href" in key for key in e.attrib)]
    for e in svg.iter("{http://www.w3.org/2000/svg}text"):
        small, x = "small" in e.get("class"), float(e.get("x"))
        size = 13 if small else 14
        wide = len(e.text) * size * (0.61 if "number" in e.get("class") else 0.52)
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[e.get("text-anchor")]
        assert left > 0, e.text
        assert left + wide < width, e.text
        assert size < float(e.get("y")) < height, e.text


def test_every_picture_is_on_a_page_and_has_a_description():
    text = PAGE + (DOCS / "by_hand.md").read_text("utf-8")
    shown = re.findall(r"^!\[.{15,}\]\(pictures/(\w+)\.svg\)$", text, re.M)
    assert sorted(shown) == sorted(PICTURES)
    assert {path.stem for path in (DOCS / "pictures").iterdir()} == set(PICTURES)


def test_the_picture_of_the_tile_shows_the_avx512_build():
    sizes = tiles()["avx512"]
    assert str(PICTURES["how_tile"]).count("+= a") == sizes["MR"] * sizes["NV"]
