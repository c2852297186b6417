"""Add the units of a codebook to the vocabulary of a model, offline and before any ZeRO.

Input embedding and output head are extended apart (or once, where they are tied), padded to a multiple of 64 rows. New
rows, padding included, come from N(mean, 1e-5 · covariance) of the old rows (SpireLM, `extend_model.py`). Only files that
hold one of the two are read, one at a time; the others are copied.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from spire_ray.model import prefix, tensors
from spire_ray.model.license import CARD
from spire_ray.model.tensors import EMBEDDING, HEAD, INDEX, Shapes
from spire_ray.settings import ExtendModelSettings
from spire_ray.text import record
from spire_ray.text.chat import CHATML_TEMPLATE, IM_END, IM_START, NO_THINKING, RENDERED_BOS
from spire_ray.text.record import MEGATRON_SPECIALS, RECORD_FILE, UnitVocabulary
from spire_ray.text.tokenizer import unit_words
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint

_COVARIANCE_SCALE = 1e-5
_ROWS_AT_ONCE = 8192


def extend(model: str, output: str, fingerprint: Fingerprint, settings: ExtendModelSettings) -> UnitVocabulary:
    """Write the extended model folder; `model` is a local Hugging Face folder with safetensors.

    Raises ValueError for a model that already has unit tokens, and for one whose words have rows elsewhere than in the two
    matrices.
    """
    if known := UnitVocabulary.load(model):
        known.fingerprint.require(fingerprint, f"model={model}", "the codebook")
        raise ValueError(f"model={model}: already extended; its units are described in {RECORD_FILE}")
    if not Path(model).is_dir():
        raise ValueError(f"model={model}: no folder there; bring it from the Hub first, under `models:` of `spire data fetch`")
    shards = tensors.require_extendable(Path(model))
    Path(output).mkdir(parents=True, exist_ok=True)
    vocabulary, used, size, stop = _extend_tokenizer(model, output, fingerprint, settings)
    config = json.loads((Path(model) / "config.json").read_text())
    rows = max(-(-size // settings.pad_to_multiple_of) * settings.pad_to_multiple_of, config["vocab_size"])
    _extend_weights(Path(model), Path(output), shards, used, rows, settings)
    config["vocab_size"] = rows
    (Path(output) / "config.json").write_text(json.dumps(config, indent=2))
    if (Path(model) / CARD).exists():
        shutil.copy(Path(model) / CARD, output)
    _write_generation(Path(model), Path(output), config, stop)
    now = record.derived(output)
    said = replace(record.of(model), bos=now.bos, terminator=now.terminator, tokenizer=now.tokenizer, units=vocabulary)
    said.save(output)
    return vocabulary


def _extend_tokenizer(
    model: str, output: str, fingerprint: Fingerprint, settings: ExtendModelSettings
) -> tuple[UnitVocabulary, int, int, int | None]:
    """The words of the preset, the units as ordinary words, then the ChatML tokens.

    Returns the vocabulary, how many token ids were in use before and are now, and the id that ends a turn of the chat.
    """
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    if found := unit_words(tokenizer.get_vocab()):
        raise ValueError(
            f"model={model}: its tokenizer holds {found[1]} unit words already; "
            "give it the fingerprint of its codebook with `spire units adopt`"
        )
    used = max(tokenizer.get_vocab().values()) + 1
    if settings.preset == "spire-7b":
        tokenizer.add_tokens([AddedToken(word, normalized=False, special=True) for word in MEGATRON_SPECIALS])
    first = max(tokenizer.get_vocab().values()) + 1
    count = fingerprint.identity.clusters
    words = [codec.token(unit, settings.surface) for unit in range(count)]
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in words])
    prefix.at_the_start_alone(tokenizer, words[0])
    if settings.chat == "chatml":
        chatml = [AddedToken(word, normalized=False, special=True) for word in (IM_END, IM_START)]
        tokenizer.add_special_tokens({"additional_special_tokens": chatml})
        tokenizer.chat_template = CHATML_TEMPLATE
    if tokenizer.chat_template:
        tokenizer.chat_template = _settled(tokenizer)
    tokenizer.save_pretrained(output)
    size = max(tokenizer.get_vocab().values()) + 1
    stop = tokenizer.convert_tokens_to_ids(IM_END) if settings.chat == "chatml" else None
    return UnitVocabulary(first, count, settings.surface, fingerprint, used), used, size, stop


def _settled(tokenizer: Any) -> str:
    """The chat template, so changed that it gives the ids that are trained without being told anything.

    With BOS where the tokenizer puts it before a text and the template does not, and without thinking.
    """
    question = {"conversation": [{"role": "user", "content": "a"}], "tokenize": False, "add_generation_prompt": True}
    usual, rendered = (tokenizer.apply_chat_template(**question, **more) for more in ({}, {"enable_thinking": False}))
    alone, whole = (tokenizer(rendered, add_special_tokens=special)["input_ids"] for special in (False, True))
    lacking = whole[:1] == [tokenizer.bos_token_id] and alone[:1] != whole[:1]
    before = (NO_THINKING if usual != rendered else "") + (RENDERED_BOS if lacking else "")
    return before + str(tokenizer.chat_template)


def _write_generation(model: Path, output: Path, config: dict[str, Any], stop: int | None) -> None:
    """`generation_config.json`, by which Hugging Face and vLLM end an answer at the end of a turn, too."""
    there = model / "generation_config.json"
    generation = json.loads(there.read_text()) if there.exists() else {}
    if stop is not None:
        ends = generation.get("eos_token_id", config.get("eos_token_id"))
        known = ends if isinstance(ends, list) else [] if ends is None else [ends]
        generation["eos_token_id"] = [*known, *({stop} - set(known))]
    if generation:
        (output / there.name).write_text(json.dumps(generation, indent=2))


def _extend_weights(
    model: Path, output: Path, shards: dict[str, Shapes], used: int, rows: int, settings: ExtendModelSettings
) -> None:
    """Write the files, one at a time, with the two vocabulary tensors extended."""
    added = 0
    for shard, names in sorted(shards.items()):
        if not names.keys() & {EMBEDDING, HEAD}:
            shutil.copy(model / shard, output)
            continue
        loaded = load_file(model / shard)
        for name in names.keys() & {EMBEDDING, HEAD}:
            before = loaded[name].nbytes
            loaded[name] = extended_rows(loaded[name], used, rows, settings.init, settings.seed)
            added += loaded[name].nbytes - before
        save_file(loaded, output / shard, metadata={"format": "pt"})
    if (model / INDEX).exists():
        index = json.loads((model / INDEX).read_text())
        if "total_size" in index.get("metadata", {}):
            index["metadata"]["total_size"] += added
        (output / INDEX).write_text(json.dumps(index, indent=2))


def extended_rows(old: torch.Tensor, used: int, rows: int, init: str, seed: int) -> torch.Tensor:
    """The first `used` old rows [V, d] followed by new ones, [rows, d] in all, in the dtype of the old.

    Some families bring more rows than their tokenizer has words: those are padding, and made anew.
    """
    kept = old[:used]
    mean = kept.mean(0, dtype=torch.float64)
    new = mean.expand(rows - len(kept), -1)
    if init == "normal":
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        for start in range(0, len(kept), _ROWS_AT_ONCE):
            centred = kept[start : start + _ROWS_AT_ONCE].double() - mean
            covariance.addmm_(centred.T, centred)
        covariance *= _COVARIANCE_SCALE / (len(kept) - 1)
        # the covariance has rank V - 1 at most; a ridge far below it keeps the factorisation defined
        ridge = torch.eye(len(mean), dtype=torch.float64) * covariance.diagonal().mean() * 1e-9
        factor = torch.linalg.cholesky(covariance + ridge)
        generator = torch.Generator().manual_seed(seed)
        new = new + torch.randn(new.shape, generator=generator, dtype=torch.float64) @ factor.T
    return torch.cat([kept, new.to(old.dtype)])
