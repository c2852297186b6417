"""Results of any number of evaluations → one report: `report.md`, `report.tex`, and `report.html`, which asks no network."""

from collections.abc import Sequence

from spire_ray.core import storage
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
    for name, content in (
        ("report.md", text),
        ("report.tex", tables.latex(made)),
        ("report.html", page.render(entries, made, shown, clips.heard(ids))),
    ):
        storage.write_bytes(storage.join(to, name), content.encode())
    return f"{text}\n→ {storage.join(to, 'report.html')}, report.md, report.tex"
