"""What a model can be asked, in the format it was trained in: transcribe, translate, both in two turns."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from spire_ray.inference.generate import Generator
from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Turn


class Tasks:
    """A generator with the prompts of SPIRE; `cpt` for base models, `it` for instruction-tuned ones."""

    def __init__(self, generator: Generator, form: Literal["cpt", "it"]) -> None:
        self._generator = generator
        self._form = form

    def _ask(self, question: str, units: np.ndarray | None = None) -> list[Span]:
        if self._form == "it":
            return prompts.chat([Turn(question)], units, self._generator.tokenizer.chat)
        return prompts.prompt(question, units)

    def transcribe(self, units: Sequence[np.ndarray], language: str = "en") -> list[str]:
        """Speech → transcripts."""
        return self._generator([self._ask(prompts.asr_prompt(language), u) for u in units])

    def translate_speech(self, units: Sequence[np.ndarray], target: str) -> list[str]:
        """Speech → translations, directly."""
        return self._generator([self._ask(prompts.st_prompt(target), u) for u in units])

    def translate_in_turns(self, units: Sequence[np.ndarray], transcripts: Sequence[str], source: str, target: str) -> list[str]:
        """Speech and the model's own transcripts → translations, in the second turn."""
        turns = [prompts.multiturn(transcript, "", source, target) for transcript in transcripts]
        return self._generator([prompts.chat(t, u, self._generator.tokenizer.chat) for t, u in zip(turns, units, strict=True)])

    def translate_text(self, texts: Sequence[str], source: str, target: str, form: Literal["cpt", "it", ""] = "") -> list[str]:
        """Text → translations; `form` asks in another format than the model's own."""
        if (form or self._form) == "cpt":
            return self._generator([prompts.prompt(prompts.mt_completion(text, source, target)) for text in texts])
        return self._generator([self.translation(text, source, target) for text in texts])

    def translation(self, text: str, source: str, target: str) -> list[Span]:
        """The prompt that asks an instruction-tuned model for a translation of text."""
        return prompts.chat([Turn(prompts.mt_prompt(text, source, target))], markup=self._generator.tokenizer.chat)
