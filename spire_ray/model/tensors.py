"""Names and shapes of the tensors of a model folder, read from the heads of its safetensors files alone."""

import json
from pathlib import Path

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

Shapes = dict[str, list[int]]


def files(model: Path) -> list[str]:
    """Names of the weight files. Raises ValueError for a folder without."""
    if (model / INDEX).exists():
        return sorted(set(json.loads((model / INDEX).read_text())["weight_map"].values()))
    if (model / SINGLE).exists():
        return [SINGLE]
    raise ValueError(f"model={model}: neither {SINGLE} nor {INDEX} there")


def shapes(file: Path) -> Shapes:
    """Shape of each tensor in a file, by name: its first 8 bytes are the length of the JSON that follows."""
    with file.open("rb") as stream:
        head = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {name: facts["shape"] for name, facts in head.items() if name != "__metadata__"}


def require_extendable(model: Path) -> dict[str, Shapes]:
    """The tensors of each weight file of a model whose vocabulary can grow.

    Raises ValueError for one whose rows of words lie elsewhere than in the input and the output matrix (Phi has a bias of the
    head, some families an embedding for each layer): they would keep their length, and the folder would not load.
    """
    found = {file: shapes(model / file) for file in files(model)}
    known = {name: shape for tensors in found.values() for name, shape in tensors.items()}
    if EMBEDDING not in known:
        raise ValueError(f"model={model}: no tensor {EMBEDDING}; the families that can be extended call it so")
    config = json.loads((model / "config.json").read_text())
    if config.get("tie_word_embeddings") is False and HEAD not in known:
        raise ValueError(f"model={model}: no tensor {HEAD}; the families that can be extended call it so")
    words = config["vocab_size"]
    others = [
        name for name, shape in known.items() if name not in (EMBEDDING, HEAD) and ".layers." not in name and shape[:1] == [words]
    ]
    if others:
        raise ValueError(
            f"model={model}: {', '.join(sorted(others))} has a row for each word too, and only {EMBEDDING} and {HEAD} are "
            "extended; choose a family of docs/models.md"
        )
    return found
