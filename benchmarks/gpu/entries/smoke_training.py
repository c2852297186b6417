"""Loss and gradients of packed rows on the card in bfloat16, in every way that trains, against float32 on the CPU."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.gpu.entry import Absent, Day, Entry, Findings
from benchmarks.gpu.models import batches, llama
from benchmarks.train_ways import SMALL
from spire_ray.settings import LoraSettings, TrainingSettings
from spire_ray.training import attention, trainable
from spire_ray.training.batch import Batch
from spire_ray.training.loss import PackedLoss, can_fuse

ENTRY = Entry("attention, losses, what is trained, recomputation, compile", minutes=1.5)
NEW_ROWS = 5_056
ROW_LENGTH = 512


@dataclass(frozen=True)
class Way:
    """One way to take a step."""

    training: dict[str, Any] = field(default_factory=dict)
    shape: dict[str, Any] = field(default_factory=dict)
    fused: bool = False
    """Liger's loss."""
    flash: bool = False
    """flash-attn instead of PyTorch's own kernel."""


WAYS = {
    "full": Way(),
    "full, Liger": Way(fused=True),
    "full, flash-attn": Way(flash=True),
    "full, grouped heads": Way(shape={"num_key_value_heads": 2}),
    "full, tied, Liger": Way(shape={"tie_word_embeddings": True}, fused=True),
    "lora": Way({"trainable": "lora", "lora": LoraSettings(rank=8)}),
    "units_only": Way({"trainable": "units_only"}),
    "selective recomputation": Way({"gradient_checkpointing": "selective"}),
    "full recomputation": Way({"gradient_checkpointing": "full"}),
    "compile": Way({"compile": True}),
    "compile, selective recomputation, Liger": Way({"compile": True, "gradient_checkpointing": "selective"}, fused=True),
}


def run(day: Day) -> None:
    """Each way by itself."""
    for name, way in WAYS.items():
        day.check(name, partial(step, day, way))


def step(day: Day, way: Way, found: Findings) -> None:
    """One forward and backward pass."""
    if way.fused and (find_spec("liger_kernel") is None or not day.on_gpu):
        raise Absent("Liger's kernels want a GPU and the package liger-kernel")
    if way.flash and (find_spec("flash_attn") is None or not day.on_gpu):
        raise Absent("flash-attn is not installed")
    shape = {**SMALL, "num_hidden_layers": 2, **({"vocab_size": 37_056} if day.on_gpu else {}), **way.shape}
    training = TrainingSettings(steps=1, global_batch_size=1, **way.training)
    first_new_token_id = shape["vocab_size"] - NEW_ROWS
    plain, card = llama(shape).bfloat16().float(), llama(shape)  # weights that bfloat16 holds
    for model in (plain, card):
        trainable.prepare(model, training, first_new_token_id)
        model.train()
    card.load_state_dict(plain.state_dict())
    card.to(day.device, torch.bfloat16 if day.on_gpu else torch.float32)
    attention.on_cpu(plain)
    with nullcontext() if way.flash else mock.patch.dict(sys.modules, {"flash_attn": None}):
        attention.use_varlen(card, None if day.on_gpu else each_document)
    if way.fused and not can_fuse(card, plain=True, partitioned=False):
        raise AssertionError("Liger's loss does not fit this model")
    batch = batches(ROW_LENGTH, rows=2)[0]
    compare(PackedLoss(plain), PackedLoss(card, fused=way.fused), batch, day.device, found)


def compare(expected: PackedLoss, given: PackedLoss, batch: Batch, device: str, found: Findings) -> None:
    """Losses and gradients of all that is trained, taken together."""
    losses = [expected(batch), given(batch.to(torch.device(device)))]
    for loss in losses:
        (loss / len(batch.targets)).backward()
    ours, theirs = (dict(module.named_parameters()) for module in (given, expected))
    pairs = [(ours[name].grad, theirs[name].grad) for name in theirs if theirs[name].requires_grad]
    flat = [torch.cat([gradient.detach().double().cpu().flatten() for gradient in side]) for side in zip(*pairs, strict=True)]
    found["loss"] = float(losses[1]) / len(batch.targets)
    found.at_most("loss_error", abs(float(losses[1]) / float(losses[0]) - 1), 0.005)
    found.at_least("gradient_cosine", float(torch.nn.functional.cosine_similarity(*flat, dim=0)), 0.995)
    found.at_most("gradient_norm_error", abs(float(flat[0].norm() / flat[1].norm()) - 1), 0.02)


def each_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    """What a kernel for bounds of documents computes, one by one: stands for it in the rehearsal."""
    lengths = [end - start for start, end in pairwise(bounds.tolist())]
    parts = (torch.split(tensor.transpose(0, 1), lengths, 1) for tensor in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    outputs = [
        scaled_dot_product_attention(*part, is_causal=True, scale=scale, enable_gqa=grouped) for part in zip(*parts, strict=True)
    ]
    return torch.cat(outputs, 1).transpose(0, 1)
