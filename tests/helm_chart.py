"""What the tests of the Helm chart share: its rendering, and where things stand in it."""

import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
CHART = ROOT / "cluster" / "chart"
HELM = next((found for place in (ROOT / ".helm", None) if (found := shutil.which("helm", path=place))), "")


def helm(*arguments):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def rendered(values, *more):
    """The objects of a release with such values."""
    done = helm("template", "spire-ray", str(CHART), "--values", str(values), *more)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(objects, *kinds):
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def spec_of(each):
    """The RayCluster spec in an object of KubeRay."""
    return each["spec"].get("rayClusterSpec") or each["spec"].get("rayClusterConfig") or each["spec"]


def pods_of(each):
    """Templates of all pods that an object starts."""
    if each["kind"] in ("Deployment", "StatefulSet"):
        return [each["spec"]["template"]]
    if each["apiVersion"] != "ray.io/v1":
        return []
    submitter = [each["spec"]["submitterPodTemplate"]] if each["kind"] == "RayJob" else []
    groups = [spec_of(each)["headGroupSpec"], *spec_of(each)["workerGroupSpecs"]]
    return submitter + [group["template"] for group in groups]


def gpus_of(each):
    """(MiB that a card has at least, cards of a pod, pods at most) of the one group with GPUs; None without."""
    for group in spec_of(each)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        if count := pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu"):
            [term] = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            [asked] = term["matchExpressions"]
            assert asked["operator"] == "Gt"
            return int(asked["values"][0]), int(count), group["maxReplicas"]
    return None


def ports_of(pod):
    return pod["spec"]["containers"][0]["ports"]
