"""Every page in Markdown: its code runs, its links lead somewhere, its messages exist.

The blocks of a page run in order, in one namespace and one folder, which holds a few short texts.
Sizes and training times are replaced by small ones. A block is one of

    python    run
    pycon     run, and what it prints compared (a doctest)
    sh        run line by line: fastseq, examples; of make and benchmarks the names are checked
    text      what a command prints, or a formula; the same without a language

A block that cannot run here stands below a comment with the reason, `<!-- not run: ... -->`; calls
of fastseq in it are still parsed.
"""

import ast
import doctest
import importlib
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fastseq
from fastseq import backend
from fastseq.cli import main, make_parser
from fastseq.text import datasets
from fastseq.training import TensorBoard

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "data/README.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
BLOCK = re.compile(r"(?:^<!-- not run:(.*?)-->\n)?^```(.*?)\n(.*?)^```$", re.M | re.S)
SMALL = [
    (r"\b(minutes|epochs|steps)=[\d._]+", "steps=2"),
    (r"--(minutes|epochs|steps) [\d.]+", "--steps 2"),
    (r"\bhidden_size=\d+", "hidden_size=8"),
    (r"--hidden-size \d+", "--hidden-size 8"),
    (r"\blength=\d+", "length=20"),
    (r"--length \d+", "--length 20"),
    (r"\brange\(\d{2,}\)", "range(3)"),
    (r"fastseq reproduce\b", "fastseq reproduce --updates 2 --hidden-size 8 --sample-length 9"),
    (r"fastseq bench\b", "fastseq bench --experiments char-rnn --rounds 1 --hidden-size 8"),
]

# Packages without which a page does not run.
NEEDS = {"docs/onnx.md": ("onnx", "onnxruntime"), "docs/pytorch.md": ("torch",)}


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def small(code):
    for pattern, replacement in SMALL:
        code = re.sub(pattern, replacement, code)
    return code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the texts that the pages mention."""
    text = datasets.find("python-manual").text()
    (tmp_path / "letters").mkdir()
    for number, name in enumerate(
        ["my-novel.txt", "another-novel.txt", "letters/1.txt", "letters/2.txt", "letters/3.txt"]
    ):
        (tmp_path / name).write_text(text[30_000 * number :][:30_000], encoding="utf-8")
    names = re.findall(r"[a-z]{4,}", text)[:3000]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    rows = ["id,name", *(f"{n},{name}" for n, name in enumerate(names))]
    (tmp_path / "people.csv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTSEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTSEQ_DATA", raising=False)
    monkeypatch.setattr(TensorBoard, "available", lambda: False)  # its import takes seconds
    threads, kernels = backend.get_num_threads(), backend.get_backend()
    backend.set_num_threads(1)
    yield tmp_path
    backend.set_num_threads(threads)
    backend.set_backend(kernels)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page, folder):
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package)
    names = {"__name__": page}
    for match in BLOCK.finditer(read(page)):
        reason, language, code = match.groups()
        line = read(page).count("\n", 0, match.start(3))
        where = f"{page}, line {line + 1}"
        if reason is not None:
            assert reason.strip(), f"{where}: expected a reason"
            parse_calls(code)
        elif language == "python":
            run_python("\n" * line + small(code), page, names)
        elif language == "pycon":
            run_doctest(code, where, names)
        elif language == "sh":
            for words in commands(small(code)):
                run_command(words, where)
        else:
            assert language in ("text", ""), f"{where}: expected python, pycon, sh or text"


def run_python(code, page, names):
    compiled = compile(code, str(ROOT / page), "exec")
    if "import torch" in code and importlib.util.find_spec("torch") is None:
        return
    exec(compiled, names)


def run_doctest(code, where, names):
    test = doctest.DocTestParser().get_doctest(code, names, where, None, None)
    report = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)
    names.update(test.globs)


def commands(code):
    """The words of each command of a shell block."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def parse_calls(code):
    """Parse calls of fastseq; the parser exits with an error for wrong ones."""
    for line in code.replace("\\\n", " ").splitlines():
        for call in re.findall(r"^(?:\$ )?fastseq (.*)", line):
            make_parser().parse_args(shlex.split(call, comments=True))


def run_command(words, where):
    settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    words = words[len(settings) :]
    if settings and words[0] == "fastseq":
        program = [sys.executable, "-m", *words]
        path = {"PYTHONPATH": str(Path(fastseq.__file__).parents[1])}
        done = subprocess.run(program, env=os.environ | path | settings, check=False)
        assert done.returncode == 0, where
    elif words[0] == "fastseq":
        assert main(words[1:]) == 0, where
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", read("Makefile"), re.M), f"{where}: no {words[1]}"
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, f"{where}: no {words[2]}"
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), where
    elif words[0] == "python":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    else:
        pytest.fail(f"{where}: {words[0]} cannot run here; expected a reason above the block")


# -- links ---------------------------------------------------------------------------------------


def prose(page):
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)


def anchors(path):
    """Anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation():
    navigation = set(re.findall(r"[\w/]+\.md", read("mkdocs.yml")))
    missing = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert not missing - navigation


@pytest.mark.parametrize(
    "name", ["nn", "onnx", "optim", "lm", "training", "text", "torch", "neural_bytes"]
)
def test_the_api_reference_has_every_public_name(name):
    if name == "torch":
        pytest.importorskip("torch")
    module = importlib.import_module(f"fastseq.{name}")
    listed = set(re.findall(r"^::: ([\w.]+)$", read(f"docs/api/{name}.md"), re.M))
    for entry in listed:
        owner, _, attribute = entry.rpartition(".")
        assert hasattr(importlib.import_module(owner), attribute), entry
    public = {n for n in module.__all__ if not isinstance(getattr(module, n), ModuleType)}
    assert public <= {entry.rpartition(".")[2] for entry in listed}


def test_the_api_reference_has_every_name_of_fastseq():
    pages = "".join(read(page) for page in PAGES if page.startswith("docs/api/"))
    listed = {entry.rpartition(".")[2] for entry in re.findall(r"^::: ([\w.]+)$", pages, re.M)}
    assert set(fastseq.__all__) - listed == {"__version__", "nn", "optim"}


def load_links():
    spec = importlib.util.spec_from_file_location("links", ROOT / "docs" / "links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLE = """[A](a/b.md#c) ![picture](p.png) [site](https://x.org) [here](#d) [`x[0]`](d/)
```python
f = table[0](x)
```
"""


def test_links_for_places_outside_of_the_repository():
    absolute = load_links().absolute
    code = SAMPLE.partition("\n")[2]
    assert absolute(SAMPLE, "https://git.org/me/it/", "v1") == (
        "[A](https://git.org/me/it/blob/v1/a/b.md#c) ![picture](https://git.org/me/it/raw/v1/p.png)"
        " [site](https://x.org) [here](#d) [`x[0]`](https://git.org/me/it/tree/v1/d/)\n" + code
    )
    assert absolute(SAMPLE, None, "v1") == "A  [site](https://x.org) [here](#d) `x[0]`\n" + code


def test_indices_in_prose_are_not_links():
    text = "w[i][j], `w[i][j]`\n```\nw[i][j]\n```\n"
    assert load_links().without_references(text) == r"w[i]\[j]" + text[7:]


def test_nothing_in_readme_depends_on_the_repository():
    text = load_links().absolute(read("README.md"), "https://git.org/me/it", "v1")
    assert all(re.match("https?://|#", link) for link in re.findall(r"\]\(([^)]+)\)", text))


# -- what pages quote ----------------------------------------------------------------------------


def messages():
    """All texts in the sources, with … for what is filled in."""
    for path in [ROOT / "setup.py", *Path(fastseq.__file__).parent.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_on_the_page_of_errors_exists():
    known = "\n".join(messages())
    quoted = re.findall(r"^\| `([^`]+)` \|", read("docs/errors.md"), re.M)
    assert len(quoted) > 20
    assert [text for text in quoted if text not in known] == []


def test_the_two_commands_of_readme_take_a_line_each():
    """.ci/run takes them from there."""
    lines = [line for line in read("README.md").splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith(".venv/bin/fastseq reproduce")
