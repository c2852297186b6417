"""ZeRO checkpoint → Hugging Face model folder, without building the model."""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from spire_ray.core import storage
from spire_ray.model import extension, tensors, zero_weights
from spire_ray.model.tensors import INDEX, SINGLE
from spire_ray.model.zero_weights import Weights
from spire_ray.settings import LoraSettings
from spire_ray.training import families, rows
from spire_ray.training.checkpoints import places
from spire_ray.training.lora import HIGH, LOW
from spire_ray.training.trainable import merged_weight

_SHARD_BYTES = 4 << 30

_COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "spire.json",
)


def export(
    training: str, base: str, output: str, dtype: torch.dtype, lora: LoraSettings | None = None, shard_bytes: int = _SHARD_BYTES
) -> dict[str, Any]:
    """Write the newest complete checkpoint of `training` as a model folder; everything but weights comes from `base`.

    What was frozen is taken from `base`, adapters and new rows are merged. One file of at most `shard_bytes`, or of one tensor
    that is larger, is held at a time. Returns the record of the checkpoint. Raises ValueError if there is none, and for
    trained weights that the model does not have.
    """
    folder, record = _newest(training)
    config = json.loads((Path(base) / "config.json").read_text())
    found = zero_weights.trained(folder, record["step"])
    shards = _plan(Path(base), _is_tied(config), dtype.itemsize, shard_bytes)
    if unknown := sorted(set(found) - _merged_into({name for shard in shards for name in shard}, config)):
        raise ValueError(f"training={training}: the model in {base} has no weight {unknown[0]}, nor {len(unknown) - 1} others")
    Path(output).mkdir(parents=True, exist_ok=True)
    also = extension.control_rows(base)
    where: dict[str, str] = {}
    for number, shard in enumerate(shards):
        name = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else SINGLE
        _write(Path(output) / name, Path(base), shard, found, dtype, lora or LoraSettings(), also)
        where |= dict.fromkeys(shard, name)
    if len(shards) > 1:
        size = sum(file.stat().st_size for file in Path(output).glob("*.safetensors"))
        storage.write_json(str(Path(output) / INDEX), {"metadata": {"total_size": size}, "weight_map": where})
    for name in _COPIED:
        if (Path(base) / name).exists():
            shutil.copy(Path(base) / name, output)
    config["dtype"] = str(dtype).removeprefix("torch.")
    (Path(output) / "config.json").write_text(json.dumps(config, indent=2))
    return record


def _is_tied(config: dict[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings", families.tied(config.get("model_type", ""))))


def _plan(base: Path, tied: bool, width: int, shard_bytes: int) -> list[dict[str, str]]:
    """The files to be written: for each the names of its tensors, and in which file of the base they lie."""
    shards: list[dict[str, str]] = [{}]
    size = 0
    for file in tensors.files(base):
        for name, shape in tensors.shapes(base / file).items():
            if tied and name == tensors.HEAD:  # the embedding under a second name
                continue
            needed = math.prod(shape) * width
            if shards[-1] and size + needed > shard_bytes:
                shards.append({})
                size = 0
            shards[-1][name] = file
            size += needed
    return shards


def _merged_into(names: set[str], config: dict[str, Any]) -> set[str]:
    """The names that trained parameters of these weights can have."""
    stems = {name.removesuffix(".weight") for name in names}
    parts = {stem + end for stem in stems for end in (rows.NEW, LOW, HIGH)}
    tied = {tensors.HEAD, tensors.HEAD.removesuffix(".weight") + rows.NEW} if _is_tied(config) else set()
    return names | parts | tied


def _write(
    path: Path,
    base: Path,
    shard: dict[str, str],
    found: Weights,
    dtype: torch.dtype,
    adapters: LoraSettings,
    also: tuple[int, ...],
) -> None:
    """One file: a tensor after the other is read, merged and rounded."""

    def trained(name: str) -> torch.Tensor | None:
        return found[name]() if name in found else None

    made = {}
    for name, file in shard.items():
        with safe_open(base / file, "pt") as stored:
            whole = merged_weight(name, partial(stored.get_tensor, name), trained, adapters, also)
        made[name] = (whole.to(dtype) if whole.is_floating_point() else whole).contiguous().clone()
    save_file(made, path, metadata={"format": "pt"})


def _newest(training: str) -> tuple[str, dict[str, Any]]:
    """The newest complete checkpoint, on this machine: its folder and record."""
    place = places.place(training)
    record = places.newest(place)
    if record is None:
        raise ValueError(f"training={training}: no complete checkpoint there")
    return place.folder, record
