"""Requests whose replica is lost are asked once more: the audio is still at hand, and greedy decoding says the same again."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from spire_ray.serving.hearing import Delta, Event
from spire_ray.serving.refusal import Refusal


class ReplicaLost(Exception):
    """The replica that worked on a request has ended."""


async def retried(ask: Callable[[], AsyncGenerator[Event]]) -> AsyncGenerator[Event]:
    """The events of a request, of which a second try repeats none. Raises Refusal where that one is lost, too."""
    shown: dict[str, str] = {}
    for last in (False, True):
        again: dict[str, str] = {}
        try:
            async with aclosing(ask()) as events:
                async for event in events:
                    if not isinstance(event, Delta):
                        yield event
                        continue
                    before, name = shown.get(event.language, ""), event.language
                    again[name] = again.get(name, "") + event.text
                    if len(again[name]) > len(before):
                        shown[name] = again[name]
                        yield Delta(name, again[name][len(before) :])
            return
        except ReplicaLost:
            if last:
                raise Refusal(503, "the model was lost twice while it answered; try again", code="replica_lost") from None
