"""Shards of transcripts → translations with scores, without a cluster: a model of random weights and a stand-in for COMET."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.distributed import pseudo_label
from spire_ray.distributed.pseudo_label import TranslateShard
from spire_ray.evaluation import quality
from spire_ray.generation.continuous import ContinuousGenerator
from spire_ray.generation.generate import HuggingFaceGenerator
from spire_ray.manifest.schema import UNITS
from spire_ray.settings import PseudoLabel, QualityEstimate
from spire_ray.text import prompts
from spire_ray.text.prompts import Turn


@pytest.fixture
def comet_environment(tmp_path, monkeypatch):
    """A `python` whose `comet` scores a translation by the length of its source."""
    package = tmp_path / "environment" / "comet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from types import SimpleNamespace\n"
        "def download_model(name):\n    return name\n"
        "def load_from_checkpoint(path):\n    assert path == 'some/kiwi'\n    return Model()\n"
        "class Model:\n"
        "    def predict(self, rows, batch_size, gpus, progress_bar):\n"
        "        return SimpleNamespace(scores=[len(row['src']) / 20 for row in rows])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return sys.executable


def test_scores_come_from_the_other_environment(comet_environment, tmp_path, monkeypatch):
    rows = [{"src": "x" * n, "mt": "y"} for n in (4, 20)]
    assert quality.scores(rows, "some/kiwi", comet_environment) == [0.2, 1.0]
    assert quality.scores([], "some/kiwi", "") == []
    with pytest.raises(ValueError, match=r"quality\.model=other: unbabel-comet failed: .*AssertionError"):
        quality.scores(rows, "other", comet_environment)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"unbabel-comet failed: .*No module named 'comet'"):
        quality.scores(rows, "some/kiwi", comet_environment)
    with pytest.raises(ValueError, match=r"quality\.python=/none: no such interpreter"):
        quality.scores(rows, "some/kiwi", "/none")


def test_continuous_batching_answers_as_padded_generation_does(tiny_model):
    asked = [prompts.chat([Turn(prompts.mt_prompt("the dog " * n, "en", "de"))]) for n in (1, 9, 2, 5)]
    padded = HuggingFaceGenerator(tiny_model, max_new_tokens=12)
    continuous = ContinuousGenerator(tiny_model, max_new_tokens=12)
    assert continuous(asked) == padded(asked)
    with pytest.raises(ValueError, match="is longer than 500"):
        continuous([prompts.chat([Turn("the dog " * 600)])])


def test_every_translation_is_kept_dropped_or_failed(tiny_model, tmp_path, comet_environment, monkeypatch):
    rows = [
        {"utt_id": f"u{n}", "text": "dog " * n, "language": "en", "split": "train", "units": [n], "status": "labelled"}
        for n in range(7)
    ]
    rows[6]["status"] = "rejected"
    (tmp_path / "units").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), tmp_path / "units" / "part-000000.parquet")
    estimate = QualityEstimate(model="some/kiwi", python=comet_environment, threshold=0.6)
    settings = PseudoLabel(
        output=str(tmp_path / "out"), data=str(tmp_path / "units"), model=tiny_model, languages=("de", "fr"), quality=estimate,
        rows_per_shard=4, max_new_tokens=8,
    )  # fmt: skip
    shards = pseudo_label._shards(settings)
    assert [shard["first"] for shard in shards] == [0, 4]
    actor = TranslateShard(settings)
    monkeypatch.setattr(actor._tasks, "translate_text", lambda texts, source, target: [f"{target}:{text}" for text in texts])
    for shard in shards:
        actor({key: [value] for key, value in shard.items()})
    labels = pq.read_table(tmp_path / "out" / "labels").to_pylist()
    assert sorted((row["utt_id"], row["target_language"]) for row in labels if not row["error"]) == [
        (f"u{n}", code) for n in range(1, 6) for code in ("de", "fr")
    ]
    assert [(row["utt_id"], row["error"]) for row in labels if row["error"]] == [("u0", "no text")]
    assert {row["utt_id"]: round(row["score"], 3) for row in labels if row["score"]} == {f"u{n}": n / 5 for n in range(1, 6)}
    pseudo_label._write_kept(settings, shards, pseudo_label._cuts(settings, len(shards)))
    kept = [row for part in range(2) for row in pq.read_table(tmp_path / "out" / f"part-{part:06d}.parquet").to_pylist()]
    assert [row["utt_id"] for row in kept] == ["u3", "u4", "u5"]
    assert kept[0]["translations"] == [("de", "de:dog dog dog "), ("fr", "fr:dog dog dog ")]
    assert kept[0]["units"] == [3]


def test_the_dry_run_names_the_cost(tiny_model, tmp_path, capsys):
    pq.write_table(pa.table({"utt_id": ["a"] * 5, "text": ["t"] * 5}), tmp_path / "m.parquet")
    (tmp_path / "c.yaml").write_text(
        f"{{stage: pseudo_label, output: {tmp_path}/out, data: {tmp_path}/m.parquet, model: {tiny_model}, languages: [de, fr]}}"
    )
    assert pseudo_label.main(["--config", str(tmp_path / "c.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "5 rows, up to 10 translations" in out
    assert "H200-hours at 30 % of the matrix rate (not measured)" in out
    assert pseudo_label.main(["--config", str(tmp_path / "c.yaml"), "languages=[xx]", "--dry-run"]) == 2
