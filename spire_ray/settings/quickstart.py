"""The quickstart's own stages: the talking corpus, and a model from scratch."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import Fraction, Manifest, NonNegativeInt, Operational, PositiveInt


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Sentences of the talking corpus in each split; every sentence is spoken once, by one voice."""

    train: PositiveInt = 4000
    dev: PositiveInt = 100
    test: PositiveInt = 250
    text: NonNegativeInt = 12_000
    """Sentence pairs that are never spoken, for the text side of training."""


@dataclass(frozen=True, kw_only=True)
class CorpusSettings(StageSettings):
    """The talking corpus: generated sentences with translations, spoken by espeak-ng."""

    stage: Literal["corpus"] = "corpus"
    languages: tuple[Literal["de", "fr"], ...] = ("de",)
    splits: SplitSettings = field(default_factory=SplitSettings)
    phrase_share: Fraction = 0.3
    """Share of short noun phrases among the training utterances; dev and test hold sentences only."""
    train_voices: tuple[str, ...] = ()
    """espeak-ng voices `language+variant`; empty: 48 voices, 2 accents by 24 variants."""
    dev_voices: tuple[str, ...] = ()
    """Voices of dev; must not occur in training. Empty: 4 voices."""
    test_voices: tuple[str, ...] = ()
    """Voices of test; must not occur in training. Empty: 4 voices, none of them in dev."""
    workers: Operational[PositiveInt] = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ArchitectureSettings:
    """The shape of a Llama made from scratch."""

    hidden_size: PositiveInt = 192
    layers: PositiveInt = 3
    heads: PositiveInt = 3
    intermediate_size: PositiveInt = 512
    tied: bool = True
    max_positions: PositiveInt = 512


@dataclass(frozen=True, kw_only=True)
class InitModelSettings(StageSettings):
    """A small random Llama and a byte-level BPE trained on text: the toy that stands for TOWER before its training."""

    stage: Literal["init_model"] = "init_model"
    text: Manifest
    """Manifest whose `text` and `translations` train the tokenizer."""
    vocabulary: PositiveInt = 512
    architecture: ArchitectureSettings = field(default_factory=ArchitectureSettings)
    seed: int = 0
