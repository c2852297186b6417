"""The folder of the stage pseudo_label: its plan, the translations of each shard, and the rows with those that are kept.

`plan.parquet` says which rows each shard holds; `labels/part-….parquet` holds every translation with its score,
`_done/….json` its counts, `part-….parquet` the rows that have a kept translation.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spire_ray.core import lock, storage, tables
from spire_ray.manifest.schema import REJECTED, in_split
from spire_ray.pseudo_labels import pseudo
from spire_ray.pseudo_labels.pseudo import Cut
from spire_ray.pseudo_labels.scores import SCORES
from spire_ray.settings import Candidate, PseudoLabelSettings
from spire_ray.shards import account, growth, marks, planning
from spire_ray.shards.marks import Translations
from spire_ray.shards.shard import Located, Shard, Work

FOLDER = "labels"
_DEPENDS_ON = ("text", "language", "split", "status")


# --- the plan -------------------------------------------------------------------------------------------------------


def planned(settings: PseudoLabelSettings) -> list[Shard]:
    """The shards of the data as it is now; those of an earlier plan keep their rows and numbers.

    Raises ValueError for a folder without part files and for planned rows that are gone.
    """
    return growth.extended(
        _tables(settings.data), planning.read(settings.output), Work(_DEPENDS_ON, limit=settings.rows_per_shard)
    )


def _tables(data: str) -> Located:
    """The columns that translations depend on, null where there are none."""
    for file in _files(data):
        with storage.open_file(file) as raw:
            parquet = pq.ParquetFile(raw)
            names = [name for name in ("utt_id", *_DEPENDS_ON) if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(columns=names):
                table = pa.Table.from_batches([batch])
                for name in {"utt_id", *_DEPENDS_ON} - {*names}:
                    table = table.append_column(name, pa.nulls(len(table), pa.string()))
                yield storage.absolute(file), table


def _files(data: str) -> list[str]:
    files = [data] if data.endswith(".parquet") else tables.parts(data)
    if not files:
        raise ValueError(f"data={data}: no part-*.parquet there")
    return files


# --- a shard --------------------------------------------------------------------------------------------------------


def rows(shard: Shard, split: str, language: str = "") -> pa.Table:
    """Rows of a shard in the split, without audio and those that labelling rejected; `language` is that of rows that name none.

    Raises ValueError where a column is lacking that a translation needs.
    """
    table = tables.read(shard.file).slice(shard.first, shard.rows)
    if lacking := {"utt_id", "text", "language", "split"} - set(table.column_names):
        raise ValueError(
            f"data: {shard.file} has no column {', '.join(sorted(lacking))}; there are {', '.join(table.column_names)}"
        )
    found = table.drop_columns([name for name in ("audio",) if name in table.column_names])
    keep = np.array([in_split(each, split) for each in found["split"].to_pylist()], bool)
    if "status" in found.column_names:
        keep &= np.array([status != REJECTED for status in found["status"].to_pylist()], bool)
    if language:
        named = pc.fill_null(found["language"].cast(pa.string()), language)
        found = found.set_column(found.column_names.index("language"), "language", named)
    return found.filter(pa.array(keep))


def write(folder: str, shard: int, labels: list[dict[str, Any]], mark: Translations) -> None:
    """The translations of a shard, then the mark that it is done."""
    lock.check(folder)
    tables.write(_part(folder, shard), pa.Table.from_pylist(labels, schema=pseudo.LABELS))
    marks.write(folder, shard, mark)


def read(folder: str, shard: int) -> pa.Table:
    """The translations of a shard."""
    return tables.read(_part(folder, shard))


def _part(folder: str, shard: int) -> str:
    return marks.part(storage.join(folder, FOLDER), shard)


# --- several systems ------------------------------------------------------------------------------------------------


def candidate(given: Candidate, shard: int) -> list[dict[str, Any]]:
    """The translations of a shard by one system, with the scores that lie beside them.

    Raises ValueError for a file of scores that is not there or has no score.
    """
    made = read(given.labels, shard).to_pylist()
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for folder in given.scores:
        path = marks.part(folder, shard)
        if not storage.exists(path):
            raise ValueError(f"candidates.scores={folder}: no part-{shard:06d}.parquet there, as {given.labels}/labels has")
        table = tables.read(path)
        named = _named(table)
        if lacking := {"utt_id", "target_language"} - set(table.column_names) or (not named and {"a score"}):
            raise ValueError(f"candidates.scores={path}: has no {', '.join(sorted(lacking))}; it has {table.column_names}")
        for row in table.to_pylist():
            found = {name: row[name] for name in named if row[name] is not None}
            scores.setdefault((row["utt_id"], row["target_language"]), {}).update(found)
    return [
        {**label, "scores": [*(label["scores"] or ()), *scores.get((label["utt_id"], label["target_language"]), {}).items()]}
        for label in made
    ]


def check_candidates(settings: PseudoLabelSettings, shards: Sequence[Shard]) -> None:
    """Raise ValueError for a system that has not translated the same shards."""
    for number, given in enumerate(settings.candidates):
        split = storage.read_json(storage.join(given.labels, "run.json"))["resolved"]["split"]
        missing = account.unfinished(shards, marks.by_shard(given.labels, Translations))
        if planning.read(given.labels) != list(shards) or missing or split != settings.split:
            raise ValueError(
                f"candidates.{number}.labels={given.labels}: holds other shards than {settings.data}; "
                "run it over the same data and split to its end, with the same rows_per_shard"
            )


def check_scores(settings: PseudoLabelSettings) -> None:
    """Raise ValueError for a score that no translation has, as far as folders of scores are there."""
    for name in settings.quality.scores:
        SCORES[name]  # refuses one that no plugin has
    known = {"score"} if settings.quality.model or settings.candidates else set()
    known |= set(settings.quality.scores)
    for folder in (folder for given in settings.candidates for folder in given.scores):
        parts = tables.parts(folder)
        if not parts:
            return
        known |= set(_named(tables.read(parts[0])))
    quality = settings.quality
    fields = {f"minimum.{name}": name for name in quality.minimum}
    decides = bool(known and (settings.candidates or quality.top_k))
    fields |= {"by": quality.by} if decides or quality.by != "score" else {}
    for field, name in fields.items():
        if name not in known:
            there = ", ".join(sorted(known)) or "none: nothing is scored"
            raise ValueError(f"quality.{field}: no translation has the score {name!r}; known are {there}")


def _named(table: pa.Table) -> list[str]:
    """Columns that are scores."""
    return [field.name for field in table.schema if pa.types.is_floating(field.type)]


# --- what is kept ---------------------------------------------------------------------------------------------------


def cuts(settings: PseudoLabelSettings, shards: Sequence[Shard]) -> dict[str, Cut]:
    """Where each language is cut, over all shards; 12 bytes are held for each good translation of one language."""
    found = {}
    for target in settings.languages:
        parts = [_good(settings, shard, target)[1:] for shard in shards]
        scores, ranks = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        found[target] = pseudo.cut(scores, ranks, settings.quality.top_k)
    return found


def write_kept(settings: PseudoLabelSettings, shards: Sequence[Shard], found: dict[str, Cut]) -> int:
    """The rows that have a kept translation, with what is kept; returns how many translations that is."""
    count = 0
    for shard in shards:
        kept: list[tuple[str, str, str]] = []
        for target, cut in found.items():
            mine, scores, ranks = _good(settings, shard, target)
            keeps = cut.keeps(scores, ranks)
            kept += [(row["utt_id"], target, row["translation"]) for row, keep in zip(mine, keeps, strict=True) if keep]
        table = pseudo.rows_with_translations(rows(shard, settings.split, settings.source_language), kept)
        lock.check(settings.output)
        tables.write(marks.part(settings.output, shard.shard), table)
        count += len(kept)
    return count


def _good(settings: PseudoLabelSettings, shard: Shard, target: str) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """The good translations of a shard into a language, what they are cut by (NaN where that is unknown), and ranks."""
    quality = settings.quality
    table = read(settings.output, shard.shard)
    rows = table.filter(pc.and_(pc.equal(table["target_language"], target), pc.is_valid(table["translation"]))).to_pylist()
    mine = [row for row in rows if pseudo.good(row, quality)]
    by = [math.nan if quality.choice == "random" else pseudo.score(row, quality.by) for row in mine]
    return mine, np.array(by, np.float32), pseudo.ranks([row["utt_id"] for row in mine], target)
