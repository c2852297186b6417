"""ZeRO checkpoint → Hugging Face model folder, without building the model."""

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

from spire_ray.core import storage
from spire_ray.settings import LoraSettings
from spire_ray.training import checkpoint, remote
from spire_ray.training.engine import deepspeed
from spire_ray.training.trainable import merged

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


def export(training: str, base: str, output: str, dtype: torch.dtype, lora: LoraSettings | None = None) -> dict[str, Any]:
    """Write the newest complete checkpoint of `training` as a model folder; everything but weights comes from `base`.

    What was frozen is taken from `base`, adapters and new rows are merged. Returns the record of the checkpoint. Raises
    ValueError if there is none.
    """
    folder, record = _newest(training)
    config = json.loads((Path(base) / "config.json").read_text())
    trained = _trained(folder, record["step"])
    if config.get("tie_word_embeddings"):  # the head is the embedding, under a second name
        trained = {name: tensor for name, tensor in trained.items() if not name.startswith("lm_head.")}
    whole = merged(_weights(base), trained, lora or LoraSettings())
    Path(output).mkdir(parents=True, exist_ok=True)
    save_torch_state_dict({name: tensor.to(dtype).contiguous().clone() for name, tensor in whole.items()}, output)
    for name in _COPIED:
        if (Path(base) / name).exists():
            shutil.copy(Path(base) / name, output)
    config["dtype"] = str(dtype).removeprefix("torch.")
    (Path(output) / "config.json").write_text(json.dumps(config, indent=2))
    return record


def _newest(training: str) -> tuple[str, dict[str, Any]]:
    """The newest complete checkpoint, on this machine: its folder and record."""
    local = storage.is_local(training)
    record = checkpoint.newest(training) if local else remote.newest(training)
    if record is None:
        raise ValueError(f"training={training}: no complete checkpoint there")
    if local:
        return training, record
    remote.fetch(training, storage.scratch(training), record)
    return storage.scratch(training), record


def _trained(folder: str, step: int) -> dict[str, torch.Tensor]:
    """The trained parameters, float32, by their names in the model."""
    tag = checkpoint.name(step)
    if list((Path(folder) / tag).glob("*_optim_states.pt")):
        deepspeed()
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        with redirect_stdout(StringIO()):  # it prints its steps
            found = get_fp32_state_dict_from_zero_checkpoint(folder, tag=tag, exclude_frozen_parameters=True)
    else:  # without ZeRO and in float32 the weights lie beside the optimizer
        (path,) = (Path(folder) / tag).glob("*model_states.pt")
        found = torch.load(path, map_location="cpu", weights_only=False)["module"]
    return {name.removeprefix("model."): tensor for name, tensor in found.items()}


def _weights(base: str) -> dict[str, torch.Tensor]:
    """All weights of a model folder."""
    return {name: tensor for shard in sorted(Path(base).glob("*.safetensors")) for name, tensor in load_file(shard).items()}
