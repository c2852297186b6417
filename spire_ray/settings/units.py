"""Speech: the encoder, the codebook, the units."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings, UnitSettings
from spire_ray.settings.types import (
    EncoderReference,
    File,
    Folder,
    Fraction,
    Growing,
    Manifest,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
)


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """What turns a waveform into frames: a Hugging Face speech encoder cut at a layer, or cepstra."""

    name: EncoderReference = "facebook/hubert-large-ll60k"
    """Hugging Face id or folder; or a kind without weights, such as `mfcc` for mel-frequency cepstra."""
    revision: str = ""
    layer: PositiveInt = 22
    """The output of this transformer block, 1-based; equals `hidden_states[layer]`. Not read by `mfcc`."""
    final_layer_norm: bool = False
    """Apply the encoder's final layer norm after the cut (SPIRE does not)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    options: dict[str, int | float | str] = field(default_factory=dict)
    """What one kind of encoder has alone; `mfcc`: `hop_ms`, milliseconds between two frames (20), and `context`, neighbouring
    10 ms cepstra stacked into one frame (5)."""
    pooling: Literal["mean", "max"] = "mean"
    pooling_width: PositiveInt = 1
    """Neighbouring frames that are pooled into one; 1 for none (SPIRE)."""


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Copies of rows as they would sound elsewhere, heard beside the rows themselves."""

    copies: tuple[str, ...] = ()
    """What `spire distort` knows, as `babble=10`, or `babble=0..20` for a strength that is drawn for each row: `babble`,
    `noise` and `music` in dB of signal to noise, `room` in seconds of reverberation, `telephone` in bits, `speed`, `clipping`
    in percent."""
    share: Fraction = 1.0
    """Of the rows that get a copy, drawn for each copy anew."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class LabelAugmentSettings(AugmentSettings):
    """The same of the rows of one split."""

    split: str = "train"
    """Whose rows get copies; `all`: every row."""


@dataclass(frozen=True, kw_only=True)
class FitCodebookSettings(StageSettings):
    """Features of a sample of the manifest → k-means centroids."""

    stage: Literal["fit_codebook"] = "fit_codebook"
    manifest: Manifest
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the manifest, or `translations.LANGUAGE` → the source's own name for it."""
    split: str = "train"
    """`all`: every row, also those without a split."""
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    clusters: PositiveInt = 5000
    hours: PositiveFloat = 100.0
    """Audio sampled for the fit."""
    weights: dict[str, PositiveFloat] = field(default_factory=dict)
    """Corpus, as the manifest's column names it → its share of the hours, as 2 to 1; empty: by chance over all rows."""
    speaker_hours: NonNegativeFloat = 0.0
    """A speaker of whom so much is sampled gives no more; 0: no limit."""
    max_seconds: PositiveFloat = 120.0
    """Longer audio is rejected."""
    cut_seconds: NonNegativeFloat = 0.0
    """Cut longer recordings at quiet places into pieces of at most so many seconds; 0: do not cut."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Copies are fitted on beside the sampled rows, beyond `hours`."""
    iterations: PositiveInt = 20
    batch_frames: NonNegativeInt = 0
    """Mini-batch k-means: frames drawn anew for each iteration; 0: Lloyd's algorithm, every iteration over all frames."""
    engine: Literal["torch", "faiss"] = "torch"
    """What finds the nearest centroids during the fit; `faiss` on CPUs alone."""
    alignments: File = ""
    """Parquet of `utt_id` and `phonemes` (list of `symbol`, `start`, `end` in seconds), for phone purity and PNMI of held-out
    utterances."""
    seed: int = 0
    workers: Operational[PositiveInt] = 2
    gpus_per_worker: Operational[NonNegativeFloat] = 0.0
    threads: Operational[PositiveInt] = 1
    """CPU threads of one worker."""


@dataclass(frozen=True, kw_only=True)
class LabelSettings(StageSettings):
    """Audio → deduplicated discrete units, shard by shard."""

    stage: Literal["label"] = "label"
    manifest: Growing[Manifest]
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the manifest, or `translations.LANGUAGE` → the source's own name for it."""
    codebook: Folder
    dtype: Literal["", "float32", "bfloat16"] = ""
    """Of the encoder; empty: that of the fit. An imported codebook says none, which is float32."""
    shard_seconds: PositiveFloat = 3600.0
    """Seconds of audio in one shard: the unit of work, commit and resume."""
    workers: Operational[PositiveInt] = 2
    """Encoder actors."""
    decode: Operational[Literal["auto", "tasks", "actors"]] = "auto"
    """Where audio is decoded: in CPU tasks of their own, so that GPUs do not wait for it, or in the encoder actors, so that it is
    not copied; `auto`: in tasks where actors have GPUs."""
    gpus_per_worker: Operational[NonNegativeFloat] = 0.0
    threads: Operational[PositiveInt] = 1
    """CPU threads of one encoder actor."""
    batch_seconds: PositiveFloat = 240.0
    """Audio in one forward pass of the encoder."""
    max_seconds: PositiveFloat = 120.0
    """Longer audio is rejected."""
    length_tolerance: NonNegativeFloat = 0.5
    """Seconds by which audio may be longer or shorter than its manifest says, which some write in whole seconds, and by which a
    part may end behind its recording."""
    retry: Operational[str] = ""
    """`rejected`, or one reason as `spire rejected` names it: rows that were rejected are tried again."""
    max_rejected_share: Operational[Fraction] = 0.5
    """Of the rows; a job that rejects more, or labels nothing, ends with an error."""
    cut_seconds: NonNegativeFloat = 0.0
    """Cut longer recordings at quiet places into pieces of at most so many seconds, rows of their own; 0: do not cut."""
    augment: LabelAugmentSettings = field(default_factory=LabelAugmentSettings)
    silence: Literal["keep", "reject"] = "keep"
    """What becomes of audio whose every sample is zero."""
    units: Operational[UnitSettings] = field(default_factory=UnitSettings)
