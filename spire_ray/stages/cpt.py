"""Continued pre-training."""

from spire_ray.core.stage import STAGES, Stage
from spire_ray.settings import TrainSettings
from spire_ray.stages._train import longer, run
from spire_ray.training.plan import plan

STAGES.register("cpt", Stage(TrainSettings, plan, run, uses="Ray Train, DeepSpeed ZeRO", grown=longer))
