"""Tables of systems and test sets: as Markdown and as LaTeX; a page draws its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spire_ray.evaluation import significance
from spire_ray.evaluation.metrics import METRICS
from spire_ray.evaluation.report import means
from spire_ray.evaluation.report.gathered import Entry

TITLES = {
    "asr": "Speech → transcript",
    "st": "Speech → translation",
    "mt": "Text → translation",
    "ape": "Translations corrected",
    "ner": "Named entities",
    "text": "Text skills (lm-evaluation-harness)",
    "contrast": "The right one of two translations",
}
_SAMPLES = 1000
_UNFAIR = ("gold", "control")
"""Modes that are no rivals: one is told what was said, the other hears something else."""
NOTE = (
    "Bold: the best of a column. †: worse than it, and unlikely by chance at 5 % (paired bootstrap, Holm). "
    "±: half of the 95 % interval."
)


@dataclass(frozen=True)
class Cell:
    """One figure in a table."""

    entry: Entry
    best: bool
    worse: bool
    """Than the best, and not by chance."""
    mean: bool = False
    """Over languages, without an interval."""

    def text(self, bold: Callable[[str], str], plus_minus: str = " ± ") -> str:
        """As it is shown."""
        value = f"{self.entry.value:.2f}"
        spread = "" if self.mean else f"{plus_minus}{(self.entry.high - self.entry.low) / 2:.2f}"
        return f"{bold(value) if self.best else value}{spread}{'†' if self.worse else ''}"


@dataclass(frozen=True)
class Table:
    """One family of tasks under one protocol."""

    protocol: str
    family: str
    columns: tuple[tuple[str, str], ...]
    """(test set and languages, metric)."""
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    means: bool = False
    """Over the languages of the table before it."""

    @property
    def title(self) -> str:
        """Heading."""
        named = TITLES.get(self.family, self.family) + (", means over languages" if self.means else "")
        return named + (f" ({self.protocol})" if self.protocol else "")

    def head(self, arrows: tuple[str, str] = ("↑", "↓")) -> list[tuple[str, str]]:
        """(test set, metric with the direction that is better) of each column."""
        up, down = arrows
        named = [(place, METRICS[metric]) for place, metric in self.columns]
        return [(place, f"{kind.title} {up if kind.higher_is_better else down}") for place, kind in named]


def of(entries: Sequence[Entry]) -> list[Table]:
    """A table for each family of tasks and protocol; none mixes two."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for each in entries:
        groups.setdefault((each.protocol, each.family), []).append(each)
    order = [*TITLES, *sorted({family for _, family in groups} - set(TITLES))]
    made = []
    for key in sorted(groups, key=lambda key: (key[0], order.index(key[1]))):
        made.append(_table(*key, groups[key]))
        if found := means.of(groups[key]):
            made.append(_table(*key, found, mean=True))
    return made


def _table(protocol: str, family: str, entries: Sequence[Entry], mean: bool = False) -> Table:
    columns = tuple(dict.fromkeys((each.place, each.metric) for each in entries))
    cells: dict[tuple[str, tuple[str, str]], Cell] = {}
    for column in columns:
        group = [each for each in entries if (each.place, each.metric) == column]
        best = _best(group)
        worse = _worse(best[0], [each for each in group if _rival(each)]) if best and not mean else set()
        for each in group:
            cells[each.system, column] = Cell(each, any(each is leader for leader in best), each.system in worse, mean)
    systems = dict.fromkeys(each.system for each in entries)
    rows = tuple((system, tuple(cells.get((system, column)) for column in columns)) for system in systems)
    return Table(protocol, family, columns, rows, mean)


def _worse(best: Entry, others: Sequence[Entry]) -> set[str]:
    """Systems whose figure differs from the best one by more than chance, over the rows that both have."""
    try:
        value = best.made().value
    except ValueError:  # a metric that cannot be had here
        return set()
    found, mine = {}, best.numbers()
    for each in others:
        theirs = each.numbers()
        common = sorted(set(mine) & set(theirs)) if each is not best else []
        if common and each.signature == best.signature:
            pair = [np.array([numbers[utt_id] for utt_id in common]) for numbers in (mine, theirs)]
            figures = [significance.sampled(numbers, value, _SAMPLES, 12345) for numbers in pair]
            difference = value(pair[0].sum(0)) - value(pair[1].sum(0))
            found[each.system] = significance.p_value(figures[0], figures[1], difference)
    return {system for system, p in significance.corrected(found).items() if p < significance.LEVEL}


def _rival(entry: Entry) -> bool:
    return entry.task.partition("_")[2] not in _UNFAIR


def _best(entries: Sequence[Entry]) -> list[Entry]:
    """The best over as many rows as any has."""
    fair = [each for each in entries if _rival(each)]
    most = max((each.scored for each in fair), default=0)
    fair = [each for each in fair if each.scored == most]
    choose = max if entries[0].better else min
    return [each for each in fair if each.value == choose(other.value for other in fair)] if len(entries) > 1 else []


def markdown(tables: Sequence[Table]) -> str:
    """All of them, with the signatures of their metrics."""
    parts = ["# Results", NOTE]
    for table in tables:
        lines = [["system", *(f"{place}, {metric}" for place, metric in table.head())]]
        lines += [[system, *(cell.text(lambda t: f"**{t}**") if cell else "" for cell in cells)] for system, cells in table.rows]
        head, *rest = (f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {table.title}", "\n".join([head, f"|{' --- |' * len(lines[0])}", *rest])]
    return "\n\n".join([*parts, "## Signatures", "\n".join(signatures(tables))]) + "\n"


def signatures(tables: Sequence[Table]) -> list[str]:
    """A line for each metric as it was computed."""
    entries = [cell.entry for table in tables for _, cells in table.rows for cell in cells if cell]
    return list(dict.fromkeys(f"- {METRICS[each.metric].title}: `{each.signature}`" for each in entries))


def latex(tables: Sequence[Table]) -> str:
    """The same as `booktabs` tables."""
    made = [f"% \\usepackage{{booktabs}}\n% {NOTE}"]
    for number, table in enumerate(tables):
        heads = [f"\\shortstack{{{_tex(place)}\\\\{_tex(metric)}}}" for place, metric in table.head(("up", "down"))]
        heads = [head.replace(" up}", " $\\uparrow$}").replace(" down}", " $\\downarrow$}") for head in heads]
        lines = [" & ".join(["system", *heads])]
        for system, cells in table.rows:
            shown = [cell.text(lambda text: f"\\textbf{{{text}}}", " $\\pm$ ") if cell else "" for cell in cells]
            lines.append(" & ".join([_tex(system), *(text.replace("†", "$^\\dagger$") for text in shown)]))
        body = f"{lines[0]} \\\\\n\\midrule\n" + "\n".join(f"{line} \\\\" for line in lines[1:])
        made.append(
            f"\\begin{{table}}\n\\centering\n\\begin{{tabular}}{{l{'r' * len(table.columns)}}}\n\\toprule\n{body}\n\\bottomrule\n"
            f"\\end{{tabular}}\n\\caption{{{_tex(table.title)}}}\n\\label{{tab:results-{number}}}\n\\end{{table}}"
        )
    return "\n\n".join(made) + "\n"


def _tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("→", "$\\rightarrow$")
