"""The application: audio in, text out, as three deployments.

`Ingress` (HTTP, decoding; CPU) asks `SpeechEncoder` (int16 PCM → units) and `LanguageModel` (units → text), which both
work in batches. `serve run serve.app:build config=configs/quickstart/serve.yaml` starts it, from the checkout.
"""

import asyncio
import math

import numpy as np
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from spire_ray.core import config, references
from spire_ray.inference.tasks import spoken
from spire_ray.model import license
from spire_ray.serving.ingress import Ingress
from spire_ray.settings import SAMPLE_RATE, ServeSettings
from spire_ray.text.prompts import Span
from spire_ray.text.record import Record

_ENCODER_SHARE, _MODEL_SHARE = 0.2, 0.8
"""Of the GPU of a replica."""
_BATCH_SECONDS = 60
"""Audio in one batch of the encoder."""
_ENCODER_REQUESTS = 64
"""Requests that one replica of the encoder holds."""


def _batch_seconds(batch: list[bytes]) -> int:
    """Seconds of audio in int16 PCM; a single clip counts as a full batch at most, because Serve refuses larger ones."""
    seconds = math.ceil(sum(len(pcm) for pcm in batch) / 2 / SAMPLE_RATE)
    return min(seconds, _BATCH_SECONDS) if len(batch) == 1 else seconds


class SpeechEncoder:
    """A Serve deployment: int16 PCM at 16 kHz → units."""

    def __init__(self, settings: ServeSettings) -> None:
        from spire_ray.inference.speech_to_text import codebook_of
        from spire_ray.units.labeler import Labeler

        self._labeler = Labeler(codebook_of(references.local_model(settings.model)), _device(settings))

    async def __call__(self, pcm: bytes) -> np.ndarray:
        """Units uint16 [n] of one clip; none for a clip shorter than one frame."""
        if len(pcm) // 2 < self._labeler.encoder.shortest:
            return np.zeros(0, np.uint16)
        units: np.ndarray = await self._label(pcm)
        return units

    @serve.batch(max_batch_size=_BATCH_SECONDS, batch_size_fn=_batch_seconds)  # type: ignore[untyped-decorator]
    async def _label(self, batch: list[bytes]) -> list[np.ndarray]:
        waveforms = [np.frombuffer(pcm, np.int16) for pcm in batch]
        return [units for units, _ in await asyncio.to_thread(self._labeler, waveforms, deduplicate=True)]


class LanguageModel:
    """A Serve deployment: units → text, asked in the form that the folder of the model says."""

    def __init__(self, settings: ServeSettings) -> None:
        from spire_ray.inference.generate import HuggingFaceGenerator
        from spire_ray.inference.speech_to_text import codebook_of, room

        folder = references.local_model(settings.model)
        self._generator = HuggingFaceGenerator(
            folder, device=_device(settings), max_new_tokens=settings.max_new_tokens, batch_size=settings.max_batch_size
        )
        self._most_units = room(self._generator)
        self._frame_rate = codebook_of(folder).fingerprint.identity.frame_rate
        self._write.set_max_batch_size(settings.max_batch_size)

    async def limits(self) -> tuple[int, float, Record]:
        """Units that fit into the model's positions, the seconds of audio that never make more, and what the model was taught."""
        return self._most_units, self._most_units / self._frame_rate, self._generator.tokenizer.record

    async def __call__(self, units: np.ndarray, language: str, to_language: str) -> str:
        """What was said in `language` or, where `to_language` is not empty, its translation into that."""
        text: str = await self._write(spoken(self._generator.tokenizer, units, language, to_language))
        return text

    @serve.batch  # type: ignore[untyped-decorator]
    async def _write(self, batch: list[list[Span]]) -> list[str]:
        return await asyncio.to_thread(self._generator, batch)


def build(args: dict[str, str]) -> Application:
    """The application of a configuration file: `config`, and any setting by its dotted name.

    Raises ValueError for settings or a model that cannot be served.
    """
    overrides = [f"{key}={value}" for key, value in args.items() if key != "config"]
    if "config" not in args:
        raise ValueError("config: name the configuration of the stage serve, such as config=configs/quickstart/serve.yaml")
    settings = config.load(args["config"], overrides, "serve")
    assert isinstance(settings, ServeSettings)
    return application(settings)


def application(settings: ServeSettings) -> Application:
    """The application of a configuration. Raises ValueError for settings or a model that cannot be served."""
    _check(settings)
    gpus = settings.gpus_per_replica
    scaling = {"min_replicas": settings.replicas, "max_replicas": settings.max_replicas}
    most = 4 * settings.max_batch_size
    encoder = serve.deployment(
        SpeechEncoder,
        name="SpeechEncoder",
        autoscaling_config=AutoscalingConfig(**scaling, target_ongoing_requests=_ENCODER_REQUESTS // 2),
        max_ongoing_requests=_ENCODER_REQUESTS,
        max_queued_requests=2 * _ENCODER_REQUESTS,
        ray_actor_options={"num_cpus": 1, "num_gpus": _ENCODER_SHARE * gpus},
    )
    model = serve.deployment(
        LanguageModel,
        name="LanguageModel",
        autoscaling_config=AutoscalingConfig(**scaling, target_ongoing_requests=most // 2),
        max_ongoing_requests=most,
        max_queued_requests=2 * most,
        ray_actor_options={"num_cpus": 1, "num_gpus": _MODEL_SHARE * gpus},
    )
    # more than the two behind it hold and queue, so that an overload is answered in the terms of the API
    requests = 3 * (_ENCODER_REQUESTS + most) * settings.max_replicas
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name="Ingress",
        max_ongoing_requests=requests,
        max_queued_requests=requests,
        ray_actor_options={"num_cpus": 1},
    )
    return ingress.bind(settings, encoder.bind(settings), model.bind(settings))


def _check(settings: ServeSettings) -> None:
    if not 1 <= settings.replicas <= settings.max_replicas:
        raise ValueError(f"replicas={settings.replicas}: must be at least 1 and at most max_replicas={settings.max_replicas}")
    if not 0 <= settings.gpus_per_replica <= 1:
        raise ValueError(f"gpus_per_replica={settings.gpus_per_replica:g}: must be between 0 and 1")
    for name in ("max_batch_size", "max_upload_mb", "max_new_tokens"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}={getattr(settings, name)}: must be at least 1")
    from spire_ray.inference.speech_to_text import codebook_of

    folder = references.local_model(settings.model)
    license.check(settings.model, settings.license.accept, folder)
    codebook_of(folder)


def _device(settings: ServeSettings) -> str:
    return "cuda" if settings.gpus_per_replica else "cpu"
