"""What a user can set: one frozen dataclass for every stage, a module for each part of the road.

`spire_ray.core.config` reads YAML into these classes; the rest of the package takes them as plain objects, so that units,
model and training run on a machine that has torch, transformers, numpy and pyarrow alone.
A path may be local or `s3://…`; a model may also be a Hugging Face id, `id@revision` to pin it.
"""

from spire_ray.settings.common import SAMPLE_RATE, LicenseSettings, StageSettings, StorageSettings, TrackingSettings, UnitSettings
from spire_ray.settings.corpora import FetchSettings
from spire_ray.settings.evaluation import (
    CometSettings,
    DistortSettings,
    EvaluatedModel,
    EvaluateSettings,
    GenerateSettings,
    GenerationSettings,
    HarnessModel,
    HarnessSettings,
    ScoreSettings,
    ScoringSettings,
    ShotSettings,
)
from spire_ray.settings.inference import ServeSettings
from spire_ray.settings.preparation import ActivitySettings, LimitSettings, PrepareSettings, TranscriptSettings
from spire_ray.settings.quickstart import ArchitectureSettings, CorpusSettings, InitModelSettings, SplitSettings
from spire_ray.settings.recipe import RecipeSettings, StepSettings
from spire_ray.settings.text import (
    BalanceSettings,
    Candidate,
    ExtendModelSettings,
    FilterSettings,
    PackSettings,
    PairSettings,
    PseudoLabelSettings,
    QualitySettings,
    SourceSettings,
    Task,
)
from spire_ray.settings.training import (
    ExpectedSettings,
    ExportSettings,
    GpuSettings,
    HeldOutSettings,
    LoraSettings,
    OptimizerSettings,
    TrainingSettings,
    TrainSettings,
)
from spire_ray.settings.units import AugmentSettings, EncoderSettings, FitCodebookSettings, LabelSettings

__all__ = [
    "SAMPLE_RATE",
    "ActivitySettings",
    "ArchitectureSettings",
    "AugmentSettings",
    "BalanceSettings",
    "Candidate",
    "CometSettings",
    "CorpusSettings",
    "DistortSettings",
    "EncoderSettings",
    "EvaluateSettings",
    "EvaluatedModel",
    "ExpectedSettings",
    "ExportSettings",
    "ExtendModelSettings",
    "FetchSettings",
    "FilterSettings",
    "FitCodebookSettings",
    "GenerateSettings",
    "GenerationSettings",
    "GpuSettings",
    "HarnessModel",
    "HarnessSettings",
    "HeldOutSettings",
    "InitModelSettings",
    "LabelSettings",
    "LicenseSettings",
    "LimitSettings",
    "LoraSettings",
    "OptimizerSettings",
    "PackSettings",
    "PairSettings",
    "PrepareSettings",
    "PseudoLabelSettings",
    "QualitySettings",
    "RecipeSettings",
    "ScoreSettings",
    "ScoringSettings",
    "ServeSettings",
    "ShotSettings",
    "SourceSettings",
    "SplitSettings",
    "StageSettings",
    "StepSettings",
    "StorageSettings",
    "Task",
    "TrackingSettings",
    "TrainSettings",
    "TrainingSettings",
    "TranscriptSettings",
    "UnitSettings",
]
