"""A copy of a corpus against what the catalogue says of it."""

import json
from dataclasses import fields

from spire_ray.core import storage, tables
from spire_ray.corpora.catalogue import Corpus


def check(corpus: Corpus, place: str) -> str:
    """A copy of a corpus against the corpus's own size, in one line. Raises ValueError where there is no copy."""
    names = [name for name in storage.listing(place) if name.startswith("part-") and name.endswith(".parquet")]
    if not names:
        raise ValueError(f"{place}: no part-*.parquet there; bring the corpus with `spire data fetch`")
    rows, seconds, unknown = 0, 0.0, 0
    for name in names:
        durations = tables.read(storage.join(place, name), ["duration"])["duration"].to_pylist()
        rows, seconds = rows + len(durations), seconds + sum(d for d in durations if d is not None)
        unknown += sum(d is None for d in durations)
    hours = seconds / 3600
    said = [f"{rows} rows", *([f"{hours:.1f} h"] if hours else [])]
    if corpus.hours and unknown < rows:
        said.append(f"{hours / corpus.hours:.1%} of its own {corpus.hours:g} h")
    if corpus.rows:
        said.append(f"{rows / corpus.rows:.1%} of its own {corpus.rows} rows")
    if unknown and corpus.hours:
        said.append(f"{unknown} rows without a duration")
    if not corpus.hours and not corpus.rows:
        said.append("its own size is not in the catalogue")
    return f"{corpus.name}: {', '.join(said)}"


def described(corpus: Corpus) -> str:
    """A corpus in the words of the catalogue, as JSON."""
    return json.dumps({each.name: getattr(corpus, each.name) for each in fields(Corpus)}, indent=2, ensure_ascii=False)
