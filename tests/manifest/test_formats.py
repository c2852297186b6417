"""The manifests of the ecosystem are read, and what is written in each format is read back as the same rows."""

import gzip
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray.audio import decode
from spire_ray.manifest import reader, recording, writer
from spire_ray.manifest.reader import read
from spire_ray.manifest.schema import MANIFEST


def clip(path, seconds=0.5, rate=16_000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((round(seconds * rate), channels), 0.25, np.float32), rate)
    return str(path)


def jsonl(path, rows):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


@pytest.fixture
def corpus(tmp_path):
    """Three clips and a manifest of them."""
    rows = [
        {
            "utt_id": f"u{n}",
            "audio": {"bytes": None, "path": clip(tmp_path / "in" / f"{n}.flac", 0.5 + n)},
            "duration": 0.5 + n,
            "text": f"the dog {n}",
            "language": "en",
            "translations": [("de", f"der Hund {n}")],
            "speaker": "s",
            "split": "train",
        }
        for n in range(3)
    ]
    return pa.Table.from_pylist(rows, MANIFEST)


@pytest.mark.parametrize(
    ("form", "name", "back"),
    [
        ("parquet", "m.parquet", "m.parquet"),
        ("nemo", "m.jsonl.gz", "m.jsonl.gz"),
        ("lhotse", "cuts.jsonl.gz", "cuts.jsonl.gz"),
        ("webdataset", "m.tar", "m-{000000..000000}.tar"),
        ("audiofolder", "m", "m"),
        ("fairseq", "m.tsv", "m.tsv"),
    ],
)
def test_what_is_written_is_read_as_the_same_rows(form, name, back, corpus, tmp_path):
    target = tmp_path / "out" / name
    target.parent.mkdir()
    writer.write(str(target), [corpus.slice(0, 2), corpus.slice(2)], form)
    found = read(str(tmp_path / "out" / back)).to_pylist()
    assert [row["text"] for row in found] == ["the dog 0", "the dog 1", "the dog 2"]
    assert [len(decode.load(recording.source(row["audio"]))) for row in found] == [8_000, 24_000, 40_000]
    assert [row["duration"] for row in found] == [0.5, 1.5, 2.5]
    if form != "fairseq":  # a TSV has no ids, languages or speakers
        assert [row["utt_id"] for row in found] == ["u0", "u1", "u2"]
        assert {(row["language"], row["speaker"], row["split"]) for row in found} == {("en", "s", "train")}
    if form not in ("fairseq", "lhotse"):
        assert [dict(row["translations"]) for row in found] == [{"de": f"der Hund {n}"} for n in range(3)]


def test_lhotse_supervisions_are_segments_of_the_recordings_beside_them(tmp_path):
    path = clip(tmp_path / "long.wav", 10)
    source = {"type": "file", "channels": [0], "source": "long.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16_000, "num_samples": 160_000, "duration": 10.0}
    jsonl(tmp_path / "x_recordings_train.jsonl.gz", [recording])
    spoken = [
        {"id": "a", "recording_id": "r", "start": 1.0, "duration": 2.0, "channel": 0, "text": "one", "speaker": "s"},
        {"id": "b", "recording_id": "r", "start": 0.0, "duration": 10.0, "channel": 0, "text": "two", "language": "en"},
    ]
    rows = read(jsonl(tmp_path / "x_supervisions_train.jsonl.gz", spoken)).to_pylist()
    assert [(row["utt_id"], row["offset"], row["duration"], row["text"]) for row in rows] == [
        ("a", 1.0, 2.0, "one"),
        ("b", None, 10.0, "two"),
    ]
    assert rows[0]["audio"]["path"] == path
    recorded = read(str(tmp_path / "x_recordings_train.jsonl.gz")).to_pylist()
    assert [(row["utt_id"], row["duration"]) for row in recorded] == [("r", 10.0)]
    lost = [{**spoken[0], "recording_id": "other"}]
    jsonl(tmp_path / "y_recordings.jsonl", [recording])
    with pytest.raises(ValueError, match=r"line 1: recording 'other' is not among the recordings"):
        read(jsonl(tmp_path / "y_supervisions.jsonl", lost))


def test_a_fairseq_tsv_takes_its_root_samples_and_words(tmp_path):
    clip(tmp_path / "a" / "1.flac")
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na/1.flac\t8000\na/2.flac\t16000\n")
    (tmp_path / "train.wrd").write_text("ONE\nTWO\n")
    rows = read(str(tmp_path / "train.tsv")).to_pylist()
    assert [(row["utt_id"], row["duration"], row["text"]) for row in rows] == [("a/1", 0.5, "ONE"), ("a/2", 1.0, "TWO")]
    assert rows[0]["audio"]["path"] == f"{tmp_path}/a/1.flac"
    (tmp_path / "train.wrd").write_text("ONE\n")
    with pytest.raises(ValueError, match=r"train\.wrd: ends before line 2"):
        read(str(tmp_path / "train.tsv"))


def test_a_webdataset_stays_in_its_tars_and_a_key_without_audio_is_a_row_too(tmp_path):
    wav = io.BytesIO()
    soundfile.write(wav, np.full(8_000, 0.5, np.float32), 16_000, format="WAV")
    for shard in range(2):
        with tarfile.open(tmp_path / f"x-{shard:03d}.tar", "w") as tar:
            members = {f"k{shard}.wav": wav.getvalue(), f"k{shard}.txt": b"hello\n", f"m{shard}.json": b'{"text": "no sound"}'}
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    rows = read(str(tmp_path / "x-{000..001}.tar")).to_pylist()
    assert [(row["utt_id"], row["text"]) for row in rows] == [
        ("k0", "hello"), ("m0", "no sound"), ("k1", "hello"), ("m1", "no sound")
    ]  # fmt: skip
    assert rows[1]["audio"] is None
    assert len(decode.load(recording.source(rows[2]["audio"]))) == 8_000


@pytest.mark.parametrize("kind", ["beside", "librispeech", "csv"])
def test_a_plain_folder_with_transcripts(kind, tmp_path):
    for name in ("a", "b"):
        clip(tmp_path / "s" / f"{name}.wav")
    if kind == "beside":
        (tmp_path / "s" / "a.txt").write_text("one\n")
    elif kind == "librispeech":
        (tmp_path / "s" / "x.trans.txt").write_text("a one\nb\n")
    else:
        (tmp_path / "metadata.csv").write_text("file_name,transcription\ns/a.wav,one\ns/b.wav,\n")
    columns = {"text": "transcription"} if kind == "csv" else {}
    rows = read(str(tmp_path), columns).to_pylist()
    assert [row["text"] or None for row in rows] == ["one", None]
    assert rows[1]["audio"]["path"] == f"{tmp_path}/s/b.wav"
    if kind != "csv":
        assert [row["utt_id"] for row in rows] == ["s/a", "s/b"]


def test_columns_have_the_names_that_the_source_gives_them(tmp_path):
    rows = [{"path": "a.wav", "sentence": "the dog", "german": "der Hund", "client_id": "s1"}]
    columns = {"text": "sentence", "translations.de": "german", "speaker": "client_id", "audio": "path"}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
    for uri in (jsonl(tmp_path / "m.jsonl", rows), str(tmp_path / "train-00000-of-00001.parquet")):
        row = read(uri, columns).to_pylist()[0]
        assert (row["text"], dict(row["translations"]), row["speaker"]) == ("the dog", {"de": "der Hund"}, "s1")
        assert row["audio"]["path"] == f"{tmp_path}/a.wav"
    assert row["split"] == "train"  # as the Hub names its files


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"tekst": "sentence"}, r"columns\.tekst: no column of a manifest; did you mean text\?"),
        ({"text": "sentences"}, r"no column 'sentences' for columns\.text; there are .*sentence"),
    ],
)
def test_a_mapping_of_what_is_not_there_is_refused(columns, reason, tmp_path):
    rows = [{"path": "a.wav", "sentence": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    for uri in (jsonl(tmp_path / "m.jsonl", rows), str(tmp_path / "m.parquet")):
        with pytest.raises(ValueError, match=reason):
            read(uri, columns)


def test_rows_without_a_required_column_are_named(tmp_path):
    lines = [{"audio_filepath": "a.wav"}, {"utt_id": "x"}, {"utt_id": "y"}]
    with pytest.raises(ValueError, match=r"no 'audio' in line 2, line 3; name it, as columns\.audio=ITS_NAME"):
        list(reader.located(jsonl(tmp_path / "m.jsonl", lines), {}, require=("audio",)))


@pytest.mark.parametrize("value", ["long", float("nan"), [1]])
def test_a_duration_that_is_no_number_of_seconds_is_refused_by_line(value, tmp_path):
    with pytest.raises(ValueError, match=r"m\.jsonl: line 2: duration="):
        read(jsonl(tmp_path / "m.jsonl", [{"path": "a"}, {"path": "b", "duration": value}]))


def test_a_line_that_is_not_json_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "a"}\n\n{"path": \n')
    with pytest.raises(ValueError, match=r"m\.jsonl: line 3: not JSON"):
        read(str(tmp_path / "m.jsonl"))


def test_bytes_without_a_path_get_ids_of_their_own(tmp_path):
    rows = [{"audio": {"bytes": b"RIFF", "path": None}}, {"audio": {"bytes": b"RIFF", "path": None}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    assert len(set(read(str(tmp_path / "m.parquet"))["utt_id"].to_pylist())) == 2
