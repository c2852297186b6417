"""What a user can set: one frozen dataclass for every stage, a module for each part of the road.

`spire_ray.core.config` reads YAML into these classes; the rest of the package takes them as plain objects, so that units,
model and training run on a machine that has torch, transformers, numpy and pyarrow alone.
A path may be local or `s3://…`; a model may also be a Hugging Face id, `id@revision` to pin it.
"""

from spire_ray.settings.common import SAMPLE_RATE, License, Stage, Storage, Tracking
from spire_ray.settings.inference import Evaluate, Evaluated, EvaluationTask, Serve
from spire_ray.settings.recipe import Recipe, Step
from spire_ray.settings.text import (
    Architecture,
    ExtendModel,
    Filters,
    InitModel,
    Pack,
    PseudoLabel,
    QualityEstimate,
    Source,
    Task,
)
from spire_ray.settings.training import Expected, Export, HeldOut, Lora, Optimizer, Train, Training, Workers
from spire_ray.settings.units import Corpus, Encoder, FitCodebook, Label, Splits

__all__ = [
    "SAMPLE_RATE",
    "Architecture",
    "Corpus",
    "Encoder",
    "Evaluate",
    "Evaluated",
    "EvaluationTask",
    "Expected",
    "Export",
    "ExtendModel",
    "Filters",
    "FitCodebook",
    "HeldOut",
    "InitModel",
    "Label",
    "License",
    "Lora",
    "Optimizer",
    "Pack",
    "PseudoLabel",
    "QualityEstimate",
    "Recipe",
    "Serve",
    "Source",
    "Splits",
    "Stage",
    "Step",
    "Storage",
    "Task",
    "Tracking",
    "Train",
    "Training",
    "Workers",
]
