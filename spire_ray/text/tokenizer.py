"""The words of an extended model: text through its tokenizer, units by arithmetic.

Unit ids never pass through text: a document is tokenised with one placeholder unit for each stretch of speech, which the
unit ids then replace. That gives the ids of the whole text without building it. Control tokens come from the markup of a
chat alone: a text that spells one out is refused, since it would end an answer or begin a turn.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from spire_ray.core import copies
from spire_ray.text import chat, record
from spire_ray.text.prompts import Span
from spire_ray.units import codec


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
        self._folder = copies.localize(folder)
        self.text = load(self._folder)
        self.record = record.of(self._folder)
        self.units = self.record.units
        self.bos, self.eos, self.end = self.record.bos, self.record.eos, self.record.terminator
        self.im_end: int | None = self.text.token_to_id(chat.IM_END)
        self._controls = _controls(self.text, self.units)
        self._spelled = re.compile("|".join(map(re.escape, self._controls.values())))
        self._is_control = np.zeros(self.vocabulary_size, bool)
        self._is_control[[*self._controls]] = True
        self._unknown = getattr(self.text.model, "unk_token", None)
        """What stands for a character that the tokenizer does not know."""

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

    def begin(self, ids: np.ndarray, document: Sequence[Span]) -> np.ndarray:
        """The ids of a document with its BOS, where the family has one and no template wrote it."""
        chatting = any(span.control for span in document)
        if self.bos is None or (self.record.bare and not chatting) or ids[:1].tolist() == [self.bos]:
            return ids
        return np.concatenate([np.array([self.bos], ids.dtype), ids])

    def asked(self, documents: Sequence[Sequence[Span]]) -> list[np.ndarray]:
        """Prompts → token ids int32 [n], as documents begin. Raises as `encode` does."""
        encoded = self.encode(documents)
        return [self.begin(ids, document) for (ids, _), document in zip(encoded, documents, strict=True)]

    def encode(self, documents: Sequence[Sequence[Span]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Documents → (token ids int32 [n], answer mask bool [n]) each, without BOS and EOS.

        Raises ValueError for a unit outside the vocabulary, and for speech or control tokens smuggled in as text.
        """
        texts = [self._render(document) for document in documents]
        encoded = self.text.encode_batch(["".join(pieces) for pieces in texts], add_special_tokens=False)
        return [self._splice(*each) for each in zip(encoded, texts, documents, strict=True)]

    def attempt(self, documents: Sequence[Sequence[Span]]) -> "list[tuple[np.ndarray, np.ndarray] | ValueError]":
        """`encode`, with the reason in the place of every document that is refused."""
        try:
            return list(self.encode(documents))
        except (ValueError, TypeError):  # one of them: find it
            return [self._attempt(document) for document in documents]

    def _attempt(self, document: Sequence[Span]) -> "tuple[np.ndarray, np.ndarray] | ValueError":
        try:
            return self.encode([document])[0]
        except ValueError as error:
            return error
        except TypeError:  # what the tokenizer says of half a pair of surrogates
            return ValueError("not Unicode: half a pair of surrogates")

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids; units and control tokens are left out, also where they are spelled out."""
        unit_ids = range(self.units.first, self.units.first + self.units.count) if self.units else range(0)
        text = str(self.text.decode([int(i) for i in ids if i not in unit_ids], skip_special_tokens=True))
        while (left := codec.without_units(self._spelled.sub("", text))) != text:  # what is left may spell another one
            text = left
        return text.strip()

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
        controls = np.flatnonzero(self._is_control[tokens])
        if any(span.answer for span in document) or len(controls):
            owner = np.repeat(np.arange(len(document)), [len(text) for text in texts])
            answers = np.array([span.answer for span in document])[owner[[start for start, _ in encoded.offsets]]]
            for place in controls:
                # some tokens take the white space beside them: one end in the markup is enough
                edges = [document[owner[edge]] for edge in (encoded.offsets[place][0], encoded.offsets[place][1] - 1)]
                word = self._controls[int(tokens[place])]
                unknown = word == self._unknown and word not in edges[0].text
                if not unknown and not any(span.control for span in edges):
                    raise ValueError(f"control token written as text: {word!r} in {edges[0].text[:60]!r}")
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


def control_words(folder: str, documents_alone: bool = True) -> set[int]:
    """Ids of the control words around the text of documents: their end, and the words of ChatML where that is the chat.

    Without BOS, EOS and the words of a chat template of the base model's own, which a base model has trained. Also the words
    of Megatron that no document holds, unless `documents_alone`.
    """
    if not any((Path(folder) / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        return set()
    tokenizer = SpeechTokenizer(folder)
    chatml = (chat.IM_START, chat.IM_END) if tokenizer.chat == chat.CHATML else ()
    words = (*((record.END_OF_DOCUMENT,) if documents_alone else record.MEGATRON_SPECIALS), *chatml)
    found = {tokenizer.text.token_to_id(word) for word in words}
    return {word for word in found - {tokenizer.bos, tokenizer.eos} if word is not None}


def load(folder: str) -> Tokenizer:
    """The fast tokenizer of a model folder; one that has only a sentencepiece model is converted by transformers."""
    path = Path(folder) / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    from transformers import AutoTokenizer

    converted: Tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    return converted


def _controls(tokenizer: Tokenizer, units: record.UnitVocabulary | None) -> dict[int, str]:
    """Id → word of every token that steers: special ones, and added ones in brackets, such as `<think>` or `[INST]`."""
    spoken = range(units.first, units.first + units.count) if units else range(0)
    added = {id_: token for id_, token in tokenizer.get_added_tokens_decoder().items() if id_ not in spoken}
    bracketed = {id_ for id_, token in added.items() if token.content[:1] + token.content[-1:] in ("<>", "[]")}
    return {id_: token.content for id_, token in added.items() if token.special or id_ in bracketed}
