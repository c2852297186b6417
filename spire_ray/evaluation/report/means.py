"""Means over languages, as the paper's tables have them: of a test set out of one language into several, and the other way."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from spire_ray.evaluation.report.gathered import Entry

Key = tuple[str, str, str]
"""Test set, metric, and the languages as they are shown: `en-9 languages`."""


def of(entries: Sequence[Entry]) -> list[Entry]:
    """A figure without an interval for each system that has all languages that any system has."""
    found: list[Entry] = []
    for place, members in _groups(entries).items():
        wanted = {each.languages for each in members}
        for system in dict.fromkeys(each.system for each in members):
            mine = [each for each in members if each.system == system]
            if {each.languages for each in mine} == wanted:
                mean = sum(each.value for each in mine) / len(mine)
                scored = sum(each.scored for each in mine)
                found.append(replace(mine[0], languages=place[2], value=mean, low=mean, high=mean, scored=scored))
    return found


def _groups(entries: Sequence[Entry]) -> dict[Key, list[Entry]]:
    groups: dict[Key, list[Entry]] = {}
    for side, languages in _sides(entries):
        fits = [
            each
            for each in entries
            if "-" in each.languages and (each.test_set, each.metric, each.languages.split("-")[side]) == languages
        ]
        several = len({each.languages for each in fits})
        one = f"{languages[2]}-{several} languages" if side == 0 else f"{several} languages-{languages[2]}"
        if several > 1:
            groups[languages[0], languages[1], one] = fits
    return groups


def _sides(entries: Sequence[Entry]) -> Iterator[tuple[int, Key]]:
    """0 or 1, for the language before or behind the hyphen, with test set, metric and that language."""
    pairs = [each for each in entries if "-" in each.languages]
    for side in (0, 1):
        yield from dict.fromkeys((side, (each.test_set, each.metric, each.languages.split("-")[side])) for each in pairs)
