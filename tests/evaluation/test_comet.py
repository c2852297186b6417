"""unbabel-comet itself in its own environment, on models of random weights: the scores are those of its own `predict`.

Needs the environment that `make comet` makes, or its interpreter in `SPIRE_COMET_PYTHON`.
"""

import json
import os
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.evaluation import comet
from spire_ray.evaluation.metrics import METRICS, Scored
from spire_ray.manifest.schema import UNITS
from spire_ray.pseudo_labels import labels
from spire_ray.settings import CometSettings, PseudoLabelSettings, QualitySettings, ScoreSettings
from spire_ray.stages.pseudo_label import TranslateShard
from spire_ray.text.languages import language

MADE = Path(__file__).parents[2] / ".comet" / "bin" / "python"
PYTHON = os.environ.get("SPIRE_COMET_PYTHON") or (str(MADE) if MADE.exists() else "")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON, reason="no environment with unbabel-comet: make comet"),
]


@pytest.fixture(params=["referenceless_regression_metric", "unified_metric"])
def model(request, tmp_path, monkeypatch):
    """A folder as the Hub has it; `unified_metric` is the class of COMETKiwi."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    subprocess.run([PYTHON, Path(__file__).with_name("tiny_comet.py"), tmp_path / "comet", request.param], check=True)
    return str(tmp_path / "comet")


PREDICT = """
import json, sys
from comet import load_from_checkpoint
model = load_from_checkpoint(sys.argv[1])
print(json.dumps(model.predict(json.load(sys.stdin), batch_size=3, gpus=0, progress_bar=False).scores))
"""


def own(model, rows):
    """What COMET's `predict` says. (Its command line scores in half precision.)"""
    command = [PYTHON, "-c", PREDICT, f"{model}/checkpoints/model.ckpt"]
    done = subprocess.run(command, input=json.dumps(rows), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_shard_is_scored_as_comet_scores_it_itself(model, tiny_model, tmp_path):
    rows = [
        {
            "utt_id": f"u{n}",
            "text": " ".join(["the dog"] * n),
            "language": "en",
            "split": "train",
            "units": [n],
            "status": "labelled",
        }
        for n in range(1, 7)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), tmp_path / "units.parquet")
    settings = PseudoLabelSettings(
        output=str(tmp_path / "out"), data=str(tmp_path / "units.parquet"), model=tiny_model, languages=("de", "fr"),
        quality=QualitySettings(model=model, python=PYTHON), max_new_tokens=6,
    )  # fmt: skip
    (shard,) = labels.planned(settings)
    TranslateShard(settings)(pa.Table.from_pylist([asdict(shard)]))
    made = [row for row in labels.read(settings.output, 0).to_pylist() if row["translation"]]
    asked = [{"src": row["text"], "mt": row["translation"]} for row in made]
    expected = own(model, asked)
    assert len(made) > 6
    assert len(set(expected)) > 3  # else the model says nothing
    assert [row["score"] for row in made] == pytest.approx(expected, abs=1e-5)  # batches of another size are padded otherwise
    checkpoint = f"{model}/checkpoints/model.ckpt"
    assert comet.scores(asked, checkpoint, PYTHON, batch_size=3) == expected


@pytest.mark.parametrize(
    ("name", "kind", "field"),
    [("comet", "regression_metric", "model"), ("cometkiwi", "unified_metric", "kiwi"), ("xcomet", "xcomet_metric", "xcomet")],
)
def test_a_metric_is_the_mean_of_what_its_class_predicts(tmp_path, monkeypatch, name, kind, field):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    subprocess.run([PYTHON, Path(__file__).with_name("tiny_comet.py"), tmp_path / "comet", kind], check=True)
    given = CometSettings(python=PYTHON, batch_size=3, **{field: str(tmp_path / "comet")})
    metric = METRICS[name].make(ScoreSettings(output="", hypotheses="", metrics=(name,), comet=given), language("de"))
    rows = [Scored(str(n), " ".join(["der Hund"] * n), "der Hund", " ".join(["the dog"] * n)) for n in range(1, 6)]
    asked = [{"src": row.text, "mt": row.hypothesis} | ({} if name == "cometkiwi" else {"ref": row.reference}) for row in rows]
    expected = own(str(tmp_path / "comet"), asked)
    numbers = metric.statistics(rows)
    assert [score for score, _ in numbers] == expected and len(set(expected)) > 2
    assert metric.value(np.sum(numbers, axis=0)) == pytest.approx(100 * np.mean(expected))
    assert re.fullmatch(r"model:.*comet\|unbabel-comet:2\.\d+\.\d+", metric.signature)


def test_a_model_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"quality\.model=some/kiwi: unbabel-comet failed: .*not supported by COMET"):
        comet.scores([{"src": "a", "mt": "b"}], "some/kiwi", PYTHON)
