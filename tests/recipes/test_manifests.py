"""What a recipe becomes on Kubernetes, before Helm renders it: jobs, a service, and what cannot be one."""

import json
from pathlib import Path

import pytest
import yaml

from spire_ray.recipes import manifests, room, runner
from spire_ray.tools import cluster, plan

ROOT = Path(__file__).parents[2]


def test_a_root_that_no_pod_sees_and_a_model_of_unknown_size_are_refused(capsys, tmp_path):
    assert cluster.main(["render", str(ROOT / "configs/ladder/laptop.yaml")]) == 2
    assert "root=runs/laptop: of this machine alone" in capsys.readouterr().err
    serve = {"stage": "serve", "output": "{root}/serve", "model": "some/model", "gpus_per_replica": 1}
    recipe = {"stage": "run", "title": "t", "root": "s3://b/t", "steps": [{"name": "serve", "settings": serve}]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    assert cluster.main(["render", str(tmp_path / "r.yaml")]) == 2
    assert "step serve: nobody says how large some/model is; add --shape some/model=" in capsys.readouterr().err
    shape = f"some/model={ROOT}/configs/shapes/llama-2-7b.json"
    assert cluster.main(["render", str(tmp_path / "r.yaml"), "--shape", shape]) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert 20 < written["service"]["gpus"]["gib"] < 48 and written["jobs"] == []


@pytest.mark.parametrize("command", [plan.main, lambda arguments: cluster.main(["render", *arguments])])
def test_a_shape_that_says_no_file_is_refused_in_one_line(command, capsys):
    for text, words in (
        ("FOO", "expected MODEL=FILE"),
        ("FOO=", "expected MODEL=FILE"),
        ("FOO=no.json", "no.json: no such file"),
        (f"FOO={ROOT}/configs/shapes/llama-2-7b.json", "no step of the recipe names FOO"),
    ):
        assert command([str(ROOT / "configs/spire/spire.yaml"), "--shape", text]) == 2
        told = capsys.readouterr()
        assert f"error: shape={text}: {words}" in told.err and told.err.count("\n") == 1 and not told.out


def test_a_harness_wants_cards_that_hold_its_largest_model_and_no_encoder(tmp_path):
    shapes = {"large": f"{ROOT}/configs/shapes/llama-2-7b.json", "small": f"{ROOT}/configs/shapes/qwen3-0.6b.json"}

    def gib(*models, **more):
        named = [{"name": model, "model": model} for model in models]
        asked = {"stage": "harness", "output": "{root}/h", "models": named, "tasks": ["mmlu"], "gpus_per_worker": 1} | more
        recipe = {"stage": "run", "title": "t", "root": str(tmp_path), "steps": [{"name": "h", "settings": asked}]}
        need = room.of("h", runner.stages(runner.load(json.dumps(recipe), [])), shapes)
        assert need.count == 1
        return need.gib

    assert gib("small", "large") == gib("large") > 2 * 6.7e9 / 2**30
    assert 1.2e9 / 2**30 < gib("small") < 8  # an encoder with its batch takes 5.7 GiB more
    wide, context = gib("large", dtype="float32"), 4
    assert wide - context == pytest.approx(2 * (gib("large", dtype="bfloat16") - context)) and gib("large") == gib(
        "large", dtype="bfloat16"
    )
    own = json.loads(Path(shapes["large"]).read_text()) | {"dtype": "float32"}
    (tmp_path / "wide.json").write_text(json.dumps(own))
    shapes["large"] = str(tmp_path / "wide.json")
    assert gib("large") == wide > gib("large", dtype="float16")  # as its weights are, unless it is said
    with pytest.raises(ValueError, match="step h: nobody says how large their/model is"):
        gib("large", "their/model")


def test_the_report_of_a_recipe_is_its_last_job():
    found = manifests.values(runner.load(str(ROOT / "configs/quickstart/quickstart.yaml"), ["root=/mnt/spire/q"]))
    last = found["jobs"][-1]
    assert (last["name"], last["stage"]) == ("report", "run")
    recipe = runner.load(json.dumps(yaml.safe_load(last["config"])), [])
    assert recipe.report == "spire_ray.quickstart.report" and "serve" not in runner.stages(recipe)


def test_the_page_names_every_file():
    page = (ROOT / "cluster" / "README.md").read_text()
    for file in (ROOT / "cluster").iterdir():
        assert file.name in page or file.name in {"README.md", "__pycache__"}
