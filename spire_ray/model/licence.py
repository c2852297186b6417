"""The licence of a model folder, as its card states it."""

from pathlib import Path

import yaml

CARD = "README.md"


def licence(folder: str) -> str:
    """`license` in the YAML head of the model card; empty where there is none."""
    card = Path(folder) / CARD
    if not card.is_file():
        return ""
    head = card.read_text().split("---\n")
    data = yaml.safe_load(head[1]) if len(head) > 2 and not head[0] else None
    return str((data or {}).get("license", ""))


def check(folder: str, accepted: tuple[str, ...]) -> str:
    """The licence, printed; raises ValueError for a non-commercial one that was not accepted by name."""
    found = licence(folder)
    if found:
        print(f"  licence of {folder}: {found}")
    if "-nc" in found.lower() and found not in accepted:
        raise ValueError(f"model={folder}: its licence {found} is non-commercial; to accept it set licence.accept=[{found}]")
    return found
