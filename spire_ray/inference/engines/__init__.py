"""What continues prompts: one protocol, one module for each engine, by its name.

Token ids go in and come out. Whoever asks streams; which requests share a step of the model is the engine's business.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from spire_ray.core.registry import Registry


class Token(NamedTuple):
    """One token of an answer."""

    id: int
    logprob: float | None = None
    """Natural logarithm of its probability, where it was asked for."""
    candidate: int = 0
    """Which of `n` answers it belongs to."""


@dataclass(frozen=True)
class Limits:
    """What an engine can hold."""

    positions: int
    """Tokens of a prompt and its answer together."""
    at_once: int
    """Answers that are written at the same time; others wait."""


@dataclass
class Stats:
    """What an engine has done since it began."""

    running: int = 0
    """Requests whose answers are being written."""
    waiting: int = 0
    """Requests that wait for room."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    """Of those, the ones whose state was shared with an earlier prompt instead of computed."""
    tokens: int = 0
    """Of answers."""
    steps: int = 0
    """Of the model that made tokens of answers: `tokens / steps` is the mean batch."""


@dataclass(frozen=True)
class Asked:
    """How a prompt is to be continued."""

    max_new_tokens: int
    stops: frozenset[int] = frozenset()
    """Tokens that end an answer and are left out of it."""
    temperature: float = 0.0
    """0: the likeliest token each time."""
    beams: int = 1
    n: int = 1
    """Answers."""
    logprobs: bool = False


class Refused(ValueError):
    """What an engine cannot do."""


class EngineDead(RuntimeError):
    """An engine that will not answer any more; its process must begin anew."""


class Engine(Protocol):
    """Continues prompts."""

    name: str
    limits: Limits
    stats: Stats

    def generate(self, prompt: Sequence[int], asked: Asked) -> AsyncGenerator[Token]:
        """The tokens of an answer, as they are found, up to the first of its stops.

        Closing the iterator ends the request. Raises Refused for what the engine cannot do, ValueError for a prompt that it
        cannot hold, and EngineDead.
        """
        ...

    async def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """The natural logarithm of the probability of each token of a continuation. Raises as `generate` does."""
        ...

    def check(self) -> None:
        """Raise EngineDead for an engine that has ended or makes no progress."""
        ...

    def close(self) -> None:
        """End the engine and give its memory back."""
        ...


Load = Callable[..., Engine]
"""(folder, device, at_once) → the engine of a local model folder."""

ENGINES: Registry[Load] = Registry("engine", __name__)


def require(engine: str, **asked: tuple[object, object]) -> None:
    """Raise Refused for the first option that is not what this engine can do: name=(asked, the one value that it can)."""
    for name, (value, possible) in asked.items():
        if value != possible:
            raise Refused(f"{name}={value}: the engine {engine} cannot do that; leave it at {possible}")


def require_room(limits: Limits, prompt: Sequence[int], max_new_tokens: int) -> None:
    """Raise ValueError for a prompt that is empty, or that leaves no room for an answer."""
    if not len(prompt) or max_new_tokens < 1:
        raise ValueError(f"a prompt of {len(prompt)} tokens and an answer of {max_new_tokens}: each needs one at least")
    if len(prompt) + max_new_tokens > limits.positions:
        room = limits.positions - max_new_tokens
        raise ValueError(f"a prompt of {len(prompt)} tokens is longer than {room}: cut the audio")
