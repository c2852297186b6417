"""Many prompts → texts by continuous batching: an answer that ends makes room for the next prompt at once.

Hugging Face's paged generation; greedy. For jobs of thousands of prompts, where padded batches wait for their longest answer.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch

from spire_ray.core import copies
from spire_ray.inference.generate import newlines, until
from spire_ray.text.prompts import Span
from spire_ray.text.tokenizer import SpeechTokenizer

_CPU_CACHE_BLOCKS = 64
"""On a GPU the cache takes the free memory; on a CPU it takes this many pages of 256 tokens."""


class ContinuousGenerator:
    """Greedy decoding without padding; a text ends at EOS, the end of its turn or of its line."""

    def __init__(self, folder: str, *, device: str = "cpu", max_new_tokens: int = 256) -> None:
        from transformers import AutoModelForCausalLM

        local = copies.localize(folder)
        self.tokenizer = SpeechTokenizer(local)
        dtype = torch.bfloat16 if device != "cpu" else torch.float32
        attends, self._batching = _attention(device)
        self._model: Any = AutoModelForCausalLM.from_pretrained(local, dtype=dtype, attn_implementation=attends).eval().to(device)
        self._new_tokens = max_new_tokens
        self._stops = self.tokenizer.stops | newlines(self.tokenizer)
        self._on_cpu = device == "cpu"
        if self.longest_prompt < 1:
            positions = self._model.config.max_position_embeddings
            raise ValueError(
                f"max_new_tokens={max_new_tokens}: leaves no room for a prompt in the {positions} positions of {folder}"
            )

    @property
    def longest_prompt(self) -> int:
        """Tokens a prompt may have, so that an answer still fits into the model's positions."""
        return int(self._model.config.max_position_embeddings) - self._new_tokens

    def __call__(self, prompts: Sequence[Sequence[Span]]) -> list[str]:
        """One text for each prompt, in order. Raises ValueError for a prompt that leaves no room for an answer."""
        from transformers import ContinuousBatchingConfig, GenerationConfig

        inputs = [ids.tolist() for ids in self.tokenizer.asked(prompts)]
        if longest := max((len(ids) for ids in inputs if len(ids) > self.longest_prompt), default=0):
            raise ValueError(f"a prompt of {longest} tokens is longer than {self.longest_prompt}")
        stops = sorted(self._stops)
        greedy = GenerationConfig(
            max_new_tokens=self._new_tokens, do_sample=False, eos_token_id=stops, pad_token_id=self.tokenizer.eos
        )
        bounds = {"num_blocks": _CPU_CACHE_BLOCKS, "max_batch_tokens": 512} if self._on_cpu else {}
        batching = ContinuousBatchingConfig(**self._batching, **bounds)
        outputs = self._model.generate_batch(
            inputs, generation_config=greedy, continuous_batching_config=batching, progress_bar=False, warmup=not self._on_cpu
        )
        if not self._on_cpu:  # the cache took what was free, and another process may want this GPU next
            torch.cuda.empty_cache()
        answers = list(outputs.values())  # in the order of the inputs
        failed = [answer.error for answer in answers if answer.error]
        if failed or len(answers) != len(inputs):  # which transformers only logs
            raise RuntimeError(
                f"continuous batching answered {len(answers) - len(failed)} of {len(inputs)} prompts: {failed[:1]}"
            )
        return [self.tokenizer.decode(until(answer.generated_tokens, self._stops)) for answer in answers]


def _attention(device: str) -> tuple[str, dict[str, bool]]:
    """The attention of a paged model and what its batching must be told: flash-attn on a GPU that has it, else PyTorch's own.

    Unless it is told otherwise, transformers replaces `sdpa` by flash attention, and where only the package `kernels` is
    installed it fetches that from a hub. Releases before `auto_switch_to_flash` are told by the name alone.
    """
    from transformers import ContinuousBatchingConfig
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    available = {"flash_attention_3": is_flash_attn_3_available, "flash_attention_2": is_flash_attn_2_available}
    if device != "cpu" and (flash := next((name for name, there in available.items() if there()), "")):
        return flash, {}
    if "auto_switch_to_flash" in signature(ContinuousBatchingConfig).parameters:
        return "sdpa", {"auto_switch_to_flash": False}
    return "paged|sdpa", {}
