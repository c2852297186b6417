"""What a client of the realtime route asks for, in the two shapes of OpenAI's events: that of today and that before it."""

from dataclasses import dataclass, replace
from typing import Any

from spire_ray.serving.refusal import Refusal

_RATES = (16_000, 24_000)
_KIND = "realtime.transcription_session"
_BEFORE = {
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
"""Fields of `transcription_session.update` → those of `session.update` under `audio.input`."""
_UNUSED = {
    "prompt": "prompt is not used: the model was trained with a fixed one",
    "keywords": "keywords are not used",
    "delay": "delay is not used",
    "noise_reduction": "noise_reduction is not used",
    "id": "id is not used: a session has no name",
    "threshold": "threshold is not used: speech is told by its pitch and its syllables",
    "create_response": "",
    "interrupt_response": "",
}
"""Fields that change nothing, and what is said of them."""


@dataclass(frozen=True)
class Session:
    """How the sound comes and what is wanted of it."""

    rate: int = 24_000
    model: str = ""
    language: str = ""
    to_language: tuple[str, ...] = ()
    mode: str = ""
    detection: bool = True
    """Whether the server finds the ends of turns; otherwise the client commits them."""
    padding: float = 0.3
    silence: float = 0.5
    """Seconds before speech that belong to its turn, and without speech that end it."""

    def shown(self) -> dict[str, Any]:
        """As events say it."""
        transcription: dict[str, Any] = {"model": self.model, "language": self.language or None}
        if self.to_language:
            transcription |= {"to_language": list(self.to_language), "mode": self.mode or None}
        detection = {
            "type": "server_vad",
            "prefix_padding_ms": round(1000 * self.padding),
            "silence_duration_ms": round(1000 * self.silence),
        }
        sound = {
            "format": {"type": "audio/pcm", "rate": self.rate},
            "transcription": transcription,
            "turn_detection": detection if self.detection else None,
        }
        return {"type": "transcription", "object": _KIND, "audio": {"input": sound}}


def updated(session: Session, given: Any) -> tuple[Session, list[str]]:
    """A session with what was given, and what is to be said of fields that are not used. Raises Refusal for others."""
    warnings: list[str] = []
    given = _object(given, "session", {"type", "audio", "include", "object", "id", "modalities", *_BEFORE}, warnings)
    _check_kind(given, warnings)
    audio = _object({} if given.get("audio") is None else given["audio"], "session.audio", {"input"})
    before = {name: given[old] for old, name in _BEFORE.items() if old in given}
    sound = _object({} if audio.get("input") is None else audio["input"], "session.audio.input", set(_BEFORE.values())) | before
    warnings += [_UNUSED["noise_reduction"]] if sound.get("noise_reduction") is not None else []
    if sound.get("format") is not None:
        session = replace(session, rate=_rate(sound["format"]))
    if sound.get("transcription") is not None:
        session = _transcription(session, sound["transcription"], warnings)
    if "turn_detection" in sound:
        session = _detection(session, sound["turn_detection"], warnings)
    return session, warnings


def _check_kind(given: dict[str, Any], warnings: list[str]) -> None:
    """Refuse another kind of session than this server has."""
    if given.get("type") not in (None, "transcription"):
        raise _bad("session.type", "this server transcribes; it must be transcription")
    if given.get("object") not in (None, _KIND):
        raise _bad("session.object", f"must be {_KIND}")
    if not isinstance(given.get("id"), str | None):
        raise _bad("session.id", "must be text")
    if given.get("include") not in (None, []):
        raise _bad("session.include", "probabilities are not sent; leave it out")
    if (answers := given.get("modalities")) is None:
        return
    if not isinstance(answers, list) or "text" not in answers or any(answer not in ("text", "audio") for answer in answers):
        raise _bad("session.modalities", 'this server answers with text; it must be ["text"]')
    if "audio" in answers:
        warnings.append("modalities: answers are text alone, not audio")


def _rate(form: Any) -> int:
    """Of raw 16-bit PCM with one channel."""
    form = {"type": "audio/pcm"} if form == "pcm16" else _object(form, "session.audio.input.format", {"type", "rate"})
    if form.get("type") != "audio/pcm" or form.get("rate", 24_000) not in _RATES:
        raise _bad("session.audio.input.format", "must be audio/pcm with a rate of 16000 or 24000")
    return int(form.get("rate", 24_000))


def _transcription(session: Session, given: Any, warnings: list[str]) -> Session:
    given = _object(given, "transcription", {"model", "language", "to_language", "mode", "prompt", "keywords", "delay"}, warnings)
    targets = given.get("to_language", session.to_language)
    targets = () if targets in (None, "") else tuple(targets) if isinstance(targets, (list, tuple)) else (targets,)
    found = {name: given.get(name, getattr(session, name)) for name in ("model", "language", "mode")}
    found = {name: "" if value is None else value for name, value in found.items()}
    for name, value in (*found.items(), *(("to_language", target) for target in targets)):
        if not isinstance(value, str):
            raise _bad(f"transcription.{name}", "must be text")
    return replace(session, **found, to_language=targets)


def _detection(session: Session, given: Any, warnings: list[str]) -> Session:
    if given is None:
        return replace(session, detection=False)
    known = {"type", "prefix_padding_ms", "silence_duration_ms", "threshold", "create_response", "interrupt_response"}
    given = _object(given, "turn_detection", known | {"idle_timeout_ms"}, warnings)
    if given.get("type") != "server_vad":
        raise _bad("turn_detection.type", "must be server_vad; null for turns that the client commits")
    if given.get("idle_timeout_ms") is not None:
        raise _bad("turn_detection.idle_timeout_ms", "no answer is made where nothing is said; leave it out")
    return replace(
        session,
        detection=True,
        padding=_seconds(given, "prefix_padding_ms", session.padding, 0, 1000),
        silence=_seconds(given, "silence_duration_ms", session.silence, 200, 5000),
    )


def _seconds(given: dict[str, Any], name: str, otherwise: float, least: int, most: int) -> float:
    value = given.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _bad(f"turn_detection.{name}", f"must be from {least} to {most}")
    return value / 1000


def _object(given: Any, where: str, known: set[str], warnings: list[str] | None = None) -> dict[str, Any]:
    """A JSON object whose fields are understood."""
    if not isinstance(given, dict):
        raise _bad(where, "must be an object")
    for name, value in given.items():
        if name not in known:
            raise _bad(f"{where}.{name}"[:80], "no field of this server")
        if warnings is not None and value is not None and _UNUSED.get(name):
            warnings.append(_UNUSED[name])
    return given


def _bad(field: str, message: str) -> Refusal:
    return Refusal(400, f"{field}: {message}", field, "invalid_field")
