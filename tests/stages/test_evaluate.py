"""What a model is asked: the labelled rows of a split, whatever files they lie in."""

import pyarrow as pa
import pytest

from spire_ray.core import tables
from spire_ray.manifest.schema import UNITS
from spire_ray.settings import EvaluateSettings
from spire_ray.stages import evaluate


@pytest.fixture
def units(tmp_path):
    """Three parts of ten rows whose ids are shuffled; every third row is rejected, every second one is of the test split."""
    for part in range(3):
        rows = [
            {
                "utt_id": f"u{n * 7 % 10}{part}",
                "text": "the dog",
                "translations": [("de", "der Hund")] if n else [],
                "units": [1, 2],
                "durations": [1, 3],
                "status": "labelled" if n % 3 else "rejected",
                "split": "test" if n % 2 else "train",
            }
            for n in range(10)
        ]
        tables.write(f"{tmp_path}/part-{part:06d}.parquet", pa.Table.from_pylist(rows, UNITS))
    return str(tmp_path)


def test_the_labelled_rows_of_the_split_are_asked_in_the_order_of_their_ids(units):
    settings = EvaluateSettings(output="", units=units, split="test", target_language="de", models=())
    rows = evaluate._rows(settings)
    assert [row["utt_id"] for row in rows] == ["u50", "u51", "u52", "u70", "u71", "u72", "u90", "u91", "u92"]
    assert {row["translation"] for row in rows} == {"der Hund"}


def test_of_many_rows_so_many_are_asked(units):
    settings = EvaluateSettings(output="", units=units, split="test", target_language="de", models=(), utterances=2)
    assert [row["utt_id"] for row in evaluate._rows(settings)] == ["u50", "u51"]


def test_all_are_the_labelled_rows_of_every_split(units):
    of = {
        split: evaluate._rows(EvaluateSettings(output="", units=units, split=split, target_language="de", models=()))
        for split in ("test", "all")
    }
    assert len(of["all"]) > len(of["test"])


def test_a_split_without_rows_is_refused(units):
    with pytest.raises(ValueError, match=r"split=tset: .* has 0 labelled rows of it"):
        evaluate._rows(EvaluateSettings(output="", units=units, split="tset", target_language="de", models=()))
