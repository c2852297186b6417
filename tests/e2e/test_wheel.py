"""The package is an installed program: from a wheel, in an environment of its own and a folder that knows no checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network: the build backend is in this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    (made,) = folder.glob("spire_ray-*.whl")
    return made


@pytest.fixture(scope="module")
def spire(wheel, tmp_path_factory):
    """The command of a fresh environment, called in an empty folder; the libraries are this environment's, the package is not."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "env")], check=True)
    (site,) = (home / "env" / "lib").glob("python3.*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--prefix", str(home / "env")]
    # not --force-reinstall, which would take the package out of the environment that runs this test
    subprocess.run([*install, "--ignore-installed", str(wheel)], check=True)
    work = home / "work"
    work.mkdir()

    def call(*arguments, **more):
        program = "import sys; from spire_ray.cli import main; sys.exit(main())"
        command = [str(home / "env" / "bin" / "python"), "-c", program, *arguments]
        return subprocess.run(command, cwd=work, capture_output=True, text=True, env=environment(), **more)

    call.work = work
    return call


def environment():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}


def test_the_wheel_carries_configurations_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"spire_ray/configs/quickstart/quickstart.yaml", "spire_ray/configs/languages.yaml"} <= set(names)
    assert {"spire_ray/configs/deepspeed/zero1.json", "spire_ray/quickstart/page.css"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "jobs/", "serve/"))]


def test_the_package_is_that_of_the_wheel(spire):
    program = "import spire_ray; print(spire_ray.__file__)"
    command = [str(spire.work.parent / "env" / "bin" / "python"), "-c", program]
    done = subprocess.run(command, cwd=spire.work, capture_output=True, text=True, env=environment())
    assert done.stdout.startswith(str(spire.work.parent)), done.stderr


def test_every_stage_and_tool_answers(spire):
    listed = [line.split()[0] for line in spire("--help").stdout.splitlines() if line.startswith("  ")]
    assert len(listed) > 20
    for name in listed:
        done = spire(name, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: spire {name} "), (name, done.stderr)


def test_the_bundled_model_hears(spire):
    done = spire("demo", "--no-page")
    assert done.returncode == 0 and "(right)" in done.stdout, done.stderr


def test_the_smoke_recipe_runs_from_an_empty_folder(spire):
    done = spire("init", ".", "--recipe", "quickstart")
    assert done.returncode == 0, done.stderr
    done = spire("run", "configs/quickstart/smoke.yaml", timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "report: runs/smoke/report.html" in done.stdout
    assert json.loads((spire.work / "runs/smoke/evaluate/run.json").read_text())["status"] == "complete"
    clip = next((spire.work / "runs/smoke/corpus/audio/test").glob("*.flac"))
    done = spire("transcribe", str(clip), "--model", "runs/smoke/it/model")
    assert done.returncode == 0 and done.stdout.startswith(f"{clip}\t"), done.stderr
    done = spire("serve", "--config", "configs/quickstart/serve.yaml", "root=runs/smoke", "--dry-run", "--strict")
    assert done.returncode == 0, done.stderr
    for tool in (["status", "runs/smoke/units"], ["audit", "runs/smoke/units"], ["inspect", "runs/smoke/units", "--rows", "1"]):
        done = spire(*tool)
        assert done.returncode == 0, (tool, done.stderr)
