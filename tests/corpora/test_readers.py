"""Each corpus in its own schema, made here in small → rows of the manifest."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.corpora import catalogue, fetch, layouts, readers
from spire_ray.corpora.fetch import Recipe
from spire_ray.corpora.preparation import PREPARATIONS, Unfit, prepare
from spire_ray.manifest.schema import MANIFEST
from spire_ray.tools import data

AUDIO = {"bytes": b"RIFF", "path": "a.wav"}
TABLES = {
    "mls": [
        {
            "audio": AUDIO, "original_path": "http://b/1.mp3", "begin_time": begin, "end_time": begin + 15,
            "transcript": "the book opens", "audio_duration": 15.0, "speaker_id": "4800", "book_id": "10003",
        }
        for begin in (1.0, 16.0)
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
            "lang": "en", "split": split, "dataset": "d", "task": "chat",
        }
        for split in ("train", "dev")
    ],
    "monolingual": [{"id": "7", "text": "ein Satz", "language": "de"}],
    "parallel": [{"id": "8", "en": "dog", **dict.fromkeys(["es", "fr", "it", "ko", "nl", "pt", "zh", "ru"]), "de": "Hund"}],
    "librispeech-clean": [
        {"file": "f", "audio": AUDIO, "text": "CONCORD RETURNED", "speaker_id": 6930, "chapter_id": 1, "id": "6930-75918-0000"}
    ],
}  # fmt: skip
TABLES["librispeech-other"] = TABLES["librispeech-clean"]


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def gigaspeech(folder):
    """Two segments of the smallest subset, as the Hub has them: archive and CSV in two folders."""
    text = ("AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>", "<MUSIC>")
    lines = [f"POD0_{n},N/A,{t},1.5,4.0,t,u,p,POD0,1,2\n" for n, t in enumerate(text)]
    table = folder / "data" / "metadata" / "xs_metadata" / "xs_chunks_0000_metadata.csv"
    table.parent.mkdir(parents=True)
    table.write_text("sid,speaker,text_tn,begin_time,end_time,title,url,path,aid,source,category\n" + "".join(lines))
    members = {f"xs_chunks_0000/POD0_{n}.wav": b"RIFF" for n in range(2)}
    return tar(folder / "data" / "audio" / "xs_files" / "xs_chunks_0000.tar.gz", members)


def spgispeech(folder):
    """One segment of the additional part of L, and a table of all sizes."""
    (folder / "data" / "meta").mkdir(parents=True)
    line = 'ab12/1.wav|9|We grew  by 5%, "last" year.\nab12/2.wav|9|Not in this archive.\n'
    (folder / "data" / "meta" / "train.csv").write_text("wav_filename|wav_filesize|transcript\n" + line)
    return tar(folder / "data" / "audio" / "l_additional" / "l_part_0.tar.gz", {"./spgispeech/train/ab12/1.wav": b"RIFF"})


def flores_plus(folder, split="devtest"):
    (folder / split).mkdir(parents=True)
    for code, script, text in (("eng", "Latn", "A tornado."), ("cmn", "Hans", "龙卷风。"), ("deu", "Latn", "Ein Tornado.")):
        row = {"id": 1, "iso_639_3": code, "iso_15924": script, "glottocode": "g", "text": text, "url": "u", "domain": "d"}
        pq.write_table(pa.Table.from_pylist([row]), folder / split / f"{code}_{script}.parquet")
    return folder


def tower_eval(folder, task, name, row):
    file = folder / "data" / "raw_data" / task / f"{name}.en-de" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(row) + "\n")
    return file


def multiconer(folder):
    file = folder / "EN-English" / "en_test.conll"
    file.parent.mkdir(parents=True)
    file.write_text(
        "\n# id 5239d808\tdomain=en\nthe _ _ O\nlouvre _ _ B-Facility\n\n\n# id 77\tdomain=en\nparis _ _ B-HumanSettlement\n"
    )
    return file


def rows(name, place, split, casing="keep"):
    corpus = catalogue.corpus(name)
    return list(readers.prepared(corpus, readers.read(corpus, place, split), casing))


def table(name, folder):
    file = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(TABLES[name]), file)
    return file


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
        rows(name, tmp_path, "train")


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
    """A hub that holds some corpora and a model, and counts what is asked of it."""
    import huggingface_hub

    root, asked = tmp_path / "hub", []
    roots = {name: root / name.replace("/", "--") for name in ("speechcolab/gigaspeech", "google/fleurs")}
    roots |= {name: root / name.replace("/", "--") for name in ("openlanguagedata/flores_plus", "Unbabel/TowerEval-Data-v0.1")}
    gigaspeech(roots["speechcolab/gigaspeech"])
    tar(roots["speechcolab/gigaspeech"] / "data" / "audio" / "test_files" / "test_chunks_0000.tar.gz", {})
    for split in ("dev", "devtest"):
        flores_plus(roots["openlanguagedata/flores_plus"], split)
    (roots["google/fleurs"] / "parquet-data" / "en_us").mkdir(parents=True)
    sentences = [
        {**TABLES["fleurs"][0], "path": f"{n}.wav", "raw_transcription": t} for n, t in enumerate(("A tornado.", "Other."))
    ]
    pq.write_table(
        pa.Table.from_pylist(sentences), roots["google/fleurs"] / "parquet-data" / "en_us" / "train-00000-of-00001.parquet"
    )
    wmt = tower_eval(tmp_path / "wmt", "mt", "wmt23", {"src": "Hi", "ref": "Hallo"})
    tar(roots["Unbabel/TowerEval-Data-v0.1"] / "data.tar.gz", {"data/raw_data/mt/wmt23.en-de/test.jsonl": wmt.read_bytes()})

    def files(self, name, **given):
        return [str(path.relative_to(roots[name])) for path in sorted(roots[name].rglob("*")) if path.is_file()]

    def download(name, file, **given):
        asked.append(file)
        return str(roots[name] / file)

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **given: asked.append(name) or tiny_base)
    return asked


def test_what_was_fetched_is_enough_without_a_network(hub, tmp_path, monkeypatch, capsys):
    import socket

    from spire_ray.text.tokenizer import SpeechTokenizer

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{corpora: [gigaspeech, fleurs, flores-plus], models: [some/model@v1], casing: sentence}")
    to = str(tmp_path / "data")
    assert data.main(["fetch", str(recipe), "--to", to]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"flores-plus: 2 rows, 0 refused → {to}/flores-plus",
        f"gigaspeech: 1 rows, 1 refused → {to}/gigaspeech",
        f"fleurs: 2 rows, 0 refused, 1 without a translation → {to}/fleurs",
    ]
    assert hub[0] == "some/model"
    assert "data/audio/xs_files/xs_chunks_0000.tar.gz" in hub and "data/audio/test_files/test_chunks_0000.tar.gz" not in hub
    asked = len(hub)
    assert data.main(["fetch", str(recipe), "--to", to]) == 0  # done already: nothing is asked for
    assert len(hub) == asked

    def blocked(*_, **__):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "socket", blocked)
    assert data.main(["check", "gigaspeech", f"{to}/gigaspeech"]) == 0
    assert "1 rows, 0.0 h, 0.0% of its own 10000 h" in capsys.readouterr().out
    said = pq.read_table(next((tmp_path / "data" / "gigaspeech").glob("part-*.parquet"))).to_pylist()
    assert [row["text"] for row in said] == ["As they're leaving, can kash pull zahra aside?"]
    refused = pq.read_table(tmp_path / "data" / "gigaspeech" / "refused").to_pylist()
    assert {row["reason"] for row in refused} == {"noise segment: <MUSIC>"}
    read = pq.read_table(next((tmp_path / "data" / "fleurs").glob("part-*.parquet"))).to_pylist()
    assert [sorted(row["translations"]) for row in read] == [[("de", "Ein Tornado."), ("zh", "龙卷风。")], []]
    assert SpeechTokenizer(f"{to}/models/model").encode([]) == []


def test_an_archive_on_the_hub_is_unpacked(hub, tmp_path):
    counts = fetch.fetch(Recipe(corpora=("wmt23",), splits=("test",)), str(tmp_path / "to"))
    assert counts == {"wmt23": {"rows": 1, "refused": 0}}
    assert hub == ["data.tar.gz"]


def test_files_that_are_not_there_are_named_with_what_is(hub, tmp_path):
    with pytest.raises(
        ValueError, match=r"fleurs: google/fleurs holds no parquet-data/en_us/test-\*\.parquet; it holds parquet-data"
    ):
        fetch.fetch(Recipe(corpora=("fleurs", "flores-plus"), splits=("test",)), str(tmp_path / "to"))
    with pytest.raises(ValueError, match="corpora: fleurs takes its translations of flores-plus; add that"):
        fetch.fetch(Recipe(corpora=("fleurs",)), str(tmp_path / "to"))
    with pytest.raises(ValueError, match=r"local\.gigaspeech=.*: no data/audio/\[xsml\]\*_files\*/\*\.tar\.gz there"):
        fetch.fetch(Recipe(corpora=("gigaspeech",), local={"gigaspeech": str(tmp_path)}), str(tmp_path / "to"))


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
