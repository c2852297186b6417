"""Hugging Face's continuous batching: an answer that ends makes room for the next prompt at once. Greedy.

What it was seen to do wrong (docs/log.md, 2026-11-28) cannot happen here: a prompt that does not fit is refused, since it would
end the loop for everybody; a request enters when pages for its longest answer are free, so that none is ever put off; one that
is closed is taken out of the router, which would keep it; one that is added to a loop that has ended raises.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from inspect import signature
from typing import Any

import torch

from spire_ray.inference.engines import ENGINES, Asked, EngineDead, Limits, Stats, Token, require, require_room
from spire_ray.inference.engines._pages import Pages
from spire_ray.inference.engines._weights import Weights

_PAGE = {"cpu": 16, "cuda": 256}
"""Tokens of a page, the unit in which prompts share their beginnings; the kernels of a GPU want large ones."""
_CPU_CACHE_TOKENS = 16_384
"""Of the cache on a CPU; on a GPU it takes the free memory."""
_TRASH_PAGES = 2
"""That the cache keeps for padding."""
_BATCH_TOKENS = 512
"""Computed in one step on a CPU: a long prompt enters by parts, between the tokens of others."""
_HANG_SECONDS = 120.0
"""Without a token while there is work."""
_LOOK_SECONDS = 5.0
"""Between looks whether the loop is alive, while no token comes."""


class _Sink:
    """Where the outputs of a request go: a queue of the event loop that asks."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[Any] = asyncio.Queue()


class _Router:
    """In the place of transformers' router, whose handlers must share one event loop and outlive a cancelled request."""

    def __init__(self, stats: Stats) -> None:
        self.sinks: dict[str, _Sink] = {}
        self.last = time.monotonic()
        """When something came out of the loop."""
        self._stats = stats

    def deliver(self, output: Any) -> None:
        """One output."""
        self.deliver_batch([output])

    def deliver_batch(self, outputs: list[Any]) -> None:
        """What one step made; each event loop is woken once."""
        self.last = time.monotonic()
        self._stats.steps += 1
        woken: dict[asyncio.AbstractEventLoop, list[tuple[_Sink, Any]]] = {}
        for output in outputs:
            if sink := self.sinks.get(output.request_id):
                woken.setdefault(sink.loop, []).append((sink, output))
        for loop, waiting in woken.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put, waiting)

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        """A request that the loop gives up."""
        from transformers.generation.continuous_batching.requests import RequestStatus

        state.status, state.error = RequestStatus.FAILED, str(error) or type(error).__name__
        self.deliver(state.to_generation_output())


def _put(waiting: list[tuple[_Sink, Any]]) -> None:
    for sink, output in waiting:
        sink.queue.put_nowait(output)


class TransformersEngine:
    """A loop in a thread of its own, with a paged cache."""

    name = "transformers"

    def __init__(self, folder: str, device: str = "cpu", at_once: int = 16) -> None:
        attention, self._batching = _attention(device)
        self.weights = Weights(folder, device, attention)
        self.limits = Limits(self.weights.positions, at_once)
        self.stats = Stats()
        self._page = _PAGE[torch.device(device).type]
        self._router = _Router(self.stats)
        self._numbers = itertools.count()
        self._slots = Pages(at_once)
        self._manager = self._started()
        cache = self._manager.batch_processor.cache
        self._pages = Pages(int(cache.num_blocks) - _TRASH_PAGES)
        self._count_reuse(cache)

    async def generate(self, prompt: Sequence[int], asked: Asked) -> AsyncGenerator[Token]:
        """See `Engine`; greedy, one answer."""
        require(self.name, temperature=(asked.temperature, 0.0), beams=(asked.beams, 1), n=(asked.n, 1))
        require_room(self.limits, prompt, asked.max_new_tokens)
        self.check()
        pages = -(-(len(prompt) + asked.max_new_tokens) // self._page) + 1
        self.stats.waiting += 1
        try:
            await self._slots.take(1)
            try:
                await self._pages.take(pages)
            except BaseException:
                self._slots.give(1)
                raise
        finally:
            self.stats.waiting -= 1
        self.stats.running += 1
        try:
            async with aclosing(self._told([int(i) for i in prompt], asked)) as tokens:
                async for token in tokens:
                    yield token if asked.logprobs else Token(token.id)
        finally:
            self.stats.running -= 1
            self._pages.give(pages)
            self._slots.give(1)

    async def _told(self, prompt: list[int], asked: Asked) -> AsyncGenerator[Token]:
        """The tokens of a request that has its pages."""
        name, sink, seen, finished = f"spire-{next(self._numbers)}", _Sink(), 0, False
        self._router.sinks[name] = sink
        if self.stats.running == 1:
            self._router.last = time.monotonic()  # the loop had nothing to do before
        try:
            accepted = self._manager.add_request(
                prompt,
                request_id=name,
                max_new_tokens=asked.max_new_tokens,
                streaming=True,
                eos_token_id=sorted(asked.stops) or [-1],
            )
            if accepted is None:
                raise EngineDead("the loop of continuous batching has ended")
            self.stats.prompt_tokens += len(prompt)
            while not finished:
                output = await self._next(sink)
                finished = output.is_finished()
                if output.error:
                    self.check()
                    raise RuntimeError(f"continuous batching failed: {output.error}")
                for token, logprob in zip(output.generated_tokens[seen:], output.logprobs[seen:], strict=True):
                    self.stats.tokens += 1
                    if token not in asked.stops:
                        yield Token(token, logprob)
                seen = len(output.generated_tokens)
        finally:
            del self._router.sinks[name]
            if not finished:
                self._manager.cancel_request(name)

    async def _next(self, sink: _Sink) -> Any:
        while True:
            try:
                return await asyncio.wait_for(sink.queue.get(), _LOOK_SECONDS)
            except TimeoutError:
                self.check()

    async def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """See `Engine`."""
        require_room(self.limits, prompt, len(continuation))
        return await asyncio.to_thread(self.weights.score, prompt, continuation)

    def check(self) -> None:
        """See `Engine`."""
        status = self._manager.background_thread_status
        if not self._manager.is_running() or status.can_accept_new_requests():
            raise EngineDead(f"the loop of continuous batching has ended: {status.fatal_error or 'an error in it'}")
        if self.stats.running and time.monotonic() - self._router.last > _HANG_SECONDS:
            raise EngineDead(f"no token for {_HANG_SECONDS:.0f} s")

    def close(self) -> None:
        """See `Engine`."""
        self._manager.stop(block=True, timeout=10, hard_stop=True)
        self._manager.destroy()
        if self.weights.device != "cpu":  # the cache took what was free, and another process may want this GPU next
            torch.cuda.empty_cache()

    def _started(self) -> Any:
        """The manager, with its loop running."""
        from transformers import ContinuousBatchingConfig, GenerationConfig

        greedy = GenerationConfig(do_sample=False, eos_token_id=[-1], pad_token_id=0)
        sized = "page_size" if "page_size" in signature(ContinuousBatchingConfig).parameters else "block_size"  # before 5.20
        settings: dict[str, Any] = {
            **self._batching,
            sized: self._page,
            "max_requests_per_batch": self.limits.at_once,
            "return_logprobs": True,
        }
        if self.weights.device == "cpu":
            tokens = max(_CPU_CACHE_TOKENS, self.limits.positions + self._page)
            settings |= {"num_blocks": tokens // self._page + _TRASH_PAGES + 1, "max_batch_tokens": _BATCH_TOKENS}
        manager = self.weights.model.init_continuous_batching(
            generation_config=greedy, continuous_batching_config=ContinuousBatchingConfig(**settings)
        )
        manager.output_router = self._router
        # a thread is a daemon, which does not keep the process alive, if the one that starts it is
        starter = threading.Thread(target=manager.start, daemon=True)
        starter.start()
        starter.join()
        while manager.batch_processor is None:  # the loop makes its cache first
            if not manager.is_running():
                raise EngineDead(f"continuous batching did not start: {manager.background_thread_status.fatal_error}")
            time.sleep(0.01)
        return manager

    def _count_reuse(self, cache: Any) -> None:
        """Count the tokens of prompts that the cache finds in itself."""
        search, stats, lock = cache.search_prefix_match, self.stats, threading.Lock()

        def counted(request_id: str, prompt: list[int]) -> int:
            found = int(search(request_id, prompt))
            with lock:
                stats.reused_tokens += found
            return found

        cache.search_prefix_match = counted


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


ENGINES.register("transformers", TransformersEngine)
