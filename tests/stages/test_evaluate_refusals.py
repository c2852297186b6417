"""What cannot be evaluated is refused by name, before the first token where that is possible."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.core import tables
from spire_ray.evaluation import hypotheses, scoring
from spire_ray.manifest.schema import UNITS
from spire_ray.settings import EvaluatedModel, EvaluateSettings, ScoreSettings
from spire_ray.stages import evaluate
from tests.stages.evaluated import manifest, results


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


def test_a_row_that_is_too_long_is_named_and_the_others_are_asked(ray_session, run, tmp_path, units):
    path = tmp_path / "units" / "part-000000.parquet"
    rows = [row | ({"units": [3] * 3000} if row["utt_id"] == "u50" else {}) for row in tables.read(str(path)).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, UNITS), path)
    assert run("evaluate", units, tasks=("asr", "st_cascade")) == 0
    first, second = (hypotheses.read(str(tmp_path / "out"), "m", name, 0)[0] for name in ("asr", "st_cascade"))
    assert first["error"].startswith("prompt too long: 30") and second["error"] == f"asr: {first['error']}"
    assert [row["failed"] for row in results(tmp_path)["rows"]] == [1, 1]


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


def test_a_test_set_whose_rows_are_gone_is_refused(ray_session, run, tmp_path, capsys):
    rows = [{"utt_id": name, "text": "the dog", "language": "en", "translations": {"de": "der Hund"}} for name in "ab"]
    data = manifest(tmp_path, rows)
    assert run("evaluate", data, tasks=("mt",)) == 0
    manifest(tmp_path, rows[1:])
    assert run("evaluate", data, tasks=("mt",)) == 2
    assert "rows that were asked about are gone from the test set, 1 such as a" in capsys.readouterr().err


def test_a_name_that_leaves_its_folder_is_refused(units, tiny_base):
    model = EvaluatedModel(name="..", model=tiny_base, tasks=("mt",))
    with pytest.raises(ValueError, match=r"models\.\.\.: needs a name of letters"):
        evaluate.plan(EvaluateSettings(output="", data=units, models=(model,)))
