"""The DeepSpeed engine: ZeRO, precision and optimiser from a JSON file and the settings of a training."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from spire_ray import storage
from spire_ray.settings import Optimiser, Training
from spire_ray.training.batch import Batch


def deepspeed() -> ModuleType:
    """DeepSpeed, imported without what this platform does not use of it.

    Its autotuner imports mlflow (seconds, in every worker), and on a CPU its first collective would compile a shared
    memory kernel for minutes; gloo is used instead.
    """
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


def configuration(path: str, training: Training, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration: the JSON file with batch sizes, optimiser and clipping filled in.

    Raises ValueError for batch sizes that do not divide, and for Muon with clipping: DeepSpeed clips after the
    orthogonalisation, which would scale the update itself.
    """
    filled = dict(json.loads(storage.read_bytes(path)))
    accumulation, rest = divmod(training.batch_rows, training.micro_batch_rows * world_size)
    if rest or not accumulation:
        raise ValueError(
            f"training.batch_rows={training.batch_rows}: must be a multiple of micro_batch_rows × workers "
            f"= {training.micro_batch_rows} × {world_size}"
        )
    optimiser = training.optimiser
    if optimiser.name == "muon" and optimiser.clip:
        raise ValueError(f"training.optimiser.clip={optimiser.clip}: must be 0 with muon, whose update DeepSpeed would clip")
    filled["train_micro_batch_size_per_gpu"] = training.micro_batch_rows
    filled["gradient_accumulation_steps"] = accumulation
    filled["gradient_clipping"] = optimiser.clip
    filled["steps_per_print"] = 10**9
    filled["optimizer"] = _optimiser(optimiser)
    bf16 = dict(filled.get("bf16", {}))
    if bf16.get("enabled") == "auto":
        filled["bf16"] = {**bf16, "enabled": fast_bf16()}
    return filled


def fast_bf16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware."""
    return torch.cuda.is_available() or bool(torch.cpu._is_amx_tile_supported()) or bool(torch.cpu._is_avx512_bf16_supported())


def _optimiser(optimiser: Optimiser) -> dict[str, Any]:
    parameters: dict[str, Any] = {"lr": optimiser.lr, "betas": list(optimiser.betas), "weight_decay": optimiser.weight_decay}
    if not torch.cuda.is_available():
        parameters["torch_adam"] = True  # DeepSpeed's own CPU Adam compiles for minutes
    if optimiser.name == "adamw":
        return {"type": "AdamW", "params": parameters}
    parameters |= {"adam_lr": optimiser.lr, "muon_lr": optimiser.muon_lr, "momentum": 0.95}
    if not torch.cuda.is_available():
        parameters["ns_method"] = "standard"  # bfloat16; the default iterates in float16, which CPUs lack
    return {"type": "Muon", "params": parameters}


class Engine:
    """One worker's share of a training. `model` maps a batch to this worker's part of the step's loss."""

    def __init__(self, model: torch.nn.Module, path: str, training: Training, world_size: int) -> None:
        filled = configuration(path, training, world_size)
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._engine, *_ = deepspeed().initialize(model=model, model_parameters=parameters, config=filled)
        self._world_size = world_size
        self.device: torch.device = self._engine.device
        self.accumulation: int = filled["gradient_accumulation_steps"]
        self._peaks = [group["lr"] for group in self._engine.optimizer.param_groups]

    def step(self, batches: Iterable[Batch], total_weight: float, rate: float) -> tuple[float, float]:
        """One update from this worker's micro-batches, with `rate` times the peak learning rates.

        Returns this worker's part of the loss, and the gradient norm over all workers (NaN where DeepSpeed keeps none).
        """
        for group, peak in zip(self._engine.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * rate
        part = 0.0
        for batch in batches:
            loss = self._engine(batch.to(self.device)) / total_weight
            # DeepSpeed divides by accumulation and averages over workers; the loss is a part of one sum
            self._engine.backward(loss * (self.accumulation * self._world_size))
            self._engine.step()
            part += float(loss.detach())
        norm = self._engine.get_global_grad_norm()
        return part, float("nan") if norm is None else float(norm)

    def save(self, folder: str, tag: str, state: dict[str, Any]) -> None:
        """Write this worker's files; every worker calls it."""
        self._engine.save_checkpoint(folder, tag=tag, client_state=state, save_latest=False)

    def load(self, folder: str, tag: str) -> dict[str, Any]:
        """Read weights and optimiser state; returns the state that was saved with them."""
        _, state = self._engine.load_checkpoint(folder, tag=tag)
        return dict(state)
