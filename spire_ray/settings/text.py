"""Vocabulary, packs and pseudo-labels."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings, UnitSettings
from spire_ray.settings.types import (
    Constant,
    File,
    Folder,
    Fraction,
    Growing,
    Manifest,
    ModelReference,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
)


@dataclass(frozen=True, kw_only=True)
class ExtendModelSettings(StageSettings):
    """Tokenizer and embeddings of a text model, extended by the units of a codebook."""

    stage: Literal["extend_model"] = "extend_model"
    model: ModelReference
    codebook: Folder
    surface: Literal["pua", "extra_id"] = "pua"
    """How a unit is written: U+F0000+i, or `<extra_id_i>`."""
    preset: Literal["plain", "spire-7b"] = "plain"
    """`spire-7b`: five Megatron words before the units, so that ids are those of the released models."""
    chat: Literal["chatml", "keep"] = "chatml"
    """`chatml`: the two tokens and the template of SPIRE; `keep`: the model's own special tokens and template. Either gets BOS
    where the tokenizer puts it before a text, so that the template gives the ids that are trained."""
    init: Literal["normal", "mean"] = "normal"
    """New rows from N(mean, 1e-5 · covariance) of the old ones, or their mean."""
    pad_to_multiple_of: PositiveInt = 64
    seed: int = 42


Task = Literal["asr", "mt", "st", "st_multiturn", "text"]


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """Which rows of a source make no document; each is counted under its reason. A limit of 0 is none."""

    length_ratio: NonNegativeFloat = 0.0
    """Most that the longer of text and translation may be, as a multiple of the shorter, in characters."""
    characters_per_second: tuple[float, float] = (0.0, 0.0)
    """Fewest and most characters of transcript in a second of audio."""
    unit_entropy: NonNegativeFloat = 0.0
    """Least entropy of the units of a clip, in bits: noise and silence repeat few units."""
    languages: tuple[str, ...] = ()
    """Languages that a row may be in; empty: any."""
    duplicates: bool = False
    """Leave out a document that equals another of its source token for token."""


@dataclass(frozen=True, kw_only=True)
class BalanceSettings:
    """Shares in proportion to size ^ temperature, in place of a weight or a budget for each language."""

    by: Literal["", "language", "direction", "source"] = ""
    """What is balanced: languages of speech and texts, directions of translation (languages, where nothing is translated), or the
    sources of each task. A source with a budget is balanced within it, all others of a task among themselves."""
    temperature: Fraction = 0.3
    """1: as they are; 0: as much of each."""
    max_epochs: PositiveFloat = 4.0
    """How often a row of any source may be used, or its `weight` where that is more; what a language then lacks goes to the
    others. Four passes are nearly as good as new data (Muennighoff et al. 2023, arXiv 2305.16264)."""


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """One ingredient of a pack. Without a budget its rows are used `weight` times."""

    task: Task
    data: Constant[Manifest]
    """Unit folder for asr, st and st_multiturn; manifest for mt and text."""
    split: str = "train"
    """`all`: every row, also those without a split."""
    source_language: str = ""
    """Empty: the language of each row; a row that names none is in this one. `any`, for mt and text: a document of each language
    that a row has a text in."""
    target_language: str = ""
    """Empty for asr and text in the source language; `any` for a document of each translation that a row has."""
    weight: PositiveFloat = 1.0
    """How often each row is used: 0.5 takes half of the rows, 2 takes each row twice."""
    tokens: NonNegativeFloat = 0.0
    """Budget: tokens that this source brings, instead of `weight`."""
    units: NonNegativeFloat = 0.0
    """Budget in deduplicated units, as Table 2 of the paper counts them, instead of `weight`."""
    max_epochs: PositiveFloat = 1.0
    """With a budget: how often a row may be used. A source that falls short is reported. Beside `balance.by` that of `balance`
    is the limit, and this one is refused."""
    format: Literal["cpt", "it"] = "cpt"
    """`cpt`: plain text between BOS and terminator, loss on every token; `it`: chat turns, loss on the answers."""
    filters: FilterSettings = field(default_factory=FilterSettings)
    name: str = ""
    """Empty: task and languages."""


@dataclass(frozen=True, kw_only=True)
class PackSettings(StageSettings):
    """Prompts → tokens → full rows."""

    stage: Literal["pack"] = "pack"
    model: ModelReference
    """Model folder whose tokenizer and unit vocabulary are used."""
    sources: tuple[SourceSettings, ...]
    scale: PositiveFloat = 1.0
    """Factor of every budget, and of the weight of a source without one: 0.005 makes a two-hundredth of the recipe."""
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    sequence_length: PositiveInt = 2048
    packing: Literal["best_fit", "megatron"] = "best_fit"
    """`best_fit`: no document is cut but plain text longer than a row, and none sees another; `megatron`: documents without
    BOS, joined, cut at the row's edge, attention through the row."""
    to: Literal["pack", "jsonl"] = "pack"
    """`jsonl`: beside the pack, the same documents as JSON lines that Axolotl, ms-swift and TRL read."""
    terminator: str = ""
    """Word that ends a document of continued pre-training; empty: `<EOD>` where the vocabulary has it, else EOS."""
    prompts: str = "spire-2026"
    """Form of the prompts: as released, or `spire-2025`, at the time of the paper; a plugin adds others."""
    units: Operational[UnitSettings] = field(default_factory=UnitSettings)
    workers: Operational[PositiveInt] = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """A model that scores translations without references, run by unbabel-comet in a Python environment of its own."""

    model: ModelReference = ""
    """Hugging Face id or checkpoint, such as Unbabel/wmt22-cometkiwi-da (gated, cc-by-nc-sa-4.0); empty: nothing is scored
    and everything is kept."""
    python: Operational[File] = ""
    """Interpreter of the environment that holds unbabel-comet, which cannot live beside this platform's packages."""
    threshold: float = 0.85
    """Translations that score lower are dropped."""
    scores: tuple[str, ...] = ()
    """Further scores that plugins find while translations are made or chosen, by the names they are registered under."""
    minimum: dict[str, float] = field(default_factory=dict)
    """Further score, as `scores` or a column of a candidate's `scores` calls it → the least that a translation needs, such as
    `blaser2_mt: 4.5`. One without that score is dropped."""
    by: str = "score"
    """Score by which the better of several candidates, and the best `top_k`, are found; `score` is that of `model`."""
    top_k: NonNegativeInt = 0
    """At most so many translations of each target language are kept; 0: all."""
    choice: Literal["best", "random"] = "best"
    """Which `top_k` of those that are good enough."""
    batch_size: Operational[PositiveInt] = 64


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What another run of this stage made of the same data."""

    labels: Folder
    """Its output folder: of the same `data`, `split` and `rows_per_shard`."""
    scores: tuple[Folder, ...] = ()
    """Folders with a `part-….parquet` for each of its `labels/`: `utt_id`, `target_language` and a column for each score, such
    as BLASER's, which another program has found."""


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """The best and the worst of several candidates as pairs for preference training, in `pairs/`."""

    task: Literal["", "mt", "st"] = ""
    """What is asked: the translation of the transcript, or of the speech; empty: no pairs."""
    margin: NonNegativeFloat = 0.0
    """By which the scores of the two differ at least, by `quality.by`."""
    prompts: str = "spire-2026"
    surface: Literal["pua", "extra_id"] = "pua"
    """How the model that is trained has its units written; see `extend_model`."""


@dataclass(frozen=True, kw_only=True)
class ExpectedLabelsSettings:
    """What the plan counts with as long as model and data are not there."""

    shape: str = ""
    """`config.json` of a model of that shape."""
    rows: NonNegativeFloat = 0.0
    """Transcripts."""


@dataclass(frozen=True, kw_only=True)
class PseudoLabelSettings(StageSettings):
    """Transcripts → translations by a language model, kept where their quality estimate is high."""

    stage: Literal["pseudo_label"] = "pseudo_label"
    data: Growing[Manifest]
    """Unit folder, whose units and fingerprint go along, or manifest."""
    split: str = "train"
    """`all`: every row, also those without a split."""
    source_language: str = ""
    """Of the rows that name none."""
    model: ModelReference = ""
    """Any Hugging Face causal language model that translates when asked in its chat format, or to continue where it has none;
    empty: see `candidates`."""
    candidates: tuple[Candidate, ...] = ()
    """Instead of a model: of the translations that several runs made of a transcript the best is taken, by `quality.by`."""
    languages: tuple[str, ...]
    """Target languages. A row is never translated into its own."""
    quality: QualitySettings = field(default_factory=QualitySettings)
    pairs: PairSettings = field(default_factory=PairSettings)
    rows_per_shard: PositiveInt = 10_000
    """Transcripts in one shard: the unit of work, commit and resume."""
    max_new_tokens: PositiveInt = 256
    workers: Operational[PositiveInt] = 1
    """Actors, each with the model."""
    gpus_per_worker: Operational[NonNegativeFloat] = 0.0
    threads: Operational[PositiveInt] = 1
    expected: Operational[ExpectedLabelsSettings] = field(default_factory=ExpectedLabelsSettings)
