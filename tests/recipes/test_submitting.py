"""`spire run RECIPE --address`: a recipe that exists on the client alone is one job of the cluster."""

import json
import os
import shlex

import pytest
import yaml
from ray.job_submission import JobStatus

from spire_ray.recipes import runner
from spire_ray.runtime import job
from spire_ray.settings import ExportSettings
from spire_ray.tools import run


class Cluster:
    """A dashboard that has these jobs and ends each one as it is told to."""

    def __init__(self, ends=JobStatus.SUCCEEDED):
        self.ends, self.jobs, self.addresses, self.seen, self.refusals = ends, {}, [], [], []

    def __call__(self, address):
        self.addresses.append((address, {name for name in os.environ if name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")}))
        return self

    def list_jobs(self):
        return [other for other in self.jobs.values() if "status" in vars(other)]

    def submit_job(self, **given):
        if self.refusals:
            raise RuntimeError(self.refusals.pop())
        self.jobs["new"] = type("New", (), given)
        return "new"

    def get_job_status(self, name):
        self.seen.append(name)
        return self.ends

    def get_job_logs(self, name):
        return f"log of {name}\n"


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", made)
    return made


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "client").mkdir()
    step = {"stage": "export", "output": "{root}/{name}/model", "training": "{root}/train", "registered_name": "77"}
    (tmp_path / "client" / "export.yaml").write_text(yaml.safe_dump(step))
    data = {"stage": "run", "title": "mine", "root": "s3://b/mine", "seed": 77, "variables": {"name": "its"}}
    data |= {"storage": {"shared_root": "/s"}, "steps": [{"name": "a", "config": "export.yaml", "overrides": {"samples": 3}}]}
    path = tmp_path / "client" / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_it_travels_as_what_it_says(recipe, cluster, capsys):
    here = runner.stages(runner.load(str(recipe), ["a.dtype=float32"]))
    assert run.main([str(recipe), "a.dtype=float32", "--address", "http://head", "--entrypoint-resources", '{"driver": 1}']) == 0
    recipe.with_name("export.yaml").unlink()
    python, *words, text = shlex.split(cluster.jobs["new"].entrypoint)
    assert [python, *words] == ["python", "-m", "spire_ray", "run"]
    assert runner.stages(runner.load(text, [])) == here
    assert here["a"].registered_name == "77" and here["a"].storage.shared_root == "/s"
    assert cluster.jobs["new"].entrypoint_resources == {"driver": 1}
    assert capsys.readouterr().out == "log of new\n"


def test_a_head_that_has_just_started_is_asked_again_and_one_that_refuses_is_not(recipe, cluster, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    cluster.refusals = ["Request failed with status code 500: No available agent to submit job, please try again later."]
    assert run.main([str(recipe), "--address", "http://head"]) == 0 and not cluster.refusals
    cluster.refusals = ["Request failed with status code 400: no such resource"]
    assert run.main([str(recipe), "--address", "http://head"]) == 2
    assert "the cluster does not take the job: Request failed with status code 400" in capsys.readouterr().err


def test_a_grid_is_expanded_where_its_folders_are(recipe, cluster, monkeypatch):
    monkeypatch.setattr(
        "spire_ray.recipes.grid.expanded", lambda *given: type("Over", (), {"recipe": runner.load(given[0], [])})()
    )
    assert run.main([str(recipe), "--grid", "seed=1,2", "--address", "http://head"]) == 0
    *_, text, option, values = shlex.split(cluster.jobs["new"].entrypoint)
    assert (option, values) == ("--grid", "seed=1,2") and "grid" not in text


def test_the_address_that_is_given_beats_the_environment(recipe, cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://elsewhere")
    assert run.main([str(recipe), "--address", "http://head"]) == 0
    assert cluster.addresses == [("http://head", set())] and os.environ["RAY_ADDRESS"] == "elsewhere:6379"


def test_a_job_of_the_recipe_that_is_at_work_is_waited_for_first(recipe, cluster, capsys):
    mark = {"spire.recipe": "mine", "spire.root": "s3://b/mine"}
    cluster.jobs["old"] = type("Old", (), {})()
    vars(cluster.jobs["old"]).update(submission_id="old", metadata=mark, status=JobStatus.RUNNING)
    assert run.main([str(recipe), "--address", "http://head"]) == 0
    assert cluster.seen == ["old", "new"] and "waiting for old" in capsys.readouterr().out


def test_what_ends_badly_and_what_cannot_work_is_one_line(recipe, cluster, capsys):
    cluster.ends = JobStatus.FAILED
    assert run.main([str(recipe), "--address", "http://head"]) == 2
    assert "mine ended as FAILED (job new at http://head); the same command goes on" in capsys.readouterr().err
    assert run.main([str(recipe), "root=runs/mine", "--address", "http://head"]) == 2
    assert "root=runs/mine: of this machine alone" in capsys.readouterr().err
    assert run.main([str(recipe), "--address", "http://head", "--entrypoint-resources", "driver"]) == 2
    assert "must be a JSON mapping" in capsys.readouterr().err


def test_an_output_in_rays_copy_of_a_working_directory_is_refused(tmp_path, monkeypatch, capsys):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    (copy / "train").mkdir()
    monkeypatch.chdir(copy)
    given = {"stage": "export", "output": "runs/model", "training": "train"}
    assert job.main("export", ["--config", json.dumps(given)]) == 2
    assert "output=runs/model: would lie in Ray's copy of --working-dir" in capsys.readouterr().err
    job._own_place(ExportSettings(output=str(tmp_path / "model"), training="train"))
    job._own_place(ExportSettings(output="s3://b/model", training="train"))
