"""Room for the workers that a stage asks for."""

from dataclasses import replace

import pytest
import ray

from spire_ray.runtime import cluster, nodes
from spire_ray.settings import LabelSettings, StorageSettings


def holding(monkeypatch, *nodes):
    found = [{"Alive": True, "NodeID": str(number), "Resources": has} for number, has in enumerate(nodes)]
    monkeypatch.setattr(ray, "nodes", lambda: found)
    return found


def test_more_workers_than_this_machine_holds_are_refused_with_what_is_lacking(monkeypatch):
    holding(monkeypatch, {"CPU": 4.0, "this_machine_alone": 1.0})
    cluster.require("workers", 2, 2, 0)
    with pytest.raises(ValueError, match=r"workers=3: 6 CPUs are needed, there are 4, 3 GPUs are needed, there are 0 on this"):
        cluster.require("workers", 3, 2, 1)


def test_a_cluster_that_may_grow_is_waited_for_with_a_line(monkeypatch, capsys):
    holding(monkeypatch, {"CPU": 4.0})
    cluster.require("workers", 4, 1, 0, beside=1)
    assert capsys.readouterr().out == "workers=4: 5 CPUs are needed, there are 4; waiting for the cluster to grow\n"


def test_what_no_node_has_is_asked_for_and_waited_for_so_long_and_no_longer(monkeypatch):
    asked = []
    holding(monkeypatch, {"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0})
    monkeypatch.setattr(cluster, "_ask_for", lambda *work: asked.append(work))
    monkeypatch.setattr(cluster, "_ASKED_EVERY", 0.01)
    told = r"^workers=2: 2 GPUs are needed, there are 1, and no node came in wait_minutes=0.002; run it again"
    with pytest.raises(ValueError, match=told):
        cluster.require("workers", 2, 1, 1, least=2, wait_minutes=0.002)
    assert set(asked[:-1]) == {(2, 1, 1)} and asked[-1] == (0, 1, 1)  # and in the end nothing: a request outlives its job
    cluster.require("workers", 2, 1, 1, wait_minutes=0.002)  # a pool can begin with one
    with pytest.raises(ValueError, match=r"each needs 5 CPUs of one node, which is room for 0, and no node came"):
        cluster.require("workers", 1, 5, 0, wait_minutes=0.002)


def test_a_node_that_comes_ends_the_waiting(monkeypatch):
    found = holding(monkeypatch, {"CPU": 4.0})
    monkeypatch.setattr(cluster, "_ASKED_EVERY", 0.01)
    come = {"Alive": True, "NodeID": "new", "Resources": {"CPU": 1.0, "GPU": 1.0}}
    monkeypatch.setattr(cluster, "_ask_for", lambda workers, *_: found.extend([come] * workers))
    cluster.require("workers", 1, 1, 1, wait_minutes=1)
    assert found.count(come) == 1  # asked for once, and seen at the next look


def test_a_pool_leaves_the_cpus_that_its_tasks_need(monkeypatch):
    holding(monkeypatch, {"CPU": 2.0}, {"CPU": 2.0}, {"CPU": 2.0})
    assert cluster.actors(5, 9).max_size == cluster.actors(5, 9).min_size == 5
    small = cluster.actors(5, 9, without=["0"])
    assert (small.min_size, small.max_size) == (3, 5)
    full = cluster.actors(6, 9)
    assert (full.min_size, full.max_size) == (5, 6)


def test_a_cluster_of_this_machine_knows_that_it_is_alone():
    assert set(cluster.local_cluster()["resources"]) == {"this_machine_alone"}


def test_with_several_nodes_inputs_must_be_where_all_see_them(monkeypatch, tmp_path):
    monkeypatch.setattr(nodes, "alive", lambda: 2)
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
    monkeypatch.setattr(nodes, "alive", lambda: 1)
    cluster.check_shared(replace(settings, output="out"), "sqlite:///mlflow.db", {"manifest": "m"})
