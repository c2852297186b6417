"""What MLflow shows of a run beside its metrics: the data it read, the model it made, and the registry that names it."""

import time

import pytest
from mlflow import MlflowClient

from spire_ray.core import config, mlflow_store
from spire_ray.core.provenance import read_by
from spire_ray.runtime.tracking import Runs
from spire_ray.settings import LabelSettings


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def event(kind, **more):
    return {"key": "key", "experiment": "spire", "at": 0, "kind": kind, **more}


def test_data_and_model_of_a_run(store, tmp_path):
    runs = Runs(store, "spire")
    run_id = runs.apply(event("start", name="export", parent="", parameters={}, tags={}))
    given = [{"name": "units", "digest": "a.b", "source": "s3://key:secret@b/units", "context": "data"}]
    runs.apply(event("inputs", inputs=given))
    for version in ("1", "2"):
        folder = str(tmp_path / version)
        runs.apply(event("model", name="it", folder=folder, tags={"license": "apache-2.0"}, registered="spire-full"))
        assert mlflow_store.registered(f"models:/spire-full/{version}") == folder
    run = MlflowClient(store).get_run(run_id)
    [data] = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest, data.tags[0].value) == ("units", "a.b", "data")
    assert "s3://" in data.dataset.source and "secret" not in data.dataset.source
    assert len(run.outputs.model_outputs) == 2
    made = MlflowClient(store).get_model_version("spire-full", "2")
    assert made.run_id == run_id and made.tags["license"] == "apache-2.0"


def test_a_version_of_the_registry_is_a_model_wherever_one_is_named(store, tmp_path):
    runs = Runs(store, "spire")
    runs.apply(event("start", name="export", parent="", parameters={}, tags={}))
    runs.apply(event("model", name="it", folder=str(tmp_path), tags={}, registered="mine"))
    MlflowClient(store).set_registered_model_alias("mine", "best", "1")
    for name in ("models:/mine/1", "models:/mine@best"):
        models = [{"name": "a", "model": name, "tasks": ["asr"]}]
        read = config.validate({"stage": "evaluate", "output": "o", "data": "d", "models": models})
        assert read.models[0].model == str(tmp_path)
    for name in ("models:/mine/9", "models:/yours/1", "models:/mine@worst", "models:/mine"):
        with pytest.raises(ValueError, match=f"{name}: not to be had from the model registry"):
            mlflow_store.registered(name)
    assert mlflow_store.registered("models/mine") == "models/mine"


def test_data_is_known_by_its_file_where_no_stage_made_it(tmp_path):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("{}\n")
    settings = LabelSettings(output="o", manifest=str(manifest), codebook="absent")
    [before] = read_by(settings)
    assert (before["name"], before["source"], before["context"]) == ("m.jsonl", str(manifest), "manifest")
    manifest.write_text("{} \n")
    assert read_by(settings)[0]["digest"] != before["digest"]


def test_a_registry_that_is_down_is_told_within_seconds(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(ValueError, match="models:/a/1: not to be had from the model registry"):
        mlflow_store.registered("models:/a/1")
    assert time.monotonic() - began < 30
