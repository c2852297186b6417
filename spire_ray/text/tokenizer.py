"""The words of an extended model: text through its tokenizer, units by arithmetic.

A model folder with unit tokens holds `units.json`: the id of unit 0, how many there are, their surface form, and their
fingerprint. Unit ids never pass through text: a document is tokenised with one placeholder unit for each stretch of
speech, which the unit ids then replace. That gives the ids of the whole text without building it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from spire_ray.core import storage
from spire_ray.text import chat
from spire_ray.text.prompts import Span
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint

UNITS_FILE = "units.json"
END_OF_DOCUMENT = "<EOD>"
"""Megatron's word for the end of a document, which the released models have."""


@dataclass(frozen=True)
class UnitVocabulary:
    """Where the units stand among the token ids of a model."""

    first: int
    """Token id of unit 0; unit i is `first + i`."""
    count: int
    surface: codec.Surface
    fingerprint: Fingerprint
    first_new_row: int = 0
    """First embedding row that the extension added; 0 where that is unknown, then it is that of unit 0."""

    def save(self, folder: str) -> None:
        """Write `units.json` into a model folder."""
        storage.write_json(storage.join(folder, UNITS_FILE), asdict(self))

    @staticmethod
    def load(folder: str) -> "UnitVocabulary | None":
        """Read it; None for a model that has no unit tokens."""
        path = storage.join(folder, UNITS_FILE)
        if not storage.exists(path):
            return None
        data = storage.read_json(path)
        fingerprint = Fingerprint.from_dict(data["fingerprint"])
        return UnitVocabulary(data["first"], data["count"], data["surface"], fingerprint, data.get("first_new_row", 0))


def unit_words(vocabulary: Mapping[str, int]) -> tuple[int, int, codec.Surface] | None:
    """Units among the words of any tokenizer, as (id of unit 0, how many, surface form); None where there are none.

    Raises ValueError where their ids do not follow each other.
    """
    surfaces: tuple[codec.Surface, ...] = ("pua", "extra_id")
    for surface in surfaces:
        ids: list[int] = []
        while (found := vocabulary.get(codec.token(len(ids), surface))) is not None:
            ids.append(found)
        if ids and ids != list(range(ids[0], ids[0] + len(ids))):
            raise ValueError(f"the {len(ids)} unit words of the tokenizer have ids that do not follow each other")
        if ids:
            return ids[0], len(ids), surface
    return None


class SpeechTokenizer:
    """Documents of text and units ↔ token ids."""

    def __init__(self, folder: str) -> None:
        self._folder = storage.localize(folder)
        self.text = load(self._folder)
        self.units = UnitVocabulary.load(self._folder)
        self.bos = _special(self.text, self._folder, "bos_token", "<s>")
        """None in families whose documents begin with nothing, such as Qwen."""
        eos = _special(self.text, self._folder, "eos_token", "</s>")
        if eos is None:
            raise ValueError(f"model={folder}: its tokenizer has neither </s> nor an eos_token in tokenizer_config.json")
        self.eos = eos
        self.im_end: int | None = self.text.token_to_id(chat.IM_END)
        self.end: int = self.text.token_to_id(END_OF_DOCUMENT) or eos
        """What ends a document of continued pre-training: `<EOD>` in the released models, else EOS."""

    @property
    def vocabulary_size(self) -> int:
        """Token ids in use: one more than the highest."""
        return int(max(self.text.get_vocab().values())) + 1

    @cached_property
    def chat(self) -> chat.ChatFormat:
        """How this model wants questions and answers."""
        return chat.markup(self._folder)

    @property
    def stops(self) -> set[int]:
        """Tokens that end an answer: of the chat, of a document, of the sequence."""
        closing = self.text.token_to_id(self.chat.closing.strip())
        return {self.eos, self.end, *(token for token in (self.im_end, closing) if token is not None)}

    def begin(self, ids: np.ndarray) -> np.ndarray:
        """A document with its BOS, where the family has one."""
        return ids if self.bos is None else np.concatenate([np.array([self.bos], ids.dtype), ids])

    def encode(self, documents: Sequence[Sequence[Span]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Documents → (token ids int32 [n], answer mask bool [n]) each, without BOS and EOS.

        Raises ValueError for a unit outside the vocabulary or speech smuggled in as text.
        """
        texts = [self._render(document) for document in documents]
        encoded = self.text.encode_batch(["".join(pieces) for pieces in texts], add_special_tokens=False)
        return [self._splice(*each) for each in zip(encoded, texts, documents, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids; units and special tokens are left out."""
        unit_ids = range(self.units.first, self.units.first + self.units.count) if self.units else range(0)
        return str(self.text.decode([int(i) for i in ids if i not in unit_ids], skip_special_tokens=True)).strip()

    def _render(self, document: Sequence[Span]) -> list[str]:
        """The text of each span, one unit standing for each stretch of speech."""
        for span in document:
            if span.units is None and codec.holds_units(span.text):
                raise ValueError(f"units written as text: {span.text[:60]!r}")
        if self.units is None:
            if any(span.units is not None for span in document):
                raise ValueError("this model has no unit tokens; extend it with the stage extend_model")
            return [span.text for span in document]
        placeholder = codec.token(0, self.units.surface)
        return [placeholder if span.units is not None else span.text for span in document]

    def _splice(self, encoded: Encoding, texts: list[str], document: Sequence[Span]) -> tuple[np.ndarray, np.ndarray]:
        """Put the units in; a token belongs to an answer if its first character does."""
        tokens, answers = np.asarray(encoded.ids, np.int32), np.zeros(len(encoded.ids), bool)
        if any(span.answer for span in document):
            starts = [start for start, _ in encoded.offsets]
            answers = np.repeat([span.answer for span in document], [len(text) for text in texts])[starts]
        stretches = [(span.units, span.answer) for span in document if span.units is not None]
        if not stretches:
            return tokens, answers
        assert self.units is not None
        places = np.flatnonzero(tokens == self.units.first)
        if len(places) != len(stretches):
            raise ValueError("the tokenizer does not keep a unit as one token")
        ids, counted, start = [], [], 0
        for place, (units, answer) in zip(places, stretches, strict=True):
            if len(units) and int(units.max()) >= self.units.count:
                raise ValueError(f"unit above the vocabulary: {int(units.max())}, which holds 0 to {self.units.count - 1}")
            ids += [tokens[start:place], units.astype(np.int32) + self.units.first]
            counted += [answers[start:place], np.full(len(units), answer)]
            start = int(place) + 1
        return np.concatenate([*ids, tokens[start:]]), np.concatenate([*counted, answers[start:]])


def load(folder: str) -> Tokenizer:
    """The fast tokenizer of a model folder; one that has only a sentencepiece model is converted by transformers."""
    path = Path(folder) / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    from transformers import AutoTokenizer

    converted: Tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    return converted


def _special(tokenizer: Tokenizer, folder: str, role: str, usual: str) -> int | None:
    """Id of BOS or EOS: the Llama word where the vocabulary has it, else what `tokenizer_config.json` names.

    An instruction-tuned model names `<|im_end|>` as its EOS, while its documents still end with `</s>`.
    """
    token: int | None = tokenizer.token_to_id(usual)
    path = Path(folder) / "tokenizer_config.json"
    if token is None and path.exists():
        named = json.loads(path.read_text()).get(role)
        token = tokenizer.token_to_id(named["content"] if isinstance(named, dict) else named) if named else None
    return token
