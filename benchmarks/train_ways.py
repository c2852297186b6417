"""Our ways of training: one PyTorch loop that takes up the measures one by one, the engine of the jobs, and that on Ray."""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.train_data import packed_batches, padded_batches

SMALL = {
    "model_type": "llama",
    "vocab_size": 37_056,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
}
RATE = 1e-4
NEW_ROWS = 5_056
"""Of the vocabulary, which `lora` trains beside its adapters."""


def build(options: argparse.Namespace) -> Any:
    """A model of the shape with seeded random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    data = json.loads(Path(options.shape).read_text()) if options.shape else dict(SMALL)
    torch.manual_seed(0)
    config = AutoConfig.for_model(data.pop("model_type"), **data)
    with torch.device(device()):
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype))


def measured(
    step: Callable[[], tuple[int, float]], options: argparse.Namespace, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Tokens per second of `step`, which returns its tokens and its loss; `clock` counts CPU-seconds."""
    for _ in range(options.warmup):
        loss = step()[1]
    _wait()
    elapsed = time.perf_counter if device() == "cuda" else clock
    wall, spent, began, tokens, steps = time.perf_counter(), clock(), elapsed(), 0, 0
    while elapsed() - began < options.seconds:
        tokens += step()[0]
        steps += 1
    _wait()
    return result(tokens, steps, time.perf_counter() - wall, clock() - spent, loss)


def result(tokens: int, steps: int, wall: float, spent: float, loss: float) -> dict[str, float]:
    """What a way is measured by; GPUs by the wall clock, CPUs by CPU-seconds."""
    import torch

    gpu = device() == "cuda"
    memory = {"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if gpu else {}
    speed = tokens / (wall if gpu else spent)
    return {"tokens": tokens, "steps": steps, "wall_s": wall, "cpu_s": spent, "tokens_per_s": speed, "loss": loss, **memory}


def _wait() -> None:
    import torch

    if device() == "cuda":
        torch.cuda.synchronize()


def loop(way: str, options: argparse.Namespace) -> dict[str, float]:
    """One PyTorch loop with the measures of `way`."""
    import torch

    from spire_ray.settings import TrainingSettings
    from spire_ray.training import attention, trainable
    from spire_ray.training.loss import PackedLoss

    model = build(options).train()
    training = TrainingSettings(
        steps=1, global_batch_size=1, gradient_checkpointing=options.checkpointing, compile=options.compile
    )
    trainable.prepare(model, training, model.config.vocab_size)
    loss = PackedLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=device() == "cuda" or None)
    if way == "bare":
        (attention.use_varlen if device() == "cuda" else attention.on_cpu)(model)
    batches = padded_batches(options) if way == "padded" else packed_batches(options)

    def summed(batch: Any) -> torch.Tensor:
        if way in ("counted", "bare"):
            return loss(batch.to(model.device))
        if way == "packed":
            return _all_logits(model, batch.to(model.device))
        given = {name: tensor.to(model.device) for name, tensor in batch.items()}
        mean: torch.Tensor = model(**given).loss
        return mean * _counted(batch)

    def step() -> tuple[int, float]:
        taken = list(islice(batches, options.micro_batches))
        counted = sum(_counted(batch) for batch, _ in taken)
        total = 0.0
        for batch, _ in taken:
            value = summed(batch) / counted
            value.backward()
            total += float(value.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return sum(tokens for _, tokens in taken), total

    return measured(step, options)


def engine(options: argparse.Namespace, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """The engine of the jobs, ZeRO-1, on one worker."""
    import torch.distributed as dist

    from spire_ray.settings import OptimizerSettings, TrainingSettings
    from spire_ray.training.engine import Engine, configuration

    os.environ.setdefault("LOCAL_RANK", "0")
    if device() == "cpu":
        os.environ |= {"DS_ACCELERATOR": "cpu", "TORCHDYNAMO_DISABLE": "1"}
    if not dist.is_initialized():
        store = dist.FileStore(tempfile.mktemp(), 1)
        dist.init_process_group("nccl" if device() == "cuda" else "gloo", store=store, rank=0, world_size=1)
    zero = {"zero_optimization": {"stage": 1, "overlap_comm": False}, "bf16": {"enabled": options.dtype == "bfloat16"}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(zero))
        file.flush()
        training = TrainingSettings(
            steps=1,
            global_batch_size=options.rows * options.micro_batches,
            micro_batch_size=options.rows,
            optimizer=OptimizerSettings(lr=RATE, clip=1.0),
            gradient_checkpointing=options.checkpointing,
            compile=options.compile,
            trainable=options.trainable,
        )
        ds_config = configuration(file.name, training, training.global_batch_size, 1)
    model = build(options)
    worker = Engine(model, training, ds_config, model.config.vocab_size - NEW_ROWS)
    batches = packed_batches(options)

    def step() -> tuple[int, float]:
        taken = list(islice(batches, options.micro_batches))
        counted = sum(_counted(batch) for batch, _ in taken)
        loss, _ = worker.step([batch for batch, _ in taken], [1 / counted] * len(taken), 1.0)
        return sum(tokens for _, tokens in taken), loss

    return measured(step, options, clock)


def on_ray(options: argparse.Namespace) -> dict[str, float]:
    """The same engine as the one worker of a Ray Train job, on a cluster of this process."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from benchmarks import cpu  # wants psutil, which a bare GPU machine does not have
    from spire_ray.runtime import cluster

    driver, gpu = os.getpid(), device() == "cuda"
    cluster.connect()
    cluster.ready_for_ray_train(0.0, 600.0)
    result = TorchTrainer(
        lambda: engine(options, lambda: cpu.of_tree(driver)),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=1, use_gpu=gpu),
        run_config=RunConfig(storage_path=tempfile.mkdtemp()),
    ).fit()
    found: dict[str, float] = result.return_value
    return found


def _all_logits(model: Any, batch: Any) -> Any:
    import torch

    logits = model(**batch.masked(), use_cache=False).logits.flatten(0, 1)
    labels = torch.full((logits.shape[0],), -100, device=logits.device)
    labels[batch.targets - 1] = batch.input_ids.view(-1)[batch.targets]
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")


def _counted(batch: Any) -> int:
    """Targets of a batch, packed or padded."""
    return int((batch["labels"][:, 1:] != -100).sum()) if isinstance(batch, dict) else len(batch.targets)


def device() -> str:
    """The GPU, where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
