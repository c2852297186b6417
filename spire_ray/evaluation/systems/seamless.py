"""SeamlessM4T v2: transcripts, and translations of speech and of text."""

from collections.abc import Sequence
from typing import Any

from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind, in_batches
from spire_ray.evaluation.systems._speech import Heard, heard, loaded
from spire_ray.evaluation.tasks import Request
from spire_ray.settings import SAMPLE_RATE, EvaluatedModel, GenerationSettings
from spire_ray.text.languages import language


class Seamless:
    """One checkpoint as the two classes that write text; each is loaded when it is first asked. Greedy."""

    def __init__(self, model: EvaluatedModel, settings: GenerationSettings) -> None:
        self._named, self._settings = model, settings
        self._loaded: dict[str, tuple[Any, Any]] = {}

    def asked(self, request: Request) -> str:
        """See `System`."""
        return f"seamless {_code(request.source)}-{_code(request.target)}"

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """See `System`."""
        written = [number for number, request in enumerate(requests) if request.skill == "mt"]
        spoken = [number for number, request in enumerate(requests) if request.skill != "mt"]
        found: dict[int, Answer] = {}
        if spoken:
            asked = [requests[number] for number in spoken]
            found |= zip(spoken, heard(asked, self._settings.batch_size, self._hear), strict=True)
        if written:
            given = [requests[number] for number in written]
            made = in_batches(
                [request.text for request in given],
                len,
                lambda row: (given[row].source, given[row].target),
                self._settings.batch_size,
                lambda rows, texts: self._read(given[rows[0]], texts),
            )
            found |= zip(written, made, strict=True)
        return [found[number] for number in range(len(requests))]

    def _hear(self, batch: Heard) -> list[tuple[str, int]]:
        model, processor = self._of("SpeechToText")
        given = processor.feature_extractor(
            [samples for _, samples in batch], sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt"
        )
        given["input_features"] = given["input_features"].to(model.dtype)
        return self._written(model, processor, given, batch[0][0].target)

    def _read(self, request: Request, texts: Sequence[str]) -> list[tuple[str, int]]:
        model, processor = self._of("TextToText")
        processor.tokenizer.src_lang = _code(request.source)
        given = processor.tokenizer(list(texts), padding=True, return_tensors="pt")
        return self._written(model, processor, given, request.target)

    def _written(self, model: Any, processor: Any, given: Any, target: str) -> list[tuple[str, int]]:
        import torch

        with torch.inference_mode():
            ids = model.generate(
                **given.to(model.device),
                tgt_lang=_code(target),
                max_new_tokens=self._settings.max_new_tokens,
                do_sample=False,
                num_beams=1,
            )
        ids = ids if isinstance(ids, torch.Tensor) else ids.sequences
        counts = (ids != model.config.pad_token_id).sum(1).tolist()
        texts = processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [(text.strip(), int(count)) for text, count in zip(texts, counts, strict=True)]

    def _of(self, kind: str) -> tuple[Any, Any]:
        if kind not in self._loaded:
            self._loaded[kind] = loaded(self._named, self._settings, f"SeamlessM4Tv2For{kind}")
        return self._loaded[kind]


def _code(code: str) -> str:
    """Of three letters, as Seamless names languages."""
    return language(code).iso_639_3 or code


SYSTEMS.register("seamless", SystemKind(load=Seamless, skills=("asr", "st", "mt")))
