"""NeMo's JSON lines, and other manifests of one object a line with a path of audio."""

from collections.abc import Iterable, Iterator

from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.recording import check_file
from spire_ray.manifest.schema import LOCALE, Row

PATHS = ("audio_filepath", "path", "file_name")
_LANGUAGES = ("source_lang", "lang")


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of a NeMo manifest. Of a row with another `target_lang` (Canary) the text is a translation."""
    for place, given in jsonl.lines(uri):
        yield place, named(given)


def named(given: Row) -> Row:
    """A line under the manifest's names."""
    row = dict(given)
    for name, others in (("audio", PATHS), ("language", _LANGUAGES)):
        if name not in row and (found := next((key for key in others if key in row), None)):
            row[name] = row[found]
    target, source = (LOCALE.sub(r"\1", str(code or "")).lower() for code in (row.get("target_lang"), row.get("language")))
    if target and target != source:
        row["translations"] = {**(row.get("translations") or {}), target: row.pop("text", None)}
    return row


def line(row: Row) -> Row:
    """A row under NeMo's keys, absent values left out."""
    named = {
        **{key: row[key] for key in ("utt_id", "offset", "duration", "text", "corpus", "split", "speaker")},
        "audio_filepath": (row["audio"] or {}).get("path"),
        "source_lang": row["language"],
        "translations": dict(row["translations"] or ()) or None,
    }
    return {key: value for key, value in named.items() if value is not None}


def write(uri: str, rows: Iterable[Row]) -> None:
    """One line a row. Raises ValueError for a row whose audio is no file that NeMo opens."""

    def lines() -> Iterator[Row]:
        for row in rows:
            check_file(row, "a NeMo manifest")
            yield line(row)

    jsonl.write_lines(uri, lines())


def recognizes(file: str) -> bool:
    """JSON lines; asked after the formats that know theirs by their keys."""
    return jsonl.is_lines(file)


FORMATS.register("nemo", Format(recognizes, rows, write, takes_the_rest=True))
