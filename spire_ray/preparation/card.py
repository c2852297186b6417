"""What preparation made of a manifest, in figures: for `card.md` and for the cards of packs."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from spire_ray.core import tables

_PERCENTILES = (5, 25, 50, 75, 95)


def figures(folder: str, total: Any) -> dict[str, Any]:
    """Percentiles of the figures of the rows that are kept, how many rows each note has, and what was left out."""
    columns: dict[str, list[np.ndarray]] = {"snr": [], "clipping": [], "duration": []}
    notes: Counter[str] = Counter()
    for part in tables.parts(folder):
        table = tables.read(part, [*columns, "note"])
        for name, found in columns.items():
            found.append(table[name].to_numpy())
        notes.update(note for note in table["note"].to_pylist() if note)
    made = {name: np.concatenate([np.zeros(0), *found]) for name, found in columns.items()}
    told = {
        name: [round(float(value), 4) for value in np.nanpercentile(values, _PERCENTILES)] if len(values) else []
        for name, values in made.items()
    }
    return {"percentiles": told, "notes": dict(sorted(notes.items())), "rejected": total.rejected}


def lines(facts: Mapping[str, Any]) -> list[str]:
    """Markdown of a card; `facts` are those of the record."""
    found = facts["figures"]
    told = ["# Preparation", "", f"{facts['rows']} rows, {facts['hours']:.2f} h; {facts['rejected']} rows were left out.", ""]
    told += ["| of the rows that are kept | " + " | ".join(f"{p} %" for p in _PERCENTILES) + " |", "|---|" + "---:|" * 5]
    names = {"snr": "signal to noise, dB", "clipping": "clipped samples, %", "duration": "duration, s"}
    for name, title in names.items():
        if values := found["percentiles"][name]:
            scale = 100 if name == "clipping" else 1
            told.append(f"| {title} | " + " | ".join(f"{scale * value:.2f}" for value in values) + " |")
    if found["notes"] or found["rejected"]:
        told += ["", "| what became of rows | rows |", "|---|---:|"]
        told += [f"| {note} | {count} |" for note, count in found["notes"].items()]
        told += [f"| left out: {reason} | {count} |" for reason, count in sorted(found["rejected"].items())]
    return told
