"""The rows of one optimizer step, and what can be said against them before any worker starts."""

from spire_ray.settings import TrainingSettings


def rows_of_a_step(training: TrainingSettings, sequence_length: int) -> int:
    """Packed rows in one optimizer step. Raises ValueError unless the batch is given once and in whole rows."""
    if bool(training.global_batch_size) == bool(training.global_batch_tokens):
        tokens, size = training.global_batch_tokens, training.global_batch_size
        raise ValueError(f"training.global_batch_tokens={tokens}, training.global_batch_size={size}: give one of the two")
    rows, rest = divmod(training.global_batch_tokens, sequence_length)
    if rest:
        tokens = training.global_batch_tokens
        raise ValueError(f"training.global_batch_tokens={tokens}: must be a multiple of the row length {sequence_length}")
    return training.global_batch_size or rows


def accumulation(training: TrainingSettings, rows: int, workers: int) -> int:
    """Micro-batches of a worker in one step. Raises ValueError for batch sizes that do not divide."""
    count, rest = divmod(rows, training.micro_batch_size * workers)
    if rest or not count:
        raise ValueError(
            f"training.global_batch_size={rows}: must be a multiple of micro_batch_size × workers "
            f"= {training.micro_batch_size} × {workers}"
        )
    return count


def check_optimizer(training: TrainingSettings) -> None:
    """Raise ValueError for what Muon cannot do.

    DeepSpeed clips after the orthogonalisation, which would scale the update itself.
    """
    optimizer = training.optimizer
    if optimizer.name == "muon" and optimizer.clip:
        raise ValueError(f"training.optimizer.clip={optimizer.clip}: must be 0 with muon, whose update DeepSpeed would clip")
    if optimizer.name == "muon" and training.trainable != "full":
        raise ValueError(f"training.trainable={training.trainable}: use optimizer.name=adamw; muon trains whole matrices")
