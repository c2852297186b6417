"""The data card of a pack: the mixture as planned and as packed, in the form of Table 2 of the paper."""

import io
from typing import Any

from spire_ray.core import storage
from spire_ray.settings import SourceSettings

CARD_FILE, PLOT_FILE = "card.md", "card.png"


def planned(source: SourceSettings, scale: float = 1.0) -> str:
    """What a source is to bring, in words."""
    if source.tokens:
        return f"{short(source.tokens * scale)} tokens"
    if source.units:
        return f"{short(source.units * scale)} units"
    return f"× {source.weight * scale:g}"


def short(number: float) -> str:
    """A count as Table 2 writes it: 645M, 1.2B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def write(folder: str, facts: dict[str, Any]) -> None:
    """`card.md` and `card.png` beside an `index.json`."""
    storage.write_bytes(storage.join(folder, CARD_FILE), _text(facts).encode())
    storage.write_bytes(storage.join(folder, PLOT_FILE), _plot(facts))


def _text(facts: dict[str, Any]) -> str:
    lines = [
        "# Data card",
        "",
        f"{facts['rows']} rows of {facts['sequence_length']} tokens, {facts['fill']:.2%} full, {facts['packing']}, "
        f"prompts {facts['prompts']}, seed {facts['seed']}.",
        "",
        "| source | task | form | documents | units | hours | tokens | share | planned | reached |",
        "|---|---|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    total = max(1, sum(source["tokens"] for source in facts["sources"]))
    for source in facts["sources"]:
        lines.append(
            f"| {source['name']} | {source['task']} | {source['format']} | {source['documents']} | {short(source['units'])} "
            f"| {source['hours']:.3g} | {short(source['tokens'])} | {source['tokens'] / total:.1%} | {_target(source)} |"
        )
    lines += ["", f"![planned and packed]({PLOT_FILE})", ""]
    lines += _balance(facts["sources"])
    lines += _prepared(facts.get("prepared", {}))
    if facts["rejected"]:
        lines += ["## Left out", "", "| source | reason | rows | example |", "|---|---|---:|---|"]
        for name, reasons in facts["rejected"].items():
            for kind, found in reasons.items():
                lines.append(f"| {name} | {kind} | {found['count']} | {found['utt_id']}: {_cell(found['reason'])} |")
    return "\n".join(lines) + "\n"


def _balance(sources: list[dict[str, Any]]) -> list[str]:
    """What the temperature made of the shares, language by language."""
    balanced = [source for source in sources if "balanced" in source]
    if not balanced:
        return []
    head = "| source | of | there is | share of it | brought | share | used |"
    lines = ["## Balance", "", head, "|---|---|---:|---:|---:|---:|---:|"]
    for source in balanced:
        there, brought = (max(1, sum(one[key] for one in source["balanced"].values())) for key in ("available", "brought"))
        for label, one in source["balanced"].items():
            used = one["brought"] / max(1, one["available"])
            lines.append(
                f"| {source['name']} | {label or 'conversations'} | {short(one['available'])} | {one['available'] / there:.1%} "
                f"| {short(one['brought'])} | {one['brought'] / brought:.1%} | {used:.2f} × |"
            )
    return [*lines, ""]


def _prepared(prepared: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What was done to the recordings and transcripts before they were labelled."""
    if not prepared:
        return []
    head = "| source | rows | hours | left out | signal to noise, dB: 5 %, median, 95 % | what was done |"
    lines = ["## Preparation", "", head, "|---|---:|---:|---:|---|---|"]
    for name, stages in prepared.items():
        for found in stages:
            snr = found["figures"]["percentiles"]["snr"]
            ratio = ", ".join(f"{snr[place]:.1f}" for place in (0, 2, 4)) if snr else ""
            done = "; ".join(f"{note}: {count}" for note, count in found["figures"]["notes"].items())
            lines.append(f"| {name} | {found['rows']} | {found['hours']:.2f} | {found['rejected']} | {ratio} | {_cell(done)} |")
    return [*lines, ""]


def _target(source: dict[str, Any]) -> str:
    """Target and share of it reached, as two cells."""
    ((measure, target),) = source["target"].items()
    if measure == "epochs":
        return f"{target:g} epochs | {source['documents'] / max(1, source['available']['documents']) / target:.1%}"
    return f"{short(target)} {measure} | {source[measure] / target:.1%}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:100]


def _plot(facts: dict[str, Any]) -> bytes:
    """Tokens of each source, and where a budget in tokens or units stands beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [source["name"] for source in facts["sources"]]
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.3 * len(names)), layout="constrained")
    axes.barh(names, [source["tokens"] / 1e6 for source in facts["sources"]], label="tokens")
    for place, source in enumerate(facts["sources"]):
        for measure in ("tokens", "units"):
            if target := source["target"].get(measure):
                planned = source["tokens"] * target / max(1, source[measure]) / 1e6
                axes.plot([planned, planned], [place - 0.4, place + 0.4], color="black", label="planned" if not place else None)
    axes.invert_yaxis()
    axes.set_xlabel("million tokens")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return buffer.getvalue()
