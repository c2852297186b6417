"""What a grid shows: the figures of every evaluation against the value that was varied, as a table, a page and MLflow runs."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from matplotlib.axes import Axes

from spire_ray.core import storage
from spire_ray.evaluation.metrics import METRICS
from spire_ray.evaluation.plots import figure
from spire_ray.evaluation.report import curves
from spire_ray.evaluation.report.gathered import Entry, gather
from spire_ray.evaluation.report.tables import TITLES
from spire_ray.recipes.grid import FILE
from spire_ray.recipes.report import Written

_KEPT = {"mt": "Text kept: "}
"""Families of tasks that ask for no speech: whether the model still does what it did before."""
Panels = dict[tuple[str, str, str], dict[str, dict[str, Entry]]]
"""(family, place, metric) → system → value → figure."""


def write(root: str) -> Written:
    """`grid.md` and `grid.html` of a grid that has ended."""
    said = storage.read_json(storage.join(root, FILE))
    key, found = said["key"], {value: gather(folders) for value, folders in said["figures"].items()}
    panels = _panels(found)
    text = _table(key, list(found), panels)
    storage.write_bytes(storage.join(root, "grid.md"), text.encode())
    storage.write_bytes(storage.join(root, "grid.html"), _page(key, list(found), panels).encode())
    compared = {
        f"{key}={value}": {f"{each.model}.{each.task}.{each.languages}.{each.metric}": each.value for each in entries}
        for value, entries in found.items()
    }
    return Written(f"{text}\n→ {storage.join(root, 'grid.html')}", ("grid.md", "grid.html"), compared)


def _panels(found: Mapping[str, Sequence[Entry]]) -> Panels:
    panels: Panels = {}
    for value, entries in found.items():
        for each in entries:
            if "control" not in each.task:
                panel = panels.setdefault((each.family, each.place, each.metric), {})
                panel.setdefault(each.system, {})[value] = each
    order = list(TITLES)
    return dict(sorted(panels.items(), key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order)))


def _title(family: str, metric: str) -> str:
    kind = METRICS[metric]
    return f"{_KEPT.get(family, '')}{TITLES.get(family, family)}, {kind.title} {'↑' if kind.higher_is_better else '↓'}"


def _table(key: str, values: Sequence[str], panels: Panels) -> str:
    """Rows are systems at their tasks, columns the values."""
    lines = [["", "", *(f"{key}={value}" for value in values)], ["---"] * (len(values) + 2)]
    for (family, place, metric), systems in panels.items():
        for system, figures in systems.items():
            cells = [f"{figures[value].value:.2f}" if value in figures else "" for value in values]
            lines.append([f"{_title(family, metric)}, {place}", system, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _page(key: str, values: Sequence[str], panels: Panels) -> str:
    style = resources.files("spire_ray.evaluation.report").joinpath("page.css").read_text()
    plots = "".join(curves.themed(_plot(key, values, name, systems)) for name, systems in panels.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(key)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(key)}</h1><p>{escape(', '.join(values))}</p></header>\n"
        f'<section><h2>What it changes</h2><div class="plots">{plots}</div></section>\n</main>\n</body>\n</html>\n'
    )


def _plot(key: str, values: Sequence[str], name: tuple[str, str, str], systems: Mapping[str, Mapping[str, Entry]]) -> str:
    family, place, metric = name
    places = _places(values)

    def draw(axes: Axes) -> None:
        for number, (system, figures) in enumerate(systems.items()):
            there = sorted((places[value], each) for value, each in figures.items())
            x, y = [at for at, _ in there], [each.value for _, each in there]
            spread = [[each.value - each.low for _, each in there], [each.high - each.value for _, each in there]]
            colour = curves.COLOURS[number % len(curves.COLOURS)]
            axes.errorbar(x, y, spread, color=colour, marker="o", markersize=3, elinewidth=0.7, label=system)
        axes.set_xticks([places[value] for value in values], values)
        axes.set_xlabel(key)
        axes.set_ylabel(METRICS[metric].title)
        curves.legend(axes)

    title = _title(family, metric)
    return figure(draw, (5.4, 2.6), f"{title} against {key}", f"{title}: {place}")


def _places(values: Sequence[str]) -> dict[str, float]:
    """Where a value is drawn: at its number, or in order where one is none."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(number) for number, value in enumerate(values)}
