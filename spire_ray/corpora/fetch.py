"""A recipe's corpora and models → a folder or `s3://`, after which nothing is asked of the network.

A data recipe is YAML with `corpora`, `models`, `splits`, `casing`, `license`. Licenses that are not accepted are refused before
anything is downloaded. Each file of a corpus becomes part files of rows of its
own as soon as it is there, and is marked done, so that a fetch that was stopped goes on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import yaml

from spire_ray.core import copies, storage, tables
from spire_ray.core.provenance import CORPUS_FILE, FETCHED
from spire_ray.corpora import catalogue, places, readers
from spire_ray.corpora.catalogue import Corpus
from spire_ray.corpora.preparation import Casing
from spire_ray.model import license
from spire_ray.settings.common import LicenseSettings

_ROWS_IN_A_PART = 1000
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
    license: LicenseSettings = field(default_factory=LicenseSettings)
    """`accept`: licenses, corpora and models by name."""


def load(path: str) -> Recipe:
    """Read a recipe. Raises ValueError for an unknown key and for a value of the wrong kind."""
    if not storage.exists(path):
        raise ValueError(f"recipe={path}: not found")
    data: Any = yaml.safe_load(storage.read_bytes(path))
    known = {each.name for each in fields(Recipe)}
    if isinstance(data, dict) and data.get("stage") == "fetch":  # where it goes is said by the caller
        data = {key: value for key, value in data.items() if key not in ("stage", "root", "output", "storage")}
    if not isinstance(data, dict) or set(data) - known:
        raise ValueError(f"{path}: expected a mapping with any of {', '.join(sorted(known))}")
    for key in ("corpora", "models", "splits"):
        if not isinstance(data.get(key, []), list):
            raise ValueError(f"{path}: {key}={data[key]!r}: expected a list")
    if not isinstance(data.get("local", {}), dict):
        raise ValueError(f"{path}: local={data['local']!r}: expected a mapping of corpora to folders")
    if data.get("casing", "keep") not in get_args(Casing):
        raise ValueError(f"{path}: casing={data['casing']!r}: expected {', '.join(get_args(Casing))}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Recipe(**{**values, "license": _license(path, data.get("license", {}))})


def _license(path: str, given: Any) -> LicenseSettings:
    accepted = given.get("accept", []) if isinstance(given, dict) and set(given) <= {"accept"} else None
    if not isinstance(accepted, list):
        raise ValueError(f"{path}: license={given!r}: expected {{accept: [name, …]}}")
    return LicenseSettings(accept=tuple(map(str, accepted)))


def fetch(recipe: Recipe, to: str, folder: str = catalogue.FOLDER) -> dict[str, dict[str, int]]:
    """Bring what is not there yet.

    Returns how many rows of each corpus there are then, how many were refused, and how many found no translation elsewhere.
    Raises ValueError, before any work, for what cannot be had.
    """
    corpora = [catalogue.corpus(name, folder) for name in recipe.corpora]
    absent = [f"{c.name} ({c.obtain})" for c in corpora if not c.hub and c.name not in recipe.local]
    if absent:
        raise ValueError(f"not to be downloaded: {'; '.join(absent)}; then name the copy under local: in the recipe")
    for name, copy in recipe.local.items():
        if not Path(copy).exists():
            raise ValueError(f"local.{name}={copy}: not found")
    asked = _splits(corpora, recipe)
    for corpus in corpora:
        for split in asked[corpus.name]:
            corpus.patterns(split)
        if corpus.translations_of and corpus.translations_of not in recipe.corpora:
            raise ValueError(f"corpora: {corpus.name} takes its translations of {corpus.translations_of}; add that")
    for corpus in corpora:
        license.check_corpus(corpus.name, corpus.license, recipe.license.accept)
    lacking = [model for model in recipe.models if not _has_model(to, model)]
    for model in recipe.models:
        there = storage.join(to, "models", _short(model))
        license.check(model, recipe.license.accept, there if storage.exists(there) else "")
    for model in lacking:
        _fetch_model(model, to)
    givers = {corpus.translations_of for corpus in corpora}
    return {
        corpus.name: _fetch_corpus(corpus, recipe, asked[corpus.name], to)
        for corpus in sorted(corpora, key=lambda corpus: corpus.name not in givers)
    }


def is_there(recipe: Recipe, to: str, folder: str = catalogue.FOLDER) -> bool:
    """Whether everything has been brought already. Raises ValueError for a model that is there in another revision."""
    models = [_has_model(to, model) for model in recipe.models]
    asked = _splits([catalogue.corpus(name, folder) for name in recipe.corpora], recipe)
    return all(models) and all(set(splits) <= _brought(storage.join(to, name)) for name, splits in asked.items())


def is_all_fetched(to: str, folder: str = catalogue.FOLDER) -> bool:
    """Whether all that lies in a folder are corpora of the catalogue and models that were fetched, or began to be."""
    known = {"models", *catalogue.load(folder)}
    return all(name in known and storage.exists(storage.join(to, name, FETCHED)) for name in storage.listing(to))


def _splits(corpora: Sequence[Corpus], recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Corpus → what is wanted of it: of one that another takes its translations of, everything."""
    givers = {corpus.translations_of for corpus in corpora}
    return {corpus.name: tuple(corpus.splits) if corpus.name in givers else recipe.splits for corpus in corpora}


def _brought(folder: str) -> set[str]:
    """Splits of a corpus that are there as a whole."""
    path = storage.join(folder, CORPUS_FILE)
    return set(storage.read_json(path).get("splits", ())) if storage.exists(path) else set()


def _short(model: str) -> str:
    """The folder of a model: its id without organization and revision."""
    return model.partition("@")[0].rsplit("/", 1)[-1]


def _model_mark(to: str, model: str) -> str:
    return storage.join(to, "models", FETCHED, f"{_short(model)}.json")


def _has_model(to: str, model: str) -> bool:
    """Raises ValueError where its folder holds another model or another revision."""
    if not storage.exists(mark := _model_mark(to, model)):
        return False
    if (there := storage.read_json(mark)["model"]) != model:
        raise ValueError(f"{to}/models/{_short(model)}: holds {there}, not {model}; choose another folder or remove this one")
    return True


def _fetch_model(model: str, to: str) -> None:
    from huggingface_hub import snapshot_download

    if _has_model(to, model):
        return
    name, _, revision = model.partition("@")
    with places.asked(name):
        brought = snapshot_download(name, revision=revision or None)
    copies.upload(brought, storage.join(to, "models", _short(model)))
    storage.write_json(_model_mark(to, model), {"model": model})


def _fetch_corpus(corpus: Corpus, recipe: Recipe, splits: Sequence[str], base: str) -> dict[str, int]:
    to = storage.join(base, corpus.name)
    translations = _translations(storage.join(base, corpus.translations_of)) if corpus.translations_of else None
    form = {"preparation": corpus.preparation, "casing": recipe.casing}
    there = [name for name in storage.listing(storage.join(to, "_done")) if name.endswith(".json")]
    done = {name: storage.read_json(storage.join(to, "_done", name)) for name in there}
    for mark in done.values():
        if differing := [f"{key}={mark[key]}" for key in form if mark[key] != form[key]]:
            said = f"{mark['file']} was prepared with {', '.join(differing)}"
            raise ValueError(f"{to}: {said}; choose another folder or remove this one")
    audio = _Audio(to)
    for split in splits:
        for number, (file, local) in enumerate(places.places(corpus, recipe.local.get(corpus.name, ""), split)):
            if (name := f"{split}-{number:05d}.json") not in done:
                rows = readers.prepared(corpus, readers.read(corpus, local(), split), recipe.casing)
                written = _write(map(audio.taken, _translated(rows, translations)), to, name.removesuffix(".json"))
                done[name] = {"file": file, **form, **written}
                storage.write_json(storage.join(to, "_done", name), done[name])
    counted = ("rows", "refused", *(("untranslated",) if corpus.translations_of else ()))
    counts = {key: sum(mark[key] for mark in done.values()) for key in counted}
    if not counts["rows"]:
        raise ValueError(f"{corpus.name}: no rows of the splits {', '.join(splits)}")
    facts = {"corpus": corpus.name, "license": corpus.license, "hub": corpus.hub, **form, **counts}
    storage.write_json(storage.join(to, CORPUS_FILE), {**facts, "splits": sorted(_brought(to) | set(splits))})
    return counts


Translations = dict[tuple[str, str], list[tuple[str, str]]]


def _translations(folder: str) -> Translations:
    """Language and raw text → translations, of all rows of a corpus that was fetched."""
    found: Translations = {}
    for name in storage.listing(folder):
        if name.startswith("part-"):
            table = tables.read(storage.join(folder, name), ["language", "text_raw", "translations"])
            found |= {(row["language"], row["text_raw"]): row["translations"] for row in table.to_pylist()}
    return found


def _translated(rows: Iterator[dict[str, Any]], translations: Translations | None) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row if translations is None else {**row, "translations": translations.get((row["language"], row["text_raw"]), [])}


class _Audio:
    """Audio of a copy comes along: a clip inside its row, a recording that several rows are cut from as a file of its own."""

    def __init__(self, to: str) -> None:
        self._folder = storage.join(to, "audio")
        self._there = set(storage.listing(self._folder))

    def taken(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its audio, or with `error` where that is not there."""
        audio = row.get("audio")
        if row.get("error") or not audio or audio["bytes"] is not None:
            return row
        file = Path(audio["path"])
        if not file.exists():
            return {**row, "error": f"no audio: {file}"}
        if row.get("offset") is None:
            return {**row, "audio": {"bytes": file.read_bytes(), "path": file.name}}
        if file.name not in self._there:
            storage.write_bytes(storage.join(self._folder, file.name), file.read_bytes())
            self._there.add(file.name)
        return {**row, "audio": {"bytes": None, "path": f"audio/{file.name}"}}


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
        tables.write(storage.join(to, "refused", f"{name}.parquet"), pa.Table.from_pylist(refused, schema=_REJECTED))
    return {"rows": count + len(kept), "refused": len(refused), "untranslated": untranslated}


def _write_part(rows: Sequence[dict[str, Any]], to: str, name: str) -> None:
    tables.write(storage.join(to, name), pa.Table.from_pylist(list(rows), schema=readers.ROWS))
