"""A small grammar of English with agreement-correct German and French.

Sentences are drawn with their translations: articles, adjective endings and cases follow gender, and German keeps its
verb in second place. Every word is unambiguous, so that a translation can be right or wrong.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from spire_ray.quickstart.lexicon import (
    ADJECTIVES,
    DETERMINERS,
    INTRANSITIVE,
    NOUNS,
    PLACES,
    TIMES,
    TRANSITIVE,
    Adjective,
    Determiner,
    Noun,
)

_VOWELS = "aeiouyhéêàâîôû"


@dataclass(frozen=True)
class Sentence:
    """English text and its translations by language code."""

    text: str
    translations: dict[str, str]


@dataclass(frozen=True)
class _NounPhrase:
    determiner: Determiner
    adjective: Adjective | None
    noun: Noun

    def en(self) -> str:
        words = _join([self.adjective.en if self.adjective else "", self.noun.en])
        determiner = "an" if self.determiner.en == "a" and words[0] in "aeiou" else self.determiner.en
        return f"{determiner} {words}"

    def de(self, case: str) -> str:
        gender = self.noun.de_gender
        ending = "accusative" if gender == "m" and case == "accusative" else gender
        adjective = self.adjective.de + self.determiner.de_adjective[ending] if self.adjective else ""
        noun = self.noun.de_accusative if case == "accusative" else self.noun.de
        return _join([self.determiner.de[ending], adjective, noun])

    def fr(self) -> str:
        feminine = self.noun.fr_gender == "f"
        words = [self.noun.fr]
        if self.adjective:
            form = self.adjective.fr_feminine if feminine else self.adjective.fr_masculine
            words = [form, *words] if self.adjective.fr_before else [*words, form]
        if self.determiner.en == "the" and words[0][0] in _VOWELS:
            return "l'" + " ".join(words)
        return " ".join([self.determiner.fr_feminine if feminine else self.determiner.fr_masculine, *words])


class Grammar:
    """Draws sentences and short noun phrases from a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _noun_phrase(self, kind: str) -> _NounPhrase:
        choose = self._random
        noun = choose.choice([n for n in NOUNS if n.kind == kind])
        adjective = choose.choice(ADJECTIVES) if choose.random() < 0.4 else None
        determiner = choose.choices(DETERMINERS, [d.weight for d in DETERMINERS])[0]
        return _NounPhrase(determiner, adjective, noun)

    def phrase(self) -> Sentence:
        """A noun phrase alone: the short utterances of a corpus."""
        phrase = self._noun_phrase(self._random.choice(("being", "thing")))
        return Sentence(phrase.en(), {"de": phrase.de("nominative"), "fr": phrase.fr()})

    def sentence(self) -> Sentence:
        """A main clause: transitive, intransitive with a place, or predicative, sometimes opened by a time."""
        choose = self._random
        subject = self._noun_phrase("being")
        time = choose.choice(TIMES) if choose.random() < 0.25 else None
        shape = choose.random()
        if shape < 0.65:
            verb, thing = choose.choice(TRANSITIVE), self._noun_phrase("thing")
            place = choose.choice(PLACES) if choose.random() < 0.2 else None
            verb_en, verb_de, verb_fr = verb.en, verb.de, verb.fr
            rest = (thing.en(), thing.de("accusative"), thing.fr())
        elif shape < 0.85:
            verb, place = choose.choice(INTRANSITIVE), choose.choice(PLACES)
            verb_en, verb_de, verb_fr = verb.en, verb.de, verb.fr
            rest = ("", "", "")
        else:
            quality, place = choose.choice(ADJECTIVES), None
            if choose.random() < 0.5:
                subject = self._noun_phrase("thing")
            feminine = subject.noun.fr_gender == "f"
            verb_en, verb_de, verb_fr = "is", "ist", "est"
            rest = (quality.en, quality.de_predicative, quality.fr_feminine if feminine else quality.fr_masculine)
        en = [time.en if time else "", subject.en(), verb_en, rest[0], place.en if place else ""]
        de_subject = subject.de("nominative")
        de = [time.de, verb_de, de_subject] if time else [de_subject, verb_de]
        de += [place.de if place else "", rest[1]] if shape < 0.65 else [rest[1], place.de if place else ""]
        fr = [time.fr if time else "", subject.fr(), verb_fr, rest[2], place.fr if place else ""]
        return Sentence(_join(en), {"de": _join(de), "fr": _join(fr)})

    def unique_sentences(self) -> Iterator[Sentence]:
        """Sentences without end, none of them twice."""
        seen: set[str] = set()
        while True:
            sentence = self.sentence()
            if sentence.text not in seen:
                seen.add(sentence.text)
                yield sentence


def words() -> set[str]:
    """Every English word the grammar can say."""
    entries = [e.en for e in (*DETERMINERS, *NOUNS, *ADJECTIVES, *TRANSITIVE, *INTRANSITIVE, *PLACES, *TIMES)]
    return {word for entry in [*entries, "an", "is"] for word in entry.split()}


def _join(words: list[str]) -> str:
    return " ".join(word for word in words if word)
