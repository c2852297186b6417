"""Add the units of a codebook to the vocabulary of a model, offline and before any ZeRO.

Input embedding and output head are extended apart (or once, where they are tied), padded to a multiple of 64 rows. New
rows, padding included, come from N(mean, 1e-5 · covariance) of the old rows (SpireLM, `extend_model.py`).
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from spire_ray.fingerprint import Fingerprint
from spire_ray.model.licence import CARD
from spire_ray.settings import ExtendModel
from spire_ray.text.prompts import CHATML_TEMPLATE, IM_END, IM_START
from spire_ray.text.tokenizer import UNITS_FILE, UnitVocabulary
from spire_ray.units import codec

_COVARIANCE_SCALE = 1e-5
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


def extend(model: str, output: str, fingerprint: Fingerprint, settings: ExtendModel) -> UnitVocabulary:
    """Write the extended model folder; `model` is a local Hugging Face folder with safetensors.

    Raises ValueError for a model that already speaks units.
    """
    if (Path(model) / UNITS_FILE).exists():
        raise ValueError(f"model={model}: already extended; its units are described in {UNITS_FILE}")
    Path(output).mkdir(parents=True, exist_ok=True)
    vocabulary, size = _extend_tokenizer(model, output, fingerprint, settings)
    rows = -(-size // settings.pad_to_multiple_of) * settings.pad_to_multiple_of
    config = json.loads((Path(model) / "config.json").read_text())
    _extend_weights(Path(model), Path(output), rows, settings)
    config["vocab_size"] = rows
    (Path(output) / "config.json").write_text(json.dumps(config, indent=2))
    for name in ("generation_config.json", CARD):
        if (Path(model) / name).exists():
            shutil.copy(Path(model) / name, output)
    vocabulary.save(output)
    return vocabulary


def _extend_tokenizer(model: str, output: str, fingerprint: Fingerprint, settings: ExtendModel) -> tuple[UnitVocabulary, int]:
    """Units first, as ordinary words, then the ChatML tokens; returns the vocabulary and the token ids in use."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    count = fingerprint.identity.clusters
    first = max(tokenizer.get_vocab().values()) + 1
    words = [codec.token(unit, settings.surface) for unit in range(count)]
    added = tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in words])
    if added != count or tokenizer.convert_tokens_to_ids(words[-1]) != first + count - 1:
        raise ValueError(f"model={model}: its tokenizer holds some of the {count} unit words already")
    chatml = [AddedToken(word, normalized=False, special=True) for word in (IM_END, IM_START)]
    tokenizer.add_special_tokens({"additional_special_tokens": chatml})
    tokenizer.chat_template = CHATML_TEMPLATE
    tokenizer.save_pretrained(output)
    size = max(tokenizer.get_vocab().values()) + 1
    return UnitVocabulary(first, count, settings.surface, fingerprint), size


def _extend_weights(model: Path, output: Path, rows: int, settings: ExtendModel) -> None:
    """Copy the shards, one at a time, with the two vocabulary tensors extended."""
    index = model / _INDEX
    if index.exists():
        described = json.loads(index.read_text())
        shards = sorted(set(described["weight_map"].values()))
    elif (model / _SINGLE).exists():
        shards = [_SINGLE]
    else:
        raise ValueError(f"model={model}: neither {_SINGLE} nor {_INDEX} there")
    for shard in shards:
        tensors = load_file(model / shard)
        for name in (_EMBEDDING, _HEAD):
            if name in tensors:
                tensors[name] = extended_rows(tensors[name], rows, settings.init, settings.seed)
        save_file(tensors, output / shard, metadata={"format": "pt"})
    if index.exists():
        shutil.copy(index, output)


def extended_rows(old: torch.Tensor, rows: int, init: str, seed: int) -> torch.Tensor:
    """Old rows [V, d] followed by new ones, [rows, d] in all, in the dtype of the old."""
    values = old.double()
    mean = values.mean(0)
    new = mean.expand(rows - len(old), -1)
    if init == "normal":
        centred = values - mean
        covariance = centred.T @ centred / (len(old) - 1) * _COVARIANCE_SCALE
        # the covariance has rank V - 1 at most; a ridge far below it keeps the factorisation defined
        ridge = torch.eye(len(mean), dtype=torch.float64) * covariance.diagonal().mean() * 1e-9
        factor = torch.linalg.cholesky(covariance + ridge)
        generator = torch.Generator().manual_seed(seed)
        new = new + torch.randn(new.shape, generator=generator, dtype=torch.float64) @ factor.T
    return torch.cat([old, new.to(old.dtype)])
