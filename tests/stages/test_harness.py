"""Text skills by lm-evaluation-harness itself: its figures, in the report beside others.

Needs the environment that `make harness` makes, or its interpreter in `SPIRE_HARNESS_PYTHON`, but for what is refused before.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from spire_ray import cli
from spire_ray.core import storage
from spire_ray.evaluation import harness
from spire_ray.evaluation.report import gathered

MADE = Path(__file__).parents[2] / ".harness" / "bin" / "python"
PYTHON = os.environ.get("SPIRE_HARNESS_PYTHON") or (str(MADE) if MADE.exists() else "")
TASK = """
task: toy_qa
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/toy.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


def config(tmp_path, models, **more):
    given = {
        "stage": "harness", "output": str(tmp_path / "out"), "models": [{"name": n, "model": m} for n, m in models.items()],
        "tasks": ["toy_qa"], "task_folder": str(tmp_path / "tasks"), "python": PYTHON, "tracking": {"enabled": False}, **more,
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(given))
    return ["harness", "--config", str(tmp_path / "c.yaml")]


def task(folder):
    folder.mkdir()
    rows = [{"question": f"the dog {n}", "choices": ["der Hund", "die Katze"], "answer": n % 3 % 2} for n in range(12)]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "toy_qa.yaml").write_text(TASK.format(folder=folder))


@pytest.mark.long
@pytest.mark.skipif(not PYTHON, reason="no environment with lm-eval: make harness")
def test_the_figures_are_those_of_its_own_command(tmp_path, ray_session, tiny_model, tiny_base, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    task(tmp_path / "tasks")
    command = config(tmp_path, {"base": tiny_base, "it": tiny_model})
    assert cli.main(command) == 0
    own = [
        PYTHON,
        "-m",
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={tiny_model}",
        "--tasks",
        "toy_qa",
        "--include_path",
    ]
    own += [str(tmp_path), "--output_path", str(tmp_path / "own"), "--device", "cpu", "--batch_size", "8"]
    subprocess.run(own, check=True, capture_output=True, env=harness.apart())
    [place] = (tmp_path / "own").rglob("results_*.json")
    expected = json.loads(place.read_text())["results"]["toy_qa"]["acc,none"]
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["it.toy_qa.acc"] == 100 * expected
    entries = {each.model: each for each in gathered.gather([str(tmp_path / "out")])}
    assert entries["it"].place == "toy_qa" and len(entries["it"].numbers()) == entries["it"].scored == 12
    assert cli.main(["report", str(tmp_path / "out"), "--to", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Text skills (lm-evaluation-harness)" in text and "| system | toy_qa, acc ↑ |" in text
    capsys.readouterr()
    assert cli.main(command) == 0 and "done already" in capsys.readouterr().out
    place = tmp_path / "tasks" / "toy_qa.yaml"
    place.write_text(place.read_text().replace("{{question}}", "Q: {{question}}"))
    assert cli.main(command) == 2 and "has changed since models were asked" in capsys.readouterr().err
    assert cli.main([*command, "tasks=[toy_qx]", f"output={tmp_path}/other"]) == 2
    assert "lm-evaluation-harness refuses them: Tasks not found: toy_qx" in capsys.readouterr().err


def test_an_interpreter_that_is_not_there_is_refused_before_a_model_is_loaded(tmp_path, ray_session, tiny_base, capsys):
    (tmp_path / "tasks").mkdir()
    assert cli.main(config(tmp_path, {"base": tiny_base}, python="nowhere/python")) == 2
    assert "python=nowhere/python: no such interpreter; `make harness`" in capsys.readouterr().err
    assert cli.main(config(tmp_path, {"base": tiny_base}, tasks=[])) == 2
    assert "models, tasks: name at least one of each" in capsys.readouterr().err
    for folder in ("s3://bucket/tasks", str(tmp_path / "nowhere")):
        assert cli.main(config(tmp_path, {"base": tiny_base}, task_folder=folder)) == 2
        assert f"task_folder={folder}: no folder of this machine" in capsys.readouterr().err


def test_what_is_no_mean_of_its_rows_has_a_figure_and_no_numbers(tmp_path):
    said = {
        "results": {"t": {"word_perplexity,none": 7.5, "acc,none": 0.5, "acc_stderr,none": 0.1, "own,none": 1.0, "alias": "t"}},
        "versions": {"t": 2}, "n-shot": {"t": 0}, "lm_eval_version": "0.4.13",
    }  # fmt: skip
    storage.write_json(f"{tmp_path}/harness/m/results.json", said)
    lines = [json.dumps({"doc_id": n, "target": "x", "acc": float(n % 2), "word_perplexity": [-3.0, 2]}) for n in range(4)]
    storage.write_bytes(f"{tmp_path}/harness/m/samples/t.jsonl", "\n".join(lines).encode())
    harness.collect(str(tmp_path), ["m"])
    found = {each.metric: each for each in gathered.gather([str(tmp_path)])}
    assert set(found) == {"harness_word_perplexity", "harness_acc"}
    assert (found["harness_acc"].value, round(found["harness_acc"].low, 1)) == (50.0, 30.4)
    assert found["harness_acc"].numbers()["3"] == [100.0, 1.0] and not found["harness_acc"].rows[0]["error"]
    perplexity = found["harness_word_perplexity"]
    assert perplexity.value == 7.5 and not perplexity.better and perplexity.numbers() == {}


def test_a_task_that_is_read_in_two_ways_has_the_figures_of_each(tmp_path):
    said = {
        "results": {"g": {"exact_match,strict": 0.25, "exact_match,loose": 0.75, "alias": "g"}},
        "versions": {"g": 3}, "n-shot": {"g": 5}, "lm_eval_version": "0.4.13",
    }  # fmt: skip
    storage.write_json(f"{tmp_path}/harness/m/results.json", said)
    lines = [
        json.dumps({"doc_id": n, "filter": which, "target": "x", "exact_match": float(n < right)})
        for which, right in (("strict", 1), ("loose", 3))
        for n in range(4)
    ]
    storage.write_bytes(f"{tmp_path}/harness/m/samples/g.jsonl", "\n".join(lines).encode())
    harness.collect(str(tmp_path), ["m"])
    found = {each.test_set: each for each in gathered.gather([str(tmp_path)])}
    assert {name: (each.value, each.scored) for name, each in found.items()} == {"g (strict)": (25.0, 4), "g (loose)": (75.0, 4)}
    assert found["g (loose)"].numbers() == {str(n): [100.0 * (n < 3), 1.0] for n in range(4)}
