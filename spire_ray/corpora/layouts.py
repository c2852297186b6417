"""Corpora with a layout of their own: folders of clips, archives with tables beside them, one file a language.

A reader gets the place that `fetch` brought or found, the corpus's own name of the split, and gives rows with `text_raw`.
"""

import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from spire_ray.corpora.catalogue import Corpus
from spire_ray.corpora.columns import mapped
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import table
from spire_ray.text.languages import language

Rows = Iterator[dict[str, Any]]


def _table(file: Path, comma: str = "\t") -> list[dict[str, Any]]:
    if not file.exists():
        raise ValueError(f"{file}: not found")
    return [row for _, row in table.lines(str(file), comma)]


def _lines(file: Path) -> list[str]:
    return [line.rstrip("\r\n") for line in jsonl.text(str(file))]


# --- folders of clips -----------------------------------------------------------------------------------------------


def _clip(folder: Path, name: str) -> dict[str, Any]:
    return {"bytes": None, "path": str(folder / "clips" / name)}


def common_voice(corpus: Corpus, folder: Path, split: str) -> Rows:
    """`{split}.tsv` and `clips/`, durations in `clip_durations.tsv` where the release has it."""
    durations: dict[str, float] = {}
    if (folder / "clip_durations.tsv").exists():
        durations = {row["clip"]: int(row["duration[ms]"]) / 1000 for row in _table(folder / "clip_durations.tsv")}
    for row in _table(folder / f"{split}.tsv"):
        yield {
            "utt_id": f"{corpus.name}-{Path(row['path']).stem}",
            "audio": _clip(folder, row["path"]),
            "duration": durations.get(row["path"]),
            "text_raw": row["sentence"],
            "speaker": row["client_id"],
            "translations": [],
        }


def covost2(corpus: Corpus, folder: Path, split: str) -> Rows:
    """`covost_v2.en_*.{split}.tsv` beside the `clips/` of Common Voice 4; one row a clip, with all its translations."""
    files = sorted(folder.glob(f"covost_v2.en_*.{split}.tsv"))
    if not files:
        raise ValueError(f"{folder}: no covost_v2.en_*.{split}.tsv there; make them with CoVoST's get_covost_splits.py")
    rows: dict[str, dict[str, Any]] = {}
    for file in files:
        code = file.name.split(".")[1].removeprefix("en_").partition("-")[0]
        for row in _table(file):
            known = rows.setdefault(
                row["path"],
                {
                    "utt_id": f"{corpus.name}-{Path(row['path']).stem}",
                    "audio": _clip(folder, row["path"]),
                    "text_raw": row["sentence"],
                    "speaker": row.get("client_id"),
                    "translations": [],
                },
            )
            known["translations"] += [(code, row["translation"])] if row["translation"] else []
    yield from rows.values()


def europarl_st(corpus: Corpus, folder: Path, split: str) -> Rows:
    """`en/{target}/{split}/segments.{lst,en,TARGET}` and `en/audios/`; one row a segment, with all its translations."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    lists = sorted(folder.glob(f"en/*/{split}/segments.lst"))
    if not lists:
        raise ValueError(f"{folder}: no en/*/{split}/segments.lst there")
    for segments in lists:
        code = segments.parent.parent.name
        files = (segments, *(segments.with_suffix(f".{c}") for c in ("en", code)))
        columns = [_lines(path) for path in files]
        if len({len(column) for column in columns}) > 1:
            counts = ", ".join(f"{path.name} {len(column)}" for path, column in zip(files, columns, strict=True))
            raise ValueError(f"{segments.parent}: lists of different lengths: {counts} lines")
        for line, text, translation in zip(*columns, strict=True):
            name, begin, end = line.split()[:3]
            known = rows.setdefault(
                (name, begin, end),
                {
                    "utt_id": f"{corpus.name}-{name}-{begin}-{end}",
                    "audio": {"bytes": None, "path": str(folder / "en" / "audios" / f"{name}.m4a")},
                    "offset": float(begin),
                    "duration": float(end) - float(begin),
                    "text_raw": text,
                    "translations": [],
                },
            )
            known["translations"].append((code, translation))
    yield from rows.values()


# --- archives with tables beside them -------------------------------------------------------------------------------


def gigaspeech_table(archive: str) -> str:
    """`…/audio/xl_files_additional/xl_chunks_0000.tar.gz` → `…/metadata/xl_metadata_additional/xl_chunks_0000_metadata.csv`."""
    folder, _, name = archive.rpartition("/")
    above, _, subset = folder.rpartition("/")
    name = f"{name.removesuffix('.tar.gz')}_metadata.csv"
    return f"{above.removesuffix('audio')}metadata/{subset.replace('_files', '_metadata')}/{name}"


def spgispeech_table(archive: str) -> str:
    """`…/audio/l_additional/l_part_0.tar.gz` → `…/meta/train.csv`, which holds all three sizes."""
    folder = archive.rpartition("/")[0]
    above, _, subset = folder.rpartition("/")
    return f"{above.removesuffix('audio')}meta/{subset if subset in ('dev', 'test') else 'train'}.csv"


def gigaspeech(corpus: Corpus, archive: Path, split: str) -> Rows:
    """A tar of WAV files named by segment, and its own CSV."""
    rows = {row["sid"]: row for row in _table(Path(gigaspeech_table(str(archive))), ",")}
    yield from _archived(corpus, archive, rows, lambda member: Path(member).stem)
    for sid, row in rows.items():  # what is left of its own table
        yield {**mapped(corpus, {**row, "audio": None}, sid), "error": f"no audio: not in {archive.name}"}


def spgispeech(corpus: Corpus, archive: Path, split: str) -> Rows:
    """A tar of WAV files, two of whose folders name a recording and a segment, and a table for all of them."""
    rows = {row["wav_filename"]: row for row in _table(Path(spgispeech_table(str(archive))), "|")}
    return _archived(corpus, archive, rows, lambda member: "/".join(Path(member).parts[-2:]))


def _archived(corpus: Corpus, archive: Path, rows: dict[str, dict[str, Any]], key: Callable[[str], str]) -> Rows:
    """The members of a tar with their rows, which are taken out of the table."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if not member.isfile() or not member.name.endswith(".wav"):
                    continue
                row = rows.pop(key(member.name), None)
                if row is None:
                    raise ValueError(f"{corpus.name}: {archive.name}: {member.name} is in no row of its table, or twice there")
                file = tar.extractfile(member)
                assert file is not None
                audio = {"bytes": file.read(), "path": Path(member.name).name}
                yield mapped(corpus, {**row, "audio": audio}, f"{archive.name}:{member.name}")
    except (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{corpus.name}: {archive.name}: cut short or damaged: {error}") from None


# --- text -----------------------------------------------------------------------------------------------------------


def flores_plus(corpus: Corpus, folder: Path, split: str) -> Rows:
    """`{split}/eng_Latn.parquet` and one file for each other language; one row a sentence, with all its translations."""
    files = {path.stem: path for each in corpus.patterns(split) for path in sorted(folder.glob(each))}
    if "eng_Latn" not in files:
        raise ValueError(f"{folder}: no {split}/eng_Latn.parquet there")
    translations: dict[Any, list[tuple[str, str]]] = {}
    for stem, path in files.items():
        if stem != "eng_Latn":
            code = language(stem.partition("_")[0]).code
            for row in pq.read_table(path, columns=["id", "text"]).to_pylist():
                translations.setdefault(row["id"], []).append((code, row["text"]))
    for row in pq.read_table(files["eng_Latn"], columns=["id", "text"]).to_pylist():
        yield {
            "utt_id": f"{corpus.name}-{split}-{row['id']}",
            "text_raw": row["text"],
            "translations": translations.get(row["id"], []),
        }


def tower_eval(corpus: Corpus, file: Path, split: str) -> Rows:
    """`TASK.SOURCE-TARGET/{split}.jsonl` with `src` and `ref`, and `mt` where there is something to correct."""
    source, _, target = file.parent.name.rpartition(".")[2].partition("-")
    for number, (_, row) in enumerate(jsonl.lines(str(file))):
        made = mapped(corpus, row, f"{file.parent.name}:{number}")
        yield {**made, "language": language(source).code, "translations": [(language(target).code, str(row["ref"]))]}


def conll(corpus: Corpus, file: Path, split: str) -> Rows:
    """`XX-Language/xx_{split}.conll`: a line `# id …` before each sentence, a token and its tag a line."""
    code = language(file.name.partition("_")[0]).code
    for full, block in groupby(_lines(file), lambda line: bool(line.strip())):
        if not full:
            continue
        lines = list(block)
        if not lines[0].startswith("# id "):
            raise ValueError(f"{corpus.name}: {file.name}: expected `# id …` before a sentence, got {lines[0][:40]!r}")
        pairs = [(line.split()[0], line.split()[-1]) for line in lines[1:]]
        yield {
            "utt_id": f"{corpus.name}-{code}-{lines[0].split()[2]}",
            "language": code,
            "text_raw": " ".join(token for token, _ in pairs),
            "translations": [],
            "extra": json.dumps({"tokens": [token for token, _ in pairs], "tags": [tag for _, tag in pairs]}, ensure_ascii=False),
        }


READERS: dict[str, Callable[[Corpus, Path, str], Rows]] = {
    "common-voice": common_voice,
    "covost2": covost2,
    "europarl-st": europarl_st,
    "gigaspeech": gigaspeech,
    "spgispeech": spgispeech,
    "flores-plus": flores_plus,
    "tower-eval": tower_eval,
    "conll": conll,
}
FOLDERS = ("common-voice", "covost2", "europarl-st", "flores-plus")
"""Layouts that are read as a whole folder; of the others, file by file."""
TABLES: dict[str, Callable[[str], str]] = {"gigaspeech": gigaspeech_table, "spgispeech": spgispeech_table}
"""Layouts whose archives need another file: its name, from theirs."""
