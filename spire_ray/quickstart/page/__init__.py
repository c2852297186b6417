"""The page of a report: one HTML file with its plots and its audio inside, for light and dark screens, wide and narrow."""

from html import escape
from importlib import resources
from typing import Any

from spire_ray.quickstart.page import clips, results, road
from spire_ray.quickstart.page.source import Source


def foot(source: Source) -> str:
    """Date, commit and versions."""
    record = source.records["evaluate"]
    git = record["git"]
    changed = " with uncommitted changes" if git.get("dirty") == "true" else ""
    commit = f"commit {git['commit'][:12]}{changed}" if git else "outside a checkout"
    versions = " · ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"<footer>{escape(record['began'][:10])} · {escape(commit)}<br>{escape(versions)}</footer>"


_PARTS = (results.head, results.reached, road.stops, road.training, road.units, road.time, clips.clips, clips.served, foot)


def render(root: str, report: dict[str, Any], recipe: dict[str, Any], records: dict[str, dict[str, Any]]) -> str:
    """Return the page as HTML. `records` are the `run.json` of the finished folders below `root`."""
    source = Source(root, report, recipe, records)
    title = f"spire-ray · {escape(recipe['title'])}"
    style = resources.files("spire_ray.quickstart").joinpath("page.css").read_text()
    body = "\n".join(part(source) for part in _PARTS)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
