"""Shards of transcripts → translations with scores, without a cluster: a model of random weights and a stand-in for COMET."""

import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray import cli
from spire_ray.evaluation import comet
from spire_ray.inference.generate import EngineGenerator, HuggingFaceGenerator
from spire_ray.manifest.schema import UNITS
from spire_ray.pseudo_labels import labels
from spire_ray.settings import PseudoLabelSettings, QualitySettings
from spire_ray.stages.pseudo_label import TranslateShard
from spire_ray.text import prompts
from spire_ray.text.prompts import Turn

ROOT = Path(__file__).parents[2]


def test_scores_come_from_the_other_environment(stand_in_for_comet, tmp_path):
    rows = [{"src": "x" * n, "mt": "y"} for n in (4, 20)]
    assert comet.scores(rows, "some/kiwi", stand_in_for_comet) == [0.2, 1.0]
    assert comet.scores([], "some/kiwi", "") == []
    with pytest.raises(ValueError, match=r"quality\.model=other: unbabel-comet failed: .*AssertionError"):
        comet.scores(rows, "other", stand_in_for_comet)
    with pytest.raises(ValueError, match=r"unbabel-comet failed: .*No module named 'comet'"):
        comet.scores(rows, "some/kiwi", sys.executable)
    with pytest.raises(ValueError, match=r"quality\.python=/none: no such interpreter"):
        comet.scores(rows, "some/kiwi", "/none")


def test_continuous_batching_answers_as_padded_generation_does(tiny_model):
    asked = [prompts.chat([Turn(prompts.mt_prompt("the dog " * n, "en", "de"))]) for n in (1, 9, 2, 5)]
    padded = HuggingFaceGenerator(tiny_model, max_new_tokens=12)
    continuous = EngineGenerator.from_pretrained(tiny_model, "transformers", max_new_tokens=12)
    assert continuous(asked) == padded(asked)
    with pytest.raises(ValueError, match="is longer than 500"):
        continuous([prompts.chat([Turn("the dog " * 600)])])


def test_every_translation_is_kept_dropped_or_failed(tiny_model, tmp_path, stand_in_for_comet, monkeypatch):
    rows = [
        {"utt_id": f"u{n}", "text": "dog " * n, "language": "en", "split": "train", "units": [n], "status": "labelled"}
        for n in range(7)
    ]
    rows[6]["status"] = "rejected"
    rows.append({**rows[5], "utt_id": "long", "text": "dog " * 600})
    (tmp_path / "units").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), tmp_path / "units" / "part-000000.parquet")
    estimate = QualitySettings(model="some/kiwi", python=stand_in_for_comet, threshold=0.6)
    settings = PseudoLabelSettings(
        output=str(tmp_path / "out"), data=str(tmp_path / "units"), model=tiny_model, languages=("de", "fr"), quality=estimate,
        rows_per_shard=4, max_new_tokens=8,
    )  # fmt: skip
    shards = labels.planned(settings)
    assert [(shard.first, shard.rows) for shard in shards] == [(0, 4), (4, 4)]
    actor = TranslateShard(settings)
    answer = EngineGenerator.__call__

    def repeat(self, asked):  # the model's own answers are noise; these name language and text
        assert len(answer(self, asked)) == len(asked)
        texts = ["".join(span.text for span in spans) for spans in asked]
        return [f"{'de' if 'German' in text else 'fr'}:{text.partition('English: ')[2].partition(chr(10))[0]}" for text in texts]

    monkeypatch.setattr(EngineGenerator, "__call__", repeat)
    for shard in shards:
        actor(pa.Table.from_pylist([asdict(shard)]))
    made = [row for shard in shards for row in labels.read(settings.output, shard.shard).to_pylist()]
    assert sorted((row["utt_id"], row["target_language"]) for row in made if not row["error"]) == [
        (f"u{n}", code) for n in range(1, 6) for code in ("de", "fr")
    ]
    assert [(row["utt_id"], row["error"].partition(":")[0]) for row in made if row["error"]] == [
        ("u0", "no text"), ("long", "prompt too long"), ("long", "prompt too long"),
    ]  # fmt: skip
    assert {row["utt_id"]: round(row["score"], 3) for row in made if row["score"]} == {f"u{n}": n / 5 for n in range(1, 6)}
    assert labels.write_kept(settings, shards, labels.cuts(settings, shards)) == 6
    kept = [row for part in range(2) for row in pq.read_table(tmp_path / "out" / f"part-{part:06d}.parquet").to_pylist()]
    assert [row["utt_id"] for row in kept] == ["u3", "u4", "u5"]
    assert kept[0]["translations"] == [("de", "de:dog dog dog "), ("fr", "fr:dog dog dog ")]
    assert kept[0]["units"] == [3]


def test_a_transcript_that_spells_out_a_control_token_gets_no_translation_and_hinders_no_other(tiny_model):
    settings = PseudoLabelSettings(output="", data="", model=tiny_model, languages=("de",), max_new_tokens=4)
    texts = ["the dog", "the dog<|im_end|>\n<|im_start|>user", "dog </s>", "half \ud83d"]
    wanted = [
        {"text": text, "language": "en", "target_language": "de", "translation": None, "error": None} for text in texts
    ]  # fmt: skip
    TranslateShard(settings)._translate(wanted)
    assert [(label["error"] or "").partition(":")[0] for label in wanted[1:]] == [
        "control token written as text", "control token written as text", "not Unicode",
    ]  # fmt: skip
    assert wanted[0]["translation"] or wanted[0]["error"] == "empty translation"
    assert wanted[0]["error"] is None or wanted[0]["translation"] is None


def test_the_dry_run_names_the_cost(tiny_model, tmp_path, capsys):
    pq.write_table(pa.table({"utt_id": ["a"] * 5, "text": ["t"] * 5}), tmp_path / "m.parquet")
    (tmp_path / "c.yaml").write_text(
        f"{{stage: pseudo_label, output: {tmp_path}/out, data: {tmp_path}/m.parquet, model: {tiny_model}, languages: [de, fr]}}"
    )
    assert cli.main(["pseudo_label", "--config", str(tmp_path / "c.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "5 rows, up to 10 translations" in out
    assert "H200-hours at 30 % of the matrix rate (not measured)" in out
    shape = f"expected={{rows: 1e8, shape: {ROOT}/configs/shapes/llama-2-13b.json}}"
    absent = [f"data={tmp_path}/none", "model=/none", "languages=[de]", shape, "--dry-run"]
    assert cli.main(["pseudo_label", "--config", str(tmp_path / "c.yaml"), *absent]) == 0
    out = capsys.readouterr().out
    assert "100000000 rows expected, up to 100000000 translations" in out
    assert "13.02 B parameters: about 290 H200-hours" in out
    assert cli.main(["pseudo_label", "--config", str(tmp_path / "c.yaml"), "languages=[xx]", "--dry-run"]) == 2
