"""The GPUs that a step of a recipe wants: how many, how much memory of each, and whether of whole machines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from spire_ray.core import storage
from spire_ray.recipes import shapes
from spire_ray.settings import (
    EvaluateSettings,
    FitCodebookSettings,
    GenerateSettings,
    HarnessSettings,
    LabelSettings,
    PseudoLabelSettings,
    ServeSettings,
    StageSettings,
    TrainSettings,
)
from spire_ray.training import budget, plan
from spire_ray.training.budget import GIB, Machine, Shape

_ENCODER = 317e6 * 4
"""Bytes of HuBERT-large, in float32."""
_WAVE = 3 * 3200 * 512 * 4
"""Bytes for a second of a batch: three tensors of 512 float32 at a fifth of 16 kHz, the widest of its convolutions."""
_BATCH_SECONDS = 240.0
"""Of `label`; a fit takes as much."""
_CACHE_TOKENS = 16_384
"""Of prompts and answers that an engine holds at least."""
_QUALITY = 569e6 * 4
"""Bytes of COMETKiwi, XLM-R large in float32."""
_CONTEXT = 4 * GIB


@dataclass(frozen=True)
class Need:
    """GPUs of a step."""

    count: int
    gib: float
    """Of each."""
    together: bool = False
    """Workers that exchange gradients: whole machines, whose GPUs are joined."""


def of(name: str, planned: shapes.Planned, given: Mapping[str, str] | None = None) -> Need | None:
    """What a step wants; None without GPUs. Raises ValueError for a model whose shape nobody says."""
    settings = planned[name]
    if not (gpus := count(settings)):
        return None
    if isinstance(settings, TrainSettings):
        return Need(int(gpus), _of_training(name, settings, planned, given) / GIB, together=gpus > 1)
    each = _each(settings)
    return Need(math.ceil(gpus), _of_inference(name, settings, planned, given) / GIB / each)


def _each(settings: StageSettings) -> float:
    return float(getattr(settings, "gpus_per_worker", 0) or getattr(settings, "gpus_per_replica", 0))


def count(settings: StageSettings) -> float:
    """GPUs of all workers of a step."""
    workers = getattr(settings, "workers", 0) or getattr(settings, "max_replicas", 1)
    return float(workers * _each(settings))


def _of_inference(name: str, settings: StageSettings, planned: shapes.Planned, given: Mapping[str, str] | None) -> float:
    """Bytes of one worker. Two that share a card share it evenly."""
    total: float = _CONTEXT
    if not isinstance(settings, PseudoLabelSettings | HarnessSettings):
        seconds = settings.batch_seconds if isinstance(settings, LabelSettings) else _BATCH_SECONDS
        total += _ENCODER + seconds * _WAVE
    if isinstance(settings, LabelSettings | FitCodebookSettings):
        return total
    if isinstance(settings, PseudoLabelSettings) and settings.quality.model:
        total += _QUALITY
    dtype = settings.dtype if isinstance(settings, HarnessSettings) else "bfloat16"
    return total + max((_of_model(name, model, planned, given, dtype) for model in _models(settings)), default=0.0)


def _models(settings: StageSettings) -> list[str]:
    if isinstance(settings, GenerateSettings | EvaluateSettings):
        return [model.model for model in settings.models if model.model and model.system == "llm"]
    if isinstance(settings, HarnessSettings):
        return [model.model for model in settings.models]
    return [settings.model] if isinstance(settings, PseudoLabelSettings | ServeSettings) and settings.model else []


def _of_model(name: str, model: str, planned: shapes.Planned, given: Mapping[str, str] | None, dtype: str) -> float:
    """Bytes of a model and of its cache; without a dtype as its weights have it, where they say that."""
    shape = _shape(name, model, planned, given)
    config = shapes.of(model, planned, given) or {}
    wide = (dtype or config.get("dtype") or config.get("torch_dtype")) in ("float32", "float")
    return (2 + 2 * wide) * (shape.parameters + 2.0 * shape.layers * shape.key * _CACHE_TOKENS)


def _of_training(name: str, settings: TrainSettings, planned: shapes.Planned, given: Mapping[str, str] | None) -> float:
    machine = Machine.read(storage.read_json(settings.deepspeed), settings.workers)
    shape = _shape(name, settings.model, planned, given)
    length = shapes.row_length(settings, planned)
    parts = budget.memory(shape, settings.training, machine, length, plan.new_rows(settings))
    return sum(parts.values())


def _shape(name: str, model: str, planned: shapes.Planned, given: Mapping[str, str] | None) -> Shape:
    config = shapes.of(model, planned, given)
    if config is None:
        raise ValueError(f"step {name}: nobody says how large {model} is; add --shape {model}=configs/shapes/….json")
    return Shape.read(config)
