"""Serving."""

from dataclasses import dataclass
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import (
    Fraction,
    Manifest,
    ModelReference,
    Operational,
    Port,
    PositiveFloat,
    PositiveInt,
)


@dataclass(frozen=True, kw_only=True)
class ServeSettings(StageSettings):
    """Speech in, text out, over HTTP. The output folder holds what the server answered when it was checked."""

    stage: Literal["serve"] = "serve"
    model: ModelReference
    name: str = "spire"
    """Name of the model in the API."""
    aliases: Operational[tuple[str, ...]] = ("whisper-1",)
    """Other names that it answers to."""
    host: Operational[str] = "127.0.0.1"
    port: Operational[Port] = 8000
    engine: Operational[str] = "transformers"
    """What writes the answers: `transformers` by continuous batching, `padded` batches, `vllm`, which needs an environment of its
    own, or the engine of a plugin."""
    replicas: Operational[PositiveInt] = 1
    """Replicas of the model that always run."""
    max_replicas: Operational[PositiveInt] = 1
    """Replicas at most, under load."""
    gpus_per_replica: Operational[Fraction] = 0.0
    """At most 1: the speech encoder and the language model of a replica share it."""
    max_batch_size: Operational[PositiveInt] = 16
    """Answers that one replica writes at once."""
    max_requests: Operational[PositiveInt] = 64
    """Requests in work for each replica; more are answered with 503."""
    deadline_seconds: Operational[PositiveFloat] = 600.0
    """For a request from its first byte to its last; later it is answered with 503."""
    max_upload_mb: Operational[PositiveInt] = 25
    """Larger files are refused; one megabyte is 2^20 bytes."""
    max_audio_minutes: Operational[PositiveInt] = 240
    """Longer recordings are refused. They are cut into what the model hears at once, so that any length needs the same memory."""
    max_new_tokens: PositiveInt = 256
    """Tokens of an answer at most. They share the model's positions with the units of the audio."""
    api_keys: Operational[str] = ""
    """File with an API key on each line; further ones in the environment, SPIRE_API_KEYS, with commas between."""
    open: Operational[bool] = False
    """Answer without API keys on other addresses than this machine's own, 127.0.0.1."""
    manifest: Manifest = ""
    """Manifest with the clip that the check asks about; empty: no check."""
    split: str = "test"
    """Split of that clip; `all`: any."""
    to_language: str = ""
    """Language of a second question about the clip, its translation; empty: the transcript only."""
    keep: Operational[bool] = False
    """Serve until Ctrl-C or SIGTERM instead of ending after the check; the output folder is left alone."""
