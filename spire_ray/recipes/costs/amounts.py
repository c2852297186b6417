"""What every step of a recipe makes: rows, seconds of audio, units, tokens.

Counted where it is there, else derived from the step. Lengths of what nobody has seen are those of read speech.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spire_ray.core import storage
from spire_ray.corpora import catalogue
from spire_ray.manifest import reader
from spire_ray.manifest.schema import in_split
from spire_ray.recipes import plan, shapes
from spire_ray.settings import (
    AugmentSettings,
    CorpusSettings,
    DistortSettings,
    FetchSettings,
    FitCodebookSettings,
    LabelSettings,
    PackSettings,
    PrepareSettings,
    PseudoLabelSettings,
    StageSettings,
    TrainSettings,
)
from spire_ray.training import sizes

CLIP_SECONDS = 7.0
"""Of read and spoken corpora in the mean; GigaSpeech has 4 s, MLS 15 s."""
SENTENCE_TOKENS = 30.0
"""Of a transcript, 2.5 words a second and 1.4 tokens a word."""
SPOKEN_SENTENCE = 1.82
"""Seconds of a clip of the stage corpus, measured on 2026-11-28."""
PROMPT_TOKENS = 12.0
"""Words of a prompt around speech and text."""
FRAMES_A_SECOND = 50.0
KEPT_FRAMES = 0.72
"""Of 50 frames a second so many differ from the one before; at 25 it is 0.82 (measured on the quickstart)."""


@dataclass(frozen=True)
class Made:
    """What a folder holds. 0 is none, None unknown."""

    rows: float | None = None
    seconds: float | None = None
    units: float = 0.0
    tokens: float = 0.0
    """In a pack, or read by a training."""
    documents: float = 0.0
    """Tokenised for a pack."""
    parts: Mapping[str, "Made"] = field(default_factory=dict)
    """Files below the folder that are inputs of their own."""
    splits: Mapping[str, float] = field(default_factory=dict)
    """Rows of a split, where that is known."""

    def of(self, split: str) -> "Made":
        """The rows of one split."""
        if self.rows is None or split not in self.splits:
            return self
        rows = self.splits[split]
        share = rows / self.rows if self.rows else 0.0
        return replace(self, rows=rows, seconds=(self.seconds or 0) * share, units=self.units * share, splits={split: rows})


def of(planned: shapes.Planned) -> dict[str, Made]:
    """What each step makes, by name."""
    made: dict[str, Made] = {}
    for name, settings in planned.items():
        made[name] = _of(settings, planned, made)
    return made


def _of(settings: StageSettings, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    if isinstance(settings, FetchSettings):
        return _fetched(settings)
    if isinstance(settings, CorpusSettings):
        counts = settings.splits
        splits = {"train": counts.train, "dev": counts.dev, "test": counts.test}
        spoken = float(sum(splits.values()))
        text = Made(rows=float(counts.text), seconds=0.0)
        parts = {"text.parquet": text, "instructions.parquet": text}
        return Made(rows=spoken, seconds=SPOKEN_SENTENCE * spoken, parts=parts, splits=splits)
    if isinstance(settings, LabelSettings):
        source = _heard_again(read(settings.manifest, planned, made), settings.augment, settings.augment.split)
        return replace(source, units=(source.seconds or 0) * units_a_second(settings.codebook, planned), parts={})
    if isinstance(settings, PrepareSettings):  # whose limits nobody knows to bite
        return replace(read(settings.manifest, planned, made), parts={})
    if isinstance(settings, DistortSettings):
        return _distorted(settings, read(settings.data, planned, made).of(settings.split))
    if isinstance(settings, PseudoLabelSettings):
        source = read(settings.data, planned, made).of(settings.split)
        return source if source.rows is not None else replace(source, rows=settings.expected.rows or None)
    if isinstance(settings, PackSettings):
        return _packed(settings, planned, made)
    if isinstance(settings, TrainSettings):
        return _trained(settings, planned, made)
    return Made(rows=0.0, seconds=0.0)


def _fetched(settings: FetchSettings) -> Made:
    parts = {}
    for name in settings.corpora:
        corpus = catalogue.corpus(name)
        hours = corpus.hours or corpus.spire_hours
        rows = float(corpus.rows) or (hours * 3600 / CLIP_SECONDS if hours else None)
        parts[name] = Made(rows=rows, seconds=hours * 3600 if corpus.use != "text" or hours else 0.0)
    known = [part for part in parts.values() if part.rows is not None]
    return Made(rows=sum(part.rows or 0 for part in known), seconds=sum(part.seconds or 0 for part in known), parts=parts)


def copies(augment: AugmentSettings) -> float:
    """Of a row, on average."""
    return len(augment.copies) * augment.share


def _heard_again(source: Made, augment: AugmentSettings, split: str) -> Made:
    """Rows with the copies that those of a split get."""
    some, more = source.of(split), copies(augment)
    if source.rows is None or some.rows is None:
        return source
    splits = {name: rows * (1 + more) if in_split(name, split) else rows for name, rows in source.splits.items()}
    seconds = (source.seconds or 0) + more * (some.seconds or 0)
    return replace(source, rows=source.rows + more * some.rows, seconds=seconds, splits=splits)


def _distorted(settings: DistortSettings, source: Made) -> Made:
    """A folder for each condition."""
    from spire_ray.audio import distortions

    if source.rows is None:
        return replace(source, parts={})
    parts = {}
    for condition in map(distortions.parsed, settings.conditions):
        slower = 1 / condition.strength if condition.name == "speed" else 1.0
        parts[str(condition)] = replace(source, seconds=(source.seconds or 0) * slower, units=0.0, parts={})
    return replace(_together(list(parts.values())), parts=parts)


def _together(several: Sequence[Made]) -> Made:
    """All of them; unknown where one is."""
    if any(each.rows is None for each in several):
        return Made()
    splits: Counter[str] = Counter()
    for each in several if all(each.splits for each in several) else ():
        splits.update(each.splits)  # type: ignore[arg-type]
    rows, units = sum(each.rows or 0 for each in several), sum(each.units for each in several)
    return Made(rows=rows, seconds=sum(each.seconds or 0 for each in several), units=units, splits=splits)


def read(text: str, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    """What an input holds: what is there, counted; else what the step before will make."""
    if not text:
        return Made(rows=0.0, seconds=0.0)
    several = [_read(each, planned, made) for each in storage.alternatives(text)]
    return several[0] if len(several) == 1 else _together(several)


def _read(text: str, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    maker = plan.maker_of(text, planned)
    if maker and maker in made:
        below = text.removeprefix(planned[maker].output).strip("/")
        parts = made[maker].parts
        return parts.get(below) or parts.get(below.partition("/")[0]) or made[maker]
    if not storage.exists(storage.first(text)):
        return Made()
    rows, seconds, splits = 0, 0.0, Counter[str]()
    for table in reader.stream(text):
        rows += table.num_rows
        seconds += sum(filter(None, table["duration"].to_pylist())) if "duration" in table.column_names else 0.0
        splits.update(filter(None, table["split"].to_pylist()) if "split" in table.column_names else ())
    return Made(rows=float(rows), seconds=seconds, splits={name: float(count) for name, count in splits.items()})


def units_a_second(codebook: str, planned: shapes.Planned) -> float:
    """Units that differ from the one before them, in a second of speech."""
    maker = planned.get(plan.maker_of(codebook, planned))
    hop = maker.encoder.options.get("hop_ms") if isinstance(maker, FitCodebookSettings) else None
    frames = 1000 / float(hop) if hop else FRAMES_A_SECOND
    return frames * (KEPT_FRAMES if frames > 30 else 0.82)


def _packed(settings: PackSettings, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    tokens = documents = 0.0
    known = True
    for source in settings.sources:
        data = read(source.data, planned, made).of(source.split)
        rows = data.rows or 0.0
        speech = source.task in ("asr", "st", "st_multiturn")
        units = data.units / rows if speech and rows else 0.0
        sentences = {"asr": 1, "st": 1, "st_multiturn": 2, "mt": 2, "text": 1}[source.task]
        length = units + PROMPT_TOKENS + sentences * _sentence(data)
        documents += rows
        known &= data.rows is not None or bool(source.tokens or source.units)
        if source.tokens:
            tokens += source.tokens * settings.scale
        elif source.units:
            tokens += source.units * settings.scale * (length / units if units else 1.3)
        else:
            tokens += rows * source.weight * settings.scale * length
    packed = tokens / settings.sequence_length if known else None
    return Made(rows=packed, seconds=0.0, tokens=tokens, documents=documents)


def _sentence(data: Made) -> float:
    """Tokens of a sentence: of one that is spoken, by its length."""
    return 4.0 * data.seconds / data.rows if data.seconds and data.rows else SENTENCE_TOKENS / 2


def _trained(settings: TrainSettings, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    length = shapes.row_length(settings, planned)
    rows = sizes.rows_of_a_step(settings.training, length or 1)
    if settings.training.steps:
        total = float(settings.training.steps * rows)
    else:
        pack = read(settings.pack, planned, made)
        total = (pack.rows or 0.0) * (settings.training.epochs or 0)
    return Made(rows=total, seconds=0.0, tokens=total * length)
