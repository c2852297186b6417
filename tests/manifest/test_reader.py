"""Manifests of the ecosystem: Hugging Face Parquet and NeMo JSONL, with stable ids and named faults."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.manifest import recording
from spire_ray.manifest.reader import read
from spire_ray.manifest.schema import MANIFEST

NEMO = [
    {"audio_filepath": "wav/a.wav", "duration": 2, "text": "the dog", "source_lang": "en", "translations": {"de": "der Hund"}},
    {"audio_filepath": "/data/b.wav", "offset": 1.5, "duration": 3.25, "text": "a cat", "lang_id": 7, "speaker": "s1"},
    {"audio_filepath": "s3://bucket/c.wav", "duration": 1.0, "translations": {"fr": "le chien", "de": "der Hund"}},
]


def jsonl(folder, rows, name="manifest.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def parquet(folder, rows, name="manifest.parquet", schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name)
    return str(folder / name)


def test_nemo_keys_become_the_columns_of_the_manifest(tmp_path):
    table = read(jsonl(tmp_path, NEMO))
    assert table.schema == MANIFEST
    first, second, third = table.to_pylist()
    assert (first["text"], first["language"], first["duration"]) == ("the dog", "en", 2.0)
    assert first["translations"] == [("de", "der Hund")]
    assert (second["offset"], second["duration"], second["speaker"]) == (1.5, 3.25, "s1")
    assert second["language"] is second["corpus"] is None
    assert second["translations"] == []
    assert dict(third["translations"]) == {"fr": "le chien", "de": "der Hund"}


def test_audio_paths_are_relative_to_the_manifest(tmp_path, monkeypatch):
    jsonl(tmp_path, NEMO)
    monkeypatch.chdir(tmp_path)
    for uri in (f"{tmp_path}/manifest.jsonl", "manifest.jsonl", "./manifest.jsonl"):
        paths = [row["audio"]["path"] for row in read(uri).to_pylist()]
        assert paths == [f"{tmp_path}/wav/a.wav", "/data/b.wav", "s3://bucket/c.wav"]


def test_hugging_face_audio_columns_are_read(tmp_path):
    rows = [
        {"utt_id": "a", "audio": {"bytes": b"RIFF", "path": None}, "text": "x"},
        {"utt_id": "b", "audio": {"bytes": None, "path": "b.wav"}, "text": "y"},
        {"utt_id": "c", "audio": None, "text": "z"},
    ]
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("utt_id", pa.string()), ("audio", audio), ("text", pa.string())])
    read_rows = read(parquet(tmp_path, rows, schema=schema)).to_pylist()
    assert [row["utt_id"] for row in read_rows] == ["a", "b", "c"]
    assert [recording.source(row["audio"]) for row in read_rows] == [b"RIFF", f"{tmp_path}/b.wav", ""]


def test_other_column_types_are_cast(tmp_path):
    schema = pa.schema(
        [("utt_id", pa.large_string()), ("duration", pa.float32()), ("text", pa.dictionary(pa.int8(), pa.string()))]
    )
    table = read(parquet(tmp_path, [{"utt_id": "a", "duration": 1.5, "text": "x"}], schema=schema))
    assert table.schema == MANIFEST
    assert table.to_pylist()[0]["duration"] == 1.5


def test_a_folder_of_parts_is_one_manifest_in_the_order_of_their_names(tmp_path):
    for name, utt_id in (("part-000001.parquet", "b"), ("part-000000.parquet", "a"), ("part-000010.parquet", "c")):
        parquet(tmp_path, [{"utt_id": utt_id}], name)
    parquet(tmp_path, [{"utt_id": "other"}], "plan.parquet")
    assert read(str(tmp_path))["utt_id"].to_pylist() == ["a", "b", "c"]


def test_several_folders_in_braces_are_one_manifest(tmp_path):
    for corpus in ("mls", "voxpopuli"):
        (tmp_path / corpus).mkdir()
        parquet(tmp_path / corpus, [{"utt_id": f"{corpus}-1", "audio": "1.wav"}], "part-000000.parquet")
    rows = read(f"{tmp_path}/{{mls,voxpopuli}}").to_pylist()
    assert [(row["utt_id"], row["audio"]["path"]) for row in rows] == [
        (f"{corpus}-1", f"{tmp_path}/{corpus}/1.wav") for corpus in ("mls", "voxpopuli")
    ]
    with pytest.raises(ValueError, match=f"manifest={tmp_path}/gone: not found"):
        read(f"{tmp_path}/{{mls,gone}}")


def test_rows_without_an_id_get_one_that_does_not_depend_on_where_the_corpus_lies(tmp_path):
    one = read(jsonl(tmp_path / "one", NEMO))["utt_id"].to_pylist()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read(str(tmp_path / "two" / "manifest.jsonl"))["utt_id"].to_pylist() == one
    assert read(jsonl(tmp_path / "three", NEMO[::-1]))["utt_id"].to_pylist() == one[::-1]
    assert len(set(one)) == len(one)
    assert one[0] == "db2f0e8a557e7b1a6bc6"


def test_two_cuts_of_one_recording_get_two_ids(tmp_path):
    cuts = [{"audio_filepath": "a.wav", "offset": start, "duration": 2.0} for start in (0.0, 2.0)]
    assert len(set(read(jsonl(tmp_path, cuts))["utt_id"].to_pylist())) == 2


def test_given_ids_stay_and_only_missing_ones_are_made(tmp_path):
    rows = [{"utt_id": "mine", "audio_filepath": "a.wav"}, {"audio_filepath": "b.wav"}]
    ids = read(jsonl(tmp_path, rows))["utt_id"].to_pylist()
    assert ids[0] == "mine"
    assert len(ids[1]) == 20


def test_repeated_ids_are_refused_and_named(tmp_path):
    rows = [{"utt_id": utt_id, "text": "x"} for utt_id in ("a", "b", "a", "c", "b")]
    with pytest.raises(ValueError, match=r"manifest\.jsonl: utt_id not unique: a, b$"):
        read(jsonl(tmp_path, rows))


def test_of_many_repeated_ids_the_first_are_named_and_the_rest_counted(tmp_path):
    rows = [{"utt_id": f"u{i % 8}", "text": "x"} for i in range(16)]
    with pytest.raises(ValueError, match=r"utt_id not unique: u0, u1, u2, u3, u4 and 3 more$"):
        read(jsonl(tmp_path, rows))


def test_negative_durations_are_refused_and_named(tmp_path):
    rows = [{"utt_id": "good", "duration": 0.0}, {"utt_id": "bad", "duration": -0.5}, {"utt_id": "unknown"}]
    with pytest.raises(ValueError, match=r"manifest\.jsonl: negative duration: bad$"):
        read(jsonl(tmp_path, rows))


def test_a_manifest_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"manifest=.*absent\.parquet: not found"):
        read(str(tmp_path / "absent.parquet"))


def test_a_folder_without_parts_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no Parquet files and no audio files"):
        read(str(tmp_path))


@pytest.mark.parametrize("content", ["", "not json\n", '{"utt_id": "a"}\n{"utt_id": \n', '{"utt_id": "a", "duration": "long"}\n'])
def test_a_broken_file_is_a_value_error(tmp_path, content):
    (tmp_path / "manifest.jsonl").write_text(content)
    with pytest.raises(ValueError):
        read(str(tmp_path / "manifest.jsonl"))


def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path):
    (tmp_path / "m.parquet").write_text("hello")
    with pytest.raises(ValueError, match=r"m\.parquet: not a Parquet file"):
        read(str(tmp_path / "m.parquet"))
    (tmp_path / "m.jsonl").write_bytes('{"utt_id": "é"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"m\.jsonl: not UTF-8: .* byte 0xe9"):
        read(str(tmp_path / "m.jsonl"))
    pq.write_table(pa.table({"utt_id": ["a"], "audio": ["a.wav"], "duration": ["long"]}), tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet: column 'duration' is no double"):
        read(str(tmp_path / "m.parquet"))
