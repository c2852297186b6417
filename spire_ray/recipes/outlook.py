"""Which step of a recipe begins, what it does, and how long the rest will take."""

import time
from collections.abc import Mapping, Sequence

from spire_ray.core.stage import STAGES
from spire_ray.settings import StageSettings


class Outlook:
    """The steps of a recipe that are still to be done."""

    def __init__(self, planned: Mapping[str, StageSettings], todo: Sequence[str], seconds: Mapping[str, float]) -> None:
        """`seconds` says how long steps took where the recipe was measured; without it for each, no time is told."""
        self._all, self._planned = list(planned), planned
        self._left = {name: seconds.get(name, 0.0) for name in todo}
        self._known = all(self._left.values())
        self._done, self._began = 0.0, time.monotonic()
        self._describe = STAGES.summaries()

    def line(self, name: str, now: float | None = None) -> str:
        """What is printed when a step begins."""
        does = self._describe[self._planned[name].stage]
        return f"── {self._all.index(name) + 1} of {len(self._all)}  {name}: {does[0].lower()}{does[1:]}{self._time_left(now)}"

    def ended(self, name: str) -> None:
        """A step has ended."""
        self._done += self._left.pop(name)

    def _time_left(self, now: float | None) -> str:
        if not self._known:
            return ""
        # where the recipe was measured two steps ran beside each other, as here, and as long as none has ended this machine
        # is taken to be as fast as that one
        passed = (now if now is not None else time.monotonic()) - self._began
        speed = passed / self._done if self._done else 1.0
        left = sum(self._left.values()) * speed
        return f"  ({left / 60:.0f} min left)" if left > 90 else f"  ({left:.0f} s left)"
