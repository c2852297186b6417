"""docs/tour.ipynb: its cells run in order in an empty folder, and say what the notebook shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRINTED_ELSEWHERE = "  license of "


def test_the_tour_runs_and_says_what_it_shows(tmp_path):
    cells = [cell for cell in json.loads((ROOT / "docs" / "tour.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "tour.py").write_text("\n".join("".join(cell["source"]) for cell in cells))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "tour.py"], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    shown = "".join("".join(output.get("text", "")) for cell in cells for output in cell["outputs"])
    said = [line for line in done.stdout.splitlines() if not line.startswith((PRINTED_ELSEWHERE, "step "))]
    assert said == [line for line in shown.splitlines() if not line.startswith("step ")]
    assert shown.splitlines()[-2:] == ["before a green teacher sees my bicycle", "after  a green queen sees my bicycle"]
    assert sum(line.startswith("step ") for line in done.stdout.splitlines()) == 6
