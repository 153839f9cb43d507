"""What MkDocs does not know: pages from files outside of docs/, and links to such files.

In the repository every link leads to a file. In the site, a link to CHANGELOG.md, CONTRIBUTING.md
or an example leads to the page made from it, any other one out of docs/ to the repository, if
FASTSEQ_REPOSITORY in the environment is its address, and is plain text otherwise.
"""

import os
import posixpath
import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import links  # noqa: E402

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Made from a file outside of docs/ -> the page.
MADE = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md"} | {
    f"examples/{path.name}": f"examples/{path.stem}.md" for path in EXAMPLES
}
# What stands for another file.
PAGES = MADE | {"README.md": "index.md", "examples/": "examples.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.repo_url = config.repo_url or os.environ.get("FASTSEQ_REPOSITORY")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in MADE.items():
        text = (ROOT / source).read_text("utf-8")
        if source.endswith(".py"):
            text = f"# {Path(source).name}\n\n```python\n{text}```\n"
        text = links.rewrite(text, _targets(source, page, config))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    if uri in MADE.values():
        return markdown
    markdown = links.without_references(markdown)
    return links.rewrite(markdown, _targets(f"docs/{uri}", uri, config))


def _targets(source: str, page: str, config: MkDocsConfig) -> Callable[[str, bool], str | None]:
    """The function that gives the targets of links in a source file as those of its page."""

    def target(path: str, image: bool) -> str | None:
        folder = "/" if path.endswith("/") else ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) + folder
        if path in PAGES or path.startswith("docs/"):
            inside = PAGES.get(path) or path.removeprefix("docs/")
            return posixpath.relpath(inside, posixpath.dirname(page) or ".")
        return links.in_repository(path, config.repo_url, "HEAD", image)

    return target
