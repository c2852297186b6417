"""What was reached: the head of the page and the figures by group."""

import re
from html import escape
from typing import Any

import pyarrow.compute as pc

from spire_ray.core import storage, tables
from spire_ray.quickstart.figures import FIGURES, GROUPS, METRICS, Figure, duration
from spire_ray.quickstart.page.source import Source
from spire_ray.text.languages import language


def head(source: Source) -> str:
    """Title, story and the four figures that matter."""
    report, target = source.report, language(source.target).name
    reached = []
    if "asr.wer" in report:
        reached.append(f"writes down what unknown voices say with {report['asr.wer']:.1f} % word errors")
    if "st.direct.bleu" in report:
        reached.append(f"translates their speech into {target} at {report['st.direct.bleu']:.1f} BLEU")
    hours, kinds = _training_hours(source), source.facts("units")["clusters"]
    story = (
        f"In {duration(report['seconds.total'])}, a small text model met {hours:.1f} hours of synthetic speech"
        f" as {kinds:,} new words of its vocabulary" + (f", and now {' and '.join(reached)}" if reached else "")
    )
    tiles = [
        _tile(report, "asr.wer", "%", "word errors after IT"),
        _tile(report, "st.direct.bleu", "", f"BLEU, speech → {target}"),
        _kept_tile(report, "mt", f"of the base model’s BLEU kept, English text → {target}"),
        _kept_tile(report, "mt_reverse", f"of the base model’s BLEU kept, {target} text → English"),
    ]
    return (
        f'<header><p class="eyebrow">spire-ray · {escape(source.recipe["title"])}</p><h1>Teaching a text model to hear</h1>'
        f'<p class="story">{escape(story)}.</p><div class="tiles">{"".join(tiles)}</div></header>'
    )


def _training_hours(source: Source) -> float:
    clips = tables.read(storage.join(source.root, "corpus", "manifest.parquet"), ["split", "duration"])
    return float(pc.sum(clips.filter(pc.equal(clips["split"], "train"))["duration"]).as_py()) / 3600


def _tile(report: dict[str, Any], key: str, unit: str, label: str) -> str:
    return _card(f"{report[key]:.1f}", unit, label) if key in report else ""


def _kept_tile(report: dict[str, Any], group: str, label: str) -> str:
    share = _share(report, f"{group}.it")
    return "" if share is None else _card(f"{share:.0f}", "%", label)


def _card(value: str, unit: str, label: str) -> str:
    return f'<div class="card"><b>{value}<small>{unit and " " + unit}</small></b><span>{escape(label)}</span></div>'


def _share(report: dict[str, Any], key: str) -> float | None:
    """Compute a later model's BLEU in percent of the base model's, in the groups that have one."""
    base = report.get(f"{key.split('.')[0]}.base.bleu")
    return 100 * report[f"{key}.bleu"] / base if base and f"{key}.bleu" in report else None


def reached(source: Source) -> str:
    """Every figure by its group, with what it means."""
    report, target = source.report, language(source.target).name
    blocks = []
    for group, (heading, measured) in GROUPS.items():
        rows = [_result(report, figure) for figure in FIGURES if figure.key.split(".")[0] == group]
        if any(rows):
            blocks.append(
                f'<section class="group"><h3>{escape(heading)}</h3><p class="note">{escape(measured.format(target=target))}</p>'
                f'<div class="results">{"".join(rows)}</div></section>'
            )
    return (
        f"<section><h2>What it reached</h2>{''.join(blocks)}"
        f'<p class="note">{report["test.utterances"]:,} held-out clips, one seed. No sentence and no voice of the test occurs'
        " in training; but all voices come from one synthesiser and all sentences from one grammar, so the shift is mild"
        f" and says nothing about human speech. {escape(_bleu(report))}</p></section>"
    )


def _result(report: dict[str, Any], figure: Figure) -> str:
    scores = [(metric, report[f"{figure.key}.{metric}"]) for metric in METRICS if f"{figure.key}.{metric}" in report]
    if not scores:
        return ""
    share = None if figure.key.endswith(".base") else _share(report, figure.key)
    chrf = "".join(f"<small>chrF {value:.1f}</small>" for metric, value in scores if metric == "chrf")
    kept = "" if share is None else f"<em>{share:.0f} % of the base model’s.</em> "
    kind = " quiet" if figure.key.endswith(("control", "references")) else ""
    return (
        f'<div class="result{kind}"><div class="name">{escape(figure.title)}</div>'
        f'<div class="value"><b>{scores[0][1]:.1f}</b>{chrf}</div>'
        f'<div class="bar">{bar(scores[0][1])}</div><p>{kept}{escape(figure.meaning)}</p></div>'
    )


def bar(percent: float) -> str:
    """A bar of so many percent."""
    return f'<i style="width:{min(percent, 100):.1f}%"></i>'


def _bleu(report: dict[str, Any]) -> str:
    signature = report.get("bleu.signature", "")
    found = re.search(r"tok:([^|]+)", signature)
    if not found:
        return ""
    other = "" if found[1] == "flores200" else ", which is not the spBLEU (flores200) of the paper: the two do not compare"
    return f"BLEU is sacrebleu’s with the tokenizer {found[1]}{other}. Signature: {signature}"
