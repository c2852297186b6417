"""fairseq's TSV: the root in the first line, then `relative path<TAB>samples`; transcripts line by line in `.wrd` beside it.

The number of samples counts at 16 kHz, the rate that fairseq's speech recipes want.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from spire_ray.audio import probe
from spire_ray.core import storage
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.recording import check_file, check_whole
from spire_ray.manifest.schema import Row
from spire_ray.settings import SAMPLE_RATE


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of a TSV, with their transcripts where `NAME.wrd` is there and has as many lines."""
    words = f"{uri.removesuffix('.tsv')}.wrd"
    texts: Iterable[str | None] = _lines(words) if storage.exists(words) else ()
    listed = _lines(uri)
    root = next(listed, "")
    if not root or "\t" in root:
        raise ValueError(f"{uri}: line 1: expected the folder of the audio files alone, as fairseq writes it")
    for number, (line, text) in enumerate(zip_longest(listed, texts), 2):
        place = f"{uri}: line {number}"
        path, tab, samples = (line or "").rpartition("\t")
        if not tab or not samples.isdigit():
            raise ValueError(f"{place}: expected `relative path<TAB>number of samples`, found {line!r}")
        if texts and text is None:
            raise ValueError(f"{words}: ends before line {number - 1}")
        audio = storage.join(root, path)
        yield place, {"utt_id": path.rpartition(".")[0], "audio": audio, "duration": int(samples) / SAMPLE_RATE, "text": text}


def write(uri: str, table_rows: Iterable[Row]) -> None:
    """The TSV and its `.wrd`. Raises ValueError for a row that is a part of a file, which a TSV cannot say."""
    with storage.new_file(uri) as tsv, storage.new_file(f"{uri.removesuffix('.tsv')}.wrd") as words:
        tsv.write(b"/\n")
        for row in table_rows:
            path = check_file(row, "a fairseq TSV")
            if not path.startswith("/"):
                raise ValueError(f"{row['utt_id']}: a fairseq TSV lists local files, not {path or 'bytes'}")
            check_whole(row, "a fairseq TSV lists whole files")
            if {"\n", "\r"} & set(row["text"] or ""):
                raise ValueError(f"{row['utt_id']}: its text has several lines; a .wrd holds one for each row")
            audio = probe.probe(path)
            if audio.rate != SAMPLE_RATE:
                raise ValueError(f"{row['utt_id']}: {path} has {audio.rate} Hz; a fairseq TSV counts samples at 16000 Hz")
            tsv.write(f"{path[1:]}\t{audio.samples}\n".encode())
            words.write(f"{row['text'] or ''}\n".encode())


def _lines(uri: str) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in jsonl.text(uri))


def recognizes(file: str) -> bool:
    """A TSV whose first line is a folder, alone."""
    return file.endswith(".tsv") and "\t" not in next(_lines(file), "")


FORMATS.register("fairseq", Format(recognizes, rows, write))
