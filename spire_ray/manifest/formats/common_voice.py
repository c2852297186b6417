"""Common Voice: a folder with `clips/` and `train.tsv`, `dev.tsv`, `test.tsv`, or one of its tables."""

from collections.abc import Iterator

from spire_ray.core import storage
from spire_ray.manifest.formats import FORMATS, Format, table
from spire_ray.manifest.schema import Row

_SPLITS = ("train", "dev", "test")
_WHOLE = "validated"
_CLIPS = "clips"


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of the three splits, of `validated.tsv` where there is none of them, or of the table that is named."""
    folder = storage.is_folder(uri)
    above = uri if folder else uri.rpartition("/")[0]
    names = storage.listing(uri) if folder else [uri.rpartition("/")[2]]
    tables = ([f"{split}.tsv" for split in _SPLITS if f"{split}.tsv" in names] or [f"{_WHOLE}.tsv"]) if folder else names
    for name in tables:
        for place, row in table.lines(storage.join(above, name)):
            path = str(row.get("path") or "")
            stem = name.removesuffix(".tsv")
            named = {
                "utt_id": path.rpartition(".")[0] or path,
                "audio": f"{_CLIPS}/{path}" if path else None,
                "text": row.get("sentence"),
                "language": row.get("locale"),
                "speaker": row.get("client_id"),
                "split": stem if stem in _SPLITS else None,
            }
            yield place, {**row, **named}


def recognizes(file: str) -> bool:
    """A folder with clips and tables, or a table beside clips."""
    if storage.is_folder(file):
        names = storage.listing(file)
        return _CLIPS in names and any(f"{name}.tsv" in names for name in (*_SPLITS, _WHOLE))
    return file.endswith(".tsv") and _CLIPS in storage.listing(file.rpartition("/")[0] or ".")


FORMATS.register("common_voice", Format(recognizes, rows))
