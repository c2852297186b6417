"""cluster/Dockerfile: hadolint finds nothing, and .ci/image.py, which runs it without Docker, knows all its words."""

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HADOLINT = shutil.which("hadolint", path=str(ROOT / ".helm")) or shutil.which("hadolint")
DOCKERFILE = ROOT / "cluster" / "Dockerfile"


@pytest.mark.skipif(not HADOLINT, reason="`make .helm/helm` brings hadolint")
def test_hadolint_finds_nothing_in_the_dockerfile_and_something_without_what_it_was_told_to_ignore():
    text = DOCKERFILE.read_text()
    kept = [line for line in text.splitlines() if not line.startswith("# hadolint")]
    for content, status in ((text, 0), ("\n".join(kept) + "\n", 1)):
        found = subprocess.run([HADOLINT, "-"], input=content, capture_output=True, text=True, check=False)
        assert found.returncode == status, found.stdout


def test_what_runs_the_dockerfile_without_docker_knows_its_words():
    image = runpy.run_path(str(ROOT / ".ci" / "image.py"))
    found = image["instructions"](DOCKERFILE.read_text())
    assert {word for word, _ in found} == {"ARG", "USER", "WORKDIR", "RUN", "COPY", "ENV"}
    runs = [rest for word, rest in found if word == "RUN"]
    assert len(runs) == 2 and runs[1].startswith("mkdir spire_ray && touch ") and runs[1].endswith("psycopg2-binary==2.9.13")
    files = image["sent"]()
    assert "jobs/cpt.py" in files and "pyproject.toml" in files and not any(file.startswith("tests/") for file in files)
