"""Whisper of any size: transcripts, and translations into English."""

from collections.abc import Sequence
from typing import Any

from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind, beams
from spire_ray.evaluation.systems._speech import Heard, heard, loaded
from spire_ray.evaluation.tasks import Request
from spire_ray.settings import SAMPLE_RATE, EvaluatedModel, GenerationSettings

_WINDOW_SECONDS = 30
_PROMPT_TOKENS = 4
"""`<|startoftranscript|>`, language, task, `<|notimestamps|>`."""
_FIRST_MULTILINGUAL = 51_865
"""Words of the smallest vocabulary with languages; those of English alone have one less."""


class Whisper:
    """30 s at a time; longer audio by Whisper's own sequential algorithm, with timestamps.

    Greedy unless `beams` says otherwise: the pipeline of transformers has 5 since OpenAI's own code has.
    """

    def __init__(self, model: Any, processor: Any, max_new_tokens: int, batch_size: int, beams: int = 1) -> None:
        self._model, self._processor, self._batch_size = model, processor, batch_size
        self._most = min(max_new_tokens, model.config.max_target_positions - _PROMPT_TOKENS)
        self._beams = beams
        known = getattr(model.generation_config, "is_multilingual", None)
        self._multilingual = model.config.vocab_size >= _FIRST_MULTILINGUAL if known is None else bool(known)

    def asked(self, request: Request) -> str:
        """See `System`."""
        return "whisper " + ("translate" if request.skill == "st" else "transcribe")

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """See `System`."""
        return heard(requests, self._batch_size, self._ask, longest=_WINDOW_SECONDS * SAMPLE_RATE)

    def _ask(self, batch: Heard) -> list[tuple[str, int]]:
        import torch

        samples = [each for _, each in batch]
        long = max(map(len, samples)) > _WINDOW_SECONDS * SAMPLE_RATE
        # one window is always padded to its full length, as in training
        shape = {"truncation": False, "padding": "longest"} if long else {}
        given = self._processor.feature_extractor(
            samples, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True, **shape
        )
        how: dict[str, Any] = {"return_timestamps": True} if long else {"max_new_tokens": self._most}
        if self._multilingual:
            request = batch[0][0]
            how |= {"language": request.source, "task": "translate" if request.skill == "st" else "transcribe"}
        with torch.inference_mode():
            ids = self._model.generate(
                given.input_features.to(self._model.device, self._model.dtype),
                attention_mask=given.attention_mask.to(self._model.device),
                do_sample=False,
                num_beams=self._beams,
                **how,
            )
        texts = self._processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        ends = [*ids.new_tensor(sorted({self._model.config.eos_token_id, self._model.config.pad_token_id} - {None}))]
        counts = [int(sum((row != end).int() for end in ends).eq(len(ends)).sum()) for row in ids]
        return [(text.strip(), count) for text, count in zip(texts, counts, strict=True)]


def check(model: EvaluatedModel, wanted: Sequence[tuple[str, str, str]]) -> None:
    """See `SystemKind.check`."""
    beams(model)
    for skill, _, target in wanted:
        if skill == "st" and target != "en":
            raise ValueError(f"models.{model.name}.tasks: whisper translates into English alone, not into {target}")


def load(model: EvaluatedModel, settings: GenerationSettings) -> Whisper:
    """See `SystemKind.load`."""
    weights, processor = loaded(model, settings, "WhisperForConditionalGeneration")
    return Whisper(weights, processor, settings.max_new_tokens, settings.batch_size, beams(model))


SYSTEMS.register("whisper", SystemKind(load=load, skills=("asr", "st"), options={"beams": "1"}, check=check))
