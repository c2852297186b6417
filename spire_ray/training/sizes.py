"""The rows of one optimizer step, and what can be said against them before any worker starts."""

import math
from dataclasses import replace
from typing import Any

from spire_ray.settings import TrainingSettings

LAYOUTS = {0: "without ZeRO", 1: "of ZeRO stage 1 or 2", 2: "of ZeRO stage 1 or 2", 3: "of ZeRO stage 3"}
"""What a checkpoint is by its stage: stages 1 and 2 read each other's, offloaded or not."""


def rows_of_a_step(training: TrainingSettings, sequence_length: int) -> int:
    """Packed rows in one optimizer step. Raises ValueError unless the batch is given once and in whole rows."""
    if bool(training.global_batch_size) == bool(training.global_batch_tokens):
        tokens, size = training.global_batch_tokens, training.global_batch_size
        raise ValueError(f"training.global_batch_tokens={tokens}, training.global_batch_size={size}: give one of the two")
    if training.global_batch_size:
        return training.global_batch_size
    rows, rest = divmod(training.global_batch_tokens, sequence_length)
    if rest:
        tokens = training.global_batch_tokens
        raise ValueError(f"training.global_batch_tokens={tokens}: must be a multiple of the row length {sequence_length}")
    return rows


def accumulation(training: TrainingSettings, rows: int, workers: int) -> int:
    """Micro-batches of a worker in one step. Raises ValueError for batch sizes that do not divide."""
    count, rest = divmod(rows, training.micro_batch_size * workers)
    if rest or not count:
        raise ValueError(
            f"training.global_batch_size={rows}: must be a multiple of micro_batch_size × workers "
            f"= {training.micro_batch_size} × {workers}"
        )
    return count


def with_steps(training: TrainingSettings, rows: int, pack_rows: int) -> TrainingSettings:
    """The training with its steps, where they are given as epochs of a pack that is there.

    `rows` is how many a step takes. Raises ValueError unless steps or epochs are given.
    """
    if bool(training.steps) == bool(training.epochs):
        raise ValueError(f"training.steps={training.steps}, training.epochs={training.epochs}: give one of the two")
    if not training.epochs or not pack_rows or not rows:
        return training
    return replace(training, steps=math.ceil(training.epochs * pack_rows / rows), epochs=None)


def steps_of(training: TrainingSettings) -> int:
    """Its steps; 0 where they are epochs of a pack that is not there yet."""
    return training.steps or 0


def check_training(training: TrainingSettings) -> None:
    """Raise ValueError for settings under which nothing would be learnt, or something else than they say."""
    optimizer, steps = training.optimizer, steps_of(training)
    if not all(0 <= beta < 1 for beta in optimizer.betas):
        raise ValueError(f"training.optimizer.betas={list(optimizer.betas)}: each must be at least 0 and below 1")
    if steps and (optimizer.warmup_steps or 0) > steps:
        raise ValueError(
            f"training.optimizer.warmup_steps={optimizer.warmup_steps}: longer than the training, training.steps={steps}"
        )
    if training.unit_loss_weight == training.text_loss_weight == 0:
        raise ValueError("training.unit_loss_weight=0, training.text_loss_weight=0: nothing is counted; one must be above 0")
    check_optimizer(training)


def check_layout(place: str, saved: dict[str, Any], now: dict[str, str | None]) -> None:
    """Raise ValueError where a training cannot go on from the checkpoint whose record is `saved`; None is not known yet."""
    for field, told in now.items():
        if told and saved.get(field, told) != told:
            raise ValueError(
                f"deepspeed: the checkpoints in {place} are {saved['zero']} in {saved['precision']}, which cannot be read as "
                f"{now['zero']} in {now['precision'] or saved['precision']}; use the same stage and precision, or another output"
            )


def check_optimizer(training: TrainingSettings) -> None:
    """Raise ValueError for what Muon cannot do.

    DeepSpeed clips after the orthogonalisation, which would scale the update itself.
    """
    optimizer = training.optimizer
    if optimizer.name != "muon":
        return
    if optimizer.clip:
        raise ValueError(f"training.optimizer.clip={optimizer.clip}: must be 0 with muon, whose update DeepSpeed would clip")
    if training.trainable != "full":
        raise ValueError(f"training.trainable={training.trainable}: use optimizer.name=adamw; muon trains whole matrices")


def check_deepspeed(stage: int, training: TrainingSettings) -> None:
    """Raise ValueError for what DeepSpeed does not do."""
    if training.optimizer.name == "muon" and stage == 3:
        raise ValueError("deepspeed: muon needs whole matrices, which ZeRO stage 3 partitions; use a lower stage")
