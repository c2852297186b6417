"""Each corpus in its own schema, made here in small → rows of the manifest."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.corpora import catalogue, fetch, readers
from spire_ray.corpora.fetch import Recipe
from spire_ray.corpora.preparation import PREPARATIONS, Unfit, prepare
from spire_ray.manifest.schema import MANIFEST
from spire_ray.tools import data

AUDIO = {"bytes": b"RIFF", "path": "a.wav"}
TABLES = {
    "spgispeech": [{"wav_filename": "c/1.wav", "wav_filesize": 9, "audio": AUDIO, "transcript": "We grew  by 5%, last year."}],
    "gigaspeech": [
        {
            "segment_id": f"POD0_{n}", "speaker": "N/A", "text": text, "audio": AUDIO, "begin_time": 1.5, "end_time": 4.0,
            "audio_id": "POD0", "title": "t", "url": "u", "source": 1, "category": 2, "original_full_path": "p",
        }
        for n, text in enumerate(("AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>", "<MUSIC>"))
    ],
    "mls": [
        {
            "audio": AUDIO, "original_path": "http://b/1.mp3", "begin_time": 1.0, "end_time": 16.0,
            "transcript": "the book opens",
            "audio_duration": 15.0, "speaker_id": "4800", "book_id": "10003",
        }
    ],
    "voxpopuli": [
        {
            "audio_id": "2009-PLENARY-3-en_1", "language": 0, "audio": AUDIO, "raw_text": "Thank you.", "gender": "female",
            "normalized_text": "thank you", "speaker_id": "1", "is_gold_transcript": True, "accent": "None",
        }
    ],
    "fleurs": [
        {
            "id": 903, "num_samples": 32_000, "path": "1.wav", "audio": AUDIO, "transcription": "a tornado", "gender": 1,
            "raw_transcription": "A tornado.", "lang_id": 19, "language": "English", "lang_group_id": 0,
        }
    ],
    "towerblocks": [
        {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
            "lang": "en", "split": "dev", "dataset": "d", "task": "chat",
        }
    ],
    "monolingual": [{"id": "7", "text": "ein Satz", "language": "de"}],
    "parallel": [{"id": "8", "en": "dog", **dict.fromkeys(["es", "fr", "it", "ko", "nl", "pt", "zh", "ru"]), "de": "Hund"}],
    "librispeech-clean": [
        {"file": "f", "audio": AUDIO, "text": "CONCORD RETURNED", "speaker_id": 6930, "chapter_id": 1, "id": "6930-75918-0000"}
    ],
    "flores-plus": [
        {"id": 1, "iso_639_3": "cmn", "iso_15924": "Hans", "glottocode": "g", "text": "周一", "url": "u", "domain": "d"}
    ],
    "wmt23": [{"lp": "en-de", "src": "Hi", "ref": "Hallo"}],
    "ape": [{"lp": "en-de", "src": "Hi", "mt": "Halo", "ref": "Hallo"}],
    "multiconer": [{"id": "x", "sample_id": "x", "tokens": ["A"], "text": "A", "ner_tags": ["O"]}],
}  # fmt: skip


def rows(name, place, split, casing="keep"):
    corpus = catalogue.corpus(name)
    return list(readers.prepared(corpus, readers.read(corpus, place, split), casing))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_schema_of_its_corpus_is_read(name, tmp_path):
    corpus = catalogue.corpus(name)
    file = tmp_path / ("t.jsonl" if corpus.files.endswith("jsonl") else "t.parquet")
    if file.suffix == ".jsonl":
        file.write_text("\n".join(json.dumps(row) for row in TABLES[name]))
    else:
        pq.write_table(pa.Table.from_pylist(TABLES[name]), file)
    (split, *_) = corpus.splits
    read = [row for row in rows(name, file, split) if not row.get("error")]
    table = pa.Table.from_pylist(read, schema=readers.ROWS)
    assert table.schema.names[: len(MANIFEST)] == MANIFEST.names
    (row,) = table.to_pylist()
    assert row["utt_id"].startswith(f"{name}-")
    assert (row["corpus"], row["split"]) == (name, split)
    assert row["text"] or row["conversations"]
    if corpus.use == "speech":
        assert row["audio"]["bytes"] == b"RIFF"
    if corpus.language:
        assert row["language"] == corpus.language


def test_what_the_columns_say_is_kept(tmp_path):
    for name in ("gigaspeech", "fleurs", "parallel", "towerblocks", "flores-plus", "mls"):
        pq.write_table(pa.Table.from_pylist(TABLES[name]), tmp_path / f"{name}.parquet")
    read = {path.stem: rows(path.stem, path, "train") for path in sorted(tmp_path.iterdir())}
    said, music = read["gigaspeech"]
    assert said["text"] == "AS THEY'RE LEAVING, CAN KASH PULL ZAHRA ASIDE?"
    assert said["text_raw"] == "AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>"
    assert (said["duration"], music["error"]) == (2.5, "noise segment: <MUSIC>")
    assert read["fleurs"][0]["duration"] == 2.0
    assert read["mls"][0]["duration"] == 15.0
    assert read["parallel"][0]["translations"] == [("de", "Hund")]
    assert read["flores-plus"][0]["language"] == "zh"
    assert json.loads(read["towerblocks"][0]["conversations"]) == TABLES["towerblocks"][0]["conversations"]


def test_common_voice(tmp_path):
    (tmp_path / "train.tsv").write_text(
        'client_id\tpath\tsentence_id\tsentence\tup_votes\nc1\tcommon_voice_en_1.mp3\ts\tHe said "no".\t2\n'
    )
    (tmp_path / "clip_durations.tsv").write_text("clip\tduration[ms]\ncommon_voice_en_1.mp3\t4250\n")
    (row,) = rows("commonvoice", tmp_path, "train")
    assert (row["utt_id"], row["text"], row["duration"]) == ("commonvoice-common_voice_en_1", 'He said "no".', 4.25)
    assert row["audio"]["path"] == str(tmp_path / "clips" / "common_voice_en_1.mp3")


def test_covost_joins_the_translations_of_a_clip(tmp_path):
    for code, text in (("de", "Der Hund."), ("zh-CN", "狗。")):
        line = f"path\tsentence\ttranslation\tclient_id\ncommon_voice_en_1.mp3\tThe dog.\t{text}\tc1\n"
        (tmp_path / f"covost_v2.en_{code}.train.tsv").write_text(line)
    (row,) = rows("covost2", tmp_path, "train")
    assert (row["text"], row["translations"]) == ("The dog.", [("de", "Der Hund."), ("zh", "狗。")])


def test_europarl_st_joins_the_translations_of_a_segment(tmp_path):
    for code, text in (("de", "Danke."), ("fr", "Merci.")):
        folder = tmp_path / "en" / code / "train"
        folder.mkdir(parents=True)
        (folder / "segments.lst").write_text("en.20081117.4.1-014 0.00 6.50\n")
        (folder / "segments.en").write_text("Thank you.\n")
        (folder / f"segments.{code}").write_text(text + "\n")
    (row,) = rows("europarl-st", tmp_path, "train")
    assert row["translations"] == [("de", "Danke."), ("fr", "Merci.")]
    assert (row["offset"], row["duration"]) == (0.0, 6.5)
    assert row["audio"]["path"].endswith("en/audios/en.20081117.4.1-014.m4a")


@pytest.mark.parametrize("name", ["covost2", "europarl-st", "commonvoice"])
def test_a_folder_that_is_not_in_the_layout_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        rows(name, tmp_path, "train")


def test_a_table_without_a_column_is_refused_with_those_it_has(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"wav_filename": "a", "text": "b"}]), tmp_path / "t.parquet")
    with pytest.raises(
        ValueError, match=r"spgispeech: t\.parquet:0: no column 'audio' for columns\.audio; there are wav_filename"
    ):
        rows("spgispeech", tmp_path / "t.parquet", "train")


# --- text preparation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "casing", "text"),
    [
        ("HELLO <COMMA> YOU <PERIOD> WHO <QUESTIONMARK> OH <EXCLAMATIONPOINT>", "keep", "HELLO, YOU. WHO? OH!"),
        ("HELLO <COMMA> YOU <PERIOD> WHO <QUESTIONMARK>", "sentence", "Hello, you. Who?"),
        ("HELLO <COMMA> YOU", "lower", "hello, you"),
    ],
)
def test_the_tags_of_gigaspeech_become_marks(raw, casing, text):
    assert prepare(raw, "gigaspeech-1", casing) == text


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("<SIL>", "noise segment: <SIL>"), ("<NOISE>", "noise segment: <NOISE>"), ("A <OTHER> B", "noise segment: <OTHER>"),
     ("A <FOO>", "unknown tag: <FOO>"), ("<COMMA>", "no text"), ("", "no text")],
)  # fmt: skip
def test_noise_is_refused_with_its_reason(raw, reason):
    with pytest.raises(Unfit, match=f"^{reason}$"):
        prepare(raw, "gigaspeech-1")


def test_prepared_text_is_not_prepared_again():
    for name in PREPARATIONS:
        once = prepare(" So <COMMA>  it  is " if "giga" in name else " So,  it  is ", name)
        assert prepare(once, name) == once == "So, it is"


# --- the catalogue --------------------------------------------------------------------------------------------------


def test_the_catalogue_holds_what_table_2_of_the_paper_counts():
    known = catalogue.load()
    cpt = [known[name].spire_units for name in ("spgispeech", "gigaspeech", "mls", "voxpopuli")]
    it = [c.spire_units for n, c in known.items() if n not in ("spgispeech", "gigaspeech", "mls", "voxpopuli")]
    assert sum(cpt) == pytest.approx(4.31e9, rel=0.002)
    assert sum(it) == pytest.approx(973e6, rel=0.002)
    assert sum(c.spire_hours for c in known.values()) == pytest.approx(42_480, rel=0.002)
    assert known["mls"].hours == 44_700
    assert all(c.licence and (c.hub or c.obtain) for c in known.values())


@pytest.mark.parametrize(
    ("text", "reason"),
    [("titel: x", "unknown field titel"), ("{title: x, use: text, licence: l}", "says neither hub nor obtain"),
     ("{title: x, use: text, licence: l, hub: a/b, preparation: plain-9}", "preparation='plain-9': known are plain-1")],
)  # fmt: skip
def test_a_wrong_entry_is_refused(tmp_path, text, reason):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=reason):
        catalogue.load(str(tmp_path))


# --- fetch and check ------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch, tiny_base):
    """A hub that holds GigaSpeech in two files and a model, and counts what is asked of it."""
    import huggingface_hub

    root, asked = tmp_path / "hub", []
    (root / "data" / "xl").mkdir(parents=True)
    for number in range(2):
        table = pa.Table.from_pylist([{**row, "segment_id": f"{row['segment_id']}{number}"} for row in TABLES["gigaspeech"]])
        pq.write_table(table, root / "data" / "xl" / f"train-{number}.parquet")
    files = ["README.md", "data/xl/train-0.parquet", "data/xl/train-1.parquet", "data/xl/test-0.parquet"]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, name, **given: files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file, **given: asked.append(file) or str(root / file))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **given: asked.append(name) or tiny_base)
    return asked


def test_what_was_fetched_is_enough_without_a_network(hub, tmp_path, monkeypatch, capsys):
    import socket

    from spire_ray.text.tokenizer import SpeechTokenizer

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{corpora: [gigaspeech], models: [some/model@v1], casing: sentence}")
    to = str(tmp_path / "data")
    assert data.main(["fetch", str(recipe), "--to", to]) == 0
    assert capsys.readouterr().out == f"gigaspeech: 2 rows, 2 refused → {to}/gigaspeech\n"
    assert hub == ["some/model", "data/xl/train-0.parquet", "data/xl/train-1.parquet"]
    assert data.main(["fetch", str(recipe), "--to", to]) == 0  # done already: nothing is asked for
    assert len(hub) == 3

    def blocked(*_, **__):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "socket", blocked)
    assert data.main(["check", "gigaspeech", f"{to}/gigaspeech"]) == 0
    assert "2 rows, 0.0 h, 0.0% of its own 10000 h" in capsys.readouterr().out
    table = pq.read_table([str(path) for path in sorted((tmp_path / "data" / "gigaspeech").glob("part-*.parquet"))])
    assert table["text"].to_pylist() == ["As they're leaving, can kash pull zahra aside?"] * 2
    refused = pq.read_table(tmp_path / "data" / "gigaspeech" / "refused").to_pylist()
    assert {row["reason"] for row in refused} == {"noise segment: <MUSIC>"}
    assert SpeechTokenizer(f"{to}/models/model").encode([]) == []


def test_what_cannot_be_downloaded_is_said_before_anything_is(hub, tmp_path):
    with pytest.raises(ValueError, match=r"not to be downloaded: covost2 \(unpack .*then name the copy under local"):
        fetch.fetch(Recipe(corpora=("gigaspeech", "covost2")), str(tmp_path / "to"))
    assert not hub


def test_a_copy_that_is_here_already_is_read_from_its_folder(hub, tmp_path):
    for code in ("de", "zh-CN"):
        (tmp_path / f"covost_v2.en_{code}.train.tsv").write_text("path\tsentence\ttranslation\nx.mp3\tThe dog.\ty\n")
    counts = fetch.fetch(Recipe(corpora=("covost2",), local={"covost2": str(tmp_path)}), str(tmp_path / "to"))
    assert counts == {"covost2": {"rows": 1, "refused": 0}}
    assert not hub


def test_an_unknown_corpus_is_one_line(capsys):
    assert data.main(["show", "gigaspeach"]) == 2
    assert capsys.readouterr().err.startswith("data: error: corpus 'gigaspeach' is unknown; known are ")
