"""Which step of a recipe begins, what it does, and how long the rest will take."""

import heapq
import time
from collections.abc import Mapping, Sequence

from spire_ray.core.stage import STAGES
from spire_ray.settings import StageSettings

_DOUBT = 60.0
"""Seconds of measured work for which this machine is taken to be as fast as the one where the recipe was measured."""


class Outlook:
    """The steps of a recipe that are still to be done."""

    def __init__(
        self,
        planned: Mapping[str, StageSettings],
        todo: Sequence[str],
        seconds: Mapping[str, float],
        needs: Mapping[str, set[str]],
        at_once: int,
    ) -> None:
        """`seconds` says how long steps took where the recipe was measured, with `at_once` of them beside each other.

        Without it for each, no time is told. `needs` names the steps that each waits for.
        """
        self._all, self._planned, self._needs, self._at_once = list(planned), planned, needs, at_once
        self._left = {name: seconds.get(name, 0.0) for name in todo}
        self._known = all(self._left.values())
        self._whole = self._rest()
        self._began = time.monotonic()
        self._describe = STAGES.summaries()

    def line(self, name: str, now: float | None = None) -> str:
        """What is printed when a step begins."""
        does = self._describe[self._planned[name].stage]
        return f"── {self._all.index(name) + 1} of {len(self._all)}  {name}: {does[0].lower()}{does[1:]}{self._time_left(now)}"

    def ended(self, name: str) -> None:
        """A step has ended."""
        del self._left[name]

    def _time_left(self, now: float | None) -> str:
        if not self._known:
            return ""
        passed, rest = (now if now is not None else time.monotonic()) - self._began, self._rest()
        left = rest * (passed + _DOUBT) / (self._whole - rest + _DOUBT)
        return f"  ({left / 60:.0f} min left)" if left > 90 else f"  ({left:.0f} s left)"

    def _rest(self) -> float:
        """Seconds that what is left takes where it was measured, each step begun when those it needs have ended."""
        waiting, running, now = list(self._left), list[tuple[float, str]](), 0.0
        while waiting or running:
            blocked = {*waiting, *(name for _, name in running)}
            ready = [name for name in waiting if not self._needs[name] & blocked]
            for name in ready[: self._at_once - len(running)]:
                waiting.remove(name)
                heapq.heappush(running, (now + self._left[name], name))
            now, _ = heapq.heappop(running)
        return now
