"""Packing and unit ids, measured: `python benchmarks/pack.py [--out benchmarks/results/pack.json]`.

1. Documents assigned to rows per minute and core, and how full the rows are, on a pooled mix like SPIRE's.
2. A prompt with 1,000 units: its ids by arithmetic against the encoding of its whole text, and whether both are the same.
CPU-seconds of this thread, so that other work on the machine does not count; the best of the repetitions.
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

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else the work is done in threads that are not counted

from spire_ray.provenance import versions
from spire_ray.text import prompts
from spire_ray.text.packing import best_fit
from spire_ray.units import codec


def seconds(work: Callable[[], object], repetitions: int) -> float:
    """Least CPU-seconds of a call."""
    best = float("inf")
    for _ in range(repetitions):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best


def packing(documents: int, row_length: int) -> dict[str, float]:
    """The pooled mix of CPT: clips of 2 to 20 s at 35 units a second with their transcripts, and sentences."""
    draw = np.random.default_rng(0)
    clips = (draw.uniform(2, 20, documents * 3 // 4) * 45).astype(int)
    sentences = np.clip(draw.lognormal(4, 0.6, documents - len(clips)), 10, row_length).astype(int)
    lengths = [int(n) for n in draw.permutation(np.concatenate([clips, sentences]))]
    rows = best_fit(lengths, row_length)
    cost = seconds(lambda: best_fit(lengths, row_length), 3)
    return {
        "documents": documents,
        "documents_per_minute_and_core": round(60 * documents / cost),
        "fill": round(sum(lengths) / (len(rows) * row_length), 5),
    }


def encoding(prompts_at_once: int) -> dict[str, float | bool]:
    """1,000 units in a vocabulary of 5,000, by arithmetic and through text."""
    from spire_ray.fingerprint import Fingerprint, Identity
    from spire_ray.model.extend import extend
    from spire_ray.settings import ExtendModel
    from spire_ray.text.tokenizer import SpeechTokenizer
    from tests.model import families

    with tempfile.TemporaryDirectory() as folder:
        base = families.make("llama-2", Path(folder) / "base")
        identity = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=5000)
        settings = ExtendModel(model="", codebook="", output="", preset="spire-7b")
        extend(base, f"{folder}/model", Fingerprint(identity=identity), settings)
        tokenizer = SpeechTokenizer(f"{folder}/model")
    draw = np.random.default_rng(0)
    given = [draw.integers(0, 5000, 1000).astype(np.uint16) for _ in range(prompts_at_once)]
    documents = [prompts.prompt(prompts.asr_prompt(), units) for units in given]

    def through_text() -> list[list[int]]:
        texts = ["".join(s.text if s.units is None else codec.to_text(s.units) for s in spans) for spans in documents]
        return [each.ids for each in tokenizer.text.encode_batch(texts, add_special_tokens=False)]

    same = [ids.tolist() for ids, _ in tokenizer.encode(documents)] == through_text()
    arithmetic = seconds(lambda: tokenizer.encode(documents), 5) / prompts_at_once
    text = seconds(through_text, 5) / prompts_at_once
    return {
        "arithmetic_ms": round(1000 * arithmetic, 4),
        "text_ms": round(1000 * text, 4),
        "ratio": round(text / arithmetic, 1),
        "same_ids": same,
    }


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="benchmarks/results/pack.json")
    parser.add_argument("--documents", type=int, default=100_000)
    options = parser.parse_args()
    result = {
        "packing_2048": packing(options.documents, 2048),
        "packing_4096": packing(options.documents, 4096),
        "encoding_1000_units": encoding(64),
        "machine": platform.machine(),
        "versions": versions(),
    }
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
