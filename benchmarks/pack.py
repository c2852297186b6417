"""Packing and unit ids, measured: `python benchmarks/pack.py [--output benchmarks/results/pack.json]`.

1. Documents assigned to rows per minute and core, and how full the rows are, on a pooled mix like SPIRE's.
2. A prompt with 1,000 units: its ids by arithmetic against the encoding of its whole text, and whether both are the same.
3. The whole road from rows of units to packed rows, per minute and core: tokens by arithmetic, Parquet between, rows on disk.
CPU-seconds of this thread, so that other work on the machine does not count; the least of the repetitions, and as `spread`
how much the longest is above it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else the work is done in threads that are not counted

from spire_ray.core import storage
from spire_ray.core.provenance import versions
from spire_ray.manifest.schema import UNITS
from spire_ray.packs import choice, pack, tokens
from spire_ray.packs.packing import best_fit
from spire_ray.settings import PackSettings, SourceSettings
from spire_ray.text import prompts
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec


def seconds(work: Callable[[], object], repetitions: int) -> tuple[float, float]:
    """Least CPU-seconds of a call, and by how much of that the longest is longer."""
    took = []
    for _ in range(repetitions):
        began = time.thread_time()
        work()
        took.append(time.thread_time() - began)
    return min(took), round(max(took) / min(took) - 1, 3)


def packing(documents: int, sequence_length: int) -> dict[str, float]:
    """The pooled mix of CPT: clips of 2 to 20 s at 35 units a second with their transcripts, and sentences."""
    draw = np.random.default_rng(0)
    clips = (draw.uniform(2, 20, documents * 3 // 4) * 45).astype(int)
    sentences = np.clip(draw.lognormal(4, 0.6, documents - len(clips)), 10, sequence_length).astype(int)
    lengths = [int(n) for n in draw.permutation(np.concatenate([clips, sentences]))]
    rows = best_fit(lengths, sequence_length)
    cost, spread = seconds(lambda: best_fit(lengths, sequence_length), 5)
    return {
        "documents": documents,
        "documents_per_minute_and_core": round(60 * documents / cost),
        "spread": spread,
        "fill": round(sum(lengths) / (len(rows) * sequence_length), 5),
    }


def model(folder: str) -> str:
    """A tiny Llama with the vocabulary of the released models: 5,000 units from id 32,005 on."""
    from spire_ray.model.extend import extend
    from spire_ray.settings import ExtendModelSettings
    from spire_ray.units.fingerprint import Fingerprint, Identity
    from tests.model import families

    base = families.make("llama-2", Path(folder) / "base")
    identity = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=5000)
    extend(
        base,
        f"{folder}/model",
        Fingerprint(identity=identity),
        ExtendModelSettings(model="", codebook="", output="", preset="spire-7b"),
    )
    return f"{folder}/model"


def encoding(tokenizer: SpeechTokenizer, prompts_at_once: int) -> dict[str, float | bool]:
    """1,000 units in a vocabulary of 5,000, by arithmetic and through text."""
    draw = np.random.default_rng(0)
    given = [draw.integers(0, 5000, 1000).astype(np.uint16) for _ in range(prompts_at_once)]
    documents = [prompts.prompt(prompts.asr_prompt(), units) for units in given]

    def through_text() -> list[list[int]]:
        texts = ["".join(s.text if s.units is None else codec.encode(s.units) for s in spans) for spans in documents]
        return [each.ids for each in tokenizer.text.encode_batch(texts, add_special_tokens=False)]

    same = [ids.tolist() for ids, _ in tokenizer.encode(documents)] == through_text()
    arithmetic, spread = seconds(lambda: tokenizer.encode(documents), 15)
    text, spread_of_text = seconds(through_text, 15)
    return {
        "arithmetic_ms": round(1000 * arithmetic / prompts_at_once, 4),
        "spread": spread,
        "text_ms": round(1000 * text / prompts_at_once, 4),
        "spread_of_text": spread_of_text,
        "ratio": round(text / arithmetic, 1),
        "same_ids": same,
    }


def road(model: str, documents: int) -> dict[str, Any]:
    """Rows of units as `label` writes them → rows of a pack, in this thread."""
    draw = np.random.default_rng(0)
    words = np.array(["the", "a", "dog", "cat", "sees", "sleeps", "under", "over", "small", "green", "house", "river"])
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {
                "utt_id": f"u{n}", "text": " ".join(draw.choice(words, int(length * 2.5) + 1)), "language": "en",
                "split": "train", "duration": length, "units": draw.integers(0, 5000, int(length * 35)).tolist(),
                "status": "labelled",
            }
            for n, length in enumerate(draw.uniform(2, 20, documents).tolist())
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), f"{folder}/part-000000.parquet")
        settings = PackSettings(model=model, output=f"{folder}/pack", sources=(SourceSettings(task="asr", data=folder),))
        tokeniser, form = tokens.Tokeniser(settings), pack.Form(2048, 37_056)
        block = {"source": 0, "files": [f"{folder}/part-000000.parquet"], "first": 0, "rows": -1, "block": 0}
        tokenised, spread = seconds(lambda: tokeniser.write(block), 5)
        chosen = choice.choose(settings, 1)
        packed, spread_of_packing = seconds(lambda: choice.pack_group(settings, form, chosen, 1, 0), 5)
    return {
        "documents": documents,
        "tokenised_per_minute_and_core": round(60 * documents / tokenised),
        "spread": spread,
        "packed_per_minute_and_core": round(60 * documents / packed),
        "spread_of_packing": spread_of_packing,
    }


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default="")
    parser.add_argument("--documents", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = model(folder)
        result = {
            "packing_2048": packing(options.documents, 2048),
            "packing_4096": packing(options.documents, 4096),
            "encoding_1000_units": encoding(SpeechTokenizer(made), 64),
            "road": road(made, options.documents // 10),
            "machine": platform.machine(),
            "versions": versions(),
        }
    print(json.dumps(result, indent=1))
    if options.output:
        storage.write_json(options.output, result)


if __name__ == "__main__":
    main()
