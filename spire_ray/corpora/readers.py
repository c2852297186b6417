"""Files of a corpus, in its own layout → rows of the manifest with `text_raw` and, for instructions, `conversations`."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from spire_ray.corpora.catalogue import Corpus
from spire_ray.corpora.preparation import Casing, Unfit, prepare
from spire_ray.manifest.schema import MANIFEST
from spire_ray.text.languages import language

ROWS = pa.schema([*MANIFEST, ("text_raw", pa.string()), ("conversations", pa.string())])
"""The manifest, with the text as the corpus has it and turns as JSON."""

_BATCH = 512


def prepared(corpus: Corpus, rows: Iterator[dict[str, Any]], casing: Casing) -> Iterator[dict[str, Any]]:
    """Rows with their text prepared; one without usable text has `error` instead."""
    for row in rows:
        if row.get("conversations"):
            yield row
            continue
        try:
            yield {**row, "text": prepare(row["text_raw"], corpus.preparation, casing)}
        except Unfit as reason:
            yield {**row, "text": None, "error": str(reason)}


def read(corpus: Corpus, place: Path, split: str) -> Iterator[dict[str, Any]]:
    """Rows of one split: `place` is a file of a table, or the folder of a corpus with a layout of its own.

    Raises ValueError for a column or file that is not there.
    """
    own = corpus.splits.get(split, split)
    match corpus.layout:
        case "table":
            rows = _table(corpus, place)
        case "common-voice":
            rows = _common_voice(place, own)
        case "covost2":
            rows = _covost2(place, own)
        case "europarl-st":
            rows = _europarl_st(place, own)
    for row in rows:
        yield {"corpus": corpus.name, "split": split, "language": corpus.language or None, **row}


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(corpus: Corpus, file: Path) -> Iterator[dict[str, Any]]:
    """A Parquet, CSV, TSV or JSONL file whose columns the catalogue names."""
    for number, batch in enumerate(_batches(file)):
        for place, row in enumerate(batch.to_pylist()):
            yield _mapped(corpus, row, f"{file.name}:{number * _BATCH + place}")


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    suffix = file.suffix
    if suffix == ".parquet":
        yield from pq.ParquetFile(file).iter_batches(_BATCH)
        return
    if suffix in (".csv", ".tsv"):
        delimiter = "," if suffix == ".csv" else "\t"
        table = pyarrow.csv.read_csv(file, parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter))
    else:
        table = pyarrow.json.read_json(file)
    yield from table.to_batches(_BATCH)


def _mapped(corpus: Corpus, row: dict[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    translations: list[tuple[str, str]] = []
    for name, own in corpus.columns.items():
        if own not in row:
            raise ValueError(f"{corpus.name}: {place}: no column {own!r} for columns.{name}; there are {', '.join(row)}")
        column, _, code = name.partition(".")
        if code:
            translations += [(code, str(row[own]))] if row[own] else []
        else:
            found[column] = row[own]
    turns = found.pop("conversations", None)
    if turns is not None:
        found["conversations"] = json.dumps([{"from": t["from"], "value": t["value"]} for t in turns], ensure_ascii=False)
    audio = found.get("audio")
    if isinstance(audio, str):
        found["audio"] = {"bytes": None, "path": audio}
    begin, end = found.pop("begin", None), found.pop("end", None)
    if begin is not None and end is not None and found.get("duration") is None:
        found["duration"] = float(end) - float(begin)
    samples = found.pop("samples", None)
    if samples is not None:
        found["duration"] = float(samples) / 16_000
    if found.get("speaker") is not None:
        found["speaker"] = str(found["speaker"])
    if found.get("language"):
        found["language"] = language(str(found["language"])).code
    found["text_raw"] = found.pop("text", None) or ""
    found["utt_id"] = f"{corpus.name}-{found['utt_id']}" if found.get("utt_id") is not None else _hash(corpus.name, place, row)
    return {**found, "translations": translations}


def _hash(corpus: str, place: str, row: dict[str, Any]) -> str:
    """An id of what the row says; rows that say the same get ids by their place."""
    plain = json.dumps({k: v for k, v in row.items() if not isinstance(v, (bytes, dict))}, sort_keys=True, default=str)
    return f"{corpus}-{hashlib.sha256(f'{place}|{plain}'.encode()).hexdigest()[:20]}"


# --- layouts of their own -------------------------------------------------------------------------------------------


def _tsv(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        raise ValueError(f"{file}: not there")
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _clip(folder: Path, name: str) -> dict[str, Any]:
    return {"bytes": None, "path": str(folder / "clips" / name)}


def _common_voice(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """`{split}.tsv` and `clips/`, durations in `clip_durations.tsv` where the release has it."""
    durations: dict[str, float] = {}
    if (folder / "clip_durations.tsv").exists():
        durations = {row["clip"]: int(row["duration[ms]"]) / 1000 for row in _tsv(folder / "clip_durations.tsv")}
    for row in _tsv(folder / f"{split}.tsv"):
        yield {
            "utt_id": f"commonvoice-{Path(row['path']).stem}",
            "audio": _clip(folder, row["path"]),
            "duration": durations.get(row["path"]),
            "text_raw": row["sentence"],
            "speaker": row["client_id"],
            "translations": [],
        }


def _covost2(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """`covost_v2.en_*.{split}.tsv` beside the `clips/` of Common Voice 4; one row a clip, with all its translations."""
    files = sorted(folder.glob(f"covost_v2.en_*.{split}.tsv"))
    if not files:
        raise ValueError(f"{folder}: no covost_v2.en_*.{split}.tsv there; make them with CoVoST's get_covost_splits.py")
    rows: dict[str, dict[str, Any]] = {}
    for file in files:
        code = file.name.split(".")[1].removeprefix("en_").partition("-")[0]
        for row in _tsv(file):
            known = rows.setdefault(
                row["path"],
                {
                    "utt_id": f"covost2-{Path(row['path']).stem}",
                    "audio": _clip(folder, row["path"]),
                    "text_raw": row["sentence"],
                    "speaker": row.get("client_id"),
                    "translations": [],
                },
            )
            known["translations"].append((code, row["translation"]))
    yield from rows.values()


def _europarl_st(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """`en/{target}/{split}/segments.{lst,en,TARGET}` and `en/audios/`; one row a segment, with all its translations."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    lists = sorted(folder.glob(f"en/*/{split}/segments.lst"))
    if not lists:
        raise ValueError(f"{folder}: no en/*/{split}/segments.lst there")
    for segments in lists:
        code = segments.parent.parent.name
        columns = [path.read_text().splitlines() for path in (segments, *(segments.with_suffix(f".{c}") for c in ("en", code)))]
        for line, text, translation in zip(*columns, strict=True):
            name, begin, end = line.split()[:3]
            known = rows.setdefault(
                (name, begin, end),
                {
                    "utt_id": f"europarl-st-{name}-{begin}-{end}",
                    "audio": {"bytes": None, "path": str(folder / "en" / "audios" / f"{name}.m4a")},
                    "offset": float(begin),
                    "duration": float(end) - float(begin),
                    "text_raw": text,
                    "translations": [],
                },
            )
            known["translations"].append((code, translation))
    yield from rows.values()
