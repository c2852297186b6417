"""Languages by code or English name."""

import pytest

from spire_ray.text.languages import LANGUAGES, language

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
    assert {code for code, known in LANGUAGES.items() if known.error_unit == "character"} == {"ko", "zh"}


@pytest.mark.parametrize("name", ["", "xx", "Klingon", "eng"])
def test_an_unknown_language_is_refused_and_the_known_ones_listed(name):
    with pytest.raises(ValueError, match=rf"language '{name}' is unknown; known are en, de, fr, nl, it, es, pt, ko, ru, zh"):
        language(name)
