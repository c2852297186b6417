"""What a scoring leaves: `results.json`, `results.md`, and the metrics of every row."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from spire_ray.core import storage, tables
from spire_ray.evaluation.comparing import Comparison
from spire_ray.evaluation.metrics import METRICS
from spire_ray.evaluation.scoring import Figure, Rows
from spire_ray.evaluation.significance import LEVEL

FILE, TABLE, BY_ROW = "results.json", "results.md", "scores"


def keys(found: Sequence[Figure | Rows]) -> dict[tuple[str, str, str], str]:
    """(model, task, languages) → `MODEL.TASK`, with the languages behind it where the rows of a task are of several."""
    several = {(each.model, each.task): {other.languages for other in found if other.task == each.task} for each in found}
    return {
        (each.model, each.task, each.languages): f"{each.model}.{each.task}"
        + (f".{each.languages}" if len(several[each.model, each.task]) > 1 else "")
        for each in found
    }


def flat(found: Sequence[Figure], counted: Sequence[Rows]) -> dict[str, float]:
    """Figures by dotted key: `it.asr.wer`."""
    named = keys([*found, *counted])
    return {f"{named[each.model, each.task, each.languages]}.{each.metric}": each.value for each in found}


def by_model(found: Sequence[Figure], counted: Sequence[Rows]) -> dict[str, dict[str, float]]:
    """Model → its figures and counts of rows by dotted key without its name, `asr.wer`: the same for every model."""
    made: dict[str, dict[str, float]] = {each.model: {} for each in counted}
    named = {where: key.removeprefix(f"{where[0]}.") for where, key in keys([*found, *counted]).items()}
    for each in found:
        made[each.model][f"{named[each.model, each.task, each.languages]}.{each.metric}"] = each.value
    for row in counted:
        key = named[row.model, row.task, row.languages]
        made[row.model] |= {f"{key}.{name}": getattr(row, name) for name in ("rows", "left_out", "failed", "empty")}
    return made


def as_json(found: Sequence[Figure], counted: Sequence[Rows], compared: Sequence[Comparison]) -> dict[str, Any]:
    """The figures by dotted key and, below `figures`, `rows` and `comparisons`, all that is known of them."""
    held_back = ("made", "ids", "statistics", "samples")
    shown = [
        {name: value for name, value in vars(each).items() if name not in held_back} | {"signature": each.made.signature}
        for each in found
    ]
    signature = next((each.made.signature for each in found if each.metric == "bleu"), "")
    return {
        **flat(found, counted),
        **({"signature": signature} if signature else {}),
        "figures": shown,
        "rows": [asdict(each) for each in counted],
        "comparisons": [asdict(each) for each in compared],
    }


def as_markdown(found: Sequence[Figure], counted: Sequence[Rows], compared: Sequence[Comparison], protocol: str = "") -> str:
    """A table for each task and direction, the best figure bold; then the comparisons and the signatures."""
    parts = ["# Results", "Between brackets: the interval of 95 % by bootstrap over the rows."]
    parts += [f"Protocol: {protocol}."] if protocol else []
    for task, languages in dict.fromkeys((each.task, each.languages) for each in counted):
        rows = [each for each in counted if (each.task, each.languages) == (task, languages)]
        figures = [each for each in found if (each.task, each.languages) == (task, languages)]
        parts += [f"## {task}, {languages}", _table(rows, figures)]
        parts += [_errors(rows)] if any(row.failed for row in rows) else []
    if compared:
        parts += ["## Comparisons", _comparisons(compared)]
    signatures = dict.fromkeys(f"- {_title(each.metric)}: `{each.made.signature}`" for each in found)
    return "\n\n".join([*parts, "## Signatures", "\n".join(signatures)]) + "\n"


def by_row(folder: str, model: str, task: str, answers: Sequence[dict[str, Any]], found: Sequence[Figure]) -> None:
    """Write `scores/MODEL/TASK.parquet`: each answer with its metrics, and with the numbers that add up to figures."""
    measured: dict[str, dict[str, float]] = {}
    for each in found:
        for utt_id, numbers in zip(each.ids, each.statistics, strict=True):
            measured.setdefault(utt_id, {})[each.metric] = each.made.value(numbers)
    names = list(dict.fromkeys(each.metric for each in found))
    sums: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for each in found:
        sums[each.metric] |= zip(each.ids, each.statistics.tolist(), strict=True)
    kept = ("utt_id", "source", "target", "reference", "hypothesis", "error", "corpus", "speaker")
    rows = [
        {name: row.get(name) for name in (*kept, "duration")}
        | {name: measured.get(row["utt_id"], {}).get(name) for name in names}
        | {f"{name}.statistics": sums[name].get(row["utt_id"]) for name in names}
        for row in answers
    ]
    numbers = [("duration", pa.float64()), *((name, pa.float64()) for name in names)]
    lists = [(f"{name}.statistics", pa.list_(pa.float64())) for name in names]
    schema = pa.schema([*((name, pa.string()) for name in kept), *numbers, *lists])
    tables.write(storage.join(folder, BY_ROW, model, f"{task}.parquet"), pa.Table.from_pylist(rows, schema))


def _table(rows: Sequence[Rows], figures: Sequence[Figure]) -> str:
    metrics = list(dict.fromkeys(each.metric for each in figures))
    bold = {metric: best([each for each in figures if each.metric == metric]) for metric in metrics}
    lines = [["model", *(_title(metric) for metric in metrics), "scored", "left out", "failed", "empty"]]
    for row in rows:
        mine = {each.metric: each for each in figures if each.model == row.model}
        scored = min((each.scored for each in mine.values()), default=0)
        cells = [_cell(mine[metric], mine[metric] in bold[metric]) if metric in mine else "" for metric in metrics]
        # left out is also a reference that holds nothing once it is normalized
        lines.append([row.model, *cells, *map(str, (scored, row.rows - row.failed - scored, row.failed, row.empty))])
    return _drawn(lines)


def _cell(figure: Figure, bold: bool) -> str:
    value = f"{figure.value:.2f}"
    parts = "".join(f", {count} {name}" for name, count in figure.counts.items())
    return f"{f'**{value}**' if bold else value} [{figure.low:.2f}, {figure.high:.2f}]{parts}"


def best(figures: Sequence[Figure]) -> list[Figure]:
    """The best over as many rows as any: one that failed at hard rows would be better without them."""
    choose = max if METRICS[figures[0].metric].higher_is_better else min
    most = max(each.scored for each in figures)
    fair = [each for each in figures if each.scored == most]
    return [each for each in fair if each.value == choose(other.value for other in fair)]


def _errors(rows: Sequence[Rows]) -> str:
    return "\n".join(f"- {row.model}: {row.failed} failed, such as {row.first_error}" for row in rows if row.failed)


def _comparisons(compared: Sequence[Comparison]) -> str:
    lines = [["task", "metric", "models", "rows", "difference", "p", "corrected"]]
    for each in compared:
        task, sign = f"{each.task}, {each.languages}", " *" if each.corrected < LEVEL else ""
        models, values = f"{each.one} − {each.other}", (f"{each.p:.3f}", f"{each.corrected:.3f}{sign}")
        lines.append([task, _title(each.metric), models, str(each.rows), f"{each.difference:+.2f}", *values])
    note = "Paired bootstrap; p corrected for the number of pairs by Holm's method. *: unlikely to be chance at 5 %."
    return f"{_drawn(lines)}\n\n{note}"


def _title(metric: str) -> str:
    return METRICS[metric].title


def _drawn(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))
