"""Rows of any stage, and their audio."""

import argparse
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from spire_ray.audio.source import AudioError
from spire_ray.core import command, storage
from spire_ray.manifest import reader
from spire_ray.manifest.schema import Row

INDEX_FILE = "index.json"
"""What makes a folder a pack."""
_LONGEST = 100
"""Characters of a value that are shown."""
_PLAYERS = (["ffplay", "-nodisp", "-autoexit", "-v", "error"], ["aplay", "-q"], ["afplay"], ["play", "-q"])


@command.cli_errors("inspect")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire inspect", description="Print rows of a manifest, of units or of any other stage.")
    parser.add_argument("path", help="manifest in any format, output folder, Parquet, JSON lines or tar")
    parser.add_argument("--rows", type=int, default=5, metavar="N", help="so many rows (default 5)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin at this row")
    parser.add_argument("--utt-id", default="", metavar="ID", help="the row with this id")
    parser.add_argument("--model", default="", metavar="FOLDER", help="for a pack: another model than the one it was made for")
    parser.add_argument("--play", action="store_true", help="play the audio of the rows")
    parser.add_argument("--wav", default="", metavar="FOLDER", help="write the audio of the rows there, as ID.wav")
    parser.add_argument("--page", default="", metavar="FILE.html", help="draw and play rows, drawn by lot, on one page")
    parser.add_argument("--only", default="", metavar="WHAT", help="with --page, of a stage: labelled, rejected, or one reason")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="with --page: of the lot")
    options = parser.parse_args(arguments)
    if options.rows < 1 or options.first < 0:
        raise ValueError(f"--rows {options.rows} --first {options.first}: at least 1 row, from row 0 on")
    if options.page:
        _write_page(options)
        return 0
    if options.only or options.seed:
        raise ValueError("--only, --seed: go with --page FILE.html")
    if storage.exists(storage.join(options.path, INDEX_FILE)):
        _print_packed(options.path, options.model, range(options.first, options.first + options.rows))
        return 0
    found = rows(options.path)
    chosen = (r for r in found if r.get("utt_id") == options.utt_id) if options.utt_id else islice(found, options.first, None)
    shown = refused = 0
    for row in islice(chosen, 1 if options.utt_id else options.rows):
        shown += 1
        print("\n".join(lines(row)), end="\n\n")
        if options.play or options.wav:
            try:
                _sound(row, options.wav, options.play)
            except AudioError as error:
                refused += 1
                print(f"inspect: error: {row['utt_id']}: {error}", file=sys.stderr)
    if not shown:
        raise ValueError(f"{options.path}: no row {options.utt_id or options.first} there")
    return command.USER_ERROR if refused else 0


def _write_page(options: argparse.Namespace) -> None:
    from spire_ray.tools import _page, _seen

    if storage.exists(storage.join(options.path, INDEX_FILE)):
        raise ValueError(f"--page: {options.path} is a pack, which has no audio; name the manifest or the folder of units")
    rows, total = _seen.drawn(options.path, options.rows, options.seed, options.only, options.utt_id)
    page = _page.render(options.path, rows, total, options.only)
    storage.write_bytes(options.page, page.encode())
    print(f"written: {options.page}, {len(rows)} of {total} rows, {len(page) / 1e6:.1f} MB")


def _print_packed(path: str, model: str, numbers: range) -> None:
    """Rows of a pack, decoded, with what the loss counts in colour."""
    from spire_ray.packs import show
    from spire_ray.packs.pack import Pack
    from spire_ray.text import record
    from spire_ray.text.tokenizer import SpeechTokenizer

    pack = Pack(path)
    folder = model or pack.index["model"]
    record.require_pack(pack.index, path, folder)
    tokenizer = SpeechTokenizer(folder)
    for number in numbers[: max(1, len(pack) - numbers.start)]:
        print(show.row(pack, tokenizer, number, colour=sys.stdout.isatty()), end="\n\n")


def rows(path: str) -> Iterator[Row]:
    """Rows one by one. Raises ValueError for what has none."""
    if storage.is_local(path) and not storage.exists(storage.first(path)):
        raise ValueError(f"{path}: not found")
    for file in reader.files(path):
        if reader.is_parquet(file):
            yield from _parquet(file)
        else:
            for table in reader.stream(file):
                yield from table.to_pylist()


def lines(row: Row) -> list[str]:
    """A row, one column a line, absent values left out."""
    width = max(map(len, row))
    return [f"{name:<{width}}  {_short(value)}" for name, value in row.items() if value not in (None, [], "")]


def _parquet(file: str) -> Iterator[Row]:
    """Columns as they are: a stage may have others than a manifest."""
    import pyarrow.parquet as pq

    base = file.rpartition("/")[0]
    with storage.open_file(file) as raw:
        for batch in pq.ParquetFile(raw).iter_batches(64):
            for row in batch.to_pylist():
                if isinstance(audio := row.get("audio"), dict) and (path := audio.get("path")) and not audio.get("bytes"):
                    absolute = path.startswith("/") or not storage.is_local(path)
                    row["audio"] = audio | {"path": path if absolute else storage.join(base, path)}
                yield row


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], int):
        text = f"{len(value)}: {' '.join(map(str, value))}"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _sound(row: Row, folder: str, play: bool) -> None:
    from spire_ray.audio import wav
    from spire_ray.manifest import recording

    if "audio" not in row:
        raise ValueError(f"{row.get('utt_id')}: has no audio; inspect the manifest instead")
    content = wav.cut(recording.source(row["audio"]), *recording.part(row))
    if folder:
        name = "".join(letter if letter.isalnum() or letter in "-_.#" else "_" for letter in str(row["utt_id"]))
        storage.write_bytes(storage.join(folder, f"{name}.wav"), content)
        print(f"written: {storage.join(folder, name)}.wav\n")
    if play:
        _play(content)


def _play(content: bytes) -> None:
    import tempfile

    player = next((command for command in _PLAYERS if shutil.which(command[0])), None)
    if player is None:
        raise ValueError("--play: none of ffplay, aplay, afplay, play is installed; write the audio with --wav FOLDER")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        shutil.copyfileobj(io.BytesIO(content), file)
        file.flush()
        subprocess.run([*player, file.name], check=False)
