"""Clips to listen to, beside what the model made of them."""

import base64
import random
from difflib import SequenceMatcher
from html import escape
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage
from spire_ray.manifest import reader
from spire_ray.quickstart.page.source import Source

_CLIPS = 10


def clips(source: Source) -> str:
    """Ten held-out clips, drawn by lot."""
    heard = source.json("evaluate", "hypotheses.json")
    rows, answers = heard["rows"], heard["answers"]
    model: dict[str, list[str]] = next((answers[name] for name in ("it", "cpt") if name in answers), {})
    chosen = sorted(random.Random(source.recipe["seed"] or 0).sample(range(len(rows)), min(_CLIPS, len(rows))))
    spoken = _spoken(source, [rows[i]["utt_id"] for i in chosen])
    cards = []
    for i in chosen:
        row = rows[i]
        facts = f"{row['speaker']} · {row['duration']:.1f} s · {row['frames']} frames → {row['units']} units"
        pairs = ""
        if "asr" in model:
            pairs += _pair("transcript", "en", row["text"], model["asr"][i] or "")
        if "st_direct" in model:
            pairs += _pair("translation", source.target, row["translation"], model["st_direct"][i] or "")
        cards.append(_clip(row["utt_id"], facts, spoken[row["utt_id"]], pairs))
    note = (
        f"{len(cards)} of the {len(rows):,} held-out clips, drawn by lot."
        " Marked: <u>words that the model missed</u> and <mark>words that it got wrong</mark>."
    )
    return f'<section><h2>Listen</h2><p class="note">{note}</p><div class="clips">{"".join(cards)}</div></section>'


def served(source: Source) -> str:
    """The clip that the running server was asked about; empty without one."""
    if "rows.serve" not in source.report:
        return ""
    check = source.json("serve", "check.json")
    utt_id = check["utt_id"]
    row = _spoken(source, [utt_id])[utt_id]
    pairs = _pair("transcript", "en", check["reference"], check["transcript"])
    pairs += _pair("translation", source.target, dict(row["translations"])[source.target], check["translation"])
    card = _clip(utt_id, "sent to the running server", row, pairs)
    return f"<section><h2>Asked over HTTP</h2><pre><code>{escape(check['curl'])}</code></pre>{card}</section>"


def _spoken(source: Source, utt_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Find rows of the corpus by `utt_id`."""
    manifest = reader.read(storage.join(source.root, "corpus", "manifest.parquet"))
    return {row["utt_id"]: row for row in manifest.filter(pc.is_in(manifest["utt_id"], pa.array(utt_ids))).to_pylist()}


def _clip(utt_id: str, facts: str, row: dict[str, Any], pairs: str) -> str:
    flac = base64.b64encode(storage.read_bytes(row["audio"]["path"])).decode()
    return (
        f'<article class="card"><header><b>{escape(utt_id)}</b> <span>{escape(facts)}</span></header>'
        f'<audio controls preload="metadata" src="data:audio/flac;base64,{flac}"></audio>'
        f'<div class="pairs">{pairs}</div></article>'
    )


def _pair(name: str, code: str, reference: str, hypothesis: str) -> str:
    left, right = marked(reference, hypothesis)
    return f'<h4>{name}</h4><h4>model</h4><p lang="{code}">{left}</p><p lang="{code}">{right or "<i>no answer</i>"}</p>'


def marked(reference: str, hypothesis: str) -> tuple[str, str]:
    """Return both texts as HTML: words of the reference that were missed in `<u>`, other words of the hypothesis in `<mark>`."""
    said, answered = reference.split(), hypothesis.split()
    left, right = [], []
    for kind, i, j, k, m in SequenceMatcher(None, said, answered, autojunk=False).get_opcodes():
        left.append(_tagged("u", said[i:j], kind != "equal"))
        right.append(_tagged("mark", answered[k:m], kind != "equal"))
    return " ".join(filter(None, left)), " ".join(filter(None, right))


def _tagged(tag: str, words: list[str], wrong: bool) -> str:
    text = escape(" ".join(words))
    return f"<{tag}>{text}</{tag}>" if wrong and words else text
