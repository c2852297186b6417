"""Room for the workers that a stage asks for."""

from dataclasses import replace

import pytest
import ray

from spire_ray.runtime import cluster
from spire_ray.settings import LabelSettings, StorageSettings


def test_more_workers_than_this_machine_holds_are_refused_with_what_is_lacking(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "this_machine_alone": 1.0})
    cluster.require("workers.count", 2, 2, 0)
    with pytest.raises(
        ValueError, match=r"workers.count=3: 6 CPUs are needed, there are 4, 3 GPUs are needed, there are 0 on this"
    ):
        cluster.require("workers.count", 3, 2, 1)


def test_a_cluster_that_may_grow_is_waited_for_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    cluster.require("workers", 4, 1, 0, beside=1)
    assert capsys.readouterr().out == "workers=4: 5 CPUs are needed, there are 4; waiting for the cluster to grow\n"


def test_a_cluster_of_this_machine_knows_that_it_is_alone():
    assert set(cluster.local_cluster()["resources"]) == {"this_machine_alone"}


def test_with_several_nodes_inputs_must_be_where_all_see_them(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "nodes", lambda: 2)
    root = str(tmp_path / "shared")
    settings = LabelSettings(manifest="m", codebook="c", output=f"{root}/out", storage=StorageSettings(shared_root=root))
    seen = {"manifest": f"{root}/m.parquet", "model": "s3://bucket/model"}
    cluster.check_shared(settings, "http://mlflow", seen)
    for field, path in (("manifest", "data/m.parquet"), ("codebook", "/home/me/codebook"), ("model", f"{root}-not/model")):
        with pytest.raises(ValueError, match=rf"^{field}={path}: the cluster has 2 nodes; use s3://… or a path below"):
            cluster.check_shared(settings, "http://mlflow", {**seen, field: path})
    with pytest.raises(ValueError, match=r"^output="):
        cluster.check_shared(replace(settings, output="out"), "http://mlflow", seen)
    with pytest.raises(ValueError, match="run an MLflow server"):
        cluster.check_shared(settings, "sqlite:///mlflow.db", seen)
    monkeypatch.setattr(cluster, "nodes", lambda: 1)
    cluster.check_shared(replace(settings, output="out"), "sqlite:///mlflow.db", {"manifest": "m"})
