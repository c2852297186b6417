"""docs/operations.md: each command is taken from the page and tried as far as it goes without a cluster."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spire_ray import cli
from spire_ray.recipes import plan

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```(.*?)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for opening, text in BLOCKS if not opening for line in text.splitlines()]
BINARIES = {name: shutil.which(name, path=str(ROOT / ".helm")) or shutil.which(name) for name in ("helm", "kubectl")}
pytestmark = pytest.mark.skipif(not all(BINARIES.values()), reason="`make .helm/helm` brings Helm and kubectl")
MADE_BY_KUBERAY = {"spire-ray-api-serve-svc", "spire-ray-head-svc"}
"""Of a RayService and of a RayCluster."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds what the page writes down, and the checkout's files."""
    place = tmp_path_factory.mktemp("operator")
    for name in ("cluster", "configs", "jobs", "spire_ray"):
        (place / name).symlink_to(ROOT / name)
    for opening, text in BLOCKS:
        if opening.startswith("yaml "):
            (place / opening.split()[1]).write_text(text)
    return place


@pytest.fixture(scope="module")
def objects(folder):
    """Kind and name of everything that the commands of Helm make, and jobs of the road."""
    made = []
    for command in [*(c for c in COMMANDS if c.startswith("helm ")), "helm --values my.yaml --values road.yaml --set only=all"]:
        if "road.yaml" in command and not (folder / "road.yaml").exists():
            written = subprocess.run(
                [sys.executable, "-m", "spire_ray", "cluster", "render", "configs/spire/spire.yaml"],
                capture_output=True,
                text=True,
                check=True,
                cwd=folder,
            ).stdout
            (folder / "road.yaml").write_text(written)
        options = shlex.split(command.partition(" --values ")[2])
        line = [BINARIES["helm"], "template", "spire-ray", "cluster/chart", "--values", *options]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        made += [each for each in yaml.safe_load_all(done.stdout) if each]
    return {(each["kind"].lower(), each["metadata"]["name"]) for each in made}


def test_the_page_has_commands_of_every_tool():
    assert {command.split()[0] for command in COMMANDS} == {"docker", "kubectl", "helm", "spire", "curl", "export", "ray"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("kubectl ")])
def test_kubectl_understands_it_and_its_object_is_made(command, objects, folder):
    words = [word for word in shlex.split(command)[1:] if "$" not in word] + (["--from-literal=A=b"] if "$" in command else [])
    offline = ["--dry-run=client"] if words[0] == "create" else []
    line = [BINARIES["kubectl"], *words, "--server=http://127.0.0.1:1", "--request-timeout=20s", *offline]
    line = [word for word in line if word != "--from-literal"]
    environment = os.environ | {"KUBECONFIG": str(folder / "kubeconfig")}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode == 0 or "refused" in told or "no current context" in told, told
    for kind, name in [("persistentvolumeclaim", words[-1])] if words[:2] == ["get", "pvc"] else []:
        assert (kind, name) in objects
    for kind, name in re.findall(r"(rayjob|rayservice|job|service)[ /](spire-ray[\w-]*)", command):
        assert {("rayjob" if kind == "job" else kind, name)} & objects or name in MADE_BY_KUBERAY, name


def test_the_image_is_built_with_arguments_that_its_file_has():
    build, push = (shlex.split(command) for command in COMMANDS if command.startswith("docker "))
    file = (ROOT / build[build.index("-f") + 1]).read_text()
    for given in [build[n + 1] for n, word in enumerate(build) if word == "--build-arg"]:
        assert f"ARG {given.partition('=')[0]}" in file
    assert push[-1] == build[build.index("-t") + 1]
    image = yaml.safe_load(next(text for opening, text in BLOCKS if opening == "yaml my.yaml"))["image"]
    assert push[-1] == f"{image['repository']}:{image['tag']}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(("spire ", "ray job submit"))])
def test_our_commands_plan_what_they_say(command, folder, objects, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    command = command.partition(" > ")[0]  # ours: what is submitted is called here as Ray would call it
    words = shlex.split(command.partition(" -- ")[2].replace("jobs/", "").replace(".py", "") or command)[1:]
    if words[:2] == ["cluster", "apply"]:
        monkeypatch.setenv("PATH", str(Path(BINARIES["helm"]).parent))
        (folder / "nowhere").write_text("")
        monkeypatch.setenv("KUBECONFIG", str(folder / "nowhere"))
        assert cli.main(words) == 2  # the first job is rendered, and there is no cluster to ask about it
        assert "kubectl get rayjob: " in (told := capsys.readouterr().err) and "refused" in told
        return
    monkeypatch.setattr(plan, "lines", lambda planned: iter(()))  # which .ci/dry_run_all.py reads
    dry = [] if words[0] in ("cluster", "plan") else ["--dry-run"] if "--dry-run" not in words else []
    assert cli.main([word for word in (*words, *dry) if word != "--measure"]) == 0  # a test of its own, which takes long
    assert capsys.readouterr().out
