"""The label job accounts for every row: whatever a manifest holds, the ids that go in come out, once, with the right reason."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from spire_ray import cli
from spire_ray.core import storage, tables
from spire_ray.manifest.schema import LABELLED, MANIFEST, REJECTED
from spire_ray.runtime.asides import Aside
from spire_ray.settings import LabelSettings
from spire_ray.shards import account, decoding, marks, planning
from spire_ray.stages import _label_report, label
from spire_ray.tools import audit, status
from spire_ray.tools._audit_units import audit_folder
from tests.units import tiny_encoders

DRAW = np.random.default_rng(0)


def encoded(samples, **form):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, **{"format": "WAV", **form})
    return buffer.getvalue()


GOOD = encoded(DRAW.standard_normal(8_000) / 8)
KINDS = {
    "good": (GOOD, None),
    "flac": (encoded(DRAW.standard_normal(12_000) / 8, format="FLAC"), None),
    "empty": (b"", "empty file"),
    "none": (None, "no path and no bytes"),
    "text": (b"this is not audio\n" * 10, "not readable as audio"),
    "truncated": (GOOD[:8_000], "truncated"),
    "no samples": (encoded(np.zeros(0)), "no samples"),
    "nan": (encoded(np.full(4_000, np.nan), subtype="FLOAT"), "NaN or infinite samples"),
    "short": (encoded(DRAW.standard_normal(100) / 8), "shorter than one frame"),
    "long": (encoded(DRAW.standard_normal(40_000) / 8), "longer than … s"),
    "silent": (encoded(np.zeros(8_000)), "digital silence"),
}


def manifest(folder, kinds):
    rows = [
        {"utt_id": f"u{n}", "audio": {"bytes": KINDS[kind][0], "path": None}, "duration": 0.5, "corpus": kind}
        for n, kind in enumerate(kinds)
    ]
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST), folder / "m.parquet", row_group_size=7)
    return str(folder / "m.parquet")


def as_if_by_a_job(output):
    """What the frame of a job and the driver write beside the shards."""
    storage.write_json(f"{output}/run.json", {"resolved": {"columns": {}}, "stage": "label", "status": "began"})
    storage.write_json(f"{output}/fingerprint.json", {"identity": {"clusters": 20, "frame_rate": 25.0}})


def settings_of(folder, codebook, **changes):
    where = {"manifest": f"{folder}/m.parquet", "codebook": str(codebook), "output": f"{folder}/units"}
    return LabelSettings(**{"shard_seconds": 3.0, "max_seconds": 2.0, "silence": "reject", **where, **changes})


@pytest.fixture(scope="module")
def codebook(tmp_path_factory, tiny_codebook):
    folder = tmp_path_factory.mktemp("codebook")
    tiny_codebook.save(str(folder))
    return folder


def labelled_here(settings):
    """The job without Ray: the same task and the same actor, shard by shard."""
    planned = planning.plan(settings.manifest, settings.columns, settings.output, settings.shard_seconds)
    decode = decoding.Decode(settings.columns, settings.max_seconds, settings.cut_seconds, settings.silence)
    actor = label.LabelShard(settings)
    for shard in planned:
        actor(decode(pa.Table.from_pylist([vars(shard)])))
    return planned


@settings(max_examples=25)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=30))
def test_ids_in_are_ids_out_each_once_with_its_status_and_reason(tmp_path_factory, codebook, kinds):
    folder = tmp_path_factory.mktemp("job")
    manifest(folder, kinds)
    job = settings_of(folder, codebook)
    labelled_here(job)
    rows = tables.read(job.output).to_pylist()
    assert [row["utt_id"] for row in rows] == [f"u{n}" for n in range(len(kinds))]
    for row, kind in zip(rows, kinds, strict=True):
        reason = KINDS[kind][1]
        assert row["status"] == (REJECTED if reason else LABELLED)
        assert (account.reason(row["error"]) if row["error"] else None) == reason
        assert bool(row["units"]) == (reason is None)
        assert sum(row["durations"]) >= len(row["units"]) == len(row["durations"])
    total = marks.total(marks.read(job.output))
    assert total.rows == len(kinds)
    assert sum(total.rejected.values()) == sum(KINDS[kind][1] is not None for kind in kinds)


def test_a_plan_does_not_read_audio(tmp_path, codebook, monkeypatch):
    monkeypatch.setattr(planning, "planned", lambda *_: pytest.fail("the tars were read"))
    (tmp_path / "m.tar").write_bytes(b"")
    (line,) = label.plan(settings_of(tmp_path, codebook, manifest=f"{tmp_path}/m.tar"))
    assert line.startswith("rows and hours: unknown until the tars are read")


def test_a_shard_does_not_depend_on_what_else_is_labelled(tmp_path, codebook):
    kinds = ["good", "flac", "text", "silent", "good"] * 4
    manifest(tmp_path, kinds)
    whole = settings_of(tmp_path, codebook)
    planned = labelled_here(whole)
    again = settings_of(tmp_path, codebook, output=f"{tmp_path}/again")
    decode, actor = decoding.Decode({}, 2.0, 0.0, "reject"), label.LabelShard(again)
    for shard in planned[::-1]:
        actor(decode(pa.Table.from_pylist([vars(shard)])))
        part = marks.part("", shard.shard)
        assert storage.read_bytes(f"{whole.output}{part}") == storage.read_bytes(f"{again.output}{part}")


def test_a_long_recording_becomes_pieces_that_are_joined_by_its_id(tmp_path, codebook):
    soundfile.write(tmp_path / "long.flac", DRAW.standard_normal(16_000 * 20) / 8, 16_000)
    rows = [
        {"utt_id": "a", "audio": {"bytes": GOOD}, "duration": 0.5, "text": "the dog"},
        {"utt_id": "long", "audio": {"path": "long.flac"}, "duration": 20.0, "text": "all that was said"},
        {"utt_id": "gone", "audio": {"path": "gone.flac"}, "duration": 9.0},
    ]
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST), tmp_path / "m.parquet")
    job = settings_of(tmp_path, codebook, cut_seconds=2.0, shard_seconds=6.0)
    planned = planning.plan(job.manifest, {}, job.output, job.shard_seconds, cut=True)
    decode, actor = decoding.Decode({}, 2.0, 2.0), label.LabelShard(job)
    for shard in planned:
        actor(decode(pa.Table.from_pylist([vars(shard)])))
    found = tables.read(job.output).to_pylist()
    pieces = [row for row in found if row["utt_id"].startswith("long#")]
    assert sum(row["duration"] for row in pieces) == pytest.approx(20)
    assert [row["offset"] for row in pieces[1:]] == pytest.approx([row["offset"] + row["duration"] for row in pieces[:-1]])
    assert all(row["duration"] <= 2 and row["text"] is None for row in pieces)
    assert {row["error"] for row in found if row["utt_id"].startswith("gone")} == {"no such file"}
    assert found[0]["text"] == "the dog"
    as_if_by_a_job(job.output)
    account = audit_folder(job.output)
    assert (account.planned_rows, account.faults, account.waiting) == (3, 0, 0)


def test_audit_finds_what_is_missing_doubled_and_from_nowhere(tmp_path, codebook):
    manifest(tmp_path, ["good", "text"] * 10)
    job = settings_of(tmp_path, codebook)
    labelled_here(job)
    as_if_by_a_job(job.output)
    sound = audit_folder(job.output)
    assert (sound.faults, sound.planned_rows, sound.labelled, sound.rejected) == (0, 20, 10, {"not readable as audio": 10})
    assert sum(sound.histogram) == sound.units and sound.hours == {"good": pytest.approx(sound.frames / 25 / 3600)}
    assert sound.heard_hours == pytest.approx(10 * 0.5 / 3600) and sound.frames / 25 == pytest.approx(10 * 0.5, rel=0.1)
    assert audit.main([job.output]) == 0
    part = marks.part(job.output, 1)
    table = tables.read(part)
    strange = pa.Table.from_pylist([table.to_pylist()[0] | {"utt_id": "from nowhere"}], table.schema)
    tables.write(part, pa.concat_tables([table.slice(0, 1), table.slice(0, 1), strange, table.slice(2)]))
    storage.delete(f"{job.output}/_done/000002.json")
    broken = audit_folder(job.output)
    assert (broken.missing, broken.duplicate, broken.unplanned) == (1, 1, 1)
    assert broken.waiting == 6
    assert audit.main([job.output]) == audit.FAULTS_FOUND
    assert json.loads(storage.read_bytes(f"{job.output}/audit.json"))["missing"] == 1
    assert any("stopped before its end" in line for line in status.lines(job.output, 0.0))


def test_an_audit_counts_what_was_labelled_and_not_what_the_manifest_says(tmp_path, codebook):
    manifest(tmp_path, ["good"] * 4)
    rows = pq.read_table(tmp_path / "m.parquet").to_pylist()
    stated = [{**row, "duration": seconds} for row, seconds in zip(rows, (0.9, 0.9, 0.5, None), strict=True)]
    pq.write_table(pa.Table.from_pylist(stated, MANIFEST), tmp_path / "m.parquet")
    job = settings_of(tmp_path, codebook)
    labelled_here(job)
    as_if_by_a_job(job.output)
    found = audit_folder(job.output)
    assert (found.labelled, found.heard_hours) == (4, pytest.approx(2 / 3600))
    assert found.hours == {"good": pytest.approx(2 / 3600, rel=0.1)}


def test_an_imported_codebook_is_labelled_with_in_the_dtype_that_is_asked_for(tmp_path):
    encoder = tiny_encoders.save_all(tmp_path / "encoders")["large"]
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((20, 32)).astype(np.float32))
    assert (
        cli.main(["units", "import", f"{tmp_path}/c.npy", f"{tmp_path}/codebook", "--encoder", str(encoder), "--layer", "2"]) == 0
    )
    manifest(tmp_path, ["good"] * 3)
    for dtype, made in (("", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")):
        job = settings_of(tmp_path, tmp_path / "codebook", output=f"{tmp_path}/{dtype or 'none'}", dtype=dtype)
        labelled_here(job)
        assert marks.numerics(job.output)["dtype"] == {made}
        assert marks.total(marks.read(job.output)).rejected == {}


def test_a_dtype_for_what_has_no_weights_is_refused(tmp_path, codebook):
    with pytest.raises(ValueError, match="dtype=bfloat16: mfcc has no weights"):
        label.LabelShard(settings_of(tmp_path, codebook, dtype="bfloat16"))


def test_the_job_on_ray_labels_resumes_and_grows(ray_session, tmp_path, codebook, capsys):
    kinds = ["good", "flac", "text", "short"] * 5
    manifest(tmp_path, kinds)
    config = tmp_path / "label.yaml"
    fields = {"stage": "label", "manifest": f"{tmp_path}/m.parquet", "codebook": str(codebook), "output": f"{tmp_path}/units"}
    config.write_text(json.dumps(fields | {"shard_seconds": 3.0, "tracking": {"enabled": False}}))
    assert cli.main(["label", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "rows 20, labelled 10, rejected 10" in told
    assert re.findall(r"(\d+) %  .* rejected", told)[-1] == "100"  # what is rejected is done, too
    assert audit_folder(f"{tmp_path}/units").faults == 0
    before = {name: storage.read_bytes(f"{tmp_path}/units/{name}") for name in parts(tmp_path)}
    reference = settings_of(tmp_path, codebook, output=f"{tmp_path}/here", max_seconds=120.0, silence="keep")
    labelled_here(reference)
    assert before == {name: storage.read_bytes(f"{reference.output}/{name}") for name in before}
    assert cli.main(["label", "--config", str(config)]) == 0
    assert "done already" in capsys.readouterr().out
    manifest(tmp_path, kinds + ["good"] * 3)
    assert cli.main(["label", "--config", str(config)]) == 0
    assert "rows 23, labelled 13, rejected 10" in capsys.readouterr().out
    assert before == {name: storage.read_bytes(f"{tmp_path}/units/{name}") for name in before}


def test_pieces_too_short_to_cut_are_refused_before_anything_starts(tmp_path, codebook):
    with pytest.raises(ValueError, match=r"^cut_seconds=1: must be at least 2"):
        label.plan(settings_of(tmp_path, codebook, cut_seconds=1.0))


def parts(folder):
    return [name for name in storage.listing(f"{folder}/units") if name.startswith("part-")]


@pytest.mark.parametrize("reason", ["a folder, not a file", "a device or pipe, not a file", "it's × = ? {a}", "no such key"])
def test_every_reason_makes_the_name_of_a_metric(reason):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(_label_report.metric(reason))
    assert _label_report.metric("no samples") == "label/rejected/no samples"


def test_rejected_rows_of_a_running_job_are_told_by_reason():
    logged = []
    tracker = SimpleNamespace(log_metrics=lambda figures, step: logged.append(figures))
    job = SimpleNamespace(tracker=tracker, progress=SimpleNamespace(update=lambda *_: None), settings=SimpleNamespace(workers=1))
    report = _label_report.Report(job, [{"shard": number, "rows": 10, "seconds": 1.0} for number in range(2)])
    for number, errors in enumerate([["no such file", "", "longer than 3 s"], ["no such file", "", ""]]):
        [told] = label._told(number, Aside(), 1.0, 1.0, account.by_reason(errors)).to_pylist()
        report.add(told)
    report.end()
    found = {key: value for key, value in logged[-1].items() if "rejected" in key}
    assert found == {
        "label/rejected": 3, "label/rejected_share": 0.15, "label/rejected/no such file": 2, "label/rejected/longer than N s": 1,
    }  # fmt: skip
