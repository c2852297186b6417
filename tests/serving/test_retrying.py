"""A stream whose replica is lost goes on where it stood."""

import asyncio

import pytest

from spire_ray.inference.asking import Found
from spire_ray.serving.hearing import Delta
from spire_ray.serving.refusal import Refusal
from spire_ray.serving.retrying import ReplicaLost, retried

SAID = [Delta("", "the"), Delta("de", "der"), Delta("", " dog"), Delta("de", " Hund"), Found()]


def replicas(*lost_after):
    """A replica for each try, which is lost after so many events."""
    tries = iter(lost_after)

    async def ask():
        for event in SAID[: next(tries, None)]:
            yield event
        raise ReplicaLost

    async def whole():
        for event in SAID:
            yield event

    return lambda: ask() if tries.__length_hint__() else whole()


async def collected(ask):
    return [event async for event in retried(ask)]


@pytest.mark.parametrize("after", range(5))
def test_nothing_is_said_twice_and_nothing_is_left_out(after):
    found = asyncio.run(collected(replicas(after)))
    for language, text in (("", "the dog"), ("de", "der Hund")):
        assert "".join(e.text for e in found if isinstance(e, Delta) and e.language == language) == text
    assert found.count(SAID[-1]) == 1


def test_it_is_lost_twice_and_no_more():
    with pytest.raises(Refusal, match="lost twice") as refused:
        asyncio.run(collected(replicas(2, 3)))
    assert refused.value.status_code == 503 and refused.value.headers["Retry-After"]
