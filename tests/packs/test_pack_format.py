"""The pack on disk: what was written is read, each epoch whole, from any position."""

from collections import Counter
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest

from spire_ray.packs.pack import Document, Pack, write

INDEX = {"sources": [{"name": "asr.en"}, {"name": "mt.en-de"}], "fingerprint": None}
LENGTH = 32


def documents(count, vocabulary=1000, seed=0):
    draw = np.random.default_rng(seed)
    made = []
    for number in range(count):
        size = int(draw.integers(3, LENGTH + 1))
        ids = draw.integers(1, vocabulary, size).astype(np.int32)
        made.append(Document(ids, draw.random(size) < 0.7, f"u{number}", number % 2))
    return made


def contents(document_ids, counted):
    return tuple(zip(document_ids.tolist(), counted.tolist(), strict=True))


def key(row):
    return row.input_ids.tobytes()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pack"))
    given = documents(400)
    facts = write(folder, given, LENGTH, 1000, 0, INDEX)
    return folder, given, facts


def test_every_document_is_read_as_it_was_written(packed):
    folder, given, _ = packed
    read = Counter()
    for row in Pack(folder).epoch(0, seed=0):
        ends = np.cumsum(row.lengths)
        for start, end in zip(ends - row.lengths, ends, strict=True):
            read[contents(row.input_ids[start:end], row.counted[start:end])] += 1
        assert not row.input_ids[ends[-1] :].any()
        assert not row.counted[ends[-1] :].any()
    assert read == Counter(contents(d.ids, d.counted) for d in given)


def test_the_columns_are_those_that_others_read(packed):
    folder, given, facts = packed
    with pa.memory_map(f"{folder}/rows-00000.arrow") as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.schema.names == ["row", "input_ids", "loss_mask", "document_lengths", "utt_ids", "source"]
    assert table.schema.field("input_ids").type == pa.list_(pa.uint16(), LENGTH)
    assert table["row"].to_pylist() == list(range(facts["rows"]))
    by_id = {document.utt_id: document for document in given}
    for row in table.to_pylist():
        assert row["document_lengths"] == [len(by_id[utt_id].ids) for utt_id in row["utt_ids"]]
        assert row["source"] == [by_id[utt_id].source for utt_id in row["utt_ids"]]


def test_the_index_counts_what_is_there(packed):
    folder, given, facts = packed
    assert Pack(folder).index == facts
    assert facts["rows"] == len(Pack(folder)) > 2 * 64
    assert facts["documents"] == 400
    assert facts["tokens"] == sum(len(d.ids) for d in given)
    assert facts["counted_tokens"] == sum(d.counted.sum() for d in given)
    assert facts["fill"] == pytest.approx(facts["tokens"] / (facts["rows"] * LENGTH), abs=1e-5)


def test_each_epoch_reads_each_row_once_in_an_order_of_its_own(packed):
    pack = Pack(packed[0])
    first, second, other = ([key(row) for row in pack.epoch(e, seed)] for e, seed in ((0, 0), (1, 0), (0, 1)))
    assert len(set(first)) == len(pack)
    assert Counter(first) == Counter(second) == Counter(other)
    assert first != second
    assert first != other
    assert first == [key(row) for row in Pack(packed[0]).epoch(0, 0)]


@pytest.mark.parametrize("position", [0, 1, 63, 64, 200, "rows - 1", "rows", "rows + 70", "3 rows + 5"])
def test_reading_goes_on_exactly_where_it_stopped(packed, position):
    pack = Pack(packed[0])
    rows = len(pack)
    start = {"rows - 1": rows - 1, "rows": rows, "rows + 70": rows + 70, "3 rows + 5": 3 * rows + 5}.get(position, position)
    expected = [key(row) for row in islice(pack.stream(seed=3), start, start + 100)]
    assert [key(row) for row in islice(pack.stream(seed=3, start=start), 100)] == expected


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    names = ["rows-00000.arrow", "index.json"]
    for folder, seed in (("one", 5), ("again", 5), ("other", 6)):
        write(str(tmp_path / folder), documents(150), LENGTH, 1000, seed, INDEX)
    one, again, other = ([(tmp_path / folder / name).read_bytes() for name in names] for folder in ("one", "again", "other"))
    assert one == again
    assert one[0] != other[0]


@pytest.mark.parametrize(("vocabulary", "width"), [(65_536, pa.uint16()), (65_537, pa.uint32()), (200_000, pa.uint32())])
def test_ids_take_16_bits_where_the_vocabulary_allows_it(tmp_path, vocabulary, width):
    ids = np.array([1, vocabulary - 1], np.int32)
    write(str(tmp_path), [Document(ids, np.ones(2, bool), "u", 0)], LENGTH, vocabulary, 0, INDEX)
    with pa.memory_map(str(tmp_path / "rows-00000.arrow")) as file:
        assert pa.ipc.open_file(file).schema.field("input_ids").type.value_type == width
    (row,) = Pack(str(tmp_path)).epoch(0, 0)
    assert row.input_ids[:2].tolist() == ids.tolist()


def test_documents_longer_than_a_row_are_left_out_and_counted_by_source(tmp_path):
    ids = np.ones(LENGTH + 1, np.int32)
    long = [Document(ids, np.ones(LENGTH + 1, bool), f"long{i}", source) for i, source in enumerate((0, 1, 1))]
    facts = write(str(tmp_path), [*documents(4), *long], LENGTH, 1000, 0, INDEX)
    assert facts["too_long"] == {"asr.en": 1, "mt.en-de": 2}
    assert facts["documents"] == 4


def test_a_folder_that_is_no_pack_is_refused_with_advice(tmp_path):
    with pytest.raises(ValueError, match=r"no index\.json there; make one with the stage pack"):
        Pack(str(tmp_path))


def test_a_pack_without_rows_is_refused_instead_of_read_for_ever(tmp_path):
    write(str(tmp_path), [], LENGTH, 1000, 0, INDEX)
    with pytest.raises(ValueError, match="holds no rows"):
        next(Pack(str(tmp_path)).stream(seed=0))


def test_a_row_knows_its_place_and_the_source_of_each_token(tmp_path):
    documents = [Document(np.full(n, 7, np.int32), np.ones(n, bool), f"u{n}", n % 2) for n in (3, 4, 6, 9)]
    write(str(tmp_path), documents, 10, 300, 0, {"sources": [{"name": "a"}, {"name": "b"}]})
    rows = list(Pack(str(tmp_path)).epoch(0, 0))
    assert sorted(row.number for row in rows) == list(range(len(rows)))
    for row in rows:
        expected = [n % 2 for n in row.lengths for _ in range(n)]
        assert row.sources.tolist() == expected + [-1] * (10 - len(expected))
