"""What is made of a manifest before it is labelled."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import File, Fraction, Manifest, NonNegativeFloat, Operational, PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class ActivitySettings:
    """Where there is speech."""

    detector: str = ""
    """`silero` (the extra `prepare`), or that of a plugin; empty: speech is not looked for."""
    threshold: Fraction = 0.5
    """Probability from which a moment is speech."""
    least_seconds: NonNegativeFloat = 0.3
    """A row with less speech is rejected."""
    cut_seconds: NonNegativeFloat = 0.0
    """Longer rows are cut at pauses into rows of at most so many seconds, the pauses left out; 0: none is cut."""
    longest_pause: PositiveFloat = 1.0
    """Seconds of silence that may lie within a piece."""
    alignments: File = ""
    """Parquet of `utt_id` and `words` (list of `symbol`, `start`, `end` in seconds of the row), by which a piece keeps its part
    of the transcript; without it the transcripts of rows that are cut are dropped."""


@dataclass(frozen=True, kw_only=True)
class TranscriptSettings:
    """What is done to transcripts."""

    rules: File = ""
    """YAML with the rules that transcripts pass, in their order: `replace` and `by`, `delete` and `reject` (regular expressions),
    `unicode`, `casing`, `preparation`; each may name its `languages`."""
    identify: bool = False
    """Find the language of every transcript (the extra `prepare`): rows that name none get it, rows that name another are
    rejected."""
    confidence: Fraction = 0.9
    """Probability from which a language that was found is believed. Of a few words it is mostly below."""


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What a recording needs; the figures are written for every row, limits or not."""

    least_snr: float = -100.0
    """dB of signal to noise; -100: any."""
    most_clipping: Fraction = 1.0
    """Share of the samples that may be clipped."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(StageSettings):
    """Manifest → manifest: long recordings cut at pauses, transcripts brought into one form, figures of every row."""

    stage: Literal["prepare"] = "prepare"
    manifest: Manifest
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the manifest, or `translations.LANGUAGE` → the source's own name for it."""
    speech: ActivitySettings = field(default_factory=ActivitySettings)
    transcripts: TranscriptSettings = field(default_factory=TranscriptSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    shard_seconds: PositiveFloat = 3600.0
    """Seconds of audio in one shard: the unit of work, commit and resume."""
    max_seconds: PositiveFloat = 14_400.0
    """Longer audio is rejected; an hour takes 0.5 GB while it is looked at."""
    length_tolerance: NonNegativeFloat = 0.5
    """Seconds by which audio may be longer or shorter than its manifest says."""
    workers: Operational[PositiveInt] = 2
    retry: Operational[str] = ""
    """`rejected`, or one reason: shards with rows that were rejected for it are prepared again."""
    max_rejected_share: Operational[Fraction] = 0.5
    """Of the rows; a job that rejects more ends with an error."""
