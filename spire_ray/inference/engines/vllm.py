"""vLLM, the engine for a GPU: token ids in and out of its `AsyncLLM`, with prefixes shared by pages of 16 tokens.

It needs an environment of its own (the extra `vllm`); its packages do not go together with those of training.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from spire_ray.inference.engines import ENGINES, Asked, EngineDead, Limits, Stats, Token, require, require_room

_HANG_SECONDS = 120.0
"""Without a token while there is work."""
_LOOK_SECONDS = 5.0


class VllmEngine:
    """An engine in a process of vLLM's, and an event loop of its own that speaks with it."""

    name = "vllm"

    def __init__(self, folder: str, device: str = "cpu", at_once: int = 16) -> None:
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ValueError(
                f"engine=vllm: vLLM is not installed here ({error}); install the extra vllm in an own environment"
            ) from None
        arguments = AsyncEngineArgs(
            model=folder,
            skip_tokenizer_init=True,
            dtype="float32" if device == "cpu" else "bfloat16",
            max_num_seqs=at_once,
            enable_prefix_caching=True,
            enforce_eager=device == "cpu",
            disable_log_stats=True,
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm-engine", daemon=True).start()
        self._numbers = itertools.count()
        self._last = time.monotonic()

        async def begin() -> Any:
            return AsyncLLM.from_engine_args(arguments)

        self._engine: Any = asyncio.run_coroutine_threadsafe(begin(), self._loop).result()
        self.limits = Limits(int(self._engine.model_config.max_model_len), at_once)
        self.stats = Stats()

    async def generate(self, prompt: Sequence[int], asked: Asked) -> AsyncGenerator[Token]:
        """See `Engine`; it samples, but does not search by beams."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        require(self.name, beams=(asked.beams, 1))
        require_room(self.limits, prompt, asked.max_new_tokens)
        how = SamplingParams(
            n=asked.n,
            temperature=asked.temperature,
            max_tokens=asked.max_new_tokens,
            stop_token_ids=sorted(asked.stops),
            ignore_eos=True,
            detokenize=False,
            logprobs=0 if asked.logprobs else None,
            output_kind=RequestOutputKind.DELTA,
        )
        async with aclosing(self._outputs(prompt, how)) as outputs:
            async for output in outputs:
                for answer in output.outputs:
                    for place, token in enumerate(answer.token_ids):
                        self.stats.tokens += 1
                        chance = answer.logprobs[place][token].logprob if asked.logprobs else None
                        if token not in asked.stops:
                            yield Token(token, chance, answer.index)

    async def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """See `Engine`."""
        from vllm import SamplingParams

        require_room(self.limits, prompt, len(continuation) + 1)
        how = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        found: list[float] = []
        async for output in self._outputs([*prompt, *continuation], how):
            if output.prompt_logprobs:
                chances = output.prompt_logprobs[len(prompt) :]
                found = [float(chance[token].logprob) for chance, token in zip(chances, continuation, strict=True)]
        return found

    def check(self) -> None:
        """See `Engine`."""
        if self._engine.errored:
            raise EngineDead(f"vLLM has ended: {self._engine.dead_error}")
        if self.stats.running and time.monotonic() - self._last > _HANG_SECONDS:
            raise EngineDead(f"no token for {_HANG_SECONDS:.0f} s")

    def close(self) -> None:
        """See `Engine`."""
        self._engine.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _outputs(self, prompt: Sequence[int], how: Any) -> AsyncGenerator[Any]:
        """The outputs of a request, brought from the loop of vLLM to that of the caller; closing it aborts the request."""
        self.check()
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()
        name = f"spire-{next(self._numbers)}"

        async def work() -> None:
            try:
                async for output in self._engine.generate({"prompt_token_ids": [int(i) for i in prompt]}, how, name):
                    loop.call_soon_threadsafe(queue.put_nowait, output)
                loop.call_soon_threadsafe(queue.put_nowait, None)
            except Exception as error:
                loop.call_soon_threadsafe(queue.put_nowait, error)

        if not self.stats.running:
            self._last = time.monotonic()
        self.stats.running += 1
        task, first = asyncio.run_coroutine_threadsafe(work(), self._loop), True
        try:
            while (output := await self._next(queue)) is not None:
                self._last = time.monotonic()
                if first:
                    first = False
                    self.stats.prompt_tokens += len(prompt)
                    self.stats.reused_tokens += output.num_cached_tokens or 0
                self.stats.steps += 1
                yield output
        finally:
            self.stats.running -= 1
            task.cancel()  # which makes vLLM abort it

    async def _next(self, queue: asyncio.Queue[Any]) -> Any:
        while True:
            try:
                found = await asyncio.wait_for(queue.get(), _LOOK_SECONDS)
            except TimeoutError:
                self.check()
                continue
            if isinstance(found, Exception):
                self.check()
                raise RuntimeError(f"vLLM failed: {found}") from found
            return found


ENGINES.register("vllm", VllmEngine)
