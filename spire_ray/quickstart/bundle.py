"""The toy model that travels with the package, from a finished quickstart: `python -m spire_ray.quickstart.bundle ROOT`.

`spire demo` asks it. It is what `make quickstart` made, with the first clips of the held-out split, by id.
"""

import json
import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from spire_ray.core import storage
from spire_ray.manifest import reader, recording

FOLDER = Path(str(files("spire_ray.quickstart"))) / "demo"
_CLIPS = 3
_LEFT_BEHIND = ("run.json",)
_TITLE = "# it\n"
_ABOUT = """# A toy that hears

Made by the quickstart of spire-ray on two CPU cores: 105 English words of one synthesiser (espeak-ng). It shows that the road
works; it has never heard a person, and says nothing about real speech. Its figures on held-out clips are in the README of
spire-ray. License: Apache-2.0.
"""


def bundle(root: str) -> None:
    """Copy model and clips of a finished quickstart into the package. Raises ValueError for one that has not ended."""
    if not storage.exists(model := storage.join(root, "it", "model", "spire.json")):
        raise ValueError(f"root={root}: no {model}; run `make quickstart` first")
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(os.path.dirname(model), FOLDER / "model", ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
    card = FOLDER / "model" / "README.md"
    card.write_text(card.read_text().replace(_TITLE, _ABOUT).replace("---\nlanguage:", "---\nlicense: apache-2.0\nlanguage:", 1))
    lines = [json.dumps(_clip(row), ensure_ascii=False) for row in held_out(storage.join(root, "corpus", "manifest.parquet"))]
    (FOLDER / "clips.jsonl").write_text("\n".join(lines) + "\n")


def held_out(manifest: str) -> list[dict[str, Any]]:
    """The first rows of the held-out split, by id."""
    rows = [row for row in reader.read(manifest).to_pylist() if row["split"] == "test"]
    return sorted(rows, key=lambda row: str(row["utt_id"]))[:_CLIPS]


def clips() -> list[dict[str, Any]]:
    """Rows of the bundled clips, `path` with them."""
    rows = [json.loads(line) for line in (FOLDER / "clips.jsonl").read_text().splitlines()]
    return [{**row, "path": str(FOLDER / row["audio_filepath"])} for row in rows]


def _clip(row: dict[str, Any]) -> dict[str, Any]:
    """A line of a manifest for a row, its audio copied beside it."""
    source = recording.source(row["audio"])
    assert isinstance(source, str)
    name = f"{row['utt_id']}.flac"
    shutil.copyfile(source, FOLDER / name)
    kept = {key: row[key] for key in ("utt_id", "duration", "text", "language", "speaker", "split")}
    return {**kept, "audio_filepath": name, "translations": dict(row["translations"])}


if __name__ == "__main__":
    bundle(sys.argv[1])
