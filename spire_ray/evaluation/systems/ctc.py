"""Encoders with a CTC head, such as HuBERT-large tuned on LibriSpeech: transcripts, of the likeliest letter at each frame."""

from collections.abc import Sequence
from typing import Any

from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind
from spire_ray.evaluation.systems._speech import Heard, heard, loaded
from spire_ray.evaluation.tasks import Request
from spire_ray.settings import SAMPLE_RATE, EvaluatedModel, GenerationSettings


class Ctc:
    """Audio is padded where the model was trained with an attention mask; else, as with group norm, each clip is heard alone."""

    def __init__(self, model: Any, processor: Any, batch_size: int) -> None:
        self._model, self._processor = model, processor
        self._batch_size = batch_size if processor.feature_extractor.return_attention_mask else 1

    def asked(self, request: Request) -> str:
        """See `System`."""
        return f"{self._model.config.model_type} ctc"

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """See `System`."""
        return heard(requests, self._batch_size, self._ask)

    def _ask(self, batch: Heard) -> list[tuple[str, int]]:
        import torch

        given = self._processor.feature_extractor(
            [samples for _, samples in batch], sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt"
        ).to(self._model.device)
        given["input_values"] = given["input_values"].to(self._model.dtype)
        with torch.inference_mode():
            ids = self._model(**given).logits.argmax(-1)
        frames = self._model._get_feat_extract_output_lengths(torch.tensor([len(samples) for _, samples in batch]))
        cut = [row[:length].tolist() for row, length in zip(ids, frames.tolist(), strict=True)]
        return [(self._processor.tokenizer.decode(row).strip(), len(row)) for row in cut]


def load(model: EvaluatedModel, settings: GenerationSettings) -> Ctc:
    """See `SystemKind.load`."""
    return Ctc(*loaded(model, settings, "AutoModelForCTC"), settings.batch_size)


SYSTEMS.register("ctc", SystemKind(load=load, skills=("asr",)))
