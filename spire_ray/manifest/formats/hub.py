"""A data set of the Hugging Face Hub, `hf://datasets/ORG/NAME[@REVISION][#CONFIG]`, streamed by Hugging Face's `datasets`.

Every split is read, and gives its rows their `split`. Audio comes as the bytes that the data set holds, undecoded.
"""

import importlib.util
import re
from collections.abc import Iterator
from typing import Any

from spire_ray.core import storage
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.schema import Row

_ID = re.compile(rf"{storage.HUB}(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?:#(?P<config>.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of all splits. Raises ValueError, in one line, for what cannot be had, and without the extra `hub`."""
    name, revision, config = _parts(uri)
    if importlib.util.find_spec("datasets") is None:
        raise ValueError(f"manifest={uri}: pip install 'spire-ray[hub]'")
    import datasets

    try:
        found = datasets.load_dataset(name, config or None, revision=revision or None, streaming=True)
    except Exception as error:  # of its builders, of the Hub, of the network
        raise ValueError(f"manifest={uri}: {type(error).__name__}: {' '.join(str(error).split())}") from None
    for split, rows in found.items():
        heard = {column for column, feature in (rows.features or {}).items() if isinstance(feature, datasets.Audio)}
        rows.info.features = None  # with them each clip would pass through torchcodec
        for number, row in enumerate(rows):
            place = f"{split}#{number}"
            given = {"split": split, "utt_id": row.get("id"), **row}
            given["utt_id"] = str(given["utt_id"] or place)
            yield f"{uri}: {place}", {key: _audio(value) if key in heard else value for key, value in given.items()}


def _audio(value: Any) -> Any:
    """Bytes with their name, or the path of a file; of one that lies on the Hub its bytes."""
    value = {"bytes": None, "path": value} if isinstance(value, str) else value
    if value is None or value["bytes"] is not None or storage.is_local(value["path"] or ""):
        return value
    from datasets.utils.file_utils import xopen

    with xopen(value["path"], "rb") as file:
        return {"bytes": file.read(), "path": value["path"].rpartition("/")[2]}


def version(uri: str) -> str:
    """The commit that a data set is at. Raises ValueError, saying how to do without the Hub, where it cannot be asked."""
    name, revision, _ = _parts(uri)
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision or None).sha)
    except Exception as error:  # of the Hub and of the network
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"manifest={uri}: {type(error).__name__}: {told}; with @COMMIT the Hub is not asked for it") from None


def _parts(uri: str) -> tuple[str, str, str]:
    found = _ID.fullmatch(uri)
    if found is None:
        raise ValueError(f"manifest={uri}: expected {storage.HUB}ORG/NAME, with @REVISION and #CONFIG where they are wanted")
    return found["name"], found["revision"] or "", found["config"] or ""


def recognizes(file: str) -> bool:
    """By its beginning."""
    return storage.is_hub(file)


FORMATS.register("hub", Format(recognizes, rows))
