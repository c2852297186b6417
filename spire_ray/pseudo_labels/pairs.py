"""The best and the worst translation of a row, as pairs for preference training: TRL's, conversational, with the prompt."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spire_ray.core import storage
from spire_ray.pseudo_labels import pseudo
from spire_ray.settings import PairSettings, QualitySettings
from spire_ray.text import prompts
from spire_ray.units import codec

FOLDER = "pairs"


def write(output: str, shard: int, lines: Sequence[str]) -> None:
    """The pairs of a shard."""
    place = storage.join(output, FOLDER, f"part-{shard:06d}.jsonl")
    storage.write_bytes(place, "".join(f"{line}\n" for line in lines).encode())


def lines(
    settings: PairSettings,
    quality: QualitySettings,
    rows: Sequence[Mapping[str, Any]],
    candidates: Sequence[Sequence[Mapping[str, Any]]],
) -> Iterator[str]:
    """JSON of every pair, in the order of the rows.

    Chosen is the best that is good enough to be kept, rejected the worst of those that are another text and score lower by
    more than `margin`. A row of which there are no two such has none.
    """
    made: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for label in (label for labels in candidates for label in labels if label["translation"]):
        if not math.isnan(pseudo.score(label, quality.by)):
            made.setdefault(label["utt_id"], {}).setdefault(label["target_language"], []).append(label)
    for row in rows:
        for target, labels in sorted(made.get(row["utt_id"], {}).items()):
            ranked = sorted(labels, key=lambda label: -pseudo.score(label, quality.by))
            best, worst = ranked[0], ranked[-1]
            scores = [pseudo.score(label, quality.by) for label in (best, worst)]
            apart = best["translation"] != worst["translation"] and scores[0] - scores[1] > settings.margin
            if apart and pseudo.good(best, quality):
                yield _line(settings, row, target, (best, worst), scores)


def _line(
    settings: PairSettings, row: Mapping[str, Any], target: str, pair: Sequence[Mapping[str, Any]], scores: Sequence[float]
) -> str:
    style = prompts.STYLES[settings.prompts]
    if settings.task == "st":
        asked = prompts.st_prompt(target, style).replace(prompts.SPEECH, codec.encode(row["units"], settings.surface))
    else:
        asked = prompts.mt_prompt(str(row["text"]), str(row["language"]), target, style)
    told = [[{"role": "assistant", "content": label["translation"]}] for label in pair]
    named = {"utt_id": row["utt_id"], "target_language": target, "systems": [label["system"] for label in pair]}
    whole = {"prompt": [{"role": "user", "content": asked}], "chosen": told[0], "rejected": told[1]}
    return json.dumps(named | {"scores": [round(score, 6) for score in scores]} | whole, ensure_ascii=False)
