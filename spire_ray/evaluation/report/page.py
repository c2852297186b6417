"""The page of a report: one file with its style, its plots and its errors inside."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from spire_ray.evaluation.report import curves, errors
from spire_ray.evaluation.report.gathered import Entry
from spire_ray.evaluation.report.tables import NOTE, Cell, Table, signatures

_SCRIPT = """
const fields = document.querySelectorAll("#filter select, #filter input");
function shown() {
  for (const card of document.querySelectorAll(".error"))
    card.hidden = [...fields].some(({name, value}) => value && (name
      ? card.dataset[name] !== value
      : !card.textContent.toLowerCase().includes(value.toLowerCase())));
}
for (const field of fields) field.addEventListener("input", shown);
shown();
const audio = new Audio();
let playing = null;
function stop() { audio.pause(); playing?.classList.remove("playing"); playing = null; }
audio.addEventListener("ended", stop);
for (const button of document.querySelectorAll(".play"))
  button.addEventListener("click", () => {
    const again = button !== playing;
    stop();
    if (!again) return;
    audio.src = CLIPS[button.dataset.clip];
    audio.play();
    playing = button;
    button.classList.add("playing");
  });
"""
Worst = Sequence[tuple[Entry, list[dict[str, Any]]]]
Clips = Mapping[tuple[str, str], str]


def render(entries: Sequence[Entry], made: Sequence[Table], worst: Worst, clips: Clips) -> str:
    """The whole page; `worst` are the rows that it shows, `clips` their speech as data URIs by folder and id."""
    style = resources.files("spire_ray.evaluation.report").joinpath("page.css").read_text()
    body = "\n".join(
        [
            _head(entries),
            *(_table(table) for table in made),
            f'<p class="note">{escape(NOTE)}</p>',
            *_plots(entries),
            *_errors(worst, list(clips)),
            *_signatures(made),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Results</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>const CLIPS = {json.dumps([*clips.values()])};{_SCRIPT}</script>\n</body>\n</html>\n"
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
    if cell.mean:
        return f'<td title="{entry.scored} rows"{best}>{entry.value:.2f}</td>'
    title = f"{entry.low:.2f} to {entry.high:.2f}, {entry.scored} rows"
    return f'<td title="{title}"{best}>{entry.value:.2f}<small>± {(entry.high - entry.low) / 2:.2f}</small>{worse}</td>'


def _plots(entries: Sequence[Entry]) -> Iterator[str]:
    if found := curves.all_of(entries):
        yield f'<section><h2>At a closer look</h2><div class="plots">{"".join(found)}</div></section>'


def _errors(worst: Worst, heard: Sequence[tuple[str, str]]) -> Iterator[str]:
    found = [(f"{entry.system} · {entry.place}", entry, rows) for entry, rows in worst if rows]
    if not found:
        return
    legend = '<span class="missing">missing</span> <span class="added">added</span> <span class="wrong">another</span>'
    choices = {
        "system": [name for name, _, _ in found],
        "corpus": sorted({row["corpus"] or "" for _, _, rows in found for row in rows}),
        "speaker": sorted({row["speaker"] or "" for _, _, rows in found for row in rows}),
    }
    yield (
        f'<section><h2>What costs most</h2><p class="note">Above what was said, below what was written: {legend}. '
        f"The {errors.SHOWN} rows of each system with the most damage.</p>"
        f'<div id="filter">{"".join(_choice(name, values) for name, values in choices.items() if len(values) > 1)}'
        '<input type="search" placeholder="row, speaker or word" aria-label="search"></div>'
    )
    places = {clip: number for number, clip in enumerate(heard)}
    for name, entry, rows in found:
        yield from (_error(name, entry, row, places.get((entry.folder, row["utt_id"]))) for row in rows)
    yield "</section>"


def _choice(name: str, values: Sequence[str]) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in values if value)
    return f'<select name="{name}" aria-label="{name}"><option value="">every {name}</option>{options}</select>'


def _error(name: str, entry: Entry, row: dict[str, Any], clip: int | None) -> str:
    failed = row["error"]
    facts = [name, row["utt_id"], row["speaker"] or "", "failed" if failed else f"{entry.metric} {row[entry.metric]:.0f}"]
    facts += [f"{row['duration']:.1f} s"] if row["duration"] else []
    shown = f'<p class="failed">{escape(failed)}</p>' if failed else ""
    shown = shown or errors.aligned(row["reference"], row["hypothesis"], row["target"])
    play = "" if clip is None else f'<button class="play" data-clip="{clip}" aria-label="play {escape(row["utt_id"])}"></button>'
    given = {"system": name, "corpus": row["corpus"] or "", "speaker": row["speaker"] or ""}
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in given.items())
    line = escape(" · ".join(filter(None, facts)))
    return f'<article class="error" {data}><p class="facts">{play}{line}</p>{shown}</article>'


def _signatures(made: Sequence[Table]) -> Iterator[str]:
    lines = "".join(f"<li>{escape(line.removeprefix('- ').replace('`', ''))}</li>" for line in signatures(made))
    yield f"<section><h2>Signatures</h2><ul class=signatures>{lines}</ul></section>"
