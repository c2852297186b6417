"""Copies of rows under noise and the like are rows of their own, the same each time, and of no other split."""

import json

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from spire_ray import cli
from spire_ray.audio.distortions import parsed
from spire_ray.audio.pcm import from_pcm, to_pcm
from spire_ray.core import config, storage, tables
from spire_ray.manifest import reader
from spire_ray.manifest.sample import chance
from spire_ray.settings import AugmentSettings
from spire_ray.shards import augmentation, talkers
from spire_ray.shards.decoding import Decode
from spire_ray.stages import label
from spire_ray.tools._audit_units import audit_folder
from spire_ray.units.labeler import Labeler

COPIES = ["babble=0..20", "babble=5", "telephone=8", "room=0.4", "speed=0.5"]
NAMES = ["babble1", "babble2", "telephone1", "room1", "speed1"]


@pytest.fixture
def job(tmp_path, tiny_codebook):
    """A function: name of the output, order and rows of the manifest → exit status of the job; `here`: without Ray.

    Ten clips of half a second, the last two of `test`, u3 no audio, u4 shorter than it says, u5 too long at half its speed.
    """
    tiny_codebook.save(str(tmp_path / "codebook"))
    draw = np.random.default_rng(0)
    rows = []
    for n in range(10):
        seconds = 1.2 if n == 5 else 0.5
        soundfile.write(tmp_path / f"{n}.wav", draw.standard_normal(round(16_000 * seconds)) / 8, 16_000)
        split = "train" if n < 8 else "test"
        rows.append({"utt_id": f"u{n}", "audio_filepath": f"{n}.wav", "duration": seconds, "text": f"t{n}", "split": split})
    (tmp_path / "3.wav").write_text("no audio")
    rows[4]["duration"] = 3.0

    def run(output="units", order=1, rows=rows, here=True, **fields):
        lines = [json.dumps(row) for row in rows[::order]]
        (tmp_path / f"{output}.jsonl").write_text("\n".join(lines))
        made = {"stage": "label", "manifest": f"{tmp_path}/{output}.jsonl", "output": f"{tmp_path}/{output}", **fields}
        made = {"codebook": f"{tmp_path}/codebook", "max_seconds": 2.0, "tracking": {"enabled": False}} | made
        made.setdefault("augment", {"copies": COPIES, "seed": 3})
        if not here:
            return cli.main(["label", "--config", json.dumps(made)])
        settings = config.load(json.dumps(made))
        decode, actor = Decode.of(settings), label.LabelShard(settings)
        for row in label._todo(settings, label._planned(settings))[0]:
            actor(decode(pa.Table.from_pylist([row])))
        return 0

    run.rows = rows
    return run


def units(folder, name="units"):
    return {row["utt_id"]: row for row in tables.read(f"{folder}/{name}").to_pylist()}


def test_copies_are_the_distorted_row_under_its_own_text_and_of_train_alone(job, tmp_path, tiny_codebook):
    assert job() == 0 and job("plain", augment={}) == 0
    storage.write_json(f"{tmp_path}/units/run.json", {"resolved": {"columns": {}}})
    storage.write_json(f"{tmp_path}/units/fingerprint.json", tiny_codebook.fingerprint.to_dict())
    made, plain = units(tmp_path), units(tmp_path, "plain")
    good = [f"u{n}" for n in (0, 1, 2, 5, 6, 7)]
    assert made.keys() == plain.keys() | {f"{utt_id}~{name}" for utt_id in good for name in NAMES}
    assert all(made[utt_id] == row for utt_id, row in plain.items())  # the rows themselves are what they are without copies
    too_long = made["u5~speed1"]
    assert (too_long["status"], too_long["error"], made["u5"]["status"]) == ("rejected", "longer than 2 s", "labelled")
    assert made["u1~telephone1"]["text"] == "t1" and made["u1~speed1"]["duration"] == pytest.approx(1.0, abs=1e-3)
    heard = tables.read(f"{tmp_path}/units/{augmentation.TALKERS_FILE}")
    assert sorted(heard["utt_id"].to_pylist()) == [f"u{n}" for n in (0, 1, 2, 4, 5, 6, 7)]
    speech, _ = soundfile.read(tmp_path / "1.wav", dtype="int16")
    others = [from_pcm(np.array(row["pcm"], np.int16)) for row in heard.sort_by("utt_id").to_pylist() if row["utt_id"] != "u1"]
    strength = 20 * chance("u1~babble1", 3, "strength")
    noisy = to_pcm(parsed(f"babble={strength!r}").apply(from_pcm(speech), "u1~babble1", 3, others))
    (expected, _), *_ = Labeler(tiny_codebook)([noisy], deduplicate=True)
    assert made["u1~babble1"]["units"] == expected.tolist() != made["u1"]["units"]
    found = audit_folder(f"{tmp_path}/units")
    assert (found.faults, found.planned_rows, found.rows) == (0, 10, 10 + 6 * 5)


def test_copies_are_the_same_in_other_shards_another_order_and_a_manifest_that_has_grown(job, tmp_path):
    assert job() == 0
    assert job("other", order=-1, shard_seconds=1.0, workers=1) == 0
    assert units(tmp_path, "other") == units(tmp_path)
    assert job("grown", rows=job.rows[:6]) == 0 and job("grown") == 0
    early = [f"u{n}~{name}" for n in (6, 7) for name in ("telephone1", "room1", "speed1")]
    assert all(units(tmp_path, "grown")[utt_id] == units(tmp_path)[utt_id] for utt_id in early)


def test_what_changes_beside_the_audio_reaches_the_copies_and_a_row_that_leaves_the_split_loses_them(
    ray_session, job, tmp_path, capsys
):
    assert job(shard_seconds=1.0, here=False) == 0
    job.rows[1]["text"], job.rows[7]["split"] = "mended", "test"
    assert job(shard_seconds=1.0, here=False) == 0
    made = units(tmp_path)
    assert {made[f"u1~{name}"]["text"] for name in NAMES} == {"mended"} == {made["u1"]["text"]}
    assert "u7" in made and not [utt_id for utt_id in made if utt_id.startswith("u7~")]
    capsys.readouterr()
    assert cli.main(["rejected", f"{tmp_path}/units"]) == 0
    assert [json.loads(line)["utt_id"] for line in capsys.readouterr().out.splitlines()] == ["u3", "u4", "u5"]


def test_half_of_the_rows_get_a_copy(job, tmp_path):
    rows = [row | {"utt_id": f"v{n}"} for n, row in enumerate([job.rows[0]] * 40)]
    assert job(rows=rows, augment={"copies": ["noise=10", "noise=0"], "share": 0.5}) == 0
    made = units(tmp_path)
    with_copies = [{n for n in range(40) if f"v{n}~noise{copy}" in made} for copy in (1, 2)]
    assert all(10 < len(found) < 30 for found in with_copies) and with_copies[0] != with_copies[1]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"copies": ["bable=10"]}, "augment.copies: bable=10: did you mean babble"),
        ({"copies": ["noise=20..0"]}, "augment.copies: noise=20..0: a range is noise=LEAST..MOST"),
        (
            {"copies": ["noise=0..99"]},
            "augment.copies: noise=99: noise=NUMBER, white noise, dB of signal",
        ),
        ({"copies": ["noise=0"], "split": "dev"}, "split=dev: no row of"),
    ],
)
def test_what_cannot_be_copied_is_refused_before_work_begins(job, tmp_path, capsys, augment, message):
    assert job(augment=augment, here=False) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "units").exists()


def test_a_manifest_that_names_a_row_as_copies_are_named_is_refused(job):
    with pytest.raises(ValueError, match="u0~babble1 is called as copies are"):
        job(rows=[*job.rows, job.rows[0] | {"utt_id": "u0~babble1"}])
    assert job("plain", rows=[job.rows[0], job.rows[0] | {"utt_id": "u0~babble1"}], augment={}) == 0


def test_a_corpus_of_one_recording_has_nobody_to_babble(job, tmp_path):
    assert job(rows=job.rows[:1]) == 0
    made = units(tmp_path)
    assert made["u0"]["status"] == "labelled" and made["u0~babble1"]["error"] == "no other recording to babble"
    assert made["u0~room1"]["status"] == "labelled"


def test_talkers_are_read_from_a_parquet_file_by_themselves(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(16_000 * 20) / 8, 16_000)
    (tmp_path / "m.jsonl").write_text('{"utt_id": "a", "audio_filepath": "a.wav"}')
    assert cli.main(["manifest", f"{tmp_path}/m.jsonl", f"{tmp_path}/m.parquet"]) == 0
    asked = []
    original = reader.rows
    monkeypatch.setattr(reader, "rows", lambda *given, **more: asked.append(given[2:]) or original(*given, **more))
    talkers.prepare(AugmentSettings(copies=("babble=5",)), f"{tmp_path}/m.parquet", {}, "all", str(tmp_path))
    (row,) = tables.read(f"{tmp_path}/{augmentation.TALKERS_FILE}").to_pylist()
    assert (row["utt_id"], len(row["pcm"]), asked) == ("a", 16_000 * 15, [(0, 1)])
