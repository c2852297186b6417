"""The grammar of the talking corpus: enough words, correct German and French, one translation for each sentence."""

from itertools import islice, pairwise

import pytest

from spire_ray.quickstart import grammar, lexicon
from spire_ray.quickstart.grammar import Grammar


@pytest.fixture(scope="module")
def sentences():
    return list(islice(Grammar(0).unique_sentences(), 8_000))


def phrase(english):
    """The noun phrase that reads so, or the first drawn one."""
    words = english.split()
    adjective = next((a for a in lexicon.ADJECTIVES if a.en in words), None)
    determiner = next(d for d in lexicon.DETERMINERS if d.en == words[0].replace("an", "a"))
    return grammar._NounPhrase(determiner, adjective, next(n for n in lexicon.NOUNS if n.en == words[-1]))


def test_it_speaks_at_least_a_hundred_english_words(sentences):
    assert len(grammar.words()) >= 100
    said = {word for sentence in sentences for word in sentence.text.split()}
    assert said == grammar.words()


def test_no_sentence_is_said_twice(sentences):
    assert len({sentence.text for sentence in sentences}) == len(sentences)


def test_no_english_sentence_has_two_translations():
    draw = Grammar(1)
    translations = {}
    for _ in range(8_000):
        for sentence in (draw.sentence(), draw.phrase()):
            assert translations.setdefault(sentence.text, sentence.translations) == sentence.translations


@pytest.mark.parametrize("part", ["NOUNS", "ADJECTIVES", "TRANSITIVE", "INTRANSITIVE", "PLACES", "TIMES", "DETERMINERS"])
def test_every_entry_of_the_lexicon_has_an_english_of_its_own(part):
    entries = [entry.en for entry in getattr(lexicon, part)]
    assert len(set(entries)) == len(entries)


def test_the_seed_decides_the_sentences(sentences):
    assert list(islice(Grammar(0).unique_sentences(), 50)) == sentences[:50]
    assert list(islice(Grammar(1).unique_sentences(), 50)) != sentences[:50]


@pytest.mark.parametrize(
    ("english", "nominative", "accusative"),
    [
        ("the big dog", "der große Hund", "den großen Hund"),
        ("my big dog", "mein großer Hund", "meinen großen Hund"),
        ("a big dog", "ein großer Hund", "einen großen Hund"),
        ("the red flower", "die rote Blume", "die rote Blume"),
        ("my red flower", "meine rote Blume", "meine rote Blume"),
        ("a red flower", "eine rote Blume", "eine rote Blume"),
        ("the small house", "das kleine Haus", "das kleine Haus"),
        ("my small house", "mein kleines Haus", "mein kleines Haus"),
        ("a small house", "ein kleines Haus", "ein kleines Haus"),
        ("the boy", "der Junge", "den Jungen"),
        ("my young soldier", "mein junger Soldat", "meinen jungen Soldaten"),
        ("a quiet child", "ein leises Kind", "ein leises Kind"),
        ("the expensive lamp", "die teure Lampe", "die teure Lampe"),
        ("an expensive table", "ein teurer Tisch", "einen teuren Tisch"),
    ],
)
def test_german_follows_gender_and_case(english, nominative, accusative):
    found = phrase(english)
    assert found.en() == english
    assert (found.de("nominative"), found.de("accusative")) == (nominative, accusative)


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("the dog", "le chien"),
        ("the child", "l'enfant"),
        ("the small child", "le petit enfant"),
        ("a green flower", "une fleur verte"),
        ("my big house", "ma grande maison"),
        ("an expensive table", "une table chère"),
        ("the black elephant", "l'éléphant noir"),
    ],
)
def test_french_follows_gender_and_elides(english, french):
    assert phrase(english).fr() == french


def test_german_keeps_its_verb_in_second_place(sentences):
    german = {sentence.text: sentence.translations["de"] for sentence in sentences}
    verbs = {entry.de for entry in (*lexicon.TRANSITIVE, *lexicon.INTRANSITIVE)} | {"ist"}
    opened = 0
    for english, text in german.items():
        time = next((t for t in lexicon.TIMES if english.startswith(t.en + " ")), None)
        if time:
            opened += 1
            assert text.removeprefix(f"{time.de} ").split()[0] in verbs, text
    assert opened > 500


def test_a_word_before_a_vowel_has_an(sentences):
    for sentence in sentences:
        words = sentence.text.split()
        for article, following in pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (following[0] in "aeiou"), sentence.text


def test_french_never_leaves_a_vowel_after_an_article_unelided(sentences):
    for sentence in sentences:
        words = sentence.translations["fr"].split()
        for article, following in pairwise(words):
            assert not (article in ("le", "la", "ma") and following[0] in "aeiouéêâh"), sentence.translations["fr"]
