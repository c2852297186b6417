"""Prompts → text with any model folder: one protocol, Hugging Face generation behind it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from spire_ray.core import copies
from spire_ray.text.prompts import Span
from spire_ray.text.tokenizer import SpeechTokenizer


class Generator(Protocol):
    """Continues prompts greedily."""

    tokenizer: SpeechTokenizer

    def __call__(self, prompts: Sequence[Sequence[Span]]) -> list[str]:
        """One text for each prompt, in order."""
        ...


class HuggingFaceGenerator:
    """Greedy decoding in batches sorted by length; a text ends at EOS, the end of its turn or of its line."""

    def __init__(self, folder: str, *, device: str = "cpu", max_new_tokens: int = 256, batch_size: int = 16) -> None:
        from transformers import AutoModelForCausalLM

        local = copies.localize(folder)
        self.tokenizer = SpeechTokenizer(local)
        dtype = torch.bfloat16 if device != "cpu" else torch.float32
        self._model: Any = AutoModelForCausalLM.from_pretrained(local, dtype=dtype).eval().to(device)
        self._device = device
        self._new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._stops = self.tokenizer.stops | newlines(self.tokenizer)

    @property
    def longest_prompt(self) -> int:
        """Tokens a prompt may have, so that an answer still fits into the model's positions."""
        return int(self._model.config.max_position_embeddings) - self._new_tokens

    def __call__(self, prompts: Sequence[Sequence[Span]]) -> list[str]:
        """See `Generator`. Raises ValueError for a prompt that leaves no room for an answer."""
        encoded = self.tokenizer.asked(prompts)
        for ids in encoded:
            if len(ids) > self.longest_prompt:
                raise ValueError(f"a prompt of {len(ids)} tokens is longer than {self.longest_prompt}: cut the audio")
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        texts = [""] * len(encoded)
        for start in range(0, len(order), self._batch_size):
            chosen = order[start : start + self._batch_size]
            for i, answer in zip(chosen, self.continued([encoded[i] for i in chosen]), strict=True):
                texts[i] = self.tokenizer.decode(answer)
        return texts

    @torch.inference_mode()
    def continued(self, prompts: list[np.ndarray]) -> list[list[int]]:
        """Token ids that follow each prompt, up to the first stop."""
        longest = max(len(ids) for ids in prompts)
        inputs = torch.full((len(prompts), longest), self.tokenizer.eos)
        mask = torch.zeros_like(inputs)
        for row, ids in enumerate(prompts):
            inputs[row, longest - len(ids) :] = torch.from_numpy(ids.astype(np.int64))
            mask[row, longest - len(ids) :] = 1
        generated = self._model.generate(
            input_ids=inputs.to(self._device),
            attention_mask=mask.to(self._device),
            max_new_tokens=self._new_tokens,
            do_sample=False,
            eos_token_id=sorted(self._stops),
            pad_token_id=self.tokenizer.eos,
        )
        return [until(row, self._stops) for row in generated[:, longest:].tolist()]


def until(ids: list[int], stops: set[int]) -> list[int]:
    """Ids before the first stop."""
    for place, token in enumerate(ids):
        if token in stops:
            return ids[:place]
    return ids


def newlines(tokenizer: SpeechTokenizer) -> set[int]:
    """Tokens that are a line break and nothing else."""
    ((ids, _),) = tokenizer.encode([[Span("\n")]])
    return {int(ids[-1])}
