"""The catalogue that comes along: every corpus states its size and where the figure is from."""

import re
from pathlib import Path

import pytest

from spire_ray.corpora import catalogue

FILES = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_size_has_its_source_beside_it_or_is_unknown(file):
    stated = re.findall(r"^(hours|rows): (\S+)(?:  # (.+))?$", file.read_text(), re.MULTILINE)
    assert stated, "no hours and no rows"
    assert all(source or value == catalogue.UNKNOWN for _, value, source in stated)
    corpus = catalogue.corpus(file.stem)
    for name, value, _ in stated:
        assert getattr(corpus, name) == (0 if value == catalogue.UNKNOWN else float(value))
