"""A new thing is one file: ours are found by their place, others by the configuration that names their module."""

import json
import os
import subprocess
import sys

import pytest

from spire_ray.core import registry
from spire_ray.core.stage import STAGES

PLUGIN = '''
"""A stage of my own."""
from dataclasses import dataclass
from typing import Literal
from spire_ray.core.stage import STAGES, Stage
from spire_ray.settings import StageSettings

@dataclass(frozen=True, kw_only=True)
class CountSettings(StageSettings):
    """Counts."""
    stage: Literal["count"] = "count"
    text: str

def run(job):
    job.facts["letters"] = len(job.settings.text)

STAGES.register("count", Stage(CountSettings, lambda settings: (f"letters of {settings.text}",), run, uses="nothing"))
'''


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="stage='lable': did you mean label"):
        STAGES["lable"]
    assert "lable" not in STAGES
    assert "label" in STAGES


def test_ours_are_described_without_being_imported():
    program = "import sys; from spire_ray.core.stage import STAGES\n"
    program += "assert 'label' in STAGES.summaries(); print('spire_ray.stages.label' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_a_module_of_a_stage_imports_neither_ray_nor_torch():
    program = "import sys; from spire_ray.core.stage import STAGES\n"
    program += "assert list(STAGES); print({'ray', 'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_a_plugin_that_is_absent_is_one_line(monkeypatch):
    monkeypatch.setenv(registry.PLUGINS, "")
    with pytest.raises(ValueError, match=r"plugins: no_such_module cannot be imported: .*; install it"):
        registry.load_plugins(["no_such_module"])


def test_a_name_belongs_to_one_module():
    mine = registry.Registry("thing", "spire_ray.tools")
    mine.register("audit", "one")
    with pytest.raises(ValueError, match="thing audit: declared twice"):
        mine.register("audit", "other")


def spire(folder, *arguments, **environment):
    command = [sys.executable, "-m", "spire_ray", *arguments]
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path} | environment
    )


def test_a_stage_from_outside_the_package_runs_like_ours(tmp_path):
    (tmp_path / "my_stages.py").write_text(PLUGIN)
    (tmp_path / "count.yaml").write_text(
        "stage: count\nplugins: [my_stages]\noutput: out\ntext: hello\ntracking: {enabled: false}\n"
    )
    planned = spire(tmp_path, "count", "--config", "count.yaml", "--dry-run", SPIRE_PLUGINS="my_stages")
    assert planned.stdout == "count → out\n  letters of hello\n", planned.stderr
    done = spire(tmp_path, "count", "--config", "count.yaml", SPIRE_PLUGINS="my_stages")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["facts"] == {"letters": 5}
