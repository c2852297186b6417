"""Each corpus in its own schema, made here in small → rows of the manifest."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.corpora import catalogue, layouts, readers
from spire_ray.corpora.preparation import PREPARATIONS, Unfit, prepare
from spire_ray.manifest.schema import MANIFEST
from tests.corpora.small import TABLES, flores_plus, gigaspeech, multiconer, spgispeech, table, tar, tower_eval


def rows(name, place, split, casing="keep"):
    corpus = catalogue.corpus(name)
    return list(readers.prepared(corpus, readers.read(corpus, place, split), casing))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_schema_of_its_corpus_is_read(name, tmp_path):
    corpus = catalogue.corpus(name)
    (split, *_) = corpus.splits
    made = pa.Table.from_pylist(rows(name, table(name, tmp_path), split), schema=readers.ROWS)
    assert made.schema.names[: len(MANIFEST)] == MANIFEST.names
    read = made.to_pylist()
    assert len(read) == (1 if name == "towerblocks" else len(TABLES[name]))  # of two splits in one file, one
    assert len({row["utt_id"] for row in read}) == len(read)
    for row in read:
        assert row["utt_id"].startswith(f"{name}-")
        assert (row["corpus"], row["split"]) == (name, split)
        assert row["text"] or row["conversations"]
        if corpus.use == "speech":
            assert row["audio"]["bytes"] == b"RIFF"
        if corpus.language:
            assert row["language"] == corpus.language


def test_every_corpus_has_a_fixture():
    known = {name for name, corpus in catalogue.load().items() if corpus.layout == "table" and not name.startswith("pseudo-")}
    assert known == set(TABLES)


def test_what_the_columns_say_is_kept(tmp_path):
    read = {name: rows(name, table(name, tmp_path), "train") for name in ("fleurs", "parallel", "towerblocks", "mls")}
    assert read["fleurs"][0]["duration"] == 2.0
    assert [(row["utt_id"], row["duration"]) for row in read["mls"]] == [
        ("mls-http://b/1.mp3@1.0", 15.0), ("mls-http://b/1.mp3@16.0", 15.0),
    ]  # fmt: skip
    assert read["parallel"][0]["translations"] == [("de", "Hund")]
    assert json.loads(read["towerblocks"][0]["conversations"]) == TABLES["towerblocks"][0]["conversations"]


def test_gigaspeech_joins_its_archives_with_their_tables(tmp_path):
    said, music = rows("gigaspeech", gigaspeech(tmp_path), "train")
    assert said["utt_id"] == "gigaspeech-POD0_0"
    assert said["text"] == "AS THEY'RE LEAVING, CAN KASH PULL ZAHRA ASIDE?"
    assert said["text_raw"] == "AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>"
    assert said["audio"] == {"bytes": b"RIFF", "path": "POD0_0.wav"}
    assert (said["duration"], said["split"], music["error"]) == (2.5, "train", "noise segment: <MUSIC>")
    assert layouts.gigaspeech_table("data/audio/xl_files_additional/xl_chunks_0012.tar.gz") == (
        "data/metadata/xl_metadata_additional/xl_chunks_0012_metadata.csv"
    )


def test_spgispeech_joins_its_archives_with_one_table(tmp_path):
    (row,) = rows("spgispeech", spgispeech(tmp_path), "train")
    assert (row["utt_id"], row["text"]) == ("spgispeech-ab12/1.wav", 'We grew by 5%, "last" year.')
    assert (row["text_raw"], row["audio"]["bytes"]) == ('We grew  by 5%, "last" year.', b"RIFF")
    assert layouts.spgispeech_table("data/audio/test/test_part_0.tar.gz") == "data/meta/test.csv"
    tar(tmp_path / "data" / "audio" / "s" / "s_part_0.tar.gz", {"ab12/9.wav": b"RIFF"})
    with pytest.raises(ValueError, match=r"spgispeech: s_part_0\.tar\.gz: ab12/9\.wav is in no row of its table"):
        rows("spgispeech", tmp_path / "data" / "audio" / "s" / "s_part_0.tar.gz", "train")


def test_flores_joins_the_languages_of_a_sentence(tmp_path):
    (row,) = rows("flores-plus", flores_plus(tmp_path), "test")
    assert (row["utt_id"], row["language"], row["text"]) == ("flores-plus-devtest-1", "en", "A tornado.")
    assert sorted(row["translations"]) == [("de", "Ein Tornado."), ("zh", "龙卷风。")]


def test_the_folders_of_tower_eval_name_the_direction(tmp_path):
    (row,) = rows("wmt23", tower_eval(tmp_path, "mt", "wmt23", {"src": "Hi", "ref": "Hallo"}), "test")
    assert (row["language"], row["text"], row["translations"]) == ("en", "Hi", [("de", "Hallo")])
    (row,) = rows("ape", tower_eval(tmp_path, "ape", "nllb_3b_wmt23", {"src": "Hi", "mt": "Halo", "ref": "Hallo"}), "test")
    assert (row["translations"], json.loads(row["extra"])) == ([("de", "Hallo")], {"mt": "Halo"})


def test_named_entities_keep_their_tags(tmp_path):
    louvre, paris = rows("multiconer", multiconer(tmp_path), "test")
    assert (louvre["utt_id"], louvre["language"], louvre["text"]) == ("multiconer-en-5239d808", "en", "the louvre")
    assert json.loads(louvre["extra"]) == {"tokens": ["the", "louvre"], "tags": ["O", "B-Facility"]}
    assert json.loads(paris["extra"])["tags"] == ["B-HumanSettlement"]


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


@pytest.mark.parametrize("name", ["covost2", "europarl-st", "commonvoice", "flores-plus"])
def test_a_folder_that_is_not_in_the_layout_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        rows(name, tmp_path, "dev")


def test_a_table_without_a_column_is_refused_with_those_it_has(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"audio_id": "a", "normalized_text": "b"}]), tmp_path / "t.parquet")
    with pytest.raises(
        ValueError, match=r"voxpopuli: t\.parquet:0: no column 'audio' for columns\.audio; there are audio_id, normalized_text"
    ):
        rows("voxpopuli", tmp_path / "t.parquet", "train")


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
    assert all(c.license and (c.hub or c.obtain) for c in known.values())


@pytest.mark.parametrize(
    ("text", "reason"),
    [("titel: x", "unknown field titel"), ("{title: x, use: text, license: l}", "says neither hub nor obtain"),
     ("{title: x, use: text, license: l, hub: a/b, preparation: plain-9}", "preparation='plain-9': known are plain-1")],
)  # fmt: skip
def test_a_wrong_entry_is_refused(tmp_path, text, reason):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=reason):
        catalogue.load(str(tmp_path))
