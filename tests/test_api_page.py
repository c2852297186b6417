"""The blocks of docs/api.md, run in the order of the page in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_prints_what_it_says(tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "api.md").read_text())
    assert len(blocks) == 6
    (tmp_path / "page.py").write_text("\n".join(blocks))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    for said in ("the sister forgets the bottle", "die Schwester vergisst die Flasche", "the dog sees a cat"):
        assert said in printed
    assert any(line.startswith("20.0 ") for line in printed)
    assert [line.split()[0] for line in printed if re.fullmatch(r"[12] \d+\.\d+", line)] == ["1", "2"]
    assert list((tmp_path / "training").glob("step-*"))
