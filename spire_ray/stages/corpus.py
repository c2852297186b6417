"""Generated sentences, spoken by espeak-ng (quickstart)."""

import json
import random
from collections.abc import Iterable

import pyarrow as pa

from spire_ray.core import storage, tables
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest.schema import MANIFEST
from spire_ray.runtime.job import Job
from spire_ray.settings import SAMPLE_RATE, CorpusSettings

_CORPUS = "talking-corpus"


def plan(settings: CorpusSettings) -> Iterable[str]:
    """Utterances and sentence pairs; unknown or shared voices are refused here."""
    from spire_ray.quickstart.corpus import check_voices

    if not storage.is_local(settings.output):
        raise ValueError(f"output={settings.output}: the talking corpus is written to a local folder")
    check_voices(settings)
    counts = settings.splits
    spoken = f"{counts.train} train, {counts.dev} dev and {counts.test} test utterances"
    return (f"{spoken}, {counts.text} sentence pairs as text, in en, {', '.join(settings.languages)}",)


def run(job: Job[CorpusSettings]) -> None:
    """Speak and write `manifest.parquet`, `alignments.parquet`, `text.parquet` and `instructions.parquet`."""
    from spire_ray.quickstart import corpus

    settings = job.settings
    clips, sentences = corpus.plan(settings)
    rows, alignments, seconds = [], [], 0.0
    for clip, path, speech in corpus.record(clips, settings.output, settings.workers):
        duration = len(speech.samples) / SAMPLE_RATE
        seconds += duration
        row = _row(clip.utt_id, clip.sentence.text, clip.sentence.translations, settings.languages)
        rows.append(row | {"audio": {"path": path}, "duration": duration, "split": clip.split, "speaker": clip.voice})
        phonemes = [{"symbol": s, "start": a, "end": b} for s, a, b in speech.phonemes]
        alignments.append({"utt_id": clip.utt_id, "phonemes": phonemes})
        job.progress.update(len(rows), len(clips), f"{len(rows)}/{len(clips)} clips  {seconds / 3600:.2f} h")
    text = [
        _row(f"text-{i:06d}", s.text, s.translations, settings.languages) | {"split": "train"} for i, s in enumerate(sentences)
    ]
    _write(settings, "text", pa.Table.from_pylist(text, MANIFEST))
    _write(settings, "instructions", _instructions(text, settings))
    _write(settings, "alignments", pa.Table.from_pylist(alignments))
    _write(settings, "manifest", pa.Table.from_pylist(rows, MANIFEST))
    job.facts |= {"rows": len(rows), "hours": round(seconds / 3600, 4), "pairs": len(text)}


def _row(utt_id: str, text: str, translations: dict[str, str], languages: Iterable[str]) -> dict[str, object]:
    chosen = [(code, translations[code]) for code in languages]
    return {"utt_id": utt_id, "text": text, "language": "en", "translations": chosen, "corpus": _CORPUS}


def _instructions(text: list[dict[str, object]], settings: CorpusSettings) -> pa.Table:
    """A text skill without translation, as TowerBlocks has many: mend the word order of a sentence."""
    draw = random.Random(settings.seed)
    rows = []
    for row in text:
        sentence = str(row["text"])
        words = sentence.split()
        place = draw.randrange(len(words) - 1)
        words[place], words[place + 1] = words[place + 1], words[place]
        question = f"Correct the word order of the following sentence.\n{' '.join(words)}"
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": sentence}]
        rows.append(
            {"utt_id": f"order-{row['utt_id']}", "conversations": json.dumps(turns, ensure_ascii=False), "split": "train"}
        )
    return pa.Table.from_pylist(rows)


def _write(settings: CorpusSettings, name: str, table: pa.Table) -> None:
    tables.write(storage.join(settings.output, f"{name}.parquet"), table)


STAGES.register("corpus", Stage(CorpusSettings, plan, run, uses="espeak-ng (GPL-3.0, only in the extra `quickstart`)"))
