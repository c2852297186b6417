"""CSV and TSV with a line of names: any columns, under the manifest's names or mapped to them."""

import csv
from collections.abc import Iterator

from spire_ray.core import storage
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format, common_voice, fairseq
from spire_ray.manifest.schema import Row

_PATHS = ("audio_filepath", "path", "file_name", "file", "filename", "wav")


def lines(uri: str) -> Iterator[tuple[str, Row]]:
    """(place, row) of every line, empty cells left as null. Raises ValueError naming a line with more cells than names."""
    with storage.open_file(uri) as file:
        tabs = uri.endswith(".tsv")
        read = csv.DictReader(
            jsonl.text(uri, file, ""), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
        )
        try:
            for row in read:
                place = f"{uri}: line {read.line_num}"
                if None in row:
                    raise ValueError(f"{place}: more cells than the {len(row) - 1} names of the first line")
                yield place, {name: value or None for name, value in row.items()}
        except csv.Error as error:
            raise ValueError(f"{uri}: line {read.line_num}: {error}") from None


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows; the path of audio may have one of its usual names."""
    for place, row in lines(uri):
        path = next((row[name] for name in _PATHS if name in row), None)
        yield place, {"audio": path, **row} if path else row


def recognizes(file: str) -> bool:
    """By its name, and for a TSV by what it is not."""
    return file.endswith(".csv") or (file.endswith(".tsv") and not fairseq.recognizes(file) and not common_voice.recognizes(file))


FORMATS.register("table", Format(recognizes, rows))
