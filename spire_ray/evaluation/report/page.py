"""The page of a report: one file with its style, its plots and its errors inside."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import Any

from spire_ray.evaluation.report import curves, errors
from spire_ray.evaluation.report.gathered import Entry
from spire_ray.evaluation.report.tables import NOTE, Cell, Table, signatures

_SCRIPT = """
const [which, words] = document.querySelectorAll("#filter select, #filter input");
if (which) {
function shown() {
  for (const card of document.querySelectorAll(".error")) {
    const fits = !which.value || card.dataset.system === which.value;
    card.hidden = !fits || !card.textContent.toLowerCase().includes(words.value.toLowerCase());
  }
}
which.addEventListener("change", shown);
words.addEventListener("input", shown);
shown();
}
"""


def render(entries: Sequence[Entry], made: Sequence[Table]) -> str:
    """The whole page."""
    style = resources.files("spire_ray.evaluation.report").joinpath("page.css").read_text()
    body = "\n".join(
        [
            _head(entries),
            *(_table(table) for table in made),
            f'<p class="note">{escape(NOTE)}</p>',
            *_plots(entries),
            *_errors(entries),
            *_signatures(made),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Results</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _head(entries: Sequence[Entry]) -> str:
    models = list(dict.fromkeys(each.model for each in entries))
    places = list(dict.fromkeys(each.place for each in entries))
    protocols = sorted({each.protocol for each in entries if each.protocol})
    said = f"{len(models)} system{'s' * (len(models) > 1)} at {', '.join(places)}"
    more = f" under {' and '.join(protocols)}" if protocols else ""
    return f"<header><h1>Results</h1><p>{escape(said + more)}</p></header>"


def _table(table: Table) -> str:
    heads = "".join(f"<th><small>{escape(place)}</small>{escape(metric)}</th>" for place, metric in table.head())
    rows = [f"<tr><th>{escape(system)}</th>{''.join(map(_cell, cells))}</tr>" for system, cells in table.rows]
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    entry, best, worse = cell.entry, " class=best" if cell.best else "", "<sup>†</sup>" if cell.worse else ""
    title = f"{entry.low:.2f} to {entry.high:.2f}, {entry.scored} rows"
    return f'<td title="{title}"{best}>{entry.value:.2f}<small>± {(entry.high - entry.low) / 2:.2f}</small>{worse}</td>'


def _plots(entries: Sequence[Entry]) -> Iterator[str]:
    if found := curves.all_of(entries):
        yield f'<section><h2>At a closer look</h2><div class="plots">{"".join(found)}</div></section>'


def _errors(entries: Sequence[Entry]) -> Iterator[str]:
    found = [(f"{entry.system} · {entry.place}", entry, rows) for entry, rows in errors.worst(entries) if rows]
    if not found:
        return
    options = "".join(f"<option>{escape(name)}</option>" for name, _, _ in found)
    legend = '<span class="missing">missing</span> <span class="added">added</span> <span class="wrong">another</span>'
    yield (
        f'<section><h2>What costs most</h2><p class="note">Above what was said, below what was written: {legend}. '
        f"The {errors.SHOWN} rows of each system with the most damage.</p>"
        f'<div id="filter"><select aria-label="system"><option value="">every system</option>{options}</select>'
        '<input type="search" placeholder="row, speaker or word" aria-label="search"></div>'
    )
    yield from (_error(name, entry, row) for name, entry, rows in found for row in rows)
    yield "</section>"


def _error(name: str, entry: Entry, row: dict[str, Any]) -> str:
    failed = row["error"]
    facts = [name, row["utt_id"], row["speaker"] or "", "failed" if failed else f"{entry.metric} {row[entry.metric]:.0f}"]
    facts += [f"{row['duration']:.1f} s"] if row["duration"] else []
    shown = f'<p class="failed">{escape(failed)}</p>' if failed else ""
    shown = shown or errors.aligned(row["reference"], row["hypothesis"], row["target"])
    line = escape(" · ".join(filter(None, facts)))
    return f'<article class="error" data-system="{escape(name)}"><p class="facts">{line}</p>{shown}</article>'


def _signatures(made: Sequence[Table]) -> Iterator[str]:
    lines = "".join(f"<li>{escape(line.removeprefix('- ').replace('`', ''))}</li>" for line in signatures(made))
    yield f"<section><h2>Signatures</h2><ul class=signatures>{lines}</ul></section>"
