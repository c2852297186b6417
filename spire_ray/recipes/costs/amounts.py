"""What every step of a recipe makes: rows, seconds of audio, units, tokens.

Counted where it is there, else derived from the step. Lengths of what nobody has seen are those of read speech.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from spire_ray.core import storage
from spire_ray.corpora import catalogue
from spire_ray.manifest import reader
from spire_ray.recipes import plan, shapes
from spire_ray.settings import (
    CorpusSettings,
    FetchSettings,
    FitCodebookSettings,
    LabelSettings,
    PackSettings,
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
        share = self.splits[split] / self.rows
        return replace(self, rows=self.splits[split], seconds=(self.seconds or 0) * share, units=self.units * share)


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
        source = read(settings.manifest, planned, made)
        return replace(source, units=(source.seconds or 0) * units_a_second(settings.codebook, planned), parts={})
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


def read(text: str, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    """What an input holds: what is there, counted; else what the step before will make."""
    if not text:
        return Made(rows=0.0, seconds=0.0)
    several = [_read(each, planned, made) for each in storage.alternatives(text)]
    if len(several) == 1:
        return several[0]
    known = [each for each in several if each.rows is not None]
    return Made(rows=sum(each.rows or 0 for each in known) or None, seconds=sum(each.seconds or 0 for each in known))


def _read(text: str, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    maker = plan.maker_of(text, planned)
    if maker and maker in made:
        below = text.removeprefix(planned[maker].output).strip("/")
        return made[maker].parts.get(below, made[maker]) if below else made[maker]
    if not storage.exists(storage.first(text)):
        return Made()
    rows, seconds = 0, 0.0
    for table in reader.stream(text):
        rows += table.num_rows
        seconds += sum(filter(None, table["duration"].to_pylist())) if "duration" in table.column_names else 0.0
    return Made(rows=float(rows), seconds=seconds)


def units_a_second(codebook: str, planned: shapes.Planned) -> float:
    """Units that differ from the one before them, in a second of speech."""
    maker = planned.get(plan.maker_of(codebook, planned))
    hop = maker.encoder.options.get("hop_ms") if isinstance(maker, FitCodebookSettings) else None
    frames = 1000 / float(hop) if hop else FRAMES_A_SECOND
    return frames * (KEPT_FRAMES if frames > 30 else 0.82)


def _packed(settings: PackSettings, planned: shapes.Planned, made: Mapping[str, Made]) -> Made:
    tokens = documents = 0.0
    for source in settings.sources:
        data = read(source.data, planned, made).of(source.split)
        rows = data.rows or 0.0
        speech = source.task in ("asr", "st", "st_multiturn")
        units = data.units / rows if speech and rows else 0.0
        sentences = {"asr": 1, "st": 1, "st_multiturn": 2, "mt": 2, "text": 1}[source.task]
        length = units + PROMPT_TOKENS + sentences * _sentence(data)
        documents += rows
        if source.tokens:
            tokens += source.tokens * settings.scale
        elif source.units:
            tokens += source.units * settings.scale * (length / units if units else 1.3)
        else:
            tokens += rows * source.weight * length
    return Made(rows=tokens / settings.sequence_length, seconds=0.0, tokens=tokens, documents=documents)


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
