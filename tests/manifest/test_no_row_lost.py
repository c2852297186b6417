"""Manifests that would be read without a word and wrongly: rows swallowed, texts of other clips, channels left out."""

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

DRAW = np.random.default_rng(0)


def clip(path, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, DRAW.standard_normal((8_000, channels)) / 8, 16_000)
    return path.read_bytes()


def texts(uri):
    return {row["utt_id"]: row["text"] for row in read(str(uri)).to_pylist()}


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('audio,text\na.wav,"Hello there\nb.wav,two\nc.wav,three\n', "quotation mark"),
        ('audio,text\na.wav,"Hello" he said\n', "line 2.*quotation mark"),
        ("audio,text,text\na.wav,one,two\n", "two columns named 'text'"),
        ("audio,text,language\na.wav,hel", "line 2: 2 cells for the 3 names"),
    ],
)
def test_a_table_that_would_lose_rows_or_cells_is_refused_by_line(content, reason, tmp_path):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(ValueError, match=reason):
        read(str(tmp_path / "m.csv"))


@pytest.mark.parametrize(("ending", "comma"), [("csv", ", "), ("tsv", "\t")])
def test_a_gzipped_table_with_blanks_and_empty_columns_in_its_first_line(ending, comma, tmp_path):
    lines = comma.join(["utt_id", "audio", "text", "", ""]) + "\r\n" + comma[0].join(["1", "a.wav", "one", "", ""]) + "\r\n"
    (tmp_path / f"m.{ending}.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines.encode()))
    assert texts(tmp_path / f"m.{ending}.gz") == {"1": "one"}


def test_a_transcript_belongs_to_the_clip_beside_it_and_ends_at_its_line(tmp_path):
    for speaker, said in (("s1", "one\u2028and\x0bmore"), ("s2", "two")):
        clip(tmp_path / speaker / "001.wav")
        (tmp_path / speaker / f"{speaker}.trans.txt").write_text(f"001\t{said}\r\n")
    assert texts(tmp_path) == {"s1/001": "one\u2028and\x0bmore", "s2/001": "two"}


def test_kaldi_columns_are_parted_by_tabs_too_and_no_key_is_there_twice(tmp_path):
    clip(tmp_path / "a.wav")
    (tmp_path / "wav.scp").write_text(f"u1\t{tmp_path}/a.wav\n")
    (tmp_path / "text").write_text("u1\t the dog \n")
    assert texts(tmp_path) == {"u1": "the dog"}
    (tmp_path / "text").write_text("u1 the dog\nu1 a cat\n")
    with pytest.raises(ValueError, match="u1: twice"):
        read(str(tmp_path))


def test_a_target_language_of_another_region_is_no_translation(tmp_path):
    row = {"audio_filepath": "a.wav", "text": "hello", "source_lang": "en-US", "target_lang": "en"}
    other = {**row, "audio_filepath": "b.wav", "text": "hallo", "target_lang": "de-DE", "translations": {"fr": "salut"}}
    (tmp_path / "m.json").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    same, told = read(str(tmp_path / "m.json")).to_pylist()
    assert (same["text"], same["translations"]) == ("hello", [])
    assert (told["text"], dict(told["translations"])) == (None, {"de": "hallo", "fr": "salut"})


@pytest.mark.parametrize(
    "translations", [[{"language": "de", "text": "x"}], {"language": ["de"], "translation": ["x"]}, '{"de": "x"}', ["de", "x"]]
)
def test_translations_whose_language_would_be_a_guess_are_refused(translations, tmp_path):
    pq.write_table(pa.Table.from_pylist([{"audio": "a.wav", "translations": translations}]), tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet: column 'translations' is"):
        read(str(tmp_path / "m.parquet"))


def test_translations_of_numbers_are_text_and_a_path_of_none_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "translations": {"de": 5}}\n')
    assert read(str(tmp_path / "m.jsonl")).to_pylist()[0]["translations"] == [("de", "5")]
    (tmp_path / "m.jsonl").write_text('{"audio": {"path": 5}}\n')
    with pytest.raises(ValueError, match=r"line 1: audio=.*no text"):
        read(str(tmp_path / "m.jsonl"))


@pytest.mark.parametrize("row", [{"text": "a\ud800"}, {"translations": {"de": "\udc00"}}, {"audio": "\ud800.wav"}])
def test_a_row_that_is_no_unicode_is_named(row, tmp_path):
    rows = [{"audio": "a.wav", "utt_id": "a"}, {"audio": "b.wav", **row}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with pytest.raises(ValueError, match=r"m\.jsonl: line 2: not Unicode: half a pair of surrogates"):
        read(str(tmp_path / "m.jsonl"))


def test_audio_of_bytes_alone_is_planned_without_reading_them(tmp_path):
    rows = [{"audio": {"bytes": clip(tmp_path / f"{n}.wav")}} for n in range(2)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    tables = [t for _, t in reader.located(str(tmp_path / "m.parquet"), {}, require=("audio",), audio_bytes=False)]
    assert tables[0]["utt_id"].to_pylist() == read(str(tmp_path / "m.parquet"))["utt_id"].to_pylist()


@pytest.mark.parametrize("kind", ["webdataset", "nemo_tarred", "shar"])
@pytest.mark.parametrize("damage", ["in a clip", "between two clips", "a header", "another tar behind it"])
def test_no_row_of_a_damaged_tar_is_left_out_in_silence(kind, damage, tmp_path):
    audio = clip(tmp_path / "clip" / "1.wav")
    content = tar_of({"a.wav": audio, "b.wav": audio})
    second = 512 + -(-len(audio) // 512) * 512
    content = {
        "in a clip": content[: second + 600],
        "between two clips": content[:second],
        "a header": content[: second + 148] + b"zz" + content[second + 150 :],
        "another tar behind it": content + tar_of({"c.wav": audio}),
    }[damage]
    lines = [{"audio_filepath": f"{n}.wav", "shard_id": 0, "duration": 0.5} for n in "abc"]
    cuts = [{"id": n, "type": "MonoCut", "duration": 0.5} for n in "abc"]
    files = {
        "webdataset": {"audio_0.tar": content},
        "nemo_tarred": {"audio_0.tar": content, "m.json": "".join(json.dumps(line) + "\n" for line in lines).encode()},
        "shar": {"recording.000000.tar": content, "cuts.000000.jsonl": "".join(json.dumps(c) + "\n" for c in cuts).encode()},
    }[kind]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    place = {"webdataset": tmp_path / "audio_0.tar", "nemo_tarred": tmp_path / "m.json", "shar": tmp_path}[kind]
    with pytest.raises(ValueError, match=r"\.tar: (cut short|not a plain tar file, or cut short|something follows)"):
        read(str(place))


def test_a_key_of_a_tar_has_one_clip_and_its_own_id(tmp_path):
    audio = clip(tmp_path / "1.wav")
    (tmp_path / "m.tar").write_bytes(tar_of({"k.wav": audio, "k.json": b'{"id": 5, "utt_id": "mine"}'}))
    assert read(str(tmp_path / "m.tar"))["utt_id"].to_pylist() == ["mine"]
    (tmp_path / "m.tar").write_bytes(tar_of({"k.wav": audio, "k.flac": audio}))
    with pytest.raises(ValueError, match=r"k\.flac: a second file of audio"):
        read(str(tmp_path / "m.tar"))
    (tmp_path / "m.tar").write_bytes(tar_of({"k.wav": audio, "k.txt": "Straße".encode("latin-1")}))
    with pytest.raises(ValueError, match=r"k\.txt: not UTF-8"):
        read(str(tmp_path / "m.tar"))


def test_lhotse_keeps_translations_and_all_channels(tmp_path):
    clip(tmp_path / "a.wav", channels=2)
    rows = [{"utt_id": "a", "audio": "a.wav", "language": "en", "split": "dev", "translations": {"de": "x", "text": "y"}}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    writer.write(str(tmp_path / "cuts.jsonl.gz"), reader.stream(str(tmp_path / "m.jsonl")), "lhotse")
    (before,), (after,) = (read(str(tmp_path / name)).to_pylist() for name in ("m.jsonl", "cuts.jsonl.gz"))
    assert after == {**before, "duration": 0.5}
    heard = [decode.load(recording.source(row["audio"]), *recording.part(row)) for row in (before, after)]
    assert np.array_equal(*heard)


def test_the_text_of_a_cut_is_what_is_heard_in_it(tmp_path):
    clip(tmp_path / "a.wav")
    source = {"type": "file", "channels": [0], "source": str(tmp_path / "a.wav")}
    whole = {"id": "r", "sources": [source], "sampling_rate": 16_000, "num_samples": 8_000, "duration": 0.5}
    said = [{"id": "2", "start": 0.1, "duration": 0.1, "text": "cat"}, {"id": "1", "start": 0.0, "duration": 0.1, "text": "a"}]
    cut = {"id": "c", "start": 0.2, "duration": 0.2, "channel": 0, "type": "MonoCut", "recording": whole, "supervisions": said}
    (tmp_path / "m.jsonl").write_text(json.dumps(cut))
    assert texts(tmp_path / "m.jsonl") == {"c": "a cat"}
    said[0] |= {"start": -0.2, "duration": 0.5}
    (tmp_path / "m.jsonl").write_text(json.dumps(cut))
    with pytest.raises(ValueError, match="supervision '2' reaches beyond its cut"):
        read(str(tmp_path / "m.jsonl"))
    (tmp_path / "m_recordings.jsonl").write_text(f"{json.dumps(whole)}\n{json.dumps({**whole, 'duration': 1.0})}\n")
    (tmp_path / "m_supervisions.jsonl").write_text(json.dumps({"id": "s", "recording_id": "r", "start": 0.4, "duration": 0.1}))
    with pytest.raises(ValueError, match="line 2: a second recording 'r'"):
        read(str(tmp_path / "m_supervisions.jsonl"))


def test_a_text_of_two_lines_does_not_shift_the_words_of_a_fairseq_table(tmp_path):
    clip(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text(json.dumps({"utt_id": "a", "audio": "a.wav", "text": "one\ntwo"}))
    with pytest.raises(ValueError, match="a: its text has several lines"):
        writer.write(str(tmp_path / "m.tsv"), reader.stream(str(tmp_path / "m.jsonl")), "fairseq")
