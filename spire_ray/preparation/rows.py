"""One row of a manifest → the rows that it becomes, with their figures, or the reason why it, or a piece of it, becomes none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.audio import figures, wav
from spire_ray.audio.pcm import from_pcm
from spire_ray.corpora.preparation import Unfit
from spire_ray.manifest import alignments
from spire_ray.manifest.schema import MANIFEST, Row
from spire_ray.preparation import activity, texts
from spire_ray.settings import SAMPLE_RATE, PrepareSettings
from spire_ray.shards import ids
from spire_ray.text import languages

FIGURES = pa.schema(
    [
        ("snr", pa.float32()),
        ("clipping", pa.float32()),
        ("speech_seconds", pa.float32()),
        ("text_raw", pa.string()),
        ("note", pa.string()),
    ]
)
"""Beside the columns of a manifest: dB of signal to noise, share of clipped samples, speech, the transcript as it came, and what
was done to the row, in words."""
PREPARED = pa.schema([*MANIFEST, *FIGURES])
REJECTED = pa.schema([*(field for field in MANIFEST), *FIGURES, ("error", pa.string())])

CUT, ALIGNED, UNALIGNED, OUTSIDE = (
    "cut at pauses",
    "transcript kept by alignment",
    "transcript dropped: no alignment",
    "transcript kept by alignment, words outside of speech lost",
)
IDENTIFIED = "language identified"


class Unusable(ValueError):
    """A row that is rejected, with the reason."""


@dataclass(frozen=True)
class _Words:
    """The words of a row, where they are aligned."""

    words: Sequence[Mapping[str, Any]]
    language: str

    def between(self, begin: float, end: float) -> str:
        """Those whose middle lies in a stretch."""
        inside = [str(word["symbol"]) for word in self.words if begin <= (word["start"] + word["end"]) / 2 < end]
        known = languages.find(self.language) if self.language else None
        return known.join(inside) if known else " ".join(inside)

    def outside(self, pieces: Sequence[activity.Stretch]) -> int:
        """How many lie in no piece."""
        middles = [(word["start"] + word["end"]) / 2 for word in self.words]
        return sum(not any(begin <= middle < end for begin, end in pieces) for middle in middles)


class Preparation:
    """What the settings want of rows, with the models that it takes."""

    def __init__(self, settings: PrepareSettings) -> None:
        """Raises ValueError for rules that are none, and for what is not installed."""
        self._settings = settings
        self._rules = texts.read(settings.transcripts.rules) if settings.transcripts.rules else ()
        self._detector = activity.DETECTORS[settings.speech.detector]() if settings.speech.detector else None
        self.numerics = {"detector": self._detector.name} if self._detector else {}
        self.numerics |= {"identifier": texts.identifier()} if settings.transcripts.identify else {}

    def words(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Of the rows that are aligned."""
        where = self._settings.speech.alignments
        return alignments.read(where, names, "words") if where else {}

    def made(self, row: Row, samples: np.ndarray, words: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Row]:
        """Rows of `PREPARED`, and, of pieces that are left out by themselves, of `REJECTED`.

        Raises Unusable where all of the row is left out.
        """
        speech = self._settings.speech
        cut = bool(self._detector and speech.cut_seconds and len(samples) > speech.cut_seconds * SAMPLE_RATE)
        row = self._identified(row | dict.fromkeys(FIGURES.names))
        if not cut:  # of what is cut, each piece has a text of its own
            row = self._normalized(row)
        found = self._detector(from_pcm(samples), speech.threshold) if self._detector else None
        spoken = sum(end - begin for begin, end in found or ())
        if found is not None and (spoken < speech.least_seconds or (cut and not found)):
            raise Unusable(f"no speech: {spoken:.2f} s of {len(samples) / SAMPLE_RATE:.2f} s")
        if found is None or not cut:
            yield self._measured(row, samples, found)
            return
        pieces = list(activity.pieces(found, speech.cut_seconds, speech.longest_pause))
        yield from self._pieces(row, samples, pieces, found, words.get(row["utt_id"]))

    def _identified(self, row: Row) -> Row:
        """The row with the language of its transcript, where that is asked for. Raises Unusable where it is another one."""
        text, wanted = row["text"], self._settings.transcripts
        if not wanted.identify or not text or not text.strip():
            return row
        code, probability = texts.identified(text)
        if probability < wanted.confidence or code == row["language"]:
            return row
        if row["language"]:
            raise Unusable(f"transcript in another language: {code} ({probability:.2f}), the manifest says {row['language']}")
        return row | {"language": code, "note": IDENTIFIED}

    def _normalized(self, row: Row) -> Row:
        """The row, or piece, with its transcript by the rules, where there are any. Raises Unusable."""
        text = row["text"]
        if not self._rules or not text or not text.strip():
            return row
        try:
            return row | {"text": texts.normalized(text, row["language"] or "", self._rules), "text_raw": text}
        except Unfit as reason:
            raise Unusable(str(reason)) from None

    def _measured(self, row: Row, samples: np.ndarray, speech: Sequence[activity.Stretch] | None) -> Row:
        """The row with its figures. Raises Unusable for one beyond the limits."""
        limits = self._settings.limits
        found = {"snr": figures.snr(samples), "clipping": figures.clipping(samples)}
        if found["snr"] < limits.least_snr:
            raise Unusable(f"too noisy: {found['snr']:.1f} dB of {limits.least_snr:g}")
        if found["clipping"] > limits.most_clipping:
            raise Unusable(f"clipped: {found['clipping']:.2%} of the samples, {limits.most_clipping:.2%} are allowed")
        spoken = None if speech is None else sum(end - begin for begin, end in speech)
        return row | found | {"speech_seconds": spoken, "duration": row["duration"] or len(samples) / SAMPLE_RATE}

    def _pieces(
        self,
        row: Row,
        samples: np.ndarray,
        pieces: Sequence[activity.Stretch],
        speech: Sequence[activity.Stretch],
        words: Sequence[Mapping[str, Any]] | None,
    ) -> Iterator[Row]:
        aligned = None if words is None else _Words(words, row["language"] or "")
        note = "; ".join(filter(None, [row["note"], _note(row, aligned, pieces)]))
        for begin, end in pieces:
            first, last = round(begin * SAMPLE_RATE), min(len(samples), round(end * SAMPLE_RATE))
            of_piece = samples[first:last]
            text = (aligned.between(begin, end) or None) if aligned and row["text"] else None
            inside = [(max(begin, start), min(end, stop)) for start, stop in speech if start < end and stop > begin]
            told = {"utt_id": ids.piece(row["utt_id"], begin), "text": text, "translations": None, "note": note}
            piece = row | told | {"duration": len(of_piece) / SAMPLE_RATE} | _place(row, begin, of_piece)
            try:
                yield self._measured(self._normalized(piece), of_piece, inside)
            except Unusable as reason:
                yield piece | {"error": str(reason)}


def _place(row: Row, begin: float, samples: np.ndarray) -> Row:
    """Where the audio of a piece is: in its file, or, of one inside the manifest, in the row."""
    if row["audio"]["bytes"] is None:
        return {"offset": (row["offset"] or 0.0) + begin}
    return {"audio": {"bytes": wav.encode(samples, "FLAC"), "path": None}, "offset": None}


def _note(row: Row, aligned: _Words | None, pieces: Sequence[activity.Stretch]) -> str:
    if not row["text"]:
        return CUT
    if aligned is None:
        return f"{CUT}; {UNALIGNED}"
    return f"{CUT}; {OUTSIDE if aligned.outside(pieces) else ALIGNED}"
