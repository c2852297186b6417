"""Test set → the same under noise, babble, other speeds, telephone, clipping, rooms.

One folder for each condition, `noise=10/`, with WAV files and a manifest of the same rows, which label and evaluate take as any
other; a report draws the curve.
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.runtime.job import Job
from spire_ray.settings import SAMPLE_RATE, DistortSettings

if TYPE_CHECKING:
    from spire_ray.audio.distortions import Condition

MANIFEST_FILE, DONE = "manifest.jsonl", "_done.json"


def plan(settings: DistortSettings) -> Iterable[str]:
    """Conditions. Raises ValueError for an unknown one."""
    from spire_ray.audio import distortions

    conditions = [distortions.parsed(text) for text in settings.conditions]
    return (f"{len(conditions)} times the split {settings.split}: {', '.join(map(str, conditions))}",)


def run(job: Job[DistortSettings]) -> None:
    """Write what is not there yet."""
    from spire_ray.audio import distortions
    from spire_ray.audio.decode import AudioError, load
    from spire_ray.manifest import reader, recording
    from spire_ray.manifest.schema import in_split

    settings = job.settings
    tables = reader.stream(settings.data, settings.columns)
    rows = [row for table in tables for row in table.to_pylist() if in_split(row["split"], settings.split)]
    if not rows:
        raise ValueError(f"split={settings.split}: {settings.data} has no rows of it")
    heard, refused = {}, {}
    for row in rows:
        try:
            heard[row["utt_id"]] = load(recording.source(row["audio"]), *recording.part(row))
        except AudioError as error:
            refused[row["utt_id"]] = str(error)
    for number, text in enumerate(settings.conditions):
        condition = distortions.parsed(text)
        folder = storage.join(settings.output, str(condition))
        if not storage.exists(storage.join(folder, DONE)):
            lines = _written(folder, condition, settings.seed, rows, heard)
            storage.write_bytes(storage.join(folder, MANIFEST_FILE), "".join(lines).encode())
            storage.write_json(storage.join(folder, DONE), {"rows": len(lines), "rejected": refused})
        job.progress.update(number + 1, len(settings.conditions), f"{condition}: {len(heard)} rows")
    job.facts |= {"rows": len(heard), "rejected": len(refused), "conditions": len(settings.conditions)}


def _written(
    folder: str, condition: "Condition", seed: int, rows: Sequence[dict[str, Any]], heard: dict[str, np.ndarray]
) -> list[str]:
    """The audio of a condition; the lines of its manifest."""
    from spire_ray.audio import pcm, wav

    lines: list[str] = []
    for row in rows:
        utt_id = row["utt_id"]
        if utt_id not in heard:
            continue
        others = [samples for other, samples in heard.items() if other != utt_id]
        made = condition.apply(heard[utt_id], utt_id, seed, others)
        name = f"audio/{len(lines):06d}.wav"
        storage.write_bytes(storage.join(folder, name), wav.encode(pcm.to_pcm(made)))
        kept = {key: row[key] for key in ("utt_id", "text", "language", "split", "speaker", "corpus")}
        said = kept | {"translations": dict(row["translations"] or ()), "duration": len(made) / SAMPLE_RATE}
        lines.append(json.dumps({"audio_filepath": name, **said}, ensure_ascii=False) + "\n")
    return lines


STAGES.register("distort", Stage(DistortSettings, plan, run, uses="numpy, soxr"))
