"""What Hugging Face's `save_to_disk` leaves: a folder of Arrow files, or of one such folder a split."""

from collections.abc import Iterator

import pyarrow as pa

from spire_ray.core import storage
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.schema import Row

_STATE = "state.json"


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of every file that a folder's state names; the split is that of its folder."""
    for folder in _folders(uri):
        split = folder.rpartition("/")[2] if folder else None
        place = storage.join(uri, folder) if folder else uri
        state = storage.read_json(storage.join(place, _STATE))
        for name in (file["filename"] for file in state["_data_files"]):
            file = storage.join(place, name)
            with storage.open_file(file) as raw:
                number = 0
                for batch in pa.ipc.open_stream(raw):
                    for row in batch.to_pylist():
                        found = {"split": split, **row}
                        if "utt_id" not in row:
                            found["utt_id"] = row.get("id") or "/".join(filter(None, (folder, f"{name}#{number}")))
                        yield f"{file}: row {number}", found
                        number += 1


def recognizes(file: str) -> bool:
    """A folder with a state, or with folders that have one."""
    return storage.is_folder(file) and bool(_folders(file))


def _folders(uri: str) -> list[str]:
    here = storage.listing(uri)
    if _STATE in here:
        return [""]
    listed = storage.read_json(storage.join(uri, "dataset_dict.json"))["splits"] if "dataset_dict.json" in here else []
    return [name for name in listed if storage.exists(storage.join(uri, name, _STATE))]


FORMATS.register("arrow", Format(recognizes, rows))
