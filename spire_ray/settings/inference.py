"""Evaluation and serving."""

from dataclasses import dataclass
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import (
    Folder,
    Fraction,
    Manifest,
    ModelReference,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
)

EvaluationTask = Literal[
    "asr", "asr_control", "mt", "mt_reverse", "st_direct", "st_multiturn", "st_cascade", "st_gold", "st_control"
]


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """One model and what it is asked."""

    name: str
    """Name in the report: base, cpt, it."""
    model: ModelReference
    tasks: tuple[EvaluationTask, ...]
    format: Literal["", "cpt", "it"] = ""
    """Empty: as the folder of the model says it was trained. `cpt` or `it` says it for a folder that does not."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(StageSettings):
    """WER, BLEU and chrF of one or more models on one split."""

    stage: Literal["evaluate"] = "evaluate"
    units: Folder
    split: str = "test"
    """`all`: every row, also those without a split."""
    models: tuple[EvaluatedModel, ...]
    target_language: str = "de"
    bleu_tokenizer: Literal["flores200", "13a", "zh", "ja-mecab", "ko-mecab", "intl"] = "flores200"
    """spBLEU is `flores200`, which downloads a tokenizer at first use."""
    utterances: NonNegativeInt = 0
    """At most so many of the split; 0: all."""
    batch_size: Operational[PositiveInt] = 64
    max_new_tokens: PositiveInt = 256
    workers: Operational[PositiveInt] = 2
    gpus_per_worker: Operational[NonNegativeFloat] = 0.0
    threads: Operational[PositiveInt] = 1


@dataclass(frozen=True, kw_only=True)
class ServeSettings(StageSettings):
    """Speech in, text out, over HTTP. The output folder holds what the quickstart's check of the server wrote."""

    stage: Literal["serve"] = "serve"
    model: ModelReference
    name: str = "spire"
    """Name of the model in the API."""
    aliases: Operational[tuple[str, ...]] = ("whisper-1",)
    """Other names that it answers to."""
    host: Operational[str] = "127.0.0.1"
    port: Operational[int] = 8000
    engine: Operational[Literal["transformers", "padded", "vllm"]] = "transformers"
    """What writes the answers: continuous batching, padded batches, or vLLM, which needs an environment of its own."""
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
