"""Generation on the card, plain and continuous: every token must be as good as the best one of float32 on the CPU."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.entry import Day, Entry, Findings
from benchmarks.gpu.models import CLUSTERS, cepstral_codebook, speaking_model
from spire_ray.inference.generate import EngineGenerator, HuggingFaceGenerator
from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Turn

ENTRY = Entry("plain and continuous", minutes=1)
NEW_TOKENS = 24


def run(day: Day) -> None:
    """Both engines on the same prompts."""
    with tempfile.TemporaryDirectory() as folder:
        model = speaking_model(Path(folder), 64 if day.small else 512, cepstral_codebook())
        draw = np.random.default_rng(5)
        lengths = (3, 40, 17, 17, 8, 90, 300, 500)
        units = [draw.integers(0, CLUSTERS, length).astype(np.uint16) for length in lengths]
        asked = [prompts.chat([Turn(prompts.asr_prompt())], u) for u in units]
        day.check("prefill", partial(prefill, day, model, asked))
        day.check("plain", partial(plain, day, model, asked))
        day.check("continuous", partial(continuous, day, model, asked))


def prefill(day: Day, model: str, asked: list[list[Span]], found: Findings) -> None:
    """Logits of the prompts, by the norm of their difference."""
    here, there = _generator(model, "cpu"), _generator(model, day.device)
    errors = []
    for ids in _encoded(here, asked):
        expected, given = (_logits(generator, ids) for generator in (here, there))
        errors.append(float((given - expected).norm() / expected.norm()))
    found.at_most("largest_error", max(errors), 0.03)


def plain(day: Day, model: str, asked: list[list[Span]], found: Findings) -> None:
    """`generate` in padded batches."""
    here, there = _generator(model, "cpu"), _generator(model, day.device)
    encoded = _encoded(here, asked)
    answers = there.continued(encoded)
    found["answers_equal"] = float(np.mean([a == b for a, b in zip(answers, here.continued(encoded), strict=True)]))
    found["tokens"] = sum(len(answer) for answer in answers)
    found.at_most("largest_gap", max(_gap(here, ids, answer) for ids, answer in zip(encoded, answers, strict=True)), 0.05)


def continuous(day: Day, model: str, asked: list[list[Span]], found: Findings) -> None:
    """Paged attention; texts are compared with those of the padded batches."""
    there = EngineGenerator.from_pretrained(model, "transformers", device=day.device, max_new_tokens=NEW_TOKENS, batch_size=256)
    answers, plainly = there(asked), _generator(model, day.device)(asked)
    found["attention"] = there.engine.weights.model.config._attn_implementation
    found.at_least(
        "answers_equal", float(np.mean([a == b for a, b in zip(answers, plainly, strict=True)])), 0.5 if day.on_gpu else 1.0
    )
    found.at_least("answers_repeated", float(np.mean([a == b for a, b in zip(answers, there(asked), strict=True)])), 0.75)


def _generator(model: str, device: str) -> HuggingFaceGenerator:
    return HuggingFaceGenerator(model, device=device, max_new_tokens=NEW_TOKENS)


def _encoded(generator: HuggingFaceGenerator, asked: list[list[Span]]) -> list[np.ndarray]:
    return generator.tokenizer.asked(asked)


@torch.inference_mode()
def _logits(generator: HuggingFaceGenerator, ids: Any) -> torch.Tensor:
    given = torch.as_tensor(np.asarray(ids, np.int64))[None].to(generator.engine.weights.device)
    return generator.engine.weights.model(input_ids=given).logits[0].float().cpu()  # type: ignore[no-any-return]


def _gap(here: HuggingFaceGenerator, ids: np.ndarray, answer: list[int]) -> float:
    """The largest distance of a token's logit to the best one, in spreads of the logits, in float32."""
    if not answer:
        return 0.0
    logits = _logits(here, [*ids.tolist(), *answer])[len(ids) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return float(((logits.amax(1) - chosen) / logits.std(1)).max())
