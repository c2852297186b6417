"""What systems that hear audio share: a model of transformers on a device, and waveforms that are asked about together."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from spire_ray.audio import decode
from spire_ray.core import references
from spire_ray.evaluation.systems import Answer, in_batches
from spire_ray.evaluation.tasks import Request
from spire_ray.settings import EvaluatedModel, GenerationSettings

Heard = Sequence[tuple[Request, np.ndarray]]


class Processor(NamedTuple):
    """What stands before a model and behind it."""

    feature_extractor: Any
    tokenizer: Any


def loaded(model: EvaluatedModel, settings: GenerationSettings, kind: str) -> tuple[Any, Processor]:
    """`weights`, and what stands before the model and behind it."""
    import transformers

    folder, made = weights(model, settings, kind)
    return made, Processor(
        transformers.AutoFeatureExtractor.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    )


def weights(model: EvaluatedModel, settings: GenerationSettings, kind: str) -> tuple[str, Any]:
    """The folder of a model, and a class of transformers by its name with its weights; float32 on a CPU.

    Raises ValueError for a folder of another class.
    """
    import torch
    import transformers

    field = f"models.{model.name}.model"
    folder = references.local_model(model.model, field)
    dtype: Any = "auto" if settings.gpus_per_worker else torch.float32
    own = transformers.AutoConfig.from_pretrained(folder).architectures or [kind]
    made = getattr(transformers, kind)
    auto = getattr(made, "_model_mapping", None)
    fits = {each.__name__ for each in auto.values()} if auto is not None else {kind}
    if not kind.startswith(own[0].removesuffix("Model")) and not fits & set(own):
        raise ValueError(f"{field}={model.model}: is a {own[0]}, no {kind}; choose another `system`")
    return folder, made.from_pretrained(folder, dtype=dtype).eval().to("cuda" if settings.gpus_per_worker else "cpu")


def heard(
    requests: Sequence[Request], batch_size: int, ask: Callable[[Heard], Sequence[tuple[str, int]]], longest: int = 0
) -> list[Answer]:
    """Answers about audio, asked in batches of one skill and one pair of languages; audio above `longest` samples alone."""

    def alike(row: int) -> Any:
        samples, request = waveforms[row], requests[row]
        alone = row if longest and isinstance(samples, np.ndarray) and len(samples) > longest else None
        return request.skill, request.source, request.target, alone

    def asked(rows: list[int], given: list[np.ndarray]) -> Sequence[tuple[str, int]]:
        return ask([(requests[row], samples) for row, samples in zip(rows, given, strict=True)])

    waveforms = [_heard(request) for request in requests]
    return in_batches(waveforms, len, alike, batch_size, asked)


def waveform(request: Request) -> np.ndarray:
    """float32 [samples] at 16 kHz. Raises ValueError for what cannot be decoded."""
    assert request.row.audio is not None
    return decode.load(*request.row.audio)


def _heard(request: Request) -> np.ndarray | ValueError:
    """The waveform, or why there is none."""
    try:
        return waveform(request)
    except ValueError as error:
        return error
