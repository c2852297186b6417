"""The audio of a label job lies on an S3 that is slow, busy, skewed or gone: no row is lost or rejected for it."""

import io
import json
import time

import numpy as np
import pytest
import soundfile

from spire_ray.core import storage
from spire_ray.shards import marks
from spire_ray.tools._audit_units import audit_folder
from tests.faults.short_job import ROWS, SHARDS, label, start

pytestmark = pytest.mark.long
AUDIO = "s3://spire/wav"


@pytest.fixture
def job(s3, short_corpus):
    """(server, folder) of a corpus whose audio lies on S3, each shard's in a file of its own; what fails is its audio alone."""
    server, _ = s3
    noise = np.random.default_rng(0)
    for number in range(SHARDS):
        clip = io.BytesIO()
        soundfile.write(clip, noise.standard_normal(8_000) / 8, 16_000, format="FLAC")
        storage.write_bytes(f"{AUDIO}/{number}.flac", clip.getvalue())
    rows = [{"utt_id": f"u{n}", "audio_filepath": f"{AUDIO}/{n * SHARDS // ROWS}.flac", "duration": 0.5} for n in range(ROWS)]
    (short_corpus / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    server.within = AUDIO.removeprefix("s3:/")
    return server, short_corpus


def all_labelled(folder):
    found = audit_folder(f"{folder}/units")
    assert (found.labelled, found.faults, found.rejected) == (ROWS, 0, {})


@pytest.mark.parametrize("fault", [{}, {"slow": 0.3}, {"every": 3}], ids=["well", "slow", "503 to every third request"])
def test_a_bucket_that_is_slow_or_busy_costs_time_and_no_row(job, fault):
    server, folder = job
    vars(server).update(fault)
    began = time.monotonic()
    status, _, errors = label(folder, "workers=2")
    print(f"{time.monotonic() - began:.0f} s, {server.refused} requests refused")
    assert status == 0, errors
    all_labelled(folder)


FAULTS = {
    "Service Unavailable": {"every": 1},
    "RequestTimeTooSkewed": {"refusal": "RequestTimeTooSkewed"},
    "NoSuchBucket": {"gone": True},
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_bucket_that_goes_amid_the_job_leaves_the_rest_to_the_same_command(job, reason):
    server, folder = job
    process = start(folder, "workers=2")
    while len(marks.done(f"{folder}/units")) < SHARDS // 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    vars(server).update(FAULTS[reason])
    began = time.monotonic()
    _, errors = process.communicate(timeout=500)
    print(f"{time.monotonic() - began:.0f} s to the end")
    done = len(marks.done(f"{folder}/units"))
    assert process.returncode == 2 and f"{SHARDS - done} of {SHARDS} shards are set aside: shard " in errors, errors
    assert f"unreachable: {reason}" in errors and "rejected" not in errors
    assert set(audit_folder(f"{folder}/units").rejected) <= {"unreachable"}  # one row of a shard, which is tried again
    server.mend()
    assert label(folder, "workers=2")[0] == 0
    all_labelled(folder)
