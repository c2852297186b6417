"""The manifests of cluster/: one set of pods, one Ray version, no work on the head, no secret in a file."""

import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "cluster"
FILES = sorted(CLUSTER.glob("*.yaml"))
DOCUMENTS = [(file, document) for file in FILES for document in yaml.safe_load_all(file.read_text())]
ALL = [pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}") for _, document in DOCUMENTS]
RAY = [pytest.param(document, id=file.name) for file, document in DOCUMENTS if document["apiVersion"] == "ray.io/v1"]
JOBS = [pytest.param(document["spec"], id=file.name) for file, document in DOCUMENTS if document["kind"] == "RayJob"]
DEPENDENT = sorted([*CLUSTER.glob("ray-job.*.yaml"), CLUSTER / "ray-service.yaml"])


def cluster_of(document):
    """The RayCluster spec in a document of KubeRay."""
    spec = document["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


def containers_of(document):
    """All containers that a document starts."""
    if document["apiVersion"] == "ray.io/v1":
        groups = [cluster_of(document)["headGroupSpec"], *cluster_of(document)["workerGroupSpecs"]]
    else:
        groups = [document["spec"]] if document["kind"] == "Deployment" else []
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def ray_version():
    return re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_document_is_an_object_of_kubernetes(file):
    for document in yaml.safe_load_all(file.read_text()):
        assert document["apiVersion"] and document["kind"] and document["metadata"]["name"]


@pytest.mark.parametrize("file", DEPENDENT, ids=lambda file: file.name)
def test_pods_are_those_of_the_ray_cluster(file):
    spec = importlib.util.spec_from_file_location("sync", CLUSTER / "sync.py")
    sync = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sync)
    assert file.read_text() == sync.synced(file.read_text(), (CLUSTER / "ray-cluster.yaml").read_text())


@pytest.mark.parametrize("document", RAY)
def test_the_head_has_no_cpus(document):
    assert cluster_of(document)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("document", RAY)
def test_one_ray_version(document):
    assert cluster_of(document)["rayVersion"] == ray_version()


def test_one_image_with_that_ray_version():
    assert f"FROM rayproject/ray:{ray_version()}-py" in (CLUSTER / "Dockerfile").read_text()
    [image] = {container["image"] for _, document in DOCUMENTS for container in containers_of(document)}
    assert image.rpartition(":")[2].startswith(ray_version())


@pytest.mark.parametrize("document", ALL)
def test_requests_equal_limits_and_secrets_come_from_secrets(document):
    for container in containers_of(document):
        assert container["resources"]["requests"] == container["resources"]["limits"]
        for variable in container["env"]:
            if re.search("TOKEN|KEY|PASSWORD", variable["name"]):
                assert variable["valueFrom"]["secretKeyRef"]["optional"] and "value" not in variable


@pytest.mark.parametrize("document", RAY)
def test_every_ray_container_has_the_hub_token_and_shared_memory(document):
    for container in containers_of(document):
        assert {"HF_TOKEN", "HF_HOME", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"} <= {v["name"] for v in container["env"]}
        assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_a_stage_with_a_config_of_that_stage(job):
    stage, config = re.fullmatch(r"python jobs/(\w+)\.py --config (configs/\S+\.yaml)", job["entrypoint"]).groups()
    assert (ROOT / "jobs" / f"{stage}.py").is_file()
    assert yaml.safe_load((ROOT / config).read_text())["stage"] == stage


@pytest.mark.parametrize("job", JOBS)
def test_a_driver_has_a_pod_off_the_head(job):
    needed = json.loads(job["entrypointResources"])
    offered = [group["rayStartParams"].get("resources", "'{}'") for group in job["rayClusterSpec"]["workerGroupSpecs"]]
    # KubeRay hands the value to a shell: a quoted JSON string.
    assert needed in [json.loads(json.loads(text)) if text.startswith('"') else {} for text in offered]


def test_the_service_starts_the_application_of_this_repository():
    service = yaml.safe_load((CLUSTER / "ray-service.yaml").read_text())["spec"]
    [application] = yaml.safe_load(service["serveConfigV2"])["applications"]
    module, _, builder = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), builder))
    assert yaml.safe_load((ROOT / application["args"]["config"]).read_text())["stage"] == "serve"
    assert {deployment["name"] for deployment in application["deployments"]} == {"Ingress", "Model"}


def test_the_page_names_every_file():
    page = (CLUSTER / "README.md").read_text()
    for file in CLUSTER.iterdir():
        assert file.name in page or file.name in {"README.md", "__pycache__"}


@pytest.mark.parametrize("job", JOBS)
def test_no_job_waits_or_runs_for_ever(job):
    assert 0 < job["preRunningDeadlineSeconds"] < job["activeDeadlineSeconds"] <= 14 * 86400
