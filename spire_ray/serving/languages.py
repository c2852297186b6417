"""The languages of a request, against what the model was trained on."""

from collections.abc import Iterable
from typing import get_args

from spire_ray.inference.asking import Wanted
from spire_ray.serving.refusal import Refusal
from spire_ray.text.languages import find
from spire_ray.text.record import Mode, Record


def wanted(record: Record, language: str, targets: Iterable[str], mode: str, logprobs: bool = False) -> Wanted:
    """What a request asks for: `language` is what is spoken, `targets` what is wanted, one or several.

    Raises Refusal for what the model was not trained on, with what it was.
    """
    source = spoken(record, language)
    codes = tuple(dict.fromkeys(_code(name, "to_language") for name in targets))
    if mode and mode not in get_args(Mode):
        raise Refusal(400, f"mode={mode!r}: one of {', '.join(get_args(Mode))}", "mode", "unsupported_value")
    if mode and not codes:
        raise Refusal(400, "mode: how a translation is made; to_language says into what", "mode", "unsupported_value")
    chosen: Mode | None = mode or None  # type: ignore[assignment]
    if mode == "two_turns" and record.form != "it":
        raise Refusal(400, "mode=two_turns: this model was trained on no conversations", "mode", "unsupported_value")
    for target in codes:
        if record.directions and target not in (known := record.targets("st", source)):
            into = f" into {', '.join(sorted(known))}" if known else "; it transcribes alone"
            raise Refusal(400, f"to_language={target}: this model translates speech in {source}{into}", "to_language", _UNTRAINED)
    asked = Wanted(source, codes, chosen, transcript=len(codes) != 1, logprobs=logprobs)
    if record.directions and asked.needs_transcript(record) and source not in record.targets("asr", source):
        known = {code for code in record.heard if code in record.targets("asr", code)}
        raise Refusal(400, f"language={source}: this model transcribes {_listed(known)}", "language", _UNTRAINED)
    return asked


_UNTRAINED = "untrained_language"


def spoken(record: Record, name: str) -> str:
    """The language of the audio: the one that was named or, for `auto`, the only one that the model hears."""
    if name.strip().lower() not in ("", "auto"):
        code = _code(name, "language")
        if record.directions and code not in record.heard:
            raise Refusal(400, f"language={code}: this model hears {_listed(record.heard)}", "language", _UNTRAINED)
        return code
    if not record.directions or "en" in record.heard:
        return "en"
    if len(record.heard) == 1:
        return record.heard[0]
    raise Refusal(400, f"language: say which is spoken; this model hears {_listed(record.heard)}", "language", _UNTRAINED)


def _code(name: str, field: str) -> str:
    found = find(name)
    if found is None:
        raise Refusal(400, f"{field}={name[:40]!r}: no language of this server", field, "unknown_language")
    return found.code


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(sorted(codes)) or "no speech"
