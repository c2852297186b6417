"""The Helm chart of cluster/ with the whole road of SPIRE: what every pod may do, and that every step has what it needs."""

import importlib
import json
import os
import re
import subprocess

import pytest
import yaml

from spire_ray.core import config, storage
from spire_ray.core.fields import fields
from spire_ray.recipes import kubernetes, manifests, plan, room, runner
from spire_ray.tools import cluster
from tests.helm_chart import CHART, HELM, ROOT, gpus_of, helm, of_kind, pods_of, ports_of, rendered, spec_of

ROAD = "configs/spire/spire.yaml"
pytestmark = pytest.mark.skipif(not HELM, reason="`make .helm/helm` brings Helm")


@pytest.fixture(scope="module")
def road():
    os.chdir(ROOT)
    return runner.load(ROAD, [])


@pytest.fixture(scope="module")
def values(road, tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "road.yaml"
    path.write_text(manifests.written(manifests.values(road)))
    return path


@pytest.fixture(scope="module")
def objects(values):
    return rendered(values, "--set", "only=all", "--set", "shared=true")


def test_helm_finds_nothing_wrong(values):
    done = helm("lint", str(CHART), "--strict", "--values", str(values), "--set", "only=all", "--set", "shared=true")
    assert done.returncode == 0, done.stdout


def test_every_step_is_a_job_that_says_what_the_recipe_says_and_the_last_one_a_service(road, objects):
    jobs, planned = of_kind(objects, "RayJob"), runner.stages(manifests._everywhere(road))
    assert list(jobs) == [f"spire-ray-{name.replace('.', '-')}" for name in planned if name != "serve"] + ["spire-ray-report"]
    texts = of_kind(objects, "ConfigMap")
    for name, settings in planned.items():
        if name == "serve":
            continue
        job = f"spire-ray-{name.replace('.', '-')}"
        assert jobs[job]["spec"]["entrypoint"] == f"python -m spire_ray {settings.stage} --config /etc/spire-ray/config.yaml"
        data = yaml.safe_load(texts[job]["data"]["config.yaml"])
        said = config.validate(data)
        assert config.identity(said) == config.identity(settings) and said.output == settings.output
        assert said.storage.shared_root and said.storage.roots
    assert jobs["spire-ray-report"]["spec"]["entrypoint"].startswith("python -m spire_ray report /mnt/spire/spire/evaluate --to ")
    [service] = of_kind(objects, "RayService").values()
    [application] = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    served = config.load(application["args"]["config"])
    assert served.model == planned["serve"].model and 2 <= served.replicas <= served.max_replicas
    module, _, builder = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), builder))
    # the application scales its model by the audio in work; what stands here would take its place
    scaled = {each["name"]: each.get("autoscaling_config") for each in application["deployments"]}
    assert scaled["Ingress"]["min_replicas"] >= 2 and scaled["Model"] is None
    assert {each["name"] for each in application["deployments"]} == {"Ingress", "Model"}


def test_every_input_of_every_job_is_made_by_an_earlier_one_or_named_as_given(road):
    given, made = set(manifests.given(road)), {}
    for name, settings in runner.stages(road).items():
        for field in fields(settings):
            for place in storage.alternatives(str(field.value)) if field.reference and field.value else ():
                comes = plan.maker_of(place, made) or f"{name}.{field.key}={field.value}" in given
                assert comes or not place.startswith("/"), f"{name}: {field.key}={place}"
        made[name] = settings
    assert {text.partition("=")[2] for text in given} == {
        "/mnt/spire/comet/bin/python",
        "Unbabel/wmt22-cometkiwi-da",
        *(f"/mnt/spire/copies/{place}" for place in ("cv-corpus/en", "europarl-st/v1.1", "covost2", "monolingual", "parallel")),
    }


def test_every_model_fits_the_cards_of_its_nodes(road, objects):
    planned, ray = runner.stages(road), of_kind(objects, "RayJob", "RayService")
    for name, settings in planned.items():
        each = ray["spire-ray-api" if name == "serve" else f"spire-ray-{name.replace('.', '-')}"]
        need, has = room.of(name, planned), gpus_of(each)
        assert (need is None) == (has is None)
        if need:
            mib, cards, pods = has
            assert need.gib * 1024 <= mib and cards * pods >= need.count and (cards > 1 or not need.together)
        if settings.stage == "pseudo_label":  # 13 B parameters in bfloat16
            assert mib * 2**20 > 2 * 13.0e9 and need.gib * 2**30 > 2 * 13.0e9


def test_what_fits_no_pool_is_refused_by_the_name_of_its_step(values):
    pool = {"name": "gpu-48", "memoryGb": 48, "perNode": 8, "cpu": 7, "memory": "56Gi", "scratch": "9Gi", "max": 4}
    pools = ["--set", "only=all", "--set-json", f"gpus=[{json.dumps(pool)}]"]
    done = helm("template", "spire-ray", str(CHART), "--values", str(values), *pools)
    assert done.returncode and "spire-ray-cpt-train: needs 53.7 GiB on each of 8 GPUs of one machine or more" in done.stderr


def test_no_pod_is_root_writes_to_its_image_or_has_a_key_in_its_manifest(objects):
    seen = 0
    for each in objects:
        for pod in pods_of(each):
            spec, seen = pod["spec"], seen + 1
            assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]
            assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "spire-ray"  # which the NetworkPolicy selects
            head = spec["containers"][0]["name"] == "ray-head"
            assert spec["automountServiceAccountToken"] is head
            for container in spec["containers"]:
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert container["resources"]["requests"] == container["resources"]["limits"]
                for variable in container.get("env", []):
                    assert not re.search("TOKEN|KEY|PASSWORD|SECRET", variable["name"])
    assert seen > 80
    [policy] = of_kind(objects, "NetworkPolicy").values()
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/instance": "spire-ray"}


def test_every_ray_pod_has_room_for_what_ray_spills_and_the_cache_keeps_and_leaves_its_logs(objects):
    for each in of_kind(objects, "RayJob", "RayService", "RayCluster").values():
        spec = spec_of(each)
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            ray, logs = group["template"]["spec"]["containers"]
            mounts = {mount["mountPath"]: mount["name"] for mount in ray["volumeMounts"]}
            variables = {variable["name"]: variable.get("value") for variable in ray["env"]}
            assert group["rayStartParams"]["object-spilling-directory"].startswith("/scratch/")
            assert variables["SPIRE_CACHE"].startswith("/scratch/") and {"/scratch", "/tmp", "/dev/shm"} <= mounts.keys()
            assert mounts["/tmp/ray"] == "ray-logs"  # the name that KubeRay's autoscaler mounts
            assert ray["resources"]["requests"]["ephemeral-storage"]
            assert "/mnt/spire/logs/" in logs["args"][0] and variables["MLFLOW_TRACKING_URI"] == "http://spire-ray-mlflow:5000"


def test_a_driver_has_a_pod_off_the_head_and_no_job_waits_or_runs_for_ever(objects):
    for job in of_kind(objects, "RayJob").values():
        spec = job["spec"]
        assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"] <= 14 * 86400
        offered = [group["rayStartParams"].get("resources") for group in spec["rayClusterSpec"]["workerGroupSpecs"]]
        # KubeRay hands the value to a shell: a quoted JSON string
        assert json.loads(spec["entrypointResources"]) in [json.loads(json.loads(text)) for text in offered if text]
        assert len(job["metadata"]["name"]) <= 47


def test_one_ray_version_and_one_image(objects):
    version = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert f"BASE=rayproject/ray:{version}-py" in (ROOT / "cluster" / "Dockerfile").read_text()
    pods = [pod for each in objects for pod in pods_of(each) if each["kind"] != "StatefulSet"]
    [image] = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    assert image.rpartition(":")[2].startswith(version)
    assert {spec_of(each)["rayVersion"] for each in of_kind(objects, "RayJob", "RayService").values()} == {version}
    assert 'kuberay: ">=1.5.1"' in (CHART / "Chart.yaml").read_text()


def test_values_choose_digests_service_accounts_an_mlflow_of_ones_own_and_s3_alone(values):
    more = {
        "image.digest": "sha256:0",
        "image.service": "spire-ray:vllm",
        "serviceAccount.annotations.role": "arn",
        "mlflow.server": "false",
        "mlflow.uri": "https://mlflow.example",
        "storage.claim.name": "",
        "storage.endpoint": "http://minio:9000",
        "scratch.class": "fast",
        "gcs.redis": "redis.example:6379",
        "only": "extend",
    }
    objects = rendered(values, *(part for item in more.items() for part in ("--set", "=".join(item))))
    assert {each["kind"] for each in objects} == {
        *("ServiceAccount", "NetworkPolicy", "RayService", "PodDisruptionBudget", "RayJob", "ConfigMap")
    }
    assert list(of_kind(objects, "RayJob")) == ["spire-ray-extend"]
    assert {c["image"] for p in pods_of(of_kind(objects, "RayJob")["spire-ray-extend"]) for c in p["spec"]["containers"]} == {
        "spire-ray@sha256:0"
    }
    assert of_kind(objects, "ServiceAccount")["spire-ray"]["metadata"]["annotations"] == {"role": "arn"}
    [service] = of_kind(objects, "RayService").values()
    assert service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"] == {"redisAddress": "redis.example:6379"}
    for pod in pods_of(service):
        [ray] = pod["spec"]["containers"]
        variables = {variable["name"]: variable["value"] for variable in ray["env"]}
        assert ray["image"] == "spire-ray:vllm" and variables["MLFLOW_TRACKING_URI"] == "https://mlflow.example"
        assert variables["AWS_ENDPOINT_URL"] == "http://minio:9000" and "HF_HOME" not in variables
        assert [volume["name"] for volume in pod["spec"]["volumes"] if "ephemeral" in volume] == ["scratch"]
        assert "shared" not in {volume["name"] for volume in pod["spec"]["volumes"]}


def test_prometheus_and_grafana_get_what_is_in_files(values):
    objects = rendered(values, "--set", "monitoring.enabled=true", "--set", "monitoring.labels.release=prometheus")
    [monitor], [rules] = of_kind(objects, "PodMonitor").values(), of_kind(objects, "PrometheusRule").values()
    assert monitor["metadata"]["labels"]["release"] == rules["metadata"]["labels"]["release"] == "prometheus"
    ports = {port["name"] for pod in pods_of(of_kind(objects, "RayService")["spire-ray-api"]) for port in ports_of(pod)}
    assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports
    heard = of_kind(objects, "NetworkPolicy")["spire-ray"]["spec"]["ingress"][2]
    assert "monitoring" in str(heard["from"]) and {port["port"] for port in heard["ports"]} == {8080, 8000}
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    board = of_kind(objects, "ConfigMap")["spire-ray-dashboard"]["data"]["spire-ray.json"]
    assert json.loads(board) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_the_script_for_a_laptop_renders_with_its_values(tmp_path):
    script = (ROOT / "cluster" / "kind.sh").read_text()
    assert subprocess.run(["bash", "-n", str(ROOT / "cluster" / "kind.sh")], check=False).returncode == 0
    assert re.search(r"^OPERATOR=(.*)$", script, re.M)[1] == "1.5.1"
    found = manifests.values(runner.load(str(ROOT / "cluster" / "toy.yaml"), []))
    (tmp_path / "toy.yaml").write_text(manifests.written(found))
    small = ("--values", str(ROOT / "cluster" / "kind.values.yaml"), "--values", str(tmp_path / "toy.yaml"), "--set", "only=all")
    objects = rendered(ROOT / "cluster" / "kind.values.yaml", *small)
    assert list(of_kind(objects, "RayJob")) == ["spire-ray-corpus", "spire-ray-init"]
    assert all(gpus_of(each) is None for each in of_kind(objects, "RayJob", "RayService").values())
    assert {each["spec"]["accessModes"][0] for each in of_kind(objects, "PersistentVolumeClaim").values()} == {"ReadWriteOnce"}


KUBECTL = """#!/usr/bin/env -S python3 -SE
import json, pathlib, sys
state = pathlib.Path({state!r})
jobs = json.loads(state.read_text())
if sys.argv[1] == "apply":
    name = [line.split(": ")[1] for line in sys.stdin.read().split("kind: RayJob")[1].splitlines() if "  name: " in line][0]
    jobs["applied"].append(name)
    jobs.setdefault(name, jobs["bad"].get(name, "Complete"))
elif sys.argv[1] == "delete":
    jobs.pop(sys.argv[3])
elif sys.argv[3] in jobs:
    print(jobs[sys.argv[3]], end="")
state.write_text(json.dumps(jobs))
"""


@pytest.mark.parametrize(("end", "tool"), [("Failed", "logs job/"), ("ValidationFailed", "describe rayjob ")])
def test_jobs_are_run_in_their_order_and_the_same_call_goes_on_after_a_failure(values, tmp_path, monkeypatch, capsys, end, tool):
    state = tmp_path / "state.json"
    some = [job for job in yaml.safe_load(values.read_text())["jobs"] if job["name"] in ("fetch", "codebook", "extend", "report")]
    values = tmp_path / "some.yaml"
    values.write_text(manifests.written({"jobs": some}))
    state.write_text(json.dumps({"applied": [], "bad": {"spire-ray-codebook": end}}))
    (tmp_path / "kubectl").write_text(KUBECTL.format(state=str(state)))
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "helm").symlink_to(HELM)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    call = ["apply", str(values), "--chart", str(CHART), "--seconds", "0"]
    assert cluster.main(call) == 2
    assert f"spire-ray-codebook: failed; `kubectl {tool}spire-ray-codebook` says why" in capsys.readouterr().err
    jobs = [f"spire-ray-{job['name']}" for job in some]
    known = json.loads(state.read_text())
    assert known["applied"] == jobs[:2]
    state.write_text(json.dumps({**known, "bad": {}, "applied": []}))
    kubernetes.apply([str(values)], str(CHART), "spire-ray", 0)
    assert capsys.readouterr().out.splitlines()[-1] == "spire-ray-report: Complete"
    assert json.loads(state.read_text())["applied"] == jobs
