"""The plan of a training: what its dry run prints, and the refusal of one that cannot fit."""

from dataclasses import replace
from typing import Any

from spire_ray.core import storage
from spire_ray.settings import TrainSettings
from spire_ray.text.record import UnitVocabulary
from spire_ray.training import budget, checks, families, sizes
from spire_ray.training.budget import GIB, Machine, Shape


def plan(settings: TrainSettings) -> list[str]:
    """Steps and tokens; with GPUs also memory, hours and checkpoints.

    Raises ValueError for what cannot be trained as it says (`checks`) and for memory that a GPU does not have.
    """
    if not storage.exists(settings.deepspeed):
        raise ValueError(f"deepspeed={settings.deepspeed}: not found; configs/deepspeed/ has one for each ZeRO stage")
    index = _index(settings.pack)
    config = shape_of(settings)
    length = index.get("sequence_length") or settings.expected.sequence_length or (config or {}).get("max_position_embeddings", 0)
    training = settings.training
    rows = sizes.rows_of_a_step(training, length or 1) if length or training.global_batch_size else 0
    training = sizes.with_steps(training, rows, index.get("rows", 0))
    settings = replace(settings, training=training)
    checks.check(settings, config, index)
    if rows:
        sizes.accumulation(training, rows, settings.workers)
    tokens = rows * length
    size = f"{tokens:,} tokens" if tokens else f"{rows} rows"
    steps = sizes.steps_of(training)
    count = f"{steps} steps" if steps else f"{training.epochs:g} epochs, whose steps are known with the pack,"
    lines = [f"{count} of {size} on {settings.workers} workers"]
    if tokens and steps:
        lines.append(f"{steps * tokens / 1e6:,.2f} M tokens" + _epochs(steps * rows, index))
    if config and families.counted(config.get("model_type", "")):
        lines += _resources(settings, Shape.read(config), config, index, length, tokens)
    elif config:
        lines.append(f"memory and hours: not counted for model_type={config.get('model_type')}")
    elif settings.gpus_per_worker:
        lines.append("memory and hours: unknown until the model is there; expected.shape may name a config.json of its shape")
    return lines


def shape_of(settings: TrainSettings) -> dict[str, Any] | None:
    """The `config.json` of the model, or of the expected shape; None where neither is there."""
    for path in (storage.join(settings.model, "config.json"), settings.expected.shape):
        if path and storage.exists(path):
            return dict(storage.read_json(path))
    return None


def flops(settings: TrainSettings, index: dict[str, Any], config: dict[str, Any]) -> float:
    """Operations of one token; documents are counted in their mean length, joined ones in that of a row.

    0 for a family that is not counted.
    """
    if not families.counted(config.get("model_type", "")):
        return 0.0
    apart = index.get("documents") and index.get("packing") != "megatron"
    span = index["tokens"] / index["documents"] if apart else index["sequence_length"]
    return Shape.read(config).flops(span, settings.training.trainable == "full")


def _index(pack: str) -> dict[str, Any]:
    path = storage.join(pack, "index.json")
    return dict(storage.read_json(path)) if storage.exists(path) else {}


def _epochs(rows: int, index: dict[str, Any]) -> str:
    return f", {rows / max(1, index['rows']):.2f} epochs of {index['rows']} rows" if index else ""


def _resources(
    settings: TrainSettings, shape: Shape, config: dict[str, Any], index: dict[str, Any], length: int, tokens: int
) -> list[str]:
    training, gpu = settings.training, settings.gpu
    machine = Machine.read(storage.read_json(settings.deepspeed), settings.workers)
    new = new_rows(settings)
    lines = [f"{shape.parameters / 1e9:.3f} B parameters, {shape.trained(training, new) / 1e9:.3f} B trained"]
    if not settings.gpus_per_worker:
        return lines
    parts = budget.memory(shape, training, machine, length, new)
    total = sum(parts.values()) / GIB
    told = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items())
    lines.append(f"{total:.1f} of {gpu.memory_gb:g} GiB of each GPU: {told}")
    if total > gpu.memory_gb:
        raise ValueError(
            f"gpu.memory_gb={gpu.memory_gb:g}: the training needs {total:.1f} GiB of each GPU ({told}); "
            "use fewer training.micro_batch_size, training.gradient_checkpointing=full, a higher ZeRO stage or more workers"
        )
    if on_hosts := budget.host_memory(shape, training, machine, new):
        lines.append(f"{on_hosts / GIB:.1f} GiB of the nodes' own memory, over all workers, for what is offloaded")
    if not (steps := sizes.steps_of(training)):
        return lines
    each = flops(settings, index or {"sequence_length": length}, config)
    speed = settings.workers * gpu.tflops * 1e12 * gpu.mfu / each
    hours = steps * tokens / speed / 3600
    lines.append(
        f"{hours:,.1f} hours at {speed:,.0f} tokens/s, if {gpu.mfu:.0%} of {gpu.tflops:g} TFLOP/s are reached: "
        f"{each / 1e9:.1f} GFLOP a token"
    )
    size = budget.checkpoint_bytes(shape, training, machine, new)
    saves = -(-steps // training.save_every)
    minutes = training.save_every * tokens / speed / 60
    lines.append(
        f"{saves} checkpoints of {size / 1e9:.1f} GB, {min(saves, training.keep)} kept; "
        f"{min(minutes, hours * 60):.0f} minutes at risk between two"
    )
    return lines


def new_rows(settings: TrainSettings) -> int:
    """Rows of units in the embeddings of its model, or as expected."""
    units = UnitVocabulary.load(settings.model)
    return units.count if units else settings.expected.new_rows
