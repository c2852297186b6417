"""Evaluation: what models are asked, and how their answers are scored."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import (
    File,
    Folder,
    Growing,
    Manifest,
    ModelReference,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveInt,
)


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """One model and what it is asked."""

    name: str
    """Name in the report: base, cpt, it."""
    system: str = "llm"
    """As `spire_ray.evaluation.systems` and plugins name them: `llm` for models of this platform and any text model, whisper,
    seamless, ctc, spiritlm, endpoint."""
    model: ModelReference = ""
    tasks: tuple[str, ...]
    """As `spire_ray.evaluation.tasks` and plugins name them: asr, mt, st_direct, …"""
    format: Literal["", "cpt", "it"] = ""
    """Empty: as the folder of the model says it was trained. `cpt` or `it` says it for a folder that does not."""
    transcripts: str = ""
    """Name of the model whose transcripts `st_cascade` translates, which is asked `asr`; empty: its own."""
    options: dict[str, str] = field(default_factory=dict)
    """Of its system: `beams`, `url` and `name` of an endpoint, `speech_tokenizer` and `examples` of SpiRit-LM."""


@dataclass(frozen=True, kw_only=True)
class ShotSettings:
    """Examples before each text that a model in the form `cpt` is to translate; drawn anew for each row, with replacement."""

    number: NonNegativeInt = 0
    data: Manifest = ""
    """Where they are from; empty: the test set's own `data`."""
    split: str = "dev"
    seed: int = 42


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(StageSettings):
    """What `generate` and `evaluate` share."""

    test_set: str = ""
    """Name of a corpus of the catalogue, whose rows are in `{root}/data/NAME`, and its units in `{root}/units/NAME`: instead of
    `data` and `audio`, and what the results are called, such as `talks@noise=10` for the curve of a distortion."""
    data: Growing[Manifest] = ""
    """The test set: the units that label made or, where no model is asked about units, any manifest."""
    audio: Growing[Manifest] = ""
    """Manifest that the units were made of, for systems that hear audio; empty: `data` is one."""
    protocol: str = ""
    """Name of a file of `configs/protocols`, which fixes what moves figures; empty: the settings alone do."""
    columns: dict[str, str] = field(default_factory=dict)
    """Column of a manifest, or `translations.LANGUAGE` → the source's own name for it."""
    split: str = "test"
    """`all`: every row, also those without a split."""
    models: tuple[EvaluatedModel, ...]
    source_language: str = ""
    """Of rows that name none; empty: every row has to name its own."""
    target_language: str = "de"
    prompts: str = ""
    """Form of the prompts of models whose folder does not say; empty: spire-2026."""
    shots: ShotSettings = field(default_factory=ShotSettings)
    utterances: NonNegativeInt = 0
    """At most so many of the split; 0: all."""
    rows_per_shard: PositiveInt = 128
    """Answers of one task that are written at once: the unit of work, commit and resume."""
    batch_size: Operational[PositiveInt] = 64
    max_new_tokens: PositiveInt = 256
    workers: Operational[PositiveInt] = 2
    """Processes, each with one system at a time."""
    gpus_per_worker: Operational[NonNegativeFloat] = 0.0
    threads: Operational[PositiveInt] = 1
    """CPU threads of one worker."""
    retry: Operational[str] = ""
    """`rejected`, or one reason as the job tells it: rows without an answer are asked about again, with those of their shard."""


@dataclass(frozen=True, kw_only=True)
class CometSettings:
    """COMET's models, run by unbabel-comet in a Python environment of its own (`make comet`)."""

    model: str = "Unbabel/wmt22-comet-da"
    """Of the metric `comet`, with references: Hugging Face id, folder or checkpoint."""
    kiwi: str = "Unbabel/wmt22-cometkiwi-da"
    """Of the metric `cometkiwi`, without references; gated on the Hub."""
    xcomet: str = "Unbabel/XCOMET-XL"
    """Of the metric `xcomet`, with references; gated on the Hub."""
    python: str = ""
    """Interpreter of the environment that holds unbabel-comet."""
    batch_size: PositiveInt = 64
    gpus: NonNegativeInt = 0


@dataclass(frozen=True, kw_only=True)
class ScoringSettings(StageSettings):
    """What `score` and `evaluate` share. Another value scores the same answers again, in the same folder."""

    metrics: Operational[tuple[str, ...]] = ()
    """As `spire_ray.evaluation.metrics` and plugins name them; empty: those of each task."""
    bleu_tokenizer: Operational[Literal["", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200"]] = ""
    """Tokenizer of `bleu`; empty: that of the language in `configs/languages.yaml`. `spbleu` has its own, flores200."""
    spbleu_model: Operational[File] = ""
    """FLORES-200's sentencepiece model, where sacrebleu cannot fetch it: https://tinyurl.com/flores200sacrebleuspm."""
    bootstrap: Operational[PositiveInt] = 1000
    """Samples of rows behind each confidence interval and each comparison."""
    seed: Operational[int] = 12345
    """Of these samples."""
    comet: Operational[CometSettings] = field(default_factory=CometSettings)


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(GenerationSettings):
    """Test set and models → answers."""

    stage: Literal["generate"] = "generate"


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(ScoringSettings):
    """Answers → figures."""

    stage: Literal["score"] = "score"
    hypotheses: Growing[Folder]
    """Output folder of generate or evaluate."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(GenerationSettings, ScoringSettings):
    """Figures of one or more models on one test set."""

    stage: Literal["evaluate"] = "evaluate"


@dataclass(frozen=True, kw_only=True)
class HarnessModel:
    """One model of lm-evaluation-harness."""

    name: str
    """Name in the report."""
    model: ModelReference


@dataclass(frozen=True, kw_only=True)
class HarnessSettings(StageSettings):
    """Models at tasks of lm-evaluation-harness, by its own command."""

    stage: Literal["harness"] = "harness"
    models: tuple[HarnessModel, ...]
    tasks: tuple[str, ...]
    """As the harness names them, or the files of `task_folder`."""
    task_folder: str = ""
    """Folder of more tasks, YAML files of the harness, which may read local files; every node must see it."""
    python: Operational[str] = ".harness/bin/python"
    """Interpreter of the environment that holds lm-eval (`make harness`)."""
    shots: NonNegativeInt | None = None
    """Examples before each question; none given: as each task says."""
    rows: NonNegativeInt = 0
    """At most so many of each task; 0: all."""
    chat: bool = False
    """Ask in the chat format of the model."""
    dtype: str = ""
    """As the harness names it; empty: that of the weights."""
    seed: int = 0
    batch_size: Operational[PositiveInt] = 8
    workers: Operational[PositiveInt] = 1
    """Models that are asked beside each other."""
    gpus_per_worker: Operational[NonNegativeFloat] = 0.0
    threads: Operational[PositiveInt] = 1
    """CPU threads of one worker."""


@dataclass(frozen=True, kw_only=True)
class DistortSettings(StageSettings):
    """A test set under noise and the like."""

    stage: Literal["distort"] = "distort"
    data: Manifest
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the manifest, or `translations.LANGUAGE` → the source's own name for it."""
    split: str = "test"
    conditions: tuple[str, ...] = (
        *("noise=20", "noise=10", "noise=0", "babble=20", "babble=10", "babble=0", "music=20", "music=10", "music=0"),
        *("speed=0.9", "speed=1.1", "telephone=8"),
        *("clipping=5", "clipping=20", "room=0.3", "room=0.8"),
    )
    """NAME=STRENGTH: `noise`, `babble` and `music` in dB of signal to noise, `speed`, `telephone` in bits, `clipping` in
    percent of the samples, `room` in seconds of reverberation."""
    seed: int = 0
