"""A recipe's corpora and models → a folder or `s3://`, after which nothing is asked of the network.

A data recipe is YAML with `corpora`, `models`, `splits`, `casing`. Each file of a corpus becomes part files of rows of its
own as soon as it is there, and is marked done, so that a fetch that was stopped goes on.
"""

import fnmatch
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from spire_ray import storage
from spire_ray.corpora import catalogue, readers
from spire_ray.corpora.catalogue import Corpus
from spire_ray.corpora.preparation import Casing

_ROWS_IN_A_PART = 2000
_REJECTED = pa.schema([("utt_id", pa.string()), ("reason", pa.string()), ("text_raw", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is to be brought."""

    corpora: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Hugging Face ids, `id@revision` to pin them."""
    splits: tuple[str, ...] = ("train",)
    casing: Casing = "keep"
    local: dict[str, str] = field(default_factory=dict)
    """Corpus → folder of a copy that is here already, for those that cannot be downloaded by themselves."""


def load(path: str) -> Recipe:
    """Read a recipe. Raises ValueError for an unknown key."""
    data: Any = yaml.safe_load(storage.read_bytes(path))
    known = {each.name for each in fields(Recipe)}
    if not isinstance(data, dict) or set(data) - known:
        raise ValueError(f"{path}: expected a mapping with any of {', '.join(sorted(known))}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Recipe(**values)


def fetch(recipe: Recipe, to: str, folder: str = catalogue.FOLDER) -> dict[str, dict[str, int]]:
    """Bring everything; rows and refused rows of each corpus. Raises ValueError, before any work, for what cannot be had."""
    corpora = [catalogue.corpus(name, folder) for name in recipe.corpora]
    absent = [f"{c.name} ({c.obtain})" for c in corpora if not c.hub and c.name not in recipe.local]
    if absent:
        raise ValueError(f"not to be downloaded: {'; '.join(absent)}; then name the copy under local: in the recipe")
    for model in recipe.models:
        _fetch_model(model, to)
    return {corpus.name: _fetch_corpus(corpus, recipe, storage.join(to, corpus.name)) for corpus in corpora}


def _fetch_model(model: str, to: str) -> None:
    from huggingface_hub import snapshot_download

    name, _, revision = model.partition("@")
    target = storage.join(to, "models", name.rsplit("/", 1)[-1])
    if not storage.exists(storage.join(target, "config.json")):
        storage.upload(snapshot_download(name, revision=revision or None), target)


def _fetch_corpus(corpus: Corpus, recipe: Recipe, to: str) -> dict[str, int]:
    counts = {"rows": 0, "refused": 0}
    for split in recipe.splits:
        for number, (name, local) in enumerate(_places(corpus, recipe, split)):
            mark = storage.join(to, "_done", f"{split}-{number:05d}.json")
            if not storage.exists(mark):
                rows = readers.prepared(corpus, readers.read(corpus, local(), split), recipe.casing)
                storage.write_json(mark, {"file": name, **_write(rows, to, f"{split}-{number:05d}")})
            done = storage.read_json(mark)
            counts = {key: counts[key] + done[key] for key in counts}
    if not counts["rows"]:
        raise ValueError(f"{corpus.name}: no rows of the splits {', '.join(recipe.splits)}")
    facts = {"corpus": corpus.name, "licence": corpus.licence, "preparation": corpus.preparation, "casing": recipe.casing}
    storage.write_json(storage.join(to, "corpus.json"), {**facts, **counts})
    return counts


def _places(corpus: Corpus, recipe: Recipe, split: str) -> Iterator[tuple[str, Any]]:
    """Name of each file or folder of a split, and a function that brings it here."""
    pattern = corpus.files.format(split=corpus.splits.get(split, split))
    if corpus.name in recipe.local:
        root = Path(recipe.local[corpus.name])
        found = [root] if corpus.layout != "table" else sorted(root.glob(pattern))
        for path in found:
            yield path.name, lambda path=path: path
        return
    from huggingface_hub import HfApi, hf_hub_download

    name, _, revision = corpus.hub.partition("@")
    given: dict[str, Any] = {"repo_type": "dataset", "revision": revision or None}
    for file in sorted(fnmatch.filter(HfApi().list_repo_files(name, **given), pattern)):
        yield file, lambda file=file: Path(hf_hub_download(name, file, **given))


def _write(rows: Iterator[dict[str, Any]], to: str, name: str) -> dict[str, int]:
    """Part files of a source file, and one of the rows that were refused."""
    kept: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    parts = count = 0
    for row in rows:
        if error := row.pop("error", None):
            refused.append({"utt_id": row["utt_id"], "reason": error, "text_raw": row["text_raw"]})
            continue
        kept.append(row)
        if len(kept) == _ROWS_IN_A_PART:
            _write_part(kept, to, f"part-{name}-{parts:04d}.parquet")
            parts, count, kept = parts + 1, count + len(kept), []
    if kept:
        _write_part(kept, to, f"part-{name}-{parts:04d}.parquet")
    if refused:
        storage.write_parquet(storage.join(to, "refused", f"{name}.parquet"), pa.Table.from_pylist(refused, schema=_REJECTED))
    return {"rows": count + len(kept), "refused": len(refused)}


def _write_part(rows: Sequence[dict[str, Any]], to: str, name: str) -> None:
    storage.write_parquet(storage.join(to, name), pa.Table.from_pylist(list(rows), schema=readers.ROWS))


# --- check ----------------------------------------------------------------------------------------------------------


def check(corpus: Corpus, place: str) -> str:
    """A copy of a corpus against the corpus's own size, in one line. Raises ValueError where there is no copy."""
    names = [name for name in storage.listing(place) if name.startswith("part-") and name.endswith(".parquet")]
    if not names:
        raise ValueError(f"{place}: no part-*.parquet there; bring the corpus with `spire data fetch`")
    rows, seconds, unknown = 0, 0.0, 0
    for name in names:
        durations = storage.read_parquet(storage.join(place, name), ["duration"])["duration"].to_pylist()
        rows, seconds = rows + len(durations), seconds + sum(d for d in durations if d is not None)
        unknown += sum(d is None for d in durations)
    hours = seconds / 3600
    said = [f"{rows} rows", *([f"{hours:.1f} h"] if hours else [])]
    if corpus.hours and unknown < rows:
        said.append(f"{hours / corpus.hours:.1%} of its own {corpus.hours:g} h")
    if corpus.rows:
        said.append(f"{rows / corpus.rows:.1%} of its own {corpus.rows} rows")
    if unknown and corpus.hours:
        said.append(f"{unknown} rows without a duration")
    if not corpus.hours and not corpus.rows:
        said.append("its own size is not in the catalogue")
    return f"{corpus.name}: {', '.join(said)}"


def described(corpus: Corpus) -> str:
    """A corpus in the words of the catalogue, as JSON."""
    return json.dumps({each.name: getattr(corpus, each.name) for each in fields(Corpus)}, indent=2, ensure_ascii=False)
