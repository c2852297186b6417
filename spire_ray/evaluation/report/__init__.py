"""Results of any number of evaluations → one report: `report.md`, `report.tex`, and `report.html`, which asks no network."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from spire_ray.core import mlflow_store, storage
from spire_ray.core.provenance import RUN_FILE
from spire_ray.evaluation import results
from spire_ray.evaluation.report import clips, errors, page, tables
from spire_ray.evaluation.report.gathered import gather


def holds(folder: str) -> bool:
    """Whether a folder has the results of an evaluation."""
    return storage.exists(storage.join(folder, results.FILE)) and storage.exists(storage.join(folder, results.BY_ROW))


def write(folders: Sequence[str], to: str) -> str:
    """Write the report of these folders; the text that is printed. Raises ValueError for one without results."""
    entries = gather(folders)
    made, shown = tables.of(entries), list(errors.worst(entries))
    ids: dict[str, set[str]] = {}
    for entry, rows in shown:
        ids.setdefault(entry.folder, set()).update(row["utt_id"] for row in rows)
    text = tables.markdown(made)
    files = {
        "report.md": text,
        "report.tex": tables.latex(made),
        "report.html": page.render(entries, made, shown, clips.heard(ids)),
    }
    for name, content in files.items():
        storage.write_bytes(storage.join(to, name), content.encode())
    _log(folders, files)
    return f"{text}\n→ {storage.join(to, 'report.html')}, report.md, report.tex"


def _log(folders: Sequence[str], files: Mapping[str, str]) -> None:
    """Keep a report with the MLflow runs of its evaluations, as far as they have some and MLflow answers."""
    records = [storage.join(folder, RUN_FILE) for folder in folders]
    runs = [run for path in records if storage.exists(path) and (run := storage.read_json(path).get("mlflow_run_id"))]
    if not runs or not mlflow_store.is_there():
        return
    try:
        client = mlflow_store.client(mlflow_store.store())
        with tempfile.TemporaryDirectory() as made:
            for name, content in files.items():
                Path(made, name).write_text(content)
            for run in runs:
                client.log_artifacts(run, made)
    except Exception as error:  # of whatever stands behind MLflow; the report itself is written
        print(f"  warning: MLflow has not taken the report: {(str(error).splitlines() or [type(error).__name__])[0]}")
