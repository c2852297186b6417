"""A row is as much of its recording as it says, whole clips are written as such, and a path that cannot be ends no job."""

import io

import numpy as np
import pytest
import soundfile

from spire_ray.audio import decode
from spire_ray.manifest import recording
from spire_ray.manifest.formats import audiofolder, webdataset
from spire_ray.shards.decoding import Decode
from spire_ray.shards.shard import Shard

SAMPLES = np.random.default_rng(0).integers(-9_000, 9_000, 160_000, np.int16)  # ten seconds


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, SAMPLES, 16_000)
    return str(path)


def row(path, offset=None, duration=None):
    return {"utt_id": "a", "audio": {"path": path, "bytes": None}, "offset": offset, "duration": duration, "text": "x"}


def decoded(given, **settings):
    shard = Shard(0, "m", 0, 1, 10.0)
    return list(Decode({}, 60.0, **settings)._decoded(given, shard))


@pytest.mark.parametrize(
    ("offset", "duration", "expected"),
    [
        (None, None, SAMPLES),
        (None, 2.0, SAMPLES),  # without an offset a duration is a note
        (0.0, 2.0, SAMPLES[:32_000]),
        (0.0, None, SAMPLES),
        (4.0, 2.0, SAMPLES[64_000:96_000]),
        (4.0, None, SAMPLES[64_000:]),
        (0.0, 10.004, SAMPLES),  # durations are rounded
        (4.0, 6.004, SAMPLES[64_000:]),
    ],
)
def test_a_row_is_the_part_that_it_says(wav, offset, duration, expected):
    [(_, samples, error)] = decoded(row(wav, offset, duration))
    assert error == ""
    assert np.array_equal(samples, expected)


def test_a_part_that_ends_behind_its_recording_is_truncated(wav):
    [(_, _, error)] = decoded(row(wav, 0.0, 10.5))
    assert error == "truncated: 160000 of 168000 samples"


@pytest.mark.parametrize("writer", [audiofolder, webdataset])
def test_where_whole_clips_are_written_a_part_is_refused(wav, writer, tmp_path):
    with pytest.raises(ValueError, match="a: begins at 0 s of a recording and is a part of it"):
        writer.write(f"{tmp_path}/x.tar", [row(wav, 0.0, 2.0) | {"translations": None}])
    recording.check_whole(row(wav, 0.0, 9.997), "")


@pytest.mark.parametrize(
    "path",
    [
        "foo://x.wav",
        "a\0b.wav",
        "s3://",
        "s3://bucket",
        "file:///tmp",
        "/tmp",
        "/dev/null",
        "https//x.wav:0:99999999999999999999",
    ],
)
def test_a_path_that_cannot_be_is_a_reason_to_reject_its_row(path):
    [(_, _, error)] = decoded(row(path))
    assert error


def test_a_part_larger_than_its_file_is_not_read(wav):
    [(_, _, error)] = decoded(row(f"{wav}:44:{10**15}"))
    assert error == f"truncated: 320000 of {10**15} bytes of a part"


def test_a_long_recording_is_cut_also_where_the_manifest_says_no_duration(wav):
    made = decoded(row(wav), cut_seconds=3.0)
    assert len(made) > 3
    assert np.array_equal(np.concatenate([samples for _, samples, _ in made]), SAMPLES)
    [(short, _, _)] = decoded(row(wav), cut_seconds=30.0)
    assert short["utt_id"] == "a"


@pytest.mark.parametrize(
    "form", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3"}]
)
def test_half_a_long_recording_is_rejected_with_or_without_cuts(form, tmp_path):
    whole = io.BytesIO()
    soundfile.write(whole, SAMPLES, 16_000, **form)
    content = whole.getvalue()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    for given in (row(f"{tmp_path}/half"), row(f"{tmp_path}/half", duration=10.0)):
        for settings in ({}, {"cut_seconds": 3.0}):
            assert [error[:9] for _, _, error in decoded(given, **settings)] == ["truncated"]


def test_what_is_known_of_the_length_of_a_row(wav):
    assert recording.seconds(row(wav)) == 10.0
    assert recording.seconds(row(wav, 4.0)) == 6.0
    assert recording.seconds(row(wav, 4.0, 1.0)) == 1.0
    with pytest.raises(decode.AudioError, match="no such file"):
        recording.seconds(row("/none.wav"))
