"""Serving."""

from dataclasses import dataclass
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import (
    Fraction,
    Manifest,
    ModelReference,
    Operational,
    PositiveInt,
)


@dataclass(frozen=True, kw_only=True)
class ServeSettings(StageSettings):
    """Speech in, text out, over HTTP. The output folder holds what the quickstart's check of the server wrote."""

    stage: Literal["serve"] = "serve"
    model: ModelReference
    name: str = "spire"
    """Name of the model in the API."""
    host: Operational[str] = "127.0.0.1"
    port: Operational[int] = 8000
    replicas: Operational[PositiveInt] = 1
    """Replicas of the speech encoder, and of the language model, that always run."""
    max_replicas: Operational[PositiveInt] = 1
    """Replicas of each at most, under load."""
    gpus_per_replica: Operational[Fraction] = 0.0
    """At most 1: the speech encoder takes 0.2 of it, the language model 0.8."""
    max_batch_size: Operational[PositiveInt] = 16
    """Answers that one replica of the language model writes at once."""
    max_upload_mb: Operational[PositiveInt] = 25
    """Larger files are refused; one megabyte is 2^20 bytes."""
    max_new_tokens: PositiveInt = 256
    """Tokens of an answer at most. They share the model's positions with the units of the audio."""
    manifest: Manifest = ""
    """Manifest with the clip that the check asks about; empty: no check."""
    split: str = "test"
    """Split of that clip; `all`: any."""
    to_language: str = ""
    """Language of a second question about the clip, its translation; empty: the transcript only."""
    keep: Operational[bool] = False
    """Serve until Ctrl-C or SIGTERM instead of ending after the check; the output folder is left alone."""
