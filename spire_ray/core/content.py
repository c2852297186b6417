"""What lies in files, as a hash: for inputs that no stage has made, and that a result must not outlive unnoticed."""

import hashlib
from collections.abc import Mapping, Sequence

from spire_ray.core import storage

_BLOCK = 1 << 22

Known = Mapping[str, Sequence[str]]
"""File → its version when it was read last, and the hash of what was in it."""


def of(uri: str, known: Known) -> tuple[str, dict[str, list[str]]]:
    """Hash of a file, or of the Parquet files of a folder, and what is known of each; a file of the same version is not read."""
    names = [name for name in storage.listing(uri) if name.endswith(".parquet")] if storage.is_folder(uri) else []
    files = [storage.join(uri, name) for name in names] or [uri]
    found: dict[str, list[str]] = {}
    for file in files:
        version = storage.version(file)
        before, digest = known.get(file, ("", ""))
        found[file] = [version, digest if before == version else _hash(file)]
    whole = hashlib.sha256("\n".join(digest for _, digest in found.values()).encode())
    return whole.hexdigest()[:16], found


def _hash(file: str) -> str:
    made = hashlib.sha256()
    with storage.open_file(file) as content:
        while block := content.read(_BLOCK):
            made.update(block)
    return made.hexdigest()[:16]
