"""Files of a corpus that would be read without a word and wrongly: lines cut in two, rows swallowed, archives cut short."""

import json

import numpy as np
import pytest

from spire_ray.corpora import catalogue, readers
from tests.corpora.small import gigaspeech, multiconer, tower_eval

BREAKS = "one\u2028two\x85three\x0bfour"


def rows(name, place, split="train"):
    corpus = catalogue.corpus(name)
    return list(readers.prepared(corpus, readers.read(corpus, place, split), "keep"))


def test_no_break_of_unicode_ends_a_line_of_europarl(tmp_path):
    folder = tmp_path / "en" / "de" / "train"
    folder.mkdir(parents=True)
    lists = {"lst": "a 0.00 6.50\nb 0 1\n", "en": f"{BREAKS}\r\nyes\r\n", "de": "eins\nja\n"}
    for ending, content in lists.items():
        (folder / f"segments.{ending}").write_bytes(content.encode())
    first, second = rows("europarl-st", tmp_path)
    assert (first["text_raw"], second["text_raw"], second["translations"]) == (BREAKS, "yes", [("de", "ja")])
    (folder / "segments.de").write_text("eins\n")
    with pytest.raises(ValueError, match=r"different lengths: segments\.lst 2, segments\.en 2, segments\.de 1 lines"):
        rows("europarl-st", tmp_path)


def test_no_break_of_unicode_ends_a_line_of_tower_eval_and_of_conll(tmp_path):
    file = tower_eval(tmp_path, "mt", "wmt23", {})
    file.write_text(json.dumps({"src": BREAKS, "ref": "Hallo"}, ensure_ascii=False), encoding="utf-8")
    assert [row["text_raw"] for row in rows("wmt23", file, "test")] == [BREAKS]
    file = multiconer(tmp_path)
    file.write_text("# id a domain=en\nx\u2028y _ _ O\n\n# id b domain=en\nz _ _ O\n", encoding="utf-8")
    assert [row["utt_id"] for row in rows("multiconer", file, "test")] == ["multiconer-en-a", "multiconer-en-b"]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_archive_that_was_cut_short_is_refused_by_name(share, tmp_path):
    archive = gigaspeech(tmp_path, np.random.default_rng(0).bytes(20_000))
    content = archive.read_bytes()
    archive.write_bytes(content[: round(share * len(content))])
    with pytest.raises(ValueError, match=rf"gigaspeech: {archive.name}: cut short"):
        rows("gigaspeech", archive)


def test_a_row_of_gigaspeech_without_audio_is_refused_and_not_left_out(tmp_path):
    archive = gigaspeech(tmp_path)
    listed = next(tmp_path.glob("data/metadata/*/*.csv"))
    listed.write_text(listed.read_text() + 'POD0_9,N/A,"HELLO, YOU",1.5,4.0,t,u,p,POD0,1,2\n')
    *_, lost = rows("gigaspeech", archive)
    assert (lost["utt_id"], lost["error"]) == ("gigaspeech-POD0_9", "no audio: not in xs_chunks_0000.tar.gz")


def test_quotation_marks_in_tables_of_text(tmp_path):
    (tmp_path / "t.tsv").write_text('id\ttext\tlanguage\n1\t"Ja\tde\n2\tNA\tde\n3\t2020-01-01\tde\n')
    assert [row["text_raw"] for row in rows("monolingual", tmp_path / "t.tsv")] == ['"Ja', "NA", "2020-01-01"]
    lines = [{"id": n, "text": text, "language": "de"} for n, text in enumerate(("2020-01-01", "12", BREAKS))]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    assert [row["text_raw"] for row in rows("monolingual", tmp_path / "t.jsonl")] == ["2020-01-01", "12", BREAKS]
    (tmp_path / "t.csv").write_text('id,text,language\n1,"Ja,de\n2,Nein,de\n')
    with pytest.raises(ValueError, match=r"t\.csv: line 3: .*quotation mark"):
        rows("monolingual", tmp_path / "t.csv")
