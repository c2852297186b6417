"""Answers beside what they are held against, word by word, the ones that cost most first."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import jiwer

from spire_ray.evaluation.report.gathered import Entry
from spire_ray.text.languages import language

SHOWN = 40
"""Rows of each system at a task."""
_KINDS = {"asr": ("wer", "cer"), "st": ("chrf", "bleu", "spbleu"), "mt": ("chrf", "bleu", "spbleu"), "ape": ("chrf", "bleu")}


def worst(entries: Sequence[Entry]) -> Iterator[tuple[Entry, list[dict[str, Any]]]]:
    """Each system at each task, with the rows that damage its figure most; rows that failed come first."""
    chosen: dict[tuple[str, str, str], Entry] = {}
    for each in entries:
        order = _KINDS.get(each.family, ())
        known = chosen.get((each.protocol, each.place, each.system))
        if each.metric in order and (known is None or order.index(each.metric) < order.index(known.metric)):
            chosen[each.protocol, each.place, each.system] = each
    for entry in chosen.values():
        rows = [row | {"damage": _damage(entry, row)} for row in entry.rows if row["error"] or row[entry.metric] is not None]
        rows = [row for row in rows if row["damage"] > 0]
        yield entry, sorted(rows, key=lambda row: -row["damage"])[:SHOWN]


def _damage(entry: Entry, row: dict[str, Any]) -> float:
    """Words or characters that are wrong; of a translation, the share of the reference that is lost times its length."""
    if row["error"]:
        return 0.0 if row["error"].startswith("no ") else float("inf")
    if entry.metric in ("wer", "cer"):
        return float(sum(row[f"{entry.metric}.statistics"][:3]))
    return float((1 - row[entry.metric] / 100) * len(row["reference"]))


def aligned(reference: str, hypothesis: str, code: str) -> str:
    """Two lines of HTML, with what is missing, added and wrong in its colour."""
    spaces = language(code).spaces
    said, wrote = (text.split() if spaces else list(text) for text in (reference, hypothesis))
    if not said or not wrote:
        return _lines([_marked("missing", said)] if said else [], [_marked("added", wrote)] if wrote else [], spaces)
    [chunks] = jiwer.process_words(" ".join(said), " ".join(wrote)).alignments if spaces else _characters(said, wrote)
    above, below = [], []
    for chunk in chunks:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = wrote[chunk.hyp_start_idx : chunk.hyp_end_idx]
        kind = {"delete": "missing", "insert": "added", "substitute": "wrong"}.get(chunk.type, "")
        above += [_marked(kind, left)] if left else []
        below += [_marked(kind, right)] if right else []
    return _lines(above, below, spaces)


def _characters(said: list[str], wrote: list[str]) -> Any:
    return jiwer.process_characters("".join(said), "".join(wrote)).alignments


def _marked(kind: str, words: Sequence[str]) -> tuple[str, list[str]]:
    return kind, [escape(word) for word in words]


def _lines(above: Sequence[tuple[str, list[str]]], below: Sequence[tuple[str, list[str]]], spaces: bool) -> str:
    between = " " if spaces else ""

    def line(parts: Sequence[tuple[str, list[str]]]) -> str:
        made = [f'<span class="{kind}">{between.join(words)}</span>' if kind else between.join(words) for kind, words in parts]
        return between.join(made) or "<em>nothing</em>"

    return f'<p class="said">{line(above)}</p><p class="wrote">{line(below)}</p>'
