"""ZeRO checkpoint → Hugging Face model folder, without building the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict

from spire_ray.training import checkpoint
from spire_ray.training.engine import deepspeed

_COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "units.json",
    "README.md",
)


def export(training: str, base: str, output: str, dtype: torch.dtype) -> dict[str, Any]:
    """Write the newest complete checkpoint of `training` as a model folder; everything but weights comes from `base`.

    Returns the record of the checkpoint. Raises ValueError if there is none.
    """
    record = checkpoint.newest(training)
    if record is None:
        raise ValueError(f"training={training}: no complete checkpoint there")
    deepspeed()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    merged = get_fp32_state_dict_from_zero_checkpoint(training, tag=checkpoint.name(record["step"]))
    config = json.loads((Path(base) / "config.json").read_text())
    weights = {name.removeprefix("model."): tensor for name, tensor in merged.items()}
    if config.get("tie_word_embeddings"):
        weights.pop("lm_head.weight", None)
    Path(output).mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.to(dtype).contiguous().clone() for name, tensor in weights.items()}
    save_torch_state_dict(tensors, output)
    for name in _COPIED:
        if (Path(base) / name).exists():
            shutil.copy(Path(base) / name, output)
    config["dtype"] = str(dtype).removeprefix("torch.")
    (Path(output) / "config.json").write_text(json.dumps(config, indent=2))
    return record
