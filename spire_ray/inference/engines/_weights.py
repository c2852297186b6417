"""A causal language model of a folder, as the engines of Hugging Face's library hold it, and what it thinks of a text."""

import threading
from collections.abc import Sequence
from typing import Any

import torch


class Weights:
    """A model on a device."""

    def __init__(self, folder: str, device: str, attention: str = "sdpa") -> None:
        from transformers import AutoModelForCausalLM

        dtype = torch.bfloat16 if device != "cpu" else torch.float32
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)
        self.model.eval().to(device)
        self.device = device
        self.positions = int(self.model.config.get_text_config().max_position_embeddings)
        self._scoring = threading.Lock()

    @torch.inference_mode()
    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """The logarithm of the probability of each token of the continuation; one pass, and one at a time."""
        ids = torch.tensor([[*prompt, *continuation]], device=self.device)
        with self._scoring:
            logits = self.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        logprobs = torch.log_softmax(logits.float(), -1)
        return [float(value) for value in logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0].tolist()]
