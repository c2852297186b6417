r"""Transcripts by the rules of a file, and the language that they are in.

A file of rules is a list in YAML; each rule does one thing, to all transcripts or to those of its `languages`:

    - {unicode: NFC}                                 # a normal form of Unicode
    - {replace: '(\d+) ?%', by: '\1 percent'}        # a regular expression of Python
    - {delete: '<[^>]*>', languages: [en]}           # and white space that is left double
    - {reject: '\[inaudible\]'}                      # such rows are rejected, by this rule's words
    - {preparation: gigaspeech-1}                    # one of the corpora's own
    - {casing: lower}                                # or sentence
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import yaml

from spire_ray.core import storage
from spire_ray.core.registry import nearest
from spire_ray.corpora.preparation import PREPARATIONS, Unfit, prepare

_KINDS = ("unicode", "replace", "delete", "reject", "preparation", "casing")
_FORMS, _CASINGS = ("NFC", "NFKC", "NFD", "NFKD"), ("lower", "sentence")


@dataclass(frozen=True)
class Rule:
    """One rule: what it does with what."""

    kind: str
    value: str
    by: str = ""
    languages: tuple[str, ...] = ()

    def apply(self, text: str) -> str:
        """Raises Unfit for a text that is no transcript."""
        match self.kind:
            case "unicode":
                return unicodedata.normalize(self.value, text)  # type: ignore[arg-type]
            case "replace":
                return re.sub(self.value, self.by, text)
            case "delete":
                return " ".join(re.sub(self.value, "", text).split())
            case "reject":
                if re.search(self.value, text):
                    raise Unfit(f"transcript has {self.value}")
                return text
            case "preparation":
                return prepare(text, self.value)
        return prepare(text, "plain-1", self.value)  # type: ignore[arg-type]


def read(uri: str) -> tuple[Rule, ...]:
    """The rules of a file. Raises ValueError, with the number of the rule, for one that is none."""
    if not storage.exists(uri):
        raise ValueError(f"transcripts.rules={uri}: not found")
    try:
        given = yaml.safe_load(storage.read_bytes(uri))
    except yaml.YAMLError as error:
        raise ValueError(f"transcripts.rules={uri}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, list) or not given:
        raise ValueError(f"transcripts.rules={uri}: expected a list of rules, such as `- {{casing: lower}}`")
    return tuple(_rule(one, f"transcripts.rules={uri}: rule {number}") for number, one in enumerate(given, 1))


def normalized(text: str, language: str, rules: tuple[Rule, ...]) -> str:
    """A transcript after all rules of its language. Raises Unfit, with the reason, where nothing is left of it."""
    for rule in rules:
        if not rule.languages or language in rule.languages:
            text = rule.apply(text)
    if not text.strip():
        raise Unfit("no text is left by the rules")
    return text


def _rule(given: Any, place: str) -> Rule:
    kinds = [kind for kind in _KINDS if isinstance(given, Mapping) and kind in given]
    if len(kinds) != 1:
        raise ValueError(f"{place}: {given!r}: expected one of {', '.join(_KINDS)}")
    rule = Rule(kinds[0], str(given[kinds[0]]), str(given.get("by", "")), tuple(given.get("languages", ())))
    if unknown := set(given) - {rule.kind, "languages", *(("by",) if rule.kind == "replace" else ())}:
        raise ValueError(f"{place}: {sorted(unknown)[0]}: no part of a rule `{rule.kind}`")
    if rule.kind == "replace" and "by" not in given:
        raise ValueError(f"{place}: replace: has no `by`; `delete` takes away")
    known = {"unicode": _FORMS, "casing": _CASINGS, "preparation": tuple(PREPARATIONS)}.get(rule.kind)
    if known and rule.value not in known:
        raise ValueError(f"{place}: {rule.kind}={rule.value}{nearest(rule.value, known)}")
    try:
        re.compile(rule.value if not known else "")
        re.sub(rule.value if rule.kind == "replace" else "", rule.by, "")
    except re.error as error:
        raise ValueError(f"{place}: {rule.value}: no regular expression: {error}") from None
    return rule


@cache
def _identifier() -> Any:
    """Raises ValueError where py3langid is not installed."""
    if find_spec("py3langid") is None:
        raise ValueError("transcripts.identify=true: pip install 'spire-ray[prepare]'")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identified(text: str) -> tuple[str, float]:
    """The language of a text, ISO 639-1, and how probable that is, by py3langid (BSD)."""
    code, probability = _identifier().classify(text)
    return str(code), float(probability)


def identifier() -> str:
    """What identifies languages, with its version. Raises ValueError where it is not installed."""
    _identifier()
    return f"py3langid {version('py3langid')}"
