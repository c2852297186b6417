"""The paper's ablation: five models side by side, and what CPT, pseudo-labels and text instructions each buy."""

import io
from typing import Any

from spire_ray.core import storage
from spire_ray.quickstart import report
from spire_ray.recipes.report import Written

PLOT = "variants.png"
VARIANTS = {
    "cpt": "SpireBase",
    "it": "SpireFull",
    "tower_full": "TowerFull",
    "no_pseudo": "SpireNoPseudo",
    "no_blocks": "SpireNoBlocks",
}
"""Model of the evaluation → variant of the paper (its Table 3)."""

MEASURES = {
    "asr.wer": "WER",
    "st_direct.bleu": "ST direct, BLEU",
    "st_cascade.bleu": "ST cascade, BLEU",
    "mt.bleu": "MT, BLEU",
    "mt_reverse.bleu": "text skill kept, BLEU",
}
BOUGHT = {"CPT": "tower_full", "pseudo-ST": "no_pseudo", "text IT": "no_blocks"}
"""What SpireFull has beyond each of its controls."""


def write(root: str) -> Written:
    """The quickstart's report, and the variants side by side. Raises ValueError where not all were evaluated."""
    quickstart, found = report.write(root), measured(root)
    if not found:
        raise ValueError(f"root={root}: the evaluation there lacks a variant; run configs/quickstart/variants.yaml to its end")
    storage.write_bytes(storage.join(root, PLOT), plot(found))
    text = f"{quickstart.text}\n\n{table(found)}\n\nplot: {root}/{PLOT}"
    figures = {name: {f"variant/{measure}": value for measure, value in values.items()} for name, values in found.items()}
    return Written(text, (*quickstart.files, PLOT), figures)


def measured(root: str) -> dict[str, dict[str, float]]:
    """The measures of the variants from a recipe's evaluation; empty where it has not trained them all."""
    path = storage.join(root, "evaluate", "results.json")
    return compared(storage.read_json(path)) if storage.exists(path) else {}


def compared(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """`results.json` of an evaluation → the measures of each variant; empty unless all of them were evaluated."""
    found = {
        title: {measure: results[f"{model}.{measure}"] for measure in MEASURES if f"{model}.{measure}" in results}
        for model, title in VARIANTS.items()
    }
    return found if all(found.values()) else {}


def table(variants: dict[str, dict[str, float]]) -> str:
    """Aligned plain text: the variants, then SpireFull less each control."""
    rows = [("", *MEASURES.values())]
    rows += [(title, *(_shown(values.get(measure)) for measure in MEASURES)) for title, values in variants.items()]
    full = variants[VARIANTS["it"]]
    for what, model in BOUGHT.items():
        control = variants[VARIANTS[model]]
        gains = (full[m] - control[m] if m in full and m in control else None for m in MEASURES)
        rows.append((f"{what} buys", *(_shown(gain, "+.1f") for gain in gains)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def plot(variants: dict[str, dict[str, float]]) -> bytes:
    """Bars of every measure by variant, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        shown = {name: values[measure] for name, values in variants.items() if measure in values}
        bars = axes.barh(list(shown), list(shown.values()), color=["C1" if name == "SpireFull" else "C0" for name in shown])
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        axes.set_title(f"{title} {'↓' if measure == 'asr.wer' else '↑'}", fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    return buffer.getvalue()


def _shown(value: float | None, form: str = ".1f") -> str:
    return "" if value is None else format(value, form)
