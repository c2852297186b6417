"""Recipes of a pack: rows of units and text → documents with the prompts of CPT or IT, or the reason why not."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spire_ray.settings import SourceSettings
from spire_ray.text import prompts
from spire_ray.text.chat import CHATML, ChatFormat
from spire_ray.text.languages import language
from spire_ray.text.prompts import RELEASED, Span, Style, Turn

SPEECH_TASKS = ("asr", "st", "st_multiturn")
ANY = "any"
"""As a language: a document of each translation that a row has, or of each text."""


class SkipRow(ValueError):
    """A row that makes no document: `kind: detail`."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)


def kind(reason: str) -> str:
    """What reasons are counted by: the text before the first colon."""
    return reason.partition(": ")[0]


@dataclass(frozen=True)
class Prompted:
    """A document before it is tokenised."""

    utt_id: str
    spans: list[Span]
    everything_counts: bool
    """Loss on every token (CPT) or on the answers only (IT)."""
    target: str = ""
    """Target language, where there is one."""
    direction: str = ""
    """What it teaches: `asr.en`, `st.en-de`, `mt.de-en`; empty for plain text and conversations."""
    language: str = ""
    """Of its speech or text; empty for conversations."""
    turns: tuple[Turn, ...] = ()
    """Of a chat, and what it begins with."""
    system: str = ""


def name(source: SourceSettings) -> str:
    """Name of a source in counts and reports."""
    languages = "-".join(code for code in (source.source_language, source.target_language) if code)
    return source.name or (f"{source.task}.{languages}" if languages else source.task)


def check(sources: Iterable[SourceSettings]) -> None:
    """Raise ValueError for a source that cannot be: no language, nothing taken, two budgets, or two sources of one name."""
    names: set[str] = set()
    for source in sources:
        field = f"sources.{name(source)}"
        if source.task in ("mt", "st", "st_multiturn") and not source.target_language:
            raise ValueError(f"{field}.target_language: {source.task} needs one")
        if source.format == "cpt" and source.task in ("st", "st_multiturn"):
            raise ValueError(f"{field}.format=cpt: the task {source.task} exists in the format it only")
        for code in (source.source_language, source.target_language, *source.filters.languages):
            if code and code != ANY:
                language(code)
        if source.source_language == ANY and source.task not in ("mt", "text"):
            raise ValueError(f"{field}.source_language={ANY}: {source.task} is of speech, whose language its row says")
        if source.source_language not in ("", ANY) and source.source_language == source.target_language:
            raise ValueError(f"{field}.target_language={source.target_language}: is the source language itself")
        if source.tokens and source.units:
            raise ValueError(f"{field}: a budget is either tokens or units")
        if source.units and source.task not in SPEECH_TASKS:
            raise ValueError(f"{field}.units: {source.task} has no speech; its budget is in tokens")
        if (source.tokens or source.units) and source.weight != 1:
            raise ValueError(f"{field}.weight={source.weight}: a source with a budget is repeated by max_epochs")
        if name(source) in names:
            raise ValueError(f"{field}: two sources of this name; give one a name of its own")
        names.add(name(source))


def in_its_language(source: SourceSettings, row: dict[str, Any]) -> dict[str, Any]:
    """The row; one that names no language is in that of the source, unless it is translated into that."""
    code = source.source_language
    if row.get("language") or code in ("", ANY) or code in dict(row.get("translations") or ()):
        return row
    return {**row, "language": code}


def each_target(source: SourceSettings, row: Mapping[str, Any]) -> list[SourceSettings]:
    """The source, with one language at a time where it takes any. Raises SkipRow for a row without translations."""
    if source.source_language == ANY:
        codes = sorted({str(row.get("language") or ""), *dict(row.get("translations") or ())} - {"", source.target_language})
        if not codes:
            raise SkipRow("no language, which source_language would say")
        singles = [replace(source, source_language=code) for code in codes]
        return [each for single in singles for each in each_target(single, row)]
    if source.target_language != ANY:
        return [source]
    own = source.source_language or row.get("language")
    codes = [code for code in sorted(dict(row.get("translations") or ())) if code != own]
    if not codes and row.get("status") != "rejected":
        raise SkipRow("no translation", "in any language")
    return [replace(source, target_language=code) for code in codes or [source.source_language]]


def prompted(source: SourceSettings, row: Mapping[str, Any], style: Style = RELEASED, markup: ChatFormat = CHATML) -> Prompted:
    """The document that a source makes of a row. Raises SkipRow, with the reason, where it makes none."""
    if row.get("status") == "rejected":
        raise SkipRow("not labelled", str(row.get("error") or ""))
    conversation = row.get("conversations")
    if conversation and source.task != "text":
        raise SkipRow("a conversation", f"the task {source.task} needs text")
    if conversation:
        system, turns = _turns(conversation)
        if system and not markup.instructed:
            raise SkipRow("system turn", "the chat template of the model has no form for it")
        spans = prompts.chat(turns, markup=markup, system=system)
        return Prompted(row["utt_id"], spans, False, turns=tuple(turns), system=system)
    if source.task == "text" and source.format == "it":
        raise SkipRow("no conversations", "the task text in the format it needs rows with conversations")
    spoken = _units(row) if source.task in SPEECH_TASKS else None
    code = source.source_language or str(row.get("language") or "")
    if spoken is not None and row.get("language") not in (None, code):
        raise SkipRow("another language", f"{row['language']} is spoken, not {code}")
    if code and source.target_language == code:
        raise SkipRow("no translation", f"{code} is the language of the row itself")
    text = _text(row, code, "no text")
    target = _text(row, source.target_language, "no translation") if source.target_language else ""
    direction = _direction(source, code)
    if source.format == "cpt":
        spans = _completion(source, code, text, target, spoken, style)
        return Prompted(row["utt_id"], spans, True, source.target_language, direction, code)
    turns = _chat(source, code, text, target, style)
    spans = prompts.chat(turns, spoken, markup)
    return Prompted(row["utt_id"], spans, False, source.target_language, direction, code, tuple(turns))


def _direction(source: SourceSettings, code: str) -> str:
    task = "turns" if source.task == "st_multiturn" else source.task
    return "" if task == "text" else f"{task}.{code}" + (f"-{source.target_language}" if task != "asr" else "")


def _units(row: Mapping[str, Any]) -> np.ndarray:
    units = row.get("units")
    if units is None or not len(units):
        raise SkipRow("no units")
    return np.asarray(units, np.uint16)


def _text(row: Mapping[str, Any], code: str, lacking: str) -> str:
    try:
        language(code)
    except ValueError as error:
        if not code:
            raise SkipRow("no language, which source_language would say") from None
        raise SkipRow("unknown language", str(error)) from None
    text = row.get("text") if code == row.get("language") else dict(row.get("translations") or ()).get(code)
    if not text or not text.strip():
        raise SkipRow(lacking, f"in {code}")
    return str(text)


def _completion(source: SourceSettings, code: str, text: str, target: str, units: np.ndarray | None, style: Style) -> list[Span]:
    match source.task:
        case "asr":
            return prompts.completion(prompts.asr_completion(code, style), text, units)
        case "mt":
            return prompts.completion(prompts.mt_completion(text, code, source.target_language, style), target)
        case "text":
            return [Span(text)]
    raise ValueError(f"sources.{name(source)}.format=cpt: the task {source.task} exists in the format it only")


def _chat(source: SourceSettings, code: str, text: str, target: str, style: Style) -> list[Turn]:
    match source.task:
        case "asr":
            return [Turn(prompts.asr_prompt(code, style), text)]
        case "st":
            return [Turn(prompts.st_prompt(source.target_language, style), target)]
        case "st_multiturn":
            return prompts.multiturn(text, target, code, source.target_language, style)
    return [Turn(prompts.mt_prompt(text, code, source.target_language, style), target)]


def _turns(conversation: str) -> tuple[str, list[Turn]]:
    """ShareGPT turns → the system turn, which may stand first, and exchanges.

    Raises SkipRow where human and gpt do not alternate or a turn is empty.
    """
    try:
        values = [(turn["from"], turn["value"]) for turn in json.loads(conversation)]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise SkipRow("malformed conversation", 'expected a JSON list of {"from": …, "value": …}') from None
    speakers = [speaker for speaker, _ in values]
    asked = values[1:] if speakers[:1] == ["system"] else values
    if not asked or [speaker for speaker, _ in asked] != ["human", "gpt"] * (len(asked) // 2):
        raise SkipRow("malformed conversation", f"human and gpt must alternate, got {speakers}")
    if not all(isinstance(text, str) and text.strip() for _, text in values):
        raise SkipRow("empty turn")
    system = values[0][1] if asked is not values else ""
    return system, [Turn(question, answer) for (_, question), (_, answer) in zip(asked[::2], asked[1::2], strict=True)]
