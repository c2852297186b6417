"""The DeepSpeed engine: ZeRO, precision and optimizer from a JSON file and the settings of a training."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from transformers import PreTrainedModel

from spire_ray.core import processor, storage
from spire_ray.settings import OptimizerSettings, TrainingSettings
from spire_ray.training import attention, sizes, trainable
from spire_ray.training.batch import Batch
from spire_ray.training.loss import PackedLoss, can_fuse


def deepspeed() -> ModuleType:
    """DeepSpeed, imported without what this platform does not use of it.

    Its autotuner imports mlflow (seconds, in every worker), and on a CPU its first collective would compile a shared
    memory kernel for minutes; gloo is used instead.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else it warns
    with _hidden("mlflow"):
        import deepspeed
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    library: ModuleType = deepspeed
    return library


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    loaded = sys.modules.pop(module, None)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if loaded is not None:
            sys.modules[module] = loaded


def configuration(given: str | Mapping[str, Any], training: TrainingSettings, rows: int, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration: a JSON file, or what one says, with batch sizes, clipping and, for Muon, the optimizer.

    Raises ValueError as `sizes.accumulation` and `sizes.check_optimizer` do.
    """
    ds_config = _preset(given)
    sizes.check_optimizer(training)
    optimizer = training.optimizer
    ds_config["train_micro_batch_size_per_gpu"] = training.micro_batch_size
    ds_config["gradient_accumulation_steps"] = sizes.accumulation(training, rows, world_size)
    ds_config["gradient_clipping"] = optimizer.clip
    ds_config["steps_per_print"] = 10**9
    ds_config["zero_allow_untested_optimizer"] = True  # torch's AdamW, fused on GPUs: nothing to compile
    ds_config["zero_force_ds_cpu_optimizer"] = False
    if optimizer.name == "muon":
        ds_config["optimizer"] = _muon(optimizer)
    return ds_config


def _preset(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, with bfloat16 where it leaves that to the machine."""
    preset = dict(storage.read_json(given) if isinstance(given, str) else given)
    bf16 = dict(preset.get("bf16", {}))
    if bf16.get("enabled") == "auto":
        preset["bf16"] = {**bf16, "enabled": _fast_bfloat16()}
    return preset


def partitioned(ds_config: dict[str, Any]) -> bool:
    """Whether checkpoints hold the optimizer's state in as many parts as there are workers."""
    return bool(ds_config.get("zero_optimization", {}).get("stage", 0) or ds_config.get("bf16", {}).get("enabled"))


def layout(ds_config: dict[str, Any]) -> dict[str, str]:
    """How checkpoints lie on disk: those of another layout cannot be read."""
    stage = ds_config.get("zero_optimization", {}).get("stage", 0)
    precision = "bfloat16" if ds_config.get("bf16", {}).get("enabled") else "float32"
    return {"zero": sizes.LAYOUTS[stage], "precision": precision}


def precision(given: str | Mapping[str, Any]) -> torch.dtype:
    """The precision of the weights in the forward pass; DeepSpeed keeps float32 masters of them."""
    return torch.bfloat16 if _preset(given).get("bf16", {}).get("enabled") else torch.float32


def _fast_bfloat16() -> bool:
    return processor.fast_bfloat16("cuda" if torch.cuda.is_available() else "cpu")


def _muon(optimizer: OptimizerSettings) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "lr": optimizer.lr,
        "adam_lr": optimizer.lr,
        "muon_lr": optimizer.muon_lr,
        "momentum": 0.95,
        "betas": list(optimizer.betas),
        "weight_decay": optimizer.weight_decay,
        # torch's AdamW for the rest: DeepSpeed's own compile at the start, for minutes on a CPU, and on a GPU they want nvcc
        # of the very CUDA that torch was made with, else the training ends there
        "torch_adam": True,
    }
    if not _gpu():  # CPUs lack the float16 in which Muon iterates by default
        parameters["ns_method"] = "standard" if _fast_bfloat16() else "gram"
    return {"type": "Muon", "params": parameters}


def _adamw(groups: list[trainable.Group], optimizer: OptimizerSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        groups, lr=optimizer.lr, betas=optimizer.betas, weight_decay=optimizer.weight_decay, fused=_gpu() or None
    )


def _forget_steps(optimizer: torch.optim.Optimizer) -> None:
    """Let AdamW count from its first update.

    Under ZeRO 0 in bfloat16 DeepSpeed makes its state by a step without gradients, whose place in the bias correction makes the
    first update 26 % smaller than it should be.
    """
    for state in optimizer.state.values():
        if isinstance(state.get("step"), torch.Tensor):
            state["step"].zero_()


def _float_buffers(model: torch.nn.Module) -> list[tuple[torch.nn.Module, str, torch.Tensor]]:
    """Module, name and a copy of each buffer of real numbers."""
    return [
        (module, name, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point()
    ]


def _gpu() -> bool:
    return torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR") != "cpu"


class Engine:
    """One worker's share of a training."""

    def __init__(
        self,
        model: PreTrainedModel,
        training: TrainingSettings,
        ds_config: dict[str, Any],
        first_new_token_id: int,
        universal: bool = False,
        also: Sequence[int] = (),
    ) -> None:
        """`ds_config` is DeepSpeed's configuration; `universal` reads checkpoints that any number of workers wrote.

        `first_new_token_id` is the first row that the extension added to the vocabulary, `also` are others to be trained
        with it; see `trainable.prepare`.
        """
        stage = ds_config.get("zero_optimization", {}).get("stage", 0)
        half = ds_config.get("bf16", {}).get("enabled", False)
        sizes.check_deepspeed(stage, training)
        groups = trainable.prepare(model, training, first_new_token_id, also)
        if _gpu() and half:
            attention.use_varlen(model)
        else:
            attention.on_cpu(model)
        plain = training.unit_loss_weight == training.text_loss_weight == 1.0
        loss = PackedLoss(model, fused=_gpu() and can_fuse(model, plain, partitioned=stage == 3))
        client = _adamw(groups, training.optimizer) if training.optimizer.name == "adamw" else None
        counts = [p.numel() for p in model.parameters() if p.requires_grad]
        self.state_bytes: int = sum(counts) * (12 + (2 if half else 4))
        """Size of a checkpoint: float32 masters and two moments of the trained parameters, and the weights."""
        ds_config = {**ds_config, "checkpoint": {"load_universal": universal}}
        exact = _float_buffers(model)
        self._engine, *_ = deepspeed().initialize(
            model=loss, model_parameters=None if client else groups, optimizer=client, config=ds_config
        )
        _forget_steps(getattr(self._engine.optimizer, "optimizer", self._engine.optimizer))
        # DeepSpeed rounds buffers to bfloat16 too; errors of rotary frequencies grow with the position
        for owner, name, buffer in exact:
            owner._buffers[name] = buffer.to(self._engine.device)
        self._engine.train()  # without it Hugging Face does not checkpoint gradients
        self.device: torch.device = self._engine.device
        self.accumulation: int = ds_config["gradient_accumulation_steps"]
        self._world_size: int = self._engine.dp_world_size
        self._frozen = any(not p.requires_grad for p in model.parameters())
        self._peaks = [group["lr"] for group in self._engine.optimizer.param_groups]

    def step(self, batches: Sequence[Batch], scales: Sequence[float], rate: float) -> tuple[float, float]:
        """One update from this worker's micro-batches, with `rate` times the peak learning rates.

        Each loss is taken `scale` times; their sum over all workers is the loss of the step. Returns this worker's part
        of it, and the gradient norm over all workers (NaN where DeepSpeed keeps none).
        """
        for group, peak in zip(self._engine.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * rate
        part = torch.zeros((), device=self.device)
        for batch, scale in zip(batches, scales, strict=True):
            loss = self._engine(batch.to(self.device)) * scale
            # DeepSpeed divides by accumulation and averages over workers; the loss is a part of one sum
            self._engine.backward(loss * (self.accumulation * self._world_size))
            self._engine.step()
            part += loss.detach()
        norm = self._engine.get_global_grad_norm()
        return float(part), float("nan") if norm is None else float(norm)

    def rates(self) -> dict[str, float]:
        """The learning rates of the last step by parameter group."""
        groups = self._engine.optimizer.param_groups
        return {f"lr/{group.get('name', number)}": float(group["lr"]) for number, group in enumerate(groups)}

    def losses(self, batch: Batch) -> torch.Tensor:
        """Negative log-likelihood of each counted target of a batch, float32 [N], on the CPU."""
        self._engine.eval()
        with torch.no_grad():
            losses: torch.Tensor = self._engine(batch.to(self.device), each=True).cpu()
        self._engine.train()
        return losses

    def save(self, folder: str, tag: str, state: dict[str, Any]) -> None:
        """Write this worker's files; every worker calls it. Frozen parameters are left out."""
        self._engine.save_checkpoint(
            folder, tag=tag, client_state=state, save_latest=False, exclude_frozen_parameters=self._frozen
        )

    def load(self, folder: str, tag: str) -> dict[str, Any]:
        """Read weights and optimizer state; returns the state that was saved with them."""
        _, state = self._engine.load_checkpoint(folder, tag=tag, load_module_strict=not self._frozen)
        return dict(state)
