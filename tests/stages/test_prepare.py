"""A manifest is prepared before it is labelled: cut, put into one form, measured; and what is left out has its reason."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray import cli
from spire_ray.audio.decode import load
from spire_ray.core import config, tables
from spire_ray.manifest import reader
from spire_ray.manifest.schema import MANIFEST
from spire_ray.preparation import activity, texts
from spire_ray.shards import marks, planning
from spire_ray.stages import label, prepare

RATE = 16_000
WORDS = [("one", 0.2, 0.6), ("two", 0.7, 0.95), ("three", 3.2, 3.5), ("four", 3.6, 3.9), ("lost", 2.0, 2.2)]


class Loud:
    """Stretches that are loud, in steps of 0.1 s."""

    name = "loud 1"

    def __call__(self, waveform, threshold):
        steps = np.abs(waveform[: len(waveform) // 1600 * 1600].reshape(-1, 1600)).max(1) > 0.1
        edges = np.flatnonzero(np.diff(np.concatenate([[0], steps, [0]])))
        return [(start / 10, end / 10) for start, end in zip(edges[::2], edges[1::2], strict=True)]


@pytest.fixture(autouse=True)
def detector(monkeypatch):
    monkeypatch.setitem(activity.DETECTORS._things, "loud", Loud)


def sound(seconds, loud):
    """Noise at -60 dB with loud stretches."""
    draw = np.random.default_rng(0)
    samples = draw.standard_normal(round(seconds * RATE)) / 1000
    for begin, end in loud:
        samples[round(begin * RATE) : round(end * RATE)] += np.sin(np.arange(round(end * RATE) - round(begin * RATE)) * 0.1) / 2
    return samples


@pytest.fixture
def job(tmp_path):
    """A recording of five seconds with two stretches of speech, one of noise alone, a clipped one, and one in German."""
    soundfile.write(tmp_path / "long.wav", sound(5, [(0.2, 1.0), (3.2, 4.0)]), RATE)
    soundfile.write(tmp_path / "noise.wav", sound(1, []), RATE)
    soundfile.write(tmp_path / "clipped.wav", np.clip(sound(1, [(0.2, 1.0)]), -0.2, 0.2), RATE)
    soundfile.write(tmp_path / "short.wav", sound(1, [(0.1, 0.9)]), RATE)
    rows = [
        {"utt_id": "long", "audio_filepath": "long.wav", "duration": 5.0, "text": "ONE TWO THREE FOUR", "language": "en"},
        {"utt_id": "noise", "audio_filepath": "noise.wav", "duration": 1.0, "text": "x", "language": "en"},
        {"utt_id": "clipped", "audio_filepath": "clipped.wav", "duration": 1.0, "text": "x", "language": "en"},
        {"utt_id": "short", "audio_filepath": "short.wav", "offset": 0.05, "duration": 0.9, "text": "THE <noise> DOG"},
        {"utt_id": "gone", "audio_filepath": "gone.wav", "duration": 1.0, "text": "x"},
    ]
    aligned = [{"utt_id": "long", "words": [dict(zip(("symbol", "start", "end"), word, strict=True)) for word in WORDS]}]
    pq.write_table(pa.Table.from_pylist(aligned), tmp_path / "words.parquet")
    (tmp_path / "rules.yaml").write_text("- {delete: '<[^>]*>'}\n- {casing: lower}\n")

    def run(rows=rows, here=True, **changes):
        (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
        made = {"stage": "prepare", "manifest": f"{tmp_path}/m.jsonl", "output": f"{tmp_path}/out", "max_rejected_share": 0.7}
        made |= {"speech": {"detector": "loud", "cut_seconds": 2.0, "longest_pause": 1.0}, "tracking": {"enabled": False}}
        made |= {"limits": {"most_clipping": 0.1}} | changes
        if not here:
            return cli.main(["prepare", "--config", json.dumps(made)])
        settings = config.load(json.dumps(made))
        list(prepare.plan(settings))
        planned = prepare.planning.plan(
            settings.manifest, {}, settings.output, settings.shard_seconds, depends_on=prepare._EVERYTHING
        )
        for shard in planned:
            prepare.PrepareShard(settings)(pa.Table.from_pylist([vars(shard) | {"last": True}]))
        return {row["utt_id"]: row for row in tables.read(settings.output).to_pylist()}

    run.rows = rows
    return run


def test_long_recordings_are_cut_at_pauses_and_every_row_has_its_figures(job, tmp_path):
    made = job()
    assert list(made) == ["long#000000200", "long#000003200", "short"]
    first, second, short = made.values()
    assert (first["offset"], first["duration"]) == (pytest.approx(0.2), pytest.approx(0.8))
    assert (second["offset"], second["duration"]) == (pytest.approx(3.2), pytest.approx(0.8))
    assert first["text"] is None and first["note"] == "cut at pauses; transcript dropped: no alignment"
    assert short["offset"] == 0.05 and short["snr"] > 40 and short["clipping"] == 0
    assert short["speech_seconds"] == pytest.approx(0.8, abs=0.11)
    left = tables.read(f"{tmp_path}/out/rejected").to_pylist()
    assert {row["utt_id"]: row["error"].partition(":")[0] for row in left} == {
        "noise": "no speech", "clipped": "clipped", "gone": "no such file",
    }  # fmt: skip


def test_a_piece_keeps_its_words_where_they_are_aligned(job, tmp_path):
    speech = {"detector": "loud", "cut_seconds": 2.0, "longest_pause": 1.0, "alignments": f"{tmp_path}/words.parquet"}
    made = job(speech=speech)
    assert [made[name]["text"] for name in list(made)[:2]] == ["one two", "three four"]
    assert made["long#000000200"]["note"] == "cut at pauses; transcript kept by alignment, words outside of speech lost"


def test_a_bad_piece_is_left_out_alone_and_the_rest_of_the_recording_stays(job, tmp_path):
    recording = sound(5, [(0.2, 1.0), (3.2, 4.0)])
    recording[round(3.2 * RATE) :] = np.clip(recording[round(3.2 * RATE) :], -0.2, 0.2)
    soundfile.write(tmp_path / "long.wav", recording, RATE)
    made = job()
    assert list(made) == ["long#000000200", "short"]
    left = {row["utt_id"]: row for row in tables.read(f"{tmp_path}/out/rejected").to_pylist()}
    bad = left["long#000003200"]
    assert bad["error"].startswith("clipped: ") and "long" not in left
    assert (bad["offset"], bad["duration"]) == (pytest.approx(3.2), pytest.approx(0.8))
    (mark,) = marks.by_shard(f"{tmp_path}/out", marks.Mark).values()
    assert mark.rows == 6 and mark.rejected == {"clipped": 2, "no speech": 1, "no such file": 1}


@pytest.mark.parametrize("here", ["two", "nowhere", "all of three"])
def test_each_piece_passes_the_rules_by_itself(job, tmp_path, here):
    rules = {"two": "- {reject: two}\n", "nowhere": "- {reject: lost|FOUR}\n", "all of three": "- {delete: three|four}\n"}
    (tmp_path / "rules.yaml").write_text(rules[here] + "- {casing: sentence}\n")
    speech = {"detector": "loud", "cut_seconds": 2.0, "longest_pause": 1.0, "alignments": f"{tmp_path}/words.parquet"}
    made = job(speech=speech, transcripts={"rules": f"{tmp_path}/rules.yaml"})
    pieces = {name: (row["text"], row["text_raw"]) for name, row in made.items() if name.startswith("long")}
    left = {row["utt_id"]: row for row in tables.read(f"{tmp_path}/out/rejected").to_pylist()}
    first, second = {"long#000000200": ("One two", "one two")}, {"long#000003200": ("Three four", "three four")}
    # what a rule rejects elsewhere in the hour, as no piece says it, rejects nothing
    assert pieces == {"two": second, "nowhere": first | second, "all of three": first}[here]
    reasons = {name: (row["text"], row["error"]) for name, row in left.items() if name.startswith("long")}
    assert (
        reasons
        == {
            "two": {"long#000000200": ("one two", "transcript has two")},
            "nowhere": {},
            "all of three": {"long#000003200": ("three four", "no text")},
        }[here]
    )


def test_a_recording_without_any_speech_is_rejected_and_not_lost(job, tmp_path):
    soundfile.write(tmp_path / "long.wav", sound(5, []), RATE)
    made = job(speech={"detector": "loud", "cut_seconds": 2.0, "least_seconds": 0.0})
    left = {row["utt_id"]: row["error"] for row in tables.read(f"{tmp_path}/out/rejected").to_pylist()}
    assert left["long"] == "no speech: 0.00 s of 5.00 s" and "long" not in made


def test_pieces_of_audio_inside_a_parquet_file_carry_their_own(job, tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(5, [(0.2, 1.0), (3.2, 4.0)]), RATE, format="WAV")
    row = {"utt_id": "long", "audio": {"bytes": buffer.getvalue(), "path": None}, "duration": 5.0}
    pq.write_table(pa.Table.from_pylist([row], MANIFEST), tmp_path / "m.parquet")
    made = job(manifest=f"{tmp_path}/m.parquet")
    heard = load(made["long#000003200"]["audio"]["bytes"])
    whole = load(buffer.getvalue())
    assert np.abs(heard - whole[round(3.2 * RATE) : round(4.0 * RATE)]).max() < 1e-4


def test_transcripts_by_rules_and_languages_that_are_found(job, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "identifier", lambda: "made up")
    monkeypatch.setattr(texts, "identified", lambda text: ("de" if "DOG" in text else "fr", 0.95))
    made = job(transcripts={"rules": f"{tmp_path}/rules.yaml", "identify": True})
    assert made.keys() == {"short"}
    assert (made["short"]["text"], made["short"]["text_raw"], made["short"]["language"]) == ("the dog", "THE <noise> DOG", "de")
    assert made["short"]["note"] == "language identified"
    left = {row["utt_id"]: row["error"] for row in tables.read(f"{tmp_path}/out/rejected").to_pylist()}
    assert left["long"] == "transcript in another language: fr (0.95), the manifest says en"


def test_a_row_that_is_mended_comes_behind_the_others_so_that_label_goes_on(job, tmp_path):
    more = {"speech": {}, "limits": {}}
    (tmp_path / "noise.wav").rename(tmp_path / "away.wav")
    assert list(job(**more)) == ["long", "clipped", "short"]
    planned = planning.plan(f"{tmp_path}/out", {}, f"{tmp_path}/units", 3600.0)  # as label does
    (tmp_path / "away.wav").rename(tmp_path / "noise.wav")
    assert list(job(**more)) == ["long", "clipped", "short", "noise"]
    grown = planning.plan(f"{tmp_path}/out", {}, f"{tmp_path}/units", 3600.0)
    assert [shard.rows for shard in grown] == [3, 1] and grown[0].digest == planned[0].digest


def test_what_was_left_out_is_counted_listed_and_shown_with_its_reasons(job, tmp_path, capsys):
    job()
    out = tmp_path / "out"
    (out / "run.json").write_text(json.dumps({"stage": "prepare", "status": "complete", "resolved": {"columns": {}}}))
    assert cli.main(["audit", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["planned 5 rows, waiting 0: rows and pieces kept 3, left out 3", "missing 0, duplicate 0, not planned 0"]
    assert told[2:5] == ["left out 1: clipped", "left out 1: no speech", "left out 1: no such file"]
    assert cli.main(["rejected", str(out), "--reason", "clipped"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["utt_id"], listed["audio_filepath"]) == ("clipped", f"{tmp_path}/clipped.wav")
    assert listed["error"].startswith("clipped: ")
    for place, only in ((out / "rejected", []), (out, ["--only", "rejected"])):
        assert cli.main(["inspect", str(place), "--page", f"{tmp_path}/p.html", *only]) == 0
        page = (tmp_path / "p.html").read_text()
        assert page.count('class="why"') == 3 and page.count("<audio") == 2
        assert 'class="why">no speech: 0.00 s of 1.00 s<' in page and 'class="why">no such file<' in page
    kept = tables.read(str(out))
    tables.write(f"{out}/part-000000.parquet", kept.filter([row["utt_id"] != "short" for row in kept.to_pylist()]))
    assert cli.main(["audit", str(out)]) == 1
    assert "missing 1, duplicate 0, not planned 0: short" in capsys.readouterr().out


def test_rows_that_do_not_say_how_long_they_are_get_what_is_heard(job):
    rows = [{key: value for key, value in row.items() if key != "duration"} for row in job.rows if row["utt_id"] != "short"]
    made = job(rows=rows, speech={}, limits={})
    assert {name: row["duration"] for name, row in made.items()} == {"long": 5.0, "noise": 1.0, "clipped": 1.0}


def test_the_job_is_a_manifest_for_label_goes_on_and_tells_what_it_did(ray_session, job, tmp_path, tiny_codebook, capsys):
    more = {"transcripts": {"rules": f"{tmp_path}/rules.yaml"}, "speech": {}, "limits": {}, "shard_seconds": 2.0}
    assert job(here=False, **more) == 0
    card = (tmp_path / "out" / "card.md").read_text()
    assert "4 rows" in card and "| signal to noise, dB |" in card and "| left out: no such file | 1 |" in card
    first = {number: mark.at for number, mark in marks.by_shard(f"{tmp_path}/out", marks.Mark).items()}
    assert job(here=False, **more) == 0
    assert {number: mark.at for number, mark in marks.by_shard(f"{tmp_path}/out", marks.Mark).items()} == first
    soundfile.write(tmp_path / "gone.wav", sound(1, [(0.2, 0.8)]), RATE)
    job.rows[0]["text"] = "OTHER WORDS"
    assert job(here=False, **more, retry="no such file") == 0
    assert not list((tmp_path / "out" / "rejected").glob("part-*"))
    made = {row["utt_id"]: row for row in reader.read(f"{tmp_path}/out").to_pylist()}
    assert made["long"]["text"] == "other words" and made.keys() == {"long", "noise", "clipped", "short", "gone"}
    (tmp_path / "rules.yaml").write_text("- {casing: sentence}\n")
    job.rows[1]["text"] = "y"
    assert job(here=False, **more) == 2
    assert "are not those that" in capsys.readouterr().err
    tiny_codebook.save(str(tmp_path / "codebook"))
    units = {"stage": "label", "manifest": f"{tmp_path}/out", "codebook": f"{tmp_path}/codebook", "output": f"{tmp_path}/units"}
    assert list(label.plan(config.load(json.dumps(units)))) == ["5 rows, 0.00 h in 1 shards on 2 actors"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speech": {"detector": "lud"}}, "speech.detector='lud': did you mean loud"),
        ({"speech": {"cut_seconds": 30.0}}, "speech.cut_seconds=30: name a speech.detector"),
        ({"speech": {"alignments": "w.parquet"}}, "tells of rows that are cut"),
        ({"transcripts": {"rules": "no.yaml"}}, "transcripts.rules=no.yaml: not found"),
    ],
)
def test_what_cannot_be_done_is_refused_before_work_begins(job, capsys, changes, message):
    assert job(here=False, **changes) == 2
    assert message in capsys.readouterr().err
