"""The folders and tables that people bring, each with its transcripts, and what is not understood refused by name."""

import gzip
import io
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray.core.registry import PLUGINS
from spire_ray.manifest import formats, reader, writer
from spire_ray.manifest.reader import read
from tests.conftest import ROOT
from tests.manifest.what_people_have import clip, heard, lines, tar_of, wav


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_audio_folder_with_a_list_in_each_split(kind, tmp_path):
    for split in ("train", "validation"):
        clip(tmp_path / split / "a" / "1.wav")
        if kind == "csv":
            (tmp_path / split / "metadata.csv").write_text("file_name,text\na/1.wav,one\n")
        else:
            lines(tmp_path / split / "metadata.jsonl", [{"file_name": "a/1.wav", "text": "one"}])
    rows = read(str(tmp_path)).to_pylist()
    assert [(row["text"], row["split"], len(heard(row))) for row in rows] == [("one", "train", 8_000), ("one", "dev", 8_000)]
    assert len({row["utt_id"] for row in rows}) == 2


@pytest.mark.parametrize("name", ["transcription", "transcript", "sentence"])
def test_a_transcript_of_another_usual_name_is_not_lost(name, tmp_path):
    row = {"audio": "a.wav", name: "the dog"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text(f"audio,{name}\na.wav,the dog\n")
    for uri in (lines(tmp_path / "m.jsonl", [row]), f"{tmp_path}/m.parquet", f"{tmp_path}/m.csv"):
        assert read(uri)["text"].to_pylist() == ["the dog"]
    assert read(lines(tmp_path / "n.jsonl", [{**row, "text": "a cat"}]))["text"].to_pylist() == ["a cat"]


def test_a_kaldi_folder(tmp_path):
    whole = clip(tmp_path / "audio" / "r1.wav", 4, channels=2)
    files = {"wav.scp": f"r1 {tmp_path}/audio/r1.wav\n", "text": "s1 the dog\ns2 a cat\n", "utt2spk": "s1 ann\ns2 bob\n"}
    for name, content in files.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(content)
    (tmp_path / "data" / "segments").write_text("s1 r1 0.5 1.5\ns2 r1 2.0 -1 1\n")
    first, second = read(str(tmp_path / "data")).to_pylist()
    assert [(row["utt_id"], row["text"], row["speaker"], row["duration"]) for row in (first, second)] == [
        ("s1", "the dog", "ann", 1.0), ("s2", "a cat", "bob", None),
    ]  # fmt: skip
    assert np.allclose(heard(first), whole[8_000:24_000].mean(1), atol=1e-6)
    assert np.allclose(heard(second), whole[32_000:, 1], atol=1e-6)
    (tmp_path / "data" / "segments").unlink()
    (tmp_path / "data" / "text").write_text("r1 all of it\n")
    assert read(str(tmp_path / "data")).to_pylist()[0]["text"] == "all of it"
    (tmp_path / "data" / "wav.scp").write_text("r1 sph2pipe -f wav r1.sph |\n")
    with pytest.raises(ValueError, match=r"wav\.scp: r1: a pipe, .* is not run"):
        read(str(tmp_path / "data"))


def test_a_common_voice_folder_and_one_of_its_tables(tmp_path):
    head = "client_id\tpath\tsentence\tup_votes\tlocale\n"
    for split in ("train", "dev"):
        clip(tmp_path / "clips" / f"{split}.mp3")
        (tmp_path / f"{split}.tsv").write_text(f'{head}c1\t{split}.mp3\tSaid "so\t2\tde\n')
    (tmp_path / "validated.tsv").write_text(f"{head}c1\ttrain.mp3\tSo.\t2\tde\n")
    rows = read(str(tmp_path)).to_pylist()
    assert [(row["utt_id"], row["text"], row["language"], row["speaker"], row["split"]) for row in rows] == [
        (split, 'Said "so', "de", "c1", split) for split in ("train", "dev")
    ]
    assert all(len(heard(row)) > 7_000 for row in rows)
    assert [row["text"] for row in read(str(tmp_path / "validated.tsv")).to_pylist()] == ["So."]


@pytest.mark.parametrize(("ending", "comma"), [("csv", ","), ("tsv", "\t")])
def test_a_table_with_a_map_of_its_columns(ending, comma, tmp_path):
    clip(tmp_path / "a.wav")
    table = [["wave", "said", "seconds", "german"], ["a.wav", "the dog", "0.5", "der Hund"], ["b.wav", "", "", ""]]
    content = "\r\n".join(comma.join(row) for row in table)
    (tmp_path / f"m.{ending}").write_bytes(b"\xef\xbb\xbf" + content.encode())
    columns = {"audio": "wave", "text": "said", "duration": "seconds", "translations.de": "german"}
    first, second = read(str(tmp_path / f"m.{ending}"), columns).to_pylist()
    assert (first["text"], first["duration"], first["translations"]) == ("the dog", 0.5, [("de", "der Hund")])
    assert (second["text"], second["duration"], second["translations"]) == (None, None, [])
    assert len(heard(first)) == 8_000
    (tmp_path / f"m.{ending}").write_text(f"audio{comma}text\na.wav{comma}a{comma}b\n")
    with pytest.raises(ValueError, match=r"line 2: 3 cells for the 2 names"):
        read(str(tmp_path / f"m.{ending}"))


@pytest.mark.parametrize("sharded", [False, True])
def test_tarred_nemo_data(sharded, tmp_path):
    names = [[f"s{shard}_{n}.wav" for n in range(2)] for shard in range(2)]
    for shard, members in enumerate(names):
        tar_of(tmp_path / f"audio_{shard}.tar", {name: wav(0.5 + n) for n, name in enumerate(members)})
    rows = [
        {"audio_filepath": name, "duration": 0.5 + n, "text": name, "shard_id": shard}
        for shard, members in enumerate(names)
        for n, name in enumerate(members)
    ]
    if sharded:
        for shard in range(2):
            lines(tmp_path / "sharded_manifests" / f"manifest_{shard}.json", [r for r in rows if r["shard_id"] == shard])
        uri = str(tmp_path / "sharded_manifests" / "manifest__OP_0..1_CL_.json")
    else:
        uri = lines(tmp_path / "tarred_audio_manifest.json", rows)
    found = read(uri).to_pylist()
    assert [(row["utt_id"], row["text"], len(heard(row))) for row in found] == [
        (name.removesuffix(".wav"), name, 8_000 + 16_000 * n) for members in names for n, name in enumerate(members)
    ]
    (tmp_path / "audio_1.tar").unlink()
    with pytest.raises(ValueError, match=r"no audio_1\.tar in .* which shard_id=1 stands for"):
        read(uri)


def test_tarred_nemo_data_of_parts_of_files_and_of_another_codec(tmp_path):
    """As NeMo's convert_to_tarred_audio_dataset.py writes them: a file once, its other parts as -subN; endings as they were."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(4_000, 0.1), 16_000, format="FLAC")
    tar_of(tmp_path / "audio_0.tar", {"data_long.wav": wav(3.0), "data_b.flac": buffer.getvalue()})
    rows = [
        {"audio_filepath": "data_long.wav", "offset": 0.5, "duration": 0.5, "text": "one", "shard_id": 0},
        {"audio_filepath": "data_long-sub1.wav", "offset": 1.0, "duration": 0.25, "text": "two", "shard_id": 0},
        {"audio_filepath": "data_long-sub2.wav", "offset": 2.0, "duration": 1.0, "text": "three", "shard_id": 0},
        {"audio_filepath": "data_b.wav", "duration": 0.25, "text": "four", "shard_id": 0},
    ]
    found = read(lines(tmp_path / "tarred_audio_manifest.json", rows)).to_pylist()
    assert [(row["utt_id"], len(heard(row))) for row in found] == [
        ("data_long", 8_000), ("data_long-sub1", 4_000), ("data_long-sub2", 16_000), ("data_b", 4_000),
    ]  # fmt: skip


@pytest.mark.parametrize("splits", [True, False])
def test_what_save_to_disk_leaves(splits, tmp_path):
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test") if splits else ("",):
        folder = tmp_path / split
        folder.mkdir(exist_ok=True)
        table = pa.table({"audio": pa.array([{"bytes": wav(0.5), "path": "a.wav"}] * 2, audio), "text": ["one", "two"]})
        with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    if splits:
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    rows = read(str(tmp_path)).to_pylist()
    assert [(row["text"], row["split"]) for row in rows] == [
        (text, split or None) for split in (("train", "test") if splits else ("",)) for text in ("one", "two")
    ]
    assert all(len(heard(row)) == 8_000 for row in rows)


# --- Lhotse ---------------------------------------------------------------------------------------------------------


def test_relative_paths_count_from_the_manifest_else_from_the_working_directory(tmp_path, monkeypatch):
    clip(tmp_path / "here" / "a.wav")
    monkeypatch.chdir(tmp_path / "here")
    uri = lines(tmp_path / "there" / "m.jsonl", [{"audio_filepath": "a.wav", "duration": 0.5}])
    assert read(uri).to_pylist()[0]["audio"]["path"] == f"{tmp_path}/here/a.wav"
    clip(tmp_path / "there" / "a.wav")
    assert read(uri).to_pylist()[0]["audio"]["path"] == f"{tmp_path}/there/a.wav"


# --- what is in the way ---------------------------------------------------------------------------------------------


def test_every_file_of_audio_in_a_folder_is_a_row_and_no_other_is(tmp_path):
    names = ["a.caf", "b.w64", "c.amr", "d.mov", "e.wma", "f.WAV", "g.opus", "h.voc", "i.eac3"]
    for name in [*names, "._a.wav", ".hidden.wav", "notes.txt", "a.pdf"]:
        (tmp_path / name).write_bytes(b"x")
    assert [row["audio"]["path"].rpartition("/")[2] for row in read(str(tmp_path)).to_pylist()] == names


def test_keys_that_every_tar_counts_anew_and_files_of_macos(tmp_path):
    for number in range(2):
        tar_of(tmp_path / f"x-{number:03d}.tar", {"000000.wav": wav(0.5), "._000000.wav": b"macOS", "named.wav": wav(0.5)})
    with pytest.raises(ValueError, match=r"utt_id not unique: named$"):
        read(str(tmp_path / "x-{000..001}.tar"))
    assert read(str(tmp_path / "x-000.tar"))["utt_id"].to_pylist() == ["x-000/000000", "named"]


@pytest.mark.parametrize("value", [["a", "b"], {"en": "a"}])
def test_a_list_is_no_text(value, tmp_path):
    with pytest.raises(ValueError, match=r"line 1: text=.* is no text; write one text a row"):
        read(lines(tmp_path / "m.jsonl", [{"audio_filepath": "a.wav", "text": value}]))


def test_half_a_gzip_file_is_named(tmp_path):
    content = gzip.compress(json.dumps({"audio_filepath": "a.wav", "text": "x" * 5000}).encode() * 9)
    (tmp_path / "m.jsonl.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"m\.jsonl\.gz: a truncated or damaged gzip file"):
        read(str(tmp_path / "m.jsonl.gz"))


@pytest.mark.parametrize("form", ["nemo", "lhotse", "fairseq"])
def test_a_manifest_of_paths_is_not_written_for_audio_that_is_no_file(form, tmp_path):
    tar_of(tmp_path / "x.tar", {"a.wav": wav(0.5)})
    tables = list(reader.stream(str(tmp_path / "x.tar")))
    with pytest.raises(ValueError, match=r"^a: its audio is .*x\.tar:\d+:\d+, no file as .* needs; --to audiofolder"):
        writer.write(str(tmp_path / "m"), tables, form)
    writer.write(str(tmp_path / "folder"), tables, "audiofolder")
    assert len(heard(read(str(tmp_path / "folder")).to_pylist()[0])) == 8_000


@pytest.mark.parametrize("form", ["audiofolder", "lhotse", "fairseq", "webdataset"])
def test_what_cannot_be_converted_is_named_by_its_row(form, tmp_path):
    clip(tmp_path / "a.wav")
    uri = lines(tmp_path / "m.jsonl", [{"utt_id": name, "audio_filepath": f"{name}.wav", "text": "x"} for name in ("a", "gone")])
    with pytest.raises(ValueError, match=r"^gone: (/.*/gone\.wav: )?no such file$"):
        writer.write(str(tmp_path / "made"), list(reader.stream(uri)), form)


def test_the_page_of_formats_lists_each():
    page = (ROOT / "docs" / "formats.md").read_text()
    writable = formats.writable()
    for name in ("parquet", *formats.FORMATS):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} | ")]
        assert line.endswith("| no |") != (name in writable)


def test_a_format_of_a_plugin_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "my_format.py").write_text(
        "from spire_ray.manifest.formats import FORMATS, Format\n"
        "def rows(file):\n"
        "    for number, line in enumerate(open(file)):\n"
        "        path, text = line.split(';')\n"
        "        yield f'{file}: line {number}', {'audio': path, 'text': text.strip()}\n"
        "FORMATS.register('mine', Format(lambda file: file.endswith('.mine'), rows))\n"
    )
    (tmp_path / "m.mine").write_text("a.wav;the dog\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(PLUGINS, "my_format")
    try:
        assert read(str(tmp_path / "m.mine")).to_pylist()[0]["text"] == "the dog"
        assert "mine" in formats.FORMATS
    finally:
        formats.FORMATS._things.pop("mine", None)
        sys.modules.pop("my_format", None)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_as_push_to_hub_embeds_it_has_names_for_paths(nested, tmp_path):
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for number in range(2):
        place = tmp_path / ("en/train" if nested else "data") / f"train-{number:05d}-of-00002.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"audio": pa.array([{"bytes": wav(0.5), "path": "audio.wav"}] * 3, audio), "text": ["a", "b", "c"]})
        pq.write_table(table, place)
    rows = read(str(tmp_path)).to_pylist()
    assert len({row["utt_id"] for row in rows}) == 6
    assert [row["split"] for row in rows] == ["train"] * 6
    assert [row["utt_id"] for row in read(str(tmp_path)).to_pylist()] == [row["utt_id"] for row in rows]


def test_lines_that_are_twice_there_are_named_by_their_audio(tmp_path):
    rows = [{"audio_filepath": f"{name}.wav", "duration": 1.0} for name in ("a", "b", "a")]
    with pytest.raises(ValueError, match=rf"utt_id not unique: {tmp_path}/a\.wav twice, without one$"):
        read(lines(tmp_path / "m.jsonl", rows))


@pytest.mark.parametrize(
    ("code", "language"), [("en-US", "en"), ("de_AT", "de"), ("EN", "en"), ("zh-Hans-CN", "zh"), ("fr", "fr")]
)
def test_a_locale_is_a_language(code, language, tmp_path):
    rows = [{"utt_id": "a", "audio": "a.wav", "language": code}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    for uri in (lines(tmp_path / "m.jsonl", rows), str(tmp_path / "m.parquet")):
        assert read(uri).to_pylist()[0]["language"] == language


def test_a_row_group_is_read_once_for_all_its_shards(tmp_path, monkeypatch):
    pq.write_table(pa.table({"utt_id": [f"u{n}" for n in range(100)], "audio": ["a.wav"] * 100}), tmp_path / "m.parquet")
    read_groups, original = [], pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda self, groups, **o: read_groups.append(groups) or original(self, groups, **o)
    )
    for first in range(0, 100, 10):
        assert reader.rows(f"{tmp_path}/m.parquet", {}, first, 10)["utt_id"].to_pylist() == [f"u{first + n}" for n in range(10)]
    assert read_groups == [[0]]
    pq.write_table(pa.table({"utt_id": [f"v{n}" for n in range(50)], "audio": ["a.wav"] * 50}), tmp_path / "m.parquet")
    assert reader.rows(f"{tmp_path}/m.parquet", {}, 0, 1)["utt_id"].to_pylist() == ["v0"]
