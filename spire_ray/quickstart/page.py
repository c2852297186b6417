"""The page of a report: one HTML file with its plots and its audio inside, for light and dark screens, wide and narrow."""

import base64
import json
import random
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from html import escape
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes

from spire_ray.core import storage
from spire_ray.evaluation.plots import ACCENT, INK, SECOND, figure
from spire_ray.manifest import reader
from spire_ray.manifest.schema import LABELLED
from spire_ray.quickstart.report import FIGURES, GROUPS, METRICS, Figure, duration
from spire_ray.text.languages import language

_CLIPS = 10
_TRAININGS = {"base/train": "base", "cpt/train": "CPT", "it/train": "IT"}
_PACKS = {"cpt/pack": "CPT", "it/pack": "IT"}
_PARTS = {
    "startup": ("Ray starts", ""),
    "corpus": ("sentences are spoken", "clips"),
    "codebook": ("k-means on a sample", "clips"),
    "label": ("audio becomes units", "clips"),
    "base": ("a model of text alone is trained", "rows trained on"),
    "extend": ("units become words of the model", "words added"),
    "pack": ("prompts become rows", "rows"),
    "cpt": ("continued pre-training", "rows trained on"),
    "it": ("instruction tuning", "rows trained on"),
    "evaluate": ("held-out clips are asked", "clips"),
    "serve": ("a clip is sent over HTTP", "answers"),
}
"""Part of the road → what happens, and what its rows are."""


@dataclass(frozen=True)
class _Source:
    """What the page is made from."""

    root: str
    report: dict[str, Any]
    recipe: dict[str, Any]
    records: dict[str, dict[str, Any]]

    @property
    def target(self) -> str:
        """ISO 639-1 code of the language that is translated into."""
        return str(self.records["evaluate"]["resolved"]["target_language"])

    def facts(self, folder: str) -> dict[str, Any]:
        """Return what a stage says it made."""
        return dict(self.records[folder]["facts"])

    def json(self, *parts: str) -> Any:
        """Read a JSON file below the root."""
        return storage.read_json(storage.join(self.root, *parts))


def render(root: str, report: dict[str, Any], recipe: dict[str, Any], records: dict[str, dict[str, Any]]) -> str:
    """Return the page as HTML. `records` are the `run.json` of the finished folders below `root`."""
    source = _Source(root, report, recipe, records)
    title = f"spire-ray · {escape(recipe['title'])}"
    style = resources.files("spire_ray.quickstart").joinpath("page.css").read_text()
    body = "\n".join(part(source) for part in (_head, _results, _road, _training, _units, _time, _clips, _served, _foot))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


# --- what was reached --------------------------------------------------------------------------------------------


def _head(source: _Source) -> str:
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


def _training_hours(source: _Source) -> float:
    clips = storage.read_parquet(storage.join(source.root, "corpus", "manifest.parquet"), ["split", "duration"])
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


def _results(source: _Source) -> str:
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
        f'<div class="bar">{_bar(scores[0][1])}</div><p>{kept}{escape(figure.meaning)}</p></div>'
    )


def _bar(percent: float) -> str:
    return f'<i style="width:{min(percent, 100):.1f}%"></i>'


def _bleu(report: dict[str, Any]) -> str:
    signature = report.get("bleu.signature", "")
    found = re.search(r"tok:([^|]+)", signature)
    if not found:
        return ""
    other = "" if found[1] == "flores200" else ", which is not the spBLEU (flores200) of the paper: the two do not compare"
    return f"BLEU is sacrebleu’s with the tokenizer {found[1]}{other}. Signature: {signature}"


# --- the way of the data -----------------------------------------------------------------------------------------


def _road(source: _Source) -> str:
    corpus, units, sampled = source.facts("corpus"), source.facts("units"), source.report["rows.codebook"]
    records = source.records
    steps = {name: records[folder]["resolved"]["training"]["steps"] for folder, name in _TRAININGS.items() if folder in records}
    packs = {name: source.facts(folder)["rows"] for folder, name in _PACKS.items() if folder in records}
    stops = [
        ("speech", f"{corpus['hours']:.2f} h", f"of audio in {corpus['rows']:,} clips"),
        (
            "heard",
            f"{units['units']:,} units",
            f"of {units['clusters']:,} kinds, from {units['frames']:,} frames; kinds found on {sampled:,} clips",
        ),
        ("text", f"{corpus['pairs']:,} pairs", "of sentences that are never spoken"),
    ]
    if "base/init" in records:
        size = source.facts("base/init")["parameters"] / 1e6
        note = f"{steps['base']:,} steps on text alone" if "base" in steps else "untrained"
        stops.append(("base", f"{size:.2f} M", f"parameters of the base model, {note}"))
    if packs:
        stops.append(("packed", f"{sum(packs.values()):,} rows", _listed(packs, "of speech and text, packed full")))
    taught = {name: count for name, count in steps.items() if name != "base"}
    if taught:
        stops.append(("taught", f"{sum(taught.values()):,} steps", _listed(taught, "of training")))
    served = f", then {source.report['rows.serve']} answers over HTTP" if "rows.serve" in source.report else ""
    stops.append(("asked", f"{source.report['test.utterances']:,} clips", f"held out and asked{served}"))
    cards = "".join(f'<li class="{kind}"><b>{escape(count)}</b><span>{escape(note)}</span></li>' for kind, count, note in stops)
    return f'<section><h2>The way of the data</h2><ol class="road">{cards}</ol></section>'


def _listed(counts: dict[str, int], what: str) -> str:
    return f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _training(source: _Source) -> str:
    plots = []
    for folder, name in _TRAININGS.items():
        if folder in source.records:
            lines = storage.read_bytes(storage.join(source.root, folder, "metrics.jsonl")).decode().splitlines()
            points = [json.loads(line) for line in lines]
            first, last = points[0], points[-1]
            fall = f"{first['loss']:.2f} → {last['loss']:.2f}"
            caption = f"<b>{name}</b> {fall} in {last['step']:,} steps, {last['epoch']:.1f} epochs"
            plots.append(figure(partial(_curve, points), (3.0, 2.0), f"Loss of {name} over its steps", caption))
    if not plots:
        return ""
    note = "Loss in nats per counted token. Each stage counts other tokens (text; text and units; answers): compare shapes."
    return f'<section><h2>Learning</h2><p class="note">{note}</p><div class="plots three">{"".join(plots)}</div></section>'


def _curve(points: list[dict[str, float]], axes: Axes) -> None:
    axes.plot([point["step"] for point in points], [point["loss"] for point in points], color=ACCENT, linewidth=1.6)
    axes.set(xlabel="step", ylim=(0, None), xlim=(0, None))


def _units(source: _Source) -> str:
    folder = storage.join(source.root, "units")
    parts = [name for name in storage.listing(folder) if name.startswith("part-")]
    columns = ["units", "durations", "status"]
    table = pa.concat_tables([storage.read_parquet(storage.join(folder, part), columns) for part in parts])
    table = table.filter(pc.equal(table["status"], LABELLED)).combine_chunks()
    clusters = source.facts("units")["clusters"]
    counts = np.sort(np.bincount(_flat(table["units"]), minlength=clusters))[::-1]
    lengths = pc.list_value_length(table["units"]).to_numpy()
    frames = np.add.reduceat(_flat(table["durations"]).astype(np.int64), np.cumsum(lengths) - lengths)
    ratio = frames.sum() / lengths.sum()
    perplexity = 2 ** _entropy(counts / counts.sum())
    unused = int((counts == 0).sum())

    def histogram(axes: Axes) -> None:
        axes.stairs(counts, fill=True, color=ACCENT)
        axes.set(xlabel="units, most used first", ylabel="times used", xlim=(0, clusters))

    def distribution(axes: Axes) -> None:
        edges = np.linspace(0, frames.max(), 41)
        axes.stairs(np.histogram(frames, edges)[0], edges, fill=True, color=SECOND, alpha=0.55, label="frames, before")
        axes.stairs(np.histogram(lengths, edges)[0], edges, fill=True, color=ACCENT, alpha=0.75, label="units, after")
        axes.set(xlabel="length of a clip", ylabel="clips", xlim=(0, frames.max()))
        axes.legend(frameon=False, labelcolor=INK)

    used = f"<b>{clusters - unused:,} of {clusters:,}</b> units occur; perplexity {perplexity:,.0f} of {clusters:,}"
    shorter = f"<b>{ratio:.2f} : 1</b> repeats merged, a clip of {frames.mean():.0f} frames becomes {lengths.mean():.0f} units"
    plots = [
        figure(histogram, (4.6, 2.4), "How often each unit is used", used),
        figure(distribution, (4.6, 2.4), "Length of the clips before and after deduplication", shorter),
    ]
    return f'<section><h2>Units</h2><div class="plots two">{"".join(plots)}</div></section>'


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.combine_chunks().flatten())


def _entropy(shares: np.ndarray) -> float:
    """Bits."""
    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum())


def _time(source: _Source) -> str:
    seconds = {key.removeprefix("seconds."): value for key, value in source.report.items() if key.startswith("seconds.")}
    total = seconds.pop("total")
    longest = max(seconds.values())
    rows = []
    for part, value in seconds.items():
        does, counted = _PARTS.get(part, (part, "rows"))
        count = source.report.get(f"rows.{part}")
        made = "" if count is None else f"{count:,} {counted}"
        rows.append(
            f'<div class="part"><div class="name">{escape(part)} <span>{escape(does)}</span></div>'
            f'<div class="bar">{_bar(100 * value / longest)}</div>'
            f'<div class="value">{value:.1f} s</div><div class="made">{made}</div></div>'
        )
    return f'<section><h2>Where {duration(total)} went</h2><div class="parts">{"".join(rows)}</div></section>'


# --- clips -------------------------------------------------------------------------------------------------------


def _clips(source: _Source) -> str:
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
            pairs += _pair("transcript", "en", row["text"], model["asr"][i])
        if "st_direct" in model:
            pairs += _pair("translation", source.target, row["translation"], model["st_direct"][i])
        cards.append(_clip(row["utt_id"], facts, spoken[row["utt_id"]], pairs))
    note = (
        f"{len(cards)} of the {len(rows):,} held-out clips, drawn by lot."
        " Marked: <u>words that the model missed</u> and <mark>words that it got wrong</mark>."
    )
    return f'<section><h2>Listen</h2><p class="note">{note}</p><div class="clips">{"".join(cards)}</div></section>'


def _served(source: _Source) -> str:
    if "rows.serve" not in source.report:
        return ""
    check = source.json("serve", "check.json")
    utt_id = check["utt_id"]
    row = _spoken(source, [utt_id])[utt_id]
    pairs = _pair("transcript", "en", check["reference"], check["transcript"])
    pairs += _pair("translation", source.target, dict(row["translations"])[source.target], check["translation"])
    card = _clip(utt_id, "sent to the running server", row, pairs)
    return f"<section><h2>Asked over HTTP</h2><pre><code>{escape(check['curl'])}</code></pre>{card}</section>"


def _spoken(source: _Source, utt_ids: list[str]) -> dict[str, dict[str, Any]]:
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


def _foot(source: _Source) -> str:
    record = source.records["evaluate"]
    git = record["git"]
    changed = " with uncommitted changes" if git.get("dirty") == "true" else ""
    commit = f"commit {git['commit'][:12]}{changed}" if git else "outside a checkout"
    versions = " · ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"<footer>{escape(record['began'][:10])} · {escape(commit)}<br>{escape(versions)}</footer>"
