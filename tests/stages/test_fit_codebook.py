"""The centroids have the same bits for any number of workers."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from spire_ray import cli
from spire_ray.core import command
from spire_ray.manifest.schema import MANIFEST
from spire_ray.runtime import frames
from spire_ray.settings import AugmentSettings, EncoderSettings, FitCodebookSettings, TrackingSettings
from spire_ray.shards import planning, talkers
from spire_ray.stages import fit_codebook
from spire_ray.units.codebook import Codebook
from spire_ray.units.kmeans import lloyd

pytestmark = pytest.mark.usefixtures("ray_session")  # shards are decoded by its tasks


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """40 clips of 100 s of noise in all, and one that is no audio."""
    folder = tmp_path_factory.mktemp("manifest")
    draw = np.random.default_rng(0)
    rows = []
    for number in range(40):
        samples = draw.standard_normal(16_000 + 3_000 * (number % 20)) * draw.uniform(0.02, 0.2)
        buffer = io.BytesIO()
        soundfile.write(buffer, np.cumsum(samples) / 20 if number % 2 else samples, 16_000, format="WAV")
        rows.append({"utt_id": f"u{number}", "audio": {"bytes": buffer.getvalue()}, "duration": len(samples) / 16_000})
    rows.append({"utt_id": "bad", "audio": {"bytes": b"no audio"}, "duration": 1.0})
    for row in rows:
        row["split"] = "train"
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST), folder / "m.parquet")
    return str(folder / "m.parquet")


def settings_of(manifest, output, **changes):
    encoder = EncoderSettings(name="mfcc", options={"hop_ms": 20, "context": 3})
    base = {"manifest": manifest, "output": str(output), "encoder": encoder, "clusters": 30, "hours": 1.0, "iterations": 5}
    return FitCodebookSettings(**{**base, "tracking": TrackingSettings(enabled=False), **changes})


def fitted_here(settings, workers):
    """What the group does, without Ray Train: shards dealt to the workers, statistics added as they come."""
    planned = list(planning.planned(settings.manifest, {}, 15.0))
    crew = [frames.FrameStore(settings, planned[n::workers]) for n in range(workers)]
    made = sorted((one for share in crew for one in share.encode()), key=lambda one: one.shard)
    drawn = [share.draw(frames.quota(made, 10**6), (0,)) for share in crew]
    state = lloyd.State.begin(crew[0].first_centroids(drawn))
    grid = lloyd.exponent(max(one.largest for one in made), sum(one.frames for one in made))
    for _ in range(settings.iterations):
        total = lloyd.Statistics.empty(state.centroids)
        for share in reversed(crew):
            total += share.statistics(state.centroids, grid)
        state = state.step(total, grid, settings.seed)
    return made, state


def test_one_two_and_four_workers_make_the_same_bits(manifest, tmp_path):
    results = [fitted_here(settings_of(manifest, tmp_path / str(n)), n) for n in (1, 2, 4)]
    (made, one), *others = results
    assert len(made) > 4
    for again, state in others:
        assert again == made
        assert state.centroids.tobytes() == one.centroids.tobytes()
        assert state.inertia == pytest.approx(one.inertia, rel=1e-12)
    assert one.inertia[-1] < one.inertia[0]


def test_held_out_frames_and_rejected_rows_are_counted_and_not_fitted(manifest, tmp_path):
    made, state = fitted_here(settings_of(manifest, tmp_path), 2)
    assert sum(one.rows for one in made) == 41
    assert sum(sum(one.rejected.values()) for one in made) == 1
    assert sum(one.held_out for one in made) > 0
    assert state.seen.sum() == sum(one.frames for one in made)


def test_frames_that_are_not_finite_are_refused(manifest, tmp_path, monkeypatch):
    share = frames.FrameStore(settings_of(manifest, tmp_path), list(planning.planned(manifest, {}, 15.0)))
    monkeypatch.setattr(share._loaded(), "encode", lambda waveforms: [torch.full((5, 65), torch.nan)])
    with pytest.raises(ValueError, match="frames: some of shard 0 are not finite"):
        list(share.encode())


def test_a_state_that_was_written_goes_on_with_the_same_bits(manifest, tmp_path):
    _, state = fitted_here(settings_of(manifest, tmp_path / "a", iterations=3), 1)
    fit_codebook._write(str(tmp_path / "b"), state)
    read = fit_codebook._read(str(tmp_path / "b"))
    assert read.centroids.tobytes() == state.centroids.tobytes()
    assert np.array_equal(read.seen, state.seen)
    assert read.inertia == state.inertia


def job_of(settings):
    from spire_ray.core.progress import Progress
    from spire_ray.core.provenance import Output
    from spire_ray.runtime.job import Job
    from spire_ray.runtime.tracker import NoTracker

    return Job(settings, Output(settings.output), NoTracker(), Progress("codebook"))


@pytest.mark.long
@pytest.mark.parametrize("batch_frames", [0, 1_500])
def test_one_two_and_four_workers_of_ray_train_make_the_same_codebook(manifest, tmp_path, monkeypatch, batch_frames):
    monkeypatch.setattr(fit_codebook, "_SHARD_SECONDS", 15.0)
    codebooks = []
    for workers in (1, 2, 4):
        settings = settings_of(manifest, tmp_path / str(workers), workers=workers, batch_frames=batch_frames)
        job = job_of(settings)
        fit_codebook.run(job)
        codebooks.append((tmp_path / str(workers) / "codebook.safetensors").read_bytes())
    assert codebooks[0] == codebooks[1] == codebooks[2]
    assert (job.facts["rows"], job.facts["rejected_by_reason"]) == (41, {"not readable as audio": 1})
    assert len(Codebook.load(settings.output).fit["inertia"]) == 6  # five iterations, and the last centroids
    assert sorted(path.name for path in (tmp_path / "4").iterdir()) == [
        "codebook.json",
        "codebook.png",
        "codebook.safetensors",
        "sample.parquet",
    ]


def test_more_clusters_than_frames_are_refused_with_both_numbers(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_codebook, "_SHARD_SECONDS", 15.0)
    with pytest.raises(ValueError, match=r"clusters=9000: only \d+ frames were sampled; raise hours or lower clusters"):
        fit_codebook.run(job_of(settings_of(manifest, tmp_path, workers=2, clusters=9000)))
    assert not list(tmp_path.iterdir())  # fewer of them may be tried there


def test_columns_of_other_names_and_recordings_that_are_cut(manifest, tmp_path):
    table = pq.read_table(manifest).rename_columns({"audio": "sound", "split": "part"})
    pq.write_table(table, tmp_path / "other.parquet")
    columns = {"audio": "sound", "split": "part"}
    settings = settings_of(f"{tmp_path}/other.parquet", tmp_path / "out", columns=columns, cut_seconds=2.0)
    place = f"{tmp_path}/sample.parquet"
    assert fit_codebook._sample(settings, place) == 41
    planned = list(planning.planned(place, {}, 15.0))
    whole = {one.shard: one.frames for one in frames.FrameStore(settings_of(place, tmp_path / "whole"), planned).encode()}
    pieces = {one.shard: one for one in frames.FrameStore(settings, planned).encode()}
    assert sum(one.rows for one in pieces.values()) > 41
    assert sum(one.rejected.get("longer than … s", 0) for one in pieces.values()) == 0
    assert 0.8 < sum(one.frames for one in pieces.values()) / sum(whole.values()) < 1.2


def test_an_encoder_that_is_not_there_is_refused_before_anything_is_sampled(manifest, tmp_path, capsys):
    given = {
        "stage": "fit_codebook",
        "manifest": manifest,
        "output": f"{tmp_path}/codebook",
        "encoder": {"name": "my/models/hubert"},
    }
    (tmp_path / "fit.json").write_text(json.dumps(given))
    assert cli.main(["fit_codebook", "--config", f"{tmp_path}/fit.json"]) == command.USER_ERROR
    assert "encoder.name=my/models/hubert: not found" in capsys.readouterr().err
    assert not (tmp_path / "codebook").exists()


def test_faiss_with_gpus_is_refused_before_work_begins():
    settings = FitCodebookSettings(manifest="m.parquet", output="out", engine="faiss", gpus_per_worker=0.5)
    with pytest.raises(ValueError, match=r"engine=faiss: works on CPUs; with gpus_per_worker=0\.5 use engine=torch"):
        fit_codebook.plan(settings)


def test_copies_are_fitted_on_beyond_the_sample_and_measure_nothing(manifest, tmp_path):
    copies = AugmentSettings(copies=("babble=5", "telephone=8"))
    plain, noisy = (settings_of(manifest, tmp_path / name, **more) for name, more in (("a", {}), ("b", {"augment": copies})))
    talkers.prepare(copies, manifest, {}, "train", str(tmp_path / "b"))
    (without, _), (with_copies, state) = fitted_here(plain, 2), fitted_here(noisy, 2)
    assert [one.rows for one in with_copies] == [one.rows for one in without]
    assert [one.held_out for one in with_copies] == [one.held_out for one in without]
    assert [one.frames for one in with_copies] == [3 * one.frames for one in without]
    assert (
        fitted_here(settings_of(manifest, tmp_path / "b", augment=copies), 1)[1].centroids.tobytes() == state.centroids.tobytes()
    )
