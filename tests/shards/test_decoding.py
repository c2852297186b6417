"""A decoded shard travels as one row, and nothing of it is lost or copied."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.manifest.schema import MANIFEST
from spire_ray.shards.decoding import Decoded

ROWS = pa.schema([field for field in MANIFEST if field.name != "audio"])
PCM = st.lists(st.integers(-32_768, 32_767), max_size=20).map(lambda samples: np.array(samples, np.int16))


@given(samples=st.lists(PCM, min_size=1, max_size=8), number=st.integers(0, 10**6))
def test_a_shard_comes_out_as_it_went_in(samples, number):
    rows = pa.Table.from_pylist([{"utt_id": f"u{n}", "text": "tea — thé"} for n in range(len(samples))], ROWS)
    errors = ["" if len(clip) else "no samples" for clip in samples]
    there = Decoded(number, rows, samples, errors).to_table()
    back = Decoded.from_table(there)
    assert (back.shard, back.rows, back.errors) == (number, rows, errors)
    assert all(np.array_equal(clip, twin) for clip, twin in zip(samples, back.samples, strict=True))
    buffers = [buffer for buffer in there["pcm"].chunk(0).buffers() if buffer]
    places = [range(buffer.address, buffer.address + buffer.size) for buffer in buffers]
    assert all(any(clip.ctypes.data in place for place in places) for clip in back.samples if len(clip))


def test_rows_too_short_for_a_frame_are_rejected_with_both_numbers():
    shard = Decoded(0, ROWS.empty_table(), [np.zeros(n, np.int16) for n in (399, 400, 0)], ["", "", "empty file"])
    shard.refuse_shorter(400)
    assert shard.errors == ["shorter than one frame: 399 of 400 samples", "", "empty file"]
