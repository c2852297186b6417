"""What a recipe becomes on Kubernetes, before Helm renders it: jobs, a service, and what cannot be one."""

import json
from pathlib import Path

import yaml

from spire_ray.recipes import manifests, runner
from spire_ray.tools import cluster

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
