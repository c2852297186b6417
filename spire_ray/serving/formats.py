"""What was said in a recording, in the formats of OpenAI's API."""

import json
import zlib
from collections.abc import Sequence
from typing import Any

from spire_ray.inference.asking import Wanted
from spire_ray.serving.recordings import Told
from spire_ray.text.languages import language

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
"""Values of `response_format`."""


def text_of(told: Told, wanted: Wanted) -> str:
    """The text of a piece: its transcript or, where one language is asked for, its translation."""
    answer = told.found.transcript if wanted.transcript else told.found.translations.get(wanted.targets[0])
    return answer.text if answer else ""


def body(pieces: Sequence[Told], wanted: Wanted, warnings: Sequence[str], verbose: bool = False) -> dict[str, Any]:
    """The JSON of a recording."""
    seconds = round(pieces[-1].end, 3) if pieces else 0.0
    shown = language(wanted.source if wanted.transcript else wanted.targets[0])
    found: dict[str, Any] = {"text": shown.join(text_of(piece, wanted) for piece in pieces)}
    if wanted.targets:
        found["translations"] = {code: _translation(pieces, code) for code in wanted.targets}
    if verbose:
        found = {
            "task": "transcribe" if wanted.transcript else "translate",
            "language": language(wanted.source).name.lower(),
            "duration": seconds,
            **found,
            "segments": [_segment(number, piece, wanted) for number, piece in enumerate(pieces)],
        }
    found["usage"] = {"type": "duration", "seconds": seconds}
    if warnings:
        found["warnings"] = list(warnings)
    return found


def subtitles(pieces: Sequence[Told], wanted: Wanted, vtt: bool) -> str:
    """SubRip or WebVTT; pieces without text are left out."""
    cues = [piece for piece in pieces if text_of(piece, wanted)]
    lines = ["WEBVTT\n"] if vtt else []
    for number, piece in enumerate(cues, 1):
        times = " --> ".join(_clock(moment, "." if vtt else ",") for moment in (piece.start, piece.end))
        shown = text_of(piece, wanted).replace("-->", "→")
        lines.append(f"{times}\n{shown}\n" if vtt else f"{number}\n{times}\n{shown}\n")
    return "\n".join(lines)


def sse(event: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"


def segment_event(number: int, piece: Told, wanted: Wanted) -> dict[str, Any]:
    """What a stream says when a piece is done."""
    return {
        "type": "transcript.text.segment",
        "id": str(number),
        "start": round(piece.start, 3),
        "end": round(piece.end, 3),
        "text": text_of(piece, wanted),
        "translations": {code: answer.text for code, answer in piece.found.translations.items()},
    }


def _translation(pieces: Sequence[Told], code: str) -> str:
    answers = (piece.found.translations.get(code) for piece in pieces)
    return language(code).join(answer.text for answer in answers if answer)


def _segment(number: int, piece: Told, wanted: Wanted) -> dict[str, Any]:
    answer = piece.found.transcript if wanted.transcript else piece.found.translations.get(wanted.targets[0])
    text = answer.text if answer else ""
    packed = len(zlib.compress(text.encode()))
    return {
        "id": number,
        "seek": int(piece.start * 100),
        "start": round(piece.start, 3),
        "end": round(piece.end, 3),
        "text": text,
        "tokens": list(answer.tokens) if answer else [],
        "temperature": 0.0,
        "avg_logprob": round(answer.logprob / len(answer.tokens), 4) if answer and answer.tokens else 0.0,
        "compression_ratio": round(len(text.encode()) / packed, 3),
        "no_speech_prob": 0.0 if piece.speech else 1.0,
        "translations": {code: found.text for code, found in piece.found.translations.items()},
    }


def _clock(seconds: float, sign: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{sign}{rest % 1000:03}"
