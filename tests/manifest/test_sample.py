"""The sample is seeded, does not depend on order and files, and keeps to hours, shares and speakers."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.manifest import sample
from spire_ray.manifest.schema import MANIFEST, in_split

ROWS = [
    {
        "utt_id": f"u{n:04d}",
        "audio": {"path": f"{n}.wav", "bytes": b"RIFF%d" % n},
        "duration": 1.0 + n % 5,
        "corpus": "big" if n % 4 else "small",
        "split": "train" if n % 10 else "dev",
        "speaker": f"s{n % 7}" if n % 3 else None,
    }
    for n in range(2_000)
]


def manifest(folder, rows=ROWS, files=1):
    for number in range(files):
        part = rows[number::files]
        pq.write_table(pa.Table.from_pylist(part, MANIFEST), folder / f"part-{number}.parquet")
    return str(folder)


def ids(drawn):
    return {corpus: table["utt_id"].to_pylist() for corpus, table in drawn.items()}


def seconds(table):
    return sum(table["duration"].to_pylist())


def test_as_many_hours_as_wanted_of_the_split_alone(tmp_path):
    drawn = sample.draw(manifest(tmp_path), "train", 600, seed=0)[""]
    assert 595 <= seconds(drawn) <= 600
    assert all(int(utt_id[1:]) % 10 for utt_id in drawn["utt_id"].to_pylist())


def test_every_row_may_be_drawn_also_those_without_a_split(tmp_path):
    uri = manifest(tmp_path, [row | {"split": None if n % 2 else "dev"} for n, row in enumerate(ROWS[:100])])
    assert len(sample.draw(uri, "all", 1e9, seed=1)[""]) == 100
    with pytest.raises(ValueError, match=r"split=train: no row of .* belongs to it; split=all takes every row"):
        sample.draw(uri, "train", 1e9, seed=1)


def test_a_row_belongs_to_its_split_and_to_all():
    assert in_split("train", "train") and not in_split("dev", "train") and not in_split(None, "train")
    assert in_split("dev", "all") and in_split(None, "all")


def test_order_and_files_do_not_change_the_sample_and_the_seed_does(tmp_path):
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    places = [tmp_path / name for name in "abc"]
    for place in places:
        place.mkdir()
    one = ids(sample.draw(manifest(places[0]), "train", 300, seed=1))
    assert ids(sample.draw(manifest(places[1], shuffled, files=3), "train", 300, seed=1)) == one
    assert ids(sample.draw(str(places[0]), "train", 300, seed=2)) != one


def test_a_larger_sample_holds_the_smaller_one(tmp_path):
    uri = manifest(tmp_path)
    few, many = (ids(sample.draw(uri, "train", hours, seed=0))[""] for hours in (200, 900))
    assert many[: len(few)] == few


def test_weights_share_the_hours_between_corpora(tmp_path):
    drawn = sample.draw(manifest(tmp_path), "train", 400, seed=0, weights={"small": 3, "big": 1})
    assert 295 <= seconds(drawn["small"]) <= 300
    assert 95 <= seconds(drawn["big"]) <= 100


def test_a_corpus_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="weights: no row of the split train is of huge; there are big, small"):
        sample.draw(manifest(tmp_path), "train", 400, seed=0, weights={"huge": 1})
    with pytest.raises(ValueError, match=r"split=test: no row of .* belongs to it"):
        sample.draw(str(tmp_path), "test", 400, seed=0)


def test_a_speaker_who_has_given_enough_gives_no_more_and_unnamed_ones_are_not_counted(tmp_path):
    drawn = sample.draw(manifest(tmp_path), "train", 1e9, seed=0, speaker_seconds=50)[""]
    spoken = {}
    for speaker, duration in zip(drawn["speaker"].to_pylist(), drawn["duration"].to_pylist(), strict=True):
        spoken[speaker] = spoken.get(speaker, 0) + duration
    unnamed = spoken.pop(None)
    assert unnamed == sum(row["duration"] for row in ROWS if row["speaker"] is None and row["split"] == "train")
    assert len(spoken) == 7
    assert all(50 <= total < 55 for total in spoken.values())


def test_the_limit_of_a_speaker_does_not_depend_on_the_order_of_the_rows(tmp_path):
    """The first long clips are shut out by short ones of their speakers, for which more long ones have to move up."""

    def key(utt_id):
        return sample.chance(utt_id, 1, "sample")

    long = [{"utt_id": f"long{n}", "duration": 20.0, "speaker": f"s{n}"} for n in range(600)]
    first = [row for row in long if key(row["utt_id"]) < 0.3]
    short = [
        {**row, "utt_id": next(name for k in range(10**6) if key(name := f"{row['utt_id']}.{k}") < key(row["utt_id"]))}
        for row in first
    ]
    rows = [
        row | {"duration": seconds, "split": "train", "audio": {"path": row["utt_id"]}}
        for several, seconds in ((long, 20.0), (short, 1.0))
        for row in several
    ]
    wanted, heard, total = [], set(), 0.0
    for row in sorted(rows, key=lambda row: key(row["utt_id"])):
        if row["speaker"] not in heard and total + row["duration"] <= 600:
            wanted.append(row["utt_id"])
            heard.add(row["speaker"])
            total += row["duration"]
    assert any(row["utt_id"] in wanted for row in long) and total > 580
    for number, ordered in enumerate((rows, rows[::-1], random.Random(0).sample(rows, len(rows)))):
        (folder := tmp_path / str(number)).mkdir()
        for part, start in enumerate(range(0, len(rows), 50)):  # rows are thrown away between two tables
            pq.write_table(pa.Table.from_pylist(ordered[start : start + 50], MANIFEST), folder / f"part-{part:02d}.parquet")
        assert ids(sample.draw(str(folder), "train", 600, seed=1, speaker_seconds=1.0)) == {"": wanted}


def test_the_sample_is_written_with_its_audio_in_the_order_of_the_manifest(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    chosen = ids(sample.draw(manifest(source), "train", 300, seed=0))[""]
    target = str(tmp_path / "sample.parquet")
    assert sample.write(str(source), chosen, target) == len(chosen)
    rows = pq.read_table(target).to_pylist()
    assert [row["utt_id"] for row in rows] == sorted(chosen)
    assert all(row["audio"]["bytes"] == b"RIFF%d" % int(row["utt_id"][1:]) for row in rows)
