"""Languages by code or English name."""

import pytest

from spire_ray.text.languages import find, language, registry

TOWER = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "nl": "Dutch",
    "it": "Italian",
    "es": "Spanish",
    "pt": "Portuguese",
    "ko": "Korean",
    "ru": "Russian",
    "zh": "Chinese",
}


@pytest.mark.parametrize(("code", "name"), TOWER.items())
def test_the_languages_of_tower_are_known_by_code_and_name(code, name):
    found = language(code)
    assert (found.code, found.name) == (code, name)
    assert language(f" {name.upper()} ") is found


def test_languages_written_without_spaces_are_scored_by_character():
    assert {code for code, known in registry().items() if known.error_rate == "cer"} == {"ko", "zh"}


@pytest.mark.parametrize("name", ["", "xx", "Klingon"])
def test_an_unknown_language_is_refused_the_known_ones_listed_and_the_line_to_add_given(name):
    with pytest.raises(ValueError, match=rf"language '{name}' is unknown; known are en, de, fr, nl, it, es, pt, ko, ru, zh "):
        language(name)
    with pytest.raises(ValueError, match=r"To add it: `xx: \{name: …, error_rate: wer.*\}` in a file that SPIRE_LANGUAGES names"):
        language(name)


def test_a_file_of_ones_own_adds_languages_and_changes_known_ones(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("pt: {name: Brazilian}\nja: {name: Japanese, error_rate: cer, sacrebleu: ja-mecab}\n")
    monkeypatch.setenv("SPIRE_LANGUAGES", str(tmp_path / "mine.yaml"))
    registry.cache_clear()
    try:
        assert (language("ja").name, language("Japanese").error_rate) == ("Japanese", "cer")
        assert (language("pt").name, language("de").name) == ("Brazilian", "German")
        (tmp_path / "mine.yaml").write_text("ja: {nome: Japanese}")
        registry.cache_clear()
        with pytest.raises(ValueError, match="ja: expected"):
            language("ja")
        (tmp_path / "mine.yaml").write_text("")
        registry.cache_clear()
        with pytest.raises(ValueError, match="expected a line"):
            language("ja")
    finally:
        registry.cache_clear()


@pytest.mark.parametrize("name", ["en", "EN", "en-US", "en_gb", "English", " english ", "eng"])
def test_regions_and_any_case_are_understood(name):
    assert language(name).code == "en"
    assert find("zh-Hant-TW").code == "zh"
    assert find("-x") is None and find("") is None and find("enx") is None
