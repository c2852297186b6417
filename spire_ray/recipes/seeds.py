"""Several seeds of one recipe: mean and spread of their reports."""

import statistics
from collections.abc import Sequence

from spire_ray.core import storage
from spire_ray.evaluation.metrics import METRICS


def spread(roots: Sequence[str]) -> str:
    """A Markdown table of the scores and seconds in the reports under `roots`: mean, smallest and largest.

    Raises ValueError if two roots hold the same seed or different recipes, which have no common mean.
    """
    recipes = [storage.read_json(storage.join(root, "recipe.json")) for root in roots]
    if len(titles := {recipe["title"] for recipe in recipes}) > 1:
        raise ValueError(f"roots={', '.join(roots)}: different recipes ({', '.join(sorted(titles))}) have no common mean")
    seeds = [recipe["seed"] for recipe in recipes]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"roots={', '.join(roots)}: seeds {seeds}, but each must differ; run the recipe with seed=N root=FOLDER")
    reports = [storage.read_json(storage.join(root, "report.json")) for root in roots]
    keys = [key for key in reports[0] if _averaged(key) and all(key in other for other in reports)]
    lines = [f"| {len(roots)} seeds | mean | smallest | largest |", "|---|---|---|---|"]
    for key in keys:
        values = [float(other[key]) for other in reports]
        lines.append(f"| `{key}` | {statistics.mean(values):.1f} | {min(values):.1f} | {max(values):.1f} |")
    return "\n".join(lines)


def _averaged(key: str) -> bool:
    return key.startswith("seconds.") or key.split(".")[-1] in METRICS
