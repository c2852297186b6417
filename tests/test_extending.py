"""The files of docs/extending.md, written into an empty folder and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray.manifest.schema import UNITS

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(?:python|yaml) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file of the page, and three clips."""
    here = tmp_path_factory.mktemp("mine")
    blocks = dict(BLOCK.findall((ROOT / "docs" / "extending.md").read_text()))
    assert len(blocks) == 14
    for name, content in blocks.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(content)
    (here / "clips").mkdir()
    for n in range(3):
        soundfile.write(here / "clips" / f"{n}.wav", np.random.default_rng(n).standard_normal(32_000) / 8, 16_000)
    return here


def spire(folder, *arguments, **environment):
    found = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "SPIRE_PLUGINS")}
    found |= {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"} | environment
    command = [sys.executable, "-m", "spire_ray", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=found)


@pytest.mark.long
def test_an_encoder_is_one_file(folder):
    done = spire(folder, "fit_codebook", "--config", "fit.yaml", "tracking.enabled=false")
    assert done.returncode == 0, done.stderr
    made = json.loads((folder / "runs" / "codebook" / "codebook.json").read_text())
    assert made["fingerprint"]["identity"]["encoder"] == "bands"
    wrong = spire(folder, "fit_codebook", "--config", "fit.yaml", "encoder.options={ceiling: 1}", "output=runs/other")
    assert wrong.returncode == 2 and "encoder.options.ceiling=1: bands has no such option; it has floor" in wrong.stderr


def test_a_stage_a_recipe_and_its_report_are_a_file_each(folder):
    shown = spire(folder, "count", "--help", SPIRE_PLUGINS="my_stage")
    assert "manifest: manifest\n      What is counted." in shown.stdout
    done = spire(folder, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("3 rows\n")
    assert (folder / "runs" / "counted" / "rows.txt").read_text() == "3\n"
    assert spire(folder, "report", "runs/counted").stdout == "3 rows\n"


def test_a_form_of_the_prompts_is_a_file(folder):
    program = (
        "from spire_ray.text import prompts\n"
        "mine = prompts.STYLES['plain-words']\n"
        "print(prompts.asr_prompt('de', mine), prompts.mt_completion('a', 'en', 'de', mine))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SPIRE_PLUGINS": "my_prompts"}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.stdout == "Write down what is said in German: \ufffc English: a\nGerman:\n", done.stderr


def test_a_task_and_a_metric_are_a_file_each(folder, tiny_base):
    shutil.copytree(tiny_base, folder / "model")
    row = {"utt_id": "a", "audio_filepath": "a.wav", "split": "test", "language": "en", "text": "the dog"}
    (folder / "sentences.jsonl").write_text(json.dumps(row | {"translations": {"de": "der Hund"}}) + "\n")
    done = spire(folder, "evaluate", "--config", "evaluate.yaml")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "runs" / "evaluate" / "results.json").read_text())
    [said] = json.loads((folder / "runs" / "evaluate" / "hypotheses.json").read_text())["answers"]["mine"]["mt_shouted"]
    assert found["mine.mt_shouted.length"] == 100 * len(said) / len("der Hund")
    assert found["words.mt.bleu"] == 100 or found["words.mt.chrf"] == 100
    assert found["figures"][0]["counts"] == {"characters": len(said)} and "mine.mt_shouted.chrf" in found


def test_a_score_of_pseudo_labels_is_a_file(folder, tiny_base):
    shutil.copytree(tiny_base, folder / "model", dirs_exist_ok=True)
    (folder / "units").mkdir()
    texts = ("the dog", "a cat", "the dog sees a cat", "it sleeps")
    rows = [
        {"utt_id": f"u{n}", "text": text, "language": "en", "split": "train", "units": [n], "status": "labelled"}
        for n, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), folder / "units" / "part-000000.parquet")
    done = spire(folder, "pseudo_label", "--config", "pseudo.yaml")
    assert done.returncode == 0, done.stderr
    made = pq.read_table(folder / "runs" / "pseudo" / "labels").to_pylist()
    translated = [row for row in made if row["translation"]]
    assert translated and all(not row["scores"] for row in made if not row["translation"])
    lengths = {row["utt_id"]: sorted((len(row["text"]), len(row["translation"]))) for row in translated}
    assert [dict(row["scores"])["length_ratio"] for row in translated] == [
        pytest.approx(lengths[row["utt_id"]][0] / lengths[row["utt_id"]][1]) for row in translated
    ]
    kept = pq.read_table(folder / "runs" / "pseudo" / "part-000000.parquet")["utt_id"].to_pylist()
    assert kept == [utt_id for utt_id, (short, long) in lengths.items() if short / long >= 0.5]
    wrong = spire(folder, "pseudo_label", "--config", "pseudo.yaml", "quality.scores=[lenght_ratio]", "--dry-run")
    assert wrong.returncode == 2 and "did you mean length_ratio" in wrong.stderr


def test_a_corpus_is_a_file(folder):
    done = spire(folder, "data", "show", "my-lectures")
    assert done.returncode == 0 and "Lectures" in done.stdout, done.stderr
    assert "librispeech-clean" in spire(folder, "data", "show").stdout
