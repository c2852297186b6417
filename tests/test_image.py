"""cluster/Dockerfile: hadolint finds nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HADOLINT = shutil.which("hadolint", path=str(ROOT / ".helm")) or shutil.which("hadolint")
pytestmark = pytest.mark.skipif(not HADOLINT, reason="`make .helm/helm` brings hadolint")


def test_hadolint_finds_nothing_in_the_dockerfile_and_something_without_what_it_was_told_to_ignore():
    text = (ROOT / "cluster" / "Dockerfile").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("# hadolint")]
    for content, status in ((text, 0), ("\n".join(kept) + "\n", 1)):
        found = subprocess.run([HADOLINT, "-"], input=content, capture_output=True, text=True, check=False)
        assert found.returncode == status, found.stdout
