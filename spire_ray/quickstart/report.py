"""The report of a finished recipe: figures by dotted key, a short table, and the page that shows them."""

from typing import Any

from spire_ray.core import storage
from spire_ray.quickstart.figures import FIGURES, GROUPS, METRICS, Figure, duration
from spire_ray.recipes.report import Written

_REQUIRED = ("corpus", "codebook", "units", "evaluate")
_RECORDS = (*_REQUIRED, "base/init", "base/train", "extend", "cpt/pack", "cpt/train", "it/pack", "it/train")
_COUNTED = {
    "corpus": ("corpus",),
    "codebook": ("codebook",),
    "label": ("units",),
    "base": ("base/train",),
    "extend": ("extend",),
    "pack": ("cpt/pack", "it/pack"),
    "cpt": ("cpt/train",),
    "it": ("it/train",),
    "evaluate": ("evaluate",),
}
"""Part of the road → the folders whose rows it made."""


def build(root: str) -> dict[str, Any]:
    """Read the outputs under `root`, write `report.json` and `report.html` there, and return the report.

    Scores are in percent, seconds are wall clock. What the recipe did not run is absent. Raises ValueError if the corpus,
    the codebook, the units or the evaluation are not there.
    """
    from spire_ray.quickstart import page  # here, because `table` needs no matplotlib

    records = _records(root)
    recipe = storage.read_json(storage.join(root, "recipe.json"))
    results = storage.read_json(storage.join(root, "evaluate", "results.json"))
    report = _scores(results)
    report |= {"bleu.signature": results["signature"]} if "signature" in results else {}
    report |= {"test.utterances": records["evaluate"]["facts"]["rows"], "seeds": 1}
    report |= _seconds(recipe) | _rows(root, records)
    storage.write_json(storage.join(root, "report.json"), report)
    storage.write_bytes(storage.join(root, "report.html"), page.render(root, report, recipe, records).encode())
    return report


def write(root: str) -> Written:
    """The report, as a recipe asks for it."""
    text = f"{table(build(root))}\n\nreport: {root}/report.html"
    return Written(
        text, ("report.json", "report.html"), compared(storage.read_json(storage.join(root, "evaluate", "results.json")))
    )


def compared(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Each model's figures by task and metric, under names that all have in common."""
    found: dict[str, dict[str, float]] = {}
    for figure in FIGURES:
        model, _, task = figure.source.partition(".")
        for metric in METRICS:
            if task and f"{figure.source}.{metric}" in results:
                found.setdefault(model, {})[f"model/{task}.{metric}"] = results[f"{figure.source}.{metric}"]
    return found


def table(report: dict[str, Any]) -> str:
    """Return the figures of a report as aligned plain text."""
    lines = []
    for group, (heading, _) in GROUPS.items():
        figures = [figure for figure in FIGURES if figure.key.split(".")[0] == group and _scored(report, figure)]
        metrics = [metric for metric in METRICS if any(f"{figure.key}.{metric}" in report for figure in figures)]
        if not figures:
            continue
        names = "".join(f"{_NAMES[metric]:>8}" for metric in metrics)
        lines.append(f"{heading:<32}{names}")
        for figure in figures:
            values = [report[key] for metric in metrics if (key := f"{figure.key}.{metric}") in report]
            lines.append(f"  {figure.title:<30}" + "".join(f"{value:>8.2f}" for value in values))
    seconds = {key.removeprefix("seconds."): value for key, value in report.items() if key.startswith("seconds.")}
    parts = ", ".join(f"{part} {value:.0f}" for part, value in seconds.items() if part != "total")
    lines.append(f"{report['test.utterances']} held-out clips, one seed")
    lines.append(f"{duration(seconds['total'])}; seconds: {parts}")
    return "\n".join(lines)


_NAMES = {"wer": "WER", "bleu": "BLEU", "chrf": "chrF"}


def _scored(report: dict[str, Any], figure: Figure) -> bool:
    return any(f"{figure.key}.{metric}" in report for metric in METRICS)


def _records(root: str) -> dict[str, dict[str, Any]]:
    """Read the `run.json` of every finished folder."""
    paths = {folder: storage.join(root, folder, "run.json") for folder in _RECORDS}
    found = {folder: storage.read_json(path) for folder, path in paths.items() if storage.exists(path)}
    records = {folder: record for folder, record in found.items() if record["status"] == "complete"}
    for folder in _REQUIRED:
        if folder not in records:
            raise ValueError(f"root={root}: {folder} is not finished there; run the recipe to its end first")
    return records


def _scores(results: dict[str, Any]) -> dict[str, Any]:
    pairs = [(f"{figure.key}.{metric}", f"{figure.source}.{metric}") for figure in FIGURES for metric in METRICS]
    return {key: round(results[source], 2) for key, source in pairs if source in results}


def _seconds(recipe: dict[str, Any]) -> dict[str, float]:
    seconds = {"seconds.total": recipe["total"], "seconds.startup": recipe["startup"]}
    for step, value in recipe["steps"].items():
        key = f"seconds.{step.split('.')[0]}"
        seconds[key] = round(seconds.get(key, 0.0) + value, 1)
    return seconds


def _rows(root: str, records: dict[str, dict[str, Any]]) -> dict[str, int]:
    rows = {
        f"rows.{part}": sum(records[folder]["facts"]["rows"] for folder in folders if folder in records)
        for part, folders in _COUNTED.items()
        if any(folder in records for folder in folders)
    }
    path = storage.join(root, "serve", "check.json")
    if storage.exists(path):
        rows["rows.serve"] = sum(answer in storage.read_json(path) for answer in ("transcript", "translation"))
    return rows
