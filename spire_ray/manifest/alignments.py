"""Phones or words and their times: Parquet of `utt_id` and a list of `symbol`, `start` and `end` in seconds."""

from collections.abc import Sequence
from typing import Any

from spire_ray.core import tables


def read(uri: str, ids: Sequence[str], column: str = "phonemes") -> dict[str, list[dict[str, Any]]]:
    """What is aligned of these utterances, as far as it is known; words are in a column `words`."""
    table = tables.read(uri, ["utt_id", column], [("utt_id", "in", list(ids))])
    return dict(zip(table["utt_id"].to_pylist(), table[column].to_pylist(), strict=True))
