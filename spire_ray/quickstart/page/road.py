"""The way of the data: what each part made, how the models learnt, the units, and where the time went."""

import json
from functools import partial
from html import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes

from spire_ray.core import storage, tables
from spire_ray.evaluation.plots import ACCENT, INK, SECOND, figure
from spire_ray.manifest.schema import LABELLED
from spire_ray.quickstart.figures import duration
from spire_ray.quickstart.page.results import bar
from spire_ray.quickstart.page.source import Source

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


def stops(source: Source) -> str:
    """What each part made, in the order of the data."""
    corpus, units, sampled = source.facts("corpus"), source.facts("units"), source.report["rows.codebook"]
    records = source.records
    steps = {name: records[folder]["resolved"]["training"]["steps"] for folder, name in _TRAININGS.items() if folder in records}
    packs = {name: source.facts(folder)["rows"] for folder, name in _PACKS.items() if folder in records}
    found = [
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
        found.append(("base", f"{size:.2f} M", f"parameters of the base model, {note}"))
    if packs:
        found.append(("packed", f"{sum(packs.values()):,} rows", _listed(packs, "of speech and text, packed full")))
    taught = {name: count for name, count in steps.items() if name != "base"}
    if taught:
        found.append(("taught", f"{sum(taught.values()):,} steps", _listed(taught, "of training")))
    served = f", then {source.report['rows.serve']} answers over HTTP" if "rows.serve" in source.report else ""
    found.append(("asked", f"{source.report['test.utterances']:,} clips", f"held out and asked{served}"))
    cards = "".join(f'<li class="{kind}"><b>{escape(count)}</b><span>{escape(note)}</span></li>' for kind, count, note in found)
    return f'<section><h2>The way of the data</h2><ol class="road">{cards}</ol></section>'


def _listed(counts: dict[str, int], what: str) -> str:
    return f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())


def training(source: Source) -> str:
    """Loss of each training over its steps."""
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


def units(source: Source) -> str:
    """How often units are used, and what deduplication saves."""
    folder = storage.join(source.root, "units")
    parts = [name for name in storage.listing(folder) if name.startswith("part-")]
    columns = ["units", "durations", "status"]
    table = pa.concat_tables([tables.read(storage.join(folder, part), columns) for part in parts])
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


def time(source: Source) -> str:
    """Seconds of each part."""
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
            f'<div class="bar">{bar(100 * value / longest)}</div>'
            f'<div class="value">{value:.1f} s</div><div class="made">{made}</div></div>'
        )
    return f'<section><h2>Where {duration(total)} went</h2><div class="parts">{"".join(rows)}</div></section>'
