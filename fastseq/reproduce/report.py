"""The report: one self-contained page with a table, curves and samples."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from .. import backend
from .curves import card_curve
from .experiments import DEFECTS, TAIL, Result, Settings, visible

STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --muted: #5d6875; --line: #e1e5ea;
        --paper: #fff; --wash: #f5f7f9; --accent: #1f6fb2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ef; --muted: #a3aebb; --line: #333d48; --paper: #1a2129; --wash: #11161c;
          --accent: #6cb2ee; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.7rem, 4vw, 2.4rem); line-height: 1.15;
     letter-spacing: -.02em; }
h2 { margin: 0; font-size: 1.2rem; letter-spacing: -.01em; }
p { overflow-wrap: break-word; }
.lede, .note { max-width: 46rem; color: var(--muted); }
.lede { margin: 0 0 2rem; font-size: 1.1rem; }
.lede strong { color: var(--ink); }
.note { margin: 1.5rem 0; }
.note h2 { color: var(--ink); }
.note p { margin: .3rem 0; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; color: var(--ink); }
.card { min-width: 0; background: var(--paper); border: 1px solid var(--line);
        border-radius: 10px; padding: 1.25rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .4rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid var(--line); }
tr:last-child > * { border-bottom: 0; }
th { font-size: .8rem; font-weight: 600; color: var(--muted); vertical-align: bottom;
     white-space: normal; line-height: 1.3; }
th:first-child { padding-left: 0; text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
tbody th { white-space: nowrap; vertical-align: middle; font-size: 1rem; line-height: inherit;
           font-weight: 400; color: var(--ink); }
.times { max-width: 46rem; }
.times td:last-child { font-weight: 700; color: var(--accent); }
.losses { font-size: .9rem; }
.losses tbody th { font-size: .9rem; }
.grid { display: grid; gap: 1.25rem; margin: 1.25rem 0;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
.source { margin: .1rem 0 .9rem; font-size: .9rem; color: var(--muted);
          overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; }
h3 { margin: 1.1rem 0 .4rem; font-size: .8rem; color: var(--muted); }
ol { margin: 0; padding: 0; list-style: none; }
li { display: grid; grid-template-columns: 2.6rem minmax(0, 1fr); gap: .75rem;
     padding: .45rem 0; border-top: 1px solid var(--line); }
li b { color: var(--accent); text-align: right; font-variant-numeric: tabular-nums; }
q { quotes: none; overflow-wrap: anywhere; }
.char q { font: .87rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { max-width: 46rem; font-size: .9rem; color: var(--muted); }
footer p { margin: .6rem 0; }
@media (max-width: 34rem) {
  main { padding: 1.5rem .9rem 2.5rem; }
  .card { padding: 1rem .85rem; }
  th, td { padding-left: .2rem; padding-right: .2rem; }
}
"""
FEW_TOKENS = 200_000  # from fewer no model learns to spell


def report_page(results: Sequence[Result], settings: Settings, corpus: str) -> str:
    """Build the report as HTML, without references to other files."""
    cards = "\n".join(map(_card, results))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>fastseq: the published experiments</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>The published experiments, run by fastseq</h1>
<p class="lede">{_lede(results, settings)}</p>
<section class="card times">{_times(results, settings)}</section>
{_note(settings)}
<section class="grid">
{cards}
</section>
{_footer(settings, corpus)}
</main>
</body>
</html>
"""


def _lede(results: Sequence[Result], settings: Settings) -> str:
    seconds = sum(result.seconds for result in results)
    done = (
        f"{_models(len(results))} trained on {settings.updates:,} windows of "
        f"{settings.seq_length:,} tokens in <strong>{seconds:,.2f} seconds</strong> "
        "on one processor core."
    )
    if not settings.same_work:
        return done
    published = sum(result.task.experiment.published_seconds for result in results)
    return f"{done} The published pure-Python program took {published:,.0f} seconds."


def _models(count: int) -> str:
    return "One language model" if count == 1 else f"{count} language models"


def _times(results: Sequence[Result], settings: Settings) -> str:
    heads = ["experiment", "published,<br>seconds", "fastseq,<br>seconds", "ratio"]
    return _table(heads, [_time_cells(result, settings) for result in results])


def _time_cells(result: Result, settings: Settings) -> list[str]:
    experiment, ratio = result.task.experiment, result.ratio(settings)
    return [
        experiment.name,
        "–" if ratio is None else f"{experiment.published_seconds:,.1f}",
        f"{result.seconds:,.3f}",
        "–" if ratio is None else f"{ratio:,.0f}×",
    ]


def _losses(result: Result) -> str:
    """Losses of an experiment beside the published ones, where they compare."""
    known = {
        u: loss for u, loss in result.task.published_losses.items() if u <= len(result.losses)
    }
    heads = ["loss at update", "1", *map(str, known), f"last {TAIL}, mean"]
    own = [result.losses[0], *(result.losses[update - 1] for update in known), result.level]
    rows = [["fastseq", *(f"{loss:.1f}" for loss in own)]]
    if known:
        rows.append(["published", "", *(f"{loss:.1f}" for loss in known.values()), ""])
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, rows))}</tbody></table>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    data = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr><th scope="row">{first}</th>{data}</tr>'


def _note(settings: Settings) -> str:
    """Why the samples are no sentences, if the models have seen so little."""
    tokens = settings.updates * settings.seq_length
    if tokens > FEW_TOKENS:
        return ""
    return f"""<section class="note">
<h2>Why the samples are gibberish</h2>
<p>{settings.updates:,} updates on {settings.seq_length:,} tokens each show a model
{tokens:,} characters or words once: a few pages. From these it learns which of them are frequent
and some that follow each other, but neither spelling nor sentences. A model that trains for
minutes on a novel writes sentences:
<code>fastseq train my-novel.txt --minutes 5</code></p>
</section>"""


def _card(result: Result) -> str:
    experiment = result.task.experiment
    title = f"{experiment.level.capitalize()} {experiment.cell.upper()}"
    source = escape(Path(result.task.source).name)
    light, dark = (_data(card_curve(result, dark)) for dark in (False, True))
    text = f"Loss by update, from {result.losses[0]:.0f} to {result.level:.0f} nats"
    samples = "\n".join(
        f"<li><b>{update}</b><q>{escape(visible(sample))}</q></li>"
        for update, sample in result.samples.items()
    )
    return f"""<article class="card {experiment.level}">
<h2>{title}</h2>
<p class="source">{source} · {len(result.task.vocabulary):,} tokens</p>
<picture>
<source media="(prefers-color-scheme: dark)" srcset="{dark}">
<img alt="{text}" src="{light}">
</picture>
<div class="losses">{_losses(result)}</div>
<h3>Samples, by the update after which they were drawn</h3>
<ol>
{samples}
</ol>
</article>"""


def _data(picture: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"


def _footer(settings: Settings, corpus: str) -> str:
    config: dict[str, Any] = backend.show_config()
    return f"""<footer>
<p>Losses are nats, summed over a window. Published seconds are those of the pure-Python program
on its author's machine, a hundred updates each. {escape(DEFECTS)}</p>
<p>Corpus: {escape(corpus)}. Hidden size {settings.hidden_size:,}, learning rate
{settings.learning_rate:g}, seed {settings.seed}. fastseq {config["fastseq"]}, kernels
{config["backend"]}, {escape(config["cpu"])}.</p>
</footer>"""
