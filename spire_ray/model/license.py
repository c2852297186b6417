"""Licenses: what a model folder states, what a user accepts, and what holds for a model made of several things."""

import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from spire_ray.core import storage

CARD = "README.md"
OTHER = "other"
_BY_STRICTNESS = (
    *("cc0-1.0", "unlicense", "mit", "bsd-3-clause", "apache-2.0", "cc-by-3.0", "cc-by-4.0", "odc-by"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "gpl-3.0", "openrail", "gemma", "llama2", "llama3"),
    *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", OTHER),
)


def license(folder: str) -> str:
    """`license` in the YAML head of the model card; empty where there is none."""
    card = Path(folder) / CARD
    if not card.is_file():
        return ""
    head = card.read_text().split("---\n")
    data = yaml.safe_load(head[1]) if len(head) > 2 and not head[0] else None
    return str((data or {}).get("license", ""))


def check(folder: str, accepted: tuple[str, ...]) -> str:
    """The license, printed; raises ValueError for a non-commercial one that was not accepted by name."""
    found = license(folder)
    if found:
        print(f"  license of {folder}: {found}")
    if "-nc" in found.lower() and found not in accepted:
        raise ValueError(f"model={folder}: its license {found} is non-commercial; to accept it set license.accept=[{found}]")
    return found


def check_encoder(encoder: str, accepted: tuple[str, ...]) -> None:
    """`check` of an encoder that lies in a folder or bucket; the card of a hub's is there to be read."""
    if os.path.isdir(folder := storage.localize(encoder)):
        check(folder, accepted)


def strictest(licenses: Iterable[str]) -> str:
    """The license under which a thing may be used that was made of things under these; empty where none is stated.

    One that is not known here makes it `other`, which is stricter than all.
    """
    stated = {name.lower() for name in licenses if name}
    known = [name if name in _BY_STRICTNESS else OTHER for name in stated]
    return max(known, key=_BY_STRICTNESS.index, default="")
