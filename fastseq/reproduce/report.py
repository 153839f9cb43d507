"""The report: one self-contained page with a table, curves and samples."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from .. import backend
from .curves import experiment_curves
from .experiments import DEFECTS, TAIL, Result, Settings, visible

STYLE = """
:root { --ink: #1b2430; --muted: #5d6875; --line: #e1e5ea; --paper: #fff; --wash: #f5f7f9;
        --accent: #1f6fb2; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.7rem, 4vw, 2.4rem); line-height: 1.15;
     letter-spacing: -.02em; }
h2 { margin: 0; font-size: 1.2rem; letter-spacing: -.01em; }
.lede { max-width: 46rem; margin: 0 0 2rem; font-size: 1.1rem; color: var(--muted); }
.lede strong { color: var(--ink); }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
        padding: 1.25rem; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .75rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th { font-size: .8rem; font-weight: 600; color: var(--muted); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td:last-child { font-weight: 700; color: var(--accent); }
.grid { display: grid; gap: 1.25rem; margin: 1.25rem 0;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
.source { margin: .1rem 0 .9rem; font-size: .9rem; color: var(--muted);
          overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; }
h3 { margin: 1.1rem 0 .4rem; font-size: .8rem; color: var(--muted); }
ol { margin: 0; padding: 0; list-style: none; }
li { display: grid; grid-template-columns: 3.2rem 1fr; gap: .75rem; padding: .45rem 0;
     border-top: 1px solid var(--line); }
li b { color: var(--accent); text-align: right; font-variant-numeric: tabular-nums; }
q { quotes: none; overflow-wrap: anywhere; }
.char q { font: .87rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { max-width: 52rem; font-size: .9rem; color: var(--muted); }
footer p { margin: .6rem 0; }
@media (max-width: 34rem) { main { padding-top: 1.5rem; } .card { padding: 1rem .85rem; } }
"""


def report_page(results: Sequence[Result], settings: Settings, corpus: str) -> str:
    """Build the report as HTML, without references to other files."""
    cards = "\n".join(map(_card, results))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fastseq: the published experiments</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>The published experiments, run by fastseq</h1>
<p class="lede">{_lede(results, settings)}</p>
<section class="card scroll">{_table(results, settings)}</section>
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


def _table(results: Sequence[Result], settings: Settings) -> str:
    updates = sorted(
        {u for r in results for u in r.task.published_losses if u <= settings.updates}
    )
    heads = ["experiment", "first loss"]
    heads += [f"at update {update}<br>(published)" for update in updates]
    heads += [f"mean of<br>last {TAIL}", "seconds", "published<br>seconds", "ratio"]
    rows = [_cells(result, settings, updates) for result in results]
    return (
        f"<table><thead>{_row('th', heads)}</thead>"
        f"<tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"
    )


def _cells(result: Result, settings: Settings, updates: list[int]) -> list[str]:
    experiment, ratio = result.task.experiment, result.ratio(settings)
    published = result.task.published_losses
    compared = [
        f"{result.losses[u - 1]:.1f} ({published[u]:.1f})" if u in published else "–"
        for u in updates
    ]
    return [
        experiment.name,
        f"{result.losses[0]:.1f}",
        *compared,
        f"{result.level:.1f}",
        f"{result.seconds:,.3f}",
        "–" if ratio is None else f"{experiment.published_seconds:,.1f}",
        "–" if ratio is None else f"{ratio:,.0f}×",
    ]


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{cell}</{kind}>' for cell in cells)}</tr>"


def _card(result: Result) -> str:
    experiment = result.task.experiment
    title = f"{experiment.level.capitalize()} {experiment.cell.upper()}"
    source = escape(Path(result.task.source).name)
    picture = base64.b64encode(experiment_curves([result], "svg")).decode()
    text = f"Loss by update, from {result.losses[0]:.0f} to {result.level:.0f} nats"
    samples = "\n".join(
        f"<li><b>{update}</b><q>{escape(visible(sample))}</q></li>"
        for update, sample in result.samples.items()
    )
    return f"""<article class="card {experiment.level}">
<h2>{title}</h2>
<p class="source">{source} · {len(result.task.vocabulary):,} tokens</p>
<img alt="{text}" src="data:image/svg+xml;base64,{picture}">
<h3>Samples, by the update after which they were drawn</h3>
<ol>
{samples}
</ol>
</article>"""


def _footer(settings: Settings, corpus: str) -> str:
    config: dict[str, Any] = backend.show_config()
    return f"""<footer>
<p>Losses are nats, summed over a window. Published seconds are those of the pure-Python program
on its author's machine, a hundred updates each. {escape(DEFECTS)}</p>
<p>Corpus: {escape(corpus)}. Hidden size {settings.hidden_size:,}, learning rate
{settings.learning_rate:g}, seed {settings.seed}. fastseq {config["fastseq"]}, kernels
{config["backend"]}, {escape(config["cpu"])}.</p>
</footer>"""
