"""Audio → text in one object: a model folder with its tokenizer, codebook and speech encoder.

`spire transcribe`, the service and Python programs ask a model through it, and it asks as the folder says
(`spire_ray.text.record`): in which form and language, and how much speech at once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from spire_ray.audio import decode, wav
from spire_ray.core import references, storage
from spire_ray.inference.asking import Found, Wanted, ask
from spire_ray.inference.generate import EngineGenerator, wait_for
from spire_ray.inference.pieces import pieces
from spire_ray.inference.tasks import spoken
from spire_ray.model import license
from spire_ray.settings import SAMPLE_RATE
from spire_ray.text.languages import Language, language, registry
from spire_ray.text.record import RECORD_FILE, Mode, UnitVocabulary
from spire_ray.units.codebook import Codebook
from spire_ray.units.labeler import Labeler

Audio = str | bytes | np.ndarray
"""A file, local or `s3://…`; the bytes of one; or mono samples at 16 kHz, float32 in [-1, 1] or int16."""


@dataclass(frozen=True)
class Piece:
    """Speech that is put to the model at once."""

    start: float
    end: float
    """Seconds in the recording."""
    units: np.ndarray


@dataclass(frozen=True)
class Segment:
    """The text of a piece."""

    start: float
    end: float
    text: str = ""
    translations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Transcription:
    """The text of a recording."""

    language: str
    """ISO 639-1 code of what is spoken."""
    seconds: float
    text: str = ""
    """Empty where no transcript was asked for."""
    translations: dict[str, str] = field(default_factory=dict)
    """ISO 639-1 code → text."""
    segments: tuple[Segment, ...] = ()


class SpeechToText:
    """A model that hears."""

    def __init__(self, labeler: Labeler, generator: EngineGenerator) -> None:
        self.labeler, self.generator = labeler, generator
        self.record = generator.tokenizer.record
        self.room = room(generator)
        """Units that fit into the model's positions beside a question and an answer."""
        fits = self.room / labeler.fingerprint.identity.frame_rate
        self.longest_seconds = min(fits, self.record.longest_seconds or fits)
        """Speech that is put to the model at once: no more than it was trained on and than fits. Longer audio is cut."""

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        *,
        codebook: str = "",
        device: str = "cpu",
        max_new_tokens: int = 256,
        batch_size: int = 16,
        engine: str = "padded",
        accept: Sequence[str] = (),
    ) -> "SpeechToText":
        """The model of a folder, local or `s3://…`, or of a Hugging Face id, `id@revision` to pin it.

        `codebook` is a folder, by default `codebook/` in that of the model; `engine` is one of `spire_ray.inference.engines`;
        `accept` names non-commercial licenses. Raises ValueError for a model that cannot be had, that has no unit tokens or a
        license that was not accepted.
        """
        folder = references.local_model(model)
        license.check(model, tuple(accept), folder)
        labeler = Labeler(codebook_of(folder, codebook), device)
        generator = EngineGenerator.from_pretrained(
            folder, engine, device=device, max_new_tokens=max_new_tokens, batch_size=batch_size
        )
        return cls(labeler, generator)

    @overload
    def transcribe(
        self,
        audio: Audio,
        language: str = ...,
        to: str | Sequence[str] = ...,
        *,
        mode: Mode | None = ...,
        transcript: bool = ...,
    ) -> Transcription: ...

    @overload
    def transcribe(
        self,
        audio: list[Audio],
        language: str = ...,
        to: str | Sequence[str] = ...,
        *,
        mode: Mode | None = ...,
        transcript: bool = ...,
    ) -> list[Transcription]: ...

    def transcribe(
        self,
        audio: Audio | list[Audio],
        language: str = "en",
        to: str | Sequence[str] = (),
        *,
        mode: Mode | None = None,
        transcript: bool = True,
    ) -> Transcription | list[Transcription]:
        """The transcript of one recording or of each of several, and its translations.

        `language` is what is spoken, `to` one language or more, by ISO 639-1 code or English name; without `transcript` there
        are translations alone; without `mode` each translation is asked for as the model was trained. Raises ValueError for audio
        that cannot be used, and for a language or a direction that the model was not trained on.
        """
        heard = [self.hear(each) for each in (audio if isinstance(audio, list) else [audio])]
        found = self.write(heard, language, to, mode=mode, transcript=transcript)
        return found if isinstance(audio, list) else found[0]

    def hear(self, audio: Audio) -> list[Piece]:
        """The units of a recording, cut at quiet places where it is longer than the model was trained on.

        Raises ValueError for audio that cannot be read and for what is shorter than one frame.
        """
        cuts = list(pieces(wav.encode(audio) if isinstance(audio, np.ndarray) else audio, self.longest_seconds))
        shortest = self.labeler.encoder.shortest
        if len(cuts) == 1 and len(cuts[0][1]) < shortest:
            raise decode.AudioError(f"shorter than one frame: {len(cuts[0][1])} of {shortest} samples")
        cuts = [(start, samples) for start, samples in cuts if len(samples) >= shortest]
        made = self.labeler([samples for _, samples in cuts], deduplicate=True)
        return [
            Piece(start, start + len(samples) / SAMPLE_RATE, units)
            for (start, samples), (units, _) in zip(cuts, made, strict=True)
        ]

    def write(
        self,
        recordings: Sequence[Sequence[Piece]],
        language: str = "en",
        to: str | Sequence[str] = (),
        *,
        mode: Mode | None = None,
        transcript: bool = True,
    ) -> list[Transcription]:
        """The texts of recordings that were heard; see `transcribe`. All pieces share their batches."""
        source, targets = _language(language), [_language(name) for name in ([to] if isinstance(to, str) else to)]
        wanted = Wanted(source.code, tuple(target.code for target in targets), mode, transcript)
        wanted.check(self.record)

        async def every_piece() -> list[Found]:
            asked = (ask(self.generator, piece.units, wanted) for recording in recordings for piece in recording)
            return await asyncio.gather(*asked)

        found = iter(wait_for(every_piece()))
        return [
            joined([segment(piece, said) for piece, said in zip(recording, found, strict=False)], source, targets)
            for recording in recordings
        ]


def segment(piece: Piece, found: Found) -> Segment:
    """What was found out about a piece."""
    translations = {code: answer.text for code, answer in found.translations.items()}
    return Segment(piece.start, piece.end, found.transcript.text if found.transcript else "", translations)


def codebook_of(model: str, folder: str = "") -> Codebook:
    """The codebook in `folder`, by default the one in the local model folder.

    Raises ValueError for a model that has no unit tokens, a missing codebook and one that makes other units.
    """
    vocabulary = UnitVocabulary.load(model)
    if vocabulary is None:
        raise ValueError(
            f"model={model}: no units in a {RECORD_FILE} there, so it has no unit tokens; extend it with the stage extend_model, "
            "or, if its vocabulary has units already as SpireFull's does, say which codebook made them with `spire units adopt`"
        )
    folder = folder or storage.join(model, "codebook")
    codebook = Codebook.load(folder)
    vocabulary.fingerprint.require(codebook.fingerprint, f"model={model}", f"codebook={folder}")
    return codebook


def room(generator: EngineGenerator) -> int:
    """Units that fit into the model's positions beside the question in any language and an answer.

    Raises ValueError if none does.
    """
    tokenizer = generator.tokenizer
    questions = [spoken(tokenizer, np.zeros(0, np.uint16), code) for code in registry()]
    longest = max(len(ids) for ids, _ in tokenizer.encode(questions))
    units = generator.longest_prompt - 1 - longest  # BOS
    if units < 1:
        raise ValueError(f"max_new_tokens: answers so long leave no room for audio in the model's positions ({units} units)")
    return units


def _language(name: str) -> Language:
    return language(name)


def joined(segments: list[Segment], source: Language, targets: Sequence[Language]) -> Transcription:
    """The segments of a recording as one text."""
    return Transcription(
        source.code,
        segments[-1].end if segments else 0.0,
        source.join(segment.text for segment in segments),
        {target.code: target.join(segment.translations[target.code] for segment in segments) for target in targets},
        tuple(segments),
    )
