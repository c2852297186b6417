"""The pods of cluster/chart on this machine: nobody root, and a root file system that cannot be written."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HELPERS = (ROOT / "cluster" / "chart" / "templates" / "_helpers.tpl").read_text()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="a mount namespace needs root"),
]
ENTER = """
set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/code /mnt/python /mnt/packages /mnt/scratch
chmod 1777 /mnt/scratch
cat > /mnt/scratch/recipe.yaml
mount --bind {root} /mnt/code && mount -o remount,bind,ro /mnt/code
mount --bind {python} /mnt/python && mount -o remount,bind,ro /mnt/python
mount --bind {packages} /mnt/packages && mount -o remount,bind,ro /mnt/packages
for place in /tmp /dev/shm; do mount -t tmpfs none $place; chmod 1777 $place; done
mount -o remount,bind,ro /
cd /mnt/code
exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""
"""As a pod: code and packages come with the image, and `/mnt/scratch` stands for the volume `scratch`."""


def test_a_recipe_runs_as_its_pods_do():
    user, group = (re.search(rf"^{key}: (\d+)$", HELPERS, re.M)[1] for key in ("runAsUser", "runAsGroup"))
    steps = [
        {"stage": "corpus", "output": "{root}/corpus", "splits": {"train": 20, "dev": 4, "test": 4, "text": 50}},
        {"stage": "init_model", "output": "{root}/init", "text": "{root}/corpus/text.parquet", "vocabulary": 400},
    ]
    named = [{"name": step["stage"], "settings": step} for step in steps]
    recipe = {"stage": "run", "title": "t", "root": "/mnt/scratch/run", "steps": named}
    variables = dict(re.findall(r"\{name: (HOME|TMPDIR|SPIRE_CACHE|PYTHONDONTWRITEBYTECODE), value: \"?([\w/]+)\"?\}", HELPERS))
    assert variables["HOME"] == "/scratch"
    known = {key: value.replace("/scratch", "/mnt/scratch") for key, value in variables.items()}
    known |= {
        "PATH": "/mnt/python/bin:/usr/bin:/bin:/usr/sbin",
        "PYTHONPATH": "/mnt/code:/mnt/packages",
        "LD_LIBRARY_PATH": "/mnt/python/lib",
    }
    known |= {"MLFLOW_TRACKING_URI": "sqlite:////mnt/scratch/mlflow.db"}
    program = "python3 -m spire_ray run /mnt/scratch/recipe.yaml; touch /mnt/code/written; touch /usr/written; id -u; "
    program += "ls /mnt/scratch/run"
    enter = ENTER.format(root=ROOT, python=sys.base_prefix, packages=sysconfig.get_paths()["purelib"], user=user, group=group)
    command = ["unshare", "-m", "sh", "-c", enter, "sh", "sh", "-c", program]
    done = subprocess.run(command, env=known, input=yaml.safe_dump(recipe), capture_output=True, text=True, timeout=500)
    assert "init_model: done in" in done.stdout, done.stdout + done.stderr
    assert done.stderr.count("written': ") == 2 and not (ROOT / "written").exists()
    assert done.stdout.split()[-4:] == [user, "corpus", "init", "recipe.json"]
