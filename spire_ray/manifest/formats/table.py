"""CSV and TSV with a line of names: any columns, under the manifest's names or mapped to them."""

import csv
from collections.abc import Iterator
from typing import Any

from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.schema import Row

_PATHS = ("audio_filepath", "path", "file_name", "file", "filename", "wav")


def lines(uri: str, comma: str = "") -> Iterator[tuple[str, Row]]:
    """(place, row) of every line, empty cells left as null. Blanks around the names of the first line are no part of them.

    `comma` is what parts the cells; by the name of the file where it is not given, and with it quotation marks are plain ones
    but in CSV.

    Raises ValueError naming a line that has more or fewer cells than there are names, a name that is there twice, and, in CSV,
    a quotation mark that is not closed or not doubled: without it, what follows would be read as one cell.
    """
    comma = comma or ("\t" if uri.removesuffix(".gz").endswith(".tsv") else ",")
    quoting: Any = csv.QUOTE_MINIMAL if comma == "," else csv.QUOTE_NONE
    read = csv.reader(jsonl.text(uri, ""), delimiter=comma, quoting=quoting, strict=True)
    try:
        names = [name.strip() for name in next(read, [])]
        if twice := {name for name in names if name and names.count(name) > 1}:
            raise ValueError(f"{uri}: line 1: two columns named {min(twice)!r}")
        for cells in filter(None, read):
            place = f"{uri}: line {read.line_num}"
            if len(cells) != len(names):
                raise ValueError(f"{place}: {len(cells)} cells for the {len(names)} names of the first line")
            yield place, {name: cell or None for name, cell in zip(names, cells, strict=True)}
    except csv.Error as error:
        raise ValueError(f"{uri}: line {read.line_num}: {error}; a quotation mark inside a cell is written twice") from None


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows; the path of audio may have one of its usual names."""
    for place, row in lines(uri):
        path = next((row[name] for name in _PATHS if name in row), None)
        yield place, {"audio": path, **row} if path else row


def recognizes(file: str) -> bool:
    """By its name; asked after the formats that know their tables by more than that."""
    return file.removesuffix(".gz").endswith((".csv", ".tsv"))


FORMATS.register("table", Format(recognizes, rows, takes_the_rest=True))
