"""Audio → text with the transformers engine: throughput, time to the first token, tokens per second, shared prefill.

The targets bind a vLLM engine where it can be had; here the gap of this one is recorded.
"""

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import units_data
from benchmarks.gpu import machine
from benchmarks.gpu.entry import Day, Entry, Findings
from benchmarks.gpu.models import SMALL_ENCODER, llama, speaking_model
from spire_ray.inference.engines import Asked
from spire_ray.inference.generate import EngineGenerator, HuggingFaceGenerator, wait_for
from spire_ray.settings import SAMPLE_RATE
from spire_ray.text import prompts
from spire_ray.text.languages import registry
from spire_ray.text.prompts import Span, Turn
from spire_ray.units.codebook import Codebook
from spire_ray.units.labeler import Labeler

ENTRY = Entry("audio to text with a 7B shape, the transformers engine", minutes=5)
SHAPE = Path(__file__).parents[3] / "configs" / "shapes" / "llama-2-7b.json"
SECONDS, ANSWER = 10, 36
"""Of a clip, and tokens of its text: 3.6 a second."""


def run(day: Day) -> None:
    """The engines share one model folder."""
    config, layer, clusters = (SMALL_ENCODER, 2, 50) if day.small else units_data.SHAPES["hubert-large"]
    with tempfile.TemporaryDirectory() as made:
        encoder = str(Path(made) / "encoder")
        codebook = units_data.random_codebook(encoder, config, layer, clusters, day.device)
        model = _model(Path(made), codebook, day)
        labeler = Labeler.from_pretrained(encoder, codebook, dtype="bfloat16", device=day.device)
        drawn = units_data.synthetic_clips(60 if day.small else 4_000, seed=1)
        clips = [clip[: SECONDS * SAMPLE_RATE] for clip in drawn if len(clip) > SECONDS * SAMPLE_RATE][: 4 if day.small else 256]
        answer = 4 if day.small else ANSWER
        plain = HuggingFaceGenerator(model, device=day.device, max_new_tokens=answer)
        day.check("first token", partial(first_token, day, labeler, plain, clips))
        day.check("one stream", partial(one_stream, day, plain, labeler(clips[:1], deduplicate=True)[0][0]))
        speeds: dict[str, float] = {}
        day.check("padded batches", partial(throughput, day, labeler, plain, clips, speeds))
        del plain
        continuous = EngineGenerator.from_pretrained(
            model, "transformers", device=day.device, max_new_tokens=answer, batch_size=256
        )
        day.check("continuous", partial(throughput, day, labeler, continuous, clips, speeds))
        day.check("ten languages", partial(ten_languages, day, continuous, labeler(clips[:1], deduplicate=True)[0][0]))


def first_token(day: Day, labeler: Labeler, plain: HuggingFaceGenerator, clips: list[np.ndarray], found: Findings) -> None:
    """Of a lone clip, from its samples."""

    def work() -> None:
        [ids] = plain.tokenizer.asked([_asked(*labeler(clips[:1], deduplicate=True)[0])])
        _generated(plain, ids, 1)

    taken = machine.seconds(work, "cpu", 2 if day.small else 20, 3)
    found.target("median_ms", 1e3 * float(np.median(taken)), at_most=25)
    found["worst_ms"] = 1e3 * max(taken)


def one_stream(day: Day, plain: HuggingFaceGenerator, heard: np.ndarray, found: Findings) -> None:
    """Tokens per second after the first one, of a single answer."""
    [ids] = plain.tokenizer.asked([_asked(heard)])
    seconds, tokens = {}, {}
    for most in (1, 3 if day.small else 65):
        began = time.perf_counter()
        tokens[most] = _generated(plain, ids, most)
        seconds[most] = time.perf_counter() - began
    (short, long), (first, last) = sorted(seconds), (min(tokens.values()), max(tokens.values()))
    wanted = 240 if "H200" in machine.facts()["card"] else 165
    found.target("tokens_per_s", (last - first) / (seconds[long] - seconds[short]), at_least=wanted)
    found["tokens"] = last


def _generated(plain: HuggingFaceGenerator, ids: np.ndarray, most: int) -> int:
    """How many tokens come, none of which ends the answer but the last one of the document."""

    async def all_of_them() -> int:
        return len([token async for token in plain.engine.generate(ids.tolist(), Asked(most, frozenset({plain.tokenizer.eos})))])

    return wait_for(all_of_them())


def throughput(
    day: Day, labeler: Labeler, generator: Any, clips: list[np.ndarray], speeds: dict[str, float], found: Findings
) -> None:
    """All clips at once, samples to text."""

    def work() -> list[str]:
        return generator([_asked(units) for units, _ in labeler(clips, deduplicate=True)])  # type: ignore[no-any-return]

    taken = machine.median_seconds(work, "cpu", 1, 1)
    speed = speeds[type(generator).__name__] = len(clips) * SECONDS / taken
    found.target("x_real_time", speed, at_least=700)
    found["clips"], found["units_a_clip"] = len(clips), len(labeler(clips[:1], deduplicate=True)[0][0])
    if len(speeds) > 1:
        found["times_padded"] = speed / speeds["HuggingFaceGenerator"]
    if day.on_gpu:
        day.keep_text(f"profile-{type(generator).__name__}", machine.profile(work, day.device))


def ten_languages(day: Day, continuous: EngineGenerator, heard: np.ndarray, found: Findings) -> None:
    """One clip into ten languages: together, so that they share the prefill of the speech, and one by one."""
    codes = [code for code in registry() if code != "en"][: 2 if day.small else 10]
    asked = [prompts.chat([Turn(prompts.st_prompt(code))], heard, continuous.tokenizer.chat) for code in codes]
    together = machine.median_seconds(lambda: continuous(asked), "cpu", 1, 1)
    alone = machine.median_seconds(lambda: [continuous([one]) for one in asked], "cpu", 1, 0)
    found["together_s"], found["alone_s"], found["times_faster"] = together, alone, alone / together
    found["languages"] = len(codes)


def _asked(heard: np.ndarray, *_: Any) -> list[Span]:
    return prompts.chat([Turn(prompts.asr_prompt())], heard)


def _model(folder: Path, codebook: Codebook, day: Day) -> str:
    """A folder with tokenizer and units of a small model and the weights of the true shape."""
    model = speaking_model(folder, 64, codebook)
    if day.small:
        return model
    shape = json.loads(SHAPE.read_text())
    made = llama(shape, day.device, torch.bfloat16)
    made.save_pretrained(model)
    return model
