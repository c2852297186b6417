"""Rows as one page to look at and to listen to, with everything inside the file."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import Any

from spire_ray.audio import figures, wav
from spire_ray.core import storage
from spire_ray.tools import _drawing
from spire_ray.tools._seen import Seen

_SCRIPT = """
for (const card of document.querySelectorAll('.row')) {
  const audio = card.querySelector('audio'), time = card.querySelector('.time'), head = card.querySelector('.head');
  if (!audio) continue;
  const follow = () => {
    head.style.left = 100 * audio.currentTime / audio.duration + '%';
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener('play', () => {
    for (const other of document.querySelectorAll('audio')) if (other !== audio) other.pause();
    card.classList.add('playing');
    follow();
  });
  audio.addEventListener('seeked', follow);
  time.addEventListener('click', event => {
    const place = time.getBoundingClientRect();
    audio.currentTime = audio.duration * (event.clientX - place.left) / place.width;
    audio.play();
  });
}
"""


def render(path: str, rows: Sequence[Seen], total: int, only: str) -> str:
    """HTML of rows that were drawn from so many of a manifest or a folder of units."""
    style = "".join(
        resources.files(package).joinpath(name).read_text()
        for package, name in (("spire_ray.quickstart", "page.css"), ("spire_ray.tools", "inspect.css"))
    )
    kind = f"{only} rows" if only in ("labelled", "rejected") else f"rows: {only}" if only else "rows"
    name = path.rstrip("/").rpartition("/")[2] or path
    whole = f"{len(rows)} of {total:,} {escape(kind)}, drawn by lot" if total > len(rows) else f"{total:,} {escape(kind)}"
    legend = "<span>click a picture to hear it from there</span>"
    if any(seen.row.get("units") for seen in rows):
        legend += "<span>ribbon: each unit in a color of its own, as long as it lasts</span>"
    cards = "\n".join(map(_card, rows))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)} · spire inspect</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="eyebrow">spire inspect</p><h1>{escape(name)}</h1><p class="story">{whole}</p>'
        f'<p class="note">{escape(storage.absolute(path))}</p><p class="note legend">{legend}</p>\n'
        f'<div class="rows">{cards}</div>\n</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n'
    )


def _card(seen: Seen) -> str:
    row = seen.row
    facts = "".join(f"<span>{escape(fact)}</span>" for fact in _facts(seen))
    why = f'<span class="why">{escape(seen.error)}</span>' if seen.error else ""
    pictures = _pictures(seen) if len(seen.samples) else ""
    said = "".join(f"<dt>{escape(name)}</dt><dd{more}>{escape(text)}</dd>" for name, text, more in _said(seen))
    body = f'<dl class="said">{said}</dl>' if said else ""
    return f'<article class="card row"><header><b>{escape(str(row["utt_id"]))}</b>{why}{facts}</header>{pictures}{body}</article>'


def _facts(seen: Seen) -> Iterator[str]:
    row: dict[str, Any] = seen.row
    if seconds := _drawing.seconds_of(seen.samples):
        shown = f"{seconds:.2f} s"
        stated = row.get("duration")
        yield shown if not stated or abs(stated - seconds) < 0.01 else f"{shown} of {stated:.2f} s that are stated"
        yield f"{figures.snr(seen.samples):.0f} dB of signal to noise"
        if clipped := figures.clipping(seen.samples):
            yield f"{clipped:.2%} of the samples clipped"
    for name in ("language", "split", "speaker", "corpus"):
        if row.get(name):
            yield f"{name} {row[name]}"


def _pictures(seen: Seen) -> str:
    samples, seconds = seen.samples, _drawing.seconds_of(seen.samples)
    units = seen.row.get("units") or []
    ribbon = _drawing.ribbon(units, seen.row["durations"], seconds, seen.frame_rate) if len(units) else ""
    drawn = _drawing.waveform(samples) + _drawing.spectrogram(samples) + ribbon + _drawing.axis(seconds)
    sound = _drawing.data("audio/flac", wav.encode(samples, "FLAC"))
    return f'<div class="time">{drawn}<i class="head"></i></div><audio controls preload="metadata" src="{sound}"></audio>'


def _said(seen: Seen) -> Iterator[tuple[str, str, str]]:
    """Name, text and attributes of what a row says."""
    row = seen.row
    if row.get("text"):
        yield "transcript", row["text"], f' lang="{escape(row["language"])}"' if row.get("language") else ""
    for code, text in row.get("translations") or ():
        yield code, text, f' lang="{escape(code)}"'
    if units := row.get("units"):
        frames = sum(row["durations"])
        yield "units", f"{len(units)} of {frames} frames, {frames / len(units):.2f} frames a unit", ""
        yield "", " ".join(map(str, units)), ' class="numbers"'
    if seen.place.get("path"):
        yield "audio", str(seen.place["path"]), ""
