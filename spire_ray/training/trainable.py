"""What of a model is trained: all of it, adapters, or the new rows alone."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from spire_ray.settings import LoraSettings, TrainingSettings
from spire_ray.training import lora, rows

Group = dict[str, Any]
"""Parameters with one rate: `name`, `params`, and `lr` where it is not the optimizer's."""

_KEPT = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)
"""Selective checkpointing keeps the results of these and computes everything else again."""


def prepare(model: PreTrainedModel, training: TrainingSettings, first_new_token_id: int, also: Sequence[int] = ()) -> list[Group]:
    """Freeze, split and adapt a model as the settings say; returns the groups of its trained parameters.

    `first_new_token_id` is the first row of the extension; the number of rows where there is none. `also` are rows before
    it that the base model never trained.
    """
    new: list[nn.Parameter] = []
    if splits(training):
        if first_new_token_id >= model.config.vocab_size:
            raise ValueError(
                f"training.trainable={training.trainable}: the model has no new rows; extend it by the stage extend_model"
            )
        new = rows.split(model, first_new_token_id, also)
    if training.trainable != "full":
        model.requires_grad_(False)
        if training.trainable == "lora":
            lora.adapt(model, training.lora)
        for parameter in new:
            parameter.requires_grad_(True)
    _checkpoint(model, training.gradient_checkpointing)
    if training.compile:
        for block in model.base_model.layers:
            block.compile()
    ours = {id(parameter) for parameter in new}
    trained = [p for p in model.parameters() if p.requires_grad]
    rate = training.optimizer.new_rows_lr
    groups: list[Group] = [
        {"name": "weights", "params": [p for p in trained if id(p) not in ours]},
        {"name": "new_rows", "params": [p for p in trained if id(p) in ours], **({"lr": rate} if rate else {})},
    ]
    return [group for group in groups if group["params"]]


def splits(training: TrainingSettings) -> bool:
    """Whether the new rows are parameters of their own."""
    return training.trainable != "full" or training.optimizer.new_rows_lr > 0


def merged(
    base: dict[str, torch.Tensor], trained: dict[str, torch.Tensor], adapters: LoraSettings, also: Sequence[int] = ()
) -> dict[str, torch.Tensor]:
    """The weights of a model after training, under the names and in the shapes that it had before.

    `base` holds those weights, `trained` the parameters that were trained, under the names `prepare` gave them.
    """
    return {name: merged_weight(name, lambda name=name: base[name], trained.get, adapters, also) for name in base}  # type: ignore[misc]


def merged_weight(
    name: str,
    base: Callable[[], torch.Tensor],
    trained: Callable[[str], torch.Tensor | None],
    adapters: LoraSettings,
    also: Sequence[int] = (),
) -> torch.Tensor:
    """One of them; `trained` is asked for what there is under a name."""
    stem = name.removesuffix(".weight")
    if (new := trained(stem + rows.NEW)) is not None:
        old = trained(name)
        return rows.merge(base()[: len(also) - len(new)] if old is None else old, new, also)
    if (low := trained(stem + lora.LOW)) is not None and (high := trained(stem + lora.HIGH)) is not None:
        return lora.merge(base(), low, high, adapters)
    whole = trained(name)
    return base() if whole is None else whole


def _checkpoint(model: PreTrainedModel, kind: str) -> None:
    if kind == "none":
        return
    arguments: dict[str, Any] = {"use_reentrant": False}
    if kind == "selective":
        arguments["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    model.gradient_checkpointing_enable(arguments)


def _policy(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    kept = operation in _KEPT or "varlen_attn" in str(operation) or "flash_attn" in str(operation)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
