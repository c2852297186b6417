"""A recipe's corpora and models → a folder or `s3://`, after which nothing is asked of the network.

A data recipe is YAML with `corpora`, `models`, `splits`, `casing`. Each file of a corpus becomes part files of rows of its
own as soon as it is there, and is marked done, so that a fetch that was stopped goes on.
"""

import fnmatch
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from spire_ray import storage
from spire_ray.corpora import catalogue, layouts, readers
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
    """Of a corpus that another takes its translations of, all are brought."""
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
    """Bring everything; how many rows of each corpus, how many were refused, and how many found no translation elsewhere.

    Raises ValueError, before any work, for what cannot be had.
    """
    corpora = [catalogue.corpus(name, folder) for name in recipe.corpora]
    absent = [f"{c.name} ({c.obtain})" for c in corpora if not c.hub and c.name not in recipe.local]
    if absent:
        raise ValueError(f"not to be downloaded: {'; '.join(absent)}; then name the copy under local: in the recipe")
    givers = {corpus.translations_of for corpus in corpora if corpus.translations_of}
    for corpus in corpora:
        if corpus.translations_of and corpus.translations_of not in recipe.corpora:
            raise ValueError(f"corpora: {corpus.name} takes its translations of {corpus.translations_of}; add that")
    for model in recipe.models:
        _fetch_model(model, to)
    found = {}
    for corpus in sorted(corpora, key=lambda corpus: corpus.name not in givers):
        splits = tuple(corpus.splits) if corpus.name in givers else recipe.splits
        found[corpus.name] = _fetch_corpus(corpus, recipe, splits, to)
    return found


def _fetch_model(model: str, to: str) -> None:
    from huggingface_hub import snapshot_download

    name, _, revision = model.partition("@")
    target = storage.join(to, "models", name.rsplit("/", 1)[-1])
    if not storage.exists(storage.join(target, "config.json")):
        storage.upload(snapshot_download(name, revision=revision or None), target)


def _fetch_corpus(corpus: Corpus, recipe: Recipe, splits: Sequence[str], base: str) -> dict[str, int]:
    to = storage.join(base, corpus.name)
    counts = {"rows": 0, "refused": 0} | ({"untranslated": 0} if corpus.translations_of else {})
    translations = _translations(storage.join(base, corpus.translations_of)) if corpus.translations_of else None
    for split in splits:
        for number, (name, local) in enumerate(_places(corpus, recipe, split)):
            mark = storage.join(to, "_done", f"{split}-{number:05d}.json")
            if not storage.exists(mark):
                rows = readers.prepared(corpus, readers.read(corpus, local(), split), recipe.casing)
                written = _write(_translated(rows, translations), to, f"{split}-{number:05d}")
                storage.write_json(mark, {"file": name, **written})
            done = storage.read_json(mark)
            counts = {key: counts[key] + done[key] for key in counts}
    if not counts["rows"]:
        raise ValueError(f"{corpus.name}: no rows of the splits {', '.join(splits)}")
    facts = {"corpus": corpus.name, "licence": corpus.licence, "preparation": corpus.preparation, "casing": recipe.casing}
    storage.write_json(storage.join(to, "corpus.json"), {**facts, **counts})
    return counts


Translations = dict[tuple[str, str], list[tuple[str, str]]]


def _translations(folder: str) -> Translations:
    """Language and raw text → translations, of all rows of a corpus that was fetched."""
    found: Translations = {}
    for name in storage.listing(folder):
        if name.startswith("part-"):
            table = storage.read_parquet(storage.join(folder, name), ["language", "text_raw", "translations"])
            found |= {(row["language"], row["text_raw"]): row["translations"] for row in table.to_pylist()}
    return found


def _translated(rows: Iterator[dict[str, Any]], translations: Translations | None) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row if translations is None else {**row, "translations": translations.get((row["language"], row["text_raw"]), [])}


def _places(corpus: Corpus, recipe: Recipe, split: str) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Name of each file or folder of a split, and a function that brings it here."""
    patterns = corpus.patterns(split)
    if corpus.name in recipe.local:
        root = Path(recipe.local[corpus.name])
        found = [root] if corpus.layout in layouts.FOLDERS else sorted(path for each in patterns for path in root.glob(each))
        if not found:
            raise ValueError(f"local.{corpus.name}={root}: no {' or '.join(patterns)} there")
        for path in found:
            yield path.name, lambda path=path: path  # type: ignore[misc]
        return
    from huggingface_hub import HfApi, hf_hub_download

    name, _, revision = corpus.hub.partition("@")
    given: dict[str, Any] = {"repo_type": "dataset", "revision": revision or None}

    def bring(file: str) -> Path:
        if corpus.layout in layouts.TABLES:
            hf_hub_download(name, layouts.TABLES[corpus.layout](file), **given)
        return Path(hf_hub_download(name, file, **given))

    def bring_all(files: list[str]) -> Path:
        brought = [bring(file) for file in files]
        return brought[0].parents[files[0].count("/")]

    if corpus.archive:
        root = _unpacked(bring(corpus.archive), patterns)
        for path in sorted(path for each in patterns for path in root.glob(each)):
            yield str(path.relative_to(root)), lambda path=path: path  # type: ignore[misc]
        return
    listed = HfApi().list_repo_files(name, **given)
    files = sorted({file for each in patterns for file in fnmatch.filter(listed, each)})
    if not files:
        raise ValueError(
            f"{corpus.name}: {corpus.hub} holds no {' or '.join(patterns)}; it holds {', '.join(sorted(listed)[:5])} …"
        )
    if corpus.layout in layouts.FOLDERS:
        yield patterns[0], lambda: bring_all(files)
        return
    for file in files:
        yield file, lambda file=file: bring(file)  # type: ignore[misc]


def _unpacked(archive: Path, patterns: Sequence[str]) -> Path:
    """The members of a tar that are wanted, in a folder beside it."""
    root = archive.with_name(archive.name + ".d")
    with tarfile.open(archive) as tar:
        names = [
            member
            for member in tar.getmembers()
            if any(fnmatch.fnmatch(member.name.removeprefix("./"), each) for each in patterns)
        ]
        tar.extractall(root, names, filter="data")
    return root


def _write(rows: Iterator[dict[str, Any]], to: str, name: str) -> dict[str, int]:
    """Part files of a source file, and one of the rows that were refused."""
    kept: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    parts = count = untranslated = 0
    for row in rows:
        if error := row.pop("error", None):
            refused.append({"utt_id": row["utt_id"], "reason": error, "text_raw": row["text_raw"]})
            continue
        kept.append(row)
        untranslated += not row["translations"]
        if len(kept) == _ROWS_IN_A_PART:
            _write_part(kept, to, f"part-{name}-{parts:04d}.parquet")
            parts, count, kept = parts + 1, count + len(kept), []
    if kept:
        _write_part(kept, to, f"part-{name}-{parts:04d}.parquet")
    if refused:
        storage.write_parquet(storage.join(to, "refused", f"{name}.parquet"), pa.Table.from_pylist(refused, schema=_REJECTED))
    return {"rows": count + len(kept), "refused": len(refused), "untranslated": untranslated}


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
