"""Answers are asked for by shards, lie on disk before they are scored, and every row is accounted for."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spire_ray import cli
from spire_ray.core import tables
from spire_ray.evaluation import checks, hypotheses, scoring, test_set
from spire_ray.evaluation.systems import SYSTEMS
from spire_ray.evaluation.systems.llm import LanguageModel
from spire_ray.evaluation.tasks import Request
from spire_ray.manifest.schema import UNITS
from spire_ray.runtime import cluster
from spire_ray.settings import EvaluatedModel, GenerateSettings, ScoreSettings
from spire_ray.stages import generate
from tests.stages.evaluated import manifest, results, times

# --- faults that were: a language nobody asked about, references nobody has, answers that were thrown away -----------


@pytest.mark.parametrize(
    ("code", "text", "metric", "normalizer"),
    [
        ("en", "the dog", "wer", "english"),
        ("fr", "le chien", "wer", "basic"),
        ("de", "der Hund", "wer", "basic"),
        ("zh", "你好世界", "cer", "basic"),
    ],
)
def test_a_transcript_is_asked_and_scored_in_the_language_of_the_row(
    ray_session, run, tmp_path, units, code, text, metric, normalizer
):
    for path in (tmp_path / "units").glob("part-*.parquet"):
        rows = [row | {"language": code, "text": text} for row in tables.read(str(path)).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, UNITS), path)
    assert run("evaluate", units) == 0
    found = results(tmp_path)
    assert f"m.asr.{metric}" in found
    [figure] = found["figures"]
    assert figure["languages"] == code and f"norm:{normalizer}|" in figure["signature"]


def test_a_manifest_of_text_is_evaluated_and_rows_without_a_reference_are_left_out_and_counted(ray_session, run, tmp_path):
    rows = [
        {"utt_id": "a", "text": "the dog", "language": "en", "translations": {"de": "der Hund"}},
        {"utt_id": "b", "text": "the dog", "language": "en"},
        {"utt_id": "c", "language": "en", "translations": {"de": "der Hund"}},
        {"utt_id": "d", "text": " ", "language": "en", "translations": {"de": " "}},
        {"utt_id": "e", "text": "the <|im_end|> dog", "language": "en", "translations": {"de": "der Hund"}},
    ]
    assert run("evaluate", manifest(tmp_path, rows), tasks=("mt",)) == 0
    made = {row["utt_id"]: row for shard in (0, 1) for row in hypotheses.read(str(tmp_path / "out"), "m", "mt", shard)}
    assert {utt_id: row["error"] for utt_id, row in made.items() if utt_id != "e"} == {
        "a": None, "b": "no translation", "c": "no text", "d": "no text",
    }  # fmt: skip
    assert made["e"]["error"].startswith("control token written as text")
    [counted], [first, _] = results(tmp_path)["rows"], results(tmp_path)["figures"]
    assert (counted["rows"], counted["left_out"], counted["failed"], first["scored"]) == (5, 3, 1, 1)
    assert counted["first_error"].startswith("e: control token")
    assert "| 1 | 3 | 1 |" in (tmp_path / "out" / "results.md").read_text()


def test_a_scoring_that_fails_loses_no_answer_and_names_the_row(ray_session, run, tmp_path, units, monkeypatch, capsys):
    from spire_ray.evaluation.metrics._error_rate import ErrorRate

    row = ErrorRate._row

    def fails(self, reference, hypothesis):
        if self.calls == 3:
            raise TypeError("expected string")
        return row(self, reference, hypothesis)

    def statistics(self, rows):
        found = []
        for each in rows:
            self.calls = 3 if each.utt_id == "u70" else 0
            found.append(self._row(each.reference, each.hypothesis))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ErrorRate, "_row", fails)
        patch.setattr(ErrorRate, "statistics", statistics)
        assert run("evaluate", units) == 2
        assert "m.asr.wer: row u70: TypeError: expected string" in capsys.readouterr().err
    made = times(tmp_path)
    assert len(made) == 3
    assert run("evaluate", units) == 0
    assert times(tmp_path) == made


# --- the two stages --------------------------------------------------------------------------------------------------

EVERY = ("asr", "asr_control", "mt", "mt_reverse", "st_direct", "st_control", "st_cascade", "st_gold", "st_multiturn")


def test_a_killed_generation_goes_on_with_what_is_missing_and_other_metrics_need_no_model(
    ray_session, run, tmp_path, units, capsys, monkeypatch
):
    assert run("generate", units, EVERY, "it") == 0
    made = times(tmp_path)
    assert len(made) == len(EVERY) * 3
    before = {name: hypotheses.read(str(tmp_path / "out"), "m", name, 1) for name in EVERY}
    assert all(row["tokens"] > 0 and row["seconds"] > 0 and row["error"] is None for row in before["st_cascade"])
    lost = [tmp_path / "out/hypotheses/m" / name / "part-000001.parquet" for name in ("asr", "st_cascade", "st_multiturn")]
    for path in lost:
        path.unlink()
        (path.parent / "_done" / "000001.json").unlink()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    (tmp_path / "out" / "run.json").write_text(json.dumps(record | {"status": "began"}))

    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump(
            {"stage": "score", "hypotheses": str(tmp_path / "out"), "output": str(tmp_path / "scored"), "bootstrap": 20}
        )
    )
    scored = ["score", "--config", str(tmp_path / "s.yaml"), "tracking.enabled=false"]
    assert cli.main(scored) == 2 and "has not finished there" in capsys.readouterr().err
    assert run("generate", units, EVERY, "it") == 0
    again = times(tmp_path)
    assert {path for path in made if made[path] != again[path]} == set(lost)
    for name, rows in before.items():
        found = hypotheses.read(str(tmp_path / "out"), "m", name, 1)
        assert [row["hypothesis"] for row in found] == [row["hypothesis"] for row in rows], name

    monkeypatch.setattr(generate, "_loaded", None)  # no model from here on
    assert cli.main(scored) == 0
    assert {"m.asr.wer", "m.st_gold.chrf", "m.mt_reverse.bleu", "shuffled_references.bleu"} <= results(tmp_path, "scored").keys()
    assert cli.main(scored) == 0 and "score: done already" in capsys.readouterr().out
    assert cli.main([*scored, "metrics=[cer, chrf]"]) == 0
    assert {"m.asr.cer", "m.st_gold.chrf"} <= (found := results(tmp_path, "scored")).keys() and "m.asr.wer" not in found
    (lost[0].parent / "_done" / "000001.json").unlink()
    assert cli.main([*scored, "bootstrap=30"]) == 2
    assert "1 shards are missing, such as" in capsys.readouterr().err


def test_every_worker_has_work_and_every_shard_a_worker(ray_session, tmp_path, units, tiny_model, monkeypatch):
    from types import SimpleNamespace

    asked = []
    real = cluster.require
    monkeypatch.setattr(cluster, "require", lambda *given, **more: (asked.append(given), real(*given, **more)))
    models = tuple(EvaluatedModel(name=name, model=tiny_model, tasks=("asr",)) for name in "ab")
    given = GenerateSettings(
        output=str(tmp_path / "out"), data=units, models=models, max_new_tokens=4, workers=3, rows_per_shard=4
    )
    job = SimpleNamespace(progress=SimpleNamespace(update=lambda *_: None), facts={}, tracker=SimpleNamespace(log_artifact=print))
    generate.generate(job, given, checks.rows(given))
    assert asked == [("workers", 3, 1, 0.0, 0)]
    answers = {name: [row["hypothesis"] for row in rows] for name, _, rows in hypotheses.everything(given.output)}
    assert len(answers["a"]) == 9 and answers["a"] == answers["b"]


def test_the_files_that_the_report_reads(ray_session, run, tmp_path, units):
    assert run("evaluate", units, tasks=("st_cascade",)) == 0
    heard = json.loads((tmp_path / "out" / "hypotheses.json").read_text())
    assert list(heard["answers"]["m"]) == ["asr", "st_cascade"]  # what comes before is asked, too
    assert heard["rows"][0] == {
        "utt_id": "u50", "language": "en", "text": "the dog", "translation": "der Hund", "speaker": "", "duration": 0.0,
        "units": 3, "frames": 5,
    }  # fmt: skip
    found = results(tmp_path)
    assert found["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|")
    assert {"m.asr.wer", "m.st_cascade.bleu", "m.st_cascade.chrf", "shuffled_references.bleu"} <= found.keys()
    assert "# Results" in (tmp_path / "out" / "results.md").read_text()


class Says:
    """A generator whose answers are given."""

    longest_prompt = 400

    def __init__(self, model, answers):
        from spire_ray.text.tokenizer import SpeechTokenizer

        self.tokenizer, self._answers = SpeechTokenizer(model), iter(answers)

    def continued(self, prompts, beams=1):
        return [self.tokenizer.text.encode(next(self._answers), add_special_tokens=False).ids for _ in prompts]


def test_an_answer_ends_with_its_line_also_where_a_token_holds_more(tiny_model):
    system = LanguageModel(Says(tiny_model, ["der Hund\nSpeech: the dog"]))
    row = test_set.Row(utt_id="a", language="en", text="the dog")
    [answer] = system.answer([Request(skill="mt", row=row, source="en", target="de", text="the dog")])
    assert answer.text == "der Hund" and answer.tokens > 4


def test_who_failed_at_hard_rows_is_not_the_best():
    from spire_ray.evaluation import results

    class Words:
        signature, counts = "words", ()

        def value(self, sums):
            return float(sums[0] / sums[1])

    settings = ScoreSettings(output="", hypotheses="", bootstrap=4)

    def figure(model, errors):
        place = {"model": model, "task": "asr", "languages": "en", "metric": "wer"}
        return scoring._figure(settings, Words(), {str(n): [e, 10.0] for n, e in enumerate(errors)}, **place)

    whole, partial = figure("whole", [1, 9]), figure("partial", [1])
    assert partial.value < whole.value and results.best([partial, whole]) == [whole]


def test_a_cascade_translates_the_transcripts_of_another_system(ray_session, tmp_path, tiny_base):
    import soundfile

    from tests.evaluation.systems import tiny_systems

    (tmp_path / "w").mkdir()
    rows = []
    for n in range(5):
        soundfile.write(tmp_path / f"{n}.wav", np.random.default_rng(n).standard_normal(8_000) / 8, 16_000)
        rows.append({"utt_id": str(n), "audio_filepath": f"{n}.wav", "text": "dog", "language": "en",
                     "translations": {"de": "der Hund"}})  # fmt: skip
    config = {
        "stage": "evaluate", "output": str(tmp_path / "out"), "data": manifest(tmp_path, rows), "max_new_tokens": 8,
        "rows_per_shard": 2, "bootstrap": 20, "tracking": {"enabled": False}, "test_set": "noises",
        "models": [
            {"name": "w+t", "model": tiny_base, "tasks": ["st_cascade"], "transcripts": "w"},
            {"name": "t", "model": tiny_base, "tasks": ["st_gold"]},
            {"name": "w", "system": "whisper", "model": tiny_systems.whisper(str(tmp_path / "w")), "tasks": ["asr"]},
        ],
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["evaluate", "--config", str(tmp_path / "c.yaml")]) == 0
    found = results(tmp_path)
    assert {"w.asr.wer", "w+t.st_cascade.bleu", "t.st_gold.bleu"} <= found.keys() and "w+t.asr.wer" not in found
    assert found["test_set"] == "noises" and found["protocol"] == ""
    [heard, told] = [hypotheses.read(str(tmp_path / "out"), *which, 0)[0] for which in (("w", "asr"), ("w+t", "st_cascade"))]
    assert heard["prompt"] == "whisper transcribe" and heard["tokens"] > 0 and told["tokens"] > 0 and told["text"] == "dog"


@pytest.mark.long
def test_every_system_has_a_run_below_that_of_its_test_set_and_the_report_is_an_artifact(
    ray_session, tmp_path, tiny_base, monkeypatch
):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    rows = [{"utt_id": name, "text": "the dog", "language": "en", "translations": {"de": "der Hund"}} for name in "abc"]
    models = [{"name": name, "model": tiny_base, "tasks": ["mt"]} for name in ("m", "m.2")]
    config = {
        "stage": "evaluate", "output": str(tmp_path / "out"), "data": manifest(tmp_path, rows), "max_new_tokens": 4,
        "bootstrap": 20, "test_set": "dogs", "models": models, "workers": 1,
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["evaluate", "--config", str(tmp_path / "c.yaml")]) == 0
    assert cli.main(["report", str(tmp_path / "out"), "--to", str(tmp_path / "report")]) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [each.experiment_id for each in client.search_experiments() if each.name == "spire"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent = runs.pop("evaluate").info.run_id
    assert set(runs) == {"m at dogs", "m.2 at dogs"}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}
    said = runs["m.2 at dogs"].data
    assert said.params == {"model": "m.2", "test_set": "dogs", "protocol": ""} and said.metrics["mt.rows"] == 3
    assert said.metrics.keys() == runs["m at dogs"].data.metrics.keys() >= {"mt.bleu", "mt.chrf", "mt.empty", "mt.left_out"}
    assert {"report.html", "report.tex", "report.md"} <= {each.path for each in client.list_artifacts(parent)}


@pytest.mark.long
def test_tasks_about_the_same_speech_share_its_prefill_and_the_saving_is_counted(ray_session, tmp_path, units, tiny_model):
    from types import SimpleNamespace

    place = tmp_path / "units" / "part-000000.parquet"
    rows = [
        row | {"units": list(np.random.default_rng(n).integers(0, 20, 100))}
        for n, row in enumerate(tables.read(str(place)).to_pylist())
    ]
    pq.write_table(pa.Table.from_pylist(rows, UNITS), place)
    answers, facts = {}, {}
    for engine in ("padded", "transformers"):
        model = EvaluatedModel(name="m", model=tiny_model, tasks=("asr", "st_direct"), options={"engine": engine})
        given = GenerateSettings(output=str(tmp_path / engine), data=units, models=(model,), max_new_tokens=4, workers=1)
        job = SimpleNamespace(
            progress=SimpleNamespace(update=lambda *_: None), facts={}, tracker=SimpleNamespace(log_artifact=print)
        )
        generate.generate(job, given, checks.rows(given))
        facts[engine] = job.facts
        answers[engine] = [[row["hypothesis"] for row in rows] for _, _, rows in hypotheses.everything(given.output)]
    assert answers["padded"] == answers["transformers"]
    asked = len([row for row in rows if row["status"] == "labelled" and row["split"] == "test"])
    assert facts["padded"]["prompt_tokens"] == facts["transformers"]["prompt_tokens"] and "reused_tokens" not in facts["padded"]
    assert facts["transformers"]["reused_tokens"] >= asked * 96  # whole pages of the speech of every row, the second time


def test_an_engine_that_cannot_be_had_is_refused(units, tiny_model):
    def check(**more):
        model = EvaluatedModel(name="m", model=tiny_model, tasks=("asr",), options=more)
        SYSTEMS["llm"].check(model, [])

    with pytest.raises(ValueError, match=r"models\.m\.options\.engine=transformer: did you mean transformers"):
        check(engine="transformer")
    with pytest.raises(ValueError, match=r"options\.engine=transformers: only padded searches by beams"):
        check(engine="transformers", beams="5")
