"""Recipes of a pack: rows of units and text → documents with the prompts of CPT or IT."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spire_ray.settings import Source
from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Turn

SPEECH_TASKS = ("asr", "st", "st_multiturn")


@dataclass(frozen=True)
class Prompted:
    """A document before it is tokenised."""

    utt_id: str
    spans: list[Span]
    everything_counts: bool
    """Loss on every token (CPT) or on the answers only (IT)."""


def name(source: Source) -> str:
    """Name of a source in counts and reports."""
    languages = "-".join(code for code in (source.source_language, source.target_language) if code)
    return source.name or f"{source.task}.{languages}"


def check(sources: Iterable[Source]) -> None:
    """Raise ValueError for a source whose task lacks a language, a weight that takes nothing, or two of one name."""
    names: set[str] = set()
    for source in sources:
        if source.task in ("mt", "st", "st_multiturn") and not source.target_language:
            raise ValueError(f"sources.{name(source)}.target_language: {source.task} needs one")
        if source.weight <= 0:
            raise ValueError(f"sources.{name(source)}.weight={source.weight}: must be above 0")
        if name(source) in names:
            raise ValueError(f"sources.{name(source)}: two sources of this name; give one a name of its own")
        names.add(name(source))


def documents(source: Source, rows: list[dict[str, Any]], seed: int) -> list[Prompted]:
    """The documents that one source makes of its rows, used `weight` times.

    A row that lacks what the task needs (text, translation, units) makes none.
    """
    generator = np.random.default_rng(seed)
    usable = [row for row in rows if _usable(source, row)]
    whole, share = divmod(source.weight, 1)
    extra = generator.permutation(len(usable))[: round(share * len(usable))]
    chosen = [*usable * int(whole), *(usable[i] for i in sorted(extra))]
    return [Prompted(row["utt_id"], _spans(source, row), source.format == "cpt") for row in chosen]


def _usable(source: Source, row: dict[str, Any]) -> bool:
    if row.get("conversations"):
        return source.task == "text"
    if source.task in SPEECH_TASKS and not len(row.get("units") or ()):
        return False
    text = _text(row, source.source_language)
    return bool(text) and (not source.target_language or bool(_text(row, source.target_language)))


def _text(row: dict[str, Any], code: str) -> str:
    return str(row["text"] or "") if code == row["language"] else dict(row["translations"] or ()).get(code, "")


def _spans(source: Source, row: dict[str, Any]) -> list[Span]:
    if row.get("conversations"):
        return prompts.chat(_turns(row))
    text = _text(row, source.source_language)
    target = _text(row, source.target_language) if source.target_language else ""
    units = np.asarray(row["units"], np.uint16) if source.task in SPEECH_TASKS else None
    if source.format == "cpt":
        return _completion(source, text, target, units)
    return prompts.chat(_chat(source, text, target), units)


def _completion(source: Source, text: str, target: str, units: np.ndarray | None) -> list[Span]:
    match source.task:
        case "asr":
            return prompts.completion(prompts.asr_prompt(source.source_language), text, units)
        case "mt":
            return prompts.completion(prompts.mt_completion(text, source.source_language, source.target_language), target)
        case "text":
            return [Span(text)]
    raise ValueError(f"sources.{name(source)}.format=cpt: the task {source.task} exists in the format it only")


def _chat(source: Source, text: str, target: str) -> list[Turn]:
    match source.task:
        case "asr":
            return [Turn(prompts.asr_prompt(source.source_language), text)]
        case "st":
            return [Turn(prompts.st_prompt(source.target_language), target)]
        case "st_multiturn":
            return prompts.multiturn(text, target, source.source_language, source.target_language)
        case "mt":
            return [Turn(prompts.mt_prompt(text, source.source_language, source.target_language), target)]
    raise ValueError(f"sources.{name(source)}.format=it: the task text needs rows with conversations")


def _turns(row: dict[str, Any]) -> list[Turn]:
    """ShareGPT turns → exchanges. Raises ValueError where human and gpt do not alternate or a turn is empty."""
    try:
        values = [(turn["from"], turn["value"]) for turn in json.loads(row["conversations"])]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f'{row["utt_id"]}: conversations: expected a JSON list of {{"from": …, "value": …}}') from None
    speakers = [speaker for speaker, _ in values]
    if not values or speakers != ["human", "gpt"] * (len(values) // 2) or not all(text for _, text in values):
        raise ValueError(f"{row['utt_id']}: conversations: human and gpt must alternate and no turn be empty, got {speakers}")
    return [Turn(question, answer) for (_, question), (_, answer) in zip(values[::2], values[1::2], strict=True)]
