"""The commands and examples in README work."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    shorter = example.replace("minutes=1", "steps=2").replace("hidden_size=128", "hidden_size=8")
    assert shorter.count("=2)") == shorter.count("=8)") == 1
    exec(compile(shorter, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("The class ")
    assert "perplexity=" in out


def test_the_two_commands_take_a_line_each():
    commands = [c for c in blocks("sh") if c.startswith("python3 -m venv")]
    assert [c.count("\n") for c in commands] == [1, 1]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README.read_text("utf-8")))
def test_links_lead_to_files(link):
    assert (README.parent / link).exists()


def test_the_commands_of_the_shell_example_exist():
    from fastseq.cli import make_parser

    (example,) = (c for c in blocks("sh") if not c.startswith("python3"))
    for line in example.splitlines():
        words = re.findall(r'"[^"]*"|[^\s"]+', line.partition("#")[0])
        args = make_parser().parse_args([word.strip('"') for word in words[1:]])
        assert args.command == words[1]
