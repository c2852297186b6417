"""A recipe over values of a setting: what they do not change is made once, what they change is compared."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from spire_ray import cli
from spire_ray.core import config, storage
from spire_ray.recipes import grid, grid_report, runner
from tests.evaluation.report import made

QUICKSTART = "spire_ray/configs/quickstart/quickstart.yaml"


def outputs(found):
    return {name: settings.output for name, settings in runner.stages(found.recipe).items()}


def test_only_what_a_value_changes_and_what_follows_from_it_is_made_again(tmp_path):
    own = runner.stages(runner.load(QUICKSTART, []))["it.train"].training.optimizer.muon_lr
    found = grid.expanded(QUICKSTART, [f"root={tmp_path}"], f"it.train.training.optimizer.muon_lr=0.0001,{own}")
    places, root = outputs(found), f"{tmp_path}/grid/it.train.training.optimizer.muon_lr/0.0001"
    assert found.recipe.root == f"{tmp_path}/grid/it.train.training.optimizer.muon_lr"
    again = {"it.train", "it.export", "evaluate", "serve"}
    base = set(runner.stages(runner.load(QUICKSTART, [])))
    assert set(places) == base | {f"{name}@0.0001" for name in again}  # the recipe's own value stays where the recipe has it
    assert {name: places[f"{name}@0.0001"] for name in again} == {name: f"{root}/{name}" for name in again}
    planned = runner.stages(found.recipe)
    assert planned["it.export@0.0001"].training == f"{root}/it.train"
    models = {model.name: model.model for model in planned["evaluate@0.0001"].models}
    assert models["base"].startswith(f"{tmp_path}/") and "/grid/" not in models["base"]
    assert models["it"].startswith(f"{root}/it.export")
    assert found.figures == {"0.0001": [f"{root}/evaluate"], str(own): [places["evaluate"]]}


def test_seeds_are_values_as_any(tmp_path):
    planned = runner.stages(grid.expanded(QUICKSTART, [f"root={tmp_path}", "seed=7"], "seed=1,2").recipe)
    assert [planned[f"corpus@{seed}"].seed for seed in (1, 2)] == [1, 2]


def test_a_step_that_every_value_changes_is_not_run_with_the_recipes_own(tmp_path):
    found = grid.expanded(QUICKSTART, [f"root={tmp_path}"], "evaluate.utterances=10,20")
    assert {name for name in outputs(found) if name.startswith("evaluate")} == {"evaluate@10", "evaluate@20"}


def test_a_finished_recipe_is_reused(tmp_path):
    mine = runner.stages(runner.load(QUICKSTART, [f"root={tmp_path}"]))
    varied = runner.stages(grid.expanded(QUICKSTART, [f"root={tmp_path}"], "evaluate.utterances=10,20").recipe)
    for name in set(mine) & set(varied):
        assert config.identity(mine[name]) == config.identity(varied[name]) and mine[name].output == varied[name].output


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("evaluate.utterances", "expected KEY=a,b,c"),
        ("evaluate.utterances=10", "two values or more"),
        ("evaluate.utterances=10,10", "each once"),
        ("evaluate.test_set=a/b,a_b", "each once"),
        ("evaluate.utterance=10,20", "unknown key utterance: did you mean utterances"),
        ("evaluate.workers=1,2", "changes nothing that a step evaluate or score measures"),
        ("nothing.x=1,2", "nothing"),
    ],
)
def test_what_is_no_grid_is_refused_before_anything_runs(given, why, tmp_path, capsys):
    assert cli.main(["run", QUICKSTART, f"root={tmp_path}", "--grid", given, "--dry-run"]) == 2
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_figures_stand_against_the_value(tmp_path, ray_session):
    folders = {value: [made.results(str(tmp_path / value), seed=n, rows=20)] for n, value in enumerate(("0.5", "2", "1"))}
    storage.write_json(str(tmp_path / "grid.json"), {"key": "pack.share", "figures": folders})
    written = grid_report.write(str(tmp_path))
    [head] = [line for line in written.text.splitlines() if "pack.share=" in line]
    assert head == "|  |  | pack.share=0.5 | pack.share=2 | pack.share=1 |"
    value = json.loads(storage.read_bytes(f"{folders['2'][0]}/results.json"))["spire.asr.wer"]
    [line] = [line for line in written.text.splitlines() if line.startswith("| Speech → transcript, WER ↓, talks en | spire |")]
    assert line.split("|")[4].strip() == f"{value:.2f}"
    assert written.compared["pack.share=2"]["spire.asr.en.wer"] == value
    page = (tmp_path / "grid.html").read_text()
    assert page.count("<figure>") == 3 and "Speech → translation, BLEU ↑: talks en-de" in page


@pytest.mark.long
def test_a_grid_runs_as_one_recipe_and_goes_on_where_it_was(tmp_path):
    rows = [
        {"utt_id": f"r{n}", "audio_filepath": "a.wav", "split": "test", "language": "en", "text": f"the {n}",
         "translations": {"de": f"THE {n}" if n < 5 else "nothing at all"}}
        for n in range(10)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    step = {
        "stage": "evaluate", "output": "{root}/evaluate", "data": str(tmp_path / "rows.jsonl"), "bootstrap": 20,
        "plugins": ["tests.faults.fragile_system"], "models": [{"name": "f", "system": "fragile", "tasks": ["mt"]}],
    }  # fmt: skip
    recipe = {
        "stage": "run", "title": "tried", "root": str(tmp_path / "run"),
        "steps": [{"name": "fixed", "settings": step | {"output": "{root}/fixed"}}, {"name": "evaluate", "settings": step}],
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    environment = os.environ | {"SPIRE_TEST_NOTES": f"{tmp_path}/notes", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    command = [sys.executable, "-m", "spire_ray", "run", str(tmp_path / "recipe.yaml"), "--grid", "evaluate.utterances=5,8"]

    def run():
        made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert made.returncode == 0, made.stderr
        return made.stdout

    first = run()
    assert first.count("fixed: figures of models") == 1 and "evaluate@8" in first
    assert (tmp_path / "notes").read_text().count("r9\n") == 1  # of the step that is fixed alone
    assert (tmp_path / "run" / "grid" / "evaluate.utterances" / "grid.html").exists()
    assert run().count("done already") == 3

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [each for each in client.search_experiments() if each.name == "spire"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs["tried over evaluate.utterances"].info.run_id
    children = {name for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == parent}
    assert {"fixed", "evaluate@5", "evaluate@8", "evaluate.utterances=5", "evaluate.utterances=8"} <= children
    compared = [runs[f"evaluate.utterances={n}"].data.metrics["f.mt.en-de.chrf"] for n in (5, 8)]
    assert compared[0] == pytest.approx(100) and compared[1] < 90
