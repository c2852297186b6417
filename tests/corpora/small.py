"""Corpora in small, in their own schemas and layouts."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq

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


def gigaspeech(folder, sound=b"RIFF"):
    """Two segments of the smallest subset, as the Hub has them: archive and CSV in two folders."""
    text = ("AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>", "<MUSIC>")
    lines = [f"POD0_{n},N/A,{t},1.5,4.0,t,u,p,POD0,1,2\n" for n, t in enumerate(text)]
    table = folder / "data" / "metadata" / "xs_metadata" / "xs_chunks_0000_metadata.csv"
    table.parent.mkdir(parents=True)
    table.write_text("sid,speaker,text_tn,begin_time,end_time,title,url,path,aid,source,category\n" + "".join(lines))
    members = {f"xs_chunks_0000/POD0_{n}.wav": sound for n in range(2)}
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


def table(name, folder):
    file = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(TABLES[name]), file)
    return file
