"""What of a model folder goes to the Hub: weights, tokenizer, codebook and card, in the Hub's own conventions."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

import yaml

from spire_ray.core import storage
from spire_ray.model import license
from spire_ray.text import record

CARD = "README.md"
_PUBLIC = (
    *("config.json", "generation_config.json", "spire.json", "*.safetensors", "*.safetensors.index.json"),
    *("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("codebook/*", "encoder/*", "samples.md", "LICENSE*", "NOTICE*"),
)
"""Nothing else: `run.json` says where a training lay. A pattern holds for as many folders as it names."""


@dataclass(frozen=True)
class Parcel:
    """What is sent."""

    files: dict[str, int]
    """Name → bytes."""
    card: str
    license: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def parcel(folder: str, name: str, stated: str = "") -> Parcel:
    """What a local folder holds for the Hub as `ORG/NAME`; `stated` is its license where the card names none.

    Raises ValueError for a folder that is no finished model with its codebook, and for a license that is missing or contradicts
    that of the card.
    """
    if not storage.exists(storage.join(folder, "spire.json")):
        raise ValueError(f"folder={folder}: no spire.json there; publish what the stage export has made")
    run = storage.join(folder, "run.json")
    made = storage.read_json(run) if storage.exists(run) else {"status": "complete"}
    if made["status"] != "complete":
        raise ValueError(f"folder={folder}: the stage {made['stage']} has not finished there")
    files = {file: os.path.getsize(os.path.join(folder, file)) for file in _files(folder)}
    said = record.of(folder)
    lacking = [
        what
        for what, there in (
            ("*.safetensors", any("/" not in file and file.endswith(".safetensors") for file in files)),
            ("tokenizer.json", "tokenizer.json" in files),
            (CARD, storage.exists(storage.join(folder, CARD))),
            ("codebook/", said.units is None or any(file.startswith("codebook/") for file in files)),
        )
        if not there
    ]
    if lacking:
        raise ValueError(f"folder={folder}: has no {', '.join(lacking)}; the stage export writes them")
    named = license.license(folder)
    if named and stated and stated != named:
        raise ValueError(f"--license {stated}: its card says {named}, the strictest of what it was made of; leave it out")
    if not (named or stated):
        raise ValueError("--license: neither its data nor its base model state one; say which it has")
    return Parcel(files, _card(storage.read_bytes(storage.join(folder, CARD)).decode(), name, named or stated), named or stated)


def _files(folder: str) -> Iterator[str]:
    """Names, from the folder on, of what may be public; hidden files are not."""
    for file in storage.walk(folder):
        fits = any(fnmatch(file, pattern) and file.count("/") == pattern.count("/") for pattern in _PUBLIC)
        if fits and not any(part.startswith(".") for part in file.split("/")):
            yield file


def _card(text: str, name: str, license: str) -> str:
    """The card with the license in its head, and calls that name the model as the Hub does."""
    _, head, body = text.split("---\n", 2)
    said: Mapping[str, object] = {"license": license} | (yaml.safe_load(head) or {})
    body = body.replace("--model .", f"--model {name}").replace('from_pretrained(".")', f'from_pretrained("{name}")')
    return f"---\n{yaml.safe_dump(dict(said), sort_keys=False)}---\n{body}"
