"""Low-rank adapters (Hu et al., arXiv 2106.09685), with the names that peft gives them on disk.

Not peft itself: it needs accelerate, and where that is installed transformers imports it, and DeepSpeed with it, in every
process that loads a model.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spire_ray.settings import LoraSettings

LOW, HIGH = ".lora_A.weight", ".lora_B.weight"


class Adapted(nn.Module):
    """A linear layer and its update `scale · B A`; B begins at zero."""

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        dtype = layer.weight.dtype
        self.base_layer = layer
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False, dtype=dtype)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False, dtype=dtype)
        self.scale = scale
        nn.init.zeros_(self.lora_B.weight)

    @property
    def weight(self) -> torch.Tensor:
        """Refused, as what a model computes with it lacks the update."""
        raise ValueError("training.lora.targets: the model reads a weight itself that has an adapter; leave out its layer")

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., in] → [..., out]."""
        output: torch.Tensor = self.base_layer(hidden) + self.lora_B(self.lora_A(hidden)) * self.scale
        return output


def adapt(model: PreTrainedModel, lora: LoraSettings) -> None:
    """Put an adapter on every target layer. Raises ValueError for a target that the model does not have."""
    for module, name, layer in _targets(model, lora):
        setattr(module, name, Adapted(layer, lora.rank, lora.alpha / lora.rank))


def require_targets(config: dict[str, Any], lora: LoraSettings) -> None:
    """Raise ValueError for a target that a model of this `config.json` does not have."""
    with torch.device("meta"):
        _targets(AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)), lora)


def _targets(model: PreTrainedModel, lora: LoraSettings) -> list[tuple[nn.Module, str, nn.Linear]]:
    layers = [
        (module, name, child)
        for module in model.base_model.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear)
    ]
    known = {name for _, name, _ in layers}
    if missing := sorted(set(lora.targets) - known):
        raise ValueError(
            f"training.lora.targets: {model.config.model_type} has no linear layer {', '.join(missing)}; "
            f"it has {', '.join(sorted(known))}"
        )
    if not lora.targets:
        raise ValueError("training.lora.targets=[]: name at least one layer, or use training.trainable=units_only")
    return [found for found in layers if found[1] in lora.targets]


def merge(weight: torch.Tensor, low: torch.Tensor, high: torch.Tensor, lora: LoraSettings) -> torch.Tensor:
    """The weight of a layer with its update, float32."""
    return weight.float() + lora.alpha / lora.rank * (high.float() @ low.float())
