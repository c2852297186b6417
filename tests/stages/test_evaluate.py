"""Answers are asked for by shards, lie on disk before they are scored, and every row is accounted for."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spire_ray import cli
from spire_ray.core import tables
from spire_ray.evaluation import checks, hypotheses, scoring, test_set
from spire_ray.evaluation.systems.llm import LanguageModel
from spire_ray.evaluation.tasks import Request
from spire_ray.manifest.schema import UNITS
from spire_ray.settings import EvaluatedModel, EvaluateSettings, GenerateSettings, ScoreSettings
from spire_ray.stages import evaluate, generate


@pytest.fixture
def units(tmp_path, tiny_codebook):
    """Three parts of ten rows whose ids are shuffled; every third row is rejected, every second one is of the test split."""
    folder = tmp_path / "units"
    for part in range(3):
        rows = [
            {
                "utt_id": f"u{n * 7 % 10}{part}",
                "text": "the dog",
                "language": "en",
                "translations": [("de", "der Hund")] if n else [],
                "units": [1, 2, n],
                "durations": [1, 3, 1],
                "status": "labelled" if n % 3 else "rejected",
                "split": "test" if n % 2 else "train",
            }
            for n in range(10)
        ]
        tables.write(f"{folder}/part-{part:06d}.parquet", pa.Table.from_pylist(rows, UNITS))
    (folder / "fingerprint.json").write_text(json.dumps(tiny_codebook.fingerprint.to_dict()))
    return str(folder)


def settings(data, **more):
    return GenerateSettings(output="", data=data, models=(), **more)


def test_the_labelled_rows_of_the_split_are_asked_in_the_order_of_their_ids(units):
    rows = test_set.rows(settings(units))
    assert [row.utt_id for row in rows] == ["u50", "u51", "u52", "u70", "u71", "u72", "u90", "u91", "u92"]
    assert {row.translation for row in rows} == {"der Hund"}
    assert rows[0].another.tolist() == rows[1].units.tolist() and rows[-1].another.tolist() == rows[0].units.tolist()


def test_of_many_rows_so_many_are_asked(units):
    assert [row.utt_id for row in test_set.rows(settings(units, utterances=2))] == ["u50", "u51"]


def test_all_are_the_labelled_rows_of_every_split(units):
    assert len(test_set.rows(settings(units, split="all"))) > len(test_set.rows(settings(units)))


def test_a_split_without_rows_is_refused(units):
    with pytest.raises(ValueError, match=r"split=tset: .* has no rows of it"):
        test_set.rows(settings(units, split="tset"))


# --- faults that were: a language nobody asked about, references nobody has, answers that were thrown away -----------


def manifest(folder, rows):
    path = folder / "manifest.jsonl"
    path.write_text(
        "".join(json.dumps({"audio_filepath": "a.wav", "duration": 1.0, "split": "test"} | row) + "\n" for row in rows)
    )
    return str(path)


@pytest.fixture
def run(tmp_path, tiny_model, monkeypatch):
    """A function: stage, test set and tasks → exit status; the output is `tmp_path/out`. The models are asked in this process."""

    def ask_here(job, settings, todo):
        worker = generate._Worker(settings)
        for model, shard in todo:
            worker.ask(model, shard)

    monkeypatch.setattr(generate, "_ask", ask_here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def evaluated(stage, data, tasks=("asr",), form="", **more):
        config = {
            "stage": stage, "output": str(tmp_path / "out"), "data": data, "max_new_tokens": 6, "rows_per_shard": 4,
            "models": [{"name": "m", "model": tiny_model, "tasks": list(tasks), "format": form}], "tracking": {"enabled": False},
            "bootstrap": 50, **more,
        }  # fmt: skip
        if stage == "generate":
            del config["bootstrap"]
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        return cli.main([stage, "--config", str(tmp_path / "c.yaml")])

    return evaluated


def results(tmp_path, folder="out"):
    return json.loads((tmp_path / folder / "results.json").read_text())


@pytest.mark.parametrize(
    ("code", "text", "metric", "normalizer"),
    [("en", "the dog", "wer", "english"), ("fr", "le chien", "wer", "basic"), ("zh", "你好世界", "cer", "basic")],
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


def test_a_row_without_a_language_is_refused_by_name(units, tmp_path):
    data = manifest(tmp_path, [{"utt_id": "a", "text": "le chien"}])
    with pytest.raises(ValueError, match="source_language: row a names no language"):
        test_set.rows(settings(data))
    assert test_set.rows(settings(data, source_language="fr"))[0].language == "fr"
    with pytest.raises(ValueError, match="row a: language 'xx' is unknown"):
        test_set.rows(settings(manifest(tmp_path, [{"utt_id": "a", "text": "a", "language": "xx"}])))


def test_no_row_is_translated_into_its_own_language(units, tmp_path):
    both = {"text": "the dog", "translations": {"de": "der Hund", "en": "the dog"}}
    data = manifest(tmp_path, [{"utt_id": "a", "language": "en", **both}, {"utt_id": "b", "language": "de", **both}])
    assert [row.translation for row in test_set.rows(settings(data))] == ["der Hund", ""]


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


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tasks": ("mt",), "target_language": "fr"}, r"models\.m\.tasks: mt: of 9 rows of .* each has no translation into fr"),
        ({"tasks": ("asr", "nt")}, "task='nt': did you mean mt"),
        ({"metrics": ["blue"], "tasks": ("mt",)}, "metric='blue': did you mean bleu"),
        ({"metrics": ["wer"], "tasks": ("mt",)}, r"metrics=\['wer'\]: none of them measures a translation, the answer of mt"),
        ({"metrics": ["comet"], "tasks": ("mt",)}, "comet.python=: no such interpreter"),
        ({"bleu_tokenizer": "ko-mecab", "tasks": ("mt",)}, r"bleu_tokenizer=ko-mecab: .*pip install 'sacrebleu\[ko\]'"),
        ({"metrics": ["spbleu"], "tasks": ("mt",)}, "metrics: spbleu: sacrebleu cannot load its tokenizer flores200"),
        ({"target_language": "tlh"}, "language 'tlh' is unknown"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_the_first_token(
    ray_session, run, tmp_path, units, capsys, monkeypatch, more, message
):
    if "spbleu" in more.get("metrics", ()):

        def offline(*arguments, **named):
            raise OSError("out of reach")

        monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.download_file", offline)
        monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path / "none"))
    assert run("evaluate", units, **more) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out" / "hypotheses").exists()


def test_speech_is_not_asked_of_text(ray_session, run, tmp_path, capsys):
    rows = [{"utt_id": "a", "text": "the dog", "language": "en", "translations": {"de": "der Hund"}}]
    assert run("evaluate", manifest(tmp_path, rows), tasks=("st_direct",)) == 2
    assert "st_direct: of 1 rows of" in (told := capsys.readouterr().err) and told.endswith("each has no units\n")


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


def times(tmp_path):
    return {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "hypotheses").rglob("part-*.parquet")}


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
    lost = [tmp_path / "out/hypotheses/m" / name / "part-000001.parquet" for name in ("asr", "st_cascade")]
    for path in lost:
        path.unlink()
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
    lost[0].unlink()
    assert cli.main([*scored, "bootstrap=30"]) == 2
    assert "1 shards are missing, such as" in capsys.readouterr().err


def test_every_worker_has_work_and_every_shard_a_worker(ray_session, tmp_path, units, tiny_model, monkeypatch):
    from types import SimpleNamespace

    asked = []
    real = generate.cluster.require
    monkeypatch.setattr(generate.cluster, "require", lambda *given, **more: (asked.append(given), real(*given, **more)))
    models = tuple(EvaluatedModel(name=name, model=tiny_model, tasks=("asr",)) for name in "ab")
    given = GenerateSettings(
        output=str(tmp_path / "out"), data=units, models=models, max_new_tokens=4, workers=3, rows_per_shard=4
    )
    job = SimpleNamespace(progress=SimpleNamespace(update=lambda *_: None), facts={}, tracker=SimpleNamespace(log_artifact=print))
    generate.generate(job, given, checks.rows(given))
    assert asked == [("workers", 3, 1, 0.0)]
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


def test_a_row_that_is_too_long_is_named_and_the_others_are_asked(ray_session, run, tmp_path, units):
    path = tmp_path / "units" / "part-000000.parquet"
    rows = [row | ({"units": [3] * 3000} if row["utt_id"] == "u50" else {}) for row in tables.read(str(path)).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, UNITS), path)
    assert run("evaluate", units, tasks=("asr", "st_cascade")) == 0
    first, second = (hypotheses.read(str(tmp_path / "out"), "m", name, 0)[0] for name in ("asr", "st_cascade"))
    assert first["error"].startswith("prompt too long: 30") and second["error"] == f"asr: {first['error']}"
    assert [row["failed"] for row in results(tmp_path)["rows"]] == [1, 1]


class Says:
    """A generator whose answers are given."""

    longest_prompt = 400

    def __init__(self, model, answers):
        from spire_ray.text.tokenizer import SpeechTokenizer

        self.tokenizer, self._answers = SpeechTokenizer(model), iter(answers)

    def continued(self, prompts):
        return [self.tokenizer.text.encode(next(self._answers), add_special_tokens=False).ids for _ in prompts]


def test_an_answer_ends_with_its_line_also_where_a_token_holds_more(tiny_model):
    system = LanguageModel(Says(tiny_model, ["der Hund\nSpeech: the dog"]))
    row = test_set.Row(utt_id="a", language="en", text="the dog")
    [answer] = system.answer([Request(skill="mt", row=row, source="en", target="de", text="the dog")])
    assert answer.text == "der Hund" and answer.tokens > 4


def test_a_conversation_is_not_asked_of_a_base_model(units, tiny_base):
    model = EvaluatedModel(name="b", model=tiny_base, tasks=("st_multiturn",), format="cpt")
    with pytest.raises(ValueError, match=r"models\.b\.tasks: st_multiturn is asked in the form it, and .* in cpt"):
        evaluate.plan(EvaluateSettings(output="", data=units, models=(model,)))


def test_a_metric_that_gives_no_number_is_named_by_row():
    class Broken:
        signature, counts = "broken", ()

        def statistics(self, rows):
            return [[float("nan") if row.utt_id == "b" else 1.0] for row in rows]

        def value(self, sums):
            return float(sums[0])

    rows = [scoring.Scored(utt_id, "x", "y") for utt_id in "abc"]
    with pytest.raises(ValueError, match=r"m\.mt\.broken: row b: the metric gave \[nan\], which is no number"):
        scoring._statistics("m.mt.broken", Broken(), rows)


def test_a_metric_whose_figure_is_no_number_is_named():
    class Broken:
        signature, counts = "broken", ()

        def value(self, sums):
            return float("nan")

    settings = ScoreSettings(output="", hypotheses="", bootstrap=4)
    place = {"model": "m", "task": "mt", "languages": "en-de", "metric": "broken"}
    with pytest.raises(ValueError, match=r"m\.mt\.broken: nan, which is no number"):
        scoring._figure(settings, Broken(), {"a": [1.0]}, **place)


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


def test_translations_are_found_by_any_code_of_their_language(tmp_path):
    rows = [{"utt_id": str(n), "text": "the dog", "language": "en", "translations": {code: "狗"}} for n, code in
            enumerate(("zh", "zh-CN", "zh_Hans", "Chinese", "cmn"))]  # fmt: skip
    found = test_set.rows(settings(manifest(tmp_path, rows), target_language="zh"))
    assert [row.translation for row in found] == ["狗"] * 5


def test_a_test_set_that_has_changed_is_not_mixed_with_its_old_answers(ray_session, run, tmp_path, capsys):
    row = {"utt_id": "a", "text": "the dog", "language": "en", "translations": {"de": "der Hund"}}
    data = manifest(tmp_path, [row])
    assert run("evaluate", data, tasks=("mt",)) == 0
    manifest(tmp_path, [row | {"translations": {"de": "ein Hund"}}])
    assert run("evaluate", data, tasks=("mt",)) == 2
    assert "the rows of the test set have changed since they were asked about" in capsys.readouterr().err


def test_a_name_that_leaves_its_folder_is_refused(units, tiny_base):
    model = EvaluatedModel(name="..", model=tiny_base, tasks=("mt",))
    with pytest.raises(ValueError, match=r"models\.\.\.: needs a name of letters"):
        evaluate.plan(EvaluateSettings(output="", data=units, models=(model,)))


def test_a_cascade_translates_the_transcripts_of_another_system(ray_session, tmp_path, tiny_base):
    import numpy as np
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
