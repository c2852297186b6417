"""What a model can be asked, in the form its folder says it was trained in: transcribe, translate, both in two turns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Style, Turn
from spire_ray.text.record import Form
from spire_ray.text.tokenizer import SpeechTokenizer

if TYPE_CHECKING:
    from spire_ray.inference.generate import Generator


def spoken(
    tokenizer: SpeechTokenizer,
    units: np.ndarray,
    language: str = "en",
    to: str = "",
    form: Form | None = None,
    style: Style | None = None,
) -> list[Span]:
    """The prompt that asks a model for the transcript of units or, with `to`, for their translation.

    `form` and `style` ask in others than the model's own.
    """
    style = style or prompts.STYLES[tokenizer.record.prompts]
    if (form or tokenizer.record.form) == "cpt":
        return prompts.prompt(prompts.asr_completion(to or language, style), units)
    question = prompts.st_prompt(to, style) if to else prompts.asr_prompt(language, style)
    return prompts.chat([Turn(question)], units, tokenizer.chat)


def written(
    tokenizer: SpeechTokenizer,
    text: str,
    source: str,
    target: str,
    form: Form | None = None,
    style: Style | None = None,
    shots: Sequence[tuple[str, str]] = (),
) -> list[Span]:
    """The prompt that asks a model for the translation of a text; one that continues text may get examples before it."""
    style = style or prompts.STYLES[tokenizer.record.prompts]
    if (form or tokenizer.record.form) == "cpt":
        examples = [prompts.completion(prompts.mt_completion(shot, source, target, style), answer) for shot, answer in shots]
        return prompts.few_shot(examples, prompts.prompt(prompts.mt_completion(text, source, target, style)))
    return prompts.chat([Turn(prompts.mt_prompt(text, source, target, style))], markup=tokenizer.chat)


def in_turns(
    tokenizer: SpeechTokenizer, units: np.ndarray, transcript: str, source: str, target: str, style: Style | None = None
) -> list[Span]:
    """The prompt that asks a model, in a second turn, for the translation of speech that it has transcribed."""
    style = style or prompts.STYLES[tokenizer.record.prompts]
    return prompts.chat(prompts.multiturn(transcript, "", source, target, style), units, tokenizer.chat)


class Tasks:
    """A generator that is asked in one form: its model's own, or another."""

    def __init__(self, generator: "Generator", form: Form | None = None) -> None:
        self._generator = generator
        self._tokenizer = generator.tokenizer
        self._form: Form = form or generator.tokenizer.record.form

    def transcribe(self, units: Sequence[np.ndarray], language: str = "en") -> list[str]:
        """Speech → transcripts."""
        return self._generator([spoken(self._tokenizer, u, language, form=self._form) for u in units])

    def translate_speech(self, units: Sequence[np.ndarray], target: str) -> list[str]:
        """Speech → translations, directly."""
        return self._generator([spoken(self._tokenizer, u, to=target, form=self._form) for u in units])

    def translate_in_turns(self, units: Sequence[np.ndarray], transcripts: Sequence[str], source: str, target: str) -> list[str]:
        """Speech and the model's own transcripts → translations, in the second turn."""
        pairs = zip(units, transcripts, strict=True)
        return self._generator([in_turns(self._tokenizer, u, transcript, source, target) for u, transcript in pairs])

    def translate_text(self, texts: Sequence[str], source: str, target: str, form: Form | None = None) -> list[str]:
        """Text → translations; `form` asks in another form."""
        return self._generator([written(self._tokenizer, text, source, target, form or self._form) for text in texts])
