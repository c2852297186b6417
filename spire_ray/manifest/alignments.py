"""Phones and their times: Parquet of `utt_id` and `phonemes`, a list of `symbol`, `start` and `end` in seconds."""

from collections.abc import Sequence
from typing import Any

from spire_ray.core import tables


def read(uri: str, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The phones of these utterances, as far as they are known."""
    table = tables.read(uri, ["utt_id", "phonemes"], [("utt_id", "in", list(ids))])
    return dict(zip(table["utt_id"].to_pylist(), table["phonemes"].to_pylist(), strict=True))
