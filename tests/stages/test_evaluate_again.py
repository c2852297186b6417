"""Answers that are there are kept; what is new, has changed or has failed is asked about, and all is accounted for."""

import json

import pytest

from spire_ray.evaluation import asking, hypotheses, planned, test_set
from spire_ray.evaluation.systems import Answer
from spire_ray.evaluation.systems.llm import LanguageModel
from spire_ray.evaluation.tasks import Request
from spire_ray.tools import audit
from tests.stages.evaluated import manifest, results, times

ROWS = [{"utt_id": name, "text": f"the {name}", "language": "en", "translations": {"de": f"der {name}"}} for name in "bcde"]


def of(tmp_path, task="mt"):
    return [row for _, name, rows in hypotheses.everything(str(tmp_path / "out")) for row in rows if name == task]


def touched(before, tmp_path):
    return sorted(path.name for path, at in times(tmp_path).items() if before.get(path) != at)


def test_rows_that_come_later_are_asked_and_the_others_keep_their_answers(ray_session, run, tmp_path, capsys):
    data = manifest(tmp_path, ROWS)
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2) == 0
    before = times(tmp_path)
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2) == 0
    assert "done already" in capsys.readouterr().out
    manifest(tmp_path, [ROWS[0] | {"utt_id": "a"}, *ROWS])  # before all others in the order of ids
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2) == 0
    assert touched(before, tmp_path) == ["part-000002.parquet"]
    assert [row["utt_id"] for row in of(tmp_path)] == ["b", "c", "d", "e", "a"]
    assert results(tmp_path)["rows"][0]["rows"] == 5


def test_rows_that_have_changed_are_asked_again(ray_session, run, tmp_path):
    data = manifest(tmp_path, ROWS)
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2) == 0
    before = times(tmp_path)
    manifest(tmp_path, [*ROWS[:3], ROWS[3] | {"text": "the dog"}])
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2) == 0
    assert touched(before, tmp_path) == ["part-000001.parquet"]
    assert of(tmp_path)[3]["text"] == "the dog"


@pytest.fixture
def breaks(monkeypatch):
    """Texts at which the engine fails, together and alone."""
    texts, real = set(), LanguageModel.answer

    def answer(self, requests):
        if any(request.text in texts for request in requests):
            raise RuntimeError("CUDA error: device-side assert")
        return real(self, requests)

    monkeypatch.setattr(LanguageModel, "answer", answer)
    return texts


def test_a_row_at_which_the_engine_fails_is_named_counted_and_asked_again_when_that_is_wanted(
    ray_session, run, tmp_path, breaks, capsys
):
    breaks.add("the c")
    data = manifest(tmp_path, ROWS)
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2) == 0
    assert [row["error"] for row in of(tmp_path)] == [None, "RuntimeError: CUDA error: device-side assert", None, None]
    before = times(tmp_path)
    breaks.clear()
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2, retry="OSError") == 2
    assert "retry=OSError: no row has that reason; rejected tries all, and there are: RuntimeError" in capsys.readouterr().err
    assert run("evaluate", data, tasks=("mt",), rows_per_shard=2, retry="rejected") == 0
    assert touched(before, tmp_path) == ["part-000000.parquet"] and not any(row["error"] for row in of(tmp_path))


def test_an_engine_that_answers_nothing_ends_the_job_with_its_own_words(ray_session, run, tmp_path, breaks):
    breaks.update(row["text"] for row in ROWS)
    with pytest.raises(RuntimeError, match="CUDA error: device-side assert"):
        run("evaluate", manifest(tmp_path, ROWS), tasks=("mt",), rows_per_shard=2)


def test_what_follows_an_answer_that_was_asked_again_is_asked_again(ray_session, run, tmp_path, units, monkeypatch):
    assert run("generate", units, ("st_cascade", "mt"), rows_per_shard=4) == 0
    before = times(tmp_path)
    place = tmp_path / "out" / "hypotheses" / "m" / "asr"
    (place / "_done" / "000001.json").unlink()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    (tmp_path / "out" / "run.json").write_text(json.dumps(record | {"status": "began"}))
    assert run("generate", units, ("st_cascade", "mt"), rows_per_shard=4) == 0
    again = {f"{path.parent.name}/{path.name}" for path, at in times(tmp_path).items() if before[path] != at}
    assert again == {"asr/part-000001.parquet", "st_cascade/part-000001.parquet"}


def test_an_audit_accounts_for_every_row_of_every_task(ray_session, run, tmp_path, capsys):
    rows = [*ROWS, {"utt_id": "x", "text": "the x", "language": "en"}]
    out, data = str(tmp_path / "out"), manifest(tmp_path, rows)
    assert run("evaluate", data, tasks=("mt", "mt_reverse"), rows_per_shard=2) == 0
    capsys.readouterr()
    assert audit.main([out]) == 0
    told = capsys.readouterr().out
    assert "asked 10 rows, waiting 0: answered 8, without an answer 2" in told
    assert "missing 0, duplicate 0, not planned 0" in told
    assert "without an answer 2: no translation" in told and "answered 4: m mt_reverse" in told
    (tmp_path / "out/hypotheses/m/mt/_done/000002.json").unlink()
    place = tmp_path / "out/hypotheses/m/mt_reverse/part-000001.parquet"
    place.write_bytes((tmp_path / "out/hypotheses/m/mt_reverse/part-000000.parquet").read_bytes())
    assert audit.main([out]) == audit.FAULTS_FOUND
    told = capsys.readouterr().out
    assert "waiting 1" in told and "missing 2, duplicate 0, not planned 2: b m mt_reverse" in told


def test_rows_come_back_as_they_were_written(tmp_path):
    import numpy as np

    made = [
        test_set.Row(utt_id="a", language="en"),
        test_set.Row(
            utt_id="b", language="de", text="t", translation="u", units=np.arange(3, dtype=np.uint16),
            another=np.zeros(0, np.uint16), audio=test_set.Recording(b"riff", 0.5, 1.5), shots=(("a", "b"), ("c", "d")),
            tokens=("x", "y"), tags="O B",
            draft="v", speaker="s", duration=2.5, frames=7,
        ),
        test_set.Row(utt_id="c", language="en", audio=test_set.Recording("c.wav", 0.0, None)),
    ]  # fmt: skip
    folder = str(tmp_path)
    rows, shards = planned.plan(folder, made, 2)
    planned.write(folder, rows, shards)
    found = [row for shard in shards for row in planned.read(shard)]
    assert [planned.digest(row) for row in found] == [planned.digest(row) for row in made]
    assert found[1].audio == made[1].audio and found[1].shots == made[1].shots and found[2].audio == made[2].audio
    assert found[0].units is None and found[0].audio is None and found[1].another.dtype == np.uint16
    assert planned.plan(folder, made, 2) == (made, shards)


def test_only_the_row_that_fails_alone_has_no_answer():
    class Engine:
        def answer(self, requests):
            if len(requests) > 1 or requests[0].text == "b":
                raise MemoryError("out of it")
            return [Answer(request.text.upper()) for request in requests]

    row = test_set.Row(utt_id="a", language="en", text="a")
    requests = {n: Request(skill="mt", row=row, source="en", target="de", text=text) for n, text in ((3, "a"), (5, "b"))}
    assert asking._answers(Engine(), requests) == {3: Answer("A"), 5: Answer(error="MemoryError: out of it")}
