"""The rows of one optimiser step, and what can be said against them before any worker starts."""

from spire_ray.settings import Training


def rows_of_a_step(training: Training, row_length: int) -> int:
    """Packed rows in one optimiser step. Raises ValueError unless the batch is given once and in whole rows."""
    if bool(training.batch_rows) == bool(training.batch_tokens):
        raise ValueError(
            f"training.batch_tokens={training.batch_tokens}, training.batch_rows={training.batch_rows}: give one of the two"
        )
    rows, rest = divmod(training.batch_tokens, row_length)
    if rest:
        raise ValueError(f"training.batch_tokens={training.batch_tokens}: must be a multiple of the row length {row_length}")
    return training.batch_rows or rows


def accumulation(training: Training, rows: int, workers: int) -> int:
    """Micro-batches of a worker in one step. Raises ValueError for batch sizes that do not divide."""
    count, rest = divmod(rows, training.micro_batch_rows * workers)
    if rest or not count:
        raise ValueError(
            f"training.batch_rows={rows}: must be a multiple of micro_batch_rows × workers "
            f"= {training.micro_batch_rows} × {workers}"
        )
    return count


def check_optimiser(training: Training) -> None:
    """Raise ValueError for what Muon cannot do.

    DeepSpeed clips after the orthogonalisation, which would scale the update itself.
    """
    optimiser = training.optimiser
    if optimiser.name == "muon" and optimiser.clip:
        raise ValueError(f"training.optimiser.clip={optimiser.clip}: must be 0 with muon, whose update DeepSpeed would clip")
    if optimiser.name == "muon" and training.trainable != "full":
        raise ValueError(f"training.trainable={training.trainable}: use optimiser.name=adamw; muon trains whole matrices")
