"""A small training."""

from spire_ray.settings import OptimizerSettings, TrainingSettings

OPTIMISER = OptimizerSettings(lr=1e-2, warmup_steps=2, clip=0.5, weight_decay=0.1, schedule="cosine")
TRAINING = TrainingSettings(
    steps=10, global_batch_size=4, micro_batch_size=2, optimizer=OPTIMISER, save_every=4, keep=2, log_every=1
)


class Stop(Exception):
    """The machine goes away."""
