"""What a training cannot do as its settings say, told before any worker starts."""

from importlib.util import find_spec
from typing import Any

from spire_ray.core import storage
from spire_ray.settings import TrainSettings
from spire_ray.text import record
from spire_ray.training import families, sizes
from spire_ray.training.checkpoints.record import COMPLETE_FILE


def check(settings: TrainSettings, config: dict[str, Any] | None, index: dict[str, Any]) -> None:
    """Raise ValueError with the field, the reason and the fix.

    `config` is the `config.json` of the model, `index` that of the pack; each may not be there yet. `settings.training` has
    steps, or epochs of a pack that is not there.
    """
    training = settings.training
    sizes.check_training(training)
    sizes.check_deepspeed(_engine(settings)[0], training)
    if storage.is_local(settings.output):
        check_layout(settings)
    if config:
        families.require(config, index.get("sequence_length") or settings.expected.sequence_length)
        families.require_export(config, training.trainable)
        if training.trainable == "lora" and find_spec("torch") and find_spec("transformers"):
            from spire_ray.training import lora

            lora.require_targets(config, training.lora)
    _check_packs(settings, config, index)


def check_layout(settings: TrainSettings) -> None:
    """Raise ValueError where the newest checkpoint in the output was written by another ZeRO stage or in another precision."""
    names = [name for name in storage.listing(settings.output) if name.startswith("step-")]
    marks = (storage.join(settings.output, name, COMPLETE_FILE) for name in sorted(names, reverse=True))
    if newest := next(filter(storage.exists, marks), None):
        stage, precision = _engine(settings)
        now = {"zero": sizes.LAYOUTS[stage], "precision": precision}
        sizes.check_layout(settings.output, storage.read_json(newest), now)


def _engine(settings: TrainSettings) -> tuple[int, str | None]:
    """ZeRO stage and precision; None where bfloat16 is left to the machine. GPUs take it."""
    preset = storage.read_json(settings.deepspeed)
    enabled = preset.get("bf16", {}).get("enabled", False)
    if enabled == "auto":
        enabled = True if settings.gpus_per_worker else None
    stage = int(preset.get("zero_optimization", {}).get("stage", 0))
    return stage, None if enabled is None else "bfloat16" if enabled else "float32"


def _check_packs(settings: TrainSettings, config: dict[str, Any] | None, index: dict[str, Any]) -> None:
    """Refuse packs whose ids mean something else to the model, and rows that are longer than its positions."""
    held_out = storage.join(settings.held_out.pack, "index.json")
    found = {"pack": index}
    if settings.held_out.pack and storage.exists(held_out):
        found["held_out.pack"] = storage.read_json(held_out)
    for field, each in found.items():
        pack = settings.pack if field == "pack" else settings.held_out.pack
        positions = (config or {}).get("max_position_embeddings")
        if each and positions and each["sequence_length"] > positions:
            raise ValueError(
                f"{field}={pack}: its rows of {each['sequence_length']} tokens are longer than the {positions} positions of the "
                "model; pack anew with a shorter sequence_length"
            )
        if each and storage.exists(storage.join(settings.model, "config.json")):
            record.require_pack(each, pack, settings.model)
