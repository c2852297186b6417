"""Which rows of a test set are asked, and what they say."""

import pytest

from spire_ray.evaluation import test_set
from tests.stages.evaluated import manifest, settings


def test_the_labelled_rows_of_the_split_are_asked_in_the_order_of_their_ids(units):
    rows = test_set.rows(settings(units))
    assert [row.utt_id for row in rows] == ["u50", "u51", "u52", "u70", "u71", "u72", "u90", "u91", "u92"]
    assert {row.translation for row in rows} == {"der Hund"}
    assert rows[0].another.tolist() == rows[1].units.tolist() and rows[-1].another.tolist() == rows[0].units.tolist()


def test_of_many_rows_so_many_are_asked(units):
    assert [row.utt_id for row in test_set.rows(settings(units, utterances=2))] == ["u50", "u51"]


def test_all_are_the_labelled_rows_of_every_split(units):
    assert len(test_set.rows(settings(units, split="all"))) > len(test_set.rows(settings(units)))


def test_a_split_without_rows_is_refused(units):
    with pytest.raises(ValueError, match=r"split=tset: .* has no rows of it"):
        test_set.rows(settings(units, split="tset"))


def test_a_row_without_a_language_is_refused_by_name(units, tmp_path):
    data = manifest(tmp_path, [{"utt_id": "a", "text": "le chien"}])
    with pytest.raises(ValueError, match="source_language: row a names no language"):
        test_set.rows(settings(data))
    assert test_set.rows(settings(data, source_language="fr"))[0].language == "fr"
    with pytest.raises(ValueError, match="row a: language 'xx' is unknown"):
        test_set.rows(settings(manifest(tmp_path, [{"utt_id": "a", "text": "a", "language": "xx"}])))


def test_no_row_is_translated_into_its_own_language(units, tmp_path):
    both = {"text": "the dog", "translations": {"de": "der Hund", "en": "the dog"}}
    data = manifest(tmp_path, [{"utt_id": "a", "language": "en", **both}, {"utt_id": "b", "language": "de", **both}])
    assert [row.translation for row in test_set.rows(settings(data))] == ["der Hund", ""]


def test_translations_are_found_by_any_code_of_their_language(tmp_path):
    rows = [{"utt_id": str(n), "text": "the dog", "language": "en", "translations": {code: "狗"}} for n, code in
            enumerate(("zh", "zh-CN", "zh_Hans", "Chinese", "cmn"))]  # fmt: skip
    found = test_set.rows(settings(manifest(tmp_path, rows), target_language="zh"))
    assert [row.translation for row in found] == ["狗"] * 5
