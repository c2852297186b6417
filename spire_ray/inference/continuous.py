"""Many prompts → texts by continuous batching, for jobs of thousands, where padded batches wait for their longest answer."""

from spire_ray.inference.generate import EngineGenerator

_AT_ONCE = 256
"""Answers that are written at the same time."""


class ContinuousGenerator(EngineGenerator):
    """The engine `transformers`."""

    def __init__(self, folder: str, *, device: str = "cpu", max_new_tokens: int = 256) -> None:
        made = EngineGenerator.from_pretrained(
            folder, "transformers", device=device, max_new_tokens=max_new_tokens, batch_size=_AT_ONCE
        )
        super().__init__(made.engine, made.tokenizer, max_new_tokens)
