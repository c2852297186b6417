"""Plots of a report: quality by duration, by language, and by the way that speech is translated."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from spire_ray.audio.distortions import DISTORTIONS
from spire_ray.evaluation.metrics import METRICS
from spire_ray.evaluation.plots import INK, figure
from spire_ray.evaluation.report.gathered import Entry

COLOURS = ("#050505", "#060606", "#070707", "#080808", "#090909", "#0a0a0a")
"""What plots draw with; the page puts `--series-N` in their place."""
_PARTS, _FEWEST = 4, 40
_CONDITION = re.compile(r"(?P<of>.+)@(?P<name>\w+)=(?P<strength>-?[\d.]+)")
_MODES = ("direct", "multiturn", "cascade", "gold")


def themed(svg: str) -> str:
    """A plot in the colours of its page."""
    for number, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--series-{number})")
    return svg


def all_of(entries: Sequence[Entry]) -> list[str]:
    """Every plot that there is enough for."""
    made = [_by_duration(group) for group in _groups(entries, lambda each: (each.protocol, each.family, each.place, each.metric))]
    made += [_by_mode(group) for group in _groups(entries, lambda each: (each.protocol, each.place, each.metric))]
    made += [
        _by_language(group) for group in _groups(entries, lambda each: (each.protocol, each.task, each.test_set, each.metric))
    ]
    made += [_by_strength(*group) for group in _distorted(entries).items()]
    return [themed(svg) for svg in made if svg]


def _distorted(entries: Sequence[Entry]) -> dict[tuple[str, ...], dict[str, list[tuple[float, float]]]]:
    """(distortion, metric, test set, protocol) → (strength, figure) by system, of test sets such as `talks@noise=10`."""
    found: dict[tuple[str, ...], dict[str, list[tuple[float, float]]]] = {}
    for each in entries:
        if condition := _CONDITION.fullmatch(each.test_set):
            key = (condition["name"], each.metric, f"{condition['of']} {each.languages}", each.protocol)
            points = found.setdefault(key, {}).setdefault(each.system, [])
            points.append((float(condition["strength"]), each.value))
    return found


def _by_strength(key: tuple[str, ...], curves: dict[str, list[tuple[float, float]]]) -> str:
    name, metric, place, _ = key
    if not any(len(points) > 1 for points in curves.values()):
        return ""
    title = METRICS[metric].title

    def draw(axes: Axes) -> None:
        for number, (system, points) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*zip(*sorted(points), strict=True), color=colour, marker="o", markersize=3, label=system)
        axes.set_xlabel(DISTORTIONS[name][2] if name in DISTORTIONS else name)
        axes.set_ylabel(title)
        legend(axes)

    return figure(draw, (5.4, 2.6), f"{title} under {name}", f"{title} under {name}: {place}")


def _groups(entries: Sequence[Entry], key: object) -> list[list[Entry]]:
    found: dict[object, list[Entry]] = {}
    for each in entries:
        found.setdefault(key(each), []).append(each)  # type: ignore[operator]
    return list(found.values())


def _by_duration(group: list[Entry]) -> str:
    """Figures of the quarters of the rows, from the shortest speech to the longest."""
    curves = [(entry.system, points) for entry in group if "control" not in entry.task and (points := _quarters(entry))]
    if not curves or group[0].metric not in ("wer", "cer", "chrf"):
        return ""
    title = METRICS[group[0].metric].title

    def draw(axes: Axes) -> None:
        for number, (name, points) in enumerate(curves):
            axes.plot(*zip(*points, strict=True), color=COLOURS[number % len(COLOURS)], marker="o", markersize=3, label=name)
        axes.set_xlabel("seconds of speech, mean of a quarter of the rows")
        axes.set_ylabel(title)
        legend(axes)

    return figure(draw, (5.4, 2.6), f"{title} by duration", f"{title} by duration: {group[0].place}")


def _quarters(entry: Entry) -> list[tuple[float, float]]:
    rows = [row for row in entry.rows if row[entry.metric] is not None and row["duration"]]
    if len(rows) < _FEWEST:
        return []
    try:
        value = entry.made().value
    except ValueError:  # a metric that cannot be had here
        return []
    rows.sort(key=lambda row: row["duration"])
    parts = np.array_split(np.arange(len(rows)), _PARTS)
    numbers = np.array([row[f"{entry.metric}.statistics"] for row in rows])
    seconds = np.array([row["duration"] for row in rows])
    return [(float(seconds[part].mean()), value(numbers[part].sum(0))) for part in parts]


def _by_mode(group: list[Entry]) -> str:
    """What hearing costs: speech at once, by way of a transcript, and the true transcript."""
    found = {(each.model, each.task.removeprefix("st_")): each for each in group if each.family == "st"}
    models = list(dict.fromkeys(model for model, _ in found))
    modes = [mode for mode in _MODES if any((model, mode) in found for model in models)]
    if len(modes) < 2:
        return ""
    return _bars(group[0], models, modes, found, "The cost of hearing")


def _by_language(group: list[Entry]) -> str:
    found = {(each.model, each.languages): each for each in group}
    models, languages = ([*dict.fromkeys(key[place] for key in found)] for place in (0, 1))
    if len(languages) < 2 or "control" in group[0].task:
        return ""
    return _bars(
        group[0], languages, models, {(languages, model): each for (model, languages), each in found.items()}, group[0].task
    )


def _bars(first: Entry, groups: list[str], series: list[str], found: dict[tuple[str, str], Entry], what: str) -> str:
    title, width = METRICS[first.metric].title, 0.8 / len(series)

    def draw(axes: Axes) -> None:
        for number, name in enumerate(series):
            there = [(place, found[group, name]) for place, group in enumerate(groups) if (group, name) in found]
            places = [place + (number - (len(series) - 1) / 2) * width for place, _ in there]
            values = [entry.value for _, entry in there]
            spread = [[entry.value - entry.low for _, entry in there], [entry.high - entry.value for _, entry in there]]
            bars: Any = {"color": COLOURS[number % len(COLOURS)], "label": name, "ecolor": INK}
            axes.bar(places, values, width * 0.92, yerr=np.maximum(spread, 0), error_kw={"linewidth": 0.7}, **bars)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_ylabel(title)
        legend(axes)

    return figure(draw, (5.4, 2.6), f"{what}: {title}", f"{what}: {title}, {first.test_set}")


def legend(axes: Axes) -> None:
    """Beside the plot."""
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
