"""The columns of a corpus, by the names that the catalogue gives them → a row of the manifest."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from spire_ray.corpora.catalogue import Corpus
from spire_ray.manifest.schema import MANIFEST
from spire_ray.text.languages import language

ROWS = pa.schema([*MANIFEST, ("text_raw", pa.string()), ("conversations", pa.string()), ("extra", pa.string())])
"""The manifest, with the text as the corpus has it, turns as JSON, and as JSON what an evaluation needs beside them."""

_NAMES = re.compile(r"{(\w+)}")


def mapped(corpus: Corpus, row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """One row. Raises ValueError for a column that is not there; `place` says where, and makes an id for a row without one."""
    found: dict[str, Any] = {}
    translations: list[tuple[str, str]] = []
    extra: dict[str, Any] = {}
    for name, own in corpus.columns.items():
        _require(corpus, row, name, own, place)
        column, _, key = name.partition(".")
        value = own.format_map(row) if "{" in own else row[own]
        if column == "translations":
            translations += [(key, str(value))] if value else []
        elif column == "extra":
            extra[key] = value
        else:
            found[column] = value
    turns = found.pop("conversations", None)
    if turns is not None:
        found["conversations"] = json.dumps([{"from": t["from"], "value": t["value"]} for t in turns], ensure_ascii=False)
    if isinstance(found.get("audio"), str):
        found["audio"] = {"bytes": None, "path": found["audio"]}
    begin, end = found.pop("begin", None), found.pop("end", None)
    if begin is not None and end is not None and found.get("duration") is None:
        found["duration"] = float(end) - float(begin)
    samples = found.pop("samples", None)
    if samples is not None:
        found["duration"] = float(samples) / 16_000
    for name in ("offset", "duration"):
        if found.get(name) is not None:
            found[name] = _seconds(corpus, name, found[name], place)
    if found.get("speaker") is not None:
        found["speaker"] = str(found["speaker"])
    if found.get("language"):
        found["language"] = language(str(found["language"])).code
    found["text_raw"] = found.pop("text", None) or ""
    found["utt_id"] = f"{corpus.name}-{found['utt_id']}" if found.get("utt_id") is not None else _hash(corpus.name, place, row)
    if extra:
        found["extra"] = json.dumps(extra, ensure_ascii=False)
    return {**found, "translations": translations}


def _seconds(corpus: Corpus, name: str, value: Any, place: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{corpus.name}: {place}: {name}={value!r} is not a number of seconds") from None


def _require(corpus: Corpus, row: Mapping[str, Any], name: str, own: str, place: str) -> None:
    wanted: Iterable[str] = _NAMES.findall(own) if "{" in own else (own,)
    for column in wanted:
        if column not in row:
            raise ValueError(f"{corpus.name}: {place}: no column {column!r} for columns.{name}; there are {', '.join(row)}")


def _hash(corpus: str, place: str, row: Mapping[str, Any]) -> str:
    """An id of what the row says; rows that say the same get ids by their place."""
    plain = json.dumps({k: v for k, v in row.items() if not isinstance(v, (bytes, dict))}, sort_keys=True, default=str)
    return f"{corpus}-{hashlib.sha256(f'{place}|{plain}'.encode()).hexdigest()[:20]}"
